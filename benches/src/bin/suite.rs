//! Runs real programs under memento and its peers in turns, and prints who is how fast.
//!
//! ```text
//! cargo run --release -p memento-benches --bin suite -- run --rounds 12 --export table.md
//! ```
#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use memento::engine::host::Host;
use memento_benches::allocators::{self, Allocator};
use memento_benches::launch::Engine;
use memento_benches::prepare::{Workshop, missing};
use memento_benches::results::{Line, Log, Results, Run};
use memento_benches::rows::{self, Group, Row};
use memento_benches::run::{Plan, Session};
use memento_benches::{plot, render, share, summary};
use regex::Regex;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Whole programs under memento and its peers, interleaved.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures, prints the table and exports it.
    Run(Box<RunArguments>),
    /// Prints the table of earlier runs; refuses samples that were not taken in turns.
    Table {
        /// Files that `run` wrote.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        exports: Exports,
    },
    /// Plots CPU time against peak memory, each allocator a point, over the rows of earlier runs.
    Plot {
        /// Files that `run` wrote.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The plot, an SVG file.
        #[arg(long, value_name = "FILE")]
        export: PathBuf,
        /// What stands above it.
        #[arg(long, default_value = "CPU time and peak memory")]
        title: String,
    },
    /// Lists the rows, and which of them cannot be run here.
    List(Which),
    /// Prints the Debian packages of the rows that cannot be run here.
    Packages(Which),
    /// Counts the allocator's share of each row's instructions under glibc, by callgrind.
    Share(Which),
}

/// Which rows.
#[derive(Args)]
struct Which {
    /// Only rows whose name matches this pattern.
    #[arg(long, value_name = "REGEX")]
    rows: Option<Regex>,
    /// Only rows of this group. Repeatable.
    #[arg(long)]
    group: Vec<Group>,
    /// The list of rows; by default that of this crate.
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
}

#[derive(Args)]
struct Exports {
    /// Writes the table to a file: .md, .csv or .json. Repeatable.
    #[arg(long, value_name = "FILE")]
    export: Vec<PathBuf>,
}

#[derive(Args)]
struct RunArguments {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    exports: Exports,
    /// Rounds that count.
    #[arg(long, default_value_t = 12)]
    rounds: usize,
    /// Most rounds for a row whose intervals are wider than --precision.
    #[arg(long, default_value_t = 0)]
    max_rounds: usize,
    /// How wide a 95 % interval may be, as a fraction.
    #[arg(long, default_value_t = 0.04)]
    precision: f64,
    /// Rounds that are thrown away.
    #[arg(long, default_value_t = 1)]
    warmup: usize,
    /// Further rounds in which memory is watched over time.
    #[arg(long, default_value_t = 2)]
    watched: usize,
    /// Runs programs of one thread under all allocators at the same time, on one processor: they see the same
    /// speed, so that few rounds tell small differences.
    #[arg(long)]
    at_once: bool,
    /// Only these allocators; glibc is always there.
    #[arg(long, value_delimiter = ',')]
    allocators: Vec<String>,
    /// Where samples are appended; by default a new file in the target directory.
    #[arg(long, value_name = "FILE")]
    raw: Option<PathBuf>,
    /// The peers, as benches/peers/build made them.
    #[arg(long, value_name = "DIRECTORY")]
    peers: Option<PathBuf>,
    /// memento's shared object.
    #[arg(long, value_name = "FILE")]
    shim: Option<PathBuf>,
    /// Measures memento also with this in MEMENTO_CONF, as an allocator of its own. Repeatable.
    #[arg(long, value_name = "KEY:VALUE,…")]
    conf: Vec<String>,
    /// The `memento` command; by default the one built beside this program.
    #[arg(long)]
    memento: Option<PathBuf>,
    /// Leaves rows out that cannot be run here, instead of giving up.
    #[arg(long)]
    skip_missing: bool,
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Run(arguments) => run(&arguments),
        Command::Table { files, exports } => show(&Results::read(&files)?, &exports),
        Command::Plot { files, export, title } => {
            let points = plot::points(&summary::summarise(&Results::read(&files)?)?);
            for point in &points {
                println!("{:32} memory {:.3}  time {:.3}", point.label, point.memory, point.time);
            }
            plot::draw(&points, &title, &export)
        }
        Command::List(which) => list(&which),
        Command::Packages(which) => packages(&which),
        Command::Share(which) => shares(&which),
    }
}

fn run(arguments: &RunArguments) -> Result<()> {
    let target = target()?;
    let workshop = workshop(&target)?;
    let rows = runnable(arguments, &workshop)?;
    let allocators = chosen(arguments, &target)?;
    let memento = arguments.memento.clone().unwrap_or_else(|| beside("memento"));
    ensure!(
        memento.is_file(),
        "{} is not there: build it with `cargo build --release -p memento`",
        memento.display()
    );
    workshop.make(&rows)?;

    let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let id = format!("{:08x}", (began.as_nanos() as u64 ^ u64::from(std::process::id())) as u32);
    let path = match &arguments.raw {
        Some(path) => path.clone(),
        None => {
            let directory = target.join("suite/runs");
            std::fs::create_dir_all(&directory)?;
            directory.join(format!("{id}.jsonl"))
        }
    };
    let mut log = Log::open(&path)?;
    log.append(&[Line::Run(Run {
        id: id.clone(),
        began: began.as_secs(),
        host: Host::this(),
        allocators: allocators.clone(),
    })])?;
    let bar = ProgressBar::new(rows.len() as u64);
    bar.set_style(ProgressStyle::with_template("{pos}/{len} rows, {elapsed}: {msg}")?);
    let mut progress = |text: &str| bar.set_message(text.to_owned());
    let plan = Plan {
        warmup: arguments.warmup,
        rounds: arguments.rounds,
        max_rounds: arguments.max_rounds,
        precision: arguments.precision,
        watched: arguments.watched,
        at_once: arguments.at_once,
    };
    let mut session = Session { id, allocators, plan, log, progress: &mut progress };
    let mut engine = Engine::new(memento, workshop.places());
    for row in &rows {
        if let Err(error) = session.measure(row, &mut engine) {
            bail!("{error:#}\nwhat was measured before is in {}", path.display());
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    eprintln!("every sample: {}", path.display());
    show(&Results::read(&[path])?, &arguments.exports)
}

fn show(results: &Results, exports: &Exports) -> Result<()> {
    let summary = summary::summarise(results)?;
    print!("{}", render::markdown(results, &summary)?);
    exports.export.iter().try_for_each(|path| render::export(path, results, &summary))
}

fn list(which: &Which) -> Result<()> {
    let (rows, places) = (selected(which)?, workshop(&target()?)?.places());
    let missing = missing(&rows, &places);
    for row in &rows {
        let why = missing.iter().find(|(lacking, _)| lacking.name == row.name);
        let why = why.map_or("", |(_, why)| why);
        println!("{:12} {:28} {why}", row.group, row.name);
    }
    Ok(())
}

fn packages(which: &Which) -> Result<()> {
    let (rows, places) = (selected(which)?, workshop(&target()?)?.places());
    let missing = missing(&rows, &places);
    let packages: BTreeSet<_> = missing.iter().flat_map(|(row, _)| &row.packages).collect();
    packages.iter().for_each(|package| println!("{package}"));
    Ok(())
}

fn shares(which: &Which) -> Result<()> {
    let workshop = workshop(&target()?)?;
    let rows = selected(which)?;
    workshop.make(&rows)?;
    for row in &rows {
        match share::measure(row, &workshop.places()) {
            Ok(share) => println!("{:28} {share:.3}", row.name),
            Err(error) => println!("{:28} {error:#}", row.name),
        }
    }
    Ok(())
}

fn selected(which: &Which) -> Result<Vec<Row>> {
    let list = which.list.clone().unwrap_or_else(|| benches().join("rows.toml"));
    let rows = rows::select(rows::read(&list)?, which.rows.as_ref(), &which.group);
    ensure!(!rows.is_empty(), "no row is selected");
    Ok(rows)
}

fn runnable(arguments: &RunArguments, workshop: &Workshop) -> Result<Vec<Row>> {
    let rows = selected(&arguments.which)?;
    let missing = missing(&rows, &workshop.places());
    for (row, why) in &missing {
        eprintln!("{}: {why}", row.name);
    }
    ensure!(
        missing.is_empty() || arguments.skip_missing,
        "rows cannot be run here: install what they need with benches/prepare, or give --skip-missing"
    );
    let lacking: Vec<String> = missing.iter().map(|(row, _)| row.name.clone()).collect();
    Ok(rows.into_iter().filter(|row| !lacking.contains(&row.name)).collect())
}

fn chosen(arguments: &RunArguments, target: &Path) -> Result<Vec<Allocator>> {
    let wants = |name: &str| {
        arguments.allocators.is_empty() || arguments.allocators.iter().any(|a| a == name)
    };
    let mut all = vec![allocators::system()];
    let mut variants = Vec::new();
    if wants(allocators::MEMENTO) {
        let built = benches().join("../shims/target/release/libmemento.so");
        let memento = allocators::memento(arguments.shim.as_deref().unwrap_or(&built))?;
        variants =
            arguments.conf.iter().map(|conf| allocators::with_conf(&memento, conf)).collect();
        all.push(memento);
    }
    let is_peer = |name: &String| name != allocators::MEMENTO && name != allocators::SYSTEM;
    if arguments.allocators.is_empty() || arguments.allocators.iter().any(is_peer) {
        let directory = arguments.peers.clone().unwrap_or_else(|| target.join("peers"));
        all.extend(allocators::peers(&directory)?);
    }
    let mut names = arguments.allocators.clone();
    if !names.is_empty() {
        names.push(allocators::SYSTEM.into());
    }
    let mut chosen = allocators::select(all, &names)?;
    chosen.append(&mut variants);
    Ok(chosen)
}

/// This crate's directory: rows, inputs and programs are sources.
fn benches() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn workshop(target: &Path) -> Result<Workshop> {
    Workshop::new(benches(), &target.join("suite"))
}

/// Cargo's target directory, two above this program.
fn target() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2).context("this program is not in a target directory")?;
    Ok(target.to_owned())
}

fn beside(name: &str) -> PathBuf {
    std::env::current_exe().unwrap_or_default().with_file_name(name)
}
