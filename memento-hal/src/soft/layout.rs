//! Where things lie: region, slots, metadata, objects.
//!
//! ```text
//! region   = [ slot 0 | slot 1 | … ]                      one reservation, one slot per heap
//! slot     = [ mailbox | heap | list heads | … spans | countdowns … | guard | objects … ]
//! objects  = [ block 0 | block 1 | … ]                     256 KiB each, handed out bottom up
//! block    = [ granule 0 | … | granule 15 ]                16 KiB each
//! span     = 1 to 16 granules of one block, for objects of one bin
//! ```
//! Everything about an object is found by arithmetic on its address, and nothing about it is stored
//! next to it: an overflow cannot reach the metadata, which lies below a guard that is never
//! readable. All of a heap's objects are one range, so one comparison proves both that an address is
//! memento's and that the calling thread owns it.

/// log2 of a granule's bytes.
pub const GRANULE_SHIFT: u32 = 14;
/// Bytes of a granule: four pages of 4 KiB. Smaller costs time, since a bin moves on to another more often; larger
/// strands memory of rarely used bins.
pub const GRANULE_BYTES: usize = 1 << GRANULE_SHIFT;
/// Granules of a block: one bit each in a 16-bit mask.
pub const GRANULES_PER_BLOCK: usize = 16;
/// Bytes of a block.
pub const BLOCK_BYTES: usize = GRANULES_PER_BLOCK * GRANULE_BYTES;

/// log2 of a slot's bytes when address space is plentiful.
pub const SLOT_SHIFT_MAX: u32 = 32;
/// log2 of a slot's bytes when it is short; half of the slot is metadata and guard then.
pub const SLOT_SHIFT_MIN: u32 = 25;
/// Most slots, and so most heaps, of a process.
pub const SLOTS_MAX: usize = 1024;

/// Offset of the heap in its slot; the header for other threads lies before it.
pub const HEAP_OFFSET: usize = 192;
/// Offset of the list heads: eight bytes per granule, and one entry before the first granule's for none.
/// It follows the heap, so that those of a small program lie on the heap's own page.
pub const LISTS_OFFSET: usize = HEAP_OFFSET + super::heap::HEAP_BYTES;
/// Where the pages of the countdowns begin, and those of the span array end but for its first entries.
pub const COUNTDOWNS_PAGES: usize = 12 * 1024 * 1024;
/// Offset of the countdowns, four bytes per granule; the span array lies below it and grows downwards. Those of the
/// first 99 granules, 1.5 MiB, share a page.
pub const COUNTDOWNS_OFFSET: usize = COUNTDOWNS_PAGES + 4096 - 4096 / 8;
/// Offset of the objects. A multiple of 2 MiB, so that blocks can be huge pages.
pub const OBJECTS_OFFSET: usize = 16 * 1024 * 1024;
/// Most granules of a slot.
pub const GRANULES_MAX: usize = ((1 << SLOT_SHIFT_MAX) - OBJECTS_OFFSET) >> GRANULE_SHIFT;

/// Bytes of a huge page. Where they have another size, the system takes the advice for what it can.
pub const HUGE_BYTES: usize = 2 * 1024 * 1024;
/// Alignment of every slot.
pub const SLOT_ALIGN: usize = HUGE_BYTES;

/// Room that is left between the parts at least.
const GUARD_MIN: usize = 128 * 1024;

const _: () = {
    let spans = COUNTDOWNS_OFFSET - GRANULES_MAX * size_of::<super::span::Span>();
    assert!(LISTS_OFFSET + (GRANULES_MAX + 1) * size_of::<usize>() + GUARD_MIN <= spans);
    assert!(COUNTDOWNS_OFFSET + GRANULES_MAX * size_of::<u32>() + GUARD_MIN <= OBJECTS_OFFSET);
    assert!(COUNTDOWNS_PAGES.is_multiple_of(65536) && OBJECTS_OFFSET.is_multiple_of(SLOT_ALIGN));
    assert!(OBJECTS_OFFSET < 1 << SLOT_SHIFT_MIN);
};
