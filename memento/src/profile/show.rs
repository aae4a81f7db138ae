//! The profile for people: text, and a page with plots.

use super::count::LIFETIMES;
use super::document::{Document, Share};
use super::time::Time;
use crate::columns::print_columns;
use crate::html::plot;
use crate::units::{bytes, grouped, percent, seconds};
use anyhow::Result;
use comfy_table::{Table, presets};
use serde::Serialize;
use std::fmt::Write;

const TEMPLATE: &str = include_str!("page.html");

/// The profile as text.
pub fn text(document: &Document) -> String {
    let counts = &document.counts;
    let mut out = format!("memento profile · {}\n", document.command.join(" "));
    for (name, value) in facts(document) {
        let _ = writeln!(out, "  {name:<42} {value:>14}");
    }
    let _ = writeln!(out, "\nshares of allocations                              here   published");
    for share in &document.shares {
        let _ = writeln!(out, "  {:<42} {:>8} {:>11}", share.what, words(share), share.published);
    }
    let _ = writeln!(out, "\nallocations by size");
    for (label, count) in sizes(document) {
        let share = percent(count, counts.allocations);
        let _ = writeln!(out, "  {label:<20} {:>14} {share:>10}", grouped(count));
    }
    let _ = writeln!(out, "\nobjects by lifetime, in allocations of their class");
    for (label, count) in lifetimes(document) {
        let share = percent(count, counts.allocations);
        let _ = writeln!(out, "  {label:<20} {:>14} {share:>10}", grouped(count));
    }
    if let Some(time) = &document.time {
        let _ = writeln!(
            out,
            "\ntime in memory management: an estimate, counts × costs measured on this machine"
        );
        for (name, value) in times(time) {
            let _ = writeln!(out, "  {name:<42} {value:>14}");
        }
        let _ = writeln!(out);
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).add_row(["", "count", "one takes", "cycles", "all"]);
        for row in operations(time) {
            table.add_row(row);
        }
        print_columns(&mut out, &mut table);
    }
    for note in &document.notes {
        let _ = writeln!(out, "note: {note}");
    }
    out
}

fn words(share: &Share) -> String {
    share.share.map_or("–".into(), |share| format!("{:.1} %", 100.0 * share))
}

fn facts(document: &Document) -> Vec<(&'static str, String)> {
    let counts = &document.counts;
    vec![
        ("allocations", grouped(counts.allocations)),
        ("frees", grouped(counts.frees)),
        ("reallocations", grouped(counts.reallocations)),
        ("bytes requested", bytes(counts.bytes)),
        ("most bytes alive", bytes(counts.peak_live_bytes)),
        ("size classes used", counts.classes.len().to_string()),
        ("threads", counts.threads.to_string()),
        ("frees by another thread", grouped(counts.remote_frees)),
    ]
}

/// Allocations up to each power of two.
fn sizes(document: &Document) -> Vec<(String, u64)> {
    let classes = &document.counts.classes;
    let Some(largest) = classes.keys().last() else { return Vec::new() };
    let mut rows = Vec::new();
    let mut from = 0;
    let mut to = 16u64;
    while from < *largest {
        let count = classes.range(from + 1..=to).map(|(_, count)| count).sum();
        rows.push((format!("≤ {}", bytes(to).replace(".0 ", " ")), count));
        (from, to) = (to, to.saturating_mul(2));
    }
    rows
}

fn lifetimes(document: &Document) -> Vec<(String, u64)> {
    let counts = &document.counts;
    let labels = LIFETIMES.iter().map(|most| format!("≤ {most}"));
    let last = LIFETIMES.last().map_or(String::new(), |most| format!("> {most}"));
    let mut rows: Vec<_> = labels.chain([last]).zip(counts.lifetimes.iter().copied()).collect();
    rows.push(("alive at exit".into(), counts.alive));
    rows
}

fn times(time: &Time) -> Vec<(&'static str, String)> {
    let share = |part: f64, whole: f64| {
        let share = if whole > 0.0 { 100.0 * part / whole } else { 0.0 };
        format!("{share:.1} %")
    };
    vec![
        ("CPU time of the program as it is", seconds(time.cpu_ns)),
        ("in malloc", seconds(time.alloc_ns)),
        ("in free", seconds(time.free_ns)),
        ("in the kernel: heap pages, mmap, munmap", seconds(time.kernel_ns)),
        ("… if all page faults were the heap's", seconds(time.kernel_most_ns)),
        ("memory management, of the CPU time", share(time.total_ns(), time.cpu_ns)),
        ("the user's part of it", share(time.user_ns(), time.total_ns())),
        ("the kernel's part of it (Python: 52 %)", share(time.kernel_ns, time.total_ns())),
        ("page faults, all", grouped(time.minor_faults)),
        ("heap pages", grouped(time.heap_pages)),
    ]
}

/// Name, count, time and cycles of one, and time of all.
fn operations(time: &Time) -> Vec<[String; 5]> {
    let row = |operation: &super::time::Operation| {
        let cycles = format!("{:.0}", time.costs.cycles(operation.each_ns));
        let (each, all) = (seconds(operation.each_ns), seconds(operation.total_ns));
        [operation.name.clone(), grouped(operation.count), each, cycles, all]
    };
    time.operations.iter().map(row).collect()
}

#[derive(Serialize)]
struct Page<'a> {
    title: &'a str,
    command: String,
    facts: Vec<(&'static str, String)>,
    shares: Vec<[String; 3]>,
    times: Vec<(&'static str, String)>,
    operations: Vec<[String; 5]>,
    plots: Vec<(&'static str, String)>,
    notes: &'a [String],
}

/// The profile as a page.
///
/// # Errors
/// If it cannot be made.
pub fn html(document: &Document) -> Result<String> {
    let all = document.counts.allocations.max(1) as f64;
    let columns = |title: &'static str, rows: Vec<(String, u64)>, colour| {
        let rows: Vec<_> =
            rows.into_iter().map(|(label, count)| (label, 100.0 * count as f64 / all)).collect();
        (
            title,
            plot::columns(title, &rows, colour, &|share| {
                format!("{share:.4} %").replace(".0000", "")
            }),
        )
    };
    let classes =
        document.counts.classes.range(..=512).map(|(size, count)| (size.to_string(), *count));
    let shares = document.shares.iter();
    crate::html::render(
        TEMPLATE,
        Page {
            title: "memento profile",
            command: document.command.join(" "),
            facts: facts(document),
            shares: shares.map(|s| [s.what.clone(), words(s), s.published.clone()]).collect(),
            times: document.time.as_ref().map(times).unwrap_or_default(),
            operations: document.time.as_ref().map(operations).unwrap_or_default(),
            plots: vec![
                columns("Allocations by size", sizes(document), 1),
                columns("Allocations of at most 512 bytes by size class", classes.collect(), 2),
                columns(
                    "Objects by lifetime, in allocations of their class",
                    lifetimes(document),
                    4,
                ),
            ],
            notes: &document.notes,
        },
    )
}
