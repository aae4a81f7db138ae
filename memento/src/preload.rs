//! Finds the shared objects and says how a program is to load them.

use crate::hal::HalName;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What a shared object does besides allocating.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Instrument {
    /// Nothing.
    None,
    /// It counts, for a report.
    Count,
    /// It writes a trace.
    Record,
}

/// Why a program cannot be told to load a shared object.
#[derive(thiserror::Error, Debug, PartialEq, Eq)]
pub enum PreloadError {
    /// The file is nowhere.
    #[error(
        "{name} was not found; looked in {}. Build it with `cargo build --release` in shims/, or \
         name its directory in MEMENTO_LIB_DIR",
        list(.looked_in)
    )]
    Missing {
        /// The file's name.
        name: &'static str,
        /// The directories searched.
        looked_in: Vec<PathBuf>,
    },
    /// The dynamic loader could not make sense of the path.
    #[error(
        "{} cannot be preloaded: the dynamic loader splits LD_PRELOAD at spaces and colons, and \
         replaces what follows a dollar sign. Put it in a directory without them", .0.display()
    )]
    Unspeakable(PathBuf),
}

fn list(directories: &[PathBuf]) -> String {
    directories.iter().map(|d| d.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Name of the shared object for a backend, for whatever processes a command becomes. Only the software
/// backend comes without a counter; the others always count.
pub fn file_name(hal: HalName, instrument: Instrument) -> &'static str {
    match (hal, instrument) {
        (_, Instrument::Record) => "libmemento-record.so",
        (HalName::Soft, Instrument::None) => ALL,
        (HalName::Soft, Instrument::Count) => "libmemento-report.so",
        (HalName::Emu, _) => "libmemento-emu.so",
        (HalName::Isa, _) => "libmemento-isa.so",
    }
}

/// The software backend for every runtime: each process takes the parts that fit it.
pub const ALL: &str = "libmemento_all.so";

/// Finds the shared object for a backend; see [`find_named`].
///
/// # Errors
/// As [`find_named`].
pub fn find(hal: HalName, instrument: Instrument) -> Result<PathBuf, PreloadError> {
    find_named(file_name(hal, instrument))
}

/// Finds a shared object: in `MEMENTO_LIB_DIR` alone if that is set, else beside this executable,
/// in `../lib/memento` and `../lib` from there, and in `shims/target/release` of the source tree
/// that the executable was built in.
///
/// # Errors
/// [`PreloadError`] if it is in none of them, or the dynamic loader could not be told its path.
pub fn find_named(name: &'static str) -> Result<PathBuf, PreloadError> {
    let given = std::env::var_os("MEMENTO_LIB_DIR").filter(|d| !d.is_empty());
    let executable = std::env::current_exe().unwrap_or_default();
    find_in(directories(given.as_deref(), &executable), name)
}

fn directories(given: Option<&OsStr>, executable: &Path) -> Vec<PathBuf> {
    if let Some(given) = given {
        return vec![std::path::absolute(given).unwrap_or_else(|_| given.into())];
    }
    let here = executable.parent().unwrap_or(Path::new("/"));
    let mut all = vec![here.to_owned()];
    if let Some(prefix) = here.parent() {
        all.push(prefix.join("lib/memento"));
        all.push(prefix.join("lib"));
    }
    // A source tree is an ancestor that has the shims' manifest.
    let tree = here.ancestors().find(|a| a.join("shims/Cargo.toml").is_file());
    all.extend(tree.map(|t| t.join("shims/target/release")));
    all
}

fn find_in(directories: Vec<PathBuf>, name: &'static str) -> Result<PathBuf, PreloadError> {
    let found = directories.iter().map(|d| d.join(name)).find(|path| path.is_file());
    let path = found.ok_or(PreloadError::Missing { name, looked_in: directories })?;
    check_path(&path)?;
    Ok(path)
}

/// Whether the dynamic loader can be told the path at all.
///
/// # Errors
/// [`PreloadError::Unspeakable`] if not.
pub fn check_path(path: &Path) -> Result<(), PreloadError> {
    let loader_reads = |b: &u8| matches!(b, b':' | b'$') || b.is_ascii_whitespace();
    if path.as_os_str().as_bytes().iter().any(loader_reads) {
        return Err(PreloadError::Unspeakable(path.into()));
    }
    Ok(())
}

/// The value of `LD_PRELOAD`: ours first, because the first definition of `malloc` counts; what was
/// there before stays.
pub fn chain(object: &Path, existing: Option<&OsStr>) -> OsString {
    let mut value = object.as_os_str().to_owned();
    if let Some(existing) = existing.filter(|e| !e.is_empty()) {
        value.push(":");
        value.push(existing);
    }
    value
}

/// The variables that make a program load `object`.
pub fn variables(object: &Path, hal: HalName) -> Vec<(OsString, OsString)> {
    let existing = std::env::var_os("LD_PRELOAD");
    vec![
        ("LD_PRELOAD".into(), chain(object, existing.as_deref())),
        ("MEMENTO_HAL".into(), hal.name().into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_preloaded_stays() {
        let ours = Path::new("/opt/libmemento.so");
        assert_eq!(chain(ours, None), "/opt/libmemento.so");
        assert_eq!(chain(ours, Some("".as_ref())), "/opt/libmemento.so");
        assert_eq!(chain(ours, Some("a.so b.so".as_ref())), "/opt/libmemento.so:a.so b.so");
    }

    #[test]
    fn places_in_order() {
        let executable = Path::new("/usr/bin/memento");
        let want = ["/usr/bin", "/usr/lib/memento", "/usr/lib"].map(PathBuf::from);
        assert_eq!(directories(None, executable), want);
        assert_eq!(directories(Some("/x".as_ref()), executable), [PathBuf::from("/x")]);
    }

    #[test]
    fn absence_names_the_places() {
        let error = find_in(vec!["/nowhere".into()], "libmemento.so").unwrap_err().to_string();
        assert!(error.starts_with("libmemento.so was not found; looked in /nowhere."), "{error}");
    }

    #[test]
    fn a_path_that_the_loader_would_split_is_refused() {
        let directory = tempfile::Builder::new().prefix("a b").tempdir().unwrap();
        std::fs::write(directory.path().join("libmemento.so"), "").unwrap();
        let error = find_in(vec![directory.path().into()], "libmemento.so").unwrap_err();
        assert!(matches!(error, PreloadError::Unspeakable(_)));
    }

    #[test]
    fn a_source_tree_is_searched() {
        let tree = tempfile::tempdir().unwrap();
        let at = |path: &str| tree.path().join(path);
        std::fs::create_dir_all(at("shims/target/release")).unwrap();
        std::fs::write(at("shims/Cargo.toml"), "").unwrap();
        let places = directories(None, &at("target/debug/memento"));
        assert_eq!(places.last(), Some(&at("shims/target/release")));
    }
}
