//! The table in the terminal.

use super::document::{Cell, Document, Measured, Spread};
use super::metric::{Metric, Unit};
use crate::columns::{Tone, print_within, toned};
use crate::engine::estimate::Estimate;
use crate::engine::stats::{Paired, Verdict};
use crate::report::Style;
use crate::units::{bytes, grouped, seconds};
use comfy_table::{Table, presets};
use std::fmt::Write;

/// The whole document as text, for a terminal of so many columns.
pub fn text(document: &Document, style: Style, width: Option<usize>) -> String {
    let mut out = String::new();
    for workload in &document.workloads {
        heading(&mut out, style, &workload.name);
        match &workload.skipped {
            Some(why) => {
                let _ = writeln!(out, "  not run: {why}");
            }
            None => block(&mut out, document, workload, style, width),
        }
    }
    if document.workloads.len() > 1 && document.means.iter().any(|mean| mean.workloads > 1) {
        means(&mut out, document, style, width);
    }
    for note in &document.notes {
        let _ = writeln!(out, "note: {note}");
    }
    out
}

fn heading(out: &mut String, style: Style, words: &str) {
    if !out.is_empty() {
        out.push('\n');
    }
    match style {
        Style::Plain => out.push_str(words),
        Style::Colour => {
            let bold = anstyle::Style::new().bold();
            let _ = write!(out, "{bold}{words}{bold:#}");
        }
    }
    out.push('\n');
}

/// The columns after the allocator's name.
const COLUMNS: [Metric; 7] = [
    Metric::UserNs,
    Metric::SystemNs,
    Metric::MinorFaults,
    Metric::PeakRssBytes,
    Metric::MeanRssBytes,
    Metric::VoluntarySwitches,
    Metric::InvoluntarySwitches,
];

/// Columns that are left out first where there is no room for all.
const SPARE: [usize; 9] = [9, 8, 2, 7, 4, 3, 5, 12, 10];

fn block(
    out: &mut String,
    document: &Document,
    workload: &Measured,
    style: Style,
    width: Option<usize>,
) {
    if let Some(why) = common_failure(workload) {
        warn(out, style, &format!("failed under every allocator: {why}"));
        return;
    }
    let mut table = new_table();
    table.add_row([
        "",
        "wall",
        "95 %",
        "user",
        "system",
        "faults",
        "peak",
        "mean",
        "switches",
        "preempted",
        "wall ratio",
        "CPU ratio",
        "peak ratio",
    ]);
    for cell in &workload.cells {
        table.add_row(row(cell, cell.allocator == document.baseline, style));
    }
    print_within(out, &mut table, width, &SPARE);
    for cell in &workload.cells {
        if let Some(why) = &cell.failed {
            warn(out, style, &format!("{}: {why}", cell.allocator));
        }
        if cell.outliers > 0 {
            let many = format!("{} of {} runs", cell.outliers, cell.samples.len());
            let text = "took far longer or shorter than the others; was the machine busy?";
            warn(out, style, &format!("{}: {many} {text}", cell.allocator));
        }
    }
}

/// Why it failed, if it failed everywhere for the same reason.
fn common_failure(workload: &Measured) -> Option<&str> {
    let why = workload.cells.first()?.failed.as_deref()?;
    workload.cells.iter().all(|cell| cell.failed.as_deref() == Some(why)).then_some(why)
}

fn row(cell: &Cell, is_baseline: bool, style: Style) -> Vec<String> {
    let shown = |metric: Metric| {
        cell.metrics.get(&metric).map_or("–".into(), |s| value(metric, s.median))
    };
    let mut row = vec![cell.allocator.clone(), shown(Metric::WallNs)];
    row.push(cell.metrics.get(&Metric::WallNs).map_or("–".into(), interval));
    row.extend(COLUMNS.map(shown));
    for metric in [Metric::WallNs, Metric::CpuNs, Metric::PeakRssBytes] {
        row.push(match cell.ratios.get(&metric) {
            Some(ratio) => coloured(ratio, style),
            None if is_baseline && cell.failed.is_none() => "1".into(),
            None => "–".into(),
        });
    }
    row
}

fn interval(spread: &Spread) -> String {
    match spread.interval {
        Some((low, high)) => format!("{}–{}", seconds(low), seconds(high)),
        None => "–".into(),
    }
}

/// A value with its unit.
pub fn value(metric: Metric, value: f64) -> String {
    match metric.unit() {
        Unit::Nanoseconds => seconds(value),
        Unit::Bytes => bytes(value.round() as u64),
        Unit::Count => grouped(value.round() as u64),
    }
}

fn coloured(estimate: &Estimate, style: Style) -> String {
    let text = match estimate.interval {
        Some((low, high)) => format!("{:.2} ({low:.2}–{high:.2})", estimate.ratio),
        None => format!("{:.2}", estimate.ratio),
    };
    let verdict = estimate.interval.map(|(lower, upper)| {
        let ratio = estimate.ratio;
        Paired { ratio, lower, upper }.verdict()
    });
    match verdict {
        _ if style == Style::Plain => text,
        Some(Verdict::Faster) => toned(&text, Tone::Good),
        Some(Verdict::Slower) => toned(&text, Tone::Bad),
        _ => text,
    }
}

fn means(out: &mut String, document: &Document, style: Style, width: Option<usize>) {
    let count = document.means.first().map_or(0, |mean| mean.workloads);
    let words = format!("geometric means over {count} workloads, ratios to {}", document.baseline);
    heading(out, style, &words);
    let mut table = new_table();
    table.add_row(["", "wall", "CPU", "page faults", "peak memory", "mean memory"]);
    for mean in &document.means {
        let shown =
            |metric: Metric| mean.ratios.get(&metric).map_or("–".into(), |r| coloured(r, style));
        let mut row = vec![mean.allocator.clone()];
        row.extend(
            [
                Metric::WallNs,
                Metric::CpuNs,
                Metric::MinorFaults,
                Metric::PeakRssBytes,
                Metric::MeanRssBytes,
            ]
            .map(shown),
        );
        table.add_row(row);
    }
    print_within(out, &mut table, width, &[5, 3, 1]);
}

fn warn(out: &mut String, style: Style, words: &str) {
    let yellow = anstyle::AnsiColor::Yellow.on_default();
    let _ = match style {
        Style::Plain => writeln!(out, "  warning: {words}"),
        Style::Colour => writeln!(out, "  {yellow}warning:{yellow:#} {words}"),
    };
}

fn new_table() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table
}
