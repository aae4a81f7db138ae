//! Which large objects there are: a map from addresses to their pages.
//!
//! An address that is not in it is not an object. Open addressing with linear probing, at most half
//! full, in a mapping of its own that doubles. Entries move back when one before them is removed, so
//! there are no tombstones.

use super::pages::Pages;
use core::ptr::{NonNull, null_mut};
use memento_hal::os::Os;

/// What may be learned from an object's pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Backing {
    /// Nothing: they were in use before, or were seen in use, or were asked for as zeros.
    Known,
    /// Whether the program touches them: they were mapped for this object.
    Fresh,
    /// Nothing, and they are not kept either.
    Apart,
}

/// The map.
#[derive(Debug)]
pub(crate) struct Table {
    entries: *mut Entry,
    /// A power of two, or 0.
    capacity: usize,
    used: usize,
}

/// All zero in an entry that is free.
#[derive(Clone, Copy)]
struct Entry {
    /// Null: free. What a program passes is only compared with it: a pointer from there need not reach
    /// over all of the pages.
    start: *mut u8,
    bytes: usize,
    mapping: u32,
    allocated: u16,
    full: bool,
    /// It was made longer once.
    grown: bool,
    backing: Backing,
}

impl Table {
    /// No objects.
    pub const fn new() -> Self {
        Self { entries: null_mut(), capacity: 0, used: 0 }
    }

    /// Objects start on pages, and their distances are mostly multiples of large powers of two: the
    /// multiplication spreads them.
    fn home(&self, address: usize) -> usize {
        let hash = ((address >> 12) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> 32) as usize & (self.capacity - 1)
    }

    fn entry(&mut self, index: usize) -> &mut Entry {
        debug_assert!(index < self.capacity);
        // SAFETY: `entries` has `capacity` entries, all initialised (zeros are a free entry).
        unsafe { &mut *self.entries.add(index) }
    }

    /// Index of the address's entry, or of the free entry where it would be.
    fn find(&mut self, address: usize) -> usize {
        let mut index = self.home(address);
        loop {
            let at = self.entry(index).start.addr();
            if at == address || at == 0 {
                return index;
            }
            index = (index + 1) & (self.capacity - 1);
        }
    }

    /// The object at this address.
    pub fn get(&mut self, start: NonNull<u8>) -> Option<(Pages, Backing)> {
        let Entry { start, bytes, mapping, allocated, full, backing, .. } = *self.known(start)?;
        Some((Pages { start: NonNull::new(start)?, bytes, mapping, allocated, full }, backing))
    }

    /// The entry of the object at this address.
    fn known(&mut self, start: NonNull<u8>) -> Option<&mut Entry> {
        if self.capacity == 0 {
            return None;
        }
        let index = self.find(start.addr().get());
        Some(self.entry(index)).filter(|entry| !entry.start.is_null())
    }

    /// Notes that all of the object at this address has memory behind it.
    pub fn note_full(&mut self, start: NonNull<u8>) {
        if let Some(entry) = self.known(start) {
            entry.full = true;
        }
    }

    /// Notes that the object at this address has grown.
    pub fn note_grown(&mut self, start: NonNull<u8>) {
        if let Some(entry) = self.known(start) {
            entry.grown = true;
        }
    }

    /// Whether there is an object at this address that has grown.
    pub fn has_grown(&mut self, start: NonNull<u8>) -> bool {
        self.known(start).is_some_and(|entry| entry.grown)
    }

    /// Makes room for one more; `false` if there is no memory for it.
    pub fn reserve(&mut self, os: &impl Os) -> bool {
        (self.used + 1) * 2 <= self.capacity || self.grow(os)
    }

    /// Adds an object, or writes anew what is known of the one with this start. There is room:
    /// [`Table::reserve`] said so, or one was removed since.
    pub fn put(&mut self, pages: Pages, backing: Backing) {
        let Pages { start, bytes, mapping, allocated, full } = pages;
        let index = self.find(start.addr().get());
        let entry = self.entry(index);
        let added = entry.start.is_null();
        let grown = entry.grown && !added;
        *entry = Entry { start: start.as_ptr(), bytes, mapping, allocated, full, grown, backing };
        self.used += usize::from(added);
    }

    /// Takes the object at this address out.
    pub fn remove(&mut self, start: NonNull<u8>) -> Option<(Pages, Backing)> {
        let found = self.get(start)?;
        let mask = self.capacity - 1;
        let mut hole = self.find(start.addr().get());
        let mut next = hole;
        loop {
            next = (next + 1) & mask;
            let entry = *self.entry(next);
            if entry.start.is_null() {
                break;
            }
            // Whoever's home is not between the hole and itself can be found from the hole.
            if (next.wrapping_sub(self.home(entry.start.addr())) & mask)
                >= (next.wrapping_sub(hole) & mask)
            {
                *self.entry(hole) = entry;
                hole = next;
            }
        }
        self.entry(hole).start = null_mut();
        self.used -= 1;
        Some(found)
    }

    fn grow(&mut self, os: &impl Os) -> bool {
        let page = os.page_bytes();
        let capacity = (self.capacity * 2).max((page / size_of::<Entry>()).next_power_of_two() / 2);
        let Some(entries) = os.map(Self::mapped_bytes(capacity, page), page) else { return false };
        let old = core::mem::replace(
            self,
            Self { entries: entries.cast().as_ptr(), capacity, used: self.used },
        );
        for i in 0..old.capacity {
            // SAFETY: the old table has `capacity` entries.
            let entry = unsafe { *old.entries.add(i) };
            if !entry.start.is_null() {
                let index = self.find(entry.start.addr());
                *self.entry(index) = entry;
            }
        }
        old.release(os);
        true
    }

    fn mapped_bytes(capacity: usize, page: usize) -> usize {
        (capacity * size_of::<Entry>()).next_multiple_of(page)
    }

    /// Gives the table's own memory back; nobody asks it any more.
    fn release(self, os: &impl Os) {
        if let Some(start) = NonNull::new(self.entries) {
            let bytes = Self::mapped_bytes(self.capacity, os.page_bytes());
            // SAFETY: the table's own mapping, of this length since `grow`.
            unsafe { os.release(start.cast(), bytes) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::test_os;
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn table_agrees_with_a_map() {
        use proptest::prelude::*;
        let rounds = if cfg!(miri) { 4 } else { 200 };
        proptest!(ProptestConfig::with_cases(rounds), |(ops in prop::collection::vec((0u8..3, 1usize..600), 1..if cfg!(miri) { 150 } else { 1500 }))| {
            let os = test_os();
            let mut table = Table::new();
            let mut map = HashMap::new();
            for (op, n) in ops {
                let start = NonNull::new(core::ptr::without_provenance_mut::<u8>(n << 20)).unwrap();
                let pages = Pages { start, bytes: n, mapping: n as u32, allocated: n as u16, full: n % 3 == 0 };
                match op {
                    0 => {
                        prop_assert!(table.reserve(&os));
                        let backing = if map.contains_key(&n) { Backing::Known } else { Backing::Fresh };
                        table.put(pages, backing);
                        map.insert(n, (pages, backing));
                    }
                    1 => prop_assert_eq!(table.remove(start), map.remove(&n)),
                    _ => prop_assert_eq!(table.get(start), map.get(&n).copied()),
                }
                prop_assert_eq!(table.used, map.len());
            }
            table.release(&os);
        });
    }
}
