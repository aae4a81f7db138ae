//! Large objects: one mapping each, described in a table apart from them.
//!
//! A mapping costs system calls and a page fault for every page, so a few freed ones are kept for the
//! next request of about the same size. How much that may be is bounded, and as much as is asked for
//! is given back before a new object is mapped, and all of it on purge.
//!
//! The table maps addresses to lengths by open addressing. An address that is not in it is not ours.

use core::ptr::NonNull;
use memento_hal::lock::{ForkLock, this_thread};
use memento_hal::os::Os;

/// Most freed mappings that are kept, and their most bytes together.
const KEPT_MAX: usize = 16;
const KEPT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The large objects of a process.
#[derive(Debug)]
pub struct Large<O: Os> {
    os: O,
    state: ForkLock<State>,
}

/// Totals of the large objects.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct LargeUsage {
    /// Live objects.
    pub objects: usize,
    /// Bytes in their mappings.
    pub bytes: usize,
    /// Most bytes ever, kept mappings included.
    pub peak_bytes: usize,
    /// Bytes in mappings that were freed and are kept.
    pub kept_bytes: usize,
}

#[derive(Debug)]
struct State {
    table: Table,
    kept: [Option<Mapping>; KEPT_MAX],
    usage: LargeUsage,
}

// SAFETY: mappings are owned by the state; threads reach it through the lock.
unsafe impl Send for State {}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapping {
    pub(crate) start: NonNull<u8>,
    pub(crate) bytes: usize,
}

impl<O: Os> Large<O> {
    /// No objects.
    pub const fn new(os: O) -> Self {
        let usage = LargeUsage { objects: 0, bytes: 0, peak_bytes: 0, kept_bytes: 0 };
        let state = State { table: Table::new(), kept: [None; KEPT_MAX], usage };
        Self { os, state: ForkLock::new(state) }
    }

    /// The lock, for fork handlers.
    pub fn acquire(&self) {
        self.state.hold(this_thread());
    }

    /// Undoes [`Large::acquire`].
    pub fn release(&self) {
        self.state.release();
    }

    /// Memory for `size` bytes at a multiple of `align`, a power of two.
    pub fn allocate(&self, size: usize, align: usize, zeroed: bool) -> Option<NonNull<u8>> {
        let page = self.os.page_bytes();
        let bytes = size.max(1).checked_next_multiple_of(page)?;
        let (mapping, used) = self.locked(|os, state| {
            if let Some(mapping) = state.take_kept(bytes, align) {
                return Some((mapping, true));
            }
            state.drop_kept(os, bytes);
            let align = align.max(page);
            let start = os.map(bytes, align).or_else(|| {
                // What is kept may be what is missing.
                state.drop_kept(os, usize::MAX);
                os.map(bytes, align)
            })?;
            Some((Mapping { start, bytes }, false))
        })?;
        if used && zeroed {
            // SAFETY: the mapping is ours and nobody else has it.
            unsafe { mapping.start.write_bytes(0, size) };
        }
        self.locked(|os, state| state.insert(os, mapping))?;
        Some(mapping.start)
    }

    /// Frees the object at `start`; `false` if there is none.
    ///
    /// # Safety
    /// If there is one, nobody uses it any more.
    pub unsafe fn free(&self, start: NonNull<u8>) -> bool {
        self.locked(|os, state| {
            let mapping = state.remove(start)?;
            state.keep(os, mapping);
            Some(())
        })
        .is_some()
    }

    /// Bytes of the object at `start`, if there is one.
    pub fn size_of(&self, start: NonNull<u8>) -> Option<usize> {
        self.locked(|_, state| state.table.get(start))
    }

    /// Makes the object at `start` hold `size` bytes without copying it: in its mapping if there is
    /// room and not too much, else by moving its pages. `None` if it must be copied, or cannot be had.
    ///
    /// # Safety
    /// `start` is a live large object. If it moves, nobody uses the old address afterwards.
    pub unsafe fn resize(
        &self,
        start: NonNull<u8>,
        size: usize,
        align: usize,
    ) -> Option<NonNull<u8>> {
        let page = self.os.page_bytes();
        let needed = size.max(1).checked_next_multiple_of(page)?;
        self.locked(|os, state| {
            let old = state.table.get(start)?;
            if needed <= old && needed >= old - old / 4 {
                return Some(start);
            }
            if align > page {
                return None;
            }
            // A program that grows an object step by step does so again: an eighth more address
            // space, which costs no memory until it is touched, halves its system calls.
            let slack = if needed > old { (needed / 8).next_multiple_of(page) } else { 0 };
            let bytes = needed.checked_add(slack)?;
            state.remove(start)?;
            // SAFETY: the object is one whole mapping of ours.
            let moved = unsafe { os.remap(start, old, bytes) };
            let now = match moved {
                Some(start) => Mapping { start, bytes },
                None => Mapping { start, bytes: old },
            };
            // There is room in the table: an entry was removed just now.
            state.insert(os, now)?;
            moved
        })
    }

    /// Gives every kept mapping back; returns bytes.
    pub fn purge(&self) -> usize {
        self.locked(|os, state| Some(state.drop_kept(os, usize::MAX))).unwrap_or(0)
    }

    /// Totals.
    pub fn usage(&self) -> LargeUsage {
        self.locked(|_, state| Some(state.usage)).unwrap_or_default()
    }

    /// Nothing under the lock allocates, so `with` is never entered twice by one thread.
    fn locked<R>(&self, work: impl FnOnce(&O, &mut State) -> Option<R>) -> Option<R> {
        self.state.with(this_thread(), |state| work(&self.os, state))?
    }
}

impl State {
    fn insert(&mut self, os: &impl Os, mapping: Mapping) -> Option<()> {
        if !self.table.insert(os, mapping) {
            // SAFETY: the mapping is ours, and its object was never handed out.
            unsafe { os.release(mapping.start, mapping.bytes) };
            return None;
        }
        self.usage.objects += 1;
        self.usage.bytes += mapping.bytes;
        let now = self.usage.bytes + self.usage.kept_bytes;
        self.usage.peak_bytes = self.usage.peak_bytes.max(now);
        Some(())
    }

    fn remove(&mut self, start: NonNull<u8>) -> Option<Mapping> {
        let bytes = self.table.remove(start)?;
        self.usage.objects -= 1;
        self.usage.bytes -= bytes;
        Some(Mapping { start, bytes })
    }

    /// A kept mapping that fits and is at most a quarter too long.
    fn take_kept(&mut self, bytes: usize, align: usize) -> Option<Mapping> {
        let fits = |m: &Mapping| {
            m.bytes >= bytes
                && m.bytes - bytes <= bytes / 4
                && m.start.addr().get().is_multiple_of(align)
        };
        let best = self
            .kept
            .iter_mut()
            .filter(|slot| slot.as_ref().is_some_and(fits))
            .min_by_key(|slot| slot.map_or(usize::MAX, |m| m.bytes))?;
        let mapping = best.take()?;
        self.usage.kept_bytes -= mapping.bytes;
        Some(mapping)
    }

    /// Keeps a freed mapping, or gives it back.
    fn keep(&mut self, os: &impl Os, mapping: Mapping) {
        let fits = self.usage.kept_bytes + mapping.bytes <= KEPT_BYTES_MAX;
        match self.kept.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) if fits => {
                *slot = Some(mapping);
                self.usage.kept_bytes += mapping.bytes;
            }
            // SAFETY: the mapping is ours and in no table.
            _ => unsafe { os.release(mapping.start, mapping.bytes) },
        }
    }

    /// Gives back kept mappings of together at least `bytes`, as far as there are any.
    fn drop_kept(&mut self, os: &impl Os, bytes: usize) -> usize {
        let mut given = 0;
        for slot in &mut self.kept {
            if given >= bytes {
                break;
            }
            if let Some(mapping) = slot.take() {
                given += mapping.bytes;
                self.usage.kept_bytes -= mapping.bytes;
                // SAFETY: the mapping is ours and in no table.
                unsafe { os.release(mapping.start, mapping.bytes) };
            }
        }
        given
    }
}

/// Lengths by address: open addressing with linear probing, at most half full, in a mapping of its
/// own that doubles. Entries move back when one before them is removed, so there are no tombstones.
#[derive(Debug)]
pub(crate) struct Table {
    entries: *mut Entry,
    /// A power of two, or 0.
    capacity: usize,
    used: usize,
}

#[derive(Clone, Copy)]
struct Entry {
    /// 0: free.
    address: usize,
    bytes: usize,
}

impl Table {
    pub(crate) const fn new() -> Self {
        Self { entries: core::ptr::null_mut(), capacity: 0, used: 0 }
    }

    /// Mappings start on pages, and their distances are mostly multiples of large powers of two: the
    /// multiplication spreads them.
    fn home(&self, address: usize) -> usize {
        let hash = ((address >> 12) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> 32) as usize & (self.capacity - 1)
    }

    fn entry(&mut self, index: usize) -> &mut Entry {
        debug_assert!(index < self.capacity);
        // SAFETY: `entries` has `capacity` entries, all initialised (zero is a free entry).
        unsafe { &mut *self.entries.add(index) }
    }

    /// Index of the address's entry, or of the free entry where it would be.
    fn find(&mut self, address: usize) -> usize {
        let mut index = self.home(address);
        loop {
            let at = self.entry(index).address;
            if at == address || at == 0 {
                return index;
            }
            index = (index + 1) & (self.capacity - 1);
        }
    }

    pub(crate) fn get(&mut self, start: NonNull<u8>) -> Option<usize> {
        if self.capacity == 0 {
            return None;
        }
        let index = self.find(start.addr().get());
        let entry = self.entry(index);
        (entry.address != 0).then_some(entry.bytes)
    }

    pub(crate) fn insert(&mut self, os: &impl Os, mapping: Mapping) -> bool {
        if (self.used + 1) * 2 > self.capacity && !self.grow(os) {
            return false;
        }
        let address = mapping.start.addr().get();
        let index = self.find(address);
        *self.entry(index) = Entry { address, bytes: mapping.bytes };
        self.used += 1;
        true
    }

    pub(crate) fn remove(&mut self, start: NonNull<u8>) -> Option<usize> {
        let bytes = self.get(start)?;
        let mask = self.capacity - 1;
        let mut hole = self.find(start.addr().get());
        let mut next = hole;
        loop {
            next = (next + 1) & mask;
            let entry = *self.entry(next);
            if entry.address == 0 {
                break;
            }
            // Whoever's home is not between the hole and itself can be found from the hole.
            if (next.wrapping_sub(self.home(entry.address)) & mask)
                >= (next.wrapping_sub(hole) & mask)
            {
                *self.entry(hole) = entry;
                hole = next;
            }
        }
        self.entry(hole).address = 0;
        self.used -= 1;
        Some(bytes)
    }

    fn grow(&mut self, os: &impl Os) -> bool {
        let page = os.page_bytes();
        let capacity = (self.capacity * 2).max(page / size_of::<Entry>());
        let Some(entries) = os.map(capacity * size_of::<Entry>(), page) else { return false };
        let old = core::mem::replace(
            self,
            Self { entries: entries.cast().as_ptr(), capacity, used: self.used },
        );
        for i in 0..old.capacity {
            // SAFETY: the old table has `capacity` entries.
            let entry = unsafe { *old.entries.add(i) };
            if entry.address != 0 {
                let index = self.find(entry.address);
                *self.entry(index) = entry;
            }
        }
        if let Some(start) = NonNull::new(old.entries) {
            // SAFETY: the old table's mapping, which nobody uses any more.
            unsafe { os.release(start.cast(), old.capacity * size_of::<Entry>()) };
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::vec::Vec;

    /// Smaller under Miri, which looks at every byte.
    const MIB: usize = if cfg!(miri) { 1 << 14 } else { 1 << 20 };

    /// Miri sees every access to memory of the fake system, and knows no partial `munmap`.
    #[cfg(miri)]
    fn test_os() -> impl Os {
        memento_hal::os::Fake::new()
    }
    #[cfg(not(miri))]
    fn test_os() -> impl Os {
        memento_hal::os::Linux
    }

    fn large() -> Large<impl Os> {
        Large::new(test_os())
    }

    #[test]
    fn table_agrees_with_a_map() {
        use proptest::prelude::*;
        let rounds = if cfg!(miri) { 4 } else { 200 };
        proptest!(ProptestConfig::with_cases(rounds), |(ops in prop::collection::vec((0u8..3, 1usize..600), 1..1500))| {
            let os = test_os();
            let mut table = Table::new();
            let mut map = HashMap::new();
            for (op, n) in ops {
                let start = NonNull::new(core::ptr::without_provenance_mut::<u8>(n << 20)).unwrap();
                match op {
                    0 if !map.contains_key(&n) => {
                        let inserted = table.insert(&os, Mapping { start, bytes: n });
                        prop_assert!(inserted);
                        map.insert(n, n);
                    }
                    1 => prop_assert_eq!(table.remove(start), map.remove(&n)),
                    _ => prop_assert_eq!(table.get(start), map.get(&n).copied()),
                }
                prop_assert_eq!(table.used, map.len());
            }
            if let Some(at) = NonNull::new(table.entries) {
                // SAFETY: the table's own mapping.
                unsafe { os.release(at.cast(), table.capacity * size_of::<Entry>()) };
            }
        });
    }

    #[test]
    fn kept_mappings_are_used_again_and_zeroed_on_demand() {
        let large = large();
        let a = large.allocate(MIB, 16, false).unwrap();
        // SAFETY: `a` has a mebibyte, and is not used after its free.
        unsafe {
            a.write_bytes(7, MIB);
            assert!(large.free(a));
            assert!(!large.free(a), "free twice");
        }
        assert_eq!(large.usage().kept_bytes, MIB);
        let less = MIB - MIB / 8;
        let b = large.allocate(less, 16, true).unwrap();
        assert_eq!(a, b);
        // SAFETY: as above.
        unsafe {
            let bytes = core::slice::from_raw_parts(b.as_ptr(), less);
            assert!(bytes.iter().all(|x| *x == 0));
            assert!(large.free(b));
        }
        large.purge();
        assert_eq!(large.usage(), LargeUsage { peak_bytes: MIB, ..LargeUsage::default() });
    }

    #[test]
    #[cfg(not(miri))]
    fn what_is_kept_is_bounded_and_yields_to_new_mappings() {
        let large = large();
        let all: Vec<_> = (0..12).map(|_| large.allocate(4 * MIB, 16, false).unwrap()).collect();
        // SAFETY: allocated above, not used afterwards.
        all.into_iter().for_each(|a| assert!(unsafe { large.free(a) }));
        assert!(large.usage().kept_bytes <= KEPT_BYTES_MAX);
        let kept = large.usage().kept_bytes;
        let b = large.allocate(8 * MIB, 16, false).unwrap();
        assert!(large.usage().kept_bytes <= kept - 8 * MIB);
        // SAFETY: as above.
        unsafe { large.free(b) };
        large.purge();
    }

    #[test]
    #[cfg(not(miri))]
    fn resizing_keeps_contents() {
        let large = large();
        let mut a = large.allocate(MIB, 16, false).unwrap();
        // SAFETY: `a` has as many bytes as was last asked for.
        unsafe {
            a.write_bytes(9, MIB);
            for size in [MIB + 1, 5 * MIB, 64 * MIB, 2 * MIB] {
                a = large.resize(a, size, 16).unwrap();
                assert!(large.size_of(a).unwrap() >= size);
                assert!(core::slice::from_raw_parts(a.as_ptr(), MIB).iter().all(|x| *x == 9));
                a.add(size - 1).write(1);
            }
            assert!(large.free(a));
        }
        large.purge();
    }

    #[test]
    fn alignment_of_any_size() {
        let large = large();
        let shifts: &[u32] = if cfg!(miri) { &[4, 12, 14] } else { &[4, 12, 16, 21, 24] };
        for shift in shifts {
            let a = large.allocate(MIB / 3, 1 << shift, false).unwrap();
            assert!(a.addr().get().is_multiple_of(1 << shift));
            // SAFETY: not used afterwards.
            unsafe { assert!(large.free(a)) };
        }
        assert!(large.allocate(usize::MAX - 100, 16, false).is_none());
        assert!(large.allocate(1 << 60, 16, false).is_none());
        large.purge();
    }
}
