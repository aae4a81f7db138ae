//! C and C++ programs that ask for everything the standards fix, and print the answers: each
//! shared object must give those of the stock library.

use memento_tests::{Bindings, Language, Outcome, Reported, Shim, compile, run};
use std::path::Path;
use std::process::Command;

fn with(shim: Shim, program: &Path) -> Outcome {
    let path = shim.path();
    let mut command = Command::new(program);
    command.env("LD_PRELOAD", &path);
    let bindings = Bindings::of(&mut command);
    let outcome = run(&mut command);
    assert_eq!(bindings.served_by(&path), 1, "{shim:?} did not serve the program");
    outcome
}

fn same_answers(language: Language, source: &str, lines: usize) {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let program = compile(language, source, scratch.path());
    let stock = run(&mut Command::new(&program));
    assert_eq!((stock.code, &*stock.stderr), (Some(0), ""), "{stock:?}");
    assert!(stock.stdout.lines().count() >= lines, "{stock:?}");
    assert!(!stock.stdout.contains("wrong"), "the test itself is wrong: {stock:?}");
    for &shim in Shim::BACKENDS {
        let got = with(shim, &program);
        for (got, stock) in got.stdout.lines().zip(stock.stdout.lines()) {
            assert_eq!(got, stock, "{shim:?} answers otherwise");
        }
        assert!(got == stock, "{shim:?}: {got:?}");
    }
}

#[test]
fn the_malloc_family_answers_like_glibc() {
    same_answers(Language::C, "c/conformance.c", 90);
}

#[test]
fn the_operators_answer_like_libstdcxx() {
    same_answers(Language::Cxx, "cxx/operators.cpp", 80);
}

#[test]
fn a_program_that_replaces_the_plain_operators_gets_all_forms() {
    same_answers(Language::Cxx, "cxx/replaced.cpp", 5);
}

/// glibc 2.36 still rounds `aligned_alloc`'s alignment up where C17 and later glibc say `EINVAL`,
/// and lacks C23's sized frees, so that these have expected answers instead of a comparison.
#[test]
fn what_glibc_answers_only_since_later_versions() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let program = compile(Language::C, "c/later_glibc.c", scratch.path());
    for &shim in Shim::BACKENDS {
        let got = with(shim, &program);
        assert_eq!(
            got.stdout,
            "aligned_alloc(0): null, errno 22\n\
             aligned_alloc(3): null, errno 22\n\
             aligned_alloc(24): null, errno 22\n\
             sized frees: done\n\
             cfree: done\n",
            "{shim:?}: {got:?}"
        );
        assert_eq!((got.code, &*got.stderr), (Some(0), ""), "{shim:?}");
    }
}

/// `malloc_stats` writes to stderr, and nothing else does.
#[test]
fn malloc_stats_speaks_on_stderr() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let program = compile(Language::C, "c/stats.c", scratch.path());
    for &shim in Shim::BACKENDS {
        let got = with(shim, &program);
        assert_eq!((got.code, &*got.stdout), (Some(0), ""), "{shim:?}: {got:?}");
        let field = |name: &str| -> usize {
            let line = got.stderr.lines().find_map(|l| l.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name:?} in {got:?}")).parse().expect("a number")
        };
        let (held, live) = (field("memento: bytes held "), field("memento: bytes in use "));
        assert!(live >= 5 << 20 && held >= live && field("memento: peak held ") >= held, "{got:?}");
        assert!(field("memento: mapped objects ") >= 1, "{got:?}");
    }
}

/// Executing the instructions and calling the emulator are the same to the hardware: every event
/// and every cycle.
#[test]
fn the_instructions_cost_what_the_emulator_says() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let program = compile(Language::C, "c/conformance.c", scratch.path());
    let counts = |shim| {
        let got = Reported::run(shim, &program, &[], |_| ());
        assert_eq!(got.outcome.code, Some(0), "{shim:?}: {:?}", got.outcome);
        assert!(got.number("emulator.hot.alloc_hits") > 1000, "{}", got.report);
        got.report["emulator"].clone()
    };
    assert_eq!(counts(Shim::Isa), counts(Shim::Emu));
}
