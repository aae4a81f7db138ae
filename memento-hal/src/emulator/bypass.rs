//! Main-memory bypass: which lines of an arena have never been touched.
//!
//! The lowest free slot is always taken first, so objects are touched for the first time in
//! ascending order, and one counter tells all: lines below it have been touched, lines from it on
//! have not. The pages behind touched lines are backed.

use super::arena::{ArenaAddr, Header, object_end};
use super::bus::Bus;
use super::memory::{Memory, Store};
use super::pages::SharedPages;
use crate::geometry::{HEADER_BYTES, LINE_BYTES, PAGE_BYTES, SizeClass};
use crate::page::PageAllocator;

const LINES_PER_PAGE: u64 = (PAGE_BYTES / LINE_BYTES) as u64;

/// Touches every line of object `slot`. `None`, and nothing has changed, if a page cannot be
/// backed.
#[inline]
pub(super) fn touch_object<S: Store, M: Memory, P: SharedPages>(
    bus: &Bus<'_, S, M, P>,
    arena: ArenaAddr,
    class: SizeClass,
    slot: usize,
) -> Option<()> {
    let header = Header::new(bus.store, arena);
    let touched = header.lines_touched();
    let needed = object_end(class, slot).div_ceil(LINE_BYTES as u64);
    if needed <= touched {
        return Some(());
    }
    let backed = touched.div_ceil(LINES_PER_PAGE);
    if needed > backed * LINES_PER_PAGE {
        // An object is smaller than a page and starts where touched lines end: one page is enough.
        debug_assert!(needed <= (backed + 1) * LINES_PER_PAGE);
        let page = arena.get() + backed * PAGE_BYTES as u64;
        bus.pages.with(|pages| pages.wired(bus).back(page))??;
    }
    count(bus, header, needed - touched);
    Some(())
}

/// Touches the header line of a new arena. `None`, and nothing has changed, if its page cannot be
/// backed.
pub(super) fn touch_header<S: Store, M: Memory, P>(
    bus: &Bus<'_, S, M, P>,
    pages: &mut impl PageAllocator,
    arena: ArenaAddr,
) -> Option<()> {
    pages.back(arena.get())?;
    count(bus, Header::new(bus.store, arena), (HEADER_BYTES / LINE_BYTES) as u64);
    Some(())
}

/// Books `lines` first touches.
fn count<S: Store, M: Memory, P>(bus: &Bus<'_, S, M, P>, header: Header<'_, S>, lines: u64) {
    header.add_lines_touched(lines);
    bus.counters.bypass_lines.add(lines);
    bus.counters.cycles_bypass_saved.add(lines * bus.params.bypass_cycles());
}
