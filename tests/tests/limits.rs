//! Too little address space, too little memory, and a kernel that refuses.

use memento_tests::{Bindings, Language, Outcome, Shim, compile, run};
use std::path::Path;
use std::process::Command;

/// Runs `program` with the shell's `ulimit` set before the program starts.
fn limited(limit: &str, program: &Path, sizes: &[&str], preload: Option<&Path>) -> Outcome {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit {limit}; shift; exec \"$@\""), "sh", "--", "env"]);
    if let Some(preload) = preload {
        command.arg(format!("LD_PRELOAD={}", preload.display()));
    }
    run(command.arg(program).args(sizes))
}

/// Pieces of every path: small, medium, large.
const PIECES: &[&str] = &["16", "100", "500", "2000", "30000", "200000", "1048576", "5242880"];

fn runs_out_and_recovers(limit: &str, pieces: &[&str]) {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let program = compile(Language::C, "c/out_of_memory.c", scratch.path());
    let stock = limited(limit, &program, pieces, None);
    assert!(stock.stdout.ends_with("served again after each\n"), "{limit}: {stock:?}");
    for shim in Shim::ALL {
        let got = limited(limit, &program, pieces, Some(&shim.path()));
        assert!(got == stock, "ulimit {limit} under {shim:?}: {got:?}\nwithout: {stock:?}");
    }
}

#[test]
fn running_out_of_addresses_is_null_and_enomem_and_passes() {
    // Room for the program and its libraries, and for little else.
    runs_out_and_recovers("-v 200000", PIECES);
    runs_out_and_recovers("-v 500000", PIECES);
}

#[test]
fn running_out_of_data_is_null_and_enomem_and_passes() {
    // One size a process: what small objects held stays writable, and so counts as data, after
    // they are freed.
    for piece in PIECES {
        runs_out_and_recovers("-d 150000", &[piece]);
    }
}

#[test]
fn programs_work_in_an_address_space_too_small_for_the_region() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let program = compile(Language::Cxx, "cxx/stress.cpp", scratch.path());
    for shim in Shim::ALL {
        let got = limited("-v 400000", &program, &["0", "1", "1000000"], Some(&shim.path()));
        assert_eq!(
            (got.code, &*got.stdout, &*got.stderr),
            (Some(0), "every object kept its contents\n", ""),
            "{shim:?}: {got:?}"
        );
    }
}

/// A kernel that refuses some or all mappings from some moment on, as `vm.overcommit_memory=2`
/// does: `c/refusing_kernel.c` stands between the allocator and `mmap`, `mprotect` and `mremap`.
#[test]
fn a_refusing_kernel_is_out_of_memory_and_no_crash() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let program = compile(Language::C, "c/survivor.c", scratch.path());
    let kernel = compile(Language::SharedObject, "c/refusing_kernel.c", scratch.path());
    for shim in Shim::ALL {
        let shim_path = shim.path();
        let mut refused = 0;
        for mode in ["all", "reservations", "commits", "third"] {
            let mut command = Command::new(&program);
            command
                .env("LD_PRELOAD", format!("{} {}", shim_path.display(), kernel.display()))
                .env("REFUSE", mode);
            let bindings = Bindings::of(&mut command);
            let got = run(&mut command);
            assert_eq!(
                (got.code, &*got.stdout, &*got.stderr),
                (Some(0), "null and ENOMEM or good memory; kept contents\n", ""),
                "{mode} under {shim:?}: {got:?}"
            );
            refused += bindings.served_by(&shim_path);
        }
        assert_eq!(refused, 4);
    }
}
