//! Runs a program from a tiny process of its own.
//!
//! Whatever the measuring process holds (samples, reports, a test harness) would otherwise show in
//! the program's peak resident set, and a second program could not be told from the first; see
//! [`super::child`]. So this command executes itself as `memento __measure`, which does nothing but
//! run the one program and write its [`Sample`] to a file.

use super::rounds::Executor;
use super::sample::{Job, Sample};
use anyhow::{Context, Result, ensure};
use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Name of the hidden subcommand.
pub const SUBCOMMAND: &str = "__measure";

/// What becomes of the program's output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Output {
    /// It goes where ours goes.
    Inherit,
    /// It is thrown away, so that writing it costs the same every time.
    Discard,
}

/// Starts `memento __measure` for every run.
#[derive(Clone, Debug)]
pub struct Isolated {
    memento: PathBuf,
    output: Output,
}

impl Isolated {
    /// `memento` is the path of this command's executable.
    pub fn new(memento: impl Into<PathBuf>, output: Output) -> Self {
        Self { memento: memento.into(), output }
    }
}

impl Executor for Isolated {
    fn execute(&mut self, job: &Job) -> Result<Sample> {
        let file = tempfile::NamedTempFile::new().context("cannot make a file for the sample")?;
        let mut command = Command::new(&self.memento);
        command.arg(SUBCOMMAND).arg("--output").arg(file.path());
        for (name, value) in &job.environment {
            let mut assignment = OsString::from(name);
            assignment.push("=");
            assignment.push(value);
            command.arg("--set").arg(assignment);
        }
        command.arg("--").args(&job.command);
        if self.output == Output::Discard {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        }
        let out = command
            .spawn()
            .and_then(std::process::Child::wait_with_output)
            .with_context(|| format!("cannot start {}", self.memento.display()))?;
        ensure!(
            out.status.success(),
            "{} could not measure: {}",
            self.memento.display(),
            String::from_utf8_lossy(&out.stderr).trim()
        );
        serde_json::from_reader(File::open(file.path())?).context("the sample cannot be read")
    }
}

/// The other side: runs `job` and writes its sample to `output`. The program's exit code is in the
/// sample, so this succeeds whatever it is.
///
/// # Errors
/// If the program could not be run, or the sample could not be written.
pub fn measure(job: &Job, output: &std::path::Path) -> Result<()> {
    let ended = super::child::run(job)?;
    let file =
        File::create(output).with_context(|| format!("cannot write {}", output.display()))?;
    serde_json::to_writer(file, &ended.sample).context("cannot write the sample")
}
