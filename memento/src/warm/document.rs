//! The document `memento.warm/1`, its table, and the platform's REPORT lines.

use super::api::{Instance, request_id};
use crate::columns::print_within;
use crate::engine::estimate::{Estimate, estimate};
use crate::engine::stats::{median, median_interval};
use crate::units::{bytes, seconds};
use comfy_table::{Table, presets};
use serde::Serialize;
use std::fmt::Write;

/// Name and version of the document.
pub const SCHEMA: &str = "memento.warm/1";

/// A run of `memento bench --handler`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// What was served.
    pub handler: String,
    /// What ratios are to.
    pub baseline: String,
    /// Invocations of each process.
    pub invocations: usize,
    /// Memory that the REPORT lines say is configured, in MB.
    pub memory_mb: u32,
    /// Each allocator.
    pub allocators: Vec<Row>,
}

/// One allocator.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub allocator: String,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// The quantities, medians over the processes; absent if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figures: Option<Figures>,
    /// As the platform reports the first invocation of a process and its last.
    pub report: Vec<String>,
    /// Every process, in order.
    pub instances: Vec<Instance>,
}

/// What is said of an allocator. Latencies are of warm invocations: without each process's first.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Figures {
    /// Initialisation, in nanoseconds.
    pub init_ns: f64,
    /// The first invocation.
    pub first_ns: f64,
    /// Half of the invocations take no longer.
    pub p50_ns: f64,
    /// 95 % interval of the median over the processes.
    pub p50_interval: Option<(f64, f64)>,
    /// 95 % take no longer.
    pub p95_ns: f64,
    /// 99 % take no longer.
    pub p99_ns: f64,
    /// CPU time of an invocation, median.
    pub cpu_ns: f64,
    /// Peak resident set.
    pub peak_rss_bytes: f64,
    /// Resident set after the last response.
    pub rss_bytes: f64,
    /// Median latency against the baseline's, paired by round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ratio: Option<Estimate>,
    /// CPU time against the baseline's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ratio: Option<Estimate>,
    /// Peak memory against the baseline's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_ratio: Option<Estimate>,
}

/// The value that a share of all values does not exceed: the nearest rank.
pub fn percentile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied()
}

/// Latencies of a process's invocations but the first, or of that if there is no other.
pub(super) fn warm(
    instance: &Instance,
    value: impl Fn(&super::api::Invocation) -> u64,
) -> Vec<f64> {
    let skip = usize::from(instance.invocations.len() > 1);
    instance.invocations.iter().skip(skip).map(|invocation| value(invocation) as f64).collect()
}

/// Sums an allocator's processes up, against those of the baseline.
pub fn figures(instances: &[Instance], baseline: Option<&[Instance]>) -> Option<Figures> {
    let each = |all: &[Instance], value: &dyn Fn(&Instance) -> Option<f64>| -> Vec<f64> {
        all.iter().filter_map(value).collect()
    };
    let p50 = |instance: &Instance| percentile(&warm(instance, |i| i.wall_ns), 0.5);
    let cpu = |instance: &Instance| percentile(&warm(instance, |i| i.cpu_ns), 0.5);
    let peak = |instance: &Instance| Some(instance.peak_rss_bytes as f64);
    let middle = |value: &dyn Fn(&Instance) -> Option<f64>| median(&each(instances, value));
    let ratio = |value: &dyn Fn(&Instance) -> Option<f64>| {
        estimate(&each(instances, value), &each(baseline?, value))
    };
    let all: Vec<f64> = instances.iter().flat_map(|i| warm(i, |i| i.wall_ns)).collect();
    Some(Figures {
        init_ns: middle(&|i| Some(i.init_ns as f64))?,
        first_ns: middle(&|i| i.invocations.first().map(|first| first.wall_ns as f64))?,
        p50_ns: percentile(&all, 0.5)?,
        p50_interval: median_interval(&each(instances, &p50)),
        p95_ns: percentile(&all, 0.95)?,
        p99_ns: percentile(&all, 0.99)?,
        cpu_ns: middle(&cpu)?,
        peak_rss_bytes: middle(&peak)?,
        rss_bytes: middle(&|i| Some(i.rss_bytes as f64))?,
        p50_ratio: ratio(&p50),
        cpu_ratio: ratio(&cpu),
        peak_ratio: ratio(&peak),
    })
}

/// The platform's line for an invocation. Initialisation is said, and billed, with the first.
pub fn report(instance: &Instance, number: usize, memory_mb: u32) -> Option<String> {
    let ms = |ns: u64| ns as f64 / 1e6;
    let wall = instance.invocations.get(number)?.wall_ns;
    let init = (number == 0).then_some(instance.init_ns);
    let billed = ms(wall + init.unwrap_or(0)).ceil();
    let used = instance.peak_rss_bytes.div_ceil(1 << 20);
    let mut line = format!(
        "REPORT RequestId: {}\tDuration: {:.2} ms\tBilled Duration: {billed} ms\tMemory Size: {memory_mb} MB\tMax Memory Used: {used} MB",
        request_id(number),
        ms(wall)
    );
    if let Some(init) = init {
        let _ = write!(line, "\tInit Duration: {:.2} ms", ms(init));
    }
    Some(line)
}

/// The columns of tables, after the allocator's name.
pub(super) const COLUMNS: [&str; 11] = [
    "init",
    "first",
    "p50",
    "p95",
    "p99",
    "CPU",
    "peak",
    "after",
    "p50 ratio",
    "CPU ratio",
    "peak ratio",
];

/// What stands in them; none for an allocator that failed.
pub(super) fn cells(document: &Document, row: &Row) -> Option<Vec<String>> {
    let figures = row.figures.as_ref()?;
    let times = [
        figures.init_ns,
        figures.first_ns,
        figures.p50_ns,
        figures.p95_ns,
        figures.p99_ns,
        figures.cpu_ns,
    ];
    let mut cells = times.map(seconds).to_vec();
    cells.extend([figures.peak_rss_bytes, figures.rss_bytes].map(|value| bytes(value as u64)));
    cells.extend([figures.p50_ratio, figures.cpu_ratio, figures.peak_ratio].map(
        |ratio| match ratio {
            Some(ratio) => ratio.to_string(),
            None if row.allocator == document.baseline => "1".into(),
            None => "–".into(),
        },
    ));
    Some(cells)
}

/// The document as a Markdown table.
pub fn markdown(document: &Document) -> String {
    let mut out =
        format!("| | {} |\n| --- |{}\n", COLUMNS.join(" | "), " ---: |".repeat(COLUMNS.len()));
    for row in &document.allocators {
        let cells = cells(document, row).unwrap_or_else(|| {
            let why = row.failed.as_deref().unwrap_or("failed").replace('|', "\\|");
            let mut cells = vec![why];
            cells.resize(COLUMNS.len(), String::new());
            cells
        });
        let _ = writeln!(out, "| {} | {} |", row.allocator, cells.join(" | "));
    }
    let _ = writeln!(
        out,
        "\n{}, {} invocations in each process. Latencies are without each process's first; ratios to {} with 95 % \
        intervals.",
        document.handler, document.invocations, document.baseline
    );
    out
}

/// The document as text, for a terminal of so many columns.
pub fn text(document: &Document, width: Option<usize>) -> String {
    let mut out =
        format!("{}: {} invocations in each process\n", document.handler, document.invocations);
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.add_row([""].into_iter().chain(COLUMNS));
    for row in &document.allocators {
        let Some(cells) = cells(document, row) else { continue };
        table.add_row([row.allocator.clone()].into_iter().chain(cells));
    }
    print_within(&mut out, &mut table, width, &[8, 6, 1, 2, 11, 10, 9]);
    for row in &document.allocators {
        if let Some(why) = &row.failed {
            let _ = writeln!(out, "  warning: {}: {why}", row.allocator);
        }
    }
    for row in document.allocators.iter().filter(|row| !row.report.is_empty()) {
        let _ =
            writeln!(out, "\n{}, the first invocation of a process and its last", row.allocator);
        row.report.iter().for_each(|line| {
            let _ = writeln!(out, "{line}");
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::warm::api::Invocation;

    fn instance(ms: &[u64]) -> Instance {
        let invocation = |ms: &u64| Invocation { wall_ns: ms * 1_000_000, cpu_ns: ms * 500_000 };
        Instance {
            init_ns: 100_000_000,
            invocations: ms.iter().map(invocation).collect(),
            peak_rss_bytes: (45 << 20) - 5,
            rss_bytes: 40 << 20,
        }
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        let at = |share| percentile(&values, share).unwrap();
        assert_eq!([0.5, 0.95, 0.99, 1.0].map(at), [50.0, 95.0, 99.0, 100.0]);
        assert_eq!(percentile(&[7.0], 0.99), Some(7.0));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn the_first_invocation_is_not_warm() {
        let got = figures(&[instance(&[90, 10, 20, 30])], None).unwrap();
        assert_eq!((got.first_ns, got.p50_ns, got.p99_ns, got.cpu_ns), (9e7, 2e7, 3e7, 1e7));
        assert!(got.p50_ratio.is_none());
        let half: Vec<Instance> = (0..6).map(|_| instance(&[9, 1, 2, 3])).collect();
        let whole: Vec<Instance> = (0..6).map(|_| instance(&[9, 2, 4, 6])).collect();
        let got = figures(&half, Some(&whole)).unwrap();
        assert!((got.p50_ratio.unwrap().ratio - 0.5).abs() < 1e-9);
        assert!((got.cpu_ratio.unwrap().ratio - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_table_has_a_line_for_each_allocator() {
        let row = |name: &str, failed: Option<&str>| Row {
            allocator: name.into(),
            failed: failed.map(str::to_owned),
            figures: figures(&[instance(&[90, 10])], None).filter(|_| failed.is_none()),
            report: Vec::new(),
            instances: Vec::new(),
        };
        let document = Document {
            schema: SCHEMA,
            handler: "app.handler".into(),
            baseline: "stock".into(),
            invocations: 2,
            memory_mb: 128,
            allocators: vec![row("stock", None), row("memento", Some("a | b"))],
        };
        let text = markdown(&document);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[2].starts_with("| stock | 100.0 ms | 90.0 ms | 10.0 ms |"), "{text}");
        assert!(lines[3].starts_with("| memento | a \\| b |  |"), "{text}");
        let bars = |line: &str| line.replace("\\|", "").matches('|').count();
        assert!(lines[..4].iter().all(|line| bars(line) == COLUMNS.len() + 2), "{text}");
    }

    #[test]
    fn report_lines_have_the_platforms_form() {
        let instance = instance(&[27, 10]);
        assert_eq!(
            report(&instance, 0, 128).unwrap(),
            "REPORT RequestId: 00000000-0000-4000-8000-000000000000\tDuration: 27.00 ms\t\
             Billed Duration: 127 ms\tMemory Size: 128 MB\tMax Memory Used: 45 MB\t\
             Init Duration: 100.00 ms"
        );
        assert!(report(&instance, 1, 128).unwrap().ends_with("Max Memory Used: 45 MB"));
        assert_eq!(report(&instance, 2, 128), None);
    }
}
