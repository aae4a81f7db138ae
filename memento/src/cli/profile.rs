//! `memento profile`.

use super::bench::seconds;
use crate::allocators::Allocator;
use crate::bench::launch::Launcher;
use crate::bench::measure::Runner;
use crate::bench::workload::Workload;
use crate::calibrate::Costs;
use crate::engine::{Sample, watch};
use crate::profile::count::{Counter, Counts};
use crate::profile::document::{Document, SCHEMA, shares};
use crate::profile::show;
use crate::profile::time::{Seen, Time};
use crate::record::{Recording, events};
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// What `--help` says below the options.
pub(super) const HELP: &str = "\
Runs the program twice: once recorded, for sizes and lifetimes, with its streams passing through; and once as it is, \
its output thrown away, for its time and memory. Then it measures what malloc, free, page faults and mappings cost on \
this machine, and estimates the time that the program spends on them.

Examples:
  memento profile -- python3 app.py
  memento profile --export profile.html --export profile.json -- ./app
  memento profile --once -- ./app-that-must-not-run-twice

Exit codes: the program's own; 125 memento itself failed; 126, 127 it cannot be executed, or is not there.";

/// What the estimate leaves out.
const LEFT_OUT: &str = "the ways through malloc are those of a model of glibc's (7 objects of a size in a thread's cache; \
    mapped from 128 KiB on), each priced by short bursts on this machine, with everything in the processor's caches; heap \
    pages are those of the most anonymous memory seen, without what was given back and faulted in again; one takes: of 64 \
    bytes where sizes differ";

#[derive(Args, Debug)]
pub(super) struct ProfileArgs {
    /// Write the profile to a file: .json or .html. Repeatable
    #[arg(long, value_name = "FILE")]
    export: Vec<PathBuf>,
    /// Run the program only once: without times
    #[arg(long)]
    once: bool,
    /// Time limit of the second execution, in seconds
    #[arg(long, default_value = "60", value_name = "SECONDS", value_parser = seconds)]
    timeout: Duration,
    /// Print nothing on stderr
    #[arg(long, short)]
    quiet: bool,
    /// The program and its arguments
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

pub(super) fn run(args: ProfileArgs) -> Result<ExitCode> {
    let files = args.export.iter().map(|path| open(path)).collect::<Result<Vec<_>>>()?;
    let recording = Recording::of(args.command.clone())?;
    let written = profiled(&args, &recording, files);
    Ok(super::end(recording.exit, written))
}

fn profiled(args: &ProfileArgs, recording: &Recording, files: Vec<(File, PathBuf)>) -> Result<()> {
    let images = recording.files()?;
    let mut notes = Vec::new();
    if images.len() > 1 {
        let others = images.len() - 1;
        notes.push(format!(
            "{others} other processes or images of the program are not in these numbers"
        ));
    }
    let counts = counts(recording)?;
    let workload = Workload::command(args.command.clone(), Vec::new());
    let time = if args.once {
        None
    } else {
        match time(&workload, args.timeout, &counts) {
            Ok(time) => {
                notes.push(LEFT_OUT.to_owned());
                Some(time)
            }
            Err(error) => {
                notes.push(format!("no times: run a second time, {error:#}"));
                None
            }
        }
    };
    let document = Document {
        schema: SCHEMA.into(),
        command: workload.words(),
        exit: recording.exit,
        shares: shares(&counts),
        counts,
        time,
        notes,
    };
    // One that cannot be written does not keep the others from being written.
    let mut failed = None;
    if !args.quiet {
        let written = std::io::stderr().lock().write_all(show::text(&document).as_bytes());
        failed = written.context("cannot write the profile").err();
    }
    for (file, path) in files {
        if let Err(error) = write(file, &path, &document) {
            failed = failed.or(Some(error));
        }
    }
    failed.map_or(Ok(()), Err)
}

fn write(mut file: File, path: &Path, document: &Document) -> Result<()> {
    let text = if path.extension().is_some_and(|e| e == "html") {
        show::html(document)?
    } else {
        serde_json::to_string_pretty(document)? + "\n"
    };
    let written = file.write_all(text.as_bytes());
    written.with_context(|| format!("cannot write all of {}", path.display()))
}

/// Counts what the program's last image did.
fn counts(recording: &Recording) -> Result<Counts> {
    let files = recording.files()?;
    let begin = |_: &str| Ok(Counter::new());
    let (counter, _) = events(&files[0], begin, |counter, event| Ok(counter.event(event)?))?;
    Ok(counter.finish())
}

/// Runs the program as it is, and estimates its time in memory management.
fn time(workload: &Workload, limit: Duration, counts: &Counts) -> Result<Time> {
    let memento = std::env::current_exe().context("no name of this program")?;
    let mut launcher = Launcher::new(memento, limit, watch::INTERVAL);
    let sample = launcher.run(workload, &Allocator::stock())?;
    let seen = seen(&sample, workload, &mut launcher)?;
    Ok(Time::estimate(counts, Costs::under(&Allocator::stock())?, &seen))
}

/// What the kernel says of a program: of an execution that was timed, and of another that is watched.
pub(super) fn seen(sample: &Sample, workload: &Workload, launcher: &mut Launcher) -> Result<Seen> {
    let watched = launcher.watch(workload, &Allocator::stock())?;
    let heap_bytes = watched.curve.looks.iter().map(|look| look.anonymous_bytes).max().unwrap_or(0);
    Ok(Seen {
        cpu_ns: (sample.user_ns + sample.system_ns) as f64,
        system_ns: sample.system_ns as f64,
        minor_faults: sample.minor_faults,
        heap_bytes,
    })
}

fn open(path: &Path) -> Result<(File, PathBuf)> {
    let is_known = path.extension().is_some_and(|e| e == "json" || e == "html");
    ensure!(is_known, "{}: a file for a profile ends in .json or .html", path.display());
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok((file, path.to_owned()))
}
