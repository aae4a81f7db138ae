//! `memento replay --allocator`: the trace on an allocator that is preloaded, in a process of its own.
//!
//! This command executes itself as `memento __replay` with the allocator's variables, from the tiny
//! process that programs are measured from, and reads what that wrote. See [`super::malloc`] for what
//! happens there.

use super::malloc;
use super::{demand, read};
use crate::allocators::Allocator;
use crate::engine::isolated::{Isolated, Output};
use crate::engine::{Exit, Job, watch};
use crate::exit;
use crate::hal::HalName;
use crate::report::{ReplayCost, Report};
use crate::trace::Format;
use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use memento_hal::counters::Counters;
use std::fs::File;
use std::path::Path;
use tempfile::NamedTempFile;

/// Name of the hidden subcommand.
pub const SUBCOMMAND: &str = "__replay";

/// Replays the trace at `path` (`-` is stdin) on `allocator`.
///
/// # Errors
/// If it cannot be read, has a mistake, or the allocator was not loaded or has no room for it.
pub fn run(path: &Path, format: Format, allocator: &Allocator) -> Result<Report> {
    let command = ["memento", "replay", &path.to_string_lossy()].map(str::to_owned).to_vec();
    // The other process reads it again, and must find it.
    let mut copy = NamedTempFile::new().context("cannot make a file for the trace")?;
    let (file, trace) = if path == Path::new("-") {
        std::io::copy(&mut std::io::stdin().lock(), &mut copy).context("cannot read stdin")?;
        (copy.path(), super::read_file(copy.path(), format, "stdin")?)
    } else {
        (path, read(path, format)?)
    };
    let mut cost = perform(file, format, allocator)?;
    let tally = demand::tally(&trace);
    tally.put_into(&mut cost);
    let mut counters = Counters::ZERO;
    demand::count(&trace, &mut counters);
    let mut report = Report::new(HalName::Soft, command, Exit { code: Some(0), signal: None });
    report.hal = None;
    report.allocator = Some(allocator.clone());
    report.replay = Some(cost);
    report.set_counts(&counters);
    if trace.threads > 1 {
        let threads = trace.threads;
        report.notes.push(format!("the trace's {threads} threads are one here, in its order"));
    }
    for (count, what) in [
        (tally.aligned, "aligned beyond 16 bytes, with the size rounded up to the alignment"),
        (tally.over_aligned, "aligned beyond 4096 bytes, of which the allocator is asked for 4096"),
        (tally.same_size, "that keep an object's size, which the allocator does not see"),
    ] {
        if count > 0 {
            report.notes.push(format!("requests {what}: {count}"));
        }
    }
    Ok(report)
}

fn perform(trace: &Path, format: Format, allocator: &Allocator) -> Result<ReplayCost> {
    let written = NamedTempFile::new().context("cannot make a file for the result")?;
    let memento = std::env::current_exe().context("no name of this program")?;
    let format = format.to_possible_value().context("a form without a name")?;
    let mut command = vec![memento.clone().into(), SUBCOMMAND.into()];
    command.extend(["--format".into(), format.get_name().into()]);
    command.extend(["--output".into(), written.path().into()]);
    if let Some(object) = &allocator.preload {
        command.extend(["--object".into(), object.into()]);
    }
    command.extend(["--".into(), trace.into()]);
    let mut environment = allocator.environment();
    if allocator.preload.is_none() {
        // Not what this command was started with either.
        environment.push(("LD_PRELOAD".into(), "".into()));
    }
    let caught = Isolated::new(memento, Output::Discard).catch(&Job { command, environment })?;
    let said = caught.stderr.trim();
    let said = said.rsplit("memento: ").next().unwrap_or(said);
    match caught.sample.exit {
        Exit { code: Some(0), .. } => {}
        Exit { code: Some(code), .. } if code == i32::from(exit::OURS) => bail!("{said}"),
        Exit { code: Some(code), .. } => {
            bail!("under {} the replay ended with exit code {code}: {said}", allocator.name)
        }
        Exit { signal, .. } => {
            let signal = signal.and_then(|s| nix::sys::signal::Signal::try_from(s).ok());
            let signal = signal.map_or("a signal", nix::sys::signal::Signal::as_str);
            bail!("under {} the replay was ended by {signal}: {said}", allocator.name)
        }
    }
    let cost: ReplayCost = serde_json::from_reader(File::open(written.path())?)
        .context("the replay's result cannot be read")?;
    Ok(ReplayCost { peak_rss_bytes: Some(caught.sample.peak_rss_bytes), ..cost })
}

/// The other side: makes sure that `object` is loaded, replays and writes the cost to `output`.
///
/// # Errors
/// As [`run`].
pub fn child(trace: &Path, format: Format, object: Option<&Path>, output: &Path) -> Result<()> {
    if let Some(object) = object {
        // The kernel names files without links and dots.
        let file = object.canonicalize().unwrap_or_else(|_| object.into());
        let is_loaded = watch::maps(nix::unistd::Pid::this(), &file);
        ensure!(is_loaded, "{} was not loaded, so nothing was replayed on it", object.display());
    }
    let cost = malloc::replay(&read(trace, format)?)?;
    let file =
        File::create(output).with_context(|| format!("cannot write {}", output.display()))?;
    serde_json::to_writer(file, &cost).context("cannot write the cost")
}
