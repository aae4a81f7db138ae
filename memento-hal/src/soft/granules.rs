//! Which granules a heap uses: blocks from the bottom up, spans in them, and giving memory back.

use super::bin::Bin;
use super::heap::Heap;
use super::layout::{
    BLOCK_BYTES, COUNTDOWNS_OFFSET, COUNTDOWNS_PAGES, GRANULE_BYTES, GRANULE_SHIFT,
    GRANULES_PER_BLOCK, LISTS_OFFSET, OBJECTS_OFFSET,
};
use super::span::{Block, Fill, Granule, Span, SpanLink, State, find, mask};
use crate::os::Os;
use core::ptr::NonNull;

/// Commits grow in steps of at least this many bytes, and of an eighth of what is committed.
const COMMIT_STEP: usize = 1024 * 1024;
/// The metadata's commits grow in steps of this many bytes: a multiple of every page size.
const METADATA_STEP: usize = 64 * 1024;

/// How much is committed at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// What is asked for.
    Exact,
    /// So much that few calls are needed.
    Generous,
}

/// Where the committed countdowns end if so many bytes of the span array are committed.
const fn countdowns_end(spans: usize) -> usize {
    let countdowns = spans / size_of::<Span>() * size_of::<u32>();
    (COUNTDOWNS_OFFSET + countdowns).next_multiple_of(METADATA_STEP)
}

impl<O: Os> Heap<O> {
    /// Bytes of a slot's head that are committed before its heap exists.
    pub(super) const HEAD_BYTES: usize = METADATA_STEP;

    /// A new span of `bin` in blocks that the heap already has: of memory that was used before, if there is some.
    #[inline(never)]
    pub(super) fn span_in_known_blocks(&mut self, bin: Bin) -> Option<Granule> {
        let (first, at) = self.find_granules(bin.span_granules(), true)?;
        Some(self.make_span(bin, first, at))
    }

    /// The same of memory that was used before.
    pub(super) fn span_of_used(&mut self, bin: Bin) -> Option<Granule> {
        let (first, at) = self.find_granules(bin.span_granules(), false)?;
        Some(self.make_span(bin, first, at))
    }

    /// So many free granules in a row that were used before, or if they may be `unused` and there are no others such:
    /// their block, and where they begin in it.
    #[inline(never)]
    fn find_granules(&self, count: usize, unused: bool) -> Option<(Granule, usize)> {
        let fills: &[Fill] = match count {
            1..4 => &[Fill::Singles, Fill::Quads, Fill::Empty],
            4..GRANULES_PER_BLOCK => &[Fill::Quads, Fill::Empty],
            _ => &[Fill::Empty],
        };
        // What is looked for may not be in a block though it has as much; a few are tried.
        const TRIES: usize = 8;
        if !unused && (self.free_dirty as usize) < count {
            return None;
        }
        let mut found = None;
        for fill in fills {
            let mut link = self.blocks[*fill as usize];
            for _ in 0..TRIES {
                let Some(first) = granule_at(link) else { break };
                let block = self.block(first);
                if let Some(at) = find(block.free & block.dirty, count) {
                    return Some((first, at));
                }
                if unused && found.is_none() && block.free & !block.dirty != 0 {
                    found = find(block.free, count).map(|at| (first, at));
                }
                link = block.next;
            }
        }
        found
    }

    /// Adds one block at the limit. `None` if the slot is full or the OS refuses.
    #[inline(never)]
    pub(super) fn add_block(&mut self) -> Option<()> {
        let first = self.granules;
        let granules = first + GRANULES_PER_BLOCK as Granule;
        if granules > self.granules_max {
            return None;
        }
        self.back_block(first);
        if !self.commit_for(granules, Step::Generous) {
            return None;
        }
        for g in first..granules {
            self.reset_list(g);
        }
        self.block(first).free = u16::MAX;
        // SAFETY: the entry was committed just now.
        unsafe { (*self.span(first)).huge = first < self.huge_end };
        self.link_block(first, Fill::Empty);
        self.set_granules(granules);
        Some(())
    }

    /// Commits metadata and objects for this many granules.
    pub(super) fn commit_for(&mut self, granules: Granule, step: Step) -> bool {
        let granules = granules as usize;
        let have = self.committed;
        let lists = LISTS_OFFSET + (granules + 1) * size_of::<usize>();
        let spans = granules * size_of::<Span>();
        let objects = granules << GRANULE_SHIFT;
        // Objects last: a failure half-way leaves committed metadata, which costs nothing.
        if lists > have.head {
            let bytes = lists.next_multiple_of(METADATA_STEP);
            if !self.commit(have.head, bytes - have.head) {
                return false;
            }
            self.committed.head = bytes;
        }
        if spans > have.spans {
            let bytes = spans.next_multiple_of(METADATA_STEP);
            let (below, more) = (COUNTDOWNS_PAGES - bytes, bytes - have.spans);
            let (first, end) = (countdowns_end(have.spans), countdowns_end(bytes));
            let done = match have.spans {
                0 => self.commit(below, more + end - COUNTDOWNS_PAGES),
                _ => self.commit(below, more) && (first == end || self.commit(first, end - first)),
            };
            if !done {
                return false;
            }
            self.committed.spans = bytes;
        }
        if objects > have.objects {
            let room = (self.granules_max as usize) << GRANULE_SHIFT;
            let least = match step {
                Step::Exact => objects - have.objects,
                Step::Generous => (have.objects / 8).max(COMMIT_STEP),
            };
            let least = least.next_multiple_of(BLOCK_BYTES);
            let generous = (have.objects + least).min(room / BLOCK_BYTES * BLOCK_BYTES);
            let at = OBJECTS_OFFSET + have.objects;
            // Where the system counts every committed byte, the least may pass where more does not.
            if self.commit(at, generous - have.objects) {
                self.committed.objects = generous;
            } else if self.commit(at, objects - have.objects) {
                self.committed.objects = objects;
            } else {
                return false;
            }
        }
        true
    }

    fn commit(&self, offset: usize, bytes: usize) -> bool {
        // SAFETY: the range lies in the slot, which is one reservation.
        unsafe {
            let start = NonNull::new_unchecked(self.slot().add(offset));
            self.region().os().commit(start, bytes)
        }
    }

    /// Makes granules `at..` of the block at `first` a span of `bin`.
    #[inline(never)]
    fn make_span(&mut self, bin: Bin, first: Granule, at: usize) -> Granule {
        let count = bin.span_granules();
        let fresh = self.take_granules(first, mask(at, count)) == count as u32;
        self.spans += 1;
        let start = first + at as Granule;
        for i in 0..count as Granule {
            // SAFETY: entries of granules below the limit are committed, and these are now ours.
            let span = unsafe { &mut *self.span(start + i) };
            debug_assert!(span.is_clear());
            span.set(bin.index() as u8, i as u8);
        }
        // SAFETY: as above.
        let span = unsafe { &mut *self.span(start) };
        span.fresh = fresh;
        start
    }

    /// Makes a span of one object one of `bin`, whose spans have one object as well and are no shorter: where it is, if
    /// what is behind it in its block is free. `false` if not, or if the object was freed.
    pub(super) fn lengthen_span(&mut self, start: Granule, bin: Bin) -> bool {
        // SAFETY: the start of a span of ours.
        let span = unsafe { &*self.span(start) };
        let alone = |old: &Bin| old.is_alone() && span.back() == 0 && span.bits == 0;
        let Some(old) = Bin::new(span.bin()).filter(alone) else { return false };
        let (have, want) = (old.span_granules(), bin.span_granules());
        let at = start as usize % GRANULES_PER_BLOCK;
        if at + want > GRANULES_PER_BLOCK {
            return false;
        }
        if want > have {
            let first = start - at as Granule;
            let behind = mask(at + have, want - have);
            let missing = behind & !self.block(first).free;
            if missing & !self.emptied_in(first) != 0 {
                return false;
            }
            if missing != 0 {
                self.release_emptied();
            }
            let fresh = self.take_granules(first, behind) as usize * GRANULE_BYTES;
            self.touched += fresh;
            self.big += fresh;
        }
        for i in 0..want as Granule {
            // SAFETY: as in `make_span`.
            unsafe { (*self.span(start + i)).set(bin.index() as u8, i as u8) };
        }
        true
    }

    /// Which granules of the block at `first` are in spans of big objects that are free altogether.
    fn emptied_in(&self, first: Granule) -> u16 {
        let mut granules = 0;
        for start in self.emptied.iter().filter_map(|link| granule_at(*link)) {
            let at = start as usize % GRANULES_PER_BLOCK;
            // SAFETY: the start of a span of ours.
            let bin = Bin::new(unsafe { (*self.span(start)).bin() });
            if let Some(bin) = bin.filter(|_| start - at as Granule == first) {
                granules |= mask(at, bin.span_granules());
            }
        }
        granules
    }

    /// Has free granules of the block at `first` be in use. Returns how many of them had no memory behind them.
    #[inline(never)]
    fn take_granules(&mut self, first: Granule, taken: u16) -> u32 {
        let block = self.block(first);
        let again = (block.dirty & taken).count_ones();
        block.dirty |= taken;
        let free = block.free & !taken;
        self.set_free(first, free);
        self.free_dirty -= again;
        self.idle.note(self.free_dirty);
        self.charge_what_is_free();
        taken.count_ones() - again
    }

    /// Takes a span apart none of whose objects is allocated and none of whose granules is in a ring.
    pub(super) fn release_span(&mut self, start: Granule, bin: Bin) {
        let count = bin.span_granules();
        self.free_dirty += count as u32;
        self.spans -= 1;
        let k = bin.index();
        if self.carving[k] == start + 1 {
            self.carving[k] = 0;
        }
        for g in start..start + count as Granule {
            // Those of big objects are closed and in no list all the time.
            if !bin.is_big() {
                self.reset_list(g);
                if self.current[bin.place()] == g + 1 {
                    self.set_current(bin, None);
                }
            }
            // SAFETY: granules of a span of ours.
            let span = unsafe { &mut *self.span(g) };
            if bin.is_big() && g > start { span.set(0, 0) } else { span.clear() }
        }
        let first = start - start % GRANULES_PER_BLOCK as Granule;
        let free = self.block(first).free | mask((start - first) as usize, count);
        self.set_free(first, free);
        self.note_freed();
    }

    /// Empties a granule's list and closes the granule.
    pub(super) fn reset_list(&mut self, granule: Granule) {
        // SAFETY: callers stay below the committed granules.
        unsafe {
            *self.list_of(granule) = core::ptr::null_mut();
            *self.countdown_of(granule) = 1;
            (*self.span(granule)).state = State::Closed;
        }
    }

    /// Gives the memory of free granules back to the system; returns the number of bytes.
    pub(super) fn decommit_free(&mut self) -> usize {
        let bytes = self.decommit_free_from(0);
        self.decommit_huge_tail();
        self.stuck = self.free_dirty;
        bytes
    }

    /// Gives back the memory of free granules at the top: of at least so many, if there are.
    pub(super) fn decommit_top(&mut self, count: Granule) {
        let (mut first, mut found) = (self.granules, 0);
        while first > 0 && found < count {
            first -= GRANULES_PER_BLOCK as Granule;
            let block = self.block(first);
            found += (block.free & block.dirty).count_ones();
        }
        self.decommit_free_from(first);
        self.stuck = self.stuck.min(self.free_dirty);
    }

    /// Gives back the memory of free granules from the block at `first` on; returns the number of bytes.
    fn decommit_free_from(&mut self, mut first: Granule) -> usize {
        let lowest = first;
        let page = self.region().os().page_bytes();
        let mut bytes = 0;
        // Neighbouring ranges are given back with one call.
        let mut run: Option<(usize, usize)> = None;
        while first < self.granules {
            // SAFETY: the entry of a block below the limit.
            let huge = unsafe { (*self.span(first)).huge };
            let block = self.block(first);
            let back = if huge { block.free } else { block.free & block.dirty };
            for i in 0..GRANULES_PER_BLOCK {
                let start = ((first as usize) + i) << GRANULE_SHIFT;
                match &mut run {
                    Some((_, end)) if back >> i & 1 == 1 && *end == start => *end += GRANULE_BYTES,
                    _ if back >> i & 1 == 1 => {
                        bytes += self.decommit(run.take(), page);
                        run = Some((start, start + GRANULE_BYTES));
                    }
                    _ => {}
                }
            }
            first += GRANULES_PER_BLOCK as Granule;
        }
        bytes += self.decommit(run, page);
        self.settle_chunks(lowest);
        bytes
    }

    /// Granules that may have memory behind them.
    pub(super) fn dirty_granules(&self) -> Granule {
        let blocks = (0..self.granules).step_by(GRANULES_PER_BLOCK);
        blocks.map(|first| self.block(first).dirty.count_ones()).sum()
    }

    /// Gives back what a huge page has beyond the last block.
    fn decommit_huge_tail(&mut self) {
        if self.huge_end <= self.granules {
            return;
        }
        let offset = OBJECTS_OFFSET + ((self.granules as usize) << GRANULE_SHIFT);
        let bytes = ((self.huge_end - self.granules) as usize) << GRANULE_SHIFT;
        // SAFETY: the chunk was committed to its end when it became huge. Whether the system takes it
        // back changes nothing: nobody has used it.
        unsafe {
            let start = NonNull::new_unchecked(self.slot().add(offset));
            let _ = self.region().os().decommit(start, bytes);
        }
    }

    /// Decommits the whole pages of a range of object bytes and marks their granules clean. Returns the
    /// bytes of those that were not.
    fn decommit(&mut self, range: Option<(usize, usize)>, page: usize) -> usize {
        let Some((start, end)) = range else { return 0 };
        // On hosts whose pages are larger than granules, a page may be in use in part.
        let (start, end) = (start.next_multiple_of(page), end / page * page);
        if start >= end {
            return 0;
        }
        // SAFETY: the range is committed, since it lies below the limit, and its granules are free.
        unsafe {
            let at = NonNull::new_unchecked(self.slot().add(OBJECTS_OFFSET + start));
            if !self.region().os().decommit(at, end - start) {
                return 0;
            }
        }
        let mut bytes = 0;
        for granule in (start >> GRANULE_SHIFT)..(end >> GRANULE_SHIFT) {
            let first = granule - granule % GRANULES_PER_BLOCK;
            let bit = mask(granule - first, 1);
            let block = self.block(first as Granule);
            if block.dirty & bit != 0 {
                block.dirty &= !bit;
                self.free_dirty -= 1;
                bytes += GRANULE_BYTES;
            }
        }
        self.touched = self.touched.saturating_sub(bytes);
        self.big = self.big.min(self.touched);
        bytes
    }

    /// Which granules of a block are free, and which may hold old bytes.
    pub(super) fn free_and_dirty(&self, first: Granule) -> (u16, u16) {
        let block = self.block(first);
        (block.free, block.dirty)
    }

    #[expect(clippy::mut_from_ref, reason = "the caller holds `&mut self`, the heap, throughout")]
    fn block(&self, first: Granule) -> &mut Block {
        // SAFETY: `first` is below the committed part of the span array; all callers have `&mut self`
        // and keep no other reference into this entry's block.
        unsafe { &mut (*self.span(first)).block }
    }

    /// Puts the blocks into their lists anew, so that the lowest in the slot is used first: what is
    /// free then gathers at the top, where whole pages of any size can be given back.
    pub(super) fn order_blocks(&mut self) {
        self.blocks = [0; 4];
        let mut first = self.granules;
        while first > 0 {
            first -= GRANULES_PER_BLOCK as Granule;
            self.link_block(first, self.block(first).fill());
        }
    }

    /// Notes which granules of a block are free, and has it be first of those that are as full.
    #[inline(never)]
    fn set_free(&mut self, first: Granule, free: u16) {
        let before = self.block(first).fill();
        self.block(first).free = free;
        let after = self.block(first).fill();
        if before != after || self.blocks[after as usize] != first + 1 {
            self.unlink_block(first, before);
            self.link_block(first, after);
        }
    }

    /// Makes a block, which is in no list, the first of those that are as full.
    fn link_block(&mut self, first: Granule, fill: Fill) {
        if fill == Fill::Full {
            return;
        }
        let head = self.blocks[fill as usize];
        let block = self.block(first);
        block.next = head;
        block.previous = 0;
        if let Some(next) = granule_at(head) {
            self.block(next).previous = first + 1;
        }
        self.blocks[fill as usize] = first + 1;
    }

    /// Takes a block out of the list of those that are as full as it was.
    fn unlink_block(&mut self, first: Granule, fill: Fill) {
        if fill == Fill::Full {
            return;
        }
        let (next, previous) = (self.block(first).next, self.block(first).previous);
        match granule_at(previous) {
            Some(g) => self.block(g).next = next,
            None => self.blocks[fill as usize] = next,
        }
        if let Some(g) = granule_at(next) {
            self.block(g).previous = previous;
        }
    }
}

/// The granule that a link names.
pub(super) fn granule_at(link: SpanLink) -> Option<Granule> {
    link.checked_sub(1)
}
