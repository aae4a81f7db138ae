//! `memento replay`: the operations of a trace, on a backend of choice.

pub mod demand;
pub mod emu;
pub mod trace;

use crate::conf;
use crate::engine::Exit;
use crate::hal::HalName;
use crate::report::{Emulator, Report};
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// `--format`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum TraceFormat {
    /// One operation a line
    #[default]
    Text,
}

/// Replays the trace at `path` (`-` is stdin).
///
/// # Errors
/// If it cannot be read, has a mistake, or the backend has no room for it.
pub fn run(path: &Path, hal: HalName, conf: Option<&Path>) -> Result<Report> {
    ensure!(hal == HalName::Emu, "traces are replayed on the emulator only; use --hal emu");
    let params = conf::parameters(conf)?;
    let trace = read(path)?;
    let command = ["memento", "replay", &path.to_string_lossy()].map(str::to_owned).to_vec();
    let mut report = Report::new(hal, command, Exit { code: Some(0), signal: None });
    let counters = emu::replay(&trace, &params)?;
    report.set_counts(&counters);
    report.emulator = Some(Emulator::new(&counters, &params));
    report.notes.push("every [D] parameter is this project's assumption".into());
    Ok(report)
}

fn read(path: &Path) -> Result<trace::Trace> {
    let name = || path.display().to_string();
    if path == Path::new("-") {
        return trace::parse(std::io::stdin().lock()).context("stdin");
    }
    let file = File::open(path).with_context(|| format!("cannot read {}", name()))?;
    trace::parse(BufReader::new(file)).with_context(name)
}
