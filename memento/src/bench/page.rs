//! The results as one page: for each workload its time and memory under every allocator.

use super::document::{Cell, Document, Measured};
use super::metric::{Metric, Unit};
use super::table;
use crate::engine::estimate::Estimate;
use crate::html::plot::{self, Bar};
use anyhow::Result;
use serde::Serialize;

const TEMPLATE: &str = include_str!("page.html");

#[derive(Serialize)]
struct Page<'a> {
    title: &'a str,
    document: &'a Document,
    means: Option<String>,
    columns: Vec<&'static str>,
    workloads: Vec<Section<'a>>,
}

#[derive(Serialize)]
struct Section<'a> {
    name: &'a str,
    command: String,
    checked: Option<&'a str>,
    skipped: Option<&'a str>,
    rounds: usize,
    plots: Vec<Figure>,
    rows: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Figure {
    caption: String,
    svg: String,
}

#[derive(Serialize)]
struct Row<'a> {
    allocator: &'a str,
    failed: Option<&'a str>,
    values: Vec<String>,
    ratios: Vec<Ratio>,
}

#[derive(Serialize)]
struct Ratio {
    words: String,
    class: &'static str,
}

/// The quantities of the table.
const COLUMNS: [Metric; 9] = [
    Metric::WallNs,
    Metric::UserNs,
    Metric::SystemNs,
    Metric::MinorFaults,
    Metric::MajorFaults,
    Metric::PeakRssBytes,
    Metric::MeanRssBytes,
    Metric::VoluntarySwitches,
    Metric::InvoluntarySwitches,
];

/// The page.
///
/// # Errors
/// If it cannot be made.
pub fn html(document: &Document) -> Result<String> {
    let page = Page {
        title: "memento bench",
        document,
        means: means(document),
        columns: COLUMNS.iter().map(|metric| metric.title()).collect(),
        workloads: document.workloads.iter().map(|w| section(document, w)).collect(),
    };
    crate::html::render(TEMPLATE, page)
}

fn means(document: &Document) -> Option<String> {
    let colour = |name: &str| document.allocators.iter().position(|a| a.name == name);
    let bar = |(mean, metric): (&super::document::Mean, Metric)| {
        let Estimate { ratio, interval } = *mean.ratios.get(&metric)?;
        let label =
            format!("{} {}", mean.allocator, if metric == Metric::CpuNs { "CPU" } else { "peak" });
        let words = format!("{ratio:.3}");
        let colour = colour(&mean.allocator).unwrap_or(0);
        Some(Bar { label, colour, value: Some(ratio), interval, points: vec![], words })
    };
    let metrics = [Metric::CpuNs, Metric::PeakRssBytes];
    let pairs = document.means.iter().flat_map(|mean| metrics.map(|metric| (mean, metric)));
    let bars: Vec<Bar> = pairs.filter_map(bar).collect();
    let title = "Geometric means of CPU time and peak memory, as ratios to the baseline";
    (!bars.is_empty()).then(|| plot::bars(title, &bars, Some(1.0), &|v| format!("{v:.1}")))
}

fn section<'a>(document: &Document, workload: &'a Measured) -> Section<'a> {
    let plots = if workload.skipped.is_some() {
        Vec::new()
    } else {
        vec![
            figure(workload, Metric::WallNs, "Wall time: median, its 95 % interval, and every run"),
            figure(
                workload,
                Metric::PeakRssBytes,
                "Peak resident memory: median, its interval, and every run",
            ),
        ]
    };
    Section {
        name: &workload.name,
        command: workload.command.join(" "),
        checked: workload.checked.as_deref(),
        skipped: workload.skipped.as_deref(),
        rounds: workload.rounds(),
        plots,
        rows: workload.cells.iter().map(|cell| row(document, cell)).collect(),
    }
}

fn figure(workload: &Measured, metric: Metric, caption: &str) -> Figure {
    // An axis has round numbers in the unit that is written on it.
    let scale = if metric.unit() == Unit::Bytes { f64::from(1 << 20) } else { 1.0 };
    let scaled = |value: f64| value / scale;
    let bar = |(colour, cell): (usize, &Cell)| {
        let spread = cell.metrics.get(&metric).filter(|_| cell.failed.is_none());
        Bar {
            label: cell.allocator.clone(),
            colour,
            value: spread.map(|s| scaled(s.median)),
            interval: spread.and_then(|s| s.interval).map(|(a, b)| (scaled(a), scaled(b))),
            points: match spread {
                Some(_) => {
                    cell.samples.iter().filter_map(|s| Some(scaled(metric.of(s)? as f64))).collect()
                }
                None => Vec::new(),
            },
            words: spread.map_or("failed".into(), |s| table::value(metric, s.median)),
        }
    };
    let bars: Vec<Bar> = workload.cells.iter().enumerate().map(bar).collect();
    let title = format!("{} of {}", metric.title(), workload.name);
    let svg = plot::bars(&title, &bars, None, &|value| match metric.unit() {
        Unit::Bytes => format!("{value} MiB"),
        _ => table::value(metric, value),
    });
    Figure { caption: caption.into(), svg }
}

fn row<'a>(document: &Document, cell: &'a Cell) -> Row<'a> {
    let value = |metric: Metric| {
        cell.metrics.get(&metric).map_or("–".into(), |spread| table::value(metric, spread.median))
    };
    let ratio = |metric: Metric| match cell.ratios.get(&metric) {
        None if cell.allocator == document.baseline => Ratio { words: "1".into(), class: "" },
        None => Ratio { words: "–".into(), class: "" },
        Some(estimate) => Ratio {
            words: estimate.to_string(),
            class: match estimate.interval {
                Some((_, upper)) if upper < 1.0 => "better",
                Some((lower, _)) if lower > 1.0 => "worse",
                _ => "",
            },
        },
    };
    Row {
        allocator: &cell.allocator,
        failed: cell.failed.as_deref(),
        values: COLUMNS.map(value).to_vec(),
        ratios: [Metric::WallNs, Metric::CpuNs, Metric::PeakRssBytes].map(ratio).into(),
    }
}
