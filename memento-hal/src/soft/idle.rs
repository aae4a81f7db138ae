//! Memory that a living heap has not needed for a while goes back to the system.
//!
//! What is free serves whatever is asked for next, and a program that lives for milliseconds asks again soon. A server would hold
//! what its highest peak took for as long as it lives. So the fewest granules that were free at any moment of a second
//! are those that the second did not need: they are given back when it is over, the highest first, as blocks are handed out
//! bottom up. The clock is looked at only now and then when a granule becomes free and more than a few are, so that nothing is done
//! by programs that are small or short, and nothing by heaps that stand still: their threads would have to be told. A
//! runtime's threads that work once in a while come by often enough.
//!
//! Must not know: whose granules they are, and what is in them.

use super::heap::Heap;
use super::layout::GRANULE_BYTES;
use super::span::Granule;
use crate::os::{KeepErrno, Os};

/// Granules that a heap may always hold free: 256 KiB.
const FREE_MIN: Granule = (256 * 1024 / GRANULE_BYTES) as Granule;
/// The clock is looked at each time that so many spans became free.
const LOOK_EVERY: u32 = 16;
/// Milliseconds after which it is seen what was not needed.
const PERIOD: u64 = 1000;

/// What a heap knows of its free granules.
#[derive(Debug, Clone, Copy)]
pub(super) struct Idle {
    /// Fewest that were free and may have had memory behind them.
    fewest: Granule,
    /// Since when, in milliseconds of the system's clock; 0: it was not looked at yet.
    since: u64,
    /// Spans that became free while much was.
    freed: u32,
}

impl Idle {
    pub(super) const NONE: Self = Self { fewest: 0, since: 0, freed: 0 };

    /// So many are left, after some were taken.
    #[inline]
    pub(super) fn note(&mut self, free: Granule) {
        self.fewest = self.fewest.min(free);
    }
}

impl<O: Os> Heap<O> {
    /// Granules became free; no change of more than one step is half done.
    #[inline]
    pub(super) fn note_freed(&mut self) {
        if self.free_dirty > FREE_MIN {
            self.give_back_idle();
        }
    }

    #[cold]
    #[inline(never)]
    fn give_back_idle(&mut self) {
        self.idle.freed = self.idle.freed.wrapping_add(1);
        if !self.idle.freed.is_multiple_of(LOOK_EVERY) {
            return;
        }
        // `free` comes here without anything that keeps it.
        let _errno = KeepErrno::new();
        let now = self.region().os().milliseconds();
        let first = self.idle.since == 0;
        if !first && now < self.idle.since + PERIOD {
            return;
        }
        let idle = self.idle.fewest.saturating_sub(FREE_MIN);
        if !first && idle > 0 {
            self.decommit_top(idle);
        }
        self.idle = Idle { fewest: self.free_dirty, since: now, ..self.idle };
    }
}
