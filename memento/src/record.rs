//! `memento record`: runs a program and keeps what it asked of its allocator as a trace.
//!
//! The recording shared object writes one raw file per process image, which becomes a trace that replays:
//! see [`crate::trace`].

use crate::counters::{Collector, ImageFile};
use crate::engine::child;
use crate::engine::isolated::Isolated;
use crate::engine::{Exit, Job};
use crate::hal::HalName;
use crate::preload::{self, Instrument};
use crate::program;
use crate::trace::compact::{CompactWriter, Header};
use crate::trace::raw::{self, Tally};
use crate::trace::text::TextWriter;
use crate::trace::{Event, Writer};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

/// `--format` of a trace that is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Form {
    /// Compressed, with times
    #[default]
    Compact,
    /// One operation a line
    Text,
}

/// What a program that was recorded left behind, for as long as this lives.
pub struct Recording {
    /// How the program ended.
    pub exit: Exit,
    collector: Collector,
    root: u32,
    obstacle: Option<program::Obstacle>,
}

impl Recording {
    /// Runs `command` under the recording shared object.
    ///
    /// # Errors
    /// If the object is not found, or the program could not be run. The program's own failure is none.
    pub fn of(command: Vec<OsString>) -> Result<Self> {
        let collector = Collector::new()?;
        let obstacle = command.first().and_then(|p| program::obstacle(p));
        let environment = Self::environment(&collector)?;
        let ended = child::run(&Job { command, environment })?;
        Ok(Self { exit: ended.sample.exit, collector, root: ended.pid, obstacle })
    }

    /// Runs `job` under it from a process of its own, its output thrown away.
    ///
    /// # Errors
    /// As [`Recording::of`]; also if the program took too long.
    pub fn isolated(job: &Job, executor: &Isolated) -> Result<Self> {
        let collector = Collector::new()?;
        let obstacle = job.command.first().and_then(|p| program::obstacle(p));
        let mut job = job.clone();
        job.environment.extend(Self::environment(&collector)?);
        let caught = executor.catch(&job)?;
        Ok(Self { exit: caught.sample.exit, collector, root: caught.pid, obstacle })
    }

    /// The variables that have a program recorded.
    fn environment(collector: &Collector) -> Result<Vec<(OsString, OsString)>> {
        let object = preload::find(HalName::Soft, Instrument::Record)?;
        let mut environment = preload::variables(&object, HalName::Soft);
        environment.push(("MEMENTO_TRACE".into(), collector.path().into()));
        Ok(environment)
    }

    /// The raw files: that of the program's last image first, what it became by `exec`.
    ///
    /// # Errors
    /// If the program did not load the shared object.
    pub fn files(&self) -> Result<Vec<ImageFile>> {
        let mut files = self.collector.files(".trace")?;
        let root = self.root;
        files.sort_by_key(|file| (file.pid != root, file.pid, std::cmp::Reverse(file.number)));
        if files.first().is_none_or(|file| file.pid != root) {
            match &self.obstacle {
                Some(obstacle) => {
                    bail!("{obstacle}: the program did not load the recording shared object")
                }
                None => bail!(
                    "nothing was recorded: the program did not load the recording shared object"
                ),
            }
        }
        Ok(files)
    }
}

/// Gives the events of a raw file to `sink`; `begin` hears the program's name before.
///
/// # Errors
/// If the file is no recording of this version, or `begin` or `sink` fails.
pub fn events<T>(
    file: &ImageFile,
    begin: impl FnOnce(&str) -> Result<T>,
    sink: impl Fn(&mut T, &Event) -> Result<()>,
) -> Result<(T, Tally)> {
    let mut input = BufReader::new(File::open(&file.path)?);
    let mut state = begin(&raw::program(&mut input)?)?;
    let tally = raw::read(input, &mut |event| sink(&mut state, event))?;
    Ok((state, tally))
}

/// Runs `command` and writes the trace of its last image to `output`. Traces of other images go beside it,
/// with `.<pid>-<n>` appended; each is named on stderr.
///
/// # Errors
/// If the program could not be run, did not load the shared object, or a trace could not be
/// written. The program's own failure is none.
pub fn run(command: Vec<OsString>, output: &Path, form: Form) -> Result<(Exit, Result<()>)> {
    // Known before the time is spent. What is there stays until there is a trace.
    let fresh = !output.exists();
    let mut writable = File::options();
    writable.write(true).create(true).truncate(false);
    writable.open(output).with_context(|| format!("cannot write {}", output.display()))?;
    let recorded =
        Recording::of(command).map(|recording| (recording.exit, keep(&recording, output, form)));
    let failed = !matches!(recorded, Ok((_, Ok(()))));
    if failed && fresh && output.metadata().is_ok_and(|file| file.len() == 0) {
        fs::remove_file(output).context("cannot remove the empty trace")?;
    }
    recorded
}

fn keep(recording: &Recording, output: &Path, form: Form) -> Result<()> {
    for (index, file) in recording.files()?.iter().enumerate() {
        let path = if index == 0 { output.to_owned() } else { beside(output, file) };
        let tally = convert(file, &path, form);
        let tally = tally.with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("memento: {}: process {}, {tally}", path.display(), file.pid);
    }
    Ok(())
}

/// Makes a trace of a raw file.
fn convert(file: &ImageFile, path: &Path, form: Form) -> Result<Tally> {
    let begin = |program: &str| -> Result<Box<dyn Writer>> {
        let output = BufWriter::new(File::create(path)?);
        let header = Header { program: program.to_owned(), pid: file.pid };
        Ok(match form {
            Form::Compact => Box::new(CompactWriter::new(output, &header)?),
            Form::Text => Box::new(TextWriter::new(output, program)?),
        })
    };
    let (mut writer, tally) = events(file, begin, |writer, event| Ok(writer.event(event)?))?;
    writer.finish()?;
    Ok(tally)
}

fn beside(output: &Path, file: &ImageFile) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(format!(".{}-{}", file.pid, file.number));
    name.into()
}
