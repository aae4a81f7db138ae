//! `memento replay`: the operations of a trace, on a backend or an allocator of choice.

pub mod cost;
pub mod demand;
pub mod emu;
pub mod malloc;
pub mod native;
pub mod preloaded;
pub mod trace;

use crate::conf;
use crate::engine::Exit;
use crate::hal::HalName;
use crate::report::{Emulator, ReplayCost, Report};
use crate::trace::Format;
use anyhow::{Context, Result};
use memento_alloc::Memento;
use memento_hal::counters::Counters;
use memento_hal::emulator::Emu;
use memento_hal::isa::Isa;
use memento_hal::soft::Soft;
use memento_hal::{Hal, ProcessHal};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// The software backend's allocator, which serves nothing but replays here.
static SOFT: Memento<Soft> = Memento::new();
/// The allocator that issues instructions; likewise.
static ISA: Memento<Isa> = Memento::new();

/// Replays the trace at `path` (`-` is stdin).
///
/// # Errors
/// If it cannot be read, has a mistake, or the backend has no room for it.
pub fn run(path: &Path, format: Format, hal: HalName, conf: Option<&Path>) -> Result<Report> {
    let params = conf::parameters(conf)?;
    let trace = read(path, format)?;
    let command = ["memento", "replay", &path.to_string_lossy()].map(str::to_owned).to_vec();
    let mut report = Report::new(hal, command, Exit { code: Some(0), signal: None });
    let mut counters = Counters::ZERO;
    let mut cost = match hal {
        HalName::Emu => {
            counters = emu::replay(&trace, &params)?;
            ReplayCost { operations: trace.operations.len() as u64, ..ReplayCost::default() }
        }
        HalName::Soft => native::replay(&trace, &SOFT)?,
        HalName::Isa => {
            Emu::instance().configure(params)?;
            let cost = native::replay(&trace, &ISA)?;
            Isa::instance().counters(&mut counters);
            cost
        }
    };
    if hal != HalName::Emu {
        demand::count(&trace, &mut counters);
    }
    demand::tally(&trace).put_into(&mut cost);
    report.replay = Some(cost);
    report.set_counts(&counters);
    if hal.has_hardware() {
        report.emulator = Some(Emulator::new(&counters, &params));
        report.notes.push("every [D] parameter is this project's assumption".into());
    }
    Ok(report)
}

/// Reads a checked trace; `-` is stdin.
///
/// # Errors
/// If it cannot be read or has a mistake.
pub fn read(path: &Path, format: Format) -> Result<trace::Trace> {
    if path == Path::new("-") {
        return trace::parse_as(std::io::stdin().lock(), format).context("stdin");
    }
    read_file(path, format, &path.display().to_string())
}

/// Reads the file at `path`, which is called `name` where it has mistakes.
fn read_file(path: &Path, format: Format, name: &str) -> Result<trace::Trace> {
    let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
    trace::parse_as(BufReader::new(file), format).with_context(|| name.to_owned())
}
