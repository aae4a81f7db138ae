//! Replays a trace on the emulated hardware over simulated addresses.
//!
//! Nothing but the trace is counted, and the same trace gives the same numbers every time. Each
//! thread of the trace is a core. Objects of the software path exist in the trace's own counts only.

use super::demand::{Step, count, walk};
use super::trace::Trace;
use anyhow::{Context, Result, anyhow};
use memento_hal::counters::Counters;
use memento_hal::emulator::{CoreId, FixedCosts, Machine, Params, SimMemory};
use memento_hal::geometry::SizeClass;

type Hardware = Machine<SimMemory, FixedCosts>;

/// Replays and returns every counter.
///
/// # Errors
/// If the parameters contradict each other, or the simulated region is too small for the trace.
pub fn replay(trace: &Trace, params: &Params) -> Result<Counters> {
    let mut machine = Machine::new(*params, SimMemory::new(), FixedCosts::new(params))?;
    let cores: Vec<CoreId> = (0..trace.threads)
        .map(|_| machine.add_core().context("the machine has no room for so many threads"))
        .collect::<Result<_>>()?;
    // Address of the object in each slot.
    let mut objects = vec![0u64; trace.slots as usize];
    walk(trace, |thread, step| {
        let core = cores[thread as usize];
        match step {
            Step::Alloc { slot, class, .. } => {
                objects[slot as usize] = alloc(&mut machine, core, class)?;
            }
            Step::Free { slot, class } => {
                free(&mut machine, core, class, objects[slot as usize])?;
            }
            Step::Rename { old, new, .. } => objects[new as usize] = objects[old as usize],
            Step::Move { old, new, .. } => {
                let moved = alloc(&mut machine, core, new.1)?;
                free(&mut machine, core, old.1, objects[old.0 as usize])?;
                objects[new.0 as usize] = moved;
            }
        }
        anyhow::Ok(())
    })?;
    let mut counters = machine.counters();
    count(trace, &mut counters);
    Ok(counters)
}

/// Address of a new object; 0 stands for one of the software path.
fn alloc(machine: &mut Hardware, core: CoreId, class: Option<SizeClass>) -> Result<u64> {
    match class {
        Some(class) => machine.obj_alloc(core, class).with_context(|| {
            format!("the simulated region has no room for another object of {} bytes", class.size())
        }),
        None => Ok(0),
    }
}

fn free(machine: &mut Hardware, core: CoreId, class: Option<SizeClass>, at: u64) -> Result<()> {
    match class {
        Some(_) => machine
            .obj_free(core, at)
            .map_err(|fault| anyhow!("the emulator refused a free: {}", fault.message())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::trace::parse;
    use std::fmt::Write;

    fn run(text: &str) -> Counters {
        replay(&parse(text.as_bytes()).unwrap(), &Params::DEFAULT).unwrap()
    }

    #[test]
    fn one_object() {
        let c = run("a 1 24\nf 1\n");
        assert_eq!((c.allocs[2], c.frees[2], c.bytes_requested), (1, 1, 24));
        assert_eq!((c.hot_alloc_hits, c.hot_alloc_misses), (0, 1), "a class's first is a miss");
        assert_eq!((c.hot_free_hits, c.hot_free_misses), (1, 0));
        assert_eq!((c.arenas_created, c.aac_hits, c.aac_misses), (1, 0, 1));
        // 2 + AAC 1 + bump pointer 40 + storing the new header 14.
        assert_eq!(c.cycles_obj_alloc, 57);
        assert_eq!(c.cycles_obj_free, 2);
        // The header's page, which the object shares.
        assert_eq!(c.pages_taken, 1);
        // The root exists; three levels below it do not, nor does the page: 4 loads + 4 fills.
        assert_eq!((c.pages_table_frames, c.cycles_page_management), (3, 4 * 40 + 4));
        // The header's line and the object's.
        assert_eq!((c.bypass_lines, c.cycles_bypass_saved), (2, 2 * 160));
    }

    #[test]
    fn a_full_arena_and_back() {
        let mut text = String::new();
        for id in 0..257 {
            writeln!(text, "a {id} 8").unwrap();
        }
        text += "f 0\n";
        let c = run(&text);
        assert_eq!((c.allocs[0], c.frees[0]), (257, 1));
        assert_eq!((c.hot_alloc_hits, c.hot_alloc_misses), (255, 2));
        assert_eq!(c.arenas_created, 2);
        // The full arena left the HOT for the full list; the free brought it to the available one.
        assert_eq!((c.alloc_list_operations, c.free_list_operations), (1, 1));
        assert_eq!((c.hot_free_hits, c.hot_free_misses), (0, 1));
        assert_eq!((c.aac_hits, c.aac_misses), (1, 1));
        // Free: 2 + loading the header 14 + storing it 14.
        assert_eq!(c.cycles_obj_free, 30);
    }

    #[test]
    fn reallocation() {
        let c = run("a 1 20\nr 1 2 24\nr 2 2 25\nr 2 3 600\nr 3 4 700\nr 4 4 8\nf 4\n");
        // 24-byte class stays; 25 → 32-byte class; 600 is software; 700 too; 8 is hardware again.
        assert_eq!((c.allocs[2], c.frees[2]), (1, 1));
        assert_eq!((c.allocs[3], c.frees[3]), (1, 1));
        assert_eq!((c.software_allocs, c.software_frees), (1, 1));
        assert_eq!((c.allocs[0], c.frees[0]), (1, 1));
        assert_eq!(c.hot_alloc_misses + c.hot_alloc_hits, 3);
        assert_eq!(c.hot_free_misses + c.hot_free_hits, 3);
        assert_eq!(c.bytes_requested, 20 + 25 + 600 + 8);
    }

    #[test]
    fn a_free_by_another_thread_is_remote() {
        let c = run("a 1 8\nt1 f 1\nt1 a 2 8\nt1 f 2\n");
        assert_eq!(c.remote_frees, 1);
        assert_eq!((c.hot_free_hits, c.hot_free_misses), (1, 0), "the remote one is neither");
        assert_eq!(c.arenas_created, 2, "each thread is a core with arenas of its own");
        assert_eq!(c.frees[0], 2);
    }

    #[test]
    fn parameters_are_obeyed() {
        let trace = parse(b"a 1 24\nf 1\n".as_slice()).unwrap();
        let params = Params { hot_cycles: 7, ..Params::DEFAULT };
        assert_eq!(replay(&trace, &params).unwrap().cycles_obj_free, 7);
    }

    #[test]
    fn the_same_trace_gives_the_same_numbers() {
        let mut text = String::new();
        for id in 0..2000u64 {
            writeln!(text, "t{} a {id} {}", id % 3, id * 37 % 700).unwrap();
            if id % 2 == 1 {
                writeln!(text, "t{} f {}", id % 5, id / 2).unwrap();
            }
        }
        assert_eq!(run(&text), run(&text));
    }
}
