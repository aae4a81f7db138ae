//! Every process of a command gets the parts that fit it, whoever starts it and how.

mod common;

use common::{compile, output, stderr, stdout};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// A Python script that prints who serves its domains; `null` without the shared object.
const PYTHON: &str = r#"
import ctypes
try:
    ask = ctypes.CDLL(None).memento_python_stats_json
    text = ctypes.create_string_buffer(4096)
    ask(text, 4096)
    print(text.value.decode())
except AttributeError:
    print("null")
"#;

/// A JavaScript program that prints whether V8's pages come out of memento's range.
const NODE: &str = "
    const maps = require('fs').readFileSync('/proc/self/maps', 'latin1').trim().split('\\n');
    const bytes = maps.map((line) => line.split(/[- ]/)).map(([from, to]) => parseInt(to, 16) - parseInt(from, 16));
    console.log(bytes.some((n) => n > 8 * 2 ** 30 && n < 17 * 2 ** 30));";

/// An executable file of this text, `name` in a directory that lives as long as what is returned.
fn executable(name: &str, text: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    (directory, path.to_str().unwrap().to_owned())
}

/// What a command prints under `memento run --report none`.
fn printed(command: &[&str]) -> String {
    let out = output(&[&["run", "--report", "none", "--"][..], command].concat());
    assert!(out.status.success(), "{command:?}: {}", stderr(&out));
    stdout(&out).trim_end().to_owned()
}

/// Asserts that the command ends in Python, whose domains are memento's.
fn python_is_served(command: &[&str]) {
    let text = printed(command);
    let stats: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!(stats["domains"]["obj"], "memento", "{command:?}: {stats}");
    assert_eq!(stats["domains"]["mem"], "memento", "{command:?}: {stats}");
}

#[test]
fn python_directly_and_through_wrappers() {
    python_is_served(&["python3", "-c", PYTHON]);
    python_is_served(&["env", "-u", "NOTHING", "X=1", "python3", "-c", PYTHON]);
    let (_directory, script) = executable("tool", &format!("#!/usr/bin/env python3\n{PYTHON}"));
    python_is_served(&[&script]);
    // As version managers do it.
    let (_wrapper, wrapper) = executable("python3", "#!/usr/bin/env bash\nexec python3 \"$@\"\n");
    python_is_served(&[&wrapper, "-c", PYTHON]);
    python_is_served(&["sh", "-c", "true | \"$@\"", "sh", "python3", "-c", PYTHON]);
}

#[test]
fn python_in_a_virtual_environment() {
    let directory = tempfile::tempdir().unwrap();
    let made = Command::new("python3")
        .args(["-m", "venv", "--without-pip"])
        .arg(directory.path())
        .output();
    let made = made.unwrap();
    assert!(made.status.success(), "{made:?}");
    let python = directory.path().join("bin/python");
    python_is_served(&[python.to_str().unwrap(), "-c", PYTHON]);
}

#[test]
fn node_directly_and_through_wrappers() {
    assert_eq!(printed(&["node", "-e", NODE]), "true");
    // As `npx` and every program of a package start.
    let (_directory, script) = executable("tool", &format!("#!/usr/bin/env node\n{NODE}"));
    assert_eq!(printed(&[&script]), "true");
    assert_eq!(printed(&["sh", "-c", "exec \"$@\"", "sh", &script]), "true");
}

#[test]
fn children_of_another_kind() {
    let call = "require('child_process').execFileSync(process.argv[1], ['-c', process.argv[2]], { stdio: 'inherit' })";
    python_is_served(&["node", "-e", call, "python3", PYTHON]);
    let call = "import subprocess, sys; subprocess.run(['node', '-e', sys.argv[1]], check=True)";
    assert_eq!(printed(&["python3", "-c", call, NODE]), "true");
}

#[test]
fn children_of_a_program_that_cannot_be_served_itself() {
    // No shared object is in this process to choose for its child.
    let source =
        "#include <unistd.h>\nint main(int n, char **a) { (void)n; return execvp(a[1], a + 1); }";
    let (_directory, program) = compile(source, &["-static"]);
    let out = output(&["run", "--report", "none", "--", &program, "python3", "-c", PYTHON]);
    assert!(stderr(&out).contains("statically linked"), "{}", stderr(&out));
    let stats: Value = serde_json::from_str(&stdout(&out)).unwrap();
    assert_eq!(stats["domains"]["obj"], "memento");
}

#[test]
fn a_cleared_environment_is_respected() {
    let python = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let python = stdout(&python.unwrap());
    assert_eq!(printed(&["env", "-i", python.trim_end(), "-c", PYTHON]), "null");
}

#[test]
fn counting_serves_them_too() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("r.json");
    let grow = "x = [str(i) for i in range(20000)]";
    let run = |name: &str, arguments: &[&str]| {
        let options = ["run", "--report", "json", "--output", file.to_str().unwrap(), "--", name];
        let out = output(&[&options[..], arguments].concat());
        assert!(out.status.success(), "{}", stderr(&out));
        let document: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let classes = document["classes"].as_array().unwrap();
        let allocs: u64 = classes.iter().map(|c| c["allocs"].as_u64().unwrap()).sum();
        (stdout(&out), allocs)
    };
    let (stats, allocs) = run("python3", &["-c", &format!("{grow}{PYTHON}")]);
    assert!(stats.contains("\"obj\":\"memento\""), "{stats}");
    assert!(allocs > 20000, "every object is counted: {allocs}");
    assert_eq!(run("node", &["-e", NODE]).0, "true\n");
}

/// The variables that are printed for a shell, applied without the command in between.
#[test]
fn the_variables_for_a_runtime_serve_it() {
    for (runtime, name) in
        [("c", "libmemento.so"), ("python", "libmemento_python.so"), ("node", "libmemento_node.so")]
    {
        let out = output(&["env", runtime]);
        assert!(stdout(&out).starts_with("LD_PRELOAD="), "{}", stderr(&out));
        let first = stdout(&out).lines().next().unwrap().to_owned();
        let object = first.strip_prefix("LD_PRELOAD=").unwrap();
        assert_eq!(Path::new(object).file_name().unwrap(), name);
        let mut command = Command::new("env");
        command.args(stdout(&out).lines());
        match runtime {
            "python" => {
                let out = command.args(["python3", "-c", PYTHON]).output().unwrap();
                assert!(stdout(&out).contains("\"obj\":\"memento\""), "{out:?}");
            }
            "node" => {
                let out = command.args(["node", "-e", NODE]).output().unwrap();
                assert_eq!(stdout(&out), "true\n", "{out:?}");
            }
            _ => {
                let out = command.args(["grep", "-c", name, "/proc/self/maps"]).output().unwrap();
                assert!(out.status.success(), "{out:?}");
            }
        }
    }
}
