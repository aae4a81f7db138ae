//! Compilers that the tests call.
#![allow(dead_code, reason = "each test binary uses what it needs")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A compiler with its binutils.
pub struct Target {
    /// As `ISA.md` names the architecture.
    pub name: &'static str,
    compiler: &'static str,
    objcopy: &'static str,
    /// Debian package that contains it.
    package: &'static str,
}

pub const X86_64: Target =
    Target { name: "x86-64", compiler: "gcc", objcopy: "objcopy", package: "gcc" };
pub const RISCV: Target = Target {
    name: "RISC-V",
    compiler: "riscv64-linux-gnu-gcc",
    objcopy: "riscv64-linux-gnu-objcopy",
    package: "gcc-riscv64-linux-gnu",
};

impl Target {
    pub fn compile(&self, arguments: &[&str], sources: &[&Path], output: &Path) {
        let include = manifest("include");
        let mut command = Command::new(self.compiler);
        command.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror"]).args(arguments);
        command.arg("-I").arg(include).args(sources).arg("-o").arg(output);
        run(&mut command, self.package);
    }

    /// The bytes of one section of an object file.
    pub fn section(&self, object: &Path, section: &str) -> Vec<u8> {
        let output = object.with_extension("bin");
        let mut command = Command::new(self.objcopy);
        command.args(["-O", "binary", "-j", section]).arg(object).arg(&output);
        run(&mut command, self.package);
        std::fs::read(output).unwrap()
    }
}

/// A file of this crate.
pub fn manifest(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A file for the output of a test.
pub fn scratch(name: impl AsRef<OsStr>) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name.as_ref())
}

/// Runs a command to its end; it must succeed.
fn run(command: &mut Command, package: &str) {
    let output = command.output().unwrap_or_else(|error| missing(command, package, &error));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
}

/// Ends the test with the one line that helps.
pub fn missing(command: &Command, package: &str, error: &std::io::Error) -> ! {
    let program = command.get_program().to_string_lossy();
    panic!("this test needs {program} ({error}): install the Debian package {package}")
}
