//! What is preloaded: the system's allocator (nothing), memento, and the peers.

use anyhow::{Context, Result};
use std::path::Path;

pub use memento::allocators::{Allocator, listed as peers, select};

/// The name of the system's allocator: the program as it is.
pub const SYSTEM: &str = "glibc";
/// The name of the allocator that the others are peers of.
pub const MEMENTO: &str = "memento";

/// The same allocator with settings, under a name that tells them.
pub fn with_conf(allocator: &Allocator, conf: &str) -> Allocator {
    let variable = Some(("MEMENTO_CONF".into(), conf.into()));
    Allocator { name: format!("{} {conf}", allocator.name), variable, ..allocator.clone() }
}

/// The system's allocator.
pub fn system() -> Allocator {
    let stock = Allocator::stock();
    let version = stock.version.trim_start_matches("glibc ").to_owned();
    Allocator { name: SYSTEM.into(), version, ..stock }
}

/// memento's shared object; the version is that of this workspace.
///
/// # Errors
/// If it is not there.
pub fn memento(object: &Path) -> Result<Allocator> {
    let preload = std::fs::canonicalize(object).with_context(|| {
        format!("{} is not there: build it with scripts/build-shims", object.display())
    })?;
    Ok(Allocator {
        name: MEMENTO.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        origin: "this workspace".into(),
        preload: Some(preload),
        variable: None,
    })
}
