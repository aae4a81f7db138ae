//! What backs a heap's memory: pages one by one, as the program touches them, or huge pages.
//!
//! A huge page costs the time of some thirty to a hundred small ones and replaces 512, but all of it
//! is resident from its first byte on. So a *chunk*, 2 MiB of a heap, gets one when part of it is in use and what
//! it would waste is a bounded share of what the process has resident, the smaller the younger the heap, or once
//! the heap is large ([`PagePolicy`]). The question is asked whenever a block is added: before
//! the chunk's first block the system is told in advance, later it is asked to collapse what is there.
//!
//! Must not know: objects, bins, lists.

use super::granules::Step;
use super::heap::Heap;
use super::layout::{
    BLOCK_BYTES, GRANULE_BYTES, GRANULE_SHIFT, GRANULES_PER_BLOCK, HUGE_BYTES, OBJECTS_OFFSET,
};
use super::span::Granule;
use crate::os::{HugePages, Os};
use crate::sync::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use core::ptr::NonNull;

const GRANULES_PER_HUGE: Granule = (HUGE_BYTES >> GRANULE_SHIFT) as Granule;
/// The steps in which a young heap is trusted with more.
const AGES_BYTES: usize = 64 * 1024;
/// Where big objects are more than this share of what a heap touched, it is seen whether they are touched: …
const BIG_SHARE: usize = 4;
/// … in so many blocks before the one that is added, …
const LOOKED_AT: usize = 2;
/// … unless no more than this share is touched, as what waits to be filled; …
const UNUSED_SHARE: usize = 128;
/// … and after so many granules again, for which a chunk begins with small pages.
const LOOK_EVERY: Granule = 16 * GRANULES_PER_HUGE;
/// Pages of a block, at most.
const PAGES_MOST: usize = BLOCK_BYTES / 4096;
/// What a process is taken to have resident besides a heap where the system does not tell.
const BESIDES: usize = 2 << 20;

/// When pages are backed by what. Set before the first allocation, or at any time for what comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PagePolicy {
    /// How much larger a heap may become by huge pages, in percent of what the process has resident; with several
    /// heaps, of a heap's share of that; before 2 MiB of a heap are in use, as much less as they are less, since most
    /// heaps stay small. 0: no huge pages. The default was chosen from the plot in `benches/results`.
    pub huge_waste: u8,
    /// How much of a chunk must be in use before it becomes a huge page, in percent: programs that end soon after
    /// a chunk began are spared its rest.
    pub huge_after: u8,
    /// From so many touched bytes on a heap gets huge pages at once and however much larger they make it: what has
    /// grown so far goes on growing, and a chunk is a small part of it.
    pub huge_from: usize,
    /// Bytes that the process's first heap is known to touch, from an earlier run: they count as touched.
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
        huge_after: 25,
        huge_from: 6 << 20,
        footprint: 0,
        populate: 1,
        kept: 1 << 40,
    };

    /// Whether the chunk that ends at byte `end` of a heap may become a huge page when the heap is in use up to `used`
    /// and `touched` bytes of it were touched for certain. If that decides, `has` is asked whether the process has
    /// so many bytes resident for each heap.
    fn allows(
        &self,
        end: usize,
        used: usize,
        touched: usize,
        has: impl FnOnce(usize) -> bool,
    ) -> bool {
        if self.huge_waste == 0 {
            return false;
        }
        if touched >= self.huge_from {
            return true;
        }
        let used = used.max(self.footprint);
        let part = used.saturating_sub(end - HUGE_BYTES);
        let waste = end.saturating_sub(touched.max(self.footprint));
        let age = used.min(HUGE_BYTES) / AGES_BYTES;
        let percent = usize::from(self.huge_waste) * age;
        percent > 0
            && part * 100 >= usize::from(self.huge_after) * HUGE_BYTES
            && (waste == 0 || has((waste * 100).div_ceil(percent) * (HUGE_BYTES / AGES_BYTES)))
    }
}

impl Default for PagePolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A [`PagePolicy`] that can be set while threads read it: each value by itself. All zero is the default, so that the process's
/// region takes no room in a shared object.
#[derive(Debug)]
pub(super) struct PolicyCell {
    is_set: AtomicBool,
    huge_waste: AtomicU8,
    huge_after: AtomicU8,
    huge_from: AtomicUsize,
    footprint: AtomicUsize,
    populate: AtomicU8,
    kept: AtomicUsize,
}

// Relaxed but where it is said otherwise: each value is a hint of its own, and publishes nothing.
impl PolicyCell {
    pub(super) const fn new() -> Self {
        Self {
            is_set: AtomicBool::new(false),
            huge_waste: AtomicU8::new(0),
            huge_after: AtomicU8::new(0),
            huge_from: AtomicUsize::new(0),
            footprint: AtomicUsize::new(0),
            populate: AtomicU8::new(0),
            kept: AtomicUsize::new(0),
        }
    }

    pub(super) fn set(&self, policy: PagePolicy) {
        self.huge_waste.store(policy.huge_waste, Ordering::Relaxed);
        self.huge_after.store(policy.huge_after, Ordering::Relaxed);
        self.huge_from.store(policy.huge_from, Ordering::Relaxed);
        self.footprint.store(policy.footprint, Ordering::Relaxed);
        self.populate.store(policy.populate, Ordering::Relaxed);
        self.kept.store(policy.kept, Ordering::Relaxed);
        // Release: pairs with the Acquire in `get`, which sees all values then.
        self.is_set.store(true, Ordering::Release);
    }

    pub(super) fn get(&self) -> PagePolicy {
        // Acquire: as said.
        if !self.is_set.load(Ordering::Acquire) {
            return PagePolicy::DEFAULT;
        }
        PagePolicy {
            huge_waste: self.huge_waste.load(Ordering::Relaxed),
            huge_after: self.huge_after.load(Ordering::Relaxed),
            huge_from: self.huge_from.load(Ordering::Relaxed),
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

    /// Whether the policy allows that the chunk that ends at granule `end` becomes a huge page, now that the heap is in
    /// use up to granule `used`.
    fn allows_huge(&self, end: Granule, used: Granule) -> bool {
        let bytes = |granules: Granule| (granules as usize) << GRANULE_SHIFT;
        let region = self.region();
        let mut policy = region.policy();
        if !self.is_first() {
            policy.footprint = 0;
        }
        policy.allows(bytes(end), bytes(used), self.touched, |least| {
            let known = region.os().has_resident(least * region.heaps());
            known.unwrap_or(least <= self.touched + BESIDES)
        })
    }

    /// Whether so much of it is big objects that it has to be seen. Of small ones all pages are touched.
    fn may_be_hollow(&self) -> bool {
        self.big * BIG_SHARE > self.touched
    }

    /// Whether what the heap has in use is touched, as far as was seen.
    pub fn is_dense(&self) -> bool {
        !(self.may_be_hollow() && self.hollow)
    }

    /// Whether what is added at granule `first`, and the rest of its chunk, will be touched, as far as was seen.
    fn is_sure(&mut self, chunk: Granule, first: Granule) -> bool {
        let end = ((chunk + GRANULES_PER_HUGE) as usize) << GRANULE_SHIFT;
        let known = self.is_first() && end <= self.region().policy().footprint;
        if known || !self.may_be_hollow() {
            return true;
        }
        self.look_at_blocks(first);
        // A chunk that begins with small pages shows it.
        let long_ago = self.looked_at == 0 || first - self.looked_at >= LOOK_EVERY;
        !self.hollow && (first > chunk || !long_ago)
    }

    /// Looks at the last blocks before granule `end`, unless they are huge pages, which show nothing: whether half of what
    /// is in use there is touched.
    fn look_at_blocks(&mut self, end: Granule) {
        let page = self.region().os().page_bytes();
        let blocks = (0..end).step_by(GRANULES_PER_BLOCK).rev().take(LOOKED_AT);
        let (mut used, mut touched) = (0, 0);
        for first in blocks {
            let offset = OBJECTS_OFFSET + ((first as usize) << GRANULE_SHIFT);
            let mut backed = [1; PAGES_MOST];
            let backed = &mut backed[..(BLOCK_BYTES / page).clamp(1, PAGES_MOST)];
            // SAFETY: the entry of a block below the limit, which is committed. What is not known counts as touched.
            unsafe {
                if (*self.span(first)).huge {
                    continue;
                }
                let start = NonNull::new_unchecked(self.slot().add(offset));
                let _ = self.region().os().backing(start, backed);
            }
            used += (!self.free_and_dirty(first).0).count_ones() as usize * GRANULE_BYTES;
            touched += backed.iter().filter(|page| **page & 1 == 1).count() * page;
        }
        if used > 0 {
            // Of objects that are used at all, the front is touched. With nothing touched they wait to be filled.
            self.hollow = touched < used / 2 && touched > used / UNUSED_SHARE;
            self.looked_at = end;
        }
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
        if !self.allows_huge(end, first) {
            return;
        }
        if !self.is_sure(chunk, first) {
            return;
        }
        self.backed = end;
        let none = self.region().os().huge_pages() == HugePages::Never;
        if none || !self.commit_for(end, Step::Exact) {
            return;
        }
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
                } else if !huge && all && self.is_dense() && self.allows_huge(end, end) {
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

    /// A system that has huge pages, or none, and room for two heaps.
    fn system(huge_pages: bool) -> Fake {
        let os = Fake::new();
        os.limit_reservations(64 * MIB);
        if huge_pages {
            os.offer_huge_pages();
        }
        os
    }

    /// The chunks, by number, that became huge pages while one of some heaps grew to 12 MiB of objects.
    fn grown(policy: PagePolicy, os: Fake, others: usize) -> Vec<(Huge, usize)> {
        let soft = Soft::new(os);
        soft.set_page_policy(policy);
        let heap = soft.attach().unwrap();
        let others: Vec<_> = (0..others).map(|_| soft.attach().unwrap()).collect();
        let bin = Bin::for_request(MIB / 16, 16).unwrap();
        for _ in 0..12 * 16 {
            // SAFETY: attached to this test.
            unsafe { (*heap.as_ptr()).alloc(bin).unwrap() };
        }
        // SAFETY: attached above, not used afterwards.
        unsafe { others.into_iter().chain([heap]).for_each(|heap| soft.detach(heap)) };
        let ranges = soft.region().os().huge_ranges();
        ranges.into_iter().map(|(how, at)| (how, (at - OBJECTS_OFFSET) / HUGE_BYTES)).collect()
    }

    #[test]
    fn chunks_are_collapsed_first_and_advised_once_that_wastes_little() {
        use Huge::{Advised, Collapsed};
        let got = grown(PagePolicy::DEFAULT, system(true), 0);
        assert_eq!(got, [(Collapsed, 1), (Collapsed, 2), (Advised, 3), (Advised, 4), (Advised, 5)]);
        let known = PagePolicy { footprint: 8 * MIB, ..PagePolicy::DEFAULT };
        // Beyond what is known, it is first seen whether objects so big are touched.
        let how = |chunk| if chunk == 4 { Collapsed } else { Advised };
        let all = (0..6).map(|chunk| (how(chunk), chunk)).collect::<Vec<_>>();
        assert_eq!(grown(known, system(true), 0), all);
        if cfg!(miri) {
            return; // Half a minute for each.
        }
        assert_eq!(grown(PagePolicy { huge_from: 0, ..known }, system(true), 0), all);
        assert_eq!(grown(PagePolicy { huge_waste: 0, ..known }, system(true), 0), []);
        assert_eq!(grown(known, system(false), 0), []);
    }

    #[test]
    #[cfg(not(miri))]
    fn big_objects_that_are_hardly_touched_get_no_huge_pages() {
        let soft = Soft::new(system(true));
        let os = soft.region().os();
        os.limit_reservations(1024 * MIB);
        let heap = soft.attach().unwrap();
        // SAFETY: attached to this test.
        let is_dense = || unsafe { (*heap.as_ptr()).is_dense() };
        let grow = |size: usize, mib: usize| {
            let before = os.huge_ranges().len();
            let bin = Bin::for_request(size, 16).unwrap();
            for _ in 0..mib * MIB / size {
                // SAFETY: attached to this test.
                unsafe { (*heap.as_ptr()).alloc(bin).unwrap() };
            }
            let chunk = |(how, at): (Huge, usize)| (how, (at - OBJECTS_OFFSET) / HUGE_BYTES);
            os.huge_ranges()[before..].iter().copied().map(chunk).collect::<Vec<_>>()
        };
        let advised = |chunks: core::ops::Range<usize>| chunks.map(|chunk| (Huge::Advised, chunk));
        os.tell_backed(16);
        assert!(grow(2000, 10).len() > 3, "of small ones each page is touched");
        assert_eq!(grow(MIB / 16, 22), advised(6..7).collect::<Vec<_>>(), "until a quarter is big");
        assert!(!is_dense());
        os.tell_backed(1);
        // Now and then one begins with small pages, as huge ones would not show what becomes of later objects.
        let collapsed = |chunk: usize| [(Huge::Collapsed, chunk)];
        let later = advised(17..33).chain(collapsed(33)).chain(advised(34..41));
        let found = collapsed(16).into_iter().chain(later);
        assert_eq!(grow(MIB / 16, 48), found.collect::<Vec<_>>());
        assert!(is_dense());
        os.tell_backed(16);
        assert_eq!(grow(MIB / 16, 32), advised(41..50).collect::<Vec<_>>());
        assert!(!is_dense());
        os.tell_backed(usize::MAX);
        assert!(grow(MIB / 16, 16).len() >= 8, "what is not in use yet may be filled");
        // SAFETY: attached above, not used afterwards.
        unsafe { soft.detach(heap) };
    }

    #[test]
    fn what_the_process_has_resident_decides_and_its_heaps_share_it() {
        use Huge::{Advised, Collapsed};
        let late = [(Advised, 3), (Advised, 4), (Advised, 5)];
        let early = [(Collapsed, 0), (Collapsed, 1), (Collapsed, 2)];
        let grown = |resident: usize, others: usize| {
            let os = system(true);
            os.tell_resident(resident);
            os.limit_reservations(if others > 0 { 128 } else { 64 } * MIB);
            grown(PagePolicy::DEFAULT, os, others)
        };
        // Half of the first chunk in use and half wasted: half of a quarter of 8 MiB and a little, or not.
        assert_eq!(grown(8 * MIB + MIB / 4, 0), [&early[..], &late].concat());
        assert_eq!(grown(8 * MIB - MIB / 4, 0), [&early[1..], &late].concat());
        if cfg!(miri) {
            return; // Half a minute for each.
        }
        // Half of each further one: a quarter of 4 MiB and a little, or not.
        assert_eq!(grown(4 * MIB + MIB / 4, 0), [&early[1..], &late].concat());
        assert_eq!(grown(4 * MIB - MIB / 4, 0), late);
        assert_eq!(grown(12 * MIB + MIB / 4, 2), [&early[1..], &late].concat());
        assert_eq!(grown(12 * MIB - MIB / 4, 2), late);
    }

    #[test]
    fn a_chunk_is_allowed_when_part_of_it_is_in_use_and_its_rest_is_little() {
        let policy = PagePolicy::DEFAULT;
        let step = if cfg!(miri) { MIB } else { MIB / 8 };
        for share in [1, 3, 5, 7, 9, 40].map(|mib| mib * MIB + 1000) {
            for end in (HUGE_BYTES..8 * MIB).step_by(HUGE_BYTES) {
                for used in (end - HUGE_BYTES..=end).step_by(step) {
                    for touched in [used, used - used / 5] {
                        let got = policy.allows(end, used, touched, |least| least <= share);
                        let part = used >= end - HUGE_BYTES + HUGE_BYTES / 4;
                        let age = (used as f64 / HUGE_BYTES as f64).min(1.0);
                        let little = (end - touched) as f64 <= 0.25 * age * share as f64;
                        let due = touched >= policy.huge_from || part && little;
                        assert_eq!(got, due, "{share} {end} {used} {touched}");
                    }
                }
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
        let allows = |end: usize| known.allows(end, end - HUGE_BYTES, 0, |least| least <= MIB);
        assert!(allows(2 * MIB) && allows(6 * MIB) && !allows(8 * MIB));
        assert!(known.allows(6 * MIB, 4 * MIB, 0, |_| unreachable!("nothing is wasted")));
        let none = PagePolicy { huge_waste: 0, footprint: 1 << 40, ..PagePolicy::DEFAULT };
        assert!(!none.allows(2 * MIB, 2 * MIB, 100 * MIB, |_| true));
    }
}
