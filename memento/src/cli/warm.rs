//! `memento bench --handler`: warm invocations.

use super::bench::{Bar, BenchArgs, allocators};
use crate::allocators::Allocator;
use crate::bench::measure::Progress;
use crate::columns;
use crate::engine::Job;
use crate::engine::rounds::{Next, Plan, Turn, in_turns};
use crate::exit;
use crate::program;
use crate::warm::api::{Instance, serve};
use crate::warm::document::{Document, Row, SCHEMA, figures, markdown, report, text};
use crate::warm::handler::Served;
use crate::warm::page;
use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) fn run(args: &BenchArgs) -> Result<ExitCode> {
    let exports = args.export.iter().map(|path| open(path)).collect::<Result<Vec<_>>>()?;
    let served = match &args.handler {
        Some(name) => Served::handler(name)?,
        None => Served::program(args.command.clone()),
    };
    let event = event(args)?;
    let allocators = allocators(&args.only, &args.allocator)?;
    ensure!(
        allocators.iter().any(|a| a.name == args.baseline),
        "--baseline {}: no such allocator is measured",
        args.baseline
    );
    let set = args.env.iter().map(super::assignment).collect::<Result<Vec<_>>>()?;
    let mut bar = Bar::new(1, args.quiet);
    let measured = measure(args, &served, &event, &set, &allocators, &mut bar)?;
    bar.clear();

    let baseline = allocators.iter().position(|a| a.name == args.baseline).unwrap_or(0);
    let base =
        Some(&measured[baseline]).filter(|(_, failed)| failed.is_none()).map(|(all, _)| &all[..]);
    let row = |(index, allocator): (usize, &Allocator)| {
        let (instances, failed) = measured[index].clone();
        let whole = failed.is_none();
        let last = args.invocations.saturating_sub(1);
        let lines = [0, last].into_iter().filter_map(|n| report(instances.last()?, n, args.memory));
        Row {
            allocator: allocator.name.clone(),
            figures: whole
                .then(|| figures(&instances, base.filter(|_| index != baseline)))
                .flatten(),
            report: lines.collect(),
            failed,
            instances,
        }
    };
    let document = Document {
        schema: SCHEMA,
        handler: served.name.clone(),
        baseline: args.baseline.clone(),
        invocations: args.invocations,
        memory_mb: args.memory,
        allocators: allocators.iter().enumerate().map(row).collect(),
    };
    let mut failed = Vec::new();
    if args.quiet {
        for row in &document.allocators {
            if let Some(why) = &row.failed {
                eprintln!("memento: {} under {}: {why}", document.handler, row.allocator);
            }
        }
    } else {
        let text = text(&document, columns::terminal());
        let written = std::io::stdout().lock().write_all(text.as_bytes());
        failed.extend(written.context("cannot write the table").err());
    }
    for (mut file, path) in exports {
        let written =
            serialised(&document, &path).and_then(|text| Ok(file.write_all(text.as_bytes())?));
        failed.extend(
            written.with_context(|| format!("cannot write all of {}", path.display())).err(),
        );
    }
    for error in &failed {
        eprintln!("memento: {error:#}");
    }
    Ok(match () {
        () if !failed.is_empty() => ExitCode::from(exit::OURS),
        () if document.allocators.iter().any(|row| row.failed.is_some()) => ExitCode::FAILURE,
        () => ExitCode::SUCCESS,
    })
}

/// The event's text, checked.
fn event(args: &BenchArgs) -> Result<String> {
    let Some(path) = &args.event else { return Ok("{}".into()) };
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let parsed: Result<serde_json::Value, _> = serde_json::from_str(&text);
    parsed.with_context(|| format!("{} is no JSON", path.display()))?;
    Ok(text)
}

/// What was measured of an allocator, and why it failed if it did.
type Measured = (Vec<Instance>, Option<String>);

/// One process for each allocator in every round, in turns.
fn measure(
    args: &BenchArgs,
    served: &Served,
    event: &str,
    set: &[(OsString, OsString)],
    allocators: &[Allocator],
    bar: &mut Bar,
) -> Result<Vec<Measured>> {
    let rounds = usize::try_from(args.runs.unwrap_or(6))?;
    let plan = Plan { warmup: args.warmup, min_rounds: rounds, max_rounds: rounds, precision: 0.0 };
    let mut all: Vec<Measured> = vec![(Vec::new(), None); allocators.len()];
    let mut failed: Vec<Option<String>> = vec![None; allocators.len()];
    let obstacle = served.command.first().and_then(|program| program::obstacle(program));
    let total = (args.warmup + rounds) as f64;
    let run = &mut |turn: Turn| {
        if failed[turn.job].is_some() {
            return Ok(None);
        }
        let allocator = &allocators[turn.job];
        bar.step(
            turn.round as f64 / total,
            &format!("{}, round {}, {}", served.name, turn.round + 1, allocator.name),
        );
        let mut environment = set.to_vec();
        environment.extend(allocator.environment());
        let job = Job { command: served.command.clone(), environment };
        let instance = match &obstacle {
            Some(obstacle) if allocator.preload.is_some() => {
                Err(anyhow::anyhow!("{} cannot be loaded: {obstacle}", allocator.name))
            }
            _ => serve(&job, event, args.invocations, args.timeout),
        };
        Ok(match instance {
            Ok(instance) => Some(instance),
            Err(error) => {
                failed[turn.job] = Some(format!("{error:#}"));
                None
            }
        })
    };
    in_turns(allocators.len(), &plan, run, &mut |round| {
        all.iter_mut().zip(round).for_each(|((instances, _), instance)| instances.extend(instance));
        Ok(Next::More)
    })?;
    for ((_, why), failed) in all.iter_mut().zip(failed) {
        *why = failed;
    }
    Ok(all)
}

fn open(path: &Path) -> Result<(File, PathBuf)> {
    let is_known = path
        .extension()
        .is_some_and(|e| ["json", "csv", "md", "html"].iter().any(|known| e == *known));
    ensure!(
        is_known,
        "{}: a file for warm invocations ends in .json, .csv, .md or .html",
        path.display()
    );
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok((file, path.to_owned()))
}

fn serialised(document: &Document, path: &Path) -> Result<String> {
    if path.extension().is_some_and(|e| e == "json") {
        return Ok(serde_json::to_string_pretty(document)? + "\n");
    }
    if path.extension().is_some_and(|e| e == "html") {
        return page::html(document);
    }
    if path.extension().is_some_and(|e| e == "md") {
        return Ok(markdown(document));
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["allocator", "process", "invocation", "wall_ns", "cpu_ns"])?;
    for row in &document.allocators {
        for (process, instance) in row.instances.iter().enumerate() {
            for (number, invocation) in instance.invocations.iter().enumerate() {
                let numbers =
                    [process as u64, number as u64, invocation.wall_ns, invocation.cpu_ns];
                let mut line = vec![row.allocator.clone()];
                line.extend(numbers.map(|number| number.to_string()));
                writer.write_record(line)?;
            }
        }
    }
    let bytes = writer.into_inner().map_err(|error| anyhow::anyhow!("{error}"));
    match bytes {
        Ok(bytes) => Ok(String::from_utf8(bytes)?),
        Err(error) => bail!("{error}"),
    }
}
