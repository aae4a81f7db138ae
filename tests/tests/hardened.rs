//! Hardened mode (`MEMENTO_HARDENED=1`): what is found, in tiny programs; and that programs without
//! misuse say and return what they say and return without it.

use memento_tests::{Bindings, Language, Outcome, Shim, compile, directory, run};
use std::path::Path;
use std::process::Command;

const DOUBLE: &str = "memento: double free (address 0x_)\n";
const INSIDE: &str = "memento: free of an address inside an object (address 0x_)\n";
const FOREIGN: &str = "memento: free of an address that memento did not allocate (address 0x_)\n";
const PAST: &str = "memento: write past the end of an object (address 0x_)\n";
const AFTER: &str = "memento: write to a freed object (address 0x_)\n";
const SIZE: &str = "memento: sized free of another size (address 0x_)\n";

/// Runs a program of `misuse` with each list of arguments, in hardened mode.
fn each(shim: Shim, source: &str, runs: &[&[&str]], check: impl Fn(&Outcome, &str)) {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let program = compile(Language::C, &format!("misuse/{source}"), scratch.path());
    for arguments in runs {
        let mut command = Command::new(&program);
        command.args(*arguments).env("LD_PRELOAD", shim.path()).env("MEMENTO_HARDENED", "1");
        let mut outcome = run(&mut command);
        if let Some((before, address)) = outcome.stderr.split_once("0x") {
            let digits = address.chars().take_while(char::is_ascii_hexdigit).count();
            assert!(digits > 0, "no address: {outcome:?}");
            outcome.stderr = format!("{before}0x_{}", &address[digits..]);
        }
        check(&outcome, &format!("{source} {arguments:?} under {shim:?}"));
    }
}

/// Each run must end by `SIGABRT` after exactly `message`, on the software backend and, where the
/// objects are too large for the emulated hardware, behind that too.
fn aborts(source: &str, runs: &[&[&str]], message: &str) {
    for &shim in Shim::ALL {
        let large = |run: &&&[&str]| run[0].parse::<usize>().is_ok_and(|size| size > 512);
        let runs: Vec<_> =
            runs.iter().filter(|run| shim == Shim::Soft || large(run)).copied().collect();
        each(shim, source, &runs, |got, what| {
            let want = (Some(libc::SIGABRT), message, "");
            assert_eq!((got.signal, &*got.stderr, &*got.stdout), want, "{what}");
        });
    }
}

fn faults(source: &str, runs: &[&[&str]]) {
    each(Shim::Soft, source, runs, |got, what| {
        assert_eq!((got.signal, &*got.stdout), (Some(libc::SIGSEGV), ""), "{what}: {got:?}");
    });
}

#[test]
fn every_second_free_is_found_at_once() {
    let sizes: &[&[&str]] = &[&["1"], &["24"], &["512"], &["513"], &["3000"], &["32000"]];
    aborts("double_free.c", sizes, DOUBLE);
    aborts("double_free_later.c", sizes, DOUBLE);
    aborts("realloc_freed.c", sizes, DOUBLE);
    aborts("usable_size_freed.c", sizes, DOUBLE);
    // Mappings of their own, which are gone.
    let sizes: &[&[&str]] = &[&["32768"], &["100000"], &["5000000"]];
    aborts("double_free.c", sizes, FOREIGN);
    aborts("realloc_freed.c", sizes, FOREIGN);
}

#[test]
fn every_free_inside_an_object_is_found() {
    let runs: &[&[&str]] = &[
        &["64", "1"],
        &["64", "8"],
        &["64", "16"],
        &["64", "63"],
        &["500", "16"],
        &["3000", "8"],
        &["3000", "1024"],
        &["30000", "16384"],
    ];
    aborts("free_inside.c", runs, INSIDE);
    aborts("free_elsewhere.c", runs, INSIDE);
    aborts("free_inside.c", &[&["100000", "8"], &["300000", "4096"]], FOREIGN);
}

#[test]
fn frees_by_several_threads_are_found() {
    aborts("free_elsewhere.c", &[&["1", "0"], &["500", "0"], &["3000", "0"]], DOUBLE);
    aborts("free_elsewhere.c", &[&["300000", "0"]], FOREIGN);
}

#[test]
fn frees_of_what_malloc_never_gave_are_found() {
    for place in ["stack", "static", "mapping", "low", "high", "unused"] {
        aborts("free_foreign.c", &[&[place]], FOREIGN);
    }
}

#[test]
fn writes_past_the_end_are_found() {
    let runs: &[&[&str]] = &[
        // A zero byte behind a string, the first byte, one further away.
        &["24", "0", "0"],
        &["16", "0", "0"],
        &["512", "0", "1"],
        &["100", "5", "0"],
        &["2600", "0", "0"],
        &["2600", "200", "1"],
        &["100001", "0", "0"],
        &["100001", "14", "1"],
    ];
    aborts("overflow.c", runs, PAST);
    aborts("overflow_resized.c", &[&["100", "97"], &["3000", "2900"]], PAST);
    // The first byte of the guard.
    faults("overflow.c", &[&["100000", "0", "1"], &["40001", "15", "1"]]);
}

#[test]
fn writes_to_freed_objects_are_found() {
    let runs: &[&[&str]] = &[
        &["24", "0", "purge"],
        &["24", "23", "reuse"],
        &["500", "100", "reuse"],
        &["3000", "2999", "purge"],
        &["3000", "1", "reuse"],
        &["30000", "29000", "reuse"],
    ];
    aborts("write_after_free.c", runs, AFTER);
    faults("write_after_free.c", &[&["100000", "0", "purge"]]);
}

#[test]
fn freed_objects_are_cleared_or_gone() {
    each(Shim::Soft, "use_after_free.c", &[&["24"], &["3000"], &["30000"]], |got, what| {
        assert_eq!((got.code, &*got.stdout), (Some(0), "0 bytes of it were left\n"), "{what}");
    });
    faults("use_after_free.c", &[&["100000"], &["5000000"]]);
}

#[test]
fn sized_frees_of_another_size_are_found() {
    let runs: &[&[&str]] =
        &[&["24", "25"], &["24", "17"], &["3000", "2999"], &["3000", "24"], &["300000", "300001"]];
    aborts("wrong_size.c", runs, SIZE);
}

#[test]
fn the_variable_must_say_so() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let program = compile(Language::C, "misuse/overflow.c", scratch.path());
    for (value, signal) in [("", None), ("0", None), ("1", Some(libc::SIGABRT))] {
        let mut command = Command::new(&program);
        command.args(["24", "0", "0"]).env("LD_PRELOAD", Shim::Soft.path());
        let got = run(command.env("MEMENTO_HARDENED", value));
        assert_eq!(got.signal, signal, "{value:?}: {got:?}");
    }
}

/// Runs the program on the stock allocator and in hardened mode, each in an empty directory.
fn unchanged(shims: &[Shim], program: &str, arguments: &[&str], environment: &[(&str, &str)]) {
    let configured = || {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new(program);
        command.args(arguments).current_dir(directory.path()).env("LC_ALL", "C");
        command.env_remove("LD_PRELOAD").envs(environment.iter().copied());
        (command, directory)
    };
    let (mut command, _directory) = configured();
    let stock = run(&mut command);
    assert!(!stock.stdout.is_empty(), "{program} did nothing: {stock:?}");
    for &shim in shims {
        let (mut command, _directory) = configured();
        command.env("LD_PRELOAD", shim.path()).env("MEMENTO_HARDENED", "1");
        let bindings = Bindings::of(&mut command);
        let got = run(&mut command);
        assert!(got == stock, "{program}, hardened {shim:?}: {got:?}\nwithout: {stock:?}");
        assert!(bindings.served_by(&shim.path()) > 0, "{shim:?} did not serve {program}");
    }
}

fn script(name: &str) -> String {
    directory("programs").join(name).into_os_string().into_string().expect("the path is text")
}

#[test]
fn python_is_unchanged() {
    let functions = script("functions.py");
    unchanged(Shim::ALL, "python3", &[&functions], &[]);
    unchanged(&[Shim::Soft], "python3", &[&functions], &[("PYTHONMALLOC", "malloc")]);
}

#[test]
fn node_is_unchanged() {
    unchanged(&[Shim::Soft], "node", &[&script("workers.js")], &[]);
}

#[test]
fn other_programs_are_unchanged() {
    let read = format!(".read {}", script("sqlite.sql"));
    unchanged(Shim::ALL, "sqlite3", &[":memory:", &read], &[]);
    unchanged(&[Shim::Soft], "perl", &[&script("text.pl")], &[]);
    unchanged(&[Shim::Soft], "sh", &[&script("sort.sh")], &[]);
    let sources = directory("").into_os_string().into_string().expect("the path is text");
    unchanged(&[Shim::Soft], "sh", &[&script("gcc.sh"), &sources], &[]);
    let text = std::fs::read_to_string(script("bash.sh")).expect("the script is there");
    unchanged(&[Shim::Soft], "bash", &["-c", &text], &[]);
}

/// Compiles a test program and runs it in hardened mode.
fn hardened(language: Language, source: &str, arguments: &[&str]) -> Outcome {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let program = compile(language, source, scratch.path());
    let mut command = Command::new(&program);
    command.args(arguments).env("LD_PRELOAD", Shim::Soft.path()).env("MEMENTO_HARDENED", "1");
    run(&mut command)
}

#[test]
fn threads_forks_and_ends_work() {
    let says = |source: &str, arguments: &[&str], stdout: &str| {
        let got = hardened(Language::C, source, arguments);
        let want = (Some(0), stdout, "");
        assert_eq!((got.code, &*got.stdout, &*got.stderr), want, "{source}: {got:?}");
    };
    says("c/fork_storm.c", &["200"], "all children exited\n");
    says("c/thread_end.c", &[], "destructors ran as often as they should\n");
    says("c/atfork.c", &[], "handlers allocated on both sides\n");
    says("c/early_free.c", &[], "freed early\nfreed at exit\n");
    let grown = hardened(Language::C, "c/remote_frees.c", &[]).stdout;
    assert!(grown.trim().parse::<usize>().is_ok_and(|bytes| bytes < 8 << 20), "{grown}");
}

#[test]
fn c_and_cxx_get_the_same_answers() {
    for (language, source) in
        [(Language::C, "c/conformance.c"), (Language::Cxx, "cxx/operators.cpp")]
    {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let program = compile(language, source, scratch.path());
        let stock = run(&mut Command::new(&program));
        let got = hardened(language, source, &[]);
        assert!(got == stock, "{source}: {got:?}\nwithout: {stock:?}");
    }
}

/// What is asked about the mode in process.
#[test]
fn statistics_tell_the_mode() {
    let ask = |value: &str| {
        let library = "import ctypes; l = ctypes.CDLL(None); b = ctypes.create_string_buffer(65536); \
                       l.memento_stats_json(b, 65536); print(b.value.decode())";
        let mut command = Command::new("python3");
        command.args(["-c", library]).env("LD_PRELOAD", Shim::Soft.path());
        let got = run(command.env("MEMENTO_HARDENED", value));
        let json: serde_json::Value = serde_json::from_str(&got.stdout).expect("JSON");
        (json["hardened"].as_u64(), json["live_bytes"].as_u64().is_some_and(|bytes| bytes > 0))
    };
    assert_eq!(ask("1"), (Some(1), true));
    assert_eq!(ask("0"), (Some(0), true));
}

#[test]
fn little_address_space_is_enough() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let program = compile(Language::C, "c/conformance.c", scratch.path());
    for kilobytes in ["100000", "400000", "2000000"] {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -v {kilobytes}; exec env \"$@\""), "sh"]);
        command.arg(format!("LD_PRELOAD={}", Shim::Soft.path().display()));
        let got = run(command.arg("MEMENTO_HARDENED=1").arg(Path::new(&program)));
        assert_eq!((got.code, &*got.stderr), (Some(0), ""), "{kilobytes}: {got:?}");
    }
}
