//! The page for people.

use super::published::{GAIN_SPLIT, rates};
use super::{ClassCount, Emulator, Report};
use crate::engine::Exit;
use crate::units::{bytes, duration, grouped, percent};
use comfy_table::{CellAlignment, Table, presets};
use memento_hal::emulator::{Params, Provenance};
use std::fmt::Write;

/// Whether headings are coloured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// Plain characters.
    Plain,
    /// ANSI escapes.
    Colour,
}

/// Processes that are listed one by one; the rest is counted.
const PROCESSES_SHOWN: usize = 12;

/// The report as a page.
pub fn text(report: &Report, style: Style) -> String {
    let mut page = Page { text: String::new(), style };
    let hal = report.hal.map(|hal| format!("memento {hal}"));
    let server = hal.or_else(|| report.allocator.as_ref().map(|a| a.name.clone()));
    page.heading(&format!("{} · {}", server.unwrap_or_default(), report.command.join(" ")));
    page.table(&[Left, Left], overview(report));
    if let Some(classes) = &report.classes {
        page.heading("allocations by size class");
        page.table(&[Right, Right, Right, Right], class_rows(report, classes));
    }
    if let Some(emulator) = &report.emulator {
        page.heading("hardware cycles");
        page.table(&[Left, Right, Right, Right], cycle_rows(emulator));
        page.heading("rates, beside the published means");
        page.table(&[Left, Right, Right], rate_rows(emulator));
        page.heading("hardware events");
        page.table(&[Left, Right], event_rows(emulator));
        page.heading("parameters: [P] from the paper, [D] defined by this project");
        page.table(&[Left, Right, Left, Left], parameter_rows(emulator));
    }
    for process in report.processes.iter().filter(|p| !p.loaded) {
        let reason = process.reason.as_deref().unwrap_or("for an unknown reason");
        page.warning(&format!(
            "the shim did not load in process {} ({}): {reason}. Its counts are absent.",
            process.pid, process.argv0
        ));
    }
    if report.processes.len() > 1 {
        page.heading("processes");
        page.table(&[Right, Left, Left], process_rows(report));
    }
    for note in &report.notes {
        page.line(&format!("note: {note}"));
    }
    page.text
}

use Side::{Left, Right};

/// How a column is aligned.
#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

type Row = Vec<String>;

struct Page {
    text: String,
    style: Style,
}

impl Page {
    fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "{line}");
    }

    fn heading(&mut self, title: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.styled(anstyle::Style::new().bold(), title);
    }

    fn warning(&mut self, warning: &str) {
        let style = anstyle::AnsiColor::Yellow.on_default().bold();
        self.styled(style, &format!("\nwarning: {warning}"));
    }

    fn styled(&mut self, style: anstyle::Style, words: &str) {
        match self.style {
            Style::Plain => self.line(words),
            Style::Colour => self.line(&format!("{style}{words}{style:#}")),
        }
    }

    fn table(&mut self, sides: &[Side], rows: Vec<Row>) {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        for row in rows {
            table.add_row(row);
        }
        for (column, side) in table.column_iter_mut().zip(sides) {
            column.set_padding((2, 0));
            column.set_cell_alignment(match side {
                Left => CellAlignment::Left,
                Right => CellAlignment::Right,
            });
        }
        for line in table.lines() {
            self.line(line.trim_end());
        }
    }
}

fn row<const N: usize>(cells: [&str; N]) -> Row {
    cells.map(str::to_owned).to_vec()
}

fn overview(report: &Report) -> Vec<Row> {
    let mut rows = vec![row(["exit", &exit_words(report.exit)])];
    if let Some(cost) = &report.sample {
        let times = format!(
            "wall {}   user {}   system {}",
            duration(cost.wall_ns),
            duration(cost.user_ns),
            duration(cost.system_ns)
        );
        rows.push(row(["time", &times]));
        let faults =
            format!("{} minor   {} major", grouped(cost.minor_faults), grouped(cost.major_faults));
        rows.push(row(["page faults", &faults]));
        rows.push(row(["peak resident", &bytes(cost.peak_rss_bytes)]));
    }
    if let Some(replay) = &report.replay {
        let kinds = format!(
            "{}   {} allocate   {} reallocate   {} free",
            grouped(replay.operations),
            grouped(replay.allocs),
            grouped(replay.reallocs),
            grouped(replay.frees)
        );
        rows.push(row(["operations", &kinds]));
        let live =
            format!("{} objects   {}", grouped(replay.live_objects), bytes(replay.live_bytes));
        rows.push(row(["live at the end", &live]));
        if let Some(wall) = replay.wall_ns {
            let each = wall as f64 / replay.operations.max(1) as f64;
            let time = format!("{}   {each:.1} ns an operation", duration(wall));
            rows.push(row(["time", &time]));
        }
        if let Some(faults) = replay.minor_faults {
            rows.push(row(["page faults", &grouped(faults)]));
        }
        if let (Some(peak), Some(before)) = (replay.peak_rss_bytes, replay.peak_before_bytes) {
            let words = format!("{}   {} before the first", bytes(peak), bytes(before));
            rows.push(row(["peak resident", &words]));
        }
    }
    if let Some(requested) = report.bytes_requested {
        rows.push(row(["requested", &bytes(requested)]));
    }
    rows
}

fn exit_words(exit: Exit) -> String {
    match (exit.code, exit.signal) {
        (_, Some(signal)) => format!("signal {signal} ({})", signal_name(signal)),
        (Some(code), None) => code.to_string(),
        (None, None) => "unknown".into(),
    }
}

fn signal_name(signal: i32) -> &'static str {
    nix::sys::signal::Signal::try_from(signal).map_or("real-time", |s| s.as_str())
}

fn class_rows(report: &Report, classes: &[ClassCount]) -> Vec<Row> {
    let software = report.software.unwrap_or(super::Software { allocs: 0, frees: 0 });
    let total: u64 = classes.iter().map(|c| c.allocs).sum::<u64>() + software.allocs;
    let frees: u64 = classes.iter().map(|c| c.frees).sum::<u64>() + software.frees;
    let count = |name: String, allocs: u64, frees: u64| {
        vec![name, grouped(allocs), grouped(frees), percent(allocs, total)]
    };
    let mut rows = vec![row(["bytes", "allocs", "frees", "share"])];
    let used = classes.iter().filter(|c| c.allocs > 0 || c.frees > 0);
    rows.extend(used.map(|c| count(c.size.to_string(), c.allocs, c.frees)));
    rows.push(count("> 512".into(), software.allocs, software.frees));
    rows.push(count("all".into(), total, frees));
    rows
}

fn cycle_rows(e: &Emulator) -> Vec<Row> {
    let spent = [e.cycles.obj_alloc, e.cycles.obj_free, e.cycles.page_management];
    let total: u64 = spent.iter().sum();
    let names = ["obj-alloc", "obj-free", "page management"];
    let mut rows = vec![row(["", "cycles", "share", "share of the gain, published"])];
    for ((name, cycles), split) in names.into_iter().zip(spent).zip(GAIN_SPLIT) {
        rows.push(row([name, &grouped(cycles), &percent(cycles, total), split]));
    }
    rows.push(row(["all", &grouped(total), "", ""]));
    let saved = grouped(e.cycles.bypass_saved);
    rows.push(row(["saved by bypass (beside these)", &saved, "", GAIN_SPLIT[3]]));
    rows
}

fn rate_rows(e: &Emulator) -> Vec<Row> {
    let mut rows = vec![row(["", "here", "published"])];
    rows.extend(rates(e).iter().map(|r| row([r.name, &percent(r.part, r.whole), r.published])));
    rows
}

fn event_rows(e: &Emulator) -> Vec<Row> {
    [
        ("obj-alloc", e.allocs()),
        ("obj-free by the owner", e.frees()),
        ("remote frees", e.remote_frees),
        ("HOT flushes", e.hot.flushes),
        ("arenas created", e.arenas.created),
        ("data pages taken", e.pages.taken),
        ("page-table frames taken", e.pages.table_frames),
        ("pool refills", e.pages.refills),
        ("stalls on a dry pool", e.pages.dry_stalls),
        ("lines bypassed", e.bypass.lines),
        ("faults", e.faults),
    ]
    .map(|(name, count)| row([name, &grouped(count)]))
    .to_vec()
}

fn parameter_rows(e: &Emulator) -> Vec<Row> {
    let describe = |field: &memento_hal::emulator::Field| {
        let value = e.parameters.get(field.name).copied().unwrap_or(field.default);
        let source = match field.provenance {
            Provenance::Paper => "[P]",
            Provenance::Defined => "[D]",
        };
        let changed = if value == field.default {
            String::new()
        } else {
            format!("default {}", field.default)
        };
        row([field.name, &value.to_string(), source, &changed])
    };
    Params::FIELDS.iter().map(describe).collect()
}

fn process_rows(report: &Report) -> Vec<Row> {
    let mut rows: Vec<Row> = report
        .processes
        .iter()
        .take(PROCESSES_SHOWN)
        .map(|p| {
            let state = match (&p.reason, p.loaded) {
                (_, false) => "not loaded",
                (Some(reason), true) => reason,
                (None, true) => "counted",
            };
            row([&p.pid.to_string(), &p.argv0, state])
        })
        .collect();
    let more = report.processes.len().saturating_sub(PROCESSES_SHOWN);
    if more > 0 {
        rows.push(row(["…", &format!("{more} more"), ""]));
    }
    rows
}
