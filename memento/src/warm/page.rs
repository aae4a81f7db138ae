//! Warm invocations as a page: latencies with their quantiles, over the invocations, memory, and the table.

use super::api::Instance;
use super::document::{COLUMNS, Document, Row, cells, warm};
use crate::engine::stats::median;
use crate::html::curves::{Curve, Scale, curves};
use crate::html::plot::{Bar, bars};
use crate::html::quantiles::{self, quantiles};
use crate::units::{bytes, seconds};
use anyhow::Result;
use serde::Serialize;

const TEMPLATE: &str = include_str!("page.html");
/// Points of a curve: more invocations are thinned out.
const POINTS: usize = 200;

#[derive(Serialize)]
struct Page<'a> {
    title: &'a str,
    handler: &'a str,
    baseline: &'a str,
    invocations: usize,
    plots: Vec<(&'static str, String)>,
    heads: Vec<&'static str>,
    rows: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    allocator: &'a str,
    failed: Option<&'a str>,
    values: Vec<String>,
    report: &'a [String],
}

/// The page.
///
/// # Errors
/// If it cannot be made.
pub fn html(document: &Document) -> Result<String> {
    let line = |row| {
        let row: &Row = row;
        let values = cells(document, row).unwrap_or_default();
        let failed = row.failed.as_deref();
        Line { allocator: &row.allocator, failed, values, report: &row.report }
    };
    let page = Page {
        title: "memento bench, warm",
        handler: &document.handler,
        baseline: &document.baseline,
        invocations: document.invocations,
        plots: plots(document),
        heads: ["allocator"].into_iter().chain(COLUMNS).collect(),
        rows: document.allocators.iter().map(line).collect(),
    };
    crate::html::render(TEMPLATE, page)
}

fn plots(document: &Document) -> Vec<(&'static str, String)> {
    let rows = || document.allocators.iter().enumerate().filter(|(_, row)| row.figures.is_some());
    let latency = rows().filter_map(|(colour, row)| {
        let figures = row.figures.as_ref()?;
        let [p50, p95, p99] = [figures.p50_ns, figures.p95_ns, figures.p99_ns];
        let words = format!("{} · {} · {}", seconds(p50), seconds(p95), seconds(p99));
        Some(quantiles::Row {
            label: row.allocator.clone(),
            colour,
            points: row.instances.iter().flat_map(|i| warm(i, |i| i.wall_ns)).collect(),
            marks: vec![("p50", p50), ("p95", p95), ("p99", p99)],
            words,
        })
    });
    let curve = rows().map(|(colour, row)| Curve {
        label: row.allocator.clone(),
        colour,
        points: over_invocations(&row.instances),
        chosen: None,
    });
    // An axis has round numbers in the unit that is written on it.
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let memory = rows().filter_map(|(colour, row)| {
        let figures = row.figures.as_ref()?;
        Some(Bar {
            label: row.allocator.clone(),
            colour,
            value: Some(mib(figures.peak_rss_bytes)),
            interval: None,
            points: row.instances.iter().map(|i| mib(i.rss_bytes as f64)).collect(),
            words: bytes(figures.peak_rss_bytes as u64),
        })
    });
    let cpu = rows().filter_map(|(colour, row)| {
        let figures = row.figures.as_ref()?;
        Some(Bar {
            label: row.allocator.clone(),
            colour,
            value: Some(figures.cpu_ns),
            words: seconds(figures.cpu_ns),
            ..Bar::default()
        })
    });
    let time = |ns: f64| seconds(ns);
    vec![
        (
            "Latency of warm invocations: each of them, with p50, p95 and p99.",
            quantiles("Latency of warm invocations", &latency.collect::<Vec<_>>(), &time),
        ),
        (
            "Latency by the invocation's number in its process, median over the processes; the first is 1.",
            curves(
                "Latency by invocation",
                &curve.collect::<Vec<_>>(),
                Scale::Even,
                (&|number| format!("{number:.0}"), &time),
            ),
        ),
        (
            "CPU time of a warm invocation, median.",
            bars("CPU time of an invocation", &cpu.collect::<Vec<_>>(), None, &time),
        ),
        (
            "Peak resident memory, and as points what was resident after each process's last response.",
            bars("Peak memory", &memory.collect::<Vec<_>>(), None, &|v| format!("{v} MiB")),
        ),
    ]
}

/// Number and median latency, over the processes.
fn over_invocations(instances: &[Instance]) -> Vec<(f64, f64)> {
    let count = instances.iter().map(|instance| instance.invocations.len()).max().unwrap_or(0);
    let every = count.div_ceil(POINTS).max(1);
    let at = |number: usize| {
        let values =
            instances.iter().filter_map(|i| Some(i.invocations.get(number)?.wall_ns as f64));
        Some(((number + 1) as f64, median(&values.collect::<Vec<_>>())?))
    };
    (0..count).step_by(every).filter_map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::warm::api::Invocation;

    #[test]
    fn curves_are_medians_over_the_processes_and_thinned() {
        let instance = |offset: u64| Instance {
            init_ns: 0,
            invocations: (0..1000).map(|n| Invocation { wall_ns: n + offset, cpu_ns: 0 }).collect(),
            peak_rss_bytes: 0,
            rss_bytes: 0,
        };
        let points = over_invocations(&[instance(0), instance(10), instance(500)]);
        assert_eq!((points.len(), points[0], points[1]), (200, (1.0, 10.0), (6.0, 15.0)));
        assert!(over_invocations(&[]).is_empty());
    }
}
