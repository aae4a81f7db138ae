//! What the tests of the command share.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Where the shared objects are: `MEMENTO_LIB_DIR`, or the shims' own build.
pub fn libraries() -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shims/target/release");
    let directory = std::env::var_os("MEMENTO_LIB_DIR").map_or_else(built, PathBuf::from);
    assert!(
        directory.join("libmemento-report.so").is_file(),
        "these tests need the shared objects, and {} has none: run `cargo build --release` in \
         shims/, or set MEMENTO_LIB_DIR",
        directory.display()
    );
    directory
}

/// The command, ready to run with the shared objects.
pub fn memento(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_memento"));
    command.args(arguments).env("MEMENTO_LIB_DIR", libraries()).env_remove("MEMENTO_CONF");
    command
}

/// Runs the command to its end with its streams caught.
pub fn output(arguments: &[&str]) -> Output {
    memento(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Runs `memento run --report json` with `options` on a program; its output and the document.
pub fn report(options: &[&str], program: &[&str]) -> (Output, serde_json::Value) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("report.json");
    let mut arguments = vec!["run", "--report", "json", "--output", file.to_str().unwrap()];
    arguments.extend(options);
    arguments.push("--");
    arguments.extend(program);
    let output = output(&arguments);
    let text = fs::read_to_string(&file).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let document = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text} {stderr}"));
    (output, document)
}

/// Compiles a C program with options of its own.
pub fn compile(source: &str, options: &[&str]) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let (file, program) = (directory.path().join("prog.c"), directory.path().join("prog"));
    fs::write(&file, source).unwrap();
    let status = Command::new("cc")
        .args(options)
        .args(["-O0", "-fno-builtin", "-pthread", "-o"])
        .args([&program, &file])
        .status()
        .expect("these tests need a C compiler, `cc`");
    assert!(status.success());
    let program = program.to_str().unwrap().to_owned();
    (directory, program)
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Checks that every field of a document is named in docs/documents.md. What `open` names has fields of its own.
pub fn documented(document: &serde_json::Value, open: &[&str]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/documents.md");
    let text = fs::read_to_string(path).unwrap();
    let mut left = vec![document];
    while let Some(value) = left.pop() {
        left.extend(value.as_array().into_iter().flatten());
        for (name, value) in value.as_object().into_iter().flatten() {
            let is_size = name.parse::<u64>().is_ok();
            let is_named = ["`", "[]`"].iter().any(|end| text.contains(&format!("`{name}{end}")));
            assert!(is_size || is_named, "{name} is not documented");
            if !open.contains(&&**name) {
                left.push(value);
            }
        }
    }
}

/// Makes sure that a program is there, which Debian's `package` has.
pub fn need(package: &str, program: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let need = "cd \"$0\" && . scripts/need.sh && need \"$1\" \"$2\"";
    let there =
        Command::new("bash").args(["-c", need]).arg(&root).args([package, program]).status();
    assert!(there.unwrap().success(), "this test needs Debian's package {package}");
}

/// Has Chromium lay a page out, and returns what it made of it.
pub fn browser(page: &Path, directory: &Path) -> String {
    need("chromium", "chromium");
    let mut chromium = Command::new("chromium");
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
    chromium.arg(format!("--user-data-dir={}", directory.join("chromium").display()));
    let out =
        chromium.arg("--dump-dom").arg(format!("file://{}", page.display())).output().unwrap();
    assert!(out.status.success(), "{}", stderr(&out));
    stdout(&out)
}
