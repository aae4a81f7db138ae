//! Spans and blocks: what is known about each granule, kept apart from the objects.
//!
//! A *span* is 1 to 16 granules of one block that hold objects of one bin. A *block* is 16 granules;
//! its masks say which are free and which may hold old bytes. Both descriptions live in one array
//! indexed by granule, all zero before first use: the span's in the entry of its first granule, the
//! block's in the entry of its first.

use super::layout::{COUNTDOWNS_OFFSET, GRANULES_PER_BLOCK};
use crate::sync::{AtomicU8, Ordering};

/// Index of a granule in its slot.
pub type Granule = u32;

/// A link to another entry of the span array: its index plus one, or 0 for none.
pub type SpanLink = u32;

/// A free object: its first word links to the next.
#[repr(transparent)]
#[derive(Debug)]
pub struct FreeObject {
    pub next: *mut FreeObject,
}

/// Most objects of a span whose objects are big: as many as [`Span::bits`] has bits.
pub const BIG_OBJECTS_MAX: usize = u32::BITS as usize;

/// What a granule with objects that are not big is at. Its objects are those that start in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum State {
    /// Nothing is free, and it does not wait; or the granule is in no span or in one of big objects. The next
    /// free into it takes the slow path.
    Closed = 0,
    /// It waits in its bin's ring: something is free, or it was exhausted last. The free of the last allocated
    /// object takes the slow path.
    Open = 1,
    /// Everything that was made is free, but not so the rest of its span; in the ring.
    Idle = 2,
    /// Its bin is served from it.
    Served = 3,
}

/// What is known about one granule. All zero: nothing yet. What concerns the whole span is in the
/// entry of its first granule.
#[derive(Debug)]
#[repr(C)]
pub struct Span {
    /// The bin, or 0 while the granule is in no span; in every entry. Other threads read it when they
    /// free an object.
    bin: AtomicU8,
    /// Distance to the span's first granule.
    back: AtomicU8,
    /// No page of the span was ever written before: what is carved first reads as zero.
    pub fresh: bool,
    /// In the entry of a block's first granule: a huge page may be behind it, so that its free granules
    /// have memory whether they are dirty or not.
    pub huge: bool,
    /// In every entry.
    pub state: State,
    /// Objects made of the span so far, from the bottom up; the rest of it was never touched.
    pub carved: u16,
    /// How many of these start in this granule, if they are not big; in every entry.
    pub made: u16,
    /// Which of the span's objects are free, if they are big: bit *i* stands for object *i*.
    pub bits: u32,
    /// Neighbours in the heap's ring of this bin's waiting granules, or of its spans if they
    /// are big; 0 if it is not in the ring.
    pub next: SpanLink,
    pub previous: SpanLink,
    /// The block's state, in the entry of its first granule.
    pub block: Block,
}

/// A granule's entry.
#[inline(always)]
pub fn span_at(slot: *mut u8, granule: usize) -> *mut Span {
    slot.wrapping_add(COUNTDOWNS_OFFSET).cast::<Span>().wrapping_sub(granule + 1)
}

impl Span {
    /// The bin, or 0.
    // Relaxed, here and below: an allocated object reached whoever frees it after its span was made.
    #[inline(always)]
    pub fn bin(&self) -> u8 {
        self.bin.load(Ordering::Relaxed)
    }

    /// Distance to the span's first granule.
    #[inline(always)]
    pub fn back(&self) -> Granule {
        self.back.load(Ordering::Relaxed).into()
    }

    /// Puts the granule into a span, or with bin 0 into none. What was made of it stays as it is.
    pub fn set(&mut self, bin: u8, back: u8) {
        self.bin.store(bin, Ordering::Relaxed);
        self.back.store(back, Ordering::Relaxed);
    }

    /// Forgets what was made.
    pub fn clear(&mut self) {
        self.set(0, 0);
        self.state = State::Closed;
        (self.carved, self.made, self.bits) = (0, 0, 0);
    }

    /// Whether all objects of a span of big ones are free: those that were carved are the low bits.
    pub fn is_empty(&self) -> bool {
        self.carved > 0 && self.bits == u32::MAX >> (u32::BITS - u32::from(self.carved))
    }

    /// Whether nothing is made.
    pub fn is_clear(&self) -> bool {
        self.state == State::Closed && (self.carved, self.made, self.bits) == (0, 0, 0)
    }
}

/// 16 granules. Bit *i* stands for granule *i*.
#[derive(Debug)]
#[repr(C)]
pub struct Block {
    /// In no span.
    pub free: u16,
    /// May hold bytes of an earlier use, and memory behind them.
    pub dirty: u16,
    /// Neighbours in the heap's list of blocks with the same [`Fill`].
    pub next: SpanLink,
    pub previous: SpanLink,
}

/// How much of a block is free, as far as finding room in it is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Fill {
    /// Nothing.
    Full = 0,
    /// Single granules.
    Singles = 1,
    /// At least one aligned group of four.
    Quads = 2,
    /// Everything.
    Empty = 3,
}

impl Block {
    /// How much is free.
    pub fn fill(&self) -> Fill {
        match self.free {
            0 => Fill::Full,
            u16::MAX => Fill::Empty,
            free if quads(free) != 0 => Fill::Quads,
            _ => Fill::Singles,
        }
    }
}

/// First granule of `count` in a row among those of a mask; a group of four is an aligned quad.
#[inline]
pub fn find(granules: u16, count: usize) -> Option<usize> {
    let starts = starts(granules, count);
    (starts != 0).then(|| starts.trailing_zeros() as usize)
}

/// First bit of every row of `count` free granules; a row of four is an aligned quad.
#[inline]
fn starts(free: u16, count: usize) -> u16 {
    if count == 4 {
        return quads(free);
    }
    // A row of so many is two rows of half as many, which overlap by one if the number is odd.
    let (mut starts, mut count) = (free, count);
    while count > 1 {
        let half = count / 2;
        starts &= starts >> half;
        count -= half;
    }
    starts
}

/// Lowest bit of every aligned group of four that is entirely free.
fn quads(free: u16) -> u16 {
    free & (free >> 1) & (free >> 2) & (free >> 3) & 0x1111
}

/// The mask of `count` granules from `first`.
pub fn mask(first: usize, count: usize) -> u16 {
    debug_assert!(count >= 1 && first + count <= GRANULES_PER_BLOCK);
    (u16::MAX >> (GRANULES_PER_BLOCK - count)) << first
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every mask, or under Miri a sample.
    const STEP: usize = if cfg!(miri) { 2003 } else { 1 };

    fn block(free: u16) -> Block {
        Block { free, dirty: 0, next: 0, previous: 0 }
    }

    #[test]
    fn find_agrees_with_a_scan_for_every_mask() {
        for free in (0..=u16::MAX).step_by(STEP) {
            for count in [1, 3, 4, 5, 7, 12, 16] {
                let want = (0..=16 - count)
                    .step_by(if count == 4 { 4 } else { 1 })
                    .find(|&s| free & mask(s, count) == mask(s, count));
                assert_eq!(find(free, count), want, "mask {free:#018b} count {count}");
            }
        }
    }

    #[test]
    fn fill_names_what_can_be_found() {
        for free in (0..=u16::MAX).step_by(STEP) {
            let b = block(free);
            let want = match (find(free, 16), find(free, 4), find(free, 1)) {
                (Some(_), ..) => Fill::Empty,
                (_, Some(_), _) => Fill::Quads,
                (.., Some(_)) => Fill::Singles,
                _ => Fill::Full,
            };
            assert_eq!(b.fill(), want);
        }
    }
}
