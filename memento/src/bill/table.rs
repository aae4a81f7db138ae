//! The bill for people.

use super::document::{Bill, Document, Priced, Terms};
use super::recommend::Choice;
use crate::columns::print_within;
use crate::units::{bytes, seconds};
use comfy_table::{Table, presets};
use std::fmt::Write;

/// The whole document as text, for a terminal of so many columns.
pub fn text(document: &Document, width: Option<usize>) -> String {
    let mut out = terms(&document.terms);
    for workload in &document.workloads {
        block(&mut out, workload, width);
    }
    for note in &document.notes {
        let _ = writeln!(out, "note: {note}");
    }
    out
}

/// How runs were priced, as lines.
pub(super) fn terms(terms: &Terms) -> String {
    let preset = &terms.preset;
    let mut out = format!("US dollars for a million invocations. {}", preset.title);
    let _ = writeln!(out, " ({}): {} for the requests,", preset.source, preset.million_requests);
    let _ = writeln!(
        out,
        "durations rounded up to {} ms, at least {} ms, initialisation {}.",
        preset.round_ms,
        preset.minimum_ms,
        if preset.init_billed { "billed" } else { "not billed" }
    );
    let age = if preset.is_old() {
        "these figures are old, and may have changed: check them at the source"
    } else {
        "check at the source whether they still hold, and what your region costs"
    };
    let _ = writeln!(out, "Prices as last seen in {}; {age}.", preset.date);
    let rates = &terms.rates;
    let _ = writeln!(
        out,
        "SIM, SPFU, NPFU: C_r {} a core-second, M_r {} a GB-second, C_s and M_s {} of that, λ {}, μ {};",
        rates.core_second, rates.gb_second, rates.spot, rates.lambda, rates.mu
    );
    let _ = writeln!(
        out,
        "cpu-cap {}, spot-cores {}, mem-cap {}, preemptible-mem {}.",
        terms.cpu_cap,
        terms.spot_cores,
        terms.mem_cap_gb.map_or("as configured".into(), |gb| format!("{gb} GB")),
        if terms.preemptible_mem { "yes" } else { "no" }
    );
    if terms.requeued > 0 {
        let _ =
            writeln!(out, "{} preempted runs were queued again and not charged.", terms.requeued);
    }
    out
}

/// Columns that are left out first: ratios of the lesser models, then the models, then what was measured.
const SPARE: [usize; 11] = [1, 15, 13, 11, 9, 14, 5, 8, 10, 3, 4];

fn block(out: &mut String, workload: &Priced, width: Option<usize>) {
    let _ = write!(out, "\n{}", workload.name);
    if let Some(why) = &workload.skipped {
        let _ = writeln!(out, "\n  no bill: {why}");
        return;
    }
    let _ = writeln!(out, ", at {} MB", workload.memory_mb.unwrap_or_default());
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.add_row(heads(workload));
    for bill in &workload.bills {
        table.add_row(row(bill));
    }
    print_within(out, &mut table, width, &SPARE);
    for bill in &workload.bills {
        if let Some(advice) = advice(bill) {
            let _ = writeln!(out, "  {advice}");
        }
    }
}

/// The memory size to configure, in words.
pub(super) fn advice(bill: &Bill) -> Option<String> {
    let advice = bill.recommendation.as_ref()?;
    Some(format!(
        "{}: take {} MB ({}); the cheapest is {}, the least {}",
        bill.allocator,
        advice.balanced.mb,
        words(&advice.balanced),
        words(&advice.cheapest),
        words(&advice.smallest)
    ))
}

/// The columns' names.
pub(super) fn heads(workload: &Priced) -> Vec<String> {
    let mut heads = ["", "runs", "duration", "CPU", "peak", "mean"].map(str::to_owned).to_vec();
    let models = workload.bills.first().map_or(&[][..], |bill| &bill.costs);
    for cost in models {
        heads.extend([cost.model.title().to_owned(), "ratio".into()]);
    }
    heads
}

fn words(choice: &Choice) -> String {
    let duration = seconds(choice.seconds * 1e9);
    format!("{} MB: {duration}, ${:.2}", choice.mb, choice.million)
}

pub(super) fn row(bill: &Bill) -> Vec<String> {
    const GB: f64 = super::usage::GB;
    let mut row = vec![
        bill.allocator.clone(),
        bill.runs.to_string(),
        seconds(bill.seconds * 1e9),
        seconds(bill.core_seconds * 1e9),
        bytes((bill.peak_gb * GB) as u64),
        bytes((bill.mean_gb * GB) as u64),
    ];
    for cost in &bill.costs {
        row.push(format!("{:.3}", cost.million));
        row.push(match cost.ratio {
            None => "1".into(),
            Some(ratio) => match ratio.interval {
                Some((low, high)) => format!("{:.2} ({low:.2}–{high:.2})", ratio.ratio),
                None => format!("{:.2}", ratio.ratio),
            },
        });
    }
    row
}
