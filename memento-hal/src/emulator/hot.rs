//! The hardware object table: for each class, the arena that the core allocates from.
//!
//! An entry is the arena's address and a dirty bit. What the entry caches, the header line, is not
//! copied: the words stay in the store, where other cores can see whether a slot is allocated when
//! they free it, and where a fork child finds them whole. The cost of loading and writing back the
//! line is charged as if it were copied.

use super::arena::ArenaAddr;
use crate::geometry::{CLASSES, SizeClass};

/// Arena addresses are multiples of the page size, so bit 0 is free.
const DIRTY: u64 = 1;

/// 64 entries, direct-mapped by class.
#[derive(Clone, Debug)]
pub struct Hot {
    entries: [u64; CLASSES],
}

impl Hot {
    /// No arena in any entry.
    pub const fn new() -> Self {
        Self { entries: [0; CLASSES] }
    }

    /// The arena in the entry of `class`.
    #[inline]
    pub fn arena(&self, class: SizeClass) -> Option<ArenaAddr> {
        ArenaAddr::from_link(self.entries[class.index()] & !DIRTY)
    }

    /// Puts `arena` into the entry of `class`, clean.
    #[inline]
    pub fn load(&mut self, class: SizeClass, arena: ArenaAddr) {
        self.entries[class.index()] = arena.get();
    }

    /// Notes that the cached header differs from the one in memory. The entry holds an arena.
    #[inline]
    pub fn mark_dirty(&mut self, class: SizeClass) {
        self.entries[class.index()] |= DIRTY;
    }

    /// Empties the entry of `class`; gives the arena that was in it and whether it was dirty.
    #[inline]
    pub fn evict(&mut self, class: SizeClass) -> Option<(ArenaAddr, bool)> {
        let entry = core::mem::take(&mut self.entries[class.index()]);
        Some((ArenaAddr::from_link(entry & !DIRTY)?, entry & DIRTY != 0))
    }
}

impl Default for Hot {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_found_by_its_class_alone_and_leaves_with_its_state() {
        let mut hot = Hot::new();
        for class in SizeClass::all() {
            assert_eq!(hot.arena(class), None);
            assert_eq!(hot.evict(class), None);
            hot.load(class, ArenaAddr::new(0x10_0000 + 4096 * class.index() as u64));
        }
        let class = SizeClass::new(7).unwrap();
        let arena = ArenaAddr::new(0x10_7000);
        assert_eq!(hot.arena(class), Some(arena));
        hot.mark_dirty(class);
        assert_eq!(hot.arena(class), Some(arena));
        assert_eq!(hot.evict(class), Some((arena, true)));
        assert_eq!(hot.evict(class), None);
        let other = SizeClass::new(8).unwrap();
        assert_eq!(hot.evict(other), Some((ArenaAddr::new(0x10_8000), false)));
    }
}
