//! How the preloaded shared objects are linked, once for all of them: the `build.rs` of each
//! calls [`preload_object`].
//!
//! A function pays for the library's own loading in every process, so that everything that the
//! loader would have to do is taken away here: start files and their constructors, separate
//! pages for code, libraries besides libc, symbol look-ups for our own calls.

/// The forms of `operator new` and `operator delete` by which C++ defines the others.
const REPLACEABLE: [&str; 4] = ["_Znwm", "_ZnwmSt11align_val_t", "_ZdlPv", "_ZdlPvSt11align_val_t"];

/// What LLD is told and GNU's linker need not be, or does not know: no page of its own for read-only data, and one
/// of several functions that are the same.
const OF_LLD: [&str; 2] = ["-Wl,--no-rosegment", "-Wl,--icf=all"];

/// Prints the linker's arguments for Cargo. `name` becomes the object's `DT_SONAME`, by which the
/// loader and `memento run` recognise it whatever the file is called.
pub fn preload_object(name: &str) {
    let arguments = [
        // No crti/crtbegin: no constructors, no destructors, no `__cxa_finalize` call.
        "-nostartfiles",
        // Code and read-only data in one mapping: two mmap calls and a page less.
        "-Wl,-z,noseparate-code",
        "-Wl,--gc-sections",
        // Calls between our own exports go straight, not through the PLT, and cannot be
        // interposed half-way.
        "-Wl,-Bsymbolic-functions",
        "-Wl,--hash-style=gnu",
        // Thread-local storage must be found at start-up (initial-exec), and everything must be
        // bound then: a lazy binding could allocate inside malloc.
        "-Wl,-z,now",
        // Threads that end call back into the object, so it stays even if somebody closes it.
        "-Wl,-z,nodelete",
        // No build id: the file is reproducible without it, and smaller.
        "-Wl,--build-id=none",
        // A missing symbol is an error here, not in the process that preloads us.
        "-Wl,--no-undefined",
    ];
    for argument in arguments {
        println!("cargo::rustc-cdylib-link-arg={argument}");
    }
    if links(&OF_LLD) {
        for argument in OF_LLD {
            println!("cargo::rustc-cdylib-link-arg={argument}");
        }
    } else if !links(&[]) {
        println!(
            "cargo::warning=cannot try the linker: if it is LLD, {name} is a mapping larger than need be"
        );
    }
    for name in ["RUSTFLAGS", "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,{name}");
    // What C++ lets a program replace one by one: here our own references find the program's.
    let list = std::path::Path::new(&std::env::var_os("OUT_DIR").expect("Cargo sets OUT_DIR"))
        .join("replaceable.list");
    std::fs::write(&list, format!("{{ {} }};\n", REPLACEABLE.map(|s| format!("{s};")).join(" ")))
        .expect("OUT_DIR is writable");
    println!("cargo::rustc-cdylib-link-arg=-Wl,--dynamic-list={}", list.display());
    println!("cargo::rerun-if-changed=build.rs");
}

/// Whether the linker that the compiler calls knows some arguments: LLD, which recent ones bring along, and GNU's differ.
fn links(arguments: &[&str]) -> bool {
    let variable = |name| std::env::var_os(name).unwrap_or_else(|| panic!("Cargo sets {name}"));
    let directory = std::path::PathBuf::from(variable("OUT_DIR"));
    let source = directory.join("nothing.rs");
    let text =
        "#![no_std]\n#[panic_handler]\nfn panic(_: &core::panic::PanicInfo<'_>) -> ! { loop {} }\n";
    std::fs::write(&source, text).expect("OUT_DIR is writable");
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    // Set where Cargo's configuration names a linker.
    let linker = std::env::var("RUSTC_LINKER").map(|linker| format!("-Clinker={linker}"));
    std::process::Command::new(variable("RUSTC"))
        .args(linker)
        .args(flags.split('\x1f').filter(|flag| !flag.is_empty()))
        .args(["--crate-type=cdylib", "-Cpanic=abort", "-Clink-arg=-nostartfiles"])
        .args(arguments.iter().map(|argument| format!("-Clink-arg={argument}")))
        .arg("--target")
        .arg(variable("TARGET"))
        .arg("-o")
        .arg(directory.join("nothing.so"))
        .arg(&source)
        .output()
        .is_ok_and(|done| done.status.success())
}
