//! The diagnosis as a page for people.

use super::findings::Level;
use super::{Diagnosis, Patient};
use serde_json::Value;
use std::fmt::Write;

/// Processes that are listed one by one; the rest is counted.
const SHOWN: usize = 12;

/// The page.
pub fn page(diagnosis: &Diagnosis) -> String {
    let mut text = String::new();
    let verdict = if diagnosis.served {
        "memento serves it"
    } else {
        "memento does not serve it, or not all of it"
    };
    let _ = writeln!(text, "{verdict}: {}", diagnosis.command.join(" "));
    let way: Vec<_> = diagnosis.way.iter().map(|path| path.display().to_string()).collect();
    if !way.is_empty() {
        let what = diagnosis.runtime.map_or_else(String::new, |runtime| format!("  ({runtime})"));
        let _ = writeln!(text, "  program    {}{what}", way.join(" → "));
    }
    let _ = writeln!(text, "  preloaded  {}", diagnosis.object.display());
    // A wrapper's helpers say less than what was run in the end.
    let mut patients: Vec<_> = diagnosis.processes.iter().collect();
    patients.sort_by_key(|patient| {
        (patient.python.is_none() && patient.node.is_none(), std::cmp::Reverse(patient.allocations))
    });
    for patient in patients.iter().take(SHOWN) {
        let _ = writeln!(text, "  process    {}", line(patient));
    }
    if let Some(more) = patients.len().checked_sub(SHOWN + 1) {
        let _ = writeln!(text, "  and {} processes more", more + 1);
    }
    for finding in &diagnosis.findings {
        let mark = match finding.level {
            Level::Problem => "problem",
            Level::Warning => "warning",
            Level::Note => "note",
        };
        let _ = writeln!(text, "{mark}: {}", finding.text);
        if !finding.remedy.is_empty() {
            let _ = writeln!(text, "    {}", finding.remedy);
        }
    }
    text
}

fn line(patient: &Patient) -> String {
    let mut line = format!("{} {}: ", patient.pid, patient.argv0);
    match patient.allocations {
        Some(count) => {
            let _ = write!(line, "{count} allocations");
        }
        None => line.push_str("an unknown number of allocations"),
    }
    if let Some(domains) = patient.python.as_ref().and_then(|said| said["domains"].as_object()) {
        let served =
            domains.iter().map(|(name, by)| format!("{name} by {}", by.as_str().unwrap_or("?")));
        let _ = write!(line, "; Python's domains: {}", served.collect::<Vec<_>>().join(", "));
    }
    if let Some(pages) = patient.node.as_ref().map(|said| &said["heap_pages"]) {
        let peak =
            pages["peak"].as_u64().map_or_else(|| Value::Null.to_string(), |n| n.to_string());
        let _ = write!(line, "; V8's heap: up to {peak} pages of 256 KiB");
    }
    line
}
