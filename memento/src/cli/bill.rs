//! `memento bill`.

use super::bench::{Bar, allocators, seconds};
use crate::allocators::{Allocator, MEMENTO, STOCK};
use crate::bench::launch::Launcher;
use crate::bench::measure::{Progress, Runner};
use crate::bench::suite::{Entry, Size, Suite};
use crate::bench::workload::Workload;
use crate::bill::document::{Document, Model, Priced, SCHEMA, Terms, price};
use crate::bill::models::Rates;
use crate::bill::presets::Preset;
use crate::bill::usage::{GB, Usage};
use crate::bill::{page, table};
use crate::columns;
use crate::engine::rounds::{Next, Plan, Turn, in_turns};
use crate::exit;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// What `--help` says below the options.
pub(super) const HELP: &str = "\
Runs the program (or functions of the suite) without and with memento in turns, looks at its CPU time and memory all \
the while, and prices what it saw:
  SLIM  duration × configured memory, by a provider's prices
  SIM   CPU and memory configured apart
  SPFU  strictly what was used
  NPFU  nearly what was used: reserved·C_r + borrowed·C_s − lent·C_s for CPU, and for memory what is configured less a \
credit for what is unused, or the average use if it is preemptible

Examples:
  memento bill -- python3 app.py
  memento bill --provider gcp --memory 512 -- ./app
  memento bill --spot-cores 0.5 --preemptible-mem --export bill.json python/json_loads
  memento bill --export bill.html -- ./app       with plots: cost by model, cost and duration by memory size
  memento bill --usage run.json                  price a run that was measured elsewhere

A usage is {\"schema\": \"memento.usage/1\", \"steps\": [{\"seconds\": 0.5, \"cores\": 1, \"gb\": 0.25}, …]}.

Exit codes: 0 all was priced; 1 a program failed; 125 memento itself failed; 126, 127 the program cannot be executed, or is not there; 130 interrupted.";

#[derive(Args, Debug)]
pub(super) struct BillArgs {
    /// Which functions: a language, a function, LANGUAGE/FUNCTION, `functions` for all [default: some of each language]
    #[arg(value_name = "SUITE", conflicts_with_all = ["command", "usage"])]
    suite: Vec<String>,
    /// How much the suite's functions have to do
    #[arg(long, value_enum, default_value_t)]
    size: Size,
    /// Whose prices SLIM has: aws, aws-arm, azure, azure-flex, gcp or gcp-1 (first generation)
    #[arg(long, default_value = "aws", value_name = "NAME", value_parser = Preset::named)]
    provider: Preset,
    /// Configured memory in MB [default: the one recommended for the program as it is]
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u32).range(1..))]
    memory: Option<u32>,
    /// Room over the peak when a size is recommended, as a fraction
    #[arg(long, default_value_t = 0.1, value_name = "FRACTION", value_parser = positive)]
    head_room: f64,
    /// Initialisation in each run, in seconds; some providers do not bill it
    #[arg(long, default_value_t = 0.0, value_name = "SECONDS", value_parser = positive)]
    init: f64,
    /// C_r: dollars for a reserved core-second
    #[arg(long, default_value_t = Rates::default().core_second, value_name = "DOLLARS", value_parser = positive)]
    core_second: f64,
    /// M_r: dollars for a GB-second that is kept
    #[arg(long, default_value_t = Rates::default().gb_second, value_name = "DOLLARS", value_parser = positive)]
    gb_second: f64,
    /// C_s ÷ C_r and M_s ÷ M_r
    #[arg(long, default_value_t = Rates::default().spot, value_name = "FRACTION", value_parser = positive)]
    spot: f64,
    /// λ: the share of lent CPU that found a borrower
    #[arg(long, default_value_t = 1.0, value_name = "SHARE", value_parser = share)]
    lambda: f64,
    /// μ: the share of unused memory that found a borrower
    #[arg(long, default_value_t = 1.0, value_name = "SHARE", value_parser = share)]
    mu: f64,
    /// The most CPU of an invocation, in cores
    #[arg(long, default_value_t = 1.0, value_name = "CORES", value_parser = positive)]
    cpu_cap: f64,
    /// The part of it that is not urgent and may be lent
    #[arg(long, default_value_t = 0.0, value_name = "CORES", value_parser = positive)]
    spot_cores: f64,
    /// The most memory of an invocation, in GB [default: the configured memory]
    #[arg(long, value_name = "GB", value_parser = positive)]
    mem_cap: Option<f64>,
    /// It may be killed for its memory and queued again
    #[arg(long)]
    preemptible_mem: bool,
    /// Runs that were preempted: they are not charged
    #[arg(long, default_value_t = 0, value_name = "N")]
    requeued: u32,
    /// Rounds
    #[arg(long, default_value_t = 7, value_name = "N", value_parser = clap::value_parser!(u64).range(1..10_000))]
    runs: u64,
    /// Time between two looks at a program, in milliseconds
    #[arg(long, default_value_t = 1.0, value_name = "MS", value_parser = positive)]
    interval: f64,
    /// Time limit of one execution, in seconds
    #[arg(long, default_value = "60", value_name = "SECONDS", value_parser = seconds)]
    timeout: Duration,
    /// Allocators besides memento and the program as it is: a name and the object to preload. Repeatable
    #[arg(long, value_name = "NAME=FILE")]
    allocator: Vec<String>,
    /// Set a variable for the programs. Repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<OsString>,
    /// Price this usage instead of running anything. Repeatable: the first is the baseline
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    usage: Vec<PathBuf>,
    /// Write the bill to a file: .json, .csv or .html. Repeatable
    #[arg(long, value_name = "FILE")]
    export: Vec<PathBuf>,
    /// Print no progress, and no table
    #[arg(long, short)]
    quiet: bool,
    /// A program and its arguments, instead of the suite
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
    number.ok_or_else(|| format!("`{text}` is no number from 0 up"))
}

fn share(text: &str) -> Result<f64, String> {
    positive(text)
        .ok()
        .filter(|n| *n <= 1.0)
        .ok_or_else(|| format!("`{text}` is no share from 0 to 1"))
}

pub(super) fn run(args: BillArgs) -> Result<ExitCode> {
    ensure!(
        args.spot_cores <= args.cpu_cap,
        "--spot-cores {} is more than --cpu-cap {}, of which it is a part",
        args.spot_cores,
        args.cpu_cap
    );
    let exports = args.export.iter().map(|path| open(path)).collect::<Result<Vec<_>>>()?;
    let terms = terms(&args);
    let mut notes = vec![
        "SLIM and the recommended sizes are with the CPU that comes with the memory: what has too few cores is billed \
        for longer than the duration shown"
            .to_owned(),
    ];
    let (workloads, interval_s, interrupted) = if args.usage.is_empty() {
        let (workloads, interrupted) = measured(&args, &terms)?;
        notes.push(
            "programs were looked at all the while, which disturbs them a little; pages that \
            a program shares with what it starts count for each; of runs below 20 ms memory is taken for its peak all the while"
                .to_owned(),
        );
        (workloads, Some(args.interval / 1e3), interrupted)
    } else {
        (given(&args, &terms)?, None, false)
    };
    let cap_gb = terms.mem_cap_gb;
    for workload in &workloads {
        let cap = cap_gb.unwrap_or(f64::from(workload.memory_mb.unwrap_or_default()) / 1024.0);
        if let Some(bill) = workload.bills.iter().find(|bill| bill.peak_gb > cap) {
            notes.push(format!(
                "{} under {} needs {:.3} GB, more than its {cap:.3} GB: it would be killed",
                workload.name, bill.allocator, bill.peak_gb
            ));
        }
    }
    let document = Document { schema: SCHEMA, terms, interval_s, workloads, notes };
    let mut failed = Vec::new();
    if args.quiet {
        super::say_skipped(document.workloads.iter().map(|w| (&w.name, &w.skipped)));
    } else {
        let text = table::text(&document, columns::terminal());
        let written = std::io::stdout().lock().write_all(text.as_bytes());
        failed.extend(written.context("cannot write the bill").err());
    }
    failed
        .extend(exports.into_iter().filter_map(|(file, path)| write(file, &path, &document).err()));
    for error in &failed {
        eprintln!("memento: {error:#}");
    }
    Ok(match () {
        () if !failed.is_empty() => ExitCode::from(exit::OURS),
        () if interrupted => ExitCode::from(exit::INTERRUPTED),
        () if document.workloads.iter().any(|w| w.skipped.is_some()) => ExitCode::FAILURE,
        () => ExitCode::SUCCESS,
    })
}

fn terms(args: &BillArgs) -> Terms {
    Terms {
        preset: args.provider,
        memory_mb: args.memory,
        head_room: args.head_room,
        init_s: args.init,
        rates: Rates {
            core_second: args.core_second,
            gb_second: args.gb_second,
            spot: args.spot,
            lambda: args.lambda,
            mu: args.mu,
        },
        cpu_cap: args.cpu_cap,
        spot_cores: args.spot_cores,
        mem_cap_gb: args.mem_cap,
        preemptible_mem: args.preemptible_mem,
        requeued: args.requeued,
    }
}

/// Prices usages that were given.
fn given(args: &BillArgs, terms: &Terms) -> Result<Vec<Priced>> {
    let usages: Vec<Vec<Usage>> =
        args.usage.iter().map(|path| Ok(vec![Usage::read(path)?])).collect::<Result<_>>()?;
    let names: Vec<String> = args.usage.iter().map(|path| path.display().to_string()).collect();
    Ok(vec![price(&names[0], &names, &usages, terms)])
}

/// Runs and prices; says whether the user interrupted it.
fn measured(args: &BillArgs, terms: &Terms) -> Result<(Vec<Priced>, bool)> {
    let mut only = vec![STOCK.to_owned(), MEMENTO.to_owned()];
    only.extend(args.allocator.iter().filter_map(|text| Some(text.split_once('=')?.0.to_owned())));
    let allocators = allocators(&only, &args.allocator)?;
    let set = args.env.iter().map(super::assignment).collect::<Result<Vec<_>>>()?;
    let entries = match &args.command[..] {
        [] => Suite::open()?.select(&args.suite, args.size)?,
        command => {
            super::bench::check_program(command)?;
            vec![Entry::Ready(Workload::command(command.to_vec(), Vec::new()))]
        }
    };
    let memento = std::env::current_exe().context("no name of this program")?;
    let interval = Duration::from_secs_f64(args.interval / 1e3);
    let mut launcher = Launcher::new(memento, args.timeout, interval);
    launcher.heed_interrupts()?;
    let mut bar = Bar::new(entries.len(), args.quiet);
    let mut priced = Vec::new();
    for entry in entries {
        priced.push(match entry {
            Entry::Skipped(name, why) => unpriced(name, why),
            Entry::Ready(mut workload) => {
                workload.environment.extend(set.iter().cloned());
                match usages(&workload, &allocators, args.runs, &mut launcher, &mut bar) {
                    Ok(runs) => {
                        let names: Vec<String> =
                            allocators.iter().map(|a| a.name.clone()).collect();
                        price(&workload.name, &names, &runs, terms)
                    }
                    Err(error) => unpriced(workload.name.clone(), format!("{error:#}")),
                }
            }
        });
        bar.next();
        if launcher.is_interrupted() {
            break;
        }
    }
    bar.clear();
    Ok((priced, launcher.is_interrupted()))
}

fn unpriced(name: String, why: String) -> Priced {
    Priced { name, skipped: Some(why), memory_mb: None, bills: Vec::new() }
}

/// What a workload used under each allocator, in turns.
fn usages(
    workload: &Workload,
    allocators: &[Allocator],
    rounds: u64,
    launcher: &mut Launcher,
    bar: &mut Bar,
) -> Result<Vec<Vec<Usage>>> {
    let count = usize::try_from(rounds)?;
    let plan = Plan { warmup: 1, min_rounds: count, max_rounds: count, precision: 0.0 };
    let mut all = vec![Vec::new(); allocators.len()];
    // Looks miss peaks: of each allocator there is one execution whose peak the kernel says.
    let mut peaks = vec![0.0f64; allocators.len()];
    let run = &mut |turn: Turn| {
        if launcher.is_interrupted() {
            bail!("interrupted");
        }
        let allocator = &allocators[turn.job];
        let done = turn.round as f64 / (count + 1) as f64;
        bar.step(done, &format!("{}, round {}, {}", workload.name, turn.round, allocator.name));
        let under = || format!("under {}", allocator.name);
        if turn.round == 0 {
            let sample = launcher.run(workload, allocator).with_context(under)?;
            peaks[turn.job] = sample.peak_rss_bytes as f64 / GB;
        }
        let curve = launcher.watch(workload, allocator).with_context(under)?.curve;
        let was_seen = curve.mean_rss().is_some();
        Ok(Usage::from_curve(&curve).with_peak(peaks[turn.job], was_seen))
    };
    in_turns(allocators.len(), &plan, run, &mut |round| {
        all.iter_mut().zip(round).for_each(|(usages, usage)| usages.push(usage));
        Ok(Next::More)
    })?;
    Ok(all)
}

fn open(path: &Path) -> Result<(File, PathBuf)> {
    let is_known = path.extension().is_some_and(|e| e == "json" || e == "csv" || e == "html");
    ensure!(is_known, "{}: a file for a bill ends in .json, .csv or .html", path.display());
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok((file, path.to_owned()))
}

fn write(mut file: File, path: &Path, document: &Document) -> Result<()> {
    let text = if path.extension().is_some_and(|e| e == "csv") {
        csv(document)?
    } else if path.extension().is_some_and(|e| e == "html") {
        page::html(document)?
    } else {
        serde_json::to_string_pretty(document)? + "\n"
    };
    file.write_all(text.as_bytes())
        .with_context(|| format!("cannot write all of {}", path.display()))
}

fn csv(document: &Document) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut header = [
        "workload",
        "allocator",
        "memory_mb",
        "runs",
        "seconds",
        "core_seconds",
        "peak_gb",
        "mean_gb",
        "recommended_mb",
    ]
    .map(str::to_owned)
    .to_vec();
    header.extend(Model::ALL.iter().map(|model| format!("{} $ per million", model.title())));
    writer.write_record(header)?;
    for workload in &document.workloads {
        for bill in &workload.bills {
            let mb = workload.memory_mb.unwrap_or_default();
            let advice = bill.recommendation.as_ref().map(|r| r.balanced.mb.to_string());
            let mut line = vec![
                workload.name.clone(),
                bill.allocator.clone(),
                mb.to_string(),
                bill.runs.to_string(),
            ];
            let numbers = [bill.seconds, bill.core_seconds, bill.peak_gb, bill.mean_gb];
            line.extend(numbers.map(|number| number.to_string()));
            line.push(advice.unwrap_or_default());
            line.extend(bill.costs.iter().map(|cost| cost.million.to_string()));
            writer.write_record(line)?;
        }
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}
