//! The CPython interpreters of this machine.

use crate::run;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An interpreter.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Python {
    /// Major and minor version.
    pub version: (u32, u32),
    /// The executable itself, not a wrapper around it or a link of an environment.
    pub path: PathBuf,
    /// Whether the interpreter lies in a shared libpython, not in the executable.
    pub shared: bool,
    /// The shared libpython that programs may be linked with, if there is one.
    pub library: Option<PathBuf>,
}

impl Python {
    /// All that are found: on the search path, with a version in their name or without, and where
    /// version managers keep theirs.
    pub fn all() -> Vec<Self> {
        let mut candidates = Vec::new();
        let search = std::env::var_os("PATH").unwrap_or_default();
        let mut directories: Vec<_> = std::env::split_paths(&search).collect();
        directories.extend(["/usr/bin".into(), "/usr/local/bin".into()]);
        let home = std::env::var_os("HOME").map(PathBuf::from);
        for versions in [".pyenv/versions", ".local/share/uv/python"] {
            let Some(entries) = home.as_ref().and_then(|h| h.join(versions).read_dir().ok()) else {
                continue;
            };
            directories.extend(entries.flatten().map(|entry| entry.path().join("bin")));
        }
        for directory in directories {
            let minors = (6..40).map(|minor| format!("python3.{minor}"));
            candidates.extend(minors.chain(["python3".into()]).map(|name| directory.join(name)));
        }
        // A version manager's wrapper starts one of the others; it says so itself.
        let found: BTreeSet<_> =
            candidates.iter().filter(|path| path.exists()).filter_map(|p| Self::at(p)).collect();
        found.into_iter().collect()
    }

    /// Those that the shim serves. Never none: the machine has a `python3`.
    ///
    /// # Panics
    /// If there is none.
    pub fn served() -> Vec<Self> {
        let served: Vec<_> = Self::all().into_iter().filter(|p| p.version >= (3, 8)).collect();
        assert!(!served.is_empty(), "no CPython of 3.8 or newer was found");
        for python in &served {
            let how = if python.shared { "shared libpython" } else { "static" };
            println!("{}.{} {how} {}", python.version.0, python.version.1, python.path.display());
        }
        served
    }

    fn at(path: &Path) -> Option<Self> {
        let script = "import sys, os, sysconfig as s; print(*sys.version_info[:2], \
                      sys.implementation.name, sep='\\n'); \
                      print(os.path.realpath(getattr(sys, '_base_executable', None) or sys.executable)); \
                      print(os.path.join(s.get_config_var('LIBDIR'), s.get_config_var('INSTSONAME')) \
                      if s.get_config_var('Py_ENABLE_SHARED') else ''); \
                      print(int('/libpython' in open('/proc/self/maps').read()))";
        let outcome = run(Command::new(path).args(["-I", "-c", script]).env_remove("LD_PRELOAD"));
        let lines: Vec<_> = outcome.stdout.split('\n').collect();
        match lines[..] {
            [major, minor, "cpython", path, library, shared, ""] if outcome.code == Some(0) => {
                Some(Self {
                    version: (major.parse().ok()?, minor.parse().ok()?),
                    path: path.into(),
                    shared: shared == "1",
                    library: Some(PathBuf::from(library)).filter(|library| library.is_file()),
                })
            }
            _ => None,
        }
    }
}
