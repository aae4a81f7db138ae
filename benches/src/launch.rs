//! One execution of a row under an allocator.
//!
//! Only the program itself loads the allocator: neither the process that measures it nor a server's client.
//! A server's sample is the server's: its CPU time, faults and peak from start to shut-down.

use crate::allocators::Allocator;
use crate::rows::{Client, Places, Row};
use anyhow::{Context, Result, bail, ensure};
use memento::engine::isolated::{Isolated, Output};
use memento::engine::rounds::Executor;
use memento::engine::watch::{self, Curve, Watched};
use memento::engine::{Job, Sample};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Runs rows. The suite's only way to the outside, so that the rest can be tested.
pub trait Launcher {
    /// Runs `row` once under `allocator`.
    ///
    /// # Errors
    /// If it could not be run or failed: then its cost says nothing.
    fn launch(&mut self, row: &Row, allocator: &Allocator) -> Result<Sample>;

    /// Runs `row` once under `allocator` and watches the memory it holds.
    ///
    /// # Errors
    /// As [`Launcher::launch`].
    fn watch(&mut self, row: &Row, allocator: &Allocator) -> Result<Curve>;
}

/// Runs rows through the measuring engine.
pub struct Engine {
    executor: Isolated,
    places: Places,
}

impl Engine {
    /// `memento` is the command's executable.
    pub fn new(memento: impl Into<PathBuf>, places: Places) -> Self {
        Self { executor: Isolated::new(memento, Output::Discard), places }
    }
}

impl Launcher for Engine {
    fn launch(&mut self, row: &Row, allocator: &Allocator) -> Result<Sample> {
        let prepared = Prepared::new(row, allocator, &self.places)?;
        let executor = &mut self.executor;
        let sample = match &prepared.client {
            None => executor.execute(&prepared.job)?,
            Some(client) => std::thread::scope(|scope| {
                let server = scope.spawn(|| executor.execute(&prepared.job));
                let served = client.drive(|| server.is_finished());
                let sample = server.join().expect("the executor does not panic");
                served.and(sample)
            })?,
        };
        let code = sample.exit.code;
        ensure!(
            code.is_some_and(|code| row.exit.contains(&code)),
            "{} under {} ended with {:?}: a failing program cannot be compared",
            row.name,
            allocator.name,
            sample.exit
        );
        Ok(sample)
    }

    fn watch(&mut self, row: &Row, allocator: &Allocator) -> Result<Curve> {
        let prepared = Prepared::new(row, allocator, &self.places)?;
        let Watched { exit, curve, .. } = std::thread::scope(|scope| -> Result<_> {
            let client = prepared.client.as_ref();
            let client = client.map(|client| scope.spawn(|| client.drive(|| false)));
            let watched = watch::watch(&mut prepared.command(), &watch::Options::default());
            if let Some(client) = client {
                client.join().expect("the client does not panic")?;
            }
            watched
        })?;
        let good = exit.code.is_some_and(|code| row.exit.contains(&code));
        ensure!(good, "{} under {} ended with {exit:?}", row.name, allocator.name);
        Ok(curve)
    }
}

/// A row that is ready to run once: its placeholders are filled, its directory is there.
pub struct Prepared {
    /// The program.
    pub job: Job,
    /// What talks to it, if it is a server.
    pub client: Option<Driver>,
    // Removed with this.
    _directory: tempfile::TempDir,
}

impl Prepared {
    /// # Errors
    /// If no directory can be made for the execution.
    pub fn new(row: &Row, allocator: &Allocator, places: &Places) -> Result<Self> {
        let directory = tempfile::tempdir().context("no directory for the program's files")?;
        let tmp = directory.path().to_string_lossy().into_owned();
        let filled = |words: &[String]| -> Vec<OsString> {
            words.iter().map(|word| places.fill(word, &tmp).into()).collect()
        };
        let mut environment: Vec<(OsString, OsString)> = row
            .env
            .iter()
            .map(|(name, value)| (name.into(), places.fill(value, &tmp).into()))
            .collect();
        if let Some(object) = preload(row, allocator) {
            environment.push(("LD_PRELOAD".into(), object));
        }
        let variable = allocator.variable.iter();
        environment.extend(variable.map(|(name, value)| (name.into(), value.into())));
        let client = row.client.as_ref().map(|client: &Client| Driver {
            ready: places.fill(&client.ready, &tmp).into(),
            commands: client.commands.iter().map(|words| filled(words)).collect(),
        });
        let job = Job { command: filled(&row.command), environment };
        Ok(Self { job, client, _directory: directory })
    }

    /// The program as a command, its output thrown away.
    pub fn command(&self) -> Command {
        let mut command = silent(&self.job.command);
        command.envs(self.job.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// What the program loads first. The system's allocator needs it only where the program is linked
/// with another one.
fn preload(row: &Row, allocator: &Allocator) -> Option<OsString> {
    match &allocator.preload {
        Some(object) => Some(object.into()),
        None => row.links_allocator.then(|| "libc.so.6".into()),
    }
}

/// A server's client.
pub struct Driver {
    ready: PathBuf,
    commands: Vec<Vec<OsString>>,
}

impl Driver {
    /// Waits for the server, and runs the commands; the last one, which ends the server, in any case.
    ///
    /// # Errors
    /// If the server ends or does not become ready, or a command fails.
    pub fn drive(&self, has_ended: impl Fn() -> bool) -> Result<()> {
        wait_for(&self.ready, has_ended)?;
        let Some((last, others)) = self.commands.split_last() else {
            bail!("a client without commands cannot end its server");
        };
        let worked = others.iter().try_for_each(|words| run(words));
        run(last).and(worked)
    }
}

fn wait_for(file: &Path, has_ended: impl Fn() -> bool) -> Result<()> {
    let begin = Instant::now();
    while !file.exists() {
        ensure!(!has_ended(), "the server has ended before it was ready");
        ensure!(begin.elapsed() < READY_WITHIN, "the server is not ready: no {}", file.display());
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn run(words: &[OsString]) -> Result<()> {
    let status = silent(words).status().with_context(|| format!("cannot run {words:?}"))?;
    ensure!(status.success(), "{words:?} failed: {status}");
    Ok(())
}

fn silent(words: &[OsString]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::parse;

    fn places() -> Places {
        Places { data: "/data".into(), ..Places::default() }
    }

    fn allocator(preload: Option<&str>) -> Allocator {
        Allocator {
            name: "x".into(),
            version: "1".into(),
            origin: "y".into(),
            preload: preload.map(Into::into),
            variable: preload.map(|_| ("T".into(), "1".into())),
        }
    }

    fn environment(text: &str, allocator: &Allocator) -> Vec<(OsString, OsString)> {
        let rows = parse(&format!("[[row]]\nname='a'\ngroup='little'\n{text}")).unwrap();
        Prepared::new(&rows[0], allocator, &places()).unwrap().job.environment
    }

    #[test]
    fn an_allocator_is_preloaded_and_the_systems_is_not() {
        let row = "command=['true']\nenv={A='{data}'}";
        let mut wanted = vec![("A".into(), "/data".into())];
        assert_eq!(environment(row, &allocator(None)), wanted);
        wanted.push(("LD_PRELOAD".into(), "/x.so".into()));
        wanted.push(("T".into(), "1".into()));
        assert_eq!(environment(row, &allocator(Some("/x.so"))), wanted);
    }

    #[test]
    fn a_program_with_an_allocator_of_its_own_gets_the_systems_explicitly() {
        let row = "command=['true']\nlinks_allocator=true";
        let got = environment(row, &allocator(None));
        assert_eq!(got, [("LD_PRELOAD".into(), "libc.so.6".into())]);
    }

    #[test]
    fn the_last_command_runs_even_if_one_before_it_fails() {
        let directory = tempfile::tempdir().unwrap();
        let ended = directory.path().join("ended");
        let driver = Driver {
            ready: directory.path().into(),
            commands: vec![vec!["false".into()], vec!["touch".into(), ended.clone().into()]],
        };
        assert!(driver.drive(|| false).is_err());
        assert!(ended.exists());
    }

    #[test]
    fn a_server_that_dies_early_is_not_waited_for() {
        let driver = Driver { ready: "/nowhere/at/all".into(), commands: vec![] };
        let error = driver.drive(|| true).unwrap_err().to_string();
        assert!(error.contains("ended before it was ready"), "{error}");
    }
}
