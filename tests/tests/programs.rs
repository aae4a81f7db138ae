//! Real programs say and return on each backend what they say and return without.

use memento_tests::{Bindings, Reported, Shim, directory, run};
use std::path::Path;
use std::process::Command;

/// Runs the program in a fresh, empty working directory: on the stock allocator, with
/// `libmemento.so` preloaded by hand, and by `memento run` on each instrumented backend; and proves
/// of each that it served at least `processes` processes.
fn unchanged(processes: usize, program: &str, arguments: &[&str], environment: &[(&str, &str)]) {
    unchanged_on(Shim::COUNTING, processes, program, arguments, environment);
}

/// As [`unchanged`], on the instrumented backends that are named.
fn unchanged_on(
    counting: &[Shim],
    processes: usize,
    program: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) {
    let scratch = || tempfile::tempdir().expect("a temporary directory");
    let configure = |command: &mut Command, directory: &Path| {
        command.current_dir(directory).env("LC_ALL", "C").env_remove("LD_PRELOAD");
        command.envs(environment.iter().copied());
    };
    let (in_stock, in_soft) = (scratch(), scratch());

    let mut command = Command::new(program);
    configure(command.args(arguments), in_stock.path());
    let stock = run(&mut command);
    assert!(!stock.stdout.is_empty(), "{program} did nothing: {stock:?}");

    let shim = Shim::Soft.path();
    let mut command = Command::new(program);
    configure(command.args(arguments), in_soft.path());
    command.env("LD_PRELOAD", &shim);
    let bindings = Bindings::of(&mut command);
    let got = run(&mut command);
    assert!(got == stock, "{program} on soft: {got:?}\nwithout: {stock:?}");
    let served = bindings.served_by(&shim);
    assert!(served >= processes, "soft served {served} processes of {program}");

    for &shim in counting {
        let directory = scratch();
        let got = Reported::run(shim, Path::new(program), arguments, |command| {
            configure(command, directory.path());
        });
        let outcome = &got.outcome;
        assert!(*outcome == stock, "{program} on {shim:?}: {outcome:?}\nwithout: {stock:?}");
        let served = got.loaded_processes();
        assert!(served >= processes, "{shim:?} served {served} processes of {program}");
        assert!(got.small_allocations() > 0, "{}", got.report);
        if shim != Shim::Report {
            assert!(got.number("emulator.hot.alloc_hits") > 0, "{}", got.report);
            assert!(got.number("emulator.cycles.obj_alloc") > 0, "{}", got.report);
            assert_eq!(got.number("emulator.faults"), 0, "{}", got.report);
        }
    }
}

/// The path of a script.
fn script(name: &str) -> String {
    directory("programs").join(name).into_os_string().into_string().expect("the path is text")
}

#[test]
fn bash_with_subshells_and_pipes() {
    let text = std::fs::read_to_string(script("bash.sh")).expect("the script is there");
    unchanged(50, "bash", &["-c", &text], &[]);
}

#[test]
fn python_with_threads_and_processes() {
    let everything = &[Shim::Report, Shim::Emu, Shim::Isa];
    unchanged_on(everything, 8, "python3", &[&script("functions.py")], &[]);
}

#[test]
fn python_with_every_object_through_malloc() {
    unchanged(8, "python3", &[&script("functions.py")], &[("PYTHONMALLOC", "malloc")]);
}

#[test]
fn node_with_workers() {
    unchanged(2, "node", &[&script("workers.js")], &[]);
}

#[test]
fn git_clone_and_gc() {
    unchanged(50, "sh", &[&script("git.sh")], &[]);
}

#[test]
fn sqlite_workload() {
    let read = format!(".read {}", script("sqlite.sql"));
    let everything = &[Shim::Report, Shim::Emu, Shim::Isa];
    unchanged_on(everything, 1, "sqlite3", &[":memory:", &read], &[]);
    unchanged(1, "sqlite3", &["file.db", &read], &[]);
}

#[test]
fn gcc_on_real_sources() {
    let sources = directory("").into_os_string().into_string().expect("the path is text");
    unchanged(10, "sh", &[&script("gcc.sh"), &sources], &[]);
}

#[test]
fn sort_in_memory_and_through_files() {
    unchanged(8, "sh", &[&script("sort.sh")], &[]);
}

#[test]
fn tar_and_gzip() {
    unchanged(20, "sh", &[&script("tar.sh")], &[]);
}

#[test]
fn perl_with_forks() {
    unchanged(2, "perl", &[&script("text.pl")], &[]);
}

#[test]
fn find_with_exec() {
    unchanged(20, "sh", &[&script("find.sh")], &[]);
}
