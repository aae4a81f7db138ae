//! The slow paths of a heap: filling a bin, and sorting free objects back into their spans.
//!
//! A bin is one list of free objects from any spans, last in, first out, and nothing counts its
//! length: that keeps the fast paths short. The price is that nobody knows when a span has become
//! empty, until the bins are *sorted*: every free object goes back to its span's own list, and spans
//! that are free altogether give their granules back for any bin. Sorting happens when the heap would
//! otherwise have to grow, at most once for every eighth that it grows by, so its cost is bounded by
//! the growth that it avoids. Only a heap that cannot grow at all sorts whenever a bin is empty.
//!
//! Sorting also checks every object: one that is not the start of a slot is a corruption that aborts
//! the process. One that is free twice makes a span's list a circle, which is found before the list
//! or the span is used again.

use super::bin::{Bin, PROMPT, QUARANTINE};
use super::granules::granule_at;
use super::heap::Heap;
use super::layout::GRANULES_PER_BLOCK;
use super::mailbox::Link;
use super::outbox::open;
use super::span::{FreeObject, Granule, Span};
use crate::fatal::corruption;
use crate::object::FreeFault;
use crate::os::Os;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{Ordering, compiler_fence};

/// An object from a slow path.
pub(super) struct Fresh {
    pub object: NonNull<u8>,
    /// It reads as zero.
    pub zero: bool,
}

/// Posted objects that a refill reads before it looks whether its bin has one: so few that they are
/// still in the nearest cache when they are allocated.
const MAIL_AT_ONCE: usize = 1;

/// A heap grows by this many granules (256 KiB) at least between two times that it is sorted.
const GROWTH_MIN: Granule = GRANULES_PER_BLOCK as Granule;

/// Granules that a heap of this many may add before it sorts again.
pub(super) const fn growth_allowed(granules: Granule) -> Granule {
    let eighth = granules / 8;
    if eighth > GROWTH_MIN { eighth } else { GROWTH_MIN }
}

impl<O: Os> Heap<O> {
    /// Allocates from a bin that is empty, filling it by the way.
    #[cold]
    #[inline(never)]
    pub(super) fn refill(&mut self, bin: Bin) -> Option<Fresh> {
        self.change(|heap| heap.refill_unguarded(bin))
    }

    fn refill_unguarded(&mut self, bin: Bin) -> Option<Fresh> {
        let k = bin.index();
        if self.mail.is_null() && self.header().mailbox.has_mail() {
            self.fetch_mail();
        }
        while !self.mail.is_null() {
            self.keep_mail(MAIL_AT_ONCE);
            if let Some(object) = self.pop(k) {
                return Some(object);
            }
        }
        if let Some(object) = self.take_prompt(bin) {
            return Some(object);
        }
        let mut sorted = false;
        loop {
            if let Some(start) = granule_at(self.listed[k]) {
                self.take_listed(k, start);
                return self.pop(k);
            }
            if let Some(start) = granule_at(self.carving[k]) {
                return Some(self.carve(k, start));
            }
            if let Some(start) = self.span_in_known_blocks(bin) {
                self.carving[k] = start + 1;
                continue;
            }
            let block = GRANULES_PER_BLOCK as Granule;
            if self.growth_left >= block && self.add_block().is_some() {
                self.growth_left -= block;
                continue;
            }
            // Sort, whether by plan or because there is nothing more to be had.
            if sorted {
                return None;
            }
            self.sort();
            self.growth_left = growth_allowed(self.granules);
            sorted = true;
        }
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

    /// Returns the object that was freed last, if it is of `bin`, and else sorts what is freed
    /// promptly, so that its granules can be had.
    fn take_prompt(&mut self, bin: Bin) -> Option<Fresh> {
        let last = NonNull::new(self.bins[usize::from(PROMPT)])?;
        let granule = self.granule_of(last.as_ptr());
        // SAFETY: an object in a list is of a span of ours.
        let of = unsafe {
            let back = (*self.span(granule)).back;
            (*self.span(granule - Granule::from(back))).bin
        };
        if usize::from(of) == bin.index() {
            return self.pop(usize::from(PROMPT));
        }
        self.sort_list(PROMPT);
        None
    }

    fn pop(&mut self, k: usize) -> Option<Fresh> {
        // SAFETY: `&mut self` is the heap.
        let object = unsafe { Self::take(self, k) };
        NonNull::new(object).map(|object| Fresh { object: object.cast(), zero: false })
    }

    /// Puts the free objects of a listed span into its bin.
    fn take_listed(&mut self, k: usize, start: Granule) {
        self.unlist(start);
        self.check_free_list(start);
        debug_assert!(self.bins[k].is_null());
        // SAFETY: a listed span is a span of ours.
        let span = unsafe { &mut *self.span(start) };
        self.bins[k] = span.free;
        span.free = null_mut();
        span.free_count = 0;
    }

    /// Aborts if a span's list of free objects is not what its count says: an object that was freed
    /// twice makes it a circle. Checked before the objects, or the span's granules, are used again.
    fn check_free_list(&self, start: Granule) {
        // SAFETY: callers pass the start of a span of ours.
        let (mut object, count, bin) = unsafe {
            let span: *const Span = self.span(start);
            ((*span).free, (*span).free_count, (*span).bin)
        };
        let bytes = Bin::new(bin).map_or(0, Bin::span_granules) << super::layout::GRANULE_SHIFT;
        for _ in 0..count {
            let within = object.addr().wrapping_sub(self.granule_start(start).addr());
            if within >= bytes || !within.is_multiple_of(8) {
                corruption("free list damaged by a write to freed memory", object.addr());
            }
            // SAFETY: an address in the span, which is committed memory.
            object = unsafe { FreeObject::next(object) };
        }
        if !object.is_null() {
            double_free(object);
        }
    }

    /// Makes new objects of the span at the bottom of its untouched part: one for the caller and some
    /// for the bin, as many as were made before but not beyond the page that is touched anyway.
    fn carve(&mut self, k: usize, start: Granule) -> Fresh {
        // SAFETY: a span that is carved is a span of ours.
        let span = unsafe { &mut *self.span(start) };
        let size = Bin::new(span.bin).map_or(1, Bin::size);
        let base = self.granule_start(start);
        let first = span.carved as usize;
        let offset = first * size;
        let page = self.region().os().page_bytes();
        let on_page = (page - offset % page).div_ceil(size);
        let room = (span.capacity as usize) - first;
        let count = on_page.min(first.max(8)).min(room).max(1);
        if span.fresh {
            self.touched += count * size;
            let end = base.addr() + span.capacity as usize * size;
            self.populate_ahead(base.wrapping_add(offset), offset, size, end);
        }
        let mut list = null_mut();
        for i in (1..count).rev() {
            // SAFETY: `first + i < capacity`, so the slot lies in the span, and nobody has it.
            unsafe {
                let object = base.add((first + i) * size).cast::<FreeObject>();
                FreeObject::set_next(object, list);
                list = object;
            }
        }
        debug_assert!(self.bins[k].is_null());
        self.bins[k] = list;
        span.carved += count as u16;
        if span.carved == span.capacity {
            self.carving[k] = 0;
        }
        // SAFETY: slot `first` lies in the span; the base of a granule is not null.
        let object = unsafe { NonNull::new_unchecked(base.add(offset)) };
        Fresh { object, zero: span.fresh }
    }

    /// Takes what was posted, to be read little by little; what was taken before has been read.
    fn fetch_mail(&mut self) {
        self.mail = self.header().mailbox.take();
        self.mail_read = 0;
    }

    /// Puts posted objects into their bins: all that wait, or the letters with the first `most`.
    /// `region` checked each of them when it was freed.
    #[inline(never)]
    fn keep_mail(&mut self, most: usize) {
        self.read_mail(most, |heap, object| {
            let k = heap.table(heap.granule_of(object)).load(crate::sync::Ordering::Relaxed);
            let k = usize::from(k);
            // SAFETY: a free slot of ours.
            unsafe { FreeObject::set_next(object, heap.bins[k]) };
            heap.bins[k] = object;
        });
    }

    /// Puts everything that was posted into its bin.
    pub(super) fn keep_all_mail(&mut self) {
        self.keep_mail(usize::MAX);
        self.fetch_mail();
        self.keep_mail(usize::MAX);
    }

    /// Hands on the objects that letters name, as far as the letter with the object number `most`.
    /// Whoever wrote to freed memory may have changed them, so nothing outside the heap's granules
    /// is touched.
    fn read_mail(&mut self, most: usize, mut keep: impl FnMut(&mut Self, *mut FreeObject)) {
        let mut read = 0;
        while !self.mail.is_null() && read < most {
            let own = self.posted(self.mail.addr().wrapping_sub(self.slot().addr()));
            // SAFETY: an object of ours, taken from the mailbox.
            let (next, enclosed) = unsafe { open(self.slot(), own) };
            for offset in enclosed {
                let object = self.posted(offset as usize * 8);
                keep(self, object);
                read += 1;
            }
            keep(self, own);
            read += 1;
            self.mail = next;
            if self.mail_read + read > self.objects_at_most() {
                double_free(own);
            }
        }
        self.mail_read += read;
        self.header().remote_frees.add(read as u64);
    }

    /// The posted object at this distance from the slot's start.
    fn posted(&self, offset: usize) -> *mut FreeObject {
        let object = self.slot().wrapping_add(offset);
        let within = offset.wrapping_sub(super::layout::OBJECTS_OFFSET);
        if within >> super::layout::GRANULE_SHIFT >= self.granules as usize
            || !within.is_multiple_of(8)
        {
            corruption("free list damaged by a write to freed memory", object.addr());
        }
        object.cast()
    }

    /// More objects than this cannot be free: a longer list is a circle.
    fn objects_at_most(&self) -> usize {
        (self.granules as usize) << (super::layout::GRANULE_SHIFT - 3)
    }

    /// Sorts every free object back into its span, and releases spans that are free altogether.
    #[inline(never)]
    pub(super) fn sort(&mut self) {
        self.keep_all_mail();
        if let Some(object) = NonNull::new(self.bins[QUARANTINE as usize]) {
            double_free(object.as_ptr());
        }
        for k in 1..super::bin::BINS as u8 {
            self.sort_list(k);
        }
        self.sort_list(PROMPT);
        self.order_blocks();
    }

    #[inline(never)]
    fn sort_list(&mut self, k: u8) {
        let mut list = core::mem::replace(&mut self.bins[usize::from(k)], null_mut());
        while !list.is_null() {
            // SAFETY: an object in a bin is free memory of ours, unless the program freed it twice
            // or wrote to it; `sort_one` finds out.
            let next = unsafe { FreeObject::next(list) };
            self.sort_one(k, list);
            list = next;
        }
    }

    /// Puts an object that came from list `k` back into its span.
    #[inline(never)]
    fn sort_one(&mut self, k: u8, object: *mut FreeObject) {
        let base = self.granule_start(0).addr();
        let offset = object.addr().wrapping_sub(base);
        if offset >> super::layout::GRANULE_SHIFT >= self.granules as usize {
            corruption("free list damaged by a write to freed memory", object.addr());
        }
        let granule = self.granule_of(object);
        // SAFETY: the granule is below the limit, so its entry and its span's are committed.
        let start = unsafe { granule - Granule::from((*self.span(granule)).back) };
        // SAFETY: as above.
        let span = unsafe { &mut *self.span(start) };
        let Some(bin) = Bin::new(span.bin) else { double_free(object) };
        if bin.list() != k && bin.index() != usize::from(k) {
            corruption("double free, or a sized free of another size", object.addr());
        }
        let k = bin.index();
        let within = object.addr() - self.granule_start(start).addr();
        if !within.is_multiple_of(bin.size()) || within / bin.size() >= usize::from(span.carved) {
            corruption(FreeFault::Misaligned.message(), object.addr());
        }
        // SAFETY: a free slot of the span.
        unsafe { FreeObject::set_next(object, span.free) };
        span.free = object;
        span.free_count += 1;
        if span.free_count > span.carved {
            double_free(object);
        }
        let (is_free, listed) = (span.free_count == span.carved, span.listed);
        if is_free {
            if self.carving[k] == start + 1 {
                self.carving[k] = 0;
            }
            if listed {
                self.unlist(start);
            }
            self.check_free_list(start);
            self.release_span(start);
        } else if !listed {
            self.list(k, start);
        }
    }

    fn list(&mut self, k: usize, start: Granule) {
        let head = self.listed[k];
        // SAFETY: spans of ours.
        unsafe {
            let span: *mut Span = self.span(start);
            (*span).listed = true;
            (*span).next = head;
            (*span).previous = 0;
            if let Some(next) = granule_at(head) {
                (*self.span(next)).previous = start + 1;
            }
        }
        self.listed[k] = start + 1;
    }

    fn unlist(&mut self, start: Granule) {
        // SAFETY: spans of ours.
        unsafe {
            let span: *mut Span = self.span(start);
            (*span).listed = false;
            let (next, previous) = ((*span).next, (*span).previous);
            match granule_at(previous) {
                Some(g) => (*self.span(g)).next = next,
                None => self.listed[usize::from((*span).bin)] = next,
            }
            if let Some(g) = granule_at(next) {
                (*self.span(g)).previous = previous;
            }
        }
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

    /// Empties the mailbox of a heap that has no thread, given what was posted. Each object goes to
    /// its span at once: nobody allocates here, so nothing else would sort it.
    #[inline(never)]
    pub(super) fn settle_orphan(&mut self, mail: *mut FreeObject) {
        self.change(|heap| {
            // The thread's own mail was kept when it ended.
            (heap.mail, heap.mail_read) = (mail, 0);
            heap.read_mail(usize::MAX, |heap, object| {
                let bin = heap.table(heap.granule_of(object)).load(crate::sync::Ordering::Relaxed);
                heap.sort_one(bin, object);
            });
            // One call a block's worth: giving back every granule by itself would be dear.
            let given_up = heap.free_dirty.saturating_sub(heap.stuck);
            let enough = if heap.spans == 0 { 1 } else { GRANULES_PER_BLOCK as u32 };
            if given_up >= enough {
                heap.decommit_free();
            }
        });
    }
}

#[cold]
fn double_free(object: *mut FreeObject) -> ! {
    corruption(FreeFault::NotAllocated.message(), object.addr())
}
