//! One execution of a workload under an allocator, in a process of its own.

use super::measure::Runner;
use super::workload::Workload;
use crate::allocators::{Allocator, MEMENTO};
use crate::engine::client::Driver;
use crate::engine::isolated::{Isolated, Output};
use crate::engine::watch::{self, Watched};
use crate::engine::{Exit, Job, Sample};
use crate::program;
use anyhow::{Context, Result, bail, ensure};
use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Runs workloads through the measuring engine.
pub struct Launcher {
    executor: Isolated,
    limit: Duration,
    interval: Duration,
    interrupted: Arc<AtomicBool>,
    /// Programs that were found to load what is preloaded.
    examined: HashSet<OsString>,
}

/// A workload that is ready to run once.
struct Prepared {
    job: Job,
    client: Option<Driver>,
    /// What it is to have in its memory.
    object: Option<PathBuf>,
    // Removed with this.
    _directory: tempfile::TempDir,
}

impl Launcher {
    /// `memento` is this command's executable; no execution takes longer than `limit`.
    pub fn new(memento: PathBuf, limit: Duration, interval: Duration) -> Self {
        let executor = Isolated::new(memento, Output::Discard).within(limit);
        let interrupted = Arc::new(AtomicBool::new(false));
        Self { executor, limit, interval, interrupted, examined: HashSet::new() }
    }

    /// From now on no execution takes longer than `limit`.
    pub fn limit(&mut self, limit: Duration) {
        self.limit = limit;
        self.executor = self.executor.clone().within(limit);
    }

    /// Ends measuring after the current execution when the user interrupts; what was measured is kept.
    ///
    /// # Errors
    /// If the signals cannot be caught.
    pub fn heed_interrupts(&self) -> Result<()> {
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // The second time it ends this command, as the first would have without us.
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&self.interrupted))?;
            signal_hook::flag::register(signal, Arc::clone(&self.interrupted))?;
        }
        Ok(())
    }

    fn prepare(&mut self, workload: &Workload, allocator: &Allocator) -> Result<Prepared> {
        if let Some(program) = workload.on_memento.as_ref().filter(|_| allocator.name == MEMENTO) {
            let built_in = Workload { on_memento: None, ..workload.clone() };
            let mut prepared = self.prepare(&built_in, &Allocator::stock())?;
            prepared.job.command[0].clone_from(program);
            return Ok(prepared);
        }
        let program = workload.command.first().context("no program to run")?;
        if allocator.preload.is_some() && !self.examined.contains(program) {
            if let Some(obstacle) = program::obstacle(program) {
                bail!("{} cannot be loaded: {obstacle}", allocator.name);
            }
            self.examined.insert(program.clone());
        }
        let mut environment = workload.environment.clone();
        environment.extend(allocator.environment());
        if allocator.preload.is_none() && workload.links_allocator {
            environment.push(("LD_PRELOAD".into(), "libc.so.6".into()));
        }
        let directory = tempfile::tempdir()
            .context("no directory for the program's files; is TMPDIR writable?")?;
        let (command, client) = workload.in_directory(directory.path());
        let job = Job { command, environment };
        Ok(Prepared { job, client, object: allocator.preload.clone(), _directory: directory })
    }
}

impl Runner for Launcher {
    fn run(&mut self, workload: &Workload, allocator: &Allocator) -> Result<Sample> {
        let Prepared { job, client, .. } = &self.prepare(workload, allocator)?;
        let caught = match client {
            None => self.executor.catch(job)?,
            Some(client) => client.beside(|| self.executor.catch(job))?,
        };
        judge(caught.sample.exit, &caught.stderr)?;
        if let Some(expected) = &workload.expected {
            ensure!(
                caught.stdout == *expected,
                "it answered {:?}, not {:?}",
                caught.stdout.trim_end(),
                expected.trim_end()
            );
        }
        Ok(caught.sample)
    }

    fn watch(&mut self, workload: &Workload, allocator: &Allocator) -> Result<Watched> {
        let Prepared { job, client, object, .. } = &self.prepare(workload, allocator)?;
        let errors =
            tempfile::NamedTempFile::new().context("cannot make a file for error messages")?;
        let mut command = Command::new(&job.command[0]);
        command.args(&job.command[1..]).envs(job.environment.iter().map(|(n, v)| (n, v)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors.reopen()?);
        let options = watch::Options {
            interval: self.interval,
            limit: Some(self.limit),
            object: object.clone(),
        };
        let watched = match client {
            None => watch::watch(&mut command, &options),
            Some(client) => client.beside(|| watch::watch(&mut command, &options)),
        };
        let watched = watched?;
        let limit = self.limit.as_secs_f64();
        ensure!(!watched.timed_out, "stopped after {limit} s, the time limit");
        judge(watched.exit, &String::from_utf8_lossy(&std::fs::read(errors.path())?))?;
        Ok(watched)
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

/// An error for a program that failed, with the last that it said.
fn judge(exit: Exit, stderr: &str) -> Result<()> {
    let how = match (exit.code, exit.signal) {
        (Some(0), _) => return Ok(()),
        (_, Some(signal)) => {
            let name =
                nix::sys::signal::Signal::try_from(signal).map_or("a signal", |s| s.as_str());
            format!("it was ended by {name}")
        }
        (Some(code), None) => format!("it ended with exit code {code}"),
        (None, None) => "it ended for an unknown reason".to_owned(),
    };
    match stderr.trim().lines().next_back() {
        Some(line) => bail!("{how}: {line}"),
        None => bail!("{how}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_memento_built_in_gets_no_preload() {
        let workload = Workload {
            command: vec!["on-system".into(), "tiny".into()],
            on_memento: Some("on-memento".into()),
            ..Workload::default()
        };
        let preload = Some("/x.so".into());
        let memento = Allocator { name: MEMENTO.into(), preload, ..Allocator::stock() };
        let mut launcher = Launcher::new("memento".into(), Duration::MAX, Duration::MAX);
        let prepared = launcher.prepare(&workload, &memento).unwrap();
        assert_eq!(prepared.job.command, ["on-memento", "tiny"]);
        assert!(prepared.object.is_none() && prepared.job.environment.is_empty());
        let stock = launcher.prepare(&workload, &Allocator::stock()).unwrap();
        assert_eq!(stock.job.command, ["on-system", "tiny"]);
    }

    #[test]
    fn how_a_program_failed_is_said_with_its_last_words() {
        let error =
            |code, signal, text: &str| judge(Exit { code, signal }, text).unwrap_err().to_string();
        assert_eq!(error(Some(3), None, "a\nb\n"), "it ended with exit code 3: b");
        assert_eq!(error(None, Some(11), ""), "it was ended by SIGSEGV");
        judge(Exit { code: Some(0), signal: None }, "a warning").unwrap();
    }
}
