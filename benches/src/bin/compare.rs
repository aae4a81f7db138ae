//! Compares whole programs under several allocators, each in turn in every round:
//!
//! ```text
//! cargo run --release -p memento-benches -- --against memento=shims/target/release/libmemento.so -- true
//! ```
//! The baseline is the program as it is. Runs, statistics and verdicts are the engine's
//! (`memento::engine`); this file only asks and prints.
#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};
use clap::Parser;
use comfy_table::{Table, presets};
use memento::engine::isolated::{Isolated, Output};
use memento::engine::rounds::{Plan, Series, interleave};
use memento::engine::stats::median;
use memento::engine::{Job, Sample};
use std::ffi::OsString;
use std::path::PathBuf;

/// Compares a program under several preloaded allocators, interleaved.
#[derive(Parser)]
struct Arguments {
    /// An allocator: a name and the shared object to preload. Repeatable.
    #[arg(long, value_name = "NAME=FILE", value_parser = allocator)]
    against: Vec<(String, PathBuf)>,
    /// The same program built with another allocator: a name, and the executable that is run in place
    /// of the command's first word. Repeatable.
    #[arg(long, value_name = "NAME=FILE", value_parser = allocator)]
    build: Vec<(String, PathBuf)>,
    /// Rounds that count.
    #[arg(long, default_value_t = 30)]
    rounds: usize,
    /// The `memento` command; by default the one built beside this program.
    #[arg(long)]
    memento: Option<PathBuf>,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

fn allocator(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("expected NAME=FILE")?;
    let file = std::fs::canonicalize(file).map_err(|e| format!("{file}: {e}"))?;
    Ok((name.to_owned(), file))
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let memento = match arguments.memento {
        Some(path) => path,
        None => std::env::current_exe()?.with_file_name("memento"),
    };
    if !memento.exists() {
        bail!(
            "{} is not there: build it with `cargo build --release -p memento`",
            memento.display()
        );
    }
    let job = |preload: Option<&PathBuf>| Job {
        command: arguments.command.clone(),
        environment: preload.map(|p| ("LD_PRELOAD".into(), p.into())).into_iter().collect(),
    };
    let mut names = vec!["as it is"];
    let mut jobs = vec![job(None)];
    for (name, file) in &arguments.against {
        names.push(name);
        jobs.push(job(Some(file)));
    }
    for (name, file) in &arguments.build {
        names.push(name);
        let mut command = arguments.command.clone();
        command[0] = file.into();
        jobs.push(Job { command, environment: Vec::new() });
    }
    // A fixed number of rounds: every comparison of one table rests on the same rounds.
    let rounds = arguments.rounds;
    let plan = Plan { warmup: 2, min_rounds: rounds, max_rounds: rounds, precision: 0.0 };
    let mut executor = Isolated::new(memento, Output::Discard);
    let series = interleave(&jobs, &plan, &mut executor).context("nothing to compare")?;
    println!("{}", table(&names, &series));
    Ok(())
}

fn cpu(sample: &Sample) -> u64 {
    sample.user_ns + sample.system_ns
}

fn table(names: &[&str], series: &Series) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "allocator",
        "wall ms",
        "wall ratio (95 %)",
        "verdict",
        "CPU ratio (95 %)",
        "faults",
        "peak MiB",
    ]);
    for (job, name) in names.iter().enumerate() {
        let middle =
            |quantity: fn(&Sample) -> u64| median(&series.column(job, quantity)).unwrap_or(0.0);
        let ratio = |quantity: fn(&Sample) -> u64| series.ratio(job, 0, quantity);
        let shown = |quantity| match ratio(quantity) {
            Some(r) if job > 0 => format!("{:.3} ({:.3}–{:.3})", r.ratio, r.lower, r.upper),
            _ => "–".to_owned(),
        };
        table.add_row([
            (*name).to_owned(),
            format!("{:.3}", middle(|s| s.wall_ns) / 1e6),
            shown(|s| s.wall_ns),
            ratio(|s| s.wall_ns)
                .filter(|_| job > 0)
                .map_or(String::new(), |r| r.verdict().to_string()),
            shown(cpu),
            format!("{:.0}", middle(|s| s.minor_faults)),
            format!("{:.1}", middle(|s| s.peak_rss_bytes) / f64::from(1 << 20)),
        ]);
    }
    table
}
