//! The examples answer the same on every backend: preloaded, or built in.

use memento_tests::{Language, Outcome, Shim, compile, directory, run};
use std::path::Path;
use std::process::Command;

/// What Cargo knows about this workspace, as a file in `scratch`.
fn event(scratch: &Path) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--manifest-path"])
        .arg(directory("../Cargo.toml"))
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let file = scratch.join("event.json");
    std::fs::write(&file, output.stdout).expect("the file is writable");
    file.into_os_string().into_string().expect("the path is text")
}

fn good(outcome: &Outcome) {
    assert_eq!((outcome.code, &*outcome.stderr), (Some(0), ""), "{outcome:?}");
    assert!(outcome.stdout.lines().count() >= 2, "{outcome:?}");
}

fn same_under_preload(program: &Path, arguments: &[&str]) {
    let stock = run(Command::new(program).args(arguments));
    good(&stock);
    for shim in Shim::BACKENDS {
        let got = run(Command::new(program).args(arguments).env("LD_PRELOAD", shim.path()));
        assert!(got == stock, "{shim:?}: {got:?}\nwithout: {stock:?}");
    }
}

#[test]
fn the_python_function() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let event = event(scratch.path());
    let script = directory("../examples/python/json_function.py");
    let script = script.to_str().expect("the path is text");
    same_under_preload(Path::new("python3"), &[script, &event, "2"]);
}

#[test]
fn the_cxx_index() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let program = compile(Language::Cxx, "../examples/cpp/word_index.cpp", scratch.path());
    let sources =
        ["../DESIGN.md", "../Cargo.lock", "src/shim.rs", "tests/examples.rs"].map(directory);
    let sources = sources.each_ref().map(|path| path.to_str().expect("the path is text"));
    same_under_preload(&program, &sources);
}

/// The Rust function, with each allocator built in.
#[test]
fn the_rust_function() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let event = event(scratch.path());
    let target = scratch.path().join("target");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "-p", "memento-examples", "--manifest-path"])
        .arg(directory("../Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .status()
        .expect("cargo can be started");
    assert!(status.success(), "the examples do not build");
    let answer = |binary| run(Command::new(target.join("debug").join(binary)).args([&event, "2"]));
    let stock = answer("json-stock");
    good(&stock);
    let soft = answer("json-soft");
    assert!(soft == stock, "{soft:?}\nwithout: {stock:?}");
    let emu = answer("json-emu");
    assert_eq!((emu.code, &emu.stdout), (Some(0), &stock.stdout), "{emu:?}");
    let words: Vec<&str> = emu.stderr.split_whitespace().collect();
    assert_eq!(words[1..3], ["hardware", "cycles,"], "{emu:?}");
    assert!(words[0].parse::<u64>().expect("a number") > 10_000, "{emu:?}");
}
