//! Instructions of an allocation and of a free, counted by callgrind: a test of speed without a clock.
//!
//! The counts lie in `goldens/fast-path.txt` and are exact for the compiler named there; with
//! another compiler they may be a fifth higher. After a change that is meant to change them:
//!
//! ```text
//! MEMENTO_UPDATE_GOLDENS=1 cargo test -p memento-tests --test fast_path
//! ```

use memento_tests::{Language, Shim, compile, directory, run};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Pairs in the shorter run, and more in the longer.
const PAIRS: usize = 10_000;

/// Instructions of one call of `function` while `program` does pairs of them. The difference of two
/// runs is free of start-up and of the first, slow, allocation.
fn instructions(program: &Path, arguments: &[&str], shim: Option<Shim>, function: &str) -> usize {
    let count = |pairs: usize| -> usize {
        let mut command = Command::new("valgrind");
        command
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(format!("--toggle-collect={function}"))
            .arg(program)
            .args(arguments)
            .arg(pairs.to_string());
        if let Some(shim) = shim {
            command.env("LD_PRELOAD", shim.path());
        }
        let got = run(&mut command);
        let line = got.stderr.lines().find_map(|line| line.split_once("Collected :"));
        let (_, count) = line.unwrap_or_else(|| panic!("callgrind counted nothing: {got:?}"));
        count.trim().parse().expect("a number")
    };
    let more = count(2 * PAIRS) - count(PAIRS);
    // Something may happen once in thousands of pairs; the pairs themselves are all alike.
    assert!(more % PAIRS < PAIRS / 10, "{function}: {more} instructions in {PAIRS} calls");
    more / PAIRS
}

/// The Rust program with memento as its global allocator, as users build it.
fn rust_program(target: &Path) -> PathBuf {
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "-p", "memento-alloc", "--example", "pairs"])
        .arg("--manifest-path")
        .arg(directory("../Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        .status()
        .expect("cargo can be started");
    assert!(status.success(), "the example does not build");
    target.join("release/examples/pairs")
}

/// Each count under its name.
fn measured() -> Vec<(String, usize)> {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let mut counts = Vec::new();
    let pairs = compile(Language::C, "c/pairs.c", scratch.path());
    // Small, the largest that is as short, medium, and above 8 KiB, where frees are looked through soon.
    for size in ["24", "1024", "2000", "100000"] {
        for function in ["malloc", "free"] {
            let count = instructions(&pairs, &[size], Some(Shim::Soft), function);
            counts.push((format!("{function}({size})"), count));
        }
    }
    let pairs = compile(Language::Cxx, "cxx/pairs.cpp", scratch.path());
    // `operator delete` is the very code of `free`.
    let new = instructions(&pairs, &["24"], Some(Shim::Soft), "operator new(unsigned long)");
    counts.push(("new(24)".into(), new));
    let pairs = rust_program(&scratch.path().join("target"));
    for (name, function) in [("alloc", "allocate_constant"), ("dealloc", "free_constant")] {
        counts.push((format!("{name}(48)"), instructions(&pairs, &[], None, function)));
    }
    counts
}

fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output().expect("rustc is installed");
    let text = String::from_utf8(output.stdout).expect("rustc writes text");
    text.split_whitespace().nth(1).expect("a version").to_owned()
}

#[test]
fn a_call_takes_as_many_instructions_as_ever() {
    let file = directory("goldens/fast-path.txt");
    let (compiler, got) = (compiler(), measured());
    if std::env::var_os("MEMENTO_UPDATE_GOLDENS").is_some() {
        let mut text = format!("# instructions of one call, by callgrind; rustc {compiler}\n");
        for (name, count) in &got {
            text.push_str(&format!("{name} {count}\n"));
        }
        std::fs::write(&file, text).expect("the file is writable");
        return;
    }
    let golden = std::fs::read_to_string(&file).expect("the goldens are there");
    let exact = golden.contains(&format!("rustc {compiler}\n"));
    let lines: Vec<_> = golden.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines.len(), got.len(), "{golden}");
    for (line, (name, count)) in lines.into_iter().zip(got) {
        let golden = line.strip_prefix(&format!("{name} ")).and_then(|count| count.parse().ok());
        let golden: usize = golden.unwrap_or_else(|| panic!("{name}: golden is {line:?}"));
        if exact {
            assert_eq!(count, golden, "{name}, with the compiler of the golden");
        } else {
            assert!(count <= golden + golden / 5, "{name}: {count}, golden {golden}");
        }
    }
}

/// What the fast paths may cost at most, whatever the compiler.
#[test]
fn the_goldens_keep_their_bounds() {
    let golden = std::fs::read_to_string(directory("goldens/fast-path.txt")).expect("goldens");
    let bounds = [
        ("malloc(24)", 14),
        ("free(24)", 16),
        ("malloc(1024)", 14),
        ("new(24)", 15),
        ("alloc(48)", 9),
        ("dealloc(48)", 12),
    ];
    for (name, most) in bounds {
        let line = golden.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        let count: usize = line.and_then(|count| count.parse().ok()).expect("a count");
        assert!(count <= most, "{name}: {count} instructions, at most {most}");
    }
}
