//! Threads, forks, the loader and the ends of things: where allocators break.

use memento_tests::{Language, Outcome, Shim, compile, run};
use std::path::Path;
use std::process::Command;

/// Runs `source` under each shared object and hands the outcome to `check`; the arguments are
/// made from the directory of the compiled program.
fn each(source: &str, arguments: impl Fn(&Path) -> Vec<String>, check: impl Fn(Shim, &Outcome)) {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let program = compile(Language::C, source, scratch.path());
    for &shim in Shim::ALL {
        let mut command = Command::new(&program);
        command.args(arguments(scratch.path())).env("LD_PRELOAD", shim.path());
        check(shim, &run(&mut command));
    }
}

/// The program must exit with 0 and write exactly `stdout`.
fn says(source: &str, stdout: &str) {
    each(source, |_| Vec::new(), |shim, got| exactly(shim, got, stdout));
}

fn exactly(shim: Shim, got: &Outcome, stdout: &str) {
    assert_eq!((got.code, &*got.stdout, &*got.stderr), (Some(0), stdout, ""), "{shim:?}: {got:?}");
}

#[test]
fn thousands_of_forks_while_other_threads_allocate() {
    each(
        "c/fork_storm.c",
        |_| vec!["2000".into()],
        |shim, got| exactly(shim, got, "all children exited\n"),
    );
}

#[test]
fn destructors_of_thread_specific_data_allocate() {
    says("c/thread_end.c", "destructors ran as often as they should\n");
}

#[test]
fn fork_handlers_allocate() {
    says("c/atfork.c", "handlers allocated on both sides\n");
}

#[test]
fn the_loader_allocates() {
    each(
        "c/dlopen.c",
        |scratch| {
            vec![compile(Language::SharedObject, "c/plugin.c", scratch).display().to_string()]
        },
        |shim, got| exactly(shim, got, "loaded and unloaded\n"),
    );
}

#[test]
fn frees_before_and_after_a_threads_heap() {
    says("c/early_free.c", "freed early\nfreed at exit\n");
}

#[test]
fn memory_of_remote_frees_comes_back() {
    each(
        "c/remote_frees.c",
        |_| Vec::new(),
        |shim, got| {
            assert_eq!((got.code, &*got.stderr), (Some(0), ""), "{shim:?}: {got:?}");
            let grown: usize = got.stdout.trim().parse().expect("a number");
            // About 600 MB pass from one thread to the other; two batches are about 1.2 MB.
            assert!(grown < 8 << 20, "{shim:?}: grew by {grown} bytes");
        },
    );
}

#[test]
fn the_end_of_an_invocation_gives_memory_back() {
    each(
        "c/invocations.c",
        |_| Vec::new(),
        |shim, got| {
            // The emulated hardware keeps empty arenas until the process exits.
            let fell_back = u8::from(shim == Shim::Soft);
            let want = format!("kept: kept, grew: 1, fell back: {fell_back}, json: 1\n");
            exactly(shim, got, &want);
        },
    );
}
