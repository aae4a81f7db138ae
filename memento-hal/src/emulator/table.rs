//! The Memento page table: a 4-level radix tree over the region, filled without a kernel trap.
//!
//! Entries are 64-bit words in frames of 512. Of an interior entry the upper bits are the address
//! of the next frame, of a leaf entry the number of the data frame; bit 0 says that the entry is
//! filled. Entries are only ever filled, never emptied, so a walk needs no lock: it sees a page
//! as mapped or as not yet mapped.

use super::layout::Layout;
use super::memory::{CoreId, Cycles, Memory, Store};
use crate::geometry::PAGE_BYTES;

/// Levels of the tree; the last holds the leaves.
pub const LEVELS: u32 = 4;
/// log2 of the entries of a frame.
const INDEX_BITS: u32 = 9;
const PRESENT: u64 = 1;
const PAGE_SHIFT: u32 = PAGE_BYTES.trailing_zeros();

/// Address of the entry for `va` in the frame at `frame`, which is of `level` (0 is the root).
#[inline]
const fn entry_at(frame: u64, level: u32, va: u64) -> u64 {
    let shift = PAGE_SHIFT + INDEX_BITS * (LEVELS - 1 - level);
    frame + 8 * (va >> shift & ((1 << INDEX_BITS) - 1))
}

/// Whether the page of `va` is mapped. Any core may ask at any time.
pub(super) fn is_mapped<S: Store>(store: &S, layout: &Layout, va: u64) -> bool {
    let mut frame = layout.tables;
    for level in 0..LEVELS {
        // Acquires what `Table::map` released: the frame that the entry names is usable and zero.
        let entry = store.load(entry_at(frame, level, va));
        if entry & PRESENT == 0 {
            return false;
        }
        frame = entry & !(PAGE_BYTES as u64 - 1);
    }
    true
}

/// What a walk that mapped a page did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Walk {
    /// Cost of the loads.
    pub cycles: Cycles,
    /// Entries that were filled: the leaf, and one for each table frame that was added.
    pub filled: u64,
}

/// The writer's side of the table. The root frame is the operating system's gift with `MPTR`; the
/// others come from the page pool.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// Where the next table frame goes.
    next_frame: u64,
}

impl Table {
    /// An empty table; `None` if there is no memory for the root.
    pub fn new<S: Store>(store: &S, layout: &Layout) -> Option<Self> {
        store
            .commit(layout.tables, PAGE_BYTES as u64)
            .then_some(Self { next_frame: layout.tables + PAGE_BYTES as u64 })
    }

    /// Walks to the page of `va`, fills every level that is missing and maps the page to the frame
    /// that `take_frame` gives last: it is called once for each level that is filled. `None`, and
    /// nothing has changed, if there is no memory for the table frames. The page is not mapped yet.
    pub fn map<S: Store, M: Memory>(
        &mut self,
        store: &S,
        memory: &M,
        layout: &Layout,
        core: CoreId,
        va: u64,
        mut take_frame: impl FnMut() -> u64,
    ) -> Option<Walk> {
        let missing = Self::missing_frames(store, layout, va);
        let bytes = missing * PAGE_BYTES as u64;
        if self.next_frame + bytes > layout.tables_end()
            || (bytes > 0 && !store.commit(self.next_frame, bytes))
        {
            return None;
        }
        let mut cycles = Cycles(0);
        let mut frame = layout.tables;
        for level in 0..LEVELS {
            let at = entry_at(frame, level, va);
            cycles += memory.page_table(core, at);
            let mut entry = store.load(at);
            if entry & PRESENT == 0 {
                let data_frame = take_frame();
                entry = if level == LEVELS - 1 {
                    data_frame << PAGE_SHIFT
                } else {
                    let next = self.next_frame;
                    self.next_frame += PAGE_BYTES as u64;
                    next
                } | PRESENT;
                // Releases to `is_mapped`: the frame behind the entry is usable and zero.
                store.store(at, entry);
            }
            frame = entry & !(PAGE_BYTES as u64 - 1);
        }
        Some(Walk { cycles, filled: missing + 1 })
    }

    /// Table frames that the way to `va` lacks.
    fn missing_frames<S: Store>(store: &S, layout: &Layout, va: u64) -> u64 {
        let mut frame = layout.tables;
        for level in 0..LEVELS - 1 {
            let entry = store.load(entry_at(frame, level, va));
            if entry & PRESENT == 0 {
                return u64::from(LEVELS - 1 - level);
            }
            frame = entry & !(PAGE_BYTES as u64 - 1);
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::FixedCosts;
    use super::super::params::Params;
    use super::super::sim_memory::SimMemory;
    use super::*;

    #[test]
    fn a_cold_walk_fills_four_levels_and_its_neighbours_one() {
        let params = Params { page_table_cycles: 7, ..Params::DEFAULT };
        let (store, memory) = (SimMemory::new(), FixedCosts::new(&params));
        let layout = Layout::simulated(&params, 1);
        let mut table = Table::new(&store, &layout).unwrap();
        let base = layout.region.start();
        let mut frames = 0;
        for (va, filled) in [
            (base, 4),
            (base + 4096, 1),
            (base + (1 << 21), 2),
            (base + (1 << 30), 3),
            (base + (1 << 39), 4),
            (base + (1 << 30) + 4096, 1),
        ] {
            assert!(!is_mapped(&store, &layout, va));
            let walk = table
                .map(&store, &memory, &layout, CoreId(0), va, || {
                    frames += 1;
                    frames
                })
                .unwrap();
            assert_eq!(walk, Walk { cycles: Cycles(28), filled });
            assert!(is_mapped(&store, &layout, va) && is_mapped(&store, &layout, va + 4095));
        }
        assert_eq!(frames, 15);
        assert!(!is_mapped(&store, &layout, base + 8192));
    }

    #[test]
    fn no_memory_for_a_frame_changes_nothing() {
        let params = Params::DEFAULT;
        let memory = FixedCosts::new(&params);
        let layout = Layout::simulated(&params, 1);
        let store = SimMemory::with_limit(2 * 4096);
        let mut table = Table::new(&store, &layout).unwrap();
        let va = layout.region.start();
        let walk =
            table.map(&store, &memory, &layout, CoreId(0), va, || panic!("no frame is needed"));
        assert_eq!(walk, None);
        assert!(!is_mapped(&store, &layout, va));
        assert!(Table::new(&SimMemory::with_limit(4095), &layout).is_none());
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::super::loom_words::Words;
    use super::super::memory::FixedCosts;
    use super::super::params::Params;
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicU64;
    use loom::thread;

    #[test]
    fn loom_who_finds_a_page_mapped_sees_what_was_written_before() {
        loom::model(|| {
            let layout = Layout::simulated(&Params::DEFAULT, 1);
            let va = layout.region.start();
            let frames = (0..u64::from(LEVELS)).map(|n| layout.tables + n * PAGE_BYTES as u64);
            let entries = (0..).zip(frames).map(|(level, frame)| entry_at(frame, level, va));
            let words = entries.chain([va]).map(|at| (at, AtomicU64::new(0))).collect();
            let region = layout.region.start();
            let words = Arc::new(Words { words, region, strong_loads: false });
            // The reader is the second thread: loom lets it run behind the writer, where each of its
            // loads may return what was there before.
            let reader = Arc::clone(&words);
            let thread = thread::spawn(move || {
                if is_mapped(&*reader, &layout, va) {
                    assert_eq!(reader.load(va), 7);
                }
            });
            words.store(va, 7);
            let mut table = Table::new(&*words, &layout).unwrap();
            let memory = FixedCosts::new(&Params::DEFAULT);
            table.map(&*words, &memory, &layout, CoreId(0), va, || 1).unwrap();
            thread.join().unwrap();
            assert!(is_mapped(&*words, &layout, va));
        });
    }
}
