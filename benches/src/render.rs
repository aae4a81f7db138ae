//! Tables for people (terminal, Markdown) and exports for programs (CSV, JSON).

use crate::allocators::{MEMENTO, SYSTEM};
use crate::fair::AgainstBest;
use crate::results::Results;
use crate::rows::{GROUPS, Group};
use crate::summary::{Cell, RowSummary, Summary, versions};
use anyhow::{Context, Result, bail};
use comfy_table::{Table, presets};
use memento::engine::estimate::Estimate;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;

/// A table: its heading, what it means, its columns and lines.
struct Sheet {
    heading: String,
    meaning: &'static str,
    header: Vec<String>,
    lines: Vec<Vec<String>>,
}

/// All tables as Markdown, which reads well in a terminal, too.
///
/// # Errors
/// If an allocator was another version in another run.
pub fn markdown(results: &Results, summary: &Summary) -> Result<String> {
    let mut text = String::from("# Whole programs under several allocators\n\n");
    for run in &results.runs {
        let host = &run.host;
        writeln!(
            text,
            "Run {}: {} × {}, Linux {}, huge pages {}.",
            run.id, host.processors, host.processor, host.kernel, host.huge_pages
        )?;
    }
    for sheet in sheets(results, summary)? {
        let mut table = Table::new();
        table.load_preset(presets::ASCII_MARKDOWN);
        table.set_header(&sheet.header);
        table.add_rows(&sheet.lines);
        writeln!(text, "\n## {}\n\n{}\n\n{table}", sheet.heading, sheet.meaning)?;
    }
    Ok(text)
}

/// Writes `path` in the format that its extension names: `md`, `csv` or `json`.
///
/// # Errors
/// If the extension is another one, or the file cannot be written.
pub fn export(path: &Path, results: &Results, summary: &Summary) -> Result<()> {
    let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
    let bytes = match extension.as_str() {
        "md" => markdown(results, summary)?.into_bytes(),
        "csv" => comma_separated(summary)?,
        "json" => json(results, summary)?,
        _ => bail!("{}: exports are .md, .csv or .json", path.display()),
    };
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// One line for each row and allocator.
fn comma_separated(summary: &Summary) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "row",
        "group",
        "ours",
        "threads",
        "share",
        "rounds",
        "allocator",
        "cpu_ms",
        "kernel_ms",
        "wall_ms",
        "faults",
        "peak_kib",
        "mean_kib",
        "anonymous_kib",
        "cpu_ratio",
        "cpu_lower",
        "cpu_upper",
    ])?;
    for (row, cell) in summary.rows.iter().flat_map(|row| row.cells.iter().map(move |c| (row, c))) {
        let optional = |value: Option<f64>| value.map_or(String::new(), |v| v.to_string());
        let interval = cell.cpu.and_then(|cpu| cpu.interval);
        writer.write_record([
            row.row.name.clone(),
            row.row.group.to_string(),
            row.row.ours.to_string(),
            row.row.threads.to_string(),
            optional(row.row.share),
            row.rounds.to_string(),
            cell.allocator.clone(),
            cell.cpu_ms.to_string(),
            cell.kernel_ms.to_string(),
            cell.wall_ms.to_string(),
            cell.faults.to_string(),
            cell.peak_kib.to_string(),
            optional(cell.mean_kib),
            optional(cell.anonymous_kib),
            optional(cell.cpu.map(|cpu| cpu.ratio)),
            optional(interval.map(|i| i.0)),
            optional(interval.map(|i| i.1)),
        ])?;
    }
    Ok(writer.into_inner()?)
}

/// The summary and every sample with its run, round and turn.
fn json(results: &Results, summary: &Summary) -> Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Everything<'a> {
        runs: &'a [crate::results::Run],
        summary: &'a Summary,
        timed: &'a [crate::results::Timed],
        watched: &'a [crate::results::Watched],
    }
    let Results { runs, timed, watched, .. } = results;
    Ok(serde_json::to_vec_pretty(&Everything { runs, summary, timed, watched })?)
}

fn sheets(results: &Results, summary: &Summary) -> Result<Vec<Sheet>> {
    let mut sheets = vec![allocators(results)?, groups(summary)];
    if !summary.targets.is_empty() {
        sheets.push(targets(summary));
        sheets.push(memento(summary));
    }
    sheets.extend(GROUPS.into_iter().filter_map(|group| times(summary, group)));
    sheets.push(per_allocator(
        summary,
        "Peak memory",
        "Peak resident set ÷ glibc's, medians; glibc's in MiB.",
        |cell| format!("{:.1}", cell.peak_kib / 1024.0),
        |cell| cell.peak_ratio.map(two_digits),
    ));
    if summary.rows.iter().any(|row| row.cells.iter().any(|cell| cell.mean_kib.is_some())) {
        sheets.push(per_allocator(
            summary,
            "Memory over time",
            "Resident set averaged over time ÷ glibc's; glibc's in MiB.",
            |cell| cell.mean_kib.map_or_else(dash, |kib| format!("{:.1}", kib / 1024.0)),
            |cell| cell.mean_ratio.map(two_digits),
        ));
    }
    sheets.push(per_allocator(
        summary,
        "Page faults",
        "Page faults without input ÷ glibc's, medians; glibc's number.",
        |cell| format!("{:.0}", cell.faults),
        |cell| cell.fault_ratio.map(two_digits),
    ));
    Ok(sheets)
}

fn allocators(results: &Results) -> Result<Sheet> {
    Ok(Sheet {
        heading: "Allocators".into(),
        meaning: "What programs were run with.",
        header: strings(["allocator", "version", "from"]),
        lines: versions(results)?.into_iter().map(Vec::from).collect(),
    })
}

fn groups(summary: &Summary) -> Sheet {
    let mut lines = Vec::new();
    for group in &summary.groups {
        let head =
            |what: &str| vec![group.group.to_string(), group.rows.to_string(), what.to_owned()];
        let mut cpu = head("CPU time");
        cpu.extend(group.means.iter().map(|(_, cpu, _)| shown(cpu.as_ref().map(short))));
        cpu.push(shown(group.oracle.as_ref().map(short)));
        cpu.push(shown(group.against_best.as_ref().map(Estimate::to_string)));
        let mut peak = head("peak memory");
        peak.extend(group.means.iter().map(|(_, _, peak)| shown(peak.map(two_digits))));
        peak.extend([dash(), dash()]);
        lines.extend([cpu, peak]);
    }
    let mut header = strings(["group", "rows", "÷ glibc's"]);
    header.extend(summary.allocators.iter().cloned());
    header.extend(strings(["best of each row", "memento ÷ best (95 %)"]));
    Sheet {
        heading: "Groups".into(),
        meaning: "Geometric means. The best of each row is chosen on one half of its rounds and compared on \
                  the other; memento is not among the candidates, glibc is.",
        header,
        lines,
    }
}

fn targets(summary: &Summary) -> Sheet {
    let line = |target: &crate::summary::Target| {
        let verdict = if target.is_met { "met" } else { "missed" };
        vec![target.what.clone(), target.bound.to_string(), target.value.clone(), verdict.into()]
    };
    Sheet {
        heading: "Targets".into(),
        meaning: "Judged by the estimates, not by the ends of their intervals.",
        header: strings(["target", "at most", "measured", ""]),
        lines: summary.targets.iter().map(line).collect(),
    }
}

fn memento(summary: &Summary) -> Sheet {
    let line = |row: &RowSummary| {
        let (cell, base) = (row.cell(MEMENTO)?, row.cell(SYSTEM));
        let of_base =
            |value: fn(&Cell) -> f64| base.map_or_else(dash, |b| format!("{:.1}", value(b)));
        Some(vec![
            row.row.name.clone(),
            row.row.group.to_string(),
            format!("{:.1}", cell.cpu_ms),
            shown(cell.cpu.as_ref().map(Estimate::to_string)),
            shown(row.against_best.as_ref().map(|best| best.cpu.to_string())),
            shown(row.against_best.as_ref().map(names)),
            format!("{:.1} / {}", cell.kernel_ms, of_base(|b| b.kernel_ms)),
            shown(cell.fault_ratio.map(two_digits)),
            shown(cell.peak_ratio.map(two_digits)),
            shown(cell.mean_ratio.map(two_digits)),
        ])
    };
    Sheet {
        heading: "memento".into(),
        meaning: "CPU time in ms, then its ratios with 95 % intervals; kernel time in ms beside glibc's; the \
                  rest are ratios to glibc.",
        header: strings([
            "row",
            "group",
            "CPU ms",
            "÷ glibc",
            "÷ best peer",
            "best peer",
            "kernel ms",
            "faults",
            "peak",
            "average",
        ]),
        lines: summary.rows.iter().filter_map(line).collect(),
    }
}

fn times(summary: &Summary, group: Group) -> Option<Sheet> {
    let rows: Vec<&RowSummary> = summary.rows.iter().filter(|r| r.row.group == group).collect();
    let line = |row: &&RowSummary| {
        let share = row.row.share.map(|share| format!("{:.0} %", share * 100.0));
        let mut line = vec![
            format!(
                "{}{}{}",
                row.row.name,
                if row.row.ours { " ∗" } else { "" },
                if row.row.at_once { " †" } else { "" }
            ),
            shown(share),
            row.rounds.to_string(),
            shown(row.cell(SYSTEM).map(|cell| format!("{:.1}", cell.cpu_ms))),
        ];
        let ratio = |name: &String| shown(row.cell(name).and_then(|c| c.cpu.as_ref()).map(short));
        line.extend(others(summary).map(ratio));
        line.push(shown(row.oracle.as_ref().map(|best| short(&best.cpu))));
        line.push(shown(row.oracle.as_ref().map(names)));
        line
    };
    let mut header = strings(["row", "share", "rounds", "glibc ms"]);
    header.extend(others(summary).cloned());
    header.extend(strings(["best", "which"]));
    (!rows.is_empty()).then(|| Sheet {
        heading: format!("CPU time: {group}"),
        meaning: "CPU time ÷ glibc's ± half the 95 % interval. Share: the allocator's part of the instructions \
                  under glibc. ∗ written for this project. † all at once on one processor, the others in turns.",
        header,
        lines: rows.iter().map(line).collect(),
    })
}

fn per_allocator(
    summary: &Summary,
    heading: &str,
    meaning: &'static str,
    of_system: impl Fn(&Cell) -> String,
    of_other: impl Fn(&Cell) -> Option<String>,
) -> Sheet {
    let line = |row: &RowSummary| {
        let mut line = vec![row.row.name.clone(), row.cell(SYSTEM).map_or_else(dash, &of_system)];
        line.extend(others(summary).map(|name| shown(row.cell(name).and_then(&of_other))));
        line
    };
    let mut header = strings(["row", SYSTEM]);
    header.extend(others(summary).cloned());
    Sheet {
        heading: heading.into(),
        meaning,
        header,
        lines: summary.rows.iter().map(line).collect(),
    }
}

fn others(summary: &Summary) -> impl Iterator<Item = &String> {
    summary.allocators.iter().filter(|name| *name != SYSTEM)
}

fn names(best: &AgainstBest) -> String {
    let [even, odd] = &best.chosen;
    if even == odd { even.clone() } else { format!("{even}, {odd}") }
}

fn short(estimate: &Estimate) -> String {
    match estimate.interval {
        Some((lower, upper)) => format!("{:.2} ± {:.2}", estimate.ratio, (upper - lower) / 2.0),
        None => two_digits(estimate.ratio),
    }
}

fn two_digits(value: f64) -> String {
    format!("{value:.2}")
}

fn shown(value: Option<String>) -> String {
    value.unwrap_or_else(dash)
}

fn dash() -> String {
    "–".into()
}

fn strings<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).into()
}
