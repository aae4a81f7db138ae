//! Replays a trace on a backend that serves this process: the operations are really done.
//!
//! The order is the trace's, in one thread of this process that plays all of the trace's threads in
//! turn. Every page of an object is written to once, as the program will have done. Only the loop is
//! timed; reading the trace is not.

use super::cost;
use super::trace::{Action, Trace};
use crate::report::ReplayCost;
use anyhow::{Context, Result, anyhow};
use memento_alloc::Memento;
use memento_alloc::hal::ProcessHal;
use memento_alloc::replay::{Object, Replayer, Thread};

/// Replays on the backend of `memento` and returns what it cost.
///
/// # Errors
/// If the backend has no room for the threads or for an object.
pub fn replay<H: ProcessHal>(trace: &Trace, memento: &'static Memento<H>) -> Result<ReplayCost> {
    let mut replayer = Replayer::new(memento).context("this thread uses the backend already")?;
    let threads: Vec<Thread<H>> = (0..trace.threads)
        .map(|_| replayer.thread().context("the backend has no core left for another thread"))
        .collect::<Result<_>>()?;
    let mut objects: Vec<Option<Object<H>>> = (0..trace.slots).map(|_| None).collect();
    let cost = cost::of(trace, || perform(trace, &mut replayer, &threads, &mut objects));
    for thread in threads {
        replayer.end(thread);
    }
    cost
}

fn perform<H: ProcessHal>(
    trace: &Trace,
    replayer: &mut Replayer<H>,
    threads: &[Thread<H>],
    objects: &mut [Option<Object<H>>],
) -> Result<()> {
    // The parser has made sure that slots are full and empty when they must be.
    const CHECKED: &str = "a checked trace frees what it has allocated";
    for (number, operation) in (1u64..).zip(&trace.operations) {
        let thread = &threads[operation.thread as usize];
        let no_memory = |size| anyhow!("operation {number}: no memory for {size} bytes");
        match operation.action {
            Action::Alloc { slot, request } => {
                let object = replayer.alloc(thread, request.size, request.align);
                let mut object = object.ok_or_else(|| no_memory(request.size))?;
                object.touch();
                objects[slot as usize] = Some(object);
            }
            Action::Free { slot } => {
                replayer.free(thread, objects[slot as usize].take().context(CHECKED)?);
            }
            Action::Realloc { old, new, request } => {
                let object = objects[old as usize].take().context(CHECKED)?;
                let object = replayer.realloc(thread, object, request.size);
                let mut object = object.map_err(|_| no_memory(request.size))?;
                object.touch();
                objects[new as usize] = Some(object);
            }
        }
    }
    Ok(())
}
