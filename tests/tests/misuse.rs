//! One tiny program per misuse: the signal that ends it and the one line that it writes.

use memento_tests::{Language, Outcome, Shim, compile, run};
use std::process::Command;

const DOUBLE: &str = "memento: double free (address 0x_)\n";
const INSIDE: &str = "memento: free of an address inside an object (address 0x_)\n";
const FOREIGN: &str = "memento: free of an address that memento did not allocate (address 0x_)\n";

/// Runs the program under `shim`. The address in its message, which is the system's choice, is
/// replaced by `_`.
fn misuse(shim: Shim, source: &str, arguments: &[&str]) -> Outcome {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let program = compile(Language::C, source, scratch.path());
    let mut outcome = run(Command::new(program).args(arguments).env("LD_PRELOAD", shim.path()));
    if let Some((before, address)) = outcome.stderr.split_once("0x") {
        let digits = address.chars().take_while(char::is_ascii_hexdigit).count();
        assert!(digits > 0, "no address: {outcome:?}");
        outcome.stderr = format!("{before}0x_{}", &address[digits..]);
    }
    outcome
}

/// The program must end by `SIGABRT` after exactly `message` under every shared object.
fn aborts(source: &str, arguments: &[&str], message: &str) {
    for &shim in Shim::ALL {
        aborts_under(shim, source, arguments, message);
    }
}

fn aborts_under(shim: Shim, source: &str, arguments: &[&str], message: &str) {
    let got = misuse(shim, source, arguments);
    assert_eq!(
        (got.signal, &*got.stderr, &*got.stdout),
        (Some(libc::SIGABRT), message, ""),
        "{source} {arguments:?} under {shim:?}"
    );
}

/// Objects that memento keeps in its region: small (the hardware's) and medium.
const KEPT: &[&str] = &["1", "24", "512", "513", "3000", "16000", "100000"];
/// Objects with mappings of their own, which are gone once they are freed.
const MAPPED: &[&str] = &["300000", "5000000"];

#[test]
fn freeing_twice_in_a_row() {
    for size in KEPT {
        aborts("misuse/double_free.c", &[size], DOUBLE);
    }
    for size in MAPPED {
        aborts("misuse/double_free.c", &[size], FOREIGN);
    }
}

#[test]
fn resizing_what_was_just_freed() {
    for size in MAPPED {
        aborts("misuse/realloc_freed.c", &[size], FOREIGN);
    }
    for size in KEPT {
        aborts("misuse/realloc_freed.c", &[size], DOUBLE);
    }
}

#[test]
fn freeing_inside_an_object() {
    for (size, offset) in [("64", "1"), ("500", "4"), ("3000", "1"), ("100000", "2")] {
        aborts("misuse/free_inside.c", &[size, offset], INSIDE);
    }
    aborts("misuse/free_inside.c", &["300000", "4096"], FOREIGN);
}

#[test]
fn freeing_inside_an_object_at_a_multiple_of_eight() {
    for &shim in Shim::ALL.iter().filter(|shim| shim.checks_every_free()) {
        for (size, offset) in [("64", "8"), ("64", "32"), ("500", "16")] {
            aborts_under(shim, "misuse/free_inside.c", &[size, offset], INSIDE);
        }
    }
}

#[test]
fn freeing_twice_with_other_frees_in_between() {
    for &shim in Shim::ALL.iter().filter(|shim| shim.checks_every_free()) {
        for size in ["1", "24", "512"] {
            aborts_under(shim, "misuse/double_free_later.c", &[size], DOUBLE);
        }
    }
}

#[test]
fn freeing_what_malloc_never_gave() {
    for place in ["stack", "static", "mapping", "low", "high"] {
        aborts("misuse/free_foreign.c", &[place], FOREIGN);
    }
}

/// Nobody is there to throw: that is said, instead of returning a null that no C++ code expects.
#[test]
fn operator_new_without_memory_and_without_a_cxx_library() {
    let line = "memento: operator new: out of memory, and no C++ library to throw std::bad_alloc\n";
    aborts("misuse/new_without_cxx.c", &[], line);
}
