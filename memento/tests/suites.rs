//! The suites of data processing and platform operations, and the packages that `--setup` fetches: real programs,
//! tiny inputs, known answers.

mod common;

use common::{memento, need, stderr, stdout};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

fn bench(directory: &Path, words: &[&str]) -> (Output, Vec<Value>) {
    let path = directory.join("r.json");
    let export = format!("--export={}", path.display());
    let few = ["bench", "--runs=1", "--watched=0", "--size=tiny", &export];
    let mut command = memento(&[&few[..], words].concat());
    let out = command.env("MEMENTO_CACHE_DIR", directory.join("cache")).output().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap_or_default();
    (out, document["workloads"].as_array().cloned().unwrap_or_default())
}

#[test]
fn every_program_of_the_suites_gives_its_known_answer() {
    for package in ["crun", "redis-server", "redis-tools", "memcached", "sqlite3", "npm"] {
        need(package, if package == "redis-tools" { "redis-benchmark" } else { package });
    }
    let directory = tempfile::tempdir().unwrap();
    let mut setup = memento(&["bench", "--setup"]);
    let out = setup.env("MEMENTO_CACHE_DIR", directory.path().join("cache")).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let words = ["--only=stock,memento", "mako_page", "markdown_page", "data", "platform", "rust"];
    let (out, workloads) = bench(directory.path(), &words);
    assert_eq!(out.status.code(), Some(0), "{}", stdout(&out));
    assert_eq!(workloads.len(), 2 + 1 + 4 + 6);
    for workload in &workloads {
        if let Some(why) = workload["skipped"].as_str() {
            // Only what a kernel, or a container around this test, may refuse.
            assert_eq!(workload["name"], "platform/containers", "{why}");
            assert!(why.starts_with("containers cannot be made here: "), "{why}");
            continue;
        }
        for cell in workload["cells"].as_array().unwrap() {
            assert_eq!(cell["samples"].as_array().unwrap().len(), 1, "{workload}");
        }
        let is_checked_by_its_client =
            ["data/redis", "data/memcached"].contains(&workload["name"].as_str().unwrap());
        assert_eq!(workload.get("checked").is_none(), is_checked_by_its_client, "{workload}");
    }
}

#[test]
fn where_containers_are_refused_that_is_said_and_the_rest_is_measured() {
    let directory = tempfile::tempdir().unwrap();
    let crun = directory.path().join("crun");
    std::fs::write(&crun, "#!/bin/sh\necho namespaces are not allowed >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&crun, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let path = std::env::join_paths(
        [directory.path().to_owned()].into_iter().chain(std::env::split_paths(&path)),
    );
    let words = ["bench", "--only=stock", "--runs=1", "--watched=0", "--size=tiny", "platform"];
    let mut command = memento(&words);
    command.env("PATH", path.unwrap()).env("MEMENTO_CACHE_DIR", directory.path().join("cache"));
    let out = command.output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let text = stdout(&out);
    let refused = "platform/containers\n  not run: containers cannot be made here: ";
    assert!(text.contains(refused), "{text}");
    assert!(text.contains("platform/unpack_layer\n     "), "{text}");
}

#[test]
fn the_rust_function_has_memento_built_in() {
    let directory = tempfile::tempdir().unwrap();
    let (out, workloads) = bench(directory.path(), &["--only=stock,memento", "cart_quotes"]);
    assert_eq!(out.status.code(), Some(0), "{}", stdout(&out));
    assert_eq!(workloads[0]["checked"], "cart_quotes tiny b2571b99 27028");
    let settings = |program: &str| {
        let mut command = Command::new(program);
        let out = command.arg("tiny").env("MEMENTO_CONF", "print:1").output().unwrap();
        (stdout(&out), stderr(&out).contains("huge_waste"))
    };
    let answer = "cart_quotes tiny b2571b99 27028\n".to_owned();
    // Nothing is preloaded: what says its settings is in the program.
    assert_eq!(settings(env!("CARGO_BIN_EXE_memento-cart-quotes")), (answer.clone(), false));
    assert_eq!(settings(env!("CARGO_BIN_EXE_memento-cart-quotes-on-memento")), (answer, true));
}

#[test]
fn the_rust_function_serves_events() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("e.json"), r#"{"size": "tiny"}"#).unwrap();
    for program in [
        env!("CARGO_BIN_EXE_memento-cart-quotes"),
        env!("CARGO_BIN_EXE_memento-cart-quotes-on-memento"),
    ] {
        let words = ["bench", "--only=stock", "--runs=1", "--invocations=5", "--event=e.json"];
        let mut command = memento(&[&words[..], &["--runtime-api", "--", program]].concat());
        let out = command.current_dir(directory.path()).output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{}", stdout(&out));
        assert!(stdout(&out).contains("5 invocations in each process"), "{}", stdout(&out));
        std::fs::write(directory.path().join("no.json"), r#"{"size": "huge"}"#).unwrap();
        let words = ["bench", "--only=stock", "--runs=1", "--event=no.json", "--runtime-api", "--"];
        let mut command = memento(&[&words[..], &[program]].concat());
        let out = command.current_dir(directory.path()).output().unwrap();
        assert_eq!(out.status.code(), Some(1));
        assert!(stdout(&out).contains("it failed: no size huge"), "{}", stdout(&out));
    }
}
