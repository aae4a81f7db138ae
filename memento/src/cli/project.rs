//! `memento project`.

use super::bench::{Bar, seconds};
use super::profile::seen;
use crate::allocators::Allocator;
use crate::bench::launch::Launcher;
use crate::bench::measure::{Progress, Runner};
use crate::bench::suite::{Entry, Size, Suite};
use crate::bench::workload::Workload;
use crate::calibrate::Costs;
use crate::columns::{print_within, terminal};
use crate::conf;
use crate::engine::isolated::{Isolated, Output};
use crate::engine::{Job, watch};
use crate::exit;
use crate::profile::count::Counter;
use crate::profile::time::{Time, calibrated};
use crate::project::{ASSUMPTIONS, Document, PUBLISHED, Part, Projected, Projection, SCHEMA, mean};
use crate::record::{Recording, events};
use crate::replay::emu;
use crate::replay::trace::Builder;
use crate::units::{grouped, seconds as shown};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use comfy_table::{Table, presets};
use memento_hal::emulator::Params;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// What `--help` says below the options.
pub(super) const HELP: &str = "\
An estimate, to first order: what the program spends on small objects now, by its operations and what each costs on \
this machine, is replaced by the cycles that the emulated hardware takes for the same operations. It is printed with \
the costs, with every assumption, and beside what the paper publishes.

Examples:
  memento project                                  some functions of each language; `functions`: all
  memento project python/json_loads --size full
  memento project --export p.json -- ./app
  memento project --conf slow-memory.toml -- ./app  with other parameters of the hardware

Exit codes: 0 all was projected; 1 a program failed; 125 memento itself failed; 126, 127 the program cannot be executed, or is not there; 130 interrupted.";

#[derive(Args, Debug)]
pub(super) struct ProjectArgs {
    /// Which functions: a language, a function, LANGUAGE/FUNCTION, `functions` for all [default: some of each language]
    #[arg(value_name = "SUITE", conflicts_with = "command")]
    suite: Vec<String>,
    /// How much the suite's functions have to do
    #[arg(long, value_enum, default_value_t)]
    size: Size,
    /// The emulator's parameters, section [emulator] of a TOML file
    #[arg(long, value_name = "FILE")]
    conf: Option<PathBuf>,
    /// Runs that the CPU time is the median of
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u64).range(1..10_000))]
    runs: u64,
    /// Time limit of one execution, in seconds
    #[arg(long, default_value = "60", value_name = "SECONDS", value_parser = seconds)]
    timeout: Duration,
    /// Set a variable for the programs. Repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<OsString>,
    /// Write the projection to a file, as JSON
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// Print no progress, and no table
    #[arg(long, short)]
    quiet: bool,
    /// A program and its arguments, instead of the suite
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

pub(super) fn run(args: ProjectArgs) -> Result<ExitCode> {
    let params = conf::parameters(args.conf.as_deref())?;
    let export = args
        .export
        .as_ref()
        .map(|path| File::create(path).with_context(|| format!("cannot write {}", path.display())));
    let export = export.transpose()?;
    let set = args.env.iter().map(super::assignment).collect::<Result<Vec<_>>>()?;
    let entries = match &args.command[..] {
        [] => Suite::open()?.select(&args.suite, args.size)?,
        command => {
            super::bench::check_program(command)?;
            vec![Entry::Ready(Workload::command(command.to_vec(), Vec::new()))]
        }
    };
    let memento = std::env::current_exe().context("no name of this program")?;
    let mut launcher = Launcher::new(memento.clone(), args.timeout, watch::INTERVAL);
    launcher.heed_interrupts()?;
    let costs = Costs::under(&Allocator::stock())?;
    let executor = Isolated::new(memento, Output::Discard).within(args.timeout);
    let mut bar = Bar::new(entries.len(), args.quiet);
    let mut workloads = Vec::new();
    for entry in entries {
        if launcher.is_interrupted() {
            break;
        }
        workloads.push(match entry {
            Entry::Skipped(name, why) => unprojected(name, why),
            Entry::Ready(mut workload) => {
                if workload.name.starts_with("python/") {
                    workload.environment.push(("PYTHONMALLOC".into(), "malloc".into()));
                }
                workload.environment.extend(set.iter().cloned());
                let made = projection(
                    &workload,
                    args.runs,
                    &params,
                    &costs,
                    &executor,
                    &mut launcher,
                    &mut bar,
                );
                match made {
                    Ok((projection, now)) => Projected {
                        name: workload.name,
                        skipped: None,
                        projection: Some(projection),
                        now: Some(now),
                    },
                    Err(error) => unprojected(workload.name, format!("{error:#}")),
                }
            }
        });
        bar.next();
    }
    bar.clear();
    let document = document(costs, &params, workloads);
    let mut failed = Vec::new();
    if args.quiet {
        super::say_skipped(document.workloads.iter().map(|w| (&w.name, &w.skipped)));
    } else {
        let written = std::io::stdout().lock().write_all(text(&document).as_bytes());
        failed.extend(written.context("cannot write the table").err());
    }
    if let Some((mut file, path)) = export.zip(args.export) {
        let text = serde_json::to_string_pretty(&document)? + "\n";
        let written = file.write_all(text.as_bytes());
        let what = || format!("cannot write all of {}", path.display());
        failed.extend(written.with_context(what).err());
    }
    for error in &failed {
        eprintln!("memento: {error:#}");
    }
    Ok(match () {
        () if !failed.is_empty() => ExitCode::from(exit::OURS),
        () if launcher.is_interrupted() => ExitCode::from(exit::INTERRUPTED),
        () if document.workloads.iter().any(|w| w.projection.is_none()) => ExitCode::FAILURE,
        () => ExitCode::SUCCESS,
    })
}

fn unprojected(name: String, why: String) -> Projected {
    Projected { name, skipped: Some(why), projection: None, now: None }
}

fn document(costs: Costs, params: &Params, workloads: Vec<Projected>) -> Document {
    let parameter = |name: &str| (name.to_owned(), params.get(name).unwrap_or_default());
    Document {
        schema: SCHEMA,
        kind: "first-order estimate",
        costs,
        parameters: Params::FIELDS.iter().map(|field| parameter(field.name)).collect(),
        assumptions: ASSUMPTIONS.to_vec(),
        published: PUBLISHED.into(),
        mean_speedup: mean(&workloads),
        workloads,
    }
}

fn projection(
    workload: &Workload,
    runs: u64,
    params: &Params,
    costs: &Costs,
    executor: &Isolated,
    launcher: &mut Launcher,
    bar: &mut Bar,
) -> Result<(Projection, Time)> {
    let stock = Allocator::stock();
    let mut samples = Vec::new();
    for number in 0..runs {
        if launcher.is_interrupted() {
            bail!("interrupted");
        }
        bar.step(
            number as f64 / (runs + 2) as f64,
            &format!("{}, run {}", workload.name, number + 1),
        );
        let sample = launcher.run(workload, &stock)?;
        samples.push(sample);
    }
    samples.sort_by_key(|sample| sample.user_ns + sample.system_ns);
    let middle = samples.get(samples.len() / 2).context("it was not run")?;
    let seen = seen(middle, workload, launcher)?;
    bar.step(runs as f64 / (runs + 2) as f64, &format!("{}, recorded", workload.name));
    let job = Job { command: workload.command.clone(), environment: workload.environment.clone() };
    let recording = Recording::isolated(&job, executor)?;
    ensure!(recording.exit.is_success(), "it failed while it was recorded: {:?}", recording.exit);
    let files = recording.files()?;
    let begin = |_: &str| Ok((Counter::new(), Builder::default()));
    let ((counter, builder), _) = events(&files[0], begin, |(counter, builder), event| {
        counter.event(event)?;
        Ok(builder.event(*event)?)
    })?;
    bar.step((runs + 1) as f64 / (runs + 2) as f64, &format!("{}, emulated", workload.name));
    let hardware = emu::replay(&builder.finish(), params)?;
    let counts = counter.finish();
    let now = Time::estimate(&counts, costs.clone(), &seen);
    let projection = Projection::new(&counts, &hardware, &now)
        .context("by this estimate more would be saved than there is: it cannot be right here")?;
    Ok((projection, now))
}

fn text(document: &Document) -> String {
    let costs = &document.costs;
    let mut out = "A first-order estimate of what the hardware would do.\n".to_owned();
    for (name, ns) in calibrated(costs) {
        let _ = match ns {
            Some(ns) => {
                writeln!(out, "  {name:<20} {:>10} {:>8.0} cycles", shown(ns), costs.cycles(ns))
            }
            None => writeln!(out, "  {name:<20} {:>10}", "none here"),
        };
    }
    let _ = writeln!(out, "  of 64 bytes where sizes differ; at {:.0} MHz", costs.mhz);
    memory_now(&mut out, document);
    out.push_str("\nwith the hardware\n");
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.add_row([
        "", "CPU now", "allocs", "now", "then", "frees", "now", "then", "pages", "now", "then",
        "saved", "speed-up", "split",
    ]);
    for workload in &document.workloads {
        if let Some(projection) = &workload.projection {
            table.add_row(row(&workload.name, projection));
        }
    }
    print_within(&mut out, &mut table, terminal(), &[2, 5, 8, 3, 6, 9, 4, 7]);
    for workload in &document.workloads {
        if let Some(why) = &workload.skipped {
            let _ = writeln!(out, "  {}: not projected: {why}", workload.name);
        }
    }
    if let Some(mean) = document.mean_speedup {
        let _ = writeln!(out, "  geometric mean of the speed-ups: {:.1} %", 100.0 * (mean - 1.0));
    }
    out.push_str("\npublished\n");
    for (what, value) in PUBLISHED {
        let _ = writeln!(out, "  {what}: {value}");
    }
    out.push_str("\nassumptions\n");
    for assumption in ASSUMPTIONS {
        let _ = writeln!(out, "  {assumption}");
    }
    out
}

/// Memory management as it is: its share, the user's and the kernel's part, and how often each is done.
fn memory_now(out: &mut String, document: &Document) {
    const COLUMNS: [&str; 11] = [
        "hot", "refill", "large", "hot", "last", "remote", "large", "small", "huge", "mmap",
        "munmap",
    ];
    let times: Vec<_> =
        document.workloads.iter().filter_map(|w| Some((&w.name, w.now.as_ref()?))).collect();
    if times.is_empty() {
        return;
    }
    out.push_str("\nmemory management now: its share of the CPU time, the user's and the kernel's part of it, counts\n");
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let heads = ["", "share", "user", "kernel", "malloc", "", "", "free", "", "", "", "faults"];
    table.add_row(heads);
    table.add_row(["", "", "", ""].into_iter().chain(COLUMNS));
    let percent =
        |share: Option<f64>| share.map_or("–".into(), |s| format!("{:.0} %", 100.0 * s));
    for (name, time) in times {
        let kernel = time.kernel_share();
        let whole = (time.cpu_ns > 0.0).then(|| time.total_ns() / time.cpu_ns);
        let mut row = vec![
            name.clone(),
            percent(whole),
            percent(kernel.map(|kernel| 1.0 - kernel)),
            percent(kernel),
        ];
        row.extend(time.operations.iter().take(COLUMNS.len()).map(|o| grouped(o.count)));
        table.add_row(row);
    }
    print_within(out, &mut table, terminal(), &[14, 13, 12, 9, 6, 10, 7, 8, 11, 5, 4]);
}

fn row(name: &str, projection: &Projection) -> Vec<String> {
    let mut row = vec![name.to_owned(), shown(projection.cpu_ns)];
    for Part { count, software_ns, hardware_ns, .. } in
        [projection.alloc, projection.free, projection.pages]
    {
        row.extend([grouped(count), shown(software_ns), shown(hardware_ns)]);
    }
    row.push(format!("{:.1} %", 100.0 * projection.saved_ns() / projection.cpu_ns));
    row.push(format!("{:.1} %", 100.0 * (projection.speedup - 1.0)));
    row.push(projection.split().map_or("–".into(), |split| {
        split.map(|share| format!("{:.0}", 100.0 * share)).join("/")
    }));
    row
}
