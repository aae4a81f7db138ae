//! What backs the range: whole chunks are committed, and get a huge page or small ones; what is not used goes back.
//!
//! A huge page has memory for all of its units from the first touch on, whether V8 uses them or not. So a chunk gets one only
//! if what V8 mapped last is in use, and loses it for good when a part of it is given back: else the first touch of
//! a chunk of which all was given back would bring back all, and the kernel would fill up by and by what is in use
//! in part. When none of it is in use, it is decided anew.
//!
//! Must not know: calls of V8's, how much is kept.

use super::{HUGE_BYTES, Inner, OPEN, V8Pages};
use crate::calls;
use crate::units::{LATEST, PART_BYTES, UNIT_BYTES, UNITS_PER_HUGE};
use core::ffi::c_void;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};
use memento_hal::ProcessHal;
use memento_hal::os::{HugePages, Linux, Os};
use memento_hal::soft::Soft;

/// Of the pages mapped last, how many may be unused when the next chunk is advised to be huge.
const UNUSED_MOST: usize = LATEST / 2;
/// Parts of a page at whose starts it is looked whether it is in use.
const SAMPLES: usize = 16;

/// What backs a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Chunk {
    /// Small pages, each when it is touched.
    Small,
    /// A huge page: units have memory whether V8 has used them or not.
    Huge,
    /// What is left of a huge page of which parts were given back.
    Split,
}

/// The chunks that units lie in.
fn chunks_of(units: &Range<usize>) -> Range<usize> {
    units.start / UNITS_PER_HUGE..units.end.div_ceil(UNITS_PER_HUGE)
}

/// The units of a chunk.
fn chunk_units(chunk: usize) -> Range<usize> {
    chunk * UNITS_PER_HUGE..(chunk + 1) * UNITS_PER_HUGE
}

impl V8Pages {
    /// Commits the range up to the end of `unit`'s chunk.
    pub(super) fn commit(&self, inner: &mut Inner, unit: usize) -> bool {
        let (first, end) = (inner.committed, (unit + 1).next_multiple_of(UNITS_PER_HUGE));
        let (start, bytes) = (self.address(first * UNIT_BYTES), (end - first) * UNIT_BYTES);
        // SAFETY: units of the range that nobody has.
        if unsafe { calls::mprotect(start, bytes, OPEN) } != 0 {
            return false;
        }
        self.back(inner, first..end);
        inner.committed = end;
        true
    }

    /// Has chunks that hold nothing be huge, if they are likely to be used.
    fn back(&self, inner: &mut Inner, units: Range<usize>) {
        let unused = inner.units.latest().filter(|&unit| !self.is_used(inner, unit)).count();
        if unused <= UNUSED_MOST {
            let bytes = units.len() * UNIT_BYTES;
            // SAFETY: the chunks are committed.
            unsafe { self.advise_huge(self.address(units.start * UNIT_BYTES), bytes) };
            inner.chunks[chunks_of(&units)].fill(Chunk::Huge);
        }
    }

    /// Whether V8 has used more of the unit than its header.
    fn is_used(&self, inner: &Inner, unit: usize) -> bool {
        let start = self.address(unit * UNIT_BYTES);
        if inner.chunks[unit / UNITS_PER_HUGE] != Chunk::Huge {
            let mut backed = [0u8; UNIT_BYTES / PART_BYTES];
            // SAFETY: the unit is mapped; a byte for each page of any size.
            let known = unsafe { calls::mincore(start, UNIT_BYTES, &mut backed) };
            let found = backed.iter().filter(|backed| **backed & 1 != 0).count();
            let all = UNIT_BYTES / Linux.page_bytes();
            if !known || found < all {
                return found > all / 4;
            }
        }
        // A huge page has memory everywhere. What V8 allocated is hardly ever zero.
        (1..SAMPLES).any(|n| {
            let word = start.cast::<AtomicUsize>().wrapping_byte_add(n * (UNIT_BYTES / SAMPLES));
            // SAFETY: the unit is readable, since it is open. Threads that write to it may do so in
            // any way; it does not matter which value is found.
            unsafe { (*word).load(Ordering::Relaxed) != 0 }
        })
    }

    /// Decides anew about the chunk of a unit that is to be opened, if it had a huge page and none of it is in use.
    pub(super) fn back_again(&self, inner: &mut Inner, unit: usize) {
        let chunk = unit / UNITS_PER_HUGE;
        if inner.chunks[chunk] == Chunk::Split && inner.units.is_unused(chunk_units(chunk)) {
            self.back(inner, chunk_units(chunk));
        }
    }

    /// Gives at most `most` units back that lie side by side. `false` if none is kept.
    pub(super) fn give_back(&self, inner: &mut Inner, most: usize) -> bool {
        let Some((first, end)) = inner.units.give_back(most) else { return false };
        // What V8 has not used yet of the last one's huge page has memory, too.
        let mut to = end;
        if inner.chunks[(end - 1) / UNITS_PER_HUGE] != Chunk::Small {
            to += inner.units.unused_from(end, end.next_multiple_of(UNITS_PER_HUGE) - end);
        }
        let start = self.address(first * UNIT_BYTES);
        // SAFETY: units that are not open hold nothing that is needed.
        unsafe { calls::madvise(start, (to - first) * UNIT_BYTES, libc::MADV_DONTNEED) };
        self.split(inner, first..end);
        true
    }

    /// Has the chunks of these units be huge no more: else the first touch of one that is empty brings
    /// all of it back, and the kernel fills up by and by what is in use in part.
    fn split(&self, inner: &mut Inner, units: Range<usize>) {
        let chunks = &mut inner.chunks[chunks_of(&units)];
        if !chunks.contains(&Chunk::Huge) {
            return;
        }
        chunks
            .iter_mut()
            .filter(|chunk| **chunk == Chunk::Huge)
            .for_each(|chunk| *chunk = Chunk::Split);
        let (first, bytes) = (chunks_of(&units).start, chunks.len() * HUGE_BYTES);
        // SAFETY: advice for committed chunks of the range changes no contents.
        unsafe { calls::madvise(self.address(first * HUGE_BYTES), bytes, libc::MADV_NOHUGEPAGE) };
    }

    /// Advises the full huge pages from `start` on.
    ///
    /// # Safety
    /// The range is mapped.
    pub(super) unsafe fn advise_huge(&self, start: *mut c_void, bytes: usize) {
        if wants_huge_pages() {
            // SAFETY: advice changes no contents.
            unsafe {
                calls::madvise(start, bytes - bytes % HUGE_BYTES, libc::MADV_HUGEPAGE);
            }
        }
    }
}

/// Whether the settings and the host allow huge pages.
pub(super) fn wants_huge_pages() -> bool {
    Soft::instance().page_policy().huge_waste != 0 && Linux.huge_pages() != HugePages::Never
}
