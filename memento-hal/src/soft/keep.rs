//! What becomes of a heap when its thread ends, and which heap the next thread gets.
//!
//! A heap that is left gives its free memory back, or keeps it for the thread that comes next. To keep
//! is faster: nothing is sorted, and no page is faulted in again. To give back is what a process wants
//! whose threads have ended for good. Nobody knows which it is, so:
//!
//! - [`KEPT_MIN`] may always be kept, by all orphans together. That serves the many small threads.
//! - A heap that may be kept, and of which little can be free without its being known, is left as it is, lists and
//!   all: the next thread goes on where the last one ended, and it is counted when somebody frees into it.
//! - Beyond it, what is kept must have been *earned*: a heap that gave memory back, was adopted, and
//!   touched as much again shows that giving back was in vain, and earns its size for all. Threads
//!   that end once give everything back; those that come again in waves pay for one wave.
//! - Never more than the policy allows ([`PagePolicy::kept`](super::backing::PagePolicy::kept)). A program whose
//!   threads take turns, as Python's do, has many heaps for the work of one.
//! - [`Region::purge_kept`], at the program's wish, takes back what is kept.

use super::heap::Heap;
use super::layout::GRANULE_BYTES;
use super::orphans::Rank;
use super::region::Region;
use super::span::Granule;
use crate::os::Os;
use crate::sync::{AtomicU32, Ordering};
use core::ptr::null_mut;

/// Granules that orphans may always keep: 2 MiB.
const KEPT_MIN: u32 = (2 * 1024 * 1024 / GRANULE_BYTES) as u32;

/// A heap that is left is not counted if at most so many granules may be free of which it is not known.
const UNSETTLED_MAX: u32 = KEPT_MIN / 8;

/// The account of what orphans keep, in granules: those that are free and may have memory behind them.
#[derive(Debug)]
pub(super) struct Kept {
    held: AtomicU32,
    earned: AtomicU32,
    /// The most, as what is missing to all that there could be: all zero is an account without a bound.
    less: AtomicU32,
}

impl Kept {
    pub const fn new() -> Self {
        Self { held: AtomicU32::new(0), earned: AtomicU32::new(0), less: AtomicU32::new(0) }
    }

    /// Bounds what is taken in from now on, in bytes.
    pub(super) fn set_most(&self, bytes: usize) {
        let granules = u32::try_from(bytes / GRANULE_BYTES).unwrap_or(u32::MAX);
        self.less.store(u32::MAX - granules, Ordering::Relaxed);
    }

    /// Whether so much may be kept; it is charged then.
    // Relaxed, here and below: numbers that order nothing.
    pub(super) fn take_in(&self, charge: u32) -> bool {
        let earned = self.earned.load(Ordering::Relaxed);
        self.take_in_below(earned.saturating_add(KEPT_MIN), charge)
    }

    fn take_in_below(&self, limit: u32, charge: u32) -> bool {
        let most = limit.min(u32::MAX - self.less.load(Ordering::Relaxed));
        let add = |held: u32| held.checked_add(charge).filter(|sum| *sum <= most);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    fn let_go(&self, charge: u32) {
        self.held.fetch_sub(charge, Ordering::Relaxed);
    }

    /// What is charged.
    #[cfg(test)]
    pub(super) fn held(&self) -> u32 {
        self.held.load(Ordering::Relaxed)
    }

    fn earn(&self, charge: u32) {
        let add = |earned: u32| earned.checked_add(charge);
        let _ = self.earned.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

/// What a heap remembers of its thread's end, in granules. All zero: there was none.
#[derive(Debug, Clone, Copy)]
pub struct Left {
    /// What [`Kept`] is charged, since the heap is an orphan that kept its memory, or was.
    kept: Granule,
    /// What the heap held when it gave memory back instead, how much that was, and what remained.
    held: Granule,
    given: Granule,
    remained: Granule,
}

impl Left {
    /// There was no end.
    pub(super) const NONE: Self = Self { kept: 0, held: 0, given: 0, remained: 0 };

    /// Charges an orphan that kept its memory for more of it. `false` if it may not keep that. One of which
    /// nothing is in use any more has no part in what was earned: that was for threads to come.
    pub(super) fn keep_more(&mut self, account: &Kept, charge: u32, in_use: bool) -> bool {
        let keeps = self.kept > 0
            && match in_use {
                true => account.take_in(charge),
                false => account.take_in_below(KEPT_MIN, charge),
            };
        self.kept += if keeps { charge } else { 0 };
        keeps
    }

    /// Has an orphan be charged for no more than so much.
    pub(super) fn keep_less(&mut self, account: &Kept, charge: u32) {
        if self.kept > charge {
            account.let_go(self.kept - charge);
            self.kept = charge;
        }
    }

    /// Notes that an orphan gave memory back: how much it held before, and what remained.
    pub(super) fn gave_back(&mut self, held: Granule, remained: Granule) {
        if remained < held {
            self.held = self.held.max(held);
            self.given += held - remained;
            self.remained = remained;
        }
    }
}

impl<O: Os> Heap<O> {
    /// What an orphan kept is charged until its next thread uses it, or ends: a thread that sleeps gives nothing back either.
    #[inline]
    pub(super) fn charge_what_is_free(&mut self) {
        if self.left.kept > self.free_dirty {
            let account: *const Kept = &raw const self.region().kept;
            // SAFETY: the region outlives its heaps.
            self.left.keep_less(unsafe { &*account }, self.free_dirty);
        }
    }
}

impl<O: Os> Region<O> {
    /// A heap whose thread has ended, for the calling thread.
    pub(super) fn adopt(&self) -> Option<*mut u8> {
        self.adopt_above(Rank::LOWEST)
    }

    fn adopt_above(&self, least: Rank) -> Option<*mut u8> {
        let slots = self.heaps();
        let mut below = Rank::HIGHEST;
        while let Some((index, rank)) = self.orphans.take(least, below, slots) {
            if let Some(slot) = self.adopt_slot(index) {
                return Some(slot);
            }
            // Somebody who frees into an orphan has it for a moment; another one serves as well.
            self.orphans.put_back(index, rank);
            below = rank;
        }
        None
    }

    fn adopt_slot(&self, index: u32) -> Option<*mut u8> {
        let slot = self.slot(index)?;
        // SAFETY: a slot that waited is ready; once adopted, its heap is ours.
        unsafe {
            let heap = Self::heap_at(slot);
            if !(*Self::header_at(slot)).mailbox.adopt() {
                return None;
            }
            (*heap).after_fork();
            (*heap).charge_what_is_free();
        }
        Some(slot)
    }

    /// Makes a heap an orphan.
    ///
    /// # Safety
    /// The calling thread has the heap, which is in no chain, and does not use it afterwards.
    pub(super) unsafe fn leave(&self, heap: *mut Heap<O>) {
        // SAFETY: the caller's.
        let this = unsafe { &mut *heap };
        this.settled = false;
        this.change(|heap| {
            heap.keep_all_mail();
            heap.release_emptied();
        });
        let held = this.dirty_granules();
        self.kept.let_go(core::mem::take(&mut this.left.kept));
        let last = this.left;
        if last.given > 0 && held.saturating_sub(last.remained) >= last.given.div_ceil(2) {
            self.kept.earn(last.held);
        }
        // Where few may be free they are charged as if they were: to know it takes a look at all that is.
        // One at least, which tells that the heap keeps what it has.
        let unsettled = this.unsettled();
        let mut charge = (this.free_dirty + unsettled).max(1);
        let mut keeps = unsettled <= UNSETTLED_MAX && self.kept.take_in(charge);
        if !keeps {
            this.change(Heap::settle_down);
            charge = this.free_dirty.max(1);
            keeps = self.kept.take_in(charge);
        }
        if keeps {
            this.left = Left { kept: charge, ..Left::NONE };
            // What is free already is not given back because a little more arrives.
            this.stuck = this.free_dirty;
            // SAFETY: the caller's.
            unsafe { self.abandon(heap, true) };
        } else {
            let given = (this.purge() / GRANULE_BYTES) as Granule;
            this.left = Left { kept: 0, held, given, remained: this.dirty_granules() };
            // SAFETY: the caller's.
            unsafe { self.abandon(heap, false) };
        }
    }

    /// # Safety
    /// As for [`Region::leave`].
    #[inline(never)]
    unsafe fn abandon(&self, heap: *mut Heap<O>, is_warm: bool) {
        // SAFETY: the calling thread has the heap; `abandon` runs the closure before it lets go. The
        // header outlives all.
        unsafe {
            let slot = (*heap).slot();
            let mut free = (*heap).free_dirty;
            let settle = |mail| {
                (*heap).settle_orphan(mail);
                free = (*heap).free_dirty;
            };
            (*Self::header_at(slot)).mailbox.abandon(settle);
            self.orphans.put(self.index_of(slot), is_warm, free);
        }
    }

    /// Gives back what orphans have kept. Returns bytes.
    pub(super) fn purge_kept(&self) -> usize {
        let mut bytes = 0;
        self.visit_kept(false, |heap| {
            bytes += heap.purge();
            self.kept.let_go(core::mem::take(&mut heap.left.kept));
        });
        bytes
    }

    /// Sorts what orphans have kept, so that it counts as free.
    pub(super) fn sort_kept(&self) {
        self.visit_kept(true, |heap| {
            heap.change(Heap::sort);
            let charge = heap.free_dirty.max(1);
            self.kept.held.fetch_add(charge, Ordering::Relaxed);
            self.kept.let_go(core::mem::replace(&mut heap.left.kept, charge));
            heap.stuck = heap.free_dirty;
        });
    }

    /// Has each heap that kept its memory for a moment, and leaves it warm or cold.
    fn visit_kept(&self, stays_warm: bool, mut visit: impl FnMut(&mut Heap<O>)) {
        let mut chain: *mut Heap<O> = null_mut();
        while let Some(slot) = self.adopt_above(Rank::COLD) {
            let heap = Self::heap_at(slot);
            // SAFETY: adopted just now.
            unsafe { (*heap).next = chain };
            chain = heap;
        }
        // The last one adopted is left first, so that the order stays.
        while !chain.is_null() {
            // SAFETY: the heaps of the chain are ours.
            unsafe {
                let heap = chain;
                visit(&mut *heap);
                chain = core::mem::replace(&mut (*heap).next, null_mut());
                self.abandon(heap, stays_warm);
            }
        }
    }

    /// In a fork child, whose one thread has all orphans to itself: what was kept is as in the parent.
    pub(super) fn count_orphan(&self, slot: *mut u8) {
        // SAFETY: the slot is ready, and its heap is nobody's.
        let heap = unsafe { &*Self::heap_at(slot) };
        let kept = heap.left.kept;
        self.kept.held.fetch_add(kept, Ordering::Relaxed);
        self.orphans.put(self.index_of(slot), kept > 0, heap.free_dirty);
    }

    /// In a fork child, before [`Region::count_orphan`] is called for each.
    pub(super) fn forget_orphans(&self) {
        self.orphans.clear();
        self.kept.held.store(0, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_an_orphan_gave_back_is_charged_no_more() {
        let account = Kept::new();
        assert!(account.take_in(KEPT_MIN - 8));
        let mut left = Left { kept: KEPT_MIN - 8, ..Left::NONE };
        assert!(!left.keep_more(&account, 9, true));
        left.keep_less(&account, 1);
        assert!(left.keep_more(&account, KEPT_MIN - 1, true));
        assert!(!account.take_in(1));
        left.keep_less(&account, 2 * KEPT_MIN);
        assert_eq!(left.kept, KEPT_MIN, "never more");
    }
}
