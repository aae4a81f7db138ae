//! What backs a heap's memory: pages one by one, as the program touches them, or huge pages.
//!
//! A huge page costs the time of some thirty to a hundred small ones and replaces 512, but all of it
//! is resident from its first byte on. So a *chunk*, 2 MiB of a heap, gets one when the heap, were it
//! resident to the chunk's last byte, would not be larger than what the program has surely touched by
//! more than a bounded share, or once it is large ([`PagePolicy`]). The question is asked whenever a block is added: before
//! the chunk's first block the system is told in advance, later it is asked to collapse what is there.
//!
//! Must not know: objects, bins, lists.

use super::granules::Step;
use super::heap::Heap;
use super::layout::{GRANULE_SHIFT, GRANULES_PER_BLOCK, HUGE_BYTES, OBJECTS_OFFSET};
use super::span::Granule;
use crate::os::{HugePages, Os};
use crate::sync::{AtomicU8, AtomicUsize, Ordering};
use core::ptr::NonNull;

const GRANULES_PER_HUGE: Granule = (HUGE_BYTES >> GRANULE_SHIFT) as Granule;

/// When pages are backed by what. Set before the first allocation, or at any time for what comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PagePolicy {
    /// How much larger than what was touched a heap may become by huge pages, in percent of what was
    /// touched; 0: no huge pages. The default was chosen from the plot in `benches/results`.
    pub huge_waste: u8,
    /// From so many touched bytes on a heap gets huge pages however much larger they make it: what has
    /// grown so far goes on growing, and a chunk is a small part of it.
    pub huge_from: usize,
    /// Bytes that the process has resident besides its heap, about: they count as touched.
    pub process_bytes: usize,
    /// Bytes that each heap is known to touch, from an earlier run: they count as touched.
    pub footprint: usize,
    /// Pages that are populated at once where small pages are touched first: 1 leaves it to faults.
    pub populate: u8,
    /// Bytes that the heaps of ended threads may keep at most, all together; see `keep`.
    pub kept: usize,
}

impl PagePolicy {
    /// What is used when nothing is set.
    pub const DEFAULT: Self = Self {
        huge_waste: 25,
        huge_from: 6 << 20,
        process_bytes: 2 << 20,
        footprint: 0,
        populate: 1,
        kept: 1 << 40,
    };

    /// Whether a heap with `touched` bytes may be resident up to `end` bytes.
    fn allows(&self, end: usize, touched: usize) -> bool {
        let sure = touched.max(self.footprint) + self.process_bytes;
        self.huge_waste != 0
            && (touched >= self.huge_from
                || end + self.process_bytes <= sure + sure * usize::from(self.huge_waste) / 100)
    }
}

impl Default for PagePolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A [`PagePolicy`] that can be set while threads read it: each value by itself.
#[derive(Debug)]
pub(super) struct PolicyCell {
    huge_waste: AtomicU8,
    huge_from: AtomicUsize,
    process_bytes: AtomicUsize,
    footprint: AtomicUsize,
    populate: AtomicU8,
    kept: AtomicUsize,
}

// Relaxed throughout: each value is a hint of its own, and publishes nothing.
impl PolicyCell {
    pub(super) const fn new(policy: PagePolicy) -> Self {
        Self {
            huge_waste: AtomicU8::new(policy.huge_waste),
            huge_from: AtomicUsize::new(policy.huge_from),
            process_bytes: AtomicUsize::new(policy.process_bytes),
            footprint: AtomicUsize::new(policy.footprint),
            populate: AtomicU8::new(policy.populate),
            kept: AtomicUsize::new(policy.kept),
        }
    }

    pub(super) fn set(&self, policy: PagePolicy) {
        self.huge_waste.store(policy.huge_waste, Ordering::Relaxed);
        self.huge_from.store(policy.huge_from, Ordering::Relaxed);
        self.process_bytes.store(policy.process_bytes, Ordering::Relaxed);
        self.footprint.store(policy.footprint, Ordering::Relaxed);
        self.populate.store(policy.populate, Ordering::Relaxed);
        self.kept.store(policy.kept, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> PagePolicy {
        PagePolicy {
            huge_waste: self.huge_waste.load(Ordering::Relaxed),
            huge_from: self.huge_from.load(Ordering::Relaxed),
            process_bytes: self.process_bytes.load(Ordering::Relaxed),
            footprint: self.footprint.load(Ordering::Relaxed),
            populate: self.populate.load(Ordering::Relaxed),
            kept: self.kept.load(Ordering::Relaxed),
        }
    }
}

impl<O: Os> Heap<O> {
    /// Populates the next pages of a fresh span when its object of `size` bytes at `start`, `offset` bytes
    /// into the span, is the first on a page where that is due. `end` is the span's.
    #[inline]
    pub(super) fn populate_ahead(&self, start: *mut u8, offset: usize, size: usize, end: usize) {
        let policy = self.region().policy();
        if policy.populate <= 1 {
            return;
        }
        let os = self.region().os();
        let page = os.page_bytes();
        let pages = usize::from(policy.populate);
        let (at, within) = (offset / page, offset % page);
        if !at.is_multiple_of(pages) || within >= size {
            return;
        }
        let bytes = (end - (start.addr() - within)).min(pages * page).next_multiple_of(page);
        // SAFETY: a span is committed, and ends on a page or past the object that ends it.
        unsafe { os.populate(NonNull::new_unchecked(start.wrapping_sub(within)), bytes) };
    }

    /// Decides about the chunk of the block that starts at granule `first` and is to be added next.
    pub(super) fn back_block(&mut self, first: Granule) {
        if first < self.backed {
            return;
        }
        let chunk = first - first % GRANULES_PER_HUGE;
        let end = chunk + GRANULES_PER_HUGE;
        // Collapsing costs by what is to be copied: beyond the chunk's middle it does not pay.
        if first - chunk > GRANULES_PER_HUGE / 2 || end > self.granules_max {
            return;
        }
        let policy = self.region().policy();
        if !policy.allows((end as usize) << GRANULE_SHIFT, self.touched) {
            return;
        }
        let os = self.region().os();
        let advise = match os.huge_pages() {
            HugePages::Never => false,
            // The system uses them wherever a mapping covers 2 MiB, as it will.
            HugePages::Always => first == chunk,
            HugePages::Advised => true,
        };
        if !advise || !self.commit_for(end, Step::Exact) {
            self.backed = end;
            return;
        }
        self.backed = end;
        self.huge_end = end;
        self.mark_huge(chunk, first, true);
        let offset = OBJECTS_OFFSET + ((chunk as usize) << GRANULE_SHIFT);
        // SAFETY: the chunk lies in the slot and was committed just now.
        unsafe {
            let start = NonNull::new_unchecked(self.slot().add(offset));
            let os = self.region().os();
            if first == chunk {
                os.advise_huge(start, HUGE_BYTES);
            } else {
                os.collapse(start, HUGE_BYTES);
            }
        }
    }
}

impl<O: Os> Heap<O> {
    /// Memory was given back from the block at granule `first` on. A chunk of which only a part was is small pages from
    /// now on, since the system would fill the gaps of a huge page again; one of which all was, may be huge the next time.
    pub(super) fn settle_chunks(&mut self, first: Granule) {
        let os = self.region().os();
        if os.huge_pages() == HugePages::Never {
            return;
        }
        let lowest = first - first % GRANULES_PER_HUGE;
        for chunk in (lowest..self.granules).step_by(GRANULES_PER_HUGE as usize) {
            let end = chunk + GRANULES_PER_HUGE;
            let blocks = (chunk..end.min(self.granules)).step_by(GRANULES_PER_BLOCK);
            // SAFETY: the entry of a block below the limit.
            let huge = unsafe { (*self.span(chunk)).huge };
            let (mut clean, mut all) = (false, end <= self.granules);
            for first in blocks {
                let (free, dirty) = self.free_and_dirty(first);
                clean |= free & !dirty != 0;
                all &= free == u16::MAX && dirty == 0;
            }
            let offset = OBJECTS_OFFSET + ((chunk as usize) << GRANULE_SHIFT);
            // SAFETY: the chunk lies in the slot; it was committed to its end when it became huge, or lies below the limit.
            unsafe {
                let start = NonNull::new_unchecked(self.slot().add(offset));
                if huge && clean && !all {
                    os.refuse_huge(start, HUGE_BYTES);
                } else if !huge
                    && all
                    && self.region().policy().allows((end as usize) << GRANULE_SHIFT, self.touched)
                {
                    os.advise_huge(start, HUGE_BYTES);
                } else {
                    continue;
                }
            }
            self.mark_huge(chunk, end.min(self.granules), !huge);
        }
    }

    /// Notes whether the blocks from `chunk` to `end` are in a huge page now.
    fn mark_huge(&self, chunk: Granule, end: Granule, huge: bool) {
        for first in (chunk..end).step_by(GRANULES_PER_BLOCK) {
            // SAFETY: entries of blocks below the limit are committed.
            unsafe { (*self.span(first)).huge = huge };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::hal::Hal;
    use crate::os::{Fake, Huge};
    use crate::soft::bin::Bin;
    use crate::soft::process::Soft;
    use std::vec::Vec;

    const MIB: usize = 1 << 20;

    /// The chunks, by number, that became huge pages while a heap grew to 12 MiB of objects.
    fn grown(policy: PagePolicy, huge_pages: bool) -> Vec<(Huge, usize)> {
        let os = Fake::new();
        os.limit_reservations(64 * MIB);
        if huge_pages {
            os.offer_huge_pages();
        }
        let soft = Soft::new(os);
        soft.set_page_policy(policy);
        let heap = soft.attach().unwrap();
        let bin = Bin::for_request(MIB / 16, 16).unwrap();
        for _ in 0..12 * 16 {
            // SAFETY: attached to this test.
            unsafe { (*heap.as_ptr()).alloc(bin).unwrap() };
        }
        // SAFETY: attached above, not used afterwards.
        unsafe { soft.detach(heap) };
        let ranges = soft.region().os().huge_ranges();
        ranges.into_iter().map(|(how, at)| (how, (at - OBJECTS_OFFSET) / HUGE_BYTES)).collect()
    }

    #[test]
    fn chunks_are_collapsed_first_and_advised_once_that_wastes_little() {
        use Huge::{Advised, Collapsed};
        let got = grown(PagePolicy::DEFAULT, true);
        assert_eq!(got, [(Collapsed, 1), (Collapsed, 2), (Advised, 3), (Advised, 4), (Advised, 5)]);
        let known = PagePolicy { footprint: 8 * MIB, ..PagePolicy::DEFAULT };
        let got = grown(known, true);
        assert_eq!(got, (0..6).map(|chunk| (Advised, chunk)).collect::<Vec<_>>());
        assert_eq!(grown(PagePolicy { huge_waste: 0, ..known }, true), []);
        assert_eq!(grown(known, false), []);
    }

    #[test]
    fn a_small_heap_never_outgrows_what_was_touched_by_more_than_the_share() {
        let policy = PagePolicy::DEFAULT;
        // The first chunk of a small program never; the fourth as soon as three are full, and from then on all.
        assert!(!policy.allows(2 * MIB, 0));
        assert!(!policy.allows(4 * MIB, 2 * MIB));
        assert!(policy.allows(4 * MIB, 3 * MIB));
        assert!(!policy.allows(8 * MIB, 6 * MIB - 1));
        assert!(policy.allows(8 * MIB, 6 * MIB));
        assert!(!policy.allows(16 * MIB, 6 * MIB - 1));
        assert!(policy.allows(16 * MIB, 6 * MIB));
        let step = if cfg!(miri) { 31 * MIB } else { MIB / 8 };
        for touched in (0..200 * MIB).step_by(step) {
            for end in (touched..touched + 60 * MIB).step_by(step) {
                let resident = (end + policy.process_bytes) as f64;
                let least = (touched + policy.process_bytes) as f64;
                let large = touched >= policy.huge_from;
                assert_eq!(
                    policy.allows(end, touched),
                    large || resident <= 1.25 * least,
                    "{end} {touched}"
                );
            }
        }
    }

    #[test]
    fn a_chunk_is_small_pages_once_a_part_of_it_was_given_back() {
        use Huge::{Advised, Refused};
        let os = Fake::new();
        os.limit_reservations(64 * MIB);
        os.offer_huge_pages();
        let soft = Soft::new(os);
        let heap = soft.attach().unwrap();
        let bin = Bin::for_request(MIB / 16, 16).unwrap();
        // SAFETY: attached to this test; each object is freed once.
        let (alloc, free) = unsafe {
            (
                || (*heap.as_ptr()).alloc(bin).unwrap(),
                |object: NonNull<u8>| {
                    assert!(!Heap::give(heap.as_ptr(), object.as_ptr()));
                    assert_eq!(Heap::give_noticed(heap.as_ptr(), object.as_ptr()), Some(Ok(())));
                },
            )
        };
        let mut all: Vec<_> = (0..12 * 16).map(|_| alloc()).collect();
        all.sort();
        let since = |known: usize| soft.region().os().huge_ranges()[known..].to_vec();
        let chunk = |(how, at): (Huge, usize)| (how, (at - OBJECTS_OFFSET) / HUGE_BYTES);
        assert_eq!(since(0).len(), 5);
        // All of the chunk with the number 4, and one object of the next.
        all.splice(4 * 32..5 * 32 + 1, []).for_each(free);
        // SAFETY: attached above.
        unsafe { soft.purge(heap) };
        let got: Vec<_> = since(5).into_iter().map(chunk).collect();
        assert_eq!(got, [(Refused, 5)]);
        // SAFETY: as above.
        unsafe { soft.purge(heap) };
        assert_eq!(since(6), [], "once");
        all.splice(4 * 32.., []).for_each(free);
        // SAFETY: as above.
        unsafe { soft.purge(heap) };
        let got: Vec<_> = since(6).into_iter().map(chunk).collect();
        assert_eq!(got, [(Advised, 5)], "all of it is free");
        // SAFETY: attached above, not used afterwards.
        unsafe { soft.detach(heap) };
    }

    #[test]
    fn a_known_footprint_counts_as_touched_and_zero_waste_means_none() {
        let known = PagePolicy { footprint: 6 * MIB, ..PagePolicy::DEFAULT };
        assert!(known.allows(2 * MIB, 0) && known.allows(8 * MIB, 0) && !known.allows(10 * MIB, 0));
        let none = PagePolicy { huge_waste: 0, footprint: 1 << 40, ..PagePolicy::DEFAULT };
        assert!(!none.allows(2 * MIB, 100 * MIB));
    }
}
