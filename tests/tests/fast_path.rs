//! Instructions of a malloc/free pair, counted by callgrind: a test of speed without a clock.
//!
//! The counts lie in `goldens/fast-path.txt` and are exact for the compiler named there; with
//! another compiler they may be a fifth higher. After a change that is meant to change them:
//!
//! ```text
//! MEMENTO_UPDATE_GOLDENS=1 cargo test -p memento-tests --test fast_path
//! ```

use memento_tests::{Language, Shim, compile, directory, run};
use std::path::Path;
use std::process::Command;

/// Bytes of the objects: small, the largest small, medium, the largest path before mappings.
const SIZES: [usize; 4] = [24, 512, 2000, 100_000];

/// Instructions inside malloc and free while `program` does `pairs` of them.
fn instructions(program: &Path, size: usize, pairs: usize) -> usize {
    let got = run(Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--toggle-collect=malloc", "--toggle-collect=free"])
        .arg(program)
        .args([size.to_string(), pairs.to_string()])
        .env("LD_PRELOAD", Shim::Soft.path()));
    let line = got.stderr.lines().find_map(|line| line.split_once("Collected :"));
    let (_, count) = line.unwrap_or_else(|| panic!("callgrind counted nothing: {got:?}"));
    count.trim().parse().expect("a number")
}

/// Pairs in the shorter run, and more in the longer.
const PAIRS: usize = 10_000;

/// The counts, one line a size. The difference of two runs is free of start-up and of the first,
/// slow, allocation.
fn measured() -> Vec<(usize, usize)> {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let program = compile(Language::C, "c/pairs.c", scratch.path());
    let per_pair = |size| {
        let more = instructions(&program, size, 2 * PAIRS) - instructions(&program, size, PAIRS);
        // Something may happen once in thousands of pairs; the pairs themselves are all alike.
        assert!(more % PAIRS < PAIRS / 10, "{size} bytes: {more} instructions in {PAIRS} pairs");
        (size, more / PAIRS)
    };
    SIZES.into_iter().map(per_pair).collect()
}

fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output().expect("rustc is installed");
    let text = String::from_utf8(output.stdout).expect("rustc writes text");
    text.split_whitespace().nth(1).expect("a version").to_owned()
}

#[test]
fn a_pair_takes_as_many_instructions_as_ever() {
    let file = directory("goldens/fast-path.txt");
    let (compiler, got) = (compiler(), measured());
    if std::env::var_os("MEMENTO_UPDATE_GOLDENS").is_some() {
        let mut text = format!("# bytes, instructions of malloc and free; rustc {compiler}\n");
        for (size, count) in &got {
            text.push_str(&format!("{size} {count}\n"));
        }
        std::fs::write(&file, text).expect("the file is writable");
        return;
    }
    let golden = std::fs::read_to_string(&file).expect("the goldens are there");
    let exact = golden.contains(&format!("rustc {compiler}\n"));
    let lines: Vec<_> = golden.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines.len(), got.len(), "{golden}");
    for (line, (size, count)) in lines.into_iter().zip(got) {
        let golden = line.strip_prefix(&format!("{size} ")).and_then(|count| count.parse().ok());
        let golden: usize = golden.unwrap_or_else(|| panic!("{size} bytes: golden is {line:?}"));
        if exact {
            assert_eq!(count, golden, "{size} bytes, with the compiler of the golden");
        } else {
            assert!(count <= golden + golden / 5, "{size} bytes: {count}, golden {golden}");
        }
    }
}
