//! Runs a program from a tiny process of its own.
//!
//! Whatever the measuring process holds (samples, reports, a test harness) would otherwise show in
//! the program's peak resident set, and a second program could not be told from the first; see
//! [`super::child`]. So this command executes itself as `memento __measure`, which does nothing but
//! run the one program and write its [`Sample`] to a file.
//!
//! Before each run, free memory is brought into the same state: see [`super::free_memory`].

use super::free_memory;
use super::rounds::Executor;
use super::sample::{Job, Sample};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
    limit: Option<Duration>,
    /// The highest peak of a program so far, in bytes; common to all clones.
    peak: Arc<AtomicU64>,
}

/// What the other side writes.
#[derive(Serialize, Deserialize)]
struct Written {
    pid: u32,
    #[serde(flatten)]
    sample: Sample,
}

/// A program that was run with its output caught.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caught {
    /// Its process id.
    pub pid: u32,
    /// What it cost.
    pub sample: Sample,
    /// The beginning of what it wrote to its standard output.
    pub stdout: String,
    /// The end of what it wrote to its standard error.
    pub stderr: String,
}

/// So much of a program's output is kept.
const KEPT_BYTES: u64 = 4096;

impl Isolated {
    /// `memento` is the path of this command's executable.
    pub fn new(memento: impl Into<PathBuf>, output: Output) -> Self {
        Self { memento: memento.into(), output, limit: None, peak: Arc::default() }
    }

    /// Programs are killed, with all that they have started, when `limit` has passed. It is rounded up
    /// to seconds.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Runs `job` with its output going to files, which costs the same every time, and returns a part
    /// of it.
    ///
    /// # Errors
    /// If it could not be run or took too long.
    pub fn catch(&self, job: &Job) -> Result<Caught> {
        let out = tempfile::tempfile().context("cannot make a file for the program's output")?;
        let sample = self.measure(job, |command| {
            command.stdin(Stdio::null()).stdout(out.try_clone()?);
            Ok(())
        });
        let (Written { pid, sample }, stderr) = sample?;
        let stdout = text(out, 0)?;
        Ok(Caught { pid, sample, stdout, stderr })
    }

    /// Runs `job`; returns its sample and the end of what it wrote to standard error, if that was caught.
    fn measure(
        &self,
        job: &Job,
        streams: impl FnOnce(&mut Command) -> Result<()>,
    ) -> Result<(Written, String)> {
        // Relaxed: a number that orders nothing.
        free_memory::touch(self.peak.load(Ordering::Relaxed));
        let file = tempfile::NamedTempFile::new().context("cannot make a file for the sample")?;
        // A file, not a pipe: what the program leaves running in the background may hold it open.
        let errors = tempfile::tempfile().context("cannot make a file for error messages")?;
        let mut command = Command::new(&self.memento);
        command.arg(SUBCOMMAND).arg("--output").arg(file.path());
        if let Some(limit) = self.limit {
            command.arg("--limit").arg(limit.as_secs_f64().to_string());
        }
        for (name, value) in &job.environment {
            let mut assignment = OsString::from(name);
            assignment.push("=");
            assignment.push(value);
            command.arg("--set").arg(assignment);
        }
        command.arg("--").args(&job.command);
        if self.output == Output::Discard {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors.try_clone()?);
        }
        streams(&mut command)?;
        let status =
            command.status().with_context(|| format!("cannot start {}", self.memento.display()))?;
        let from = errors.metadata()?.len().saturating_sub(KEPT_BYTES);
        let stderr = text(errors, from)?;
        if !status.success() {
            let message = stderr.trim();
            bail!("{}", message.rsplit("memento: ").next().unwrap_or(message));
        }
        let written: Written = serde_json::from_reader(File::open(file.path())?)
            .context("the sample cannot be read")?;
        self.peak.fetch_max(written.sample.peak_rss_bytes, Ordering::Relaxed);
        Ok((written, stderr))
    }
}

/// Up to [`KEPT_BYTES`] of a file.
fn text(mut file: File, from: u64) -> Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.take(KEPT_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl Executor for Isolated {
    fn execute(&mut self, job: &Job) -> Result<Sample> {
        self.measure(job, |_| Ok(())).map(|(written, _)| written.sample)
    }
}

/// The other side: runs `job`, no longer than `limit`, and writes its sample to `output`. The program's
/// exit code is in the sample, so this succeeds whatever it is.
///
/// # Errors
/// If the program could not be run or took too long, or the sample could not be written.
pub fn measure(job: &Job, limit: Option<Duration>, output: &std::path::Path) -> Result<()> {
    let ended = super::child::run_within(job, limit)?;
    let file =
        File::create(output).with_context(|| format!("cannot write {}", output.display()))?;
    let written = Written { pid: ended.pid, sample: ended.sample };
    serde_json::to_writer(file, &written).context("cannot write the sample")
}
