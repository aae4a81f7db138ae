//! What talks to a program that is a server, while the server is measured.
//!
//! The server's sample is the server's alone: clients run beside it, without its environment.

use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// A server's client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Driver {
    /// A file that is there as soon as the server takes connections.
    pub ready: PathBuf,
    /// Run one after the other once it is; the last one ends the server.
    pub commands: Vec<Vec<OsString>>,
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

    /// Runs `serve`, which runs the server to its end, and drives the client beside it.
    ///
    /// # Errors
    /// The client's, else the server's.
    pub fn beside<T: Send>(&self, serve: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let server = scope.spawn(serve);
            let served = self.drive(|| server.is_finished());
            let ended = match server.join() {
                Ok(ended) => ended,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            served.and(ended)
        })
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
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().with_context(|| format!("cannot run {words:?}"))?;
    ensure!(status.success(), "{words:?} failed: {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_server_is_driven_beside() {
        let directory = tempfile::tempdir().unwrap();
        let told = directory.path().join("told");
        let driver = Driver {
            ready: directory.path().into(),
            commands: vec![vec!["touch".into(), told.clone().into()]],
        };
        let served = driver.beside(|| {
            while !told.exists() {
                std::thread::yield_now();
            }
            Ok(7)
        });
        assert_eq!(served.unwrap(), 7);
    }
}
