//! The emulator's parameters: from a TOML file and from the environment, validated, for the child.
//!
//! ```toml
//! [emulator]
//! hot_cycles = 3
//! ```
//! What the file says counts more than `MEMENTO_CONF`. Whatever is wrong in the file is an error;
//! the environment is obeyed as the shared objects obey it, with a warning at most.

use anyhow::{Context, Result, bail};
use memento_alloc::conf::{Outcome, apply};
use memento_hal::emulator::{ParamError, Params};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The parameters in force: defaults, then `MEMENTO_CONF`, then the file.
///
/// # Errors
/// If the file cannot be read, or sets something that does not exist or makes no sense; the
/// message names the key.
pub fn parameters(file: Option<&Path>) -> Result<Params> {
    let mut params = Params::DEFAULT;
    if let Some(text) = std::env::var_os("MEMENTO_CONF") {
        // Problems are named by the shared object in the program, once.
        let set = &mut |key: &str, value: &str| set_from_text(&mut params, key, value);
        apply(text.as_bytes(), set, &mut |_, _| ());
    }
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        apply_toml(&mut params, &text).with_context(|| format!("in {}", path.display()))?;
    }
    params.validate().context("the parameters contradict each other")?;
    Ok(params)
}

/// Sets one parameter from `key:value`.
pub fn set_from_text(params: &mut Params, key: &str, value: &str) -> Outcome {
    match value.parse().map(|value| params.set(key, value)) {
        Ok(Ok(())) => Outcome::Set,
        Ok(Err(ParamError::Unknown)) => Outcome::UnknownKey,
        Err(_) if params.get(key).is_none() => Outcome::UnknownKey,
        Ok(Err(_)) | Err(_) => Outcome::BadValue,
    }
}

fn apply_toml(params: &mut Params, text: &str) -> Result<()> {
    let document: toml::Table = text.parse()?;
    for (section, content) in &document {
        let toml::Value::Table(table) = content else {
            bail!("`{section}` stands outside a section; parameters belong under [emulator]");
        };
        if section != "emulator" {
            bail!("unknown section [{section}]; there is [emulator]");
        }
        for (key, value) in table {
            let number = value
                .as_integer()
                .and_then(|n| u64::try_from(n).ok())
                .with_context(|| format!("`{key}` must be a whole number from 0 up"))?;
            params.set(key, number).with_context(|| format!("`{key}`{}", suggestion(key)))?;
        }
    }
    Ok(())
}

/// The names to choose from, for a name that does not exist.
fn suggestion(key: &str) -> String {
    let names: Vec<&str> = Params::FIELDS.iter().map(|f| f.name).collect();
    if names.contains(&key) { String::new() } else { format!("; there are {}", names.join(", ")) }
}

/// `MEMENTO_CONF` for the program: what it was, then every parameter that differs from its default.
/// `None` if there is nothing to say.
pub fn variable(params: &Params) -> Option<OsString> {
    let mut value = std::env::var_os("MEMENTO_CONF").unwrap_or_default();
    for field in Params::FIELDS {
        let now = params.get(field.name).unwrap_or(field.default);
        if now != field.default {
            if !value.is_empty() {
                value.push(",");
            }
            value.push(format!("{}:{now}", field.name));
        }
    }
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toml(text: &str) -> Result<Params> {
        let mut params = Params::DEFAULT;
        apply_toml(&mut params, text).map(|()| params)
    }

    #[test]
    fn a_file_sets_parameters_by_name() {
        let params = toml("[emulator]\nhot_cycles = 5\n").unwrap();
        assert_eq!(params.hot_cycles, 5);
        assert_eq!(variable(&params).unwrap().to_string_lossy(), "hot_cycles:5");
        assert_eq!(variable(&Params::DEFAULT), None);
    }

    #[test]
    fn whatever_is_wrong_is_named() {
        for (text, word) in [
            ("[emulator]\nhot_cycle = 5", "`hot_cycle`; there are"),
            ("[emulator]\nhot_cycles = \"x\"", "`hot_cycles` must be a whole number"),
            ("[emulator]\nhot_cycles = -1", "`hot_cycles` must be a whole number"),
            ("[emulator]\nhot_cycles = 9000000000", "`hot_cycles`"),
            ("hot_cycles = 5", "outside a section"),
            ("[emulater]\n", "unknown section"),
            ("[emulator", "TOML"),
        ] {
            let error = format!("{:#}", toml(text).unwrap_err());
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn text_values_are_judged_like_the_shared_objects_judge_them() {
        let mut params = Params::DEFAULT;
        assert_eq!(set_from_text(&mut params, "hot_cycles", "4"), Outcome::Set);
        assert_eq!(params.hot_cycles, 4);
        assert_eq!(set_from_text(&mut params, "hot_cycles", "x"), Outcome::BadValue);
        assert_eq!(set_from_text(&mut params, "nothing", "4"), Outcome::UnknownKey);
        assert_eq!(set_from_text(&mut params, "nothing", "x"), Outcome::UnknownKey);
    }
}
