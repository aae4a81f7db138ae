//! The region and the arithmetic that takes an address apart.
//!
//! The region is 64 equal lanes from `MRS` to `MRE`, one lane a class; a lane is a row of arenas,
//! one every stride. So an address alone gives class, arena and slot, and no memory is read for it.

use super::arena::ArenaAddr;
use crate::geometry::{
    CLASS_STEP, CLASSES, HEADER_BYTES, OBJECTS_PER_ARENA, PAGE_BYTES, SizeClass,
};
use crate::object::FreeFault;

/// The registers `MRS` and `MRE`: the bounds of the region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    start: u64,
    lane_shift: u32,
}

/// `ceil(2^32 / divisor)`. For `n · divisor < 2^32`, `n · reciprocal >> 32` is exactly
/// `n / divisor`: the error is less than `n · divisor / 2^32` of a unit.
const fn reciprocal(divisor: u64) -> u64 {
    (1u64 << 32).div_ceil(divisor)
}

/// Reciprocals of the object size in units of [`CLASS_STEP`], by class.
const SLOT_RECIPROCAL: [u64; CLASSES] = {
    let mut table = [0; CLASSES];
    let mut c = 0;
    while c < CLASSES {
        table[c] = reciprocal(c as u64 + 1);
        c += 1;
    }
    table
};

/// Reciprocals of the stride in pages, by class.
const STRIDE_RECIPROCAL: [u64; CLASSES] = {
    let mut table = [0; CLASSES];
    let mut c = 0;
    while c < CLASSES {
        table[c] = match SizeClass::new(c) {
            Some(class) => reciprocal((class.arena_stride() / PAGE_BYTES) as u64),
            None => unreachable!(),
        };
        c += 1;
    }
    table
};

impl Region {
    /// The region of lanes of `2^lane_shift` bytes from `start` up. `start` is a multiple of
    /// [`PAGE_BYTES`]; `lane_shift` is at most [`crate::geometry::LANE_SHIFT`].
    pub const fn new(start: u64, lane_shift: u32) -> Self {
        debug_assert!(start.is_multiple_of(PAGE_BYTES as u64));
        debug_assert!(lane_shift <= crate::geometry::LANE_SHIFT);
        Self { start, lane_shift }
    }

    /// Register `MRS`: the first address.
    #[inline]
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// Register `MRE`: the first address behind the region.
    #[inline]
    pub const fn end(&self) -> u64 {
        self.start + self.bytes()
    }

    /// Bytes of the whole region.
    #[inline]
    pub const fn bytes(&self) -> u64 {
        (CLASSES as u64) << self.lane_shift
    }

    /// Bytes of one lane.
    #[inline]
    pub const fn lane_bytes(&self) -> u64 {
        1 << self.lane_shift
    }

    /// log2 of the bytes of one lane.
    #[inline]
    pub const fn lane_shift(&self) -> u32 {
        self.lane_shift
    }

    /// First address of the lane of `class`.
    #[inline]
    pub const fn lane(&self, class: SizeClass) -> u64 {
        self.start + ((class.index() as u64) << self.lane_shift)
    }

    /// Class of the lane that `va` lies in; `None` outside the region.
    #[inline]
    pub const fn class_at(&self, va: u64) -> Option<SizeClass> {
        // Below the region the difference wraps to a lane number that no class has.
        SizeClass::new((va.wrapping_sub(self.start) >> self.lane_shift) as usize)
    }

    /// The place for an arena that `va`, an address in the lane of `class`, lies in. Whether an
    /// arena was created there is another question.
    #[inline]
    pub const fn arena_at(&self, class: SizeClass, va: u64) -> ArenaAddr {
        let lane = self.lane(class);
        // At most 2^22 pages in a lane times at most 33 pages in a stride: below 2^32.
        let page = (va - lane) / PAGE_BYTES as u64;
        let index = (page * STRIDE_RECIPROCAL[class.index()]) >> 32;
        ArenaAddr::new(lane + index * class.arena_stride() as u64)
    }
}

/// Slot that starts `offset` bytes into an arena of `class`.
///
/// # Errors
/// [`FreeFault::Misaligned`] if none does: the header, the inside of an object, the rounding behind
/// the body.
#[inline]
pub const fn slot_at(class: SizeClass, offset: u64) -> Result<usize, FreeFault> {
    let body = offset.wrapping_sub(HEADER_BYTES as u64);
    if body >= (OBJECTS_PER_ARENA * class.size()) as u64 {
        return Err(FreeFault::Misaligned);
    }
    // At most 2^14 steps in a body times at most 64 steps in an object: below 2^32.
    let slot = ((body / CLASS_STEP as u64) * SLOT_RECIPROCAL[class.index()]) >> 32;
    if slot * class.size() as u64 != body {
        return Err(FreeFault::Misaligned);
    }
    Ok(slot as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::LANE_SHIFT;

    #[test]
    fn an_address_gives_its_class_and_arena_everywhere() {
        let region = Region::new(0x7000_0000_0000, LANE_SHIFT);
        assert_eq!(region.class_at(region.start() - 1), None);
        assert_eq!(region.class_at(region.end()), None);
        assert_eq!(region.class_at(0), None);
        assert_eq!(region.class_at(u64::MAX), None);
        for class in SizeClass::all() {
            let (lane, stride) = (region.lane(class), class.arena_stride() as u64);
            let arenas = region.lane_bytes() / stride;
            for index in [0, 1, 2, 62, 63, 64, arenas / 2, arenas - 2, arenas - 1] {
                let arena = lane + index * stride;
                for va in [arena, arena + 1, arena + stride / 2, arena + stride - 1] {
                    assert_eq!(region.class_at(va), Some(class));
                    assert_eq!(region.arena_at(class, va).get(), arena, "{class:?} {index}");
                }
            }
            assert_eq!(region.class_at(lane + region.lane_bytes() - 1), Some(class));
        }
    }

    #[test]
    fn every_page_of_a_lane_finds_its_arena() {
        let region = Region::new(1 << 40, LANE_SHIFT);
        for class in SizeClass::all() {
            let pages_in_stride = (class.arena_stride() / PAGE_BYTES) as u64;
            // Every page would be 2^28 divisions; the last pages have the largest error.
            let pages = region.lane_bytes() / PAGE_BYTES as u64;
            let step = if cfg!(miri) { 1_000_003 } else { 97 };
            for page in (0..pages).step_by(step).chain(pages - 100..pages) {
                let va = region.lane(class) + page * PAGE_BYTES as u64;
                let want = page / pages_in_stride * class.arena_stride() as u64;
                assert_eq!(region.arena_at(class, va).get() - region.lane(class), want);
            }
        }
    }

    #[test]
    fn exactly_the_starts_of_objects_are_slots() {
        // Arithmetic alone: Miri has nothing to find, and takes long over every offset.
        for class in SizeClass::all().take(if cfg!(miri) { 1 } else { CLASSES }) {
            let mut next = 0;
            for offset in 0..class.arena_stride() as u64 {
                let start = (HEADER_BYTES + next * class.size()) as u64;
                if offset == start && next < OBJECTS_PER_ARENA {
                    assert_eq!(slot_at(class, offset), Ok(next));
                    next += 1;
                } else {
                    assert_eq!(slot_at(class, offset), Err(FreeFault::Misaligned));
                }
            }
            assert_eq!(next, OBJECTS_PER_ARENA);
        }
    }
}
