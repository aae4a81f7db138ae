//! `memento doctor`: proof inside the processes, and what stands in the way.

mod common;

use common::{compile, memento, stderr, stdout};
use serde_json::Value;
use std::fs;
use std::process::{Command, Stdio};

/// Runs the doctor on a command, with changes to the environment; its exit code and the document.
fn doctor(environment: &[(&str, &str)], command: &[&str]) -> (Option<i32>, Value) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("doctor.json");
    let mut doctor =
        memento(&["doctor", "--report", "json", "--output", file.to_str().unwrap(), "--"]);
    doctor.args(command).envs(environment.iter().copied()).stdin(Stdio::null());
    let out = doctor.output().unwrap();
    let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{e}: {}", stderr(&out)));
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["schema"], "memento.doctor/1");
    (out.status.code(), document)
}

/// The texts of a document's findings of one level.
fn findings(document: &Value, level: &str) -> Vec<String> {
    let all = document["findings"].as_array().unwrap().iter();
    all.filter(|f| f["level"] == level).map(|f| f["text"].as_str().unwrap().to_owned()).collect()
}

/// The interpreter itself.
fn python() -> String {
    let out = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    stdout(&out.unwrap()).trim_end().to_owned()
}

#[test]
fn python_is_served_and_says_so() {
    let grow = "x = [str(i) for i in range(30000)]";
    let (code, document) = doctor(&[], &[&python(), "-c", grow]);
    assert_eq!((code, &document["served"]), (Some(0), &Value::from(true)), "{document}");
    assert_eq!(document["runtime"], "python");
    let process = &document["processes"][0];
    assert!(process["allocations"].as_u64().unwrap() > 30000, "{process}");
    assert_eq!(process["python"]["domains"]["obj"], "memento");
    assert!(process["node"].is_null());
}

#[test]
fn node_is_served_and_says_so_behind_a_shell_too() {
    let script = "const rows = Array.from({ length: 50000 }, (_, i) => ({ i }))";
    let (code, document) = doctor(&[], &["sh", "-c", "true; exec node -e \"$0\"", script]);
    assert_eq!(code, Some(0), "{document}");
    let processes = document["processes"].as_array().unwrap();
    let node = processes.iter().find(|p| !p["node"].is_null()).unwrap();
    assert!(node["node"]["heap_pages"]["peak"].as_u64().unwrap() > 8, "{node}");
    assert_eq!(document["runtime"], "c", "a shell's script is not guessed");
}

#[test]
fn a_static_program_cannot_be_served() {
    let (_directory, program) = compile("int main(void) { return 0; }", &["-static"]);
    let (code, document) = doctor(&[], &[&program]);
    assert_eq!(code, Some(1));
    assert!(findings(&document, "problem")[0].contains("statically linked"), "{document}");
    assert_eq!(document["processes"].as_array().unwrap().len(), 0);
}

#[test]
fn a_choice_of_pythons_own_allocators_is_named() {
    let (code, document) = doctor(&[("PYTHONMALLOC", "debug")], &[&python(), "-c", "pass"]);
    assert_eq!(code, Some(1));
    let problems = findings(&document, "problem");
    assert!(problems.iter().any(|p| p.contains("PYTHONMALLOC=debug")), "{problems:?}");
}

#[test]
fn a_library_loaded_with_deep_binding_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let (source, library) = (directory.path().join("p.c"), directory.path().join("libplugin.so"));
    fs::write(&source, "#include <stdlib.h>\nvoid *get(void) { return malloc(100); }").unwrap();
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-fno-builtin", "-o"])
        .args([&library, &source])
        .status();
    assert!(built.unwrap().success());
    let text = |flags: &str| {
        format!(
            "#define _GNU_SOURCE\n#include <dlfcn.h>\nint main(void) {{\
             void *l = dlopen(\"{}\", RTLD_NOW{flags}); void *(*get)(void) = dlsym(l, \"get\");\
             return get() ? 0 : 1; }}",
            library.display()
        )
    };
    let (_directory, deep) = compile(&text(" | RTLD_DEEPBIND"), &["-ldl"]);
    let (code, document) = doctor(&[], &[&deep]);
    let problems = findings(&document, "problem");
    assert_eq!(code, Some(1));
    assert!(
        problems.iter().any(|p| p.contains("libplugin.so") && p.contains("RTLD_DEEPBIND")),
        "{problems:?}"
    );
    let (_directory, plain) = compile(&text(""), &["-ldl"]);
    assert_eq!(doctor(&[], &[&plain]).0, Some(0));
}

#[test]
fn an_allocator_of_the_programs_own_is_named() {
    let source = "#include <stddef.h>\nstatic char pool[1 << 20]; static size_t used;\
        void *malloc(size_t n) { void *p = pool + used; used += (n + 15) & ~15ul; return p; }\
        void free(void *p) { (void)p; }\
        int main(void) { return malloc(5) ? 0 : 1; }";
    let (_directory, program) = compile(source, &["-rdynamic"]);
    let (code, document) = doctor(&[], &[&program]);
    let problems = findings(&document, "problem");
    assert_eq!(code, Some(1), "{document}");
    assert!(problems.iter().any(|p| p.contains("an allocator of its own")), "{problems:?}");
}

#[test]
fn another_preloaded_allocator_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let other = directory.path().join("libjemalloc.so.2");
    let built = Command::new("cc")
        .args(["-shared", "-o"])
        .arg(&other)
        .args(["-x", "c", "/dev/null"])
        .status();
    assert!(built.unwrap().success());
    let (code, document) = doctor(&[("LD_PRELOAD", other.to_str().unwrap())], &["ls"]);
    assert_eq!(code, Some(0), "memento is first and serves: {document}");
    let warnings = findings(&document, "warning");
    assert!(warnings.iter().any(|w| w.contains("jemalloc is preloaded as well")), "{warnings:?}");
}

#[test]
fn the_page_says_it_in_words_and_streams_pass_through() {
    let out = memento(&["doctor", "--", "sh", "-c", "echo out; exit 3"]).output().unwrap();
    assert_eq!((out.status.code(), stdout(&out).as_str()), (Some(0), "out\n"));
    let page = stderr(&out);
    assert!(page.starts_with("memento serves it: sh -c echo out; exit 3\n"), "{page}");
    assert!(
        page.contains("allocations") && page.contains("static TLS: the shared object needs"),
        "{page}"
    );
    let out = memento(&["doctor", "--", "no-such-program-here"]).output().unwrap();
    assert_eq!(out.status.code(), Some(127));
}

#[test]
fn a_limit_of_address_space_is_a_warning() {
    let line = "ulimit -v 8000000; exec \"$0\" doctor -- true";
    let out = Command::new("sh")
        .args(["-c", line, env!("CARGO_BIN_EXE_memento")])
        .env("MEMENTO_LIB_DIR", common::libraries())
        .output();
    let out = out.unwrap();
    assert_eq!(out.status.code(), Some(0));
    assert!(
        stderr(&out).contains("address space is limited (ulimit -v) to 7812 MiB"),
        "{}",
        stderr(&out)
    );
}
