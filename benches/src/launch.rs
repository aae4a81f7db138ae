//! One execution of a row under an allocator.
//!
//! Only the program itself loads the allocator: neither the process that measures it nor a server's client.
//! A server's sample is the server's: its CPU time, faults and peak from start to shut-down.

use crate::allocators::Allocator;
use crate::rows::{Client, Places, Row};
use anyhow::{Context, Result, ensure};
use memento::engine::client::Driver;
use memento::engine::isolated::{Isolated, Output};
use memento::engine::rounds::Executor;
use memento::engine::watch::{self, Curve, Watched};
use memento::engine::{Job, Sample};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Runs rows. The suite's only way to the outside, so that the rest can be tested.
pub trait Launcher: Sync {
    /// Another row comes: how much memory the one before needed is forgotten.
    fn begin(&mut self);

    /// Runs `row` once under `allocator`.
    ///
    /// # Errors
    /// If it could not be run or failed: then its cost says nothing.
    fn launch(&self, row: &Row, allocator: &Allocator) -> Result<Sample>;

    /// Runs `row` once under `allocator` and watches the memory it holds.
    ///
    /// # Errors
    /// As [`Launcher::launch`].
    fn watch(&self, row: &Row, allocator: &Allocator) -> Result<Curve>;
}

/// Runs rows through the measuring engine.
pub struct Engine {
    executor: Isolated,
    memento: PathBuf,
    places: Places,
}

impl Engine {
    /// `memento` is the command's executable.
    pub fn new(memento: impl Into<PathBuf>, places: Places) -> Self {
        let memento = memento.into();
        let executor = Isolated::new(&memento, Output::Discard);
        Self { executor, memento, places }
    }
}

impl Launcher for Engine {
    fn begin(&mut self) {
        self.executor = Isolated::new(&self.memento, Output::Discard);
    }

    fn launch(&self, row: &Row, allocator: &Allocator) -> Result<Sample> {
        let prepared = Prepared::new(row, allocator, &self.places)?;
        let mut executor = self.executor.clone();
        let sample = match &prepared.client {
            None => executor.execute(&prepared.job)?,
            Some(client) => client.beside(|| executor.execute(&prepared.job))?,
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

    fn watch(&self, row: &Row, allocator: &Allocator) -> Result<Curve> {
        let prepared = Prepared::new(row, allocator, &self.places)?;
        let watch = || watch::watch(&mut prepared.command(), &watch::Options::default());
        let Watched { exit, curve, .. } = match &prepared.client {
            None => watch()?,
            Some(client) => client.beside(watch)?,
        };
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
}
