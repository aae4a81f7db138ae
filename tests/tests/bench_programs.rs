//! The benchmark programs compute the same on every allocator. Each checks the contents of its
//! objects and prints a checksum that depends neither on the allocator nor on which thread came
//! first, so that they are tests as well as benchmarks.

use memento_tests::{Bindings, Shim, directory, run};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A run of a program that the golden file knows: its name and, where it takes any, its threads.
type Case = (String, Option<u32>);

/// The directory of the programs' sources.
fn sources() -> PathBuf {
    directory("../benches/programs")
}

/// Builds all programs, once, by the script that the benchmarks use: below Cargo's directory for
/// such things, so that only what has changed is built again.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let programs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-programs");
        let outcome = run(Command::new(sources().join("build")).arg(&programs));
        assert!(outcome.code == Some(0) && outcome.stderr.is_empty(), "{outcome:?}");
        programs
    })
}

/// The checksums: one line a case, `PROGRAM THREADS CHECKSUM`, with `-` for no THREADS.
fn goldens() -> BTreeMap<Case, String> {
    let file = directory("goldens/bench-programs.txt");
    let text = std::fs::read_to_string(file).expect("the golden file is there");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let &[program, threads, checksum] = &fields[..] else { panic!("golden: {line}") };
            let threads = (threads != "-").then(|| threads.parse().expect("a number of threads"));
            ((program.to_string(), threads), format!("{program} {checksum}\n"))
        })
        .collect()
}

/// The case's command, in its tiny size.
fn tiny((program, threads): &Case) -> Command {
    let mut command = Command::new(built().join(program));
    command.arg("tiny").args(threads.map(|threads| threads.to_string())).env_remove("LD_PRELOAD");
    command
}

#[test]
fn every_program_has_goldens() {
    let programs: BTreeSet<String> = std::fs::read_dir(sources())
        .expect("the sources are there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "cpp"))
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    let known: BTreeSet<String> = goldens().into_keys().map(|(program, _)| program).collect();
    assert_eq!(programs, known);
}

#[test]
fn checksums_do_not_depend_on_the_allocator() {
    for (case, expected) in goldens() {
        let stock = run(&mut tiny(&case));
        assert_eq!((stock.code, &stock.stdout), (Some(0), &expected), "{case:?}: {stock:?}");
        for &shim in Shim::ALL {
            let mut command = tiny(&case);
            command.env("LD_PRELOAD", shim.path());
            let bindings = Bindings::of(&mut command);
            let got = run(&mut command);
            assert!(got == stock, "{case:?} on {shim:?}: {got:?}\nwithout: {stock:?}");
            assert_eq!(bindings.served_by(&shim.path()), 1, "{case:?} on {shim:?}");
        }
    }
}

#[test]
fn wrong_arguments_are_refused() {
    for arguments in [&[][..], &["medium"], &["tiny", "0"], &["tiny", "65"], &["tiny", "2x"]] {
        let outcome = run(Command::new(built().join("churn")).args(arguments));
        assert_eq!((outcome.code, &*outcome.stdout), (Some(2), ""), "{arguments:?}: {outcome:?}");
        assert!(outcome.stderr.starts_with("usage: "), "{arguments:?}: {outcome:?}");
    }
}
