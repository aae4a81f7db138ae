//! Everything at once, for as long as one wants: `MEMENTO_STRESS_SECONDS` is the time of this test and
//! of memento-alloc's of the same name together, and without it a fixed, small amount of work is
//! done. Choices follow `MEMENTO_STRESS_SEED`, which is random and printed if it is not set; threads
//! interleave as they like all the same. No verdict depends on time.

use memento_tests::{Language, Shim, compile, run};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::process::Command;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

/// Longest single run: the harness takes what lasts much longer for hanging.
const SLICE: u64 = 30;

/// Runs the program for tenths of the time, in slices, each with a seed of its own.
fn stress(program: &Path, shim: Shim, hardened: bool, tenths: u64) {
    let mut left = variable("MEMENTO_STRESS_SECONDS").unwrap_or(0) * tenths / 10;
    let first = variable("MEMENTO_STRESS_SEED");
    let mut seed = first.unwrap_or_else(|| RandomState::new().hash_one(tenths));
    loop {
        let seconds = left.min(SLICE);
        let what = format!("{shim:?}, hardened: {hardened}, MEMENTO_STRESS_SEED={seed}");
        println!("{what}, {seconds} s");
        let mut command = Command::new(program);
        command.args([seconds.to_string(), seed.to_string()]);
        command
            .env("LD_PRELOAD", shim.path())
            .env("MEMENTO_HARDENED", u8::from(hardened).to_string());
        let got = run(&mut command);
        let want = (Some(0), "every object kept its contents\n", "");
        assert_eq!((got.code, &*got.stdout, &*got.stderr), want, "{what}: {got:?}");
        left -= seconds;
        if left == 0 {
            break;
        }
        seed = seed.wrapping_add(1);
    }
}

/// One test: they would only take each other's time.
#[test]
fn objects_keep_their_contents_whoever_holds_them() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let program = compile(Language::Cxx, "cxx/stress.cpp", scratch.path());
    stress(&program, Shim::Soft, false, 3);
    stress(&program, Shim::Soft, true, 2);
    stress(&program, Shim::Emu, false, 2);
}
