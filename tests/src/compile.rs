//! Compiling the test programs with the system's compilers.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What a source is written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Language {
    /// C11 with GNU extensions.
    C,
    /// C++17.
    Cxx,
    /// A shared object in C.
    SharedObject,
}

/// A directory of the test sources: `c`, `cxx`, `misuse`, `programs`.
pub fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Compiles `source`, a path below the tests' directory, into `scratch`. Warnings are errors,
/// apart from those about the misuse that a program is there for.
///
/// # Panics
/// With the compiler's message if it does not compile.
pub fn compile(language: Language, source: &str, scratch: &Path) -> PathBuf {
    compile_as(language, source, scratch, &[])
}

/// As [`compile`], with further arguments for the compiler.
///
/// # Panics
/// As [`compile`].
pub fn compile_as(language: Language, source: &str, scratch: &Path, more: &[&str]) -> PathBuf {
    let source = directory(source);
    let output = scratch.join(source.file_stem().expect("a source has a name"));
    let (compiler, flags): (&str, &[&str]) = match language {
        Language::C => ("gcc", &["-std=gnu11"]),
        Language::Cxx => ("g++", &["-std=c++17"]),
        Language::SharedObject => ("gcc", &["-std=gnu11", "-shared", "-fPIC"]),
    };
    let result = Command::new(compiler)
        .args(flags)
        .args(more)
        // -fno-builtin: the compiler may not leave out an allocation because it knows malloc.
        .args(["-O1", "-g", "-pthread", "-fno-builtin", "-Wall", "-Wextra", "-Werror"])
        .args(["-Wno-use-after-free", "-Wno-free-nonheap-object", "-Wno-unused-result"])
        .args(["-Wno-alloc-size-larger-than"])
        .arg("-I")
        .arg(directory("../shims/c/include"))
        .arg(&source)
        .arg("-o")
        .arg(&output)
        .output()
        .unwrap_or_else(|error| panic!("{compiler} cannot be started: {error}"));
    assert!(
        result.status.success(),
        "{} does not compile:\n{}",
        source.display(),
        String::from_utf8_lossy(&result.stderr)
    );
    output
}
