//! What cannot run, or cannot load the shared object, is named with its reason.

mod common;

use common::{compile, memento, output, report, stderr, stdout};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;

const NOTHING: &str = "int main(void) { return 0; }";

/// The reason given for a program that ran without the shared object.
fn reason(program: &[&str]) -> String {
    let (_, document) = report(&["--hal", "emu"], program);
    for absent in ["classes", "software", "emulator", "bytes_requested"] {
        assert!(document.get(absent).is_none(), "{absent} must be absent: {document}");
    }
    let processes = document["processes"].as_array().unwrap();
    assert_eq!(processes.len(), 1);
    assert_eq!(processes[0]["loaded"], false);
    assert!(document["wall_ns"].as_u64().unwrap() > 0, "what the kernel knows is there");
    processes[0]["reason"].as_str().unwrap().to_owned()
}

#[test]
fn a_static_program() {
    let (_directory, program) = compile(NOTHING, &["-static"]);
    assert!(reason(&[&program]).contains("statically linked"));
    let out = output(&["run", "--", &program]);
    assert!(stderr(&out).contains("the shim did not load"), "{}", stderr(&out));
    let out = output(&["run", "--report", "none", "--", &program]);
    assert!(stderr(&out).contains("statically linked"), "{}", stderr(&out));
    assert_eq!(out.status.code(), Some(0));
}

/// The loader of such a program ends it for symbols that it lacks, so that it must not be told of the shared object.
#[test]
fn a_program_of_another_c_library() {
    let directory = tempfile::tempdir().unwrap();
    let loader = directory.path().join("ld-musl-x86_64.so.1");
    std::os::unix::fs::symlink("/lib64/ld-linux-x86-64.so.2", &loader).unwrap();
    let source = "#include <stdlib.h>\nint main(void) { return getenv(\"LD_PRELOAD\") ? 1 : 0; }";
    let option = format!("-Wl,--dynamic-linker={}", loader.display());
    let (_directory, program) = compile(source, &[&option]);
    assert!(reason(&[&program]).contains("another C library (musl)"));
    for report in ["text", "none"] {
        let out = output(&["run", "--report", report, "--", &program]);
        assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    }
}

#[test]
fn a_script_whose_interpreter_is_static() {
    let (directory, program) = compile(NOTHING, &["-static"]);
    let script = directory.path().join("script");
    fs::write(&script, format!("#!{program}\n")).unwrap();
    fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    assert!(reason(&[script.to_str().unwrap()]).contains("statically linked"));
}

#[test]
fn a_program_that_the_loader_refuses() {
    // It needs a library that does not exist, so the loader ends it before any constructor runs.
    let directory = tempfile::tempdir().unwrap();
    let library = directory.path().join("libgone.so");
    let status = std::process::Command::new("cc")
        .args(["-shared", "-o", library.to_str().unwrap(), "-x", "c", "/dev/null"])
        .status()
        .unwrap();
    assert!(status.success());
    let options = ["-Wl,--no-as-needed", library.to_str().unwrap()];
    let (_program_directory, program) = compile(NOTHING, &options);
    fs::remove_file(&library).unwrap();
    assert!(reason(&[&program]).contains("no proof of loading"));
}

#[test]
fn programs_that_are_not_there_or_not_executable() {
    let out = output(&["run", "--", "no-such-program-here"]);
    assert_eq!(out.status.code(), Some(127));
    assert_eq!(stderr(&out), "memento: no-such-program-here: no such program\n");

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("text");
    fs::write(&file, "echo x\n").unwrap();
    let out = output(&["run", "--", file.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(126));
    assert!(stderr(&out).contains("cannot be executed"), "{}", stderr(&out));

    let out = output(&["run", "--", directory.path().to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(126));
}

#[test]
fn memento_s_own_failures_are_125() {
    for arguments in [
        &["run", "--output", "/no/such/dir/file", "--", "true"][..],
        &["run", "--hal", "fast", "--", "true"],
        &["run"],
        &["run", "--conf", "/no/such.toml", "--", "true"],
        &["replay", "/no/such.trace"],
    ] {
        let out = output(arguments);
        assert_eq!(out.status.code(), Some(125), "{arguments:?}");
        assert!(!stderr(&out).is_empty());
    }
    let out = memento(&["run", "--", "true"]).env("MEMENTO_LIB_DIR", "/no/libs").output().unwrap();
    assert_eq!(out.status.code(), Some(125));
    assert!(stderr(&out).contains("looked in /no/libs"), "{}", stderr(&out));
}

#[test]
fn a_report_that_cannot_be_written_is_said_and_never_hides_the_programs_failure() {
    let run = |line| output(&["run", "--output", "/dev/full", "--", "sh", "-c", line]);
    let out = run("exit 0");
    assert_eq!(out.status.code(), Some(125));
    assert!(stderr(&out).contains("cannot write the report to /dev/full"), "{}", stderr(&out));
    assert_eq!(run("exit 4").status.code(), Some(4));
    assert_eq!(run("kill -9 $$").status.signal(), Some(9));
}

#[test]
fn a_conf_file_with_a_mistake_is_refused_before_anything_runs() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("conf.toml");
    fs::write(&file, "[emulator]\nhot_cicles = 3\n").unwrap();
    let out = output(&["run", "--conf", file.to_str().unwrap(), "--", "echo", "ran"]);
    assert_eq!(out.status.code(), Some(125));
    assert!(out.stdout.is_empty());
    assert!(stderr(&out).contains("`hot_cicles`; there are hot_cycles"), "{}", stderr(&out));
}

#[test]
fn a_limit_on_file_sizes_costs_the_counts_and_not_the_program() {
    // 512 bytes a block: less than a counters file, and less than a trace.
    let line = "ulimit -f 8; exec sh -c 'echo ran'";
    let (out, document) = report(&[], &["sh", "-c", line]);
    assert_eq!((out.status.code(), stdout(&out).as_str()), (Some(0), "ran\n"));
    let processes = document["processes"].as_array().unwrap();
    assert_eq!(processes.len(), 2);
    assert!(processes[0]["reason"].is_null(), "the image before the limit counted");
    assert_eq!(processes[1]["loaded"], true);
    let reason = processes[1]["reason"].as_str().unwrap();
    assert!(reason.contains("limit on file sizes"), "{reason}");
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("t.trace");
    let out = output(&["record", "-o", trace.to_str().unwrap(), "--", "sh", "-c", line]);
    assert_eq!((out.status.code(), stdout(&out).as_str()), (Some(0), "ran\n"));
    assert!(stderr(&out).contains("recording stopped"), "{}", stderr(&out));
}
