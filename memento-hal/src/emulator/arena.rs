//! An arena: a header line and 256 objects in one lane.
//!
//! The header is eight words. The owner alone writes the first seven; the eighth is where other
//! cores leave word of remote frees.
//!
//! | word | holds |
//! | --- | --- |
//! | 0–3 | occupancy bitmap, 1 = allocated |
//! | 4, 5 | next and previous arena on the list that it is on |
//! | 6 | low half: bypass counter, the lines touched so far; high half: the owner, a core |
//! | 7 | bit 0: queued for remote frees; above: next arena in that queue |
//!
//! Behind the body, in the rounding to whole pages, lies the bitmap of slots that other cores have
//! freed. The rounding is never less than 1984 bytes, and no page of it is touched before the first
//! remote free.

use super::memory::{CoreId, Store};
use crate::geometry::{
    HEADER_BYTES, LINE_BYTES, OBJECTS_PER_ARENA, PAGE_BYTES, SMALL_MAX, SizeClass,
};

/// Words of an occupancy bitmap.
pub const BITMAP_WORDS: usize = OBJECTS_PER_ARENA / 64;

const NEXT: u64 = 4;
const PREVIOUS: u64 = 5;
const BYPASS: u64 = 6;
const REMOTE_LINK: u64 = 7;

/// Address of an arena, which is that of its header line; a multiple of [`PAGE_BYTES`], never 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ArenaAddr(u64);

impl ArenaAddr {
    /// The arena at `address`.
    #[inline]
    pub const fn new(address: u64) -> Self {
        debug_assert!(address != 0 && address.is_multiple_of(PAGE_BYTES as u64));
        Self(address)
    }

    /// The address.
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// What a link holds: an arena, or none as 0.
    #[inline]
    pub(super) const fn from_link(word: u64) -> Option<Self> {
        if word == 0 { None } else { Some(Self(word)) }
    }

    #[inline]
    pub(super) fn to_link(arena: Option<Self>) -> u64 {
        arena.map_or(0, Self::get)
    }

    /// Address of object `slot` of an arena of `class`.
    #[inline]
    pub const fn object(self, class: SizeClass, slot: usize) -> u64 {
        self.0 + (HEADER_BYTES + slot * class.size()) as u64
    }
}

/// Bytes from an arena's start to the end of object `slot`.
#[inline]
pub(super) const fn object_end(class: SizeClass, slot: usize) -> u64 {
    (HEADER_BYTES + (slot + 1) * class.size()) as u64
}

const fn body_end(class: SizeClass) -> u64 {
    object_end(class, OBJECTS_PER_ARENA - 1)
}

const _: () = {
    let mut size = 8;
    while size <= SMALL_MAX {
        if let Some(class) = SizeClass::for_request(size, 8) {
            assert!(class.arena_stride() / LINE_BYTES < 1 << 32, "the bypass counter's half word");
            let slack = class.arena_stride() as u64 - body_end(class);
            assert!(slack >= 1984, "room for the words of remote frees");
            assert!(body_end(class).is_multiple_of(LINE_BYTES as u64));
        }
        size += 8;
    }
};

/// An arena's words, reached through a store.
#[derive(Debug)]
pub(super) struct Header<'a, S> {
    store: &'a S,
    arena: ArenaAddr,
}

impl<S> Clone for Header<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Header<'_, S> {}

impl<'a, S: Store> Header<'a, S> {
    #[inline]
    pub fn new(store: &'a S, arena: ArenaAddr) -> Self {
        Self { store, arena }
    }

    #[inline]
    fn word(&self, index: u64) -> u64 {
        self.arena.get() + 8 * index
    }

    /// Writes the header of a new arena. Its memory has never been used, so all else is zero.
    pub fn create(&self, owner: CoreId) {
        self.store.store(self.word(BYPASS), u64::from(owner.0) << 32);
    }

    /// Lowest free slot.
    #[inline]
    pub fn first_free(&self) -> Option<usize> {
        for w in 0..BITMAP_WORDS {
            let free = !self.store.load(self.word(w as u64));
            if free != 0 {
                return Some(64 * w + free.trailing_zeros() as usize);
            }
        }
        None
    }

    #[inline]
    pub fn is_full(&self) -> bool {
        self.first_free().is_none()
    }

    #[inline]
    pub fn is_allocated(&self, slot: usize) -> bool {
        self.store.load(self.word((slot / 64) as u64)) >> (slot % 64) & 1 == 1
    }

    /// The slots of bitmap word `w` that are allocated.
    #[inline]
    pub fn allocated(&self, w: usize) -> u64 {
        self.store.load(self.word(w as u64))
    }

    /// Marks `slot` allocated. By the owner.
    #[inline]
    pub fn set(&self, slot: usize) {
        let at = self.word((slot / 64) as u64);
        self.store.store(at, self.store.load(at) | 1 << (slot % 64));
    }

    /// Marks the slots of `bits` in bitmap word `w` free. By the owner.
    #[inline]
    pub fn clear(&self, w: usize, bits: u64) {
        let at = self.word(w as u64);
        self.store.store(at, self.store.load(at) & !bits);
    }

    /// Next arena on the list.
    pub fn next(&self) -> Option<ArenaAddr> {
        ArenaAddr::from_link(self.store.load(self.word(NEXT)))
    }

    pub fn set_next(&self, arena: Option<ArenaAddr>) {
        self.store.store(self.word(NEXT), ArenaAddr::to_link(arena));
    }

    /// Previous arena on the list.
    pub fn previous(&self) -> Option<ArenaAddr> {
        ArenaAddr::from_link(self.store.load(self.word(PREVIOUS)))
    }

    pub fn set_previous(&self, arena: Option<ArenaAddr>) {
        self.store.store(self.word(PREVIOUS), ArenaAddr::to_link(arena));
    }

    /// Lines of the arena touched so far, counted from its start.
    #[inline]
    pub fn lines_touched(&self) -> u64 {
        u64::from(self.store.load(self.word(BYPASS)) as u32)
    }

    /// Raises the bypass counter by `lines`. By the owner.
    #[inline]
    pub fn add_lines_touched(&self, lines: u64) {
        let at = self.word(BYPASS);
        self.store.store(at, self.store.load(at) + lines);
    }

    /// Address of the word that links the queue of arenas with remote frees.
    #[inline]
    pub fn remote_link(&self) -> u64 {
        self.word(REMOTE_LINK)
    }

    /// Address of word `w` of the bitmap of remotely freed slots.
    #[inline]
    pub fn remote_bitmap(&self, class: SizeClass, w: usize) -> u64 {
        self.arena.get() + body_end(class) + 8 * w as u64
    }

    /// The core that created the arena.
    #[inline]
    pub fn owner(&self) -> CoreId {
        CoreId((self.store.load(self.word(BYPASS)) >> 32) as u32)
    }
}
