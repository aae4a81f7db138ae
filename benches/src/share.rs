//! How much of a program is its allocator: the instructions from entering malloc and its kin until leaving
//! them, as a share of all, counted by callgrind under glibc.
//!
//! Callgrind writes the calls it saw with what they cost, callees included. A call into the allocator counts if
//! it comes from outside: that `realloc` calls `malloc`, or `operator new` does, is not counted again.

use crate::allocators;
use crate::launch::Prepared;
use crate::rows::{Places, Row};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::{Command, Stdio};

/// Functions by which a program enters its allocator.
const ENTRIES: [&str; 13] = [
    "malloc",
    "free",
    "calloc",
    "realloc",
    "reallocarray",
    "memalign",
    "aligned_alloc",
    "posix_memalign",
    "malloc_usable_size",
    "valloc",
    "pvalloc",
    "cfree",
    "__libc_freeres",
];

/// Measures the share for `row`.
///
/// # Errors
/// If callgrind is not there, or the program fails under it.
pub fn measure(row: &Row, places: &Places) -> Result<f64> {
    let directory = tempfile::tempdir()?;
    let prepared = Prepared::new(row, &allocators::system(), places)?;
    let out = directory.path().join("out");
    let mut option = std::ffi::OsString::from("--callgrind-out-file=");
    option.push(&out);
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--compress-strings=no", "--compress-pos=no", "--quiet"])
        .arg(option)
        .args(&prepared.job.command)
        .envs(prepared.job.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child =
        command.spawn().context("cannot run valgrind: install Debian's package valgrind")?;
    if let Some(client) = &prepared.client {
        client.drive(|| false)?;
    }
    let status = child.wait()?;
    let good = status.code().is_some_and(|code| row.exit.contains(&code));
    ensure!(good, "{} ended with {status} under callgrind", row.name);
    read(&out)
}

fn read(path: &Path) -> Result<f64> {
    let bytes = std::fs::read(path).context("callgrind has written nothing")?;
    share(&String::from_utf8_lossy(&bytes)).context("callgrind's file has no costs")
}

fn is_entry(function: &str) -> bool {
    // Symbols that occur more than once get a suffix.
    let name = function.split('\'').next().unwrap_or(function);
    ENTRIES.contains(&name)
        || name.starts_with("operator new")
        || name.starts_with("operator delete")
}

/// The share in a file of callgrind's, written without compression. None if it counts nothing.
///
/// A line that begins with a number is a cost: a position and a count. After `calls=` it is that of
/// the call, all it led to included; otherwise the function's own.
fn share(text: &str) -> Option<f64> {
    let (mut total, mut inside) = (0u64, 0u64);
    let mut function = "";
    let mut callee = "";
    let mut is_call = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            function = name;
        } else if let Some(name) = line.strip_prefix("cfn=") {
            callee = name;
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if line.starts_with(|c: char| c.is_ascii_digit()) {
            let cost =
                line.split(' ').nth(1).and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
            match is_call {
                true if is_entry(callee) && !is_entry(function) => inside += cost,
                true => {}
                false => total += cost,
            }
            is_call = false;
        }
    }
    (total > 0).then(|| inside as f64 / total as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "version: 1\nevents: Ir\n\nfl=x.c\nfn=main\n1 30\ncfn=operator new(unsigned long)\n\
                        calls=1 0\n1 50\ncfn=strlen\ncalls=1 0\n1 20\n\nfn=operator new(unsigned long)\n1 10\n\
                        cfn=malloc\ncalls=1 0\n1 40\n\nfn=malloc\n1 25\ncfn=_int_malloc\ncalls=1 0\n1 15\n\n\
                        fn=_int_malloc\n1 15\n\nfn=strlen\n1 20\n\ntotals: 100\n";

    #[test]
    fn calls_from_outside_count_once() {
        assert_eq!(share(FILE), Some(0.5));
        assert_eq!(share("events: Ir\n"), None);
    }

    #[test]
    fn clones_of_a_function_count() {
        assert!(is_entry("malloc") && is_entry("malloc'2") && is_entry("operator delete(void*)"));
        assert!(!is_entry("xmalloc") && !is_entry("_int_malloc") && !is_entry("main"));
    }

    #[test]
    fn a_real_program_is_measured() {
        let rows =
            crate::rows::parse("[[row]]\nname='a'\ngroup='start-up'\ncommand=['true']").unwrap();
        let places = Places::default();
        let got = measure(&rows[0], &places).unwrap();
        assert!((0.0..0.2).contains(&got), "{got}");
    }
}
