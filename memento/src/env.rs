//! `memento env`: the variables that put a program on memento without this command.

use crate::hal::HalName;
use crate::preload::{self, Instrument};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

/// What is to be run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Runtime {
    /// Any program that calls the C library's malloc: C, C++, Rust, …
    C,
    /// CPython
    Python,
    /// Node.js
    Node,
}

/// Writes `NAME=value`, one a line.
///
/// # Errors
/// If the shared object is not found, or the output cannot be written.
pub fn run(runtime: Runtime, hal: HalName, out: &mut dyn Write) -> Result<()> {
    let object = preload::find(hal, Instrument::None)?;
    for (name, value) in variables(runtime, hal, &object) {
        let line = [name.as_bytes(), b"=", value.as_bytes(), b"\n"].concat();
        out.write_all(&line).context("cannot write")?;
    }
    out.flush().context("cannot write")
}

fn variables(
    runtime: Runtime,
    hal: HalName,
    object: &std::path::Path,
) -> Vec<(OsString, OsString)> {
    let mut all = preload::variables(object, hal);
    match runtime {
        // CPython serves small objects from an allocator of its own; this lets them through.
        Runtime::Python => all.push(("PYTHONMALLOC".into(), "malloc".into())),
        Runtime::C | Runtime::Node => {}
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_lets_small_objects_through() {
        let names = |runtime| {
            let all = variables(runtime, HalName::Emu, "/opt/libmemento-emu.so".as_ref());
            all.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names(Runtime::C), ["LD_PRELOAD", "MEMENTO_HAL"]);
        assert_eq!(names(Runtime::Node), ["LD_PRELOAD", "MEMENTO_HAL"]);
        assert_eq!(names(Runtime::Python), ["LD_PRELOAD", "MEMENTO_HAL", "PYTHONMALLOC"]);
    }
}
