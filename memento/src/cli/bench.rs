//! `memento bench`.

use crate::allocators::{Allocator, MEMENTO, MEMENTO_EMU, STOCK, installed};
use crate::bench::budget::Budget;
use crate::bench::document::{Document, Measured, SCHEMA, Settings};
use crate::bench::launch::Launcher;
use crate::bench::measure::{Effort, Progress, Runner, measure};
use crate::bench::suite::{Entry, Size, Suite};
use crate::bench::workload::Workload;
use crate::bench::{export, table};
use crate::columns;
use crate::engine::child::RunError;
use crate::engine::host::Host;
use crate::engine::rounds::Plan;
use crate::engine::watch;
use crate::exit;
use crate::hal::HalName;
use crate::program::{self, Obstacle};
use crate::report::{Style, colour_wanted};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

/// What `--help` says below the options.
pub(super) const HELP: &str = "\
Runs every program under every allocator in turns, each time in a new process, and prints medians with 95 % \
intervals and ratios to the baseline. Allocators: stock (the program as it is), memento, memento-emu, those of \
jemalloc, tcmalloc, mimalloc, snmalloc, rpmalloc and Mesh that are installed, and what --allocator names. \
MEMENTO_PEERS may name a directory made by benches/peers/build.

Without a program it runs functions that come with it, some of each language; SUITE chooses others: `functions` (all), `python`, `node`, `cpp`, \
`rust`, a function's name; or the suites `data` (SQLite, Redis, Memcached, a C++ store) and `platform` (containers, \
unpacking a layer, installing packages, start-up of servers). They are unpacked to the cache directory (MEMENTO_CACHE_DIR, else XDG_CACHE_HOME/memento).

Examples:
  memento bench                                     some functions of each language, below two minutes
  memento bench functions --time 600                all of them, with more rounds
  memento bench python/json_loads --size full       one of them, with more to do
  memento bench -- python3 app.py                   a program of your own
  memento bench --only stock,memento --runs 30 -- ./app
  memento bench --allocator mine=./libmine.so --baseline memento -- ./app
  memento bench --export table.md --export page.html --export all.json
  memento bench --env PYTHONMALLOC=malloc python    Python's small objects through malloc
  memento bench --handler app.handler --event e.json            100 invocations in one process: p50, p95, p99
  memento bench --runtime-api --event e.json -- ./bootstrap     the same for a Lambda function in Rust or C++

Exit codes: 0 all went well; 1 a program failed under an allocator (the rest is measured and shown); 125 memento \
itself failed; 126, 127 the program cannot be executed, or is not there; 130 interrupted (what was measured is shown).";

#[derive(Args, Debug)]
pub(super) struct BenchArgs {
    /// Which functions: a language, a function, LANGUAGE/FUNCTION, `functions` for all [default: some of each language]
    #[arg(value_name = "SUITE", conflicts_with = "command")]
    suite: Vec<String>,
    /// How much the suite's functions have to do
    #[arg(long, value_enum, default_value_t)]
    size: Size,
    /// Another allocator: a name and the shared object to preload. Repeatable
    #[arg(long, value_name = "NAME=FILE")]
    pub(super) allocator: Vec<String>,
    /// Only these allocators, by name
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(super) only: Vec<String>,
    /// What ratios are to
    #[arg(long, default_value = STOCK, value_name = "NAME")]
    pub(super) baseline: String,
    /// Exactly so many rounds that count, however long it takes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..100_000))]
    pub(super) runs: Option<u64>,
    /// Most time for everything, in seconds: rounds and workloads that do not fit are left out [default: 90, or 30 for one program]
    #[arg(long, value_name = "SECONDS", conflicts_with = "runs", value_parser = seconds)]
    time: Option<Duration>,
    /// Stop when the intervals of the CPU-time ratios are so narrow, as a fraction
    #[arg(long, default_value_t = 0.03, value_name = "FRACTION")]
    precision: f64,
    /// Rounds that are thrown away, after the watched ones
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(super) warmup: usize,
    /// Rounds in which memory is watched over time, instead of timed
    #[arg(long, default_value_t = 1, value_name = "N")]
    watched: usize,
    /// Time limit of one execution, in seconds
    #[arg(long, default_value = "60", value_name = "SECONDS", value_parser = seconds)]
    pub(super) timeout: Duration,
    /// Set a variable for the programs. Repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) env: Vec<OsString>,
    /// Write the results to a file: .json, .csv, .md or .html. Repeatable
    #[arg(long, value_name = "FILE")]
    pub(super) export: Vec<PathBuf>,
    /// Print no progress, and no table: only errors
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// Install the packages of others that some functions need into the cache directory, and end
    #[arg(long, conflicts_with_all = ["suite", "command"])]
    setup: bool,
    /// Serve a Python or Node handler instead, FILE.FUNCTION as in app.handler: many invocations in one process
    #[arg(long, value_name = "NAME", conflicts_with_all = ["suite", "command", "runtime_api", "time"])]
    pub(super) handler: Option<String>,
    /// The program speaks the Lambda Runtime API (Rust, C++): many invocations in one process
    #[arg(long, requires = "command", conflicts_with_all = ["suite", "time"])]
    runtime_api: bool,
    /// The event that a handler is given; {} by default
    #[arg(long, value_name = "FILE")]
    pub(super) event: Option<PathBuf>,
    /// Invocations of each process
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = invocations)]
    pub(super) invocations: usize,
    /// Configured memory that REPORT lines name, in MB
    #[arg(long, default_value_t = 128, value_name = "MB")]
    pub(super) memory: u32,
    /// A program and its arguments, instead of the suite
    #[arg(last = true, value_name = "CMD")]
    pub(super) command: Vec<OsString>,
}

/// Reads a number of seconds.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| format!("`{text}` is no number of seconds"))?;
    Duration::try_from_secs_f64(number)
        .ok()
        .filter(|time| !time.is_zero())
        .ok_or_else(|| format!("`{text}` is no time: it must be more than nothing"))
}

fn invocations(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| (1..=1_000_000).contains(n));
    number.ok_or_else(|| format!("`{text}` is no number of invocations"))
}

pub(super) fn run(args: BenchArgs) -> Result<ExitCode> {
    let begin = Instant::now();
    if args.handler.is_some() || args.runtime_api {
        return super::warm::run(&args);
    }
    if args.setup {
        Suite::open()?.set_up()?;
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(args.precision > 0.0, "--precision must be more than nothing");
    let exports = export::open(&args.export)?;
    let allocators = allocators(&args.only, &args.allocator)?;
    let baseline = allocators.iter().position(|a| a.name == args.baseline).with_context(|| {
        let names: Vec<_> = allocators.iter().map(|a| a.name.as_str()).collect();
        format!(
            "--baseline {}: no such allocator is measured; there are {}",
            args.baseline,
            names.join(", ")
        )
    })?;
    let entries = entries(&args)?;
    let memento = std::env::current_exe().context("no name of this program")?;
    let mut launcher = Launcher::new(memento, args.timeout, watch::INTERVAL);
    launcher.heed_interrupts()?;
    let mut bar = Bar::new(entries.len(), args.quiet);
    let document =
        measured(&args, begin, entries, (allocators, baseline), &mut launcher, &mut bar)?;
    bar.clear();

    let mut failed = Vec::new();
    if !args.quiet {
        let style = if colour_wanted(&std::io::stdout()) { Style::Colour } else { Style::Plain };
        let text = table::text(&document, style, columns::terminal());
        let written = std::io::stdout().lock().write_all(text.as_bytes());
        failed.extend(written.context("cannot write the table").err());
    }
    failed.extend(exports.into_iter().filter_map(|export| export.write(&document).err()));
    for error in &failed {
        eprintln!("memento: {error:#}");
    }
    Ok(match () {
        () if !failed.is_empty() => ExitCode::from(exit::OURS),
        () if launcher.is_interrupted() => ExitCode::from(exit::INTERRUPTED),
        () if document.has_failures() => {
            if args.quiet {
                tell_failures(&document);
            }
            ExitCode::FAILURE
        }
        () => ExitCode::SUCCESS,
    })
}

fn measured(
    args: &BenchArgs,
    begin: Instant,
    entries: Vec<Entry>,
    (allocators, baseline): (Vec<Allocator>, usize),
    launcher: &mut Launcher,
    bar: &mut Bar,
) -> Result<Document> {
    let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let is_suite = args.command.is_empty();
    let default = if entries.len() > 1 { 90 } else { 30 };
    let total = args.time.unwrap_or(Duration::from_secs(default));
    let budget = Budget::new(total);
    let plan = match args.runs {
        Some(runs) => {
            let runs = usize::try_from(runs)?;
            Plan { warmup: args.warmup, min_rounds: runs, max_rounds: runs, precision: 0.0 }
        }
        None => {
            Plan { warmup: args.warmup, min_rounds: 10, max_rounds: 100, precision: args.precision }
        }
    };
    // What is asked for in rounds is not ended by time.
    let is_timed = args.runs.is_none();
    let mut late = 0;
    let mut left = entries.iter().filter(|entry| matches!(entry, Entry::Ready(_))).count();
    let mut workloads = Vec::new();
    let mut notes = Vec::new();
    for entry in entries {
        if launcher.is_interrupted() {
            notes.push("interrupted: not everything was measured".to_owned());
            break;
        }
        match entry {
            Entry::Skipped(name, why) => workloads.push(skipped(name, why)),
            Entry::Ready(workload)
                // The first is run in any case.
                if is_timed
                    && workloads.iter().any(|w: &Measured| w.skipped.is_none())
                    && budget.is_spent(begin.elapsed()) =>
            {
                late += 1;
                workloads.push(skipped(workload.name, "the time was up".into()));
            }
            Entry::Ready(workload) => {
                let share = budget.share(begin.elapsed(), left);
                left -= 1;
                if is_timed && is_suite {
                    launcher.limit(budget.limit(begin.elapsed(), args.timeout));
                }
                let effort = Effort { plan, watched: args.watched, share };
                workloads.push(measure(&workload, &allocators, baseline, &effort, launcher, bar));
            }
        }
        bar.next();
    }
    if late > 0 {
        notes.push(format!(
            "{} s were not enough for {late} of the workloads: give it more --time, or name fewer",
            total.as_secs_f64()
        ));
    }
    if workloads.iter().any(|w| (1..6).contains(&w.rounds())) {
        notes.push(
            "below six rounds there are no intervals: give it more --time, or --runs".to_owned(),
        );
    }
    let settings = Settings {
        warmup: args.warmup,
        watched: args.watched,
        rounds: (plan.min_rounds, plan.max_rounds),
        precision: plan.precision,
        budget_s: total.as_secs_f64(),
        timeout_s: args.timeout.as_secs_f64(),
    };
    let mut document = Document {
        schema: SCHEMA.into(),
        memento: env!("CARGO_PKG_VERSION").into(),
        began,
        host: Host::this(),
        baseline: allocators[baseline].name.clone(),
        settings,
        allocators,
        workloads,
        means: Vec::new(),
        notes,
    };
    document.sum_up();
    Ok(document)
}

fn skipped(name: String, why: String) -> Measured {
    Measured { name, command: vec![], checked: None, skipped: Some(why), cells: vec![] }
}

fn tell_failures(document: &Document) {
    for workload in &document.workloads {
        for cell in &workload.cells {
            if let Some(why) = &cell.failed {
                eprintln!("memento: {} under {}: {why}", workload.name, cell.allocator);
            }
        }
    }
}

/// What is compared: `named` besides what comes with the command and what is installed, or `only` some.
pub(super) fn allocators(only: &[String], named: &[String]) -> Result<Vec<Allocator>> {
    let named = named.iter().map(|text| Allocator::named(text)).collect::<Result<Vec<_>>>()?;
    for allocator in &named {
        let taken = [STOCK, MEMENTO, MEMENTO_EMU].contains(&allocator.name.as_str());
        ensure!(
            !taken,
            "--allocator: {} is the name of one that comes with memento",
            allocator.name
        );
        allocator.probe()?;
    }
    let mut all = vec![Allocator::stock()];
    for (name, hal) in [(MEMENTO, HalName::Soft), (MEMENTO_EMU, HalName::Emu)] {
        match Allocator::memento(hal) {
            Ok(allocator) => all.push(allocator),
            // What is not asked for need not be there.
            Err(_) if !only.is_empty() && only.iter().all(|wanted| wanted != name) => {}
            Err(error) => return Err(error),
        }
    }
    let is_named = |name: &str| named.iter().any(|allocator| allocator.name == name);
    all.extend(installed().into_iter().filter(|peer| !is_named(&peer.name)));
    all.extend(named);
    let mut seen = std::collections::BTreeSet::new();
    if let Some(twice) = all.iter().find(|a| !seen.insert(a.name.clone())) {
        bail!("two allocators are called {}", twice.name);
    }
    crate::allocators::select(all, only)
}

/// Makes sure, before time is spent, that a program is there and can be executed.
pub(super) fn check_program(command: &[OsString]) -> Result<()> {
    let Some(program) = command.first() else { return Ok(()) };
    let name = program.to_string_lossy().into_owned();
    let (error, path) = match program::obstacle(program) {
        Some(Obstacle::Missing(path)) => (RunError::NotFound { program: name }, path),
        Some(Obstacle::NotExecutable(path)) => {
            let source = std::io::ErrorKind::PermissionDenied.into();
            (RunError::NotExecutable { program: name, source }, path)
        }
        _ => return Ok(()),
    };
    let is_own = path.file_name() == Path::new(program).file_name();
    let error = anyhow::Error::from(error);
    Err(if is_own { error } else { error.context(format!("{} is needed", path.display())) })
}

fn entries(args: &BenchArgs) -> Result<Vec<Entry>> {
    let set = args.env.iter().map(super::assignment).collect::<Result<Vec<_>>>()?;
    if !args.command.is_empty() {
        check_program(&args.command)?;
        return Ok(vec![Entry::Ready(Workload::command(args.command.clone(), set))]);
    }
    let mut entries = Suite::open()?.select(&args.suite, args.size)?;
    for entry in &mut entries {
        if let Entry::Ready(workload) = entry {
            workload.environment.extend(set.iter().cloned());
        }
    }
    Ok(entries)
}

/// The progress bar on stderr; nothing where that is no terminal.
pub(super) struct Bar(ProgressBar);

/// Steps of the bar for one workload.
const STEPS: u64 = 100;

impl Bar {
    pub(super) fn new(workloads: usize, quiet: bool) -> Self {
        if quiet {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(workloads as u64 * STEPS);
        let template = if colour_wanted(&std::io::stderr()) {
            "{bar:30.cyan/dim} {percent:>3} % {elapsed} {wide_msg}"
        } else {
            "{bar:30} {percent:>3} % {elapsed} {wide_msg}"
        };
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        Self(bar)
    }

    pub(super) fn next(&mut self) {
        let done = self.0.position() / STEPS + 1;
        self.0.set_position(done * STEPS);
    }

    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

impl Progress for Bar {
    fn step(&mut self, done: f64, next: &str) {
        let begun = self.0.position() / STEPS * STEPS;
        self.0.set_position(begun + ((STEPS - 1) as f64 * done) as u64);
        self.0.set_message(next.to_owned());
    }
}
