//! Size classes, arena shape and the region: the numbers that hardware and software agree on.
//!
//! Everything here is pure arithmetic on the published design: 64 size classes of
//! 8·(c+1) bytes, arenas of one header line and 256 objects, a region of 64 equal lanes. Whoever
//! needs an address computed or taken apart calls this module; no other file repeats a formula.

/// Number of size classes, and so of lanes and of HOT entries.
pub const CLASSES: usize = 64;
/// Distance in bytes between neighbouring size classes, and the size of the smallest.
pub const CLASS_STEP: usize = 8;
/// Largest request in bytes that the object allocator serves.
pub const SMALL_MAX: usize = CLASSES * CLASS_STEP;
/// Largest alignment in bytes that the object allocator serves.
pub const SMALL_ALIGN_MAX: usize = 64;
/// Objects in one arena: as many as the header's bitmap has bits.
pub const OBJECTS_PER_ARENA: usize = 256;
/// Bytes of an arena's header: one cache line.
pub const HEADER_BYTES: usize = 64;
/// Bytes of a cache line.
pub const LINE_BYTES: usize = 64;
/// Bytes of a page of the *modelled* machine. The host's page size is found at run time.
pub const PAGE_BYTES: usize = 4096;
/// log2 of the default number of bytes in a lane.
pub const LANE_SHIFT: u32 = 34;
/// Arena strides in one chunk: what a core takes from a lane at a time.
pub const STRIDES_PER_CHUNK: usize = 64;

/// One of the 64 size classes; class *c* holds objects of 8·(c+1) bytes.
///
/// ```
/// use memento_hal::geometry::SizeClass;
/// assert_eq!(SizeClass::for_request(20, 8).unwrap().size(), 24);
/// assert_eq!(SizeClass::for_request(20, 16).unwrap().size(), 32);
/// assert_eq!(SizeClass::for_request(0, 1).unwrap().size(), 8);
/// assert!(SizeClass::for_request(513, 8).is_none());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct SizeClass(u8);

impl SizeClass {
    /// The class with this index, or `None` from 64 up.
    #[inline]
    pub const fn new(index: usize) -> Option<Self> {
        if index < CLASSES { Some(Self(index as u8)) } else { None }
    }

    /// Class of a request: the smallest size that is at least `max(size, 1)` and a multiple of
    /// `align`. `None` when the software path must serve it: over [`SMALL_MAX`] bytes or aligned
    /// beyond [`SMALL_ALIGN_MAX`]. `align` must be a power of two.
    #[inline]
    pub const fn for_request(size: usize, align: usize) -> Option<Self> {
        debug_assert!(align.is_power_of_two());
        if size > SMALL_MAX || align > SMALL_ALIGN_MAX {
            return None;
        }
        // 1 to 64: the largest alignment is 64, which divides 512.
        Some(Self((Self::steps(size, align) - 1) as u8))
    }

    /// The smallest size that is at least `max(size, 1)` and a multiple of `align`, a power of two, in units of
    /// [`CLASS_STEP`]. `size` may be more than any class's, but so that the sum with `align` is a number.
    #[inline(always)]
    pub const fn steps(size: usize, align: usize) -> usize {
        let unit = if align > CLASS_STEP { align } else { CLASS_STEP };
        let size = if size == 0 { 1 } else { size };
        ((size + unit - 1) & !(unit - 1)) / CLASS_STEP
    }

    /// Index of the class, 0–63.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Bytes of one object, 8–512.
    #[inline]
    pub const fn size(self) -> usize {
        (self.0 as usize + 1) * CLASS_STEP
    }

    /// Bytes from one arena of this class to the next: header and body, rounded up to pages.
    #[inline]
    pub const fn arena_stride(self) -> usize {
        let bytes = HEADER_BYTES + OBJECTS_PER_ARENA * self.size();
        (bytes + PAGE_BYTES - 1) & !(PAGE_BYTES - 1)
    }

    /// All classes, smallest first.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator {
        (0..CLASSES as u8).map(Self)
    }
}

/// Alignment that C guarantees for a request of `size` bytes: 16 from 16 bytes up, else 8.
#[inline]
pub const fn c_alignment(size: usize) -> usize {
    if size >= 16 { 16 } else { 8 }
}

const _: () = {
    assert!(OBJECTS_PER_ARENA == 256, "the header's bitmap is four 64-bit words");
    assert!(HEADER_BYTES == LINE_BYTES, "a HOT entry caches exactly one header line");
    let mut c = 0;
    while c < CLASSES {
        let class = SizeClass(c as u8);
        assert!(class.arena_stride().is_multiple_of(PAGE_BYTES));
        assert!(class.arena_stride() >= HEADER_BYTES + OBJECTS_PER_ARENA * class.size());
        assert!(class.arena_stride() * STRIDES_PER_CHUNK <= 1 << LANE_SHIFT);
        c += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_of_every_request_is_the_smallest_that_fits() {
        for shift in 0..=6 {
            let align = 1usize << shift;
            for size in 0..=SMALL_MAX {
                let got = SizeClass::for_request(size, align).unwrap();
                let want = SizeClass::all()
                    .find(|c| c.size() >= size.max(1) && c.size() % align.max(8) == 0)
                    .unwrap();
                assert_eq!(got, want, "size {size} align {align}");
            }
        }
    }

    #[test]
    fn c_reaches_thirty_three_classes() {
        let mut seen = [false; CLASSES];
        for size in 0..=SMALL_MAX {
            seen[SizeClass::for_request(size, c_alignment(size)).unwrap().index()] = true;
        }
        assert_eq!(seen.iter().filter(|s| **s).count(), 33);
    }

    #[test]
    fn the_software_path_gets_what_does_not_fit() {
        assert!(SizeClass::for_request(SMALL_MAX + 1, 8).is_none());
        assert!(SizeClass::for_request(8, 128).is_none());
        assert!(SizeClass::new(CLASSES).is_none());
    }
}
