//! What performing a trace in this process costs, in the kernel's books.

use super::trace::Trace;
use crate::report::ReplayCost;
use anyhow::Result;
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use std::time::Instant;

/// Times `perform`, which replays `trace`.
///
/// # Errors
/// That of `perform`.
pub fn of(trace: &Trace, perform: impl FnOnce() -> Result<()>) -> Result<ReplayCost> {
    let before = getrusage(UsageWho::RUSAGE_SELF)?;
    let start = Instant::now();
    let done = perform();
    let wall = start.elapsed();
    let after = getrusage(UsageWho::RUSAGE_SELF)?;
    done?;
    let difference = |of: fn(&Usage) -> i64| u64::try_from(of(&after) - of(&before)).unwrap_or(0);
    // Linux counts it in KiB.
    let peak = |usage: &Usage| u64::try_from(usage.max_rss()).ok().map(|kib| kib * 1024);
    Ok(ReplayCost {
        operations: trace.operations.len() as u64,
        wall_ns: Some(u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX)),
        user_ns: Some(difference(|u| u.user_time().num_nanoseconds())),
        system_ns: Some(difference(|u| u.system_time().num_nanoseconds())),
        minor_faults: Some(difference(Usage::minor_page_faults)),
        peak_before_bytes: peak(&before),
        peak_rss_bytes: peak(&after),
        ..ReplayCost::default()
    })
}
