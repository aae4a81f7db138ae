//! `memento record`: runs a program and keeps what it asked of its allocator as a trace.
//!
//! The recording shared object writes one raw file per process image; see `memento_alloc::record`.
//! A raw file can hold lines that no trace may have: a fork child frees what its parent allocated,
//! and a killed program leaves half a line. [`clean`] turns it into a trace that replays.

use crate::counters::{Collector, ImageFile};
use crate::engine::child;
use crate::engine::{Exit, Job};
use crate::hal::HalName;
use crate::preload::{self, Instrument};
use crate::program;
use anyhow::{Context, Result, bail};
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Runs `command` and writes the trace of its last image, what it became by `exec`, to `output`.
/// Traces of other images go beside it, with `.<pid>-<n>` appended; each is named on stderr.
///
/// # Errors
/// If the program could not be run, did not load the shared object, or a trace could not be
/// written. The program's own failure is none.
pub fn run(command: Vec<OsString>, output: &Path) -> Result<(Exit, Result<()>)> {
    let object = preload::find(HalName::Soft, Instrument::Record)?;
    let collector = Collector::new()?;
    // Known before the time is spent.
    File::create(output).with_context(|| format!("cannot write {}", output.display()))?;
    let obstacle = command.first().and_then(|p| program::obstacle(p));
    let mut environment = preload::variables(&object, HalName::Soft);
    environment.push(("MEMENTO_TRACE".into(), collector.path().into()));
    let ended = child::run(&Job { command, environment })?;
    let written = keep(&collector, ended.pid, output).with_context(|| match obstacle {
        Some(obstacle) => obstacle.to_string(),
        None => "nothing was recorded".into(),
    });
    Ok((ended.sample.exit, written))
}

/// Cleans every raw file of the run.
fn keep(collector: &Collector, root: u32, output: &Path) -> Result<()> {
    let mut files = collector.files(".trace")?;
    files.sort_by_key(|file| (file.pid != root, file.pid, std::cmp::Reverse(file.number)));
    if files.first().is_none_or(|file| file.pid != root) {
        bail!("the program did not load the recording shared object");
    }
    for (index, file) in files.iter().enumerate() {
        let path = if index == 0 { output.to_owned() } else { beside(output, file) };
        let write = || -> Result<Tally> {
            let input = BufReader::new(File::open(&file.path)?);
            let mut output = BufWriter::new(File::create(&path)?);
            let tally = clean(input, &mut output)?;
            output.flush()?;
            Ok(tally)
        };
        let tally = write().with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("memento: {}: process {}, {tally}", path.display(), file.pid);
    }
    Ok(())
}

fn beside(output: &Path, file: &ImageFile) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(format!(".{}-{}", file.pid, file.number));
    name.into()
}

/// What became of a raw file's lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Operations kept.
    pub kept: u64,
    /// Frees of objects that the trace does not know, left out.
    pub foreign_frees: u64,
    /// Reallocations of such objects, written as allocations.
    pub foreign_reallocs: u64,
    /// Objects that were freed unseen, because their address came again.
    pub unseen_frees: u64,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} operations", self.kept)?;
        let foreign = self.foreign_frees + self.foreign_reallocs;
        if foreign > 0 {
            write!(f, "; {foreign} on objects from before the fork left out or turned into `a`")?;
        }
        if self.unseen_frees > 0 {
            write!(f, "; {} frees that were not seen put in", self.unseen_frees)?;
        }
        Ok(())
    }
}

/// Copies a raw file, up to its zero bytes or its last whole line, so that every line refers to
/// what the trace itself allocated.
///
/// # Errors
/// If reading or writing fails, or a line is none of the recorder's.
pub fn clean(mut input: impl BufRead, output: &mut dyn Write) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut live: HashSet<u64> = HashSet::new();
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        input.read_until(b'\n', &mut bytes)?;
        let Some(line) = bytes.strip_suffix(b"\n").filter(|l| !l.contains(&0)) else { break };
        let line = String::from_utf8_lossy(line);
        if line.starts_with('#') {
            writeln!(output, "{line}")?;
            continue;
        }
        let (thread, operation) = match line.strip_prefix('t') {
            Some(rest) => {
                let (number, operation) = rest.split_once(' ').context("a torn line")?;
                (format!("t{number} "), operation)
            }
            None => (String::new(), &*line),
        };
        let mut words = operation.split(' ');
        let kind = words.next().unwrap_or_default();
        let numbers: Vec<u64> = words.map(str::parse).collect::<Result<_, _>>()?;
        match (kind, numbers.as_slice()) {
            ("a", [id, ..]) => {
                if !live.insert(*id) {
                    writeln!(output, "{thread}f {id}")?;
                    tally.unseen_frees += 1;
                }
            }
            ("f", [id]) => {
                if !live.remove(id) {
                    tally.foreign_frees += 1;
                    continue;
                }
            }
            ("r", [old, new, size]) => {
                let known = live.remove(old);
                if !live.insert(*new) {
                    writeln!(output, "{thread}f {new}")?;
                    tally.unseen_frees += 1;
                }
                if !known {
                    tally.foreign_reallocs += 1;
                    tally.kept += 1;
                    writeln!(output, "{thread}a {new} {size}")?;
                    continue;
                }
            }
            _ => bail!("`{line}` is not a line of the recorder"),
        }
        tally.kept += 1;
        writeln!(output, "{line}")?;
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(raw: &str) -> (String, Tally) {
        let mut out = Vec::new();
        let tally = clean(raw.as_bytes(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        crate::replay::trace::parse(text.as_bytes()).expect("it must replay");
        (text, tally)
    }

    #[test]
    fn what_a_fork_child_inherited_is_left_out() {
        let (text, tally) = cleaned("# program x\nf 8\nr 16 24 100\nt1 a 32 5\nf 24\nf 32\n");
        assert_eq!(text, "# program x\na 24 100\nt1 a 32 5\nf 24\nf 32\n");
        assert_eq!((tally.kept, tally.foreign_frees, tally.foreign_reallocs), (4, 1, 1));
    }

    #[test]
    fn a_killed_program_leaves_whole_lines() {
        assert_eq!(cleaned("a 8 5\na 16 6\0\0\0").0, "a 8 5\n");
        assert_eq!(cleaned("a 8 5\na 16").0, "a 8 5\n");
        assert_eq!(cleaned("a 8 5\n\0\0\0\0").0, "a 8 5\n");
    }

    #[test]
    fn an_address_that_comes_again_was_freed() {
        let (text, tally) = cleaned("a 8 5\na 8 6\na 16 1\nr 8 16 9\n");
        assert_eq!(text, "a 8 5\nf 8\na 8 6\na 16 1\nf 16\nr 8 16 9\n");
        assert_eq!(tally.unseen_frees, 2);
    }

    #[test]
    fn reallocation_in_place_is_kept() {
        assert_eq!(cleaned("a 8 5\nr 8 8 6\nf 8\n").0, "a 8 5\nr 8 8 6\nf 8\n");
    }

    #[test]
    fn foreign_lines_are_refused() {
        assert!(clean(b"x 1\n".as_slice(), &mut Vec::new()).is_err());
    }
}
