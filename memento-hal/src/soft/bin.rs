//! Bins: the sizes that the software heap serves, and how a request finds its own.
//!
//! Bins 1–64 are the hardware's size classes, so that the soft backend and the emulator round
//! alike. Above them come eight sizes per doubling up to 8 KiB, four up to 32 KiB, then whole runs of granules up to
//! 256 KiB.
//!
//! A heap's table of what each bin is served from has *places*. Place *n* up to 128 stands for requests of 8·n bytes
//! rounded up, so that the fast path needs no look-up to find it: for a bin of more than 512 bytes there are several of
//! these. Every bin above the small ones has a place of its own besides.

use super::layout::{GRANULE_BYTES, GRANULES_PER_BLOCK};
use super::outbox::{CHARGE_MAX, CHARGE_MIN};
use crate::geometry::{CLASS_STEP, CLASSES, SMALL_ALIGN_MAX, SMALL_MAX, SizeClass};

/// Length of every per-bin array. Index 0 is never filled.
pub const BIN_SLOTS: usize = 120;

/// Requests of at most this many bytes find their place by their size alone.
pub const DIRECT_MAX: usize = 1024;
/// Length of the table of places. Place 0 is never filled.
pub const PLACES: usize = BIN_SLOTS + FURTHER;
/// How much further the place of a bin above the small ones is than its index.
const FURTHER: usize = (DIRECT_MAX - SMALL_MAX) / CLASS_STEP;

const FIRST_MEDIUM: usize = CLASSES + 1;
/// Sizes per doubling up to [`LISTED_MAX`], and above.
const MEDIUM_PER_DOUBLING: usize = 8;
const COARSE_PER_DOUBLING: usize = 4;
const MEDIUM_DOUBLINGS: usize = (LISTED_MAX / SMALL_MAX).ilog2() as usize;
const FIRST_COARSE: usize = FIRST_MEDIUM + MEDIUM_DOUBLINGS * MEDIUM_PER_DOUBLING;
const MEDIUM_MAX: usize = 32 * 1024;
/// Distance of the smallest medium sizes; all larger distances are multiples of it.
const MEDIUM_STEP: usize = SMALL_MAX / MEDIUM_PER_DOUBLING;
const FIRST_RUN: usize =
    FIRST_COARSE + (MEDIUM_MAX / LISTED_MAX).ilog2() as usize * COARSE_PER_DOUBLING;
/// Objects of more bytes are served and freed one by one, by the slow path: see [`Bin::is_big`].
const LISTED_MAX: usize = 8 * 1024;
const SHORTEST_RUN: usize = MEDIUM_MAX / GRANULE_BYTES + 1;
/// Number of bins in use, the unused bin 0 included.
pub const BINS: usize = FIRST_RUN + (GRANULES_PER_BLOCK - SHORTEST_RUN) + 1;
/// Largest object in bytes that the software heap serves.
pub const HEAP_MAX: usize = GRANULES_PER_BLOCK * GRANULE_BYTES;

/// A bin that holds objects: 1 ≤ index < [`BINS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Bin(u8);

impl Bin {
    /// The bin of a small size class.
    #[inline(always)]
    pub const fn of_class(class: SizeClass) -> Self {
        Self((class.index() + 1) as u8)
    }

    /// The bin with this index, if it holds objects.
    #[inline]
    pub const fn new(index: u8) -> Option<Self> {
        if index != 0 && (index as usize) < BINS { Some(Self(index)) } else { None }
    }

    /// Smallest bin whose objects have at least `size` bytes and are aligned to `align`, a power of
    /// two. `None` above [`HEAP_MAX`] bytes or above a granule's alignment.
    #[inline]
    pub const fn for_request(size: usize, align: usize) -> Option<Self> {
        if align <= SMALL_ALIGN_MAX
            && let Some(class) = SizeClass::for_request(size, align)
        {
            return Some(Self::of_class(class));
        }
        Self::for_large_request(size, align)
    }

    /// The rest of [`Bin::for_request`]: more than 512 bytes, or aligned beyond 64.
    #[inline]
    pub const fn for_large_request(size: usize, align: usize) -> Option<Self> {
        if size > HEAP_MAX || align > GRANULE_BYTES {
            return None;
        }
        let mut index = if size > SMALL_MAX { Self::index_above_small(size) } else { FIRST_MEDIUM };
        // All these sizes are multiples of the smallest step. For more, the doublings end in powers of
        // two, so this stops soon.
        if align > MEDIUM_STEP {
            while !SIZES[index].is_multiple_of(align as u32) {
                index += 1;
            }
        }
        Some(Self(index as u8))
    }

    /// Index of the smallest bin for `SMALL_MAX < size <= HEAP_MAX`.
    #[inline]
    const fn index_above_small(size: usize) -> usize {
        if size <= TABLE_MAX {
            BY_SIZE[(size - 1) >> TABLE_SHIFT] as usize
        } else if size <= MEDIUM_MAX {
            Self::index_by_logarithm(size)
        } else {
            FIRST_RUN + size.div_ceil(GRANULE_BYTES) - SHORTEST_RUN
        }
    }

    /// As [`Bin::index_above_small`], up to `MEDIUM_MAX`.
    const fn index_by_logarithm(size: usize) -> usize {
        let last = size - 1;
        let log2 = (usize::BITS - 1 - last.leading_zeros()) as usize;
        if size <= LISTED_MAX {
            let part =
                (last >> (log2 - MEDIUM_PER_DOUBLING.ilog2() as usize)) % MEDIUM_PER_DOUBLING;
            FIRST_MEDIUM + (log2 - SMALL_MAX.ilog2() as usize) * MEDIUM_PER_DOUBLING + part
        } else {
            let part =
                (last >> (log2 - COARSE_PER_DOUBLING.ilog2() as usize)) % COARSE_PER_DOUBLING;
            FIRST_COARSE + (log2 - LISTED_MAX.ilog2() as usize) * COARSE_PER_DOUBLING + part
        }
    }

    /// Index in per-bin arrays.
    #[inline(always)]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The place of requests of `size` bytes, at most [`DIRECT_MAX`], at multiples of `align`, at most
    /// [`SMALL_ALIGN_MAX`]: that of their bin, or one more of it.
    #[inline(always)]
    pub const fn direct_place(size: usize, align: usize) -> usize {
        SizeClass::steps(size, align)
    }

    /// The bin's place.
    #[inline(always)]
    pub const fn place(self) -> usize {
        if self.index() <= CLASSES { self.index() } else { self.medium_place() }
    }

    /// The place of a bin that is not one of the small ones.
    #[inline(always)]
    pub const fn medium_place(self) -> usize {
        self.index() + FURTHER
    }

    /// Further places of the bin, for the sizes that it serves.
    #[inline]
    pub fn direct_places(self) -> core::ops::Range<usize> {
        if self.index() <= CLASSES || self.size() > DIRECT_MAX {
            return 0..0;
        }
        SIZES[self.index() - 1] as usize / CLASS_STEP + 1..self.size() / CLASS_STEP + 1
    }

    /// Bytes of one object.
    #[inline]
    pub const fn size(self) -> usize {
        SIZES[self.0 as usize] as usize
    }

    /// Granules in one span of this bin: the fewest of which an eighth is lost at most.
    /// What of a span was not made yet, or is free beside few objects, may be memory that nobody else can use.
    #[inline]
    pub const fn span_granules(self) -> usize {
        SPAN_GRANULES[self.0 as usize] as usize
    }

    const fn choose_span_granules(self) -> usize {
        let mut granules = self.size().div_ceil(GRANULE_BYTES);
        while granules * GRANULE_BYTES % self.size() > granules * GRANULE_BYTES / 8 {
            granules += 1;
        }
        granules
    }

    /// Whether the objects are so big that each of their spans has few, and that what is freed is
    /// wanted by other bins at once: they are in no list, but bits of their span.
    #[inline]
    pub const fn is_big(self) -> bool {
        self.0 >= FIRST_BIG
    }

    /// Whether each object has a span of its own.
    #[inline]
    pub const fn is_alone(self) -> bool {
        self.span_objects() == 1
    }

    /// Objects in one span.
    #[inline]
    pub const fn span_objects(self) -> usize {
        SLOTS[self.0 as usize].count as usize
    }

    /// What an object counts in an outbox's parcel: its bytes in units of 16, at most as
    /// many as a parcel takes.
    #[inline(always)]
    pub const fn charge(self) -> u8 {
        SLOTS[self.0 as usize].charge
    }

    /// [`Bin::charge`] of the object at this offset of a granule. `None` if none starts there, the granule is of no bin
    /// (index 0), or its bin is not below the first whose spans have several.
    #[inline(always)]
    pub const fn charge_at(index: u8, offset: usize) -> Option<u8> {
        // No object of bin 0 starts anywhere.
        let bin = Self(index);
        if index < FIRST_LONG && bin.starts_at(offset) { Some(bin.charge()) } else { None }
    }

    /// The number of the object that starts at this offset of a span; something larger than any if none
    /// does. Every remote free asks, so there is no division: for a size of 2ᵏ·m with odd m,
    /// multiplying by m's inverse modulo 2³² and rotating by k gives the quotient of a multiple, and
    /// something larger than any quotient for everything else.
    #[inline(always)]
    pub const fn number_at(self, offset: usize) -> u32 {
        let slots = SLOTS[self.0 as usize];
        (offset as u32).wrapping_mul(slots.inverse).rotate_right(slots.shift as u32)
    }

    /// Whether an object starts at this offset of a span: a multiple of the object size, and of an
    /// object that fits.
    #[inline(always)]
    pub const fn starts_at(self, offset: usize) -> bool {
        self.number_at(offset) < SLOTS[self.0 as usize].count as u32
    }

    /// The hardware's class, for bins 1–64.
    #[inline]
    pub const fn class(self) -> Option<SizeClass> {
        SizeClass::new(self.0 as usize - 1)
    }

    /// All bins, smallest first.
    pub fn all() -> impl Iterator<Item = Self> {
        (1..BINS as u8).map(Self)
    }

    /// The bins of larger objects, smallest first.
    pub fn larger(self) -> impl Iterator<Item = Self> {
        (self.0 + 1..BINS as u8).map(Self)
    }
}

/// Up to this many bytes a table tells the bin: what interpreters ask for above the small sizes.
const TABLE_MAX: usize = 8 * 1024;
/// Bins above the small ones end on multiples of this power of two.
const TABLE_SHIFT: u32 = (SMALL_MAX / MEDIUM_PER_DOUBLING).trailing_zeros();
/// Bin of the sizes that end in each step; the small sizes' entries are not used.
static BY_SIZE: [u8; TABLE_MAX >> TABLE_SHIFT] = {
    let mut bins = [0; TABLE_MAX >> TABLE_SHIFT];
    let mut step = SMALL_MAX >> TABLE_SHIFT;
    while step < bins.len() {
        bins[step] = Bin::index_by_logarithm((step + 1) << TABLE_SHIFT) as u8;
        step += 1;
    }
    bins
};

/// Object size of each bin; 0 where there is none.
static SIZES: [u32; BIN_SLOTS] = {
    let mut sizes = [0u32; BIN_SLOTS];
    let mut k = 1;
    while k < BINS {
        sizes[k] = if k <= CLASSES {
            k * CLASS_STEP
        } else if k < FIRST_COARSE {
            let n = k - FIRST_MEDIUM;
            let base = SMALL_MAX << (n / MEDIUM_PER_DOUBLING);
            base + base / MEDIUM_PER_DOUBLING * (n % MEDIUM_PER_DOUBLING + 1)
        } else if k < FIRST_RUN {
            let n = k - FIRST_COARSE;
            let base = LISTED_MAX << (n / COARSE_PER_DOUBLING);
            base + base / COARSE_PER_DOUBLING * (n % COARSE_PER_DOUBLING + 1)
        } else {
            (k - FIRST_RUN + SHORTEST_RUN) * GRANULE_BYTES
        } as u32;
        k += 1;
    }
    sizes
};

/// The first bin whose spans have several granules.
const FIRST_LONG: u8 = {
    let mut k = 1;
    while Bin(k).choose_span_granules() == 1 {
        k += 1;
    }
    k
};

/// The first bin whose objects are big.
const FIRST_BIG: u8 = {
    let mut k = 1;
    while Bin(k).size() <= LISTED_MAX {
        k += 1;
    }
    k
};

/// Bytes that [`Bin::charge`] counts in.
pub const CHARGE_UNIT: usize = 16;

/// The slots of a span: what every remote free reads, at one address.
#[derive(Clone, Copy)]
struct Slots {
    /// The inverse of the object size's odd part modulo 2³², and how often the size can be halved.
    inverse: u32,
    shift: u8,
    /// See [`Bin::charge`].
    charge: u8,
    /// Objects in one span.
    count: u16,
}

const _: () = assert!(size_of::<Slots>() == 8);

/// Granules in one span of each bin.
static SPAN_GRANULES: [u8; BIN_SLOTS] = {
    let mut granules = [0; BIN_SLOTS];
    let mut k = 1;
    while k < BINS {
        granules[k] = Bin(k as u8).choose_span_granules() as u8;
        k += 1;
    }
    granules
};

static SLOTS: [Slots; BIN_SLOTS] = {
    let mut slots = [Slots { inverse: 0, shift: 0, charge: 0, count: 0 }; BIN_SLOTS];
    let mut k = 1;
    while k < BINS {
        let bin = Bin(k as u8);
        let shift = bin.size().trailing_zeros();
        let odd = (bin.size() >> shift) as u32;
        // Each step of Newton's doubles the bits that are right; an odd number is its own inverse
        // modulo 8.
        let mut inverse = odd;
        let mut bits = 3;
        while bits < u32::BITS {
            inverse = inverse.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(inverse)));
            bits *= 2;
        }
        let charge = bin.size().div_ceil(CHARGE_UNIT);
        let charge = if charge < CHARGE_MIN { CHARGE_MIN } else { charge };
        slots[k] = Slots {
            inverse,
            shift: shift as u8,
            charge: if charge < CHARGE_MAX { charge } else { CHARGE_MAX } as u8,
            count: (bin.choose_span_granules() * GRANULE_BYTES / bin.size()) as u16,
        };
        k += 1;
    }
    slots
};

const _: () = assert!(BINS <= BIN_SLOTS);
const _: () = {
    let mut k = FIRST_BIG;
    while (k as usize) < BINS {
        let bin = Bin(k);
        assert!(
            bin.choose_span_granules() * GRANULE_BYTES / bin.size() <= super::span::BIG_OBJECTS_MAX
        );
        k += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    fn check(size: usize, align: usize) {
        let got = Bin::for_request(size, align).unwrap();
        let fits = |b: &Bin| b.size() >= size.max(1) && b.size().is_multiple_of(align);
        let want = Bin::all()
            .filter(|b| align <= SMALL_ALIGN_MAX || b.size() > SMALL_MAX)
            .find(fits)
            .unwrap();
        assert_eq!(got, want, "size {size} align {align}");
    }

    #[test]
    fn every_request_gets_the_smallest_bin_that_fits() {
        let step = if cfg!(miri) { 997 } else { 1 };
        for size in (0..=40_000).step_by(step) {
            check(size, 8);
        }
        for size in (40_000..=HEAP_MAX).step_by(509 * step) {
            check(size, 16);
        }
        for shift in 0..=14 {
            for size in [0, 1, 17, 100, 513, 1025, 4097, 16_384, 20_000, 32_768] {
                check(size, 1 << shift);
            }
        }
        assert!(Bin::for_request(HEAP_MAX + 1, 8).is_none());
        assert!(Bin::for_request(8, 2 * GRANULE_BYTES).is_none());
    }

    #[test]
    fn a_size_finds_a_place_of_its_bin() {
        let mut owner = [0; PLACES];
        for bin in Bin::all() {
            for place in bin.direct_places().chain([bin.place()]) {
                assert_eq!(core::mem::replace(&mut owner[place], bin.index()), 0, "{place}");
            }
        }
        for shift in 0..=SMALL_ALIGN_MAX.ilog2() {
            for size in 0..=DIRECT_MAX {
                let want = Bin::for_request(size, 1 << shift).unwrap();
                let place = Bin::direct_place(size, 1 << shift);
                assert_eq!(owner[place], want.index(), "size {size} align {}", 1 << shift);
            }
        }
    }

    #[test]
    fn objects_start_where_division_says() {
        let step = if cfg!(miri) { 4093 } else { 1 };
        for bin in Bin::all() {
            for offset in (0..bin.span_granules() * GRANULE_BYTES).step_by(step) {
                let want =
                    offset.is_multiple_of(bin.size()) && offset / bin.size() < bin.span_objects();
                assert_eq!(bin.starts_at(offset), want, "{bin:?} {offset}");
            }
        }
    }

    #[test]
    fn sizes_grow_and_waste_at_most_a_third() {
        let sizes: Vec<usize> = Bin::all().map(Bin::size).collect();
        assert!(sizes.windows(2).all(|w| w[0] < w[1]));
        assert!(sizes.windows(2).filter(|w| w[0] >= 512).all(|w| w[1] * 2 <= w[0] * 3));
        assert_eq!(*sizes.last().unwrap(), HEAP_MAX);
    }

    #[test]
    fn a_span_is_as_short_as_loses_little() {
        for bin in Bin::all() {
            let loses_little = |granules: usize| {
                let bytes = granules * GRANULE_BYTES;
                bytes >= bin.size() && bytes % bin.size() * 8 <= bytes
            };
            let granules = bin.span_granules();
            assert!(loses_little(granules) && !(1..granules).any(loses_little), "{bin:?}");
            assert_eq!(bin.span_objects(), granules * GRANULE_BYTES / bin.size());
        }
    }
}
