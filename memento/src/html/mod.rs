//! Self-contained pages: one file, no script, no network; light and dark.
//!
//! The templates are minijinja's, which escapes whatever is put into them; plots come from [`plot`] (bars and
//! histograms), [`quantiles`] and [`curves`].

pub mod curves;
pub mod plot;
pub mod quantiles;

use anyhow::{Context, Result};
use minijinja::{AutoEscape, Environment};
use serde::Serialize;

/// What all pages share: style and frame.
const BASE: &str = include_str!("base.html");

/// Renders a page from a template that extends `base.html`.
///
/// # Errors
/// If the template has a mistake.
pub fn render(template: &'static str, content: impl Serialize) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("base.html", BASE)?;
    environment.add_template("page.html", template)?;
    let page = environment.get_template("page.html")?;
    page.render(content).context("the page cannot be made")
}
