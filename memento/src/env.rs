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
    let object = preload::find_named(file_name(runtime, hal))?;
    for (name, value) in variables(runtime, hal, &object) {
        let line = [name.as_bytes(), b"=", value.as_bytes(), b"\n"].concat();
        out.write_all(&line).context("cannot write")?;
    }
    out.flush().context("cannot write")
}

/// The smallest shared object that serves the runtime. Its children of other kinds are served as C
/// programs are.
fn file_name(runtime: Runtime, hal: HalName) -> &'static str {
    match (hal, runtime) {
        (HalName::Soft, Runtime::C) => "libmemento.so",
        (HalName::Soft, Runtime::Python) => "libmemento_python.so",
        (HalName::Soft, Runtime::Node) => "libmemento_node.so",
        (HalName::Emu | HalName::Isa, _) => preload::file_name(hal, Instrument::None),
    }
}

fn variables(
    runtime: Runtime,
    hal: HalName,
    object: &std::path::Path,
) -> Vec<(OsString, OsString)> {
    let mut all = preload::variables(object, hal);
    // CPython serves small objects from an allocator of its own; this lets them through. The software
    // backend's shared object for Python takes its place instead.
    if runtime == Runtime::Python && hal != HalName::Soft {
        all.push(("PYTHONMALLOC".into(), "malloc".into()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_lets_small_objects_through_where_its_domains_are_not_served() {
        let on = |runtime, hal| {
            let all = variables(runtime, hal, file_name(runtime, hal).as_ref());
            all.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        let names = |runtime| on(runtime, HalName::Emu);
        assert_eq!(on(Runtime::Python, HalName::Soft), ["LD_PRELOAD", "MEMENTO_HAL"]);
        assert_eq!(names(Runtime::C), ["LD_PRELOAD", "MEMENTO_HAL"]);
        assert_eq!(names(Runtime::Node), ["LD_PRELOAD", "MEMENTO_HAL"]);
        assert_eq!(names(Runtime::Python), ["LD_PRELOAD", "MEMENTO_HAL", "PYTHONMALLOC"]);
    }
}
