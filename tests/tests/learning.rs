//! A footprint that is learned: `learn` in `MEMENTO_CONF`.

use memento_tests::{Language, Outcome, Shim, compile, run};
use std::fs;
use std::path::Path;
use std::process::Command;

const MIB: u64 = 1 << 20;

/// Runs a program that grows to so many MiB.
fn grow(program: &Path, mib: u32, conf: &str) -> Outcome {
    let mut command = Command::new(program);
    command.arg(mib.to_string()).env("LD_PRELOAD", Shim::Soft.path()).env("MEMENTO_CONF", conf);
    run(&mut command)
}

#[test]
fn a_program_learns_what_its_heap_needs() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let program = compile(Language::C, "c/heap_of.c", scratch.path());
    let learned = tempfile::tempdir().expect("a temporary directory");
    let conf = format!("learn:{},print:1", learned.path().display());
    let known = || -> u64 {
        let file = learned.path().join(program.file_name().expect("a name"));
        fs::read_to_string(file).map_or(0, |text| text.parse().expect("decimal digits"))
    };
    let runs = |mib: u32, from: u64, to: u64| {
        let before = known();
        let outcome = grow(&program, mib, &conf);
        assert_eq!((outcome.code, &*outcome.stdout), (Some(0), "grown\n"), "{outcome:?}");
        assert!(outcome.stderr.contains(&format!("footprint:{before},")), "{outcome:?}");
        assert!((from..=to).contains(&known()), "{mib} MiB: {} known", known());
    };
    runs(10, 9 * MIB, 12 * MIB);
    let ten = known();
    runs(10, ten, ten);
    runs(3, ten, ten);
    runs(120, 110 * MIB, 140 * MIB);
    fs::write(learned.path().join(program.file_name().expect("a name")), "no number")
        .expect("writable");
    let outcome = grow(&program, 1, &conf);
    assert!(outcome.code == Some(0) && outcome.stderr.contains("footprint:0,"), "{outcome:?}");
    assert!((MIB / 2..2 * MIB).contains(&known()), "{} known", known());
}

#[test]
fn where_nothing_can_be_learned_that_is_said_once() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let program = compile(Language::C, "c/heap_of.c", scratch.path());
    let outcome = grow(&program, 10, "learn:/no/such/directory");
    assert_eq!((outcome.code, &*outcome.stdout), (Some(0), "grown\n"), "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    assert!(outcome.stderr.contains("cannot write /no/such/directory/"), "{outcome:?}");
    let outcome = grow(&program, 10, "learn:here");
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stderr.contains("bad value: learn:here"), "{outcome:?}");
}
