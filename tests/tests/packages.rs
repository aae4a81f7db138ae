//! What users install, installed as they do: archive, Debian package, wheel, npm package, Lambda layer.

use memento_tests::{Outcome, Python, built, directory, memento, run};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tempfile::TempDir;

/// The directory of the packages, built once.
fn packages() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
        let _ = std::fs::remove_dir_all(&output);
        let shims = built().parent().expect("a target directory");
        let mut command = Command::new(directory("../scripts/package"));
        command.arg(&output).arg(shims).env("MEMENTO_BIN", memento());
        succeeds(&mut command);
        output
    })
}

/// The package whose name ends so.
fn package(end: &str) -> PathBuf {
    let entries = std::fs::read_dir(packages()).expect("the packages are there");
    let mut found = entries.map(|entry| entry.expect("an entry").path());
    found.find(|path| path.to_string_lossy().ends_with(end)).unwrap_or_else(|| panic!("no {end}"))
}

fn succeeds(command: &mut Command) -> Outcome {
    let outcome = run(command.env_remove("LD_PRELOAD").env_remove("MEMENTO_LIB_DIR"));
    assert_eq!(outcome.code, Some(0), "{command:?}: {outcome:?}");
    outcome
}

fn scratch() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// The archive, unpacked.
fn unpacked() -> (TempDir, PathBuf) {
    let scratch = scratch();
    succeeds(Command::new("tar").arg("-xzf").arg(package(".tar.gz")).arg("-C").arg(scratch.path()));
    let only = std::fs::read_dir(scratch.path()).expect("unpacked").next().expect("one directory");
    let root = only.expect("an entry").path();
    (scratch, root)
}

/// What `pkg-config` would say of the archive's file, which is simple enough to be read here.
fn flags(root: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(root.join("lib/pkgconfig/memento.pc")).expect("the file");
    let prefix = root.to_str().expect("text");
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    let all = format!("{} {}", line("Cflags:"), line("Libs:"));
    let all = all.replace("${libdir}", &format!("{prefix}/lib"));
    all.replace("${includedir}", &format!("{prefix}/include"))
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// A program that prints memento's statistics, linked with further words; what it prints.
fn linked(scratch: &Path, compiler: &str, more: &[String], environment: &[(&str, &str)]) -> Value {
    let source = scratch.join("stats.cpp");
    let text = "#include <memento.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <pthread.h>\n\
        static void *work(void *p) { for (int i = 0; i < 1000; i++) free(malloc(i)); return p; }\n\
        int main() { pthread_t t; pthread_create(&t, 0, work, 0); pthread_join(t, 0);\n\
        void *volatile kept = malloc(100); char text[8192]; memento_stats_json(text, sizeof text);\n\
        puts(text); free(kept); return 0; }\n";
    std::fs::write(&source, text).expect("written");
    let program = scratch.join("stats");
    succeeds(
        Command::new(compiler)
            .arg("-x")
            .arg("c++")
            .arg(&source)
            .args(["-x", "none", "-pthread", "-o"])
            .arg(&program)
            .args(more),
    );
    let outcome = succeeds(Command::new(&program).envs(environment.iter().copied()));
    serde_json::from_str(&outcome.stdout).expect("statistics")
}

#[test]
fn the_archive_has_what_programs_are_linked_with() {
    let (scratch, root) = unpacked();
    let dynamic = linked(
        scratch.path(),
        "g++",
        &flags(&root),
        &[("LD_LIBRARY_PATH", root.join("lib/memento").to_str().expect("text"))],
    );
    assert_eq!(dynamic["schema"], "memento.stats/1");
    let include = format!("-I{}", root.join("include").display());
    let library = root.join("lib/libmemento.a").to_str().expect("text").to_owned();
    for more in [vec![include.clone(), library.clone()], vec!["-static".into(), include, library]] {
        let stats = linked(scratch.path(), "g++", &more, &[]);
        let live = stats["classes"].as_array().expect("classes").iter().find(|c| c["size"] == 112);
        assert!(live.is_some(), "the object of 100 bytes, {more:?}: {stats}");
    }
}

/// What a static library needs is bound on the user's machine; all of it has been there since 2.17.
#[test]
fn the_static_library_needs_only_old_functions() {
    let (_scratch, root) = unpacked();
    let outcome =
        succeeds(Command::new("nm").args(["-u", "--no-sort"]).arg(root.join("lib/libmemento.a")));
    let mut needed: Vec<_> =
        outcome.stdout.lines().filter_map(|line| line.trim().split_once(' ')).collect();
    needed
        .retain(|(kind, name)| *kind == "U" && !name.starts_with("_R") && !name.starts_with("_ZN"));
    assert!(needed.len() > 20, "{needed:?}");
    let old = "__compilerrt_abort_impl __errno_location __udivti3 abort bcmp clock_gettime environ fwrite getauxval getrlimit madvise \
               memcpy memmove memset mincore mmap mprotect mremap munmap nanosleep pthread_atfork pthread_key_create \
               pthread_key_delete pthread_setspecific sched_yield strlen syscall sysconf write";
    for (_, name) in needed {
        assert!(old.split_whitespace().any(|known| known == name), "{name} is needed");
    }
}

#[test]
fn the_command_of_the_archive_finds_its_libraries() {
    let (_scratch, root) = unpacked();
    let command = root.join("bin/memento");
    let outcome = succeeds(Command::new(&command).args([
        "run",
        "--report",
        "none",
        "--",
        "grep",
        "-o",
        "/lib/memento/libmemento_all.so",
        "/proc/self/maps",
    ]));
    assert!(outcome.stdout.contains("libmemento_all.so"), "{outcome:?}");
    for hal in ["soft", "emu", "isa"] {
        succeeds(Command::new(&command).args(["run", "--hal", hal, "--", "true"]));
    }
}

#[test]
fn the_debian_package_has_the_same_files() {
    let scratch = scratch();
    let package = package(".deb");
    succeeds(Command::new("dpkg-deb").arg("-x").arg(&package).arg(scratch.path()));
    let (_other, root) = unpacked();
    let files = |root: &Path| {
        let outcome = succeeds(Command::new("find").arg(".").current_dir(root));
        let mut names: Vec<_> = outcome.stdout.lines().map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(files(&scratch.path().join("usr")), files(&root));
    let text = std::fs::read_to_string(scratch.path().join("usr/lib/pkgconfig/memento.pc"))
        .expect("the file");
    assert!(text.starts_with("prefix=/usr\n"), "{text}");
    let outcome =
        succeeds(Command::new("dpkg-deb").arg("-f").arg(&package).args(["Package", "Depends"]));
    assert_eq!(outcome.stdout, "Package: memento\nDepends: libc6 (>= 2.34)\n");
}

/// Installs packages for a Python into a directory; `None`, with pip's last line, if pip cannot.
fn pip_install(python: &Path, target: &Path, words: &[&str]) -> Option<()> {
    let mut command = Command::new(python);
    command.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--target",
    ]);
    let outcome = run(command.arg(target).args(words).env_remove("LD_PRELOAD"));
    if outcome.code != Some(0) {
        eprintln!(
            "not run: pip cannot install {words:?}: {}",
            outcome.stderr.lines().last().unwrap_or_default()
        );
    }
    (outcome.code == Some(0)).then_some(())
}

/// A Python that has pip.
fn python() -> PathBuf {
    let mut all = Python::served();
    let has_pip = |python: &Python| {
        run(Command::new(&python.path).args(["-m", "pip", "--version"])).code == Some(0)
    };
    let mut newest = all.iter().rposition(has_pip);
    if newest.is_none() {
        let needs = directory("../scripts/need.sh");
        run(Command::new("bash").args(["-c", ". \"$0\" && need python3-pip pip3"]).arg(needs));
        newest = all.iter().rposition(has_pip);
    }
    let newest = newest.expect("no Python has pip: install Debian's package python3-pip");
    all.swap_remove(newest).path
}

#[test]
fn the_wheel_runs_a_script_and_says_what_it_serves() {
    let scratch = scratch();
    let python = python();
    let site = scratch.path().join("site");
    pip_install(&python, &site, &["--no-index", package(".whl").to_str().expect("text")])
        .expect("a wheel without needs");
    let script = scratch.path().join("script.py");
    let text = "import json, memento, sys\nmemento.invocation_end()\nprint(json.dumps([memento.stats(), sys.argv[1:]]))";
    std::fs::write(&script, text).expect("written");
    let said = |words: &[&str]| -> Value {
        let mut command = Command::new(&python);
        let outcome =
            succeeds(command.args(words).arg(&script).arg("--own").env("PYTHONPATH", &site));
        serde_json::from_str(&outcome.stdout).expect("JSON")
    };
    let with = said(&["-m", "memento", "run"]);
    assert_eq!(with[0]["schema"], "memento.stats/1");
    assert_eq!(with[0]["python"]["domains"]["obj"], "memento");
    assert_eq!(with[1], serde_json::json!(["--own"]));
    assert_eq!(
        said(&["-m", "memento", "run", "--", python.to_str().expect("text")])[0]["hal"],
        "soft"
    );
    assert!(said(&[])[0].is_null(), "without it, everything can be called all the same");
    let wrong = run(Command::new(&python).args(["-m", "memento"]).env("PYTHONPATH", &site));
    assert_eq!(wrong.code, Some(125));
}

/// The npm package in a project's `node_modules`, by npm where that is installed.
fn npm_installed(project: &Path) -> PathBuf {
    let package = package("functions-0.1.0.tgz");
    let modules = project.join("node_modules/memento-functions");
    std::fs::write(project.join("package.json"), "{\"private\": true}").expect("written");
    let npm = Command::new("npm")
        .args(["install", "--offline", "--no-audit", "--no-fund"])
        .arg(&package)
        .current_dir(project)
        .output();
    if !npm.is_ok_and(|npm| npm.status.success()) {
        std::fs::create_dir_all(&modules).expect("made");
        succeeds(
            Command::new("tar")
                .arg("-xzf")
                .arg(&package)
                .args(["--strip-components", "1", "-C"])
                .arg(&modules),
        );
    }
    modules
}

/// It comes built, like the shared objects, and must load where they do.
#[test]
fn the_npm_packages_addon_needs_only_old_functions() {
    let scratch = scratch();
    let addon = npm_installed(scratch.path()).join("memento.node");
    let symbols = succeeds(Command::new("readelf").arg("-sW").arg(addon)).stdout;
    let versions: Vec<_> =
        symbols.lines().filter_map(|line| line.split("@GLIBC_2.").nth(1)).collect();
    assert!(!versions.is_empty(), "{symbols}");
    for version in versions {
        let minor = version.split([' ', '.']).next().and_then(|number| number.parse::<u32>().ok());
        assert!(minor.expect("a number") <= 17, "GLIBC_2.{version}");
    }
}

#[test]
fn the_npm_package_runs_a_program_and_says_what_it_serves() {
    let scratch = scratch();
    let modules = npm_installed(scratch.path());
    let app = scratch.path().join("app.js");
    let text = "const memento = require('memento-functions'); memento.invocationEnd();\
                console.log(JSON.stringify([memento.stats(), process.argv[2]])); process.exitCode = 3;";
    std::fs::write(&app, text).expect("written");
    let said = |command: &mut Command| -> Value {
        let outcome =
            run(command.arg(&app).arg("own").current_dir(scratch.path()).env_remove("LD_PRELOAD"));
        assert_eq!(outcome.code, Some(3), "{outcome:?}");
        serde_json::from_str(&outcome.stdout).expect("JSON")
    };
    let with = said(Command::new("node").arg(modules.join("run.js")).arg("node"));
    assert_eq!(with[0]["schema"], "memento.stats/1");
    assert!(with[0]["node"]["heap_pages"]["used"].as_u64().expect("pages") > 4, "{with}");
    assert_eq!(with[1], "own");
    assert!(said(&mut Command::new("node"))[0].is_null());
    let missing = run(Command::new("node").arg(modules.join("run.js")).arg("no-such-program-here"));
    assert_eq!(missing.code, Some(127));
}

/// The Lambda layer as it lies under `/opt`.
fn layer() -> TempDir {
    let scratch = scratch();
    let unpack = "import os, sys, zipfile\narchive = zipfile.ZipFile(sys.argv[1])\narchive.extractall(sys.argv[2])\n\
                  for entry in archive.infolist():\n    os.chmod(os.path.join(sys.argv[2], entry.filename), entry.external_attr >> 16)";
    succeeds(Command::new("python3").args(["-c", unpack]).arg(package(".zip")).arg(scratch.path()));
    scratch
}

/// Plays Lambda for a function; what it answered, and KiB resident after each invocation.
fn invoked(words: &[&str], configure: impl FnOnce(&mut Command)) -> (Vec<Value>, Vec<u64>, String) {
    let mut command = Command::new("python3");
    command
        .arg(directory("lambda/runtime_api.py"))
        .arg("5")
        .args(words)
        .current_dir(directory("lambda"));
    command.env_remove("LD_PRELOAD").env_remove("NODE_OPTIONS");
    configure(&mut command);
    let outcome = run(&mut command);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let document: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let list = |name: &str| document[name].as_array().expect("a list").clone();
    let kib = list("resident_kib").iter().map(|kib| kib.as_u64().expect("a number")).collect();
    (list("responses"), kib, outcome.stderr)
}

fn totals(responses: &[Value]) -> Vec<&Value> {
    responses.iter().map(|response| &response["total"]).collect()
}

#[test]
fn a_python_function_on_lambda_gives_back_after_each_response() {
    let scratch = scratch();
    let python = python();
    // The client as Lambda has it.
    let client = ["awslambdaric", "simplejson", "snapshot-restore-py"];
    let Some(()) = pip_install(&python, scratch.path(), &client) else { return };
    let layer = layer();
    let wrapper = layer.path().join("memento-wrapper");
    let function = [python.to_str().expect("text"), "-m", "awslambdaric", "app.handler"];
    let path = |command: &mut Command| {
        command.env("PYTHONPATH", scratch.path()).env("PYTHONDONTWRITEBYTECODE", "1");
    };
    let (stock, stock_kib, _) = invoked(&function, path);
    let preload = layer.path().join("memento/lib/libmemento_all.so");
    let (_, kept_kib, _) = invoked(
        &[&["env", &format!("LD_PRELOAD={}", preload.display())][..], &function].concat(),
        path,
    );
    let (got, kib, stderr) =
        invoked(&[&[wrapper.to_str().expect("text")][..], &function].concat(), path);
    println!(
        "KiB resident between invocations: stock {stock_kib:?}, preloaded {kept_kib:?}, by the wrapper {kib:?}"
    );
    assert_eq!(totals(&got), totals(&stock), "{stderr}");
    assert!(got.iter().all(|response| response["served"] == true), "{got:?}");
    for (with, without) in kib.iter().zip(&kept_kib) {
        assert!(with * 100 <= without * 75, "{with} KiB, without giving back {without}");
    }
    assert!(kib[4] * 100 <= stock_kib[4] * 115, "{} KiB, stock {}", kib[4], stock_kib[4]);
}

/// The client for Node as Lambda has it, or a small one where npm cannot install that.
fn node_client() -> PathBuf {
    let installed = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ric");
    let outcome = run(Command::new("bash").arg(directory("lambda/install_ric.sh")).arg(&installed));
    if outcome.code == Some(0) {
        return outcome.stdout.trim_end().into();
    }
    eprintln!("without aws-lambda-ric, which cannot be installed: {outcome:?}");
    directory("lambda/client.js")
}

#[test]
fn a_node_function_on_lambda_gives_back_after_each_response() {
    let layer = layer();
    let wrapper = layer.path().join("memento-wrapper");
    let client = node_client();
    let function = ["node", client.to_str().expect("text"), "app.handler"];
    let (stock, stock_kib, _) = invoked(&function, |_| ());
    let preload = layer.path().join("memento/lib/libmemento_all.so");
    let preloaded = format!("LD_PRELOAD={}", preload.display());
    let (_, kept_kib, _) = invoked(&[&["env", &preloaded][..], &function].concat(), |_| ());
    let (got, kib, stderr) =
        invoked(&[&[wrapper.to_str().expect("text")][..], &function].concat(), |command| {
            command.env("MEMENTO_TEST_INDEX", layer.path().join("memento/node/index.js"));
            command.env(
                "NODE_OPTIONS",
                format!("--require {}", directory("lambda/count.js").display()),
            );
        });
    println!(
        "KiB resident between invocations: stock {stock_kib:?}, preloaded {kept_kib:?}, by the wrapper {kib:?}"
    );
    assert_eq!(totals(&got), totals(&stock), "{stderr}");
    assert!(got.iter().all(|response| response["served"] == true), "{got:?}");
    // Frozen before the last, it may not have come to it.
    let gave_back = stderr.matches("gave back, 0 kept").count();
    assert!((4..=5).contains(&gave_back), "{stderr}");
    // Half of what the function has OpenSSL allocate, which is the only part that does not wait for V8's collection.
    const SURE: u64 = 16 << 10;
    for (with, without) in kib.iter().zip(&kept_kib) {
        assert!(with + SURE <= *without, "{with} KiB, without giving back {without}");
    }
}
