//! Serving a bin whose list is empty, and what a heap does before it grows.
//!
//! Free objects are in the list of the granule in which they start. A bin is served from one granule until
//! its list is empty; then the bin goes on with the granule that has waited longest in its *ring* (see
//! `lists`): so each has gathered what it could, and what is allocated together lies together. The empty one
//! goes to the ring's end; if nothing was freed of it when its turn comes, it is closed and waits no more. If none
//! waits, new objects are made, page by page from the bottom of a span up. So they are where a granule has
//! become free altogether, too: its list would hand them out in the order of their frees, and every one
//! of them from memory that has left the caches.
//!
//! A heap grows when no granule is free. Before that it is *sorted*: only the lists that are served from can
//! hide a granule that is free altogether, so these are counted. That is done before each block as long as
//! it yields one, else before the heap grows by another eighth. Only a heap that cannot grow at all sorts
//! whenever a bin has nothing.

use super::bin::Bin;
use super::granules::granule_at;
use super::heap::Heap;
use super::layout::{GRANULE_BYTES, GRANULES_PER_BLOCK};
use super::mailbox::Link;
use super::span::{FreeObject, Granule};
use crate::os::Os;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{Ordering, compiler_fence};

/// An object from a slow path.
pub(super) struct Fresh {
    pub object: NonNull<u8>,
    /// It reads as zero.
    pub zero: bool,
}

/// A heap grows by this many granules (256 KiB) at least between two times that it is sorted.
const GROWTH_MIN: Granule = GRANULES_PER_BLOCK as Granule;

/// Granules that a heap of this many may add before it sorts again.
pub(super) const fn growth_allowed(granules: Granule) -> Granule {
    let eighth = granules / 8;
    if eighth > GROWTH_MIN { eighth } else { GROWTH_MIN }
}

impl<O: Os> Heap<O> {
    /// Takes an object where that needs nothing of the system: of the bin's list, of what waits for the bin, or of memory that
    /// was used before. Null if there is none, or mail to be read.
    ///
    /// # Safety
    /// The calling thread has the heap, or it is the empty heap of threads without one.
    #[inline(never)]
    pub unsafe fn take_at_hand(this: *mut Self, bin: Bin) -> *mut u8 {
        let k = bin.index();
        // SAFETY: the caller's. The empty heap has nothing of all this, so nothing of it is changed.
        let found = unsafe {
            let listed = Self::take(this, bin.place());
            if !listed.is_null() {
                return listed.cast();
            }
            let none = (*this).ring[k] == 0 && (*this).carving[k] == 0;
            if none && !(bin.is_big() && (*this).free_dirty != 0) || (*this).has_mail() {
                return null_mut();
            }
            (*this)
                .change(|heap| heap.serve_from_waiting(bin).or_else(|| heap.serve_from_used(bin)))
        };
        found.map_or(null_mut(), |fresh| fresh.object.as_ptr())
    }

    /// An object that is made of memory that was used before. Only big ones have a span more for that, as one of others is
    /// worth what borrowing spares.
    fn serve_from_used(&mut self, bin: Bin) -> Option<Fresh> {
        let k = bin.index();
        if bin.is_big() && self.carving[k] == 0 {
            self.carving[k] = self.span_of_used(bin)? + 1;
        }
        let start = granule_at(self.carving[k]).filter(|_| self.has_used_room(k))?;
        Some(self.carve(bin, start))
    }

    /// An object of what waits for the bin, if something does that is worth going on with.
    fn serve_from_waiting(&mut self, bin: Bin) -> Option<Fresh> {
        let k = bin.index();
        if bin.is_big() {
            // The one whose memory was used last.
            return granule_at(self.ring[k]).map(|last| self.take_big(bin, last));
        }
        let first = self.first_waiting(bin)?;
        if self.is_ripe(first) || !self.has_used_room(k) {
            return self.serve_waiting(bin, first);
        }
        None
    }

    /// Allocates from a bin that is empty, filling it by the way. An object of a larger bin serves too if objects of
    /// its size lie at multiples of `align`.
    #[cold]
    #[inline(never)]
    pub(super) fn refill(&mut self, bin: Bin, align: usize) -> Option<Fresh> {
        self.change(|heap| heap.refill_unguarded(bin, align))
    }

    fn refill_unguarded(&mut self, bin: Bin, align: usize) -> Option<Fresh> {
        let k = bin.index();
        if let Some(object) = self.serve_from_mail(bin) {
            return Some(object);
        }
        let mut sorted = false;
        loop {
            if let Some(object) = self.serve_from_waiting(bin) {
                return Some(object);
            }
            if let Some(object) = self.borrow(bin, align) {
                return Some(object);
            }
            if let Some(start) = granule_at(self.carving[k]) {
                return Some(self.carve(bin, start));
            }
            self.release_emptied();
            if let Some(start) = self.span_in_known_blocks(bin) {
                self.carving[k] = start + 1;
                continue;
            }
            let block = GRANULES_PER_BLOCK as Granule;
            if (sorted || self.growth_left >= block) && self.add_block().is_some() {
                self.growth_left = self.growth_left.saturating_sub(block);
                continue;
            }
            // Sort, whether by plan or because there is nothing more to be had.
            if sorted {
                return None;
            }
            self.sort();
            // What has yielded so much is worth doing again before the next block.
            let fruitful = self.free_dirty >= block;
            self.growth_left = if fruitful { 0 } else { growth_allowed(self.granules) };
            sorted = true;
            // Mail that arrived meanwhile may have filled the list.
            if let Some(object) = self.pop(bin) {
                return Some(object);
            }
        }
    }

    /// Whether objects of the bin can be made of memory that was used before.
    fn has_used_room(&self, k: usize) -> bool {
        // SAFETY: the start of a span of ours.
        granule_at(self.carving[k]).is_some_and(|start| unsafe { !(*self.span(start)).fresh })
    }

    /// Goes on with a granule that waited.
    pub(super) fn serve_waiting(&mut self, bin: Bin, granule: Granule) -> Option<Fresh> {
        let allocated = self.leave_waiting(bin, granule);
        self.serve_from(bin, granule, allocated);
        self.pop(bin)
    }

    /// Runs a change of more than one step. A fork child that finds `changing` set in another
    /// thread's heap leaves that heap alone.
    pub(super) fn change<R>(&mut self, f: impl FnOnce(&mut Self) -> R) -> R {
        // Relaxed, and fences for the compiler alone: only a fork looks at it, which sees this
        // thread's stores in program order.
        self.header().changing.store(true, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        let result = f(self);
        compiler_fence(Ordering::SeqCst);
        self.header().changing.store(false, Ordering::Relaxed);
        result
    }

    /// Takes an object from the list that the bin is served from.
    pub(super) fn pop(&mut self, bin: Bin) -> Option<Fresh> {
        // SAFETY: `&mut self` is the heap.
        let object = unsafe { Self::take(self, bin.place()) };
        NonNull::new(object).map(|object| Fresh { object: object.cast(), zero: false })
    }

    /// Makes new objects of the span at the bottom of its untouched part: one for the caller and some
    /// for the list. Of fresh memory as many as were made before, but not beyond the page that is
    /// touched anyway; of memory that was used before four times as many. Big objects are made one at
    /// a time.
    fn carve(&mut self, bin: Bin, start: Granule) -> Fresh {
        // SAFETY: a span that is carved is a span of ours.
        let span = unsafe { &mut *self.span(start) };
        let (k, size, capacity) = (bin.index(), bin.size(), bin.span_objects());
        let base = self.granule_start(start);
        let first = span.carved as usize;
        let offset = first * size;
        let (unit, most) = match span.fresh {
            true => (self.region().os().page_bytes().min(GRANULE_BYTES), first.max(8)),
            false => (GRANULE_BYTES, first.max(8) * 4),
        };
        let in_unit = ((unit - offset % unit) as u32).div_ceil(size as u32) as usize;
        let count = if bin.is_big() { 1 } else { in_unit.min(most).min(capacity - first) };
        if span.fresh {
            self.borrowed[k] = 0;
            self.touched += count * size;
            self.big += if bin.is_big() { size } else { 0 };
            let end = base.addr() + capacity * size;
            self.populate_ahead(base.wrapping_add(offset), offset, size, end);
        }
        span.carved += count as u16;
        if span.carved as usize == capacity {
            self.carving[k] = 0;
        }
        if !bin.is_big() {
            let granule = start + (offset / GRANULE_BYTES) as Granule;
            let allocated = self.leave_waiting(bin, granule);
            let others = base.wrapping_add(offset + size);
            // SAFETY: a granule of ours.
            unsafe {
                let list = self.list_of(granule);
                *list = Self::string_together(others, size, count - 1, *list);
                (*self.span(granule)).made += count as u16;
            }
            self.serve_from(bin, granule, allocated + count as u32);
        }
        // SAFETY: slot `first` lies in the span; the base of a granule is not null.
        let object = unsafe { NonNull::new_unchecked(base.add(offset)) };
        Fresh { object, zero: span.fresh }
    }

    /// A list of so many objects that lie side by side from `first` on, in this order, and then of `rest`.
    /// Nobody has them.
    fn string_together(
        first: *mut u8,
        size: usize,
        count: usize,
        rest: *mut FreeObject,
    ) -> *mut FreeObject {
        if count == 0 {
            return rest;
        }
        let last = first.wrapping_add((count - 1) * size);
        let mut object = first;
        // SAFETY: the caller's slots, which nobody has.
        unsafe {
            while object != last {
                let next = object.wrapping_add(size);
                FreeObject::set_next(object.cast(), next.cast());
                object = next;
            }
            FreeObject::set_next(last.cast(), rest);
        }
        first.cast()
    }

    /// Makes every number right, and finds the spans that are free altogether.
    #[inline(never)]
    pub(super) fn sort(&mut self) {
        self.keep_all_mail();
        self.release_emptied();
        for bin in Bin::all() {
            self.count_served(bin);
        }
        self.order_blocks();
    }

    /// Sorts, and gives the memory of everything that is free back to the system. Returns bytes.
    #[inline(never)]
    pub(super) fn purge(&mut self) -> usize {
        self.change(|heap| {
            heap.sort();
            heap.growth_left = growth_allowed(heap.granules);
            heap.decommit_free()
        })
    }
}
