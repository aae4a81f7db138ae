//! CPython's own regression tests come out the same with the shim as without: a few modules here;
//! `tests/python/regression.py` runs them all, and `tests/python/results.md` has what it found.

use memento_tests::{Python, Shim, directory, run};
use std::process::Command;

/// Those that have most to do with memory, and take seconds.
const MODULES: &[&str] = &[
    "test_bytes",
    "test_dict",
    "test_fork1",
    "test_gc",
    "test_list",
    "test_thread",
    "test_tracemalloc",
];

/// Whether the interpreter's tests are installed.
fn has_tests(python: &Python) -> bool {
    let code = "import test.test_list, test.test_tracemalloc";
    run(Command::new(&python.path).args(["-c", code]).env_remove("LD_PRELOAD")).code == Some(0)
}

#[test]
fn a_few_of_cpythons_own_tests() {
    let all = Python::served();
    if !all.iter().any(has_tests) {
        // Debian has them in a package of their own, for its own interpreter.
        for python in &all {
            let package = format!("libpython{}.{}-testsuite", python.version.0, python.version.1);
            let install = format!(". \"$0\" && need {package} /nowhere");
            run(Command::new("bash").args(["-c", &install]).arg(directory("../scripts/need.sh")));
        }
    }
    let Some(python) = all.iter().find(|python| has_tests(python)) else {
        eprintln!("CPython's tests not run: no interpreter has them, and no package does");
        return;
    };
    let mut command = Command::new("python3");
    command.arg(directory("python/regression.py")).arg("--shim").arg(Shim::Python.path());
    let outcome = run(command.arg("--python").arg(&python.path).args(MODULES));
    println!("{}", outcome.stdout);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let same = outcome.stdout.lines().filter(|line| line.contains("| same")).count();
    assert_eq!(same, MODULES.len(), "{outcome:?}");
}
