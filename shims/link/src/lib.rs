//! How the preloaded shared objects are linked, once for all of them: the `build.rs` of each
//! calls [`preload_object`].
//!
//! A function pays for the library's own loading in every process, so that everything that the
//! loader would have to do is taken away here: start files and their constructors, separate
//! pages for code, libraries besides libc, symbol look-ups for our own calls.

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
        "-Wl,-Bsymbolic",
        "-Wl,--hash-style=gnu",
        // Thread-local storage must be found at start-up (initial-exec), and everything must be
        // bound then: a lazy binding could allocate inside malloc.
        "-Wl,-z,now",
        // No build id: the file is reproducible without it, and smaller.
        "-Wl,--build-id=none",
        // A missing symbol is an error here, not in the process that preloads us.
        "-Wl,--no-undefined",
    ];
    for argument in arguments {
        println!("cargo::rustc-cdylib-link-arg={argument}");
    }
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,{name}");
    println!("cargo::rerun-if-changed=build.rs");
}
