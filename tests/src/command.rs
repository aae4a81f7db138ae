//! The `memento` command, run as its users run it.

use crate::shim::{built, root};
use crate::{Outcome, Shim, run};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tempfile::TempDir;

/// A program under `memento run --report json`.
#[derive(Debug)]
pub struct Reported {
    /// The program's streams and end, which the command passes through.
    pub outcome: Outcome,
    /// The report.
    pub report: Value,
}

impl Reported {
    /// Runs the program on `shim`'s backend. `configure` sets directory and environment.
    ///
    /// # Panics
    /// If there is no report, or it is no JSON.
    pub fn run(
        shim: Shim,
        program: &Path,
        arguments: &[&str],
        configure: impl FnOnce(&mut Command),
    ) -> Self {
        let directory: TempDir = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("report.json");
        let mut command = Command::new(memento());
        command.args(["run", "--hal", shim.hal(), "--report", "json", "--output"]).arg(&file);
        command.arg("--").arg(program).args(arguments).env("MEMENTO_LIB_DIR", built());
        configure(&mut command);
        let outcome = run(&mut command);
        let text = std::fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("no report: {error}; the program: {outcome:?}"));
        Self { outcome, report: serde_json::from_str(&text).expect("the report is JSON") }
    }

    /// A number of the report, by its path: `emulator.hot.alloc_hits`.
    ///
    /// # Panics
    /// If it is not there.
    pub fn number(&self, path: &str) -> u64 {
        let found = path.split('.').try_fold(&self.report, |value, key| value.get(key));
        found.and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path} in {}", self.report))
    }

    /// Number of allocations of the object allocator's sizes.
    ///
    /// # Panics
    /// If the report has no classes.
    pub fn small_allocations(&self) -> u64 {
        let classes = self.report["classes"].as_array().expect("classes");
        classes.iter().filter_map(|class| class["allocs"].as_u64()).sum()
    }

    /// Number of processes that loaded the shared object.
    ///
    /// # Panics
    /// If the report names a process that did not, or names none.
    pub fn loaded_processes(&self) -> usize {
        let processes = self.report["processes"].as_array().expect("processes");
        for process in processes {
            assert_eq!(process["loaded"], true, "not loaded: {process}");
        }
        processes.len()
    }
}

/// The built command.
///
/// # Panics
/// If it does not build.
pub fn memento() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root().join("target"), PathBuf::from);
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--quiet", "-p", "memento", "--manifest-path"])
            .arg(root().join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&target)
            .status()
            .expect("cargo can be started");
        assert!(status.success(), "the command does not build");
        target.join("debug/memento")
    })
}
