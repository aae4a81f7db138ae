//! `memento run`: a program on memento, and what it did.

use crate::conf;
use crate::counters::{Collector, Image};
use crate::engine::child::{self, Ended};
use crate::engine::{Exit, Job};
use crate::hal::HalName;
use crate::preload::{self, Instrument};
use crate::program::{self, Obstacle};
use crate::report::{Destination, Emulator, Process, Report};
use anyhow::Result;
use memento_hal::counters::Counters;
use memento_hal::emulator::Params;
use std::ffi::OsString;
use std::path::Path;

/// What to run, and how.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// The backend.
    pub hal: HalName,
    /// File with the emulator's parameters.
    pub conf: Option<std::path::PathBuf>,
    /// Program and arguments.
    pub command: Vec<OsString>,
}

/// Runs the program without a report.
///
/// # Errors
/// If it could not be run. That it cannot load the shared object is a warning.
pub fn plain(options: &Options) -> Result<Exit> {
    let params = conf::parameters(options.conf.as_deref())?;
    let object = preload::find(options.hal, Instrument::None)?;
    let obstacle = options.command.first().and_then(|p| program::obstacle(p));
    if let Some(obstacle) = &obstacle {
        // A program that is not there is the kernel's to report, when it is started.
        if !matches!(obstacle, Obstacle::Missing(_) | Obstacle::NotExecutable(_)) {
            eprintln!("memento: the program runs without memento: {obstacle}");
        }
    }
    Ok(child::run(&job(options, &params, obstacle.as_ref(), &object, None))?.sample.exit)
}

/// Runs the program and reports. The report is about the program whatever became of it; an error
/// in writing the report comes beside how the program ended.
///
/// # Errors
/// If it could not be run.
pub fn reported(options: &Options, to: Destination) -> Result<(Exit, Result<()>)> {
    let params = conf::parameters(options.conf.as_deref())?;
    let object = preload::find(options.hal, Instrument::Count)?;
    let collector = Collector::new()?;
    // Before the run: the program may replace its own file.
    let obstacle = options.command.first().and_then(|p| program::obstacle(p));
    let job = job(options, &params, obstacle.as_ref(), &object, Some(collector.path()));
    let ended = child::run(&job)?;
    let written = collector
        .images(ended.pid)
        .and_then(|images| to.write(&assemble(options, &params, &ended, &images, obstacle)));
    Ok((ended.sample.exit, written))
}

fn job(
    options: &Options,
    params: &Params,
    obstacle: Option<&Obstacle>,
    object: &Path,
    counters: Option<&Path>,
) -> Job {
    // Another C library's loader would not ignore what it cannot bind, but end the program.
    let mut environment = match obstacle {
        Some(Obstacle::OtherLibc(..)) => Vec::new(),
        _ => preload::variables(object, options.hal),
    };
    environment.extend(conf::variable(params).map(|value| ("MEMENTO_CONF".into(), value)));
    environment.extend(counters.map(|path| ("MEMENTO_REPORT".into(), path.into())));
    Job { command: options.command.clone(), environment }
}

/// Puts the report together from the kernel's books and the processes' counters.
fn assemble(
    options: &Options,
    params: &Params,
    ended: &Ended,
    images: &[Image],
    obstacle: Option<Obstacle>,
) -> Report {
    let words = |w: &OsString| w.to_string_lossy().into_owned();
    let command: Vec<String> = options.command.iter().map(words).collect();
    let program = command.first().cloned().unwrap_or_default();
    let mut report = Report::new(options.hal, command, ended.sample.exit);
    report.sample = Some((&ended.sample).into());
    if !images.iter().any(|image| image.pid == ended.pid) {
        let reason = obstacle.map_or_else(|| UNEXPLAINED.to_owned(), |o| o.to_string());
        report.processes.push(Process {
            pid: ended.pid,
            argv0: program,
            loaded: false,
            reason: Some(reason),
        });
    }
    report.processes.extend(images.iter().map(|image| Process {
        pid: image.pid,
        argv0: image.argv0.clone(),
        loaded: true,
        reason: image.counters.as_ref().err().cloned(),
    }));
    let counted: Vec<&Counters> = images.iter().filter_map(|i| i.counters.as_ref().ok()).collect();
    if !counted.is_empty() {
        let mut total = Counters::ZERO;
        counted.iter().for_each(|counters| total.add(counters));
        report.set_counts(&total);
        if options.hal.has_hardware() {
            report.emulator = Some(Emulator::new(&total, params));
            report.notes.push(IN_PROCESS.into());
        }
    }
    if images.iter().any(|image| image.lower_bound) {
        report
            .notes
            .push("a process had more threads than blocks: its counts are a lower bound".into());
    }
    if ended.sample.peak_rss_bytes < DOUBTFUL_PEAK {
        report.notes.push(PEAK_FLOOR.into());
    }
    report
}

/// What is said when nothing visible from outside explains it.
const UNEXPLAINED: &str = "it left no proof of loading, although it is dynamically linked; it may \
    have been refused by the dynamic loader (LD_DEBUG=libs shows), have ended before its libraries \
    were set up, or run as a user who may not write the proof";
/// What in-process numbers do not contain.
const IN_PROCESS: &str = "in process the program's own memory accesses are not seen and context \
    switches are not modelled; every [D] parameter is this project's assumption";
/// Peaks below may be what forking leaves in the books; see [`child`].
const DOUBTFUL_PEAK: u64 = 3 << 19;
/// What is said then.
const PEAK_FLOOR: &str = "a peak below 1.5 MiB may be that of starting the program, not its own";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Sample;

    fn ended() -> Ended {
        let exit = Exit { code: Some(3), signal: None };
        let sample = Sample {
            exit,
            wall_ns: 5,
            user_ns: 4,
            system_ns: 3,
            minor_faults: 2,
            major_faults: 1,
            peak_rss_bytes: 9 << 20,
            voluntary_switches: 0,
            involuntary_switches: 0,
        };
        Ended { pid: 7, sample }
    }

    fn image(pid: u32, counters: std::result::Result<u64, &str>) -> Image {
        let counters = counters.map_err(str::to_owned).map(|n| {
            let mut counters = Counters::ZERO;
            counters.allocs[2] = n;
            counters.hot_alloc_hits = n;
            counters
        });
        Image { pid, ppid: 1, argv0: format!("p{pid}"), counters, lower_bound: false }
    }

    fn options(hal: HalName) -> Options {
        Options { hal, conf: None, command: vec!["prog".into(), "arg".into()] }
    }

    #[test]
    fn the_top_level_sums_the_processes() {
        let images = [image(7, Ok(10)), image(8, Ok(5)), image(9, Err("damaged"))];
        let report = assemble(&options(HalName::Emu), &Params::DEFAULT, &ended(), &images, None);
        assert_eq!(report.classes.as_ref().unwrap()[2].allocs, 15);
        assert_eq!(report.emulator.as_ref().unwrap().hot.alloc_hits, 15);
        let reasons: Vec<_> = report.processes.iter().map(|p| p.reason.as_deref()).collect();
        assert_eq!(reasons, [None, None, Some("damaged")]);
        assert_eq!(report.sample.unwrap().minor_faults, 2);
        assert_eq!(report.exit.code, Some(3));
    }

    #[test]
    fn what_did_not_load_has_a_reason_and_no_numbers() {
        let obstacle = Some(Obstacle::Static("/bin/prog".into()));
        let report = assemble(&options(HalName::Emu), &Params::DEFAULT, &ended(), &[], obstacle);
        assert!(report.classes.is_none() && report.emulator.is_none());
        let process = &report.processes[0];
        assert!(!process.loaded && process.pid == 7 && process.argv0 == "prog");
        assert!(process.reason.as_ref().unwrap().contains("statically linked"));
        let json = serde_json::to_value(&report).unwrap();
        for absent in ["classes", "software", "bytes_requested", "emulator"] {
            assert!(json.get(absent).is_none(), "{absent} must be absent, not zero");
        }
    }

    #[test]
    fn proof_counts_more_than_a_forecast() {
        let obstacle = Some(Obstacle::Static("/bin/prog".into()));
        let report = assemble(
            &options(HalName::Soft),
            &Params::DEFAULT,
            &ended(),
            &[image(7, Ok(1))],
            obstacle,
        );
        assert!(report.processes.len() == 1 && report.processes[0].loaded);
        assert!(report.emulator.is_none(), "soft has no hardware to report on");
    }
}
