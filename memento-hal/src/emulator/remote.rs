//! Frees of objects that another core's arena holds.
//!
//! A core that frees another's object sets the slot's bit in the arena's *remote bitmap*; if the
//! arena is not queued yet it pushes it onto the owner's queue for the class. The owner empties the
//! queue at its next miss of that class. What is pending is bounded by the arenas themselves:
//! a remote free allocates nothing, waits for nobody, and writes no word that the owner's hits
//! write.
//!
//! | word | written by | meeting of |
//! | --- | --- | --- |
//! | occupancy bitmap | the owner, plain stores | [`take`] stores 0 before it clears the remote bit, so a remote bit that is set after that and found at the next [`take`] belongs to a slot that was free: the second of two frees is found, even while the first takes effect |
//! | remote bitmap | all, read-modify-write | two frees of a slot: the later one sees the earlier one's bit |
//! | link | all, read-modify-write | "set the bit, then the link's queued bit" against "clear the link, then read the bitmap": one of the two sees the other, so no bit stays behind in an arena that is not queued |
//! | queue head | all, read-modify-write | [`push`]es against each other and against the owner's [`take_queue`], which always takes all, so that no ABA can happen |

use super::arena::{ArenaAddr, BITMAP_WORDS, Header};
use super::layout::Layout;
use super::memory::Store;
use crate::geometry::SizeClass;
use crate::object::FreeFault;

/// The bit of an arena's link that says: this arena is queued, or about to be.
const QUEUED: u64 = 1;

/// Frees `slot` of an arena that another core owns.
///
/// # Errors
/// [`FreeFault::NotAllocated`] if the slot is free or another remote free of it is pending.
pub(super) fn free<S: Store>(
    store: &S,
    layout: &Layout,
    arena: ArenaAddr,
    class: SizeClass,
    slot: usize,
) -> Result<(), FreeFault> {
    let header = Header::new(store, arena);
    let at = header.remote_bitmap(class, slot / 64);
    let bit = 1 << (slot % 64);
    if !header.is_allocated(slot) || store.fetch_or(at, bit) & bit != 0 {
        return Err(FreeFault::NotAllocated);
    }
    // From here on the free may take effect at any moment, so that the slot may be free already. The
    // owner finds out whether it was free before: see `Taken`.
    if store.fetch_or(header.remote_link(), QUEUED) & QUEUED == 0 {
        push(store, layout.remote_queue(header.owner(), class), header, arena);
    }
    Ok(())
}

/// Pushes an arena onto the queue whose head is at `queue`. The caller set its queued bit.
fn push<S: Store>(store: &S, queue: u64, header: Header<'_, S>, arena: ArenaAddr) {
    loop {
        let head = store.load(queue);
        // A swap, not a store: others set the queued bit meanwhile, and what they did before must
        // stay visible to the owner that reads this word.
        store.swap(header.remote_link(), head | QUEUED);
        if store.compare_exchange(queue, head, arena.get()) {
            return;
        }
    }
}

/// Whether a remote free of `slot` is pending. Costs the owner one load of the header line when
/// none is pending in the whole arena.
#[inline]
pub(super) fn is_pending<S: Store>(
    store: &S,
    header: Header<'_, S>,
    class: SizeClass,
    slot: usize,
) -> bool {
    store.load(header.remote_link()) & QUEUED != 0
        && store.load(header.remote_bitmap(class, slot / 64)) >> (slot % 64) & 1 == 1
}

/// Takes all arenas that are queued at `queue`, in the order in which they were queued. By the
/// owner.
pub(super) fn take_queue<S: Store>(store: &S, queue: u64) -> Option<ArenaAddr> {
    if store.load(queue) == 0 {
        return None;
    }
    let mut arena = ArenaAddr::from_link(store.swap(queue, 0));
    // The queue is a stack, so turn it over; the queued bits stay set meanwhile.
    let mut first = None;
    while let Some(next) = arena {
        let link = Header::new(store, next).remote_link();
        let below = store.swap(link, ArenaAddr::to_link(first) | QUEUED);
        first = Some(next);
        arena = ArenaAddr::from_link(below & !QUEUED);
    }
    first
}

/// What [`take`] found.
pub(super) struct Taken {
    /// The arena behind this one in the queue.
    pub next: Option<ArenaAddr>,
    /// Remote frees of slots that were free: of two frees of a slot at the same time, one took effect
    /// between the other's look at the slot and its bit.
    pub faults: u32,
}

/// Takes `arena` out of a taken queue and frees the slots whose remote frees are pending in it. By the
/// owner.
pub(super) fn take<S: Store>(store: &S, arena: ArenaAddr, class: SizeClass) -> Taken {
    let header = Header::new(store, arena);
    let next = store.swap(header.remote_link(), 0);
    let mut faults = 0;
    for w in 0..BITMAP_WORDS {
        let at = header.remote_bitmap(class, w);
        let bits = store.load(at);
        if bits != 0 {
            faults += (bits & !header.allocated(w)).count_ones();
            header.clear(w, bits);
            store.fetch_and(at, !bits);
        }
    }
    Taken { next: ArenaAddr::from_link(next & !QUEUED), faults }
}

#[cfg(all(test, not(loom)))]
mod tests {
    //! One order of accesses that loom overlooks, played out by hand.

    use super::super::memory::CoreId;
    use super::super::params::Params;
    use super::super::sim_memory::SimMemory;
    use super::*;
    use std::cell::Cell;

    const OWNER: CoreId = CoreId(0);

    /// Words at which the owner has a miss right after the next bit is set at `at`.
    struct Interrupted<'a> {
        words: &'a SimMemory,
        at: u64,
        owner: Cell<Option<&'a dyn Fn()>>,
    }

    impl Store for Interrupted<'_> {
        fn commit(&self, start: u64, bytes: u64) -> bool {
            self.words.commit(start, bytes)
        }
        fn load(&self, at: u64) -> u64 {
            self.words.load(at)
        }
        fn store(&self, at: u64, value: u64) {
            self.words.store(at, value);
        }
        fn swap(&self, at: u64, value: u64) -> u64 {
            self.words.swap(at, value)
        }
        fn fetch_or(&self, at: u64, bits: u64) -> u64 {
            let before = self.words.fetch_or(at, bits);
            if at == self.at
                && let Some(owner) = self.owner.take()
            {
                owner();
            }
            before
        }
        fn fetch_and(&self, at: u64, bits: u64) -> u64 {
            self.words.fetch_and(at, bits)
        }
        fn compare_exchange(&self, at: u64, old: u64, new: u64) -> bool {
            self.words.compare_exchange(at, old, new)
        }
    }

    /// Frees slots 1 and `second` of an arena; between the second's bit and its queueing the owner
    /// has a miss. Gives the second's result, and the faults that the owner finds then and later.
    fn freed_while_the_owner_misses(second: usize) -> (Result<(), FreeFault>, u32, u32) {
        let words = SimMemory::new();
        let layout = Layout::simulated(&Params::DEFAULT, 1);
        let class = SizeClass::new(0).unwrap();
        let arena = ArenaAddr::new(layout.region.lane(class));
        let header = Header::new(&words, arena);
        (1..4).for_each(|slot| header.set(slot));
        let miss = || {
            let mut queued = take_queue(&words, layout.remote_queue(OWNER, class));
            let mut faults = 0;
            while let Some(arena) = queued {
                let taken = take(&words, arena, class);
                (queued, faults) = (taken.next, faults + taken.faults);
            }
            faults
        };
        let during = Cell::new(0);
        let owner = || during.set(miss());
        free(&words, &layout, arena, class, 1).unwrap();
        let at = header.remote_bitmap(class, 0);
        let interrupted = Interrupted { words: &words, at, owner: Cell::new(Some(&owner)) };
        let result = free(&interrupted, &layout, arena, class, second);
        let later = miss();
        assert!(!header.is_allocated(1) && !header.is_allocated(second) && header.is_allocated(3));
        (result, during.get(), later)
    }

    #[test]
    fn a_free_that_takes_effect_at_once_is_no_fault() {
        assert_eq!(freed_while_the_owner_misses(2), (Ok(()), 0, 0));
    }

    #[test]
    fn a_second_free_while_the_first_is_pending_is_a_fault() {
        assert_eq!(freed_while_the_owner_misses(1), (Err(FreeFault::NotAllocated), 0, 0));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    //! Owner and freeing cores, with every order of their accesses that the memory model allows.

    use super::super::loom_words::Words;
    use super::super::memory::CoreId;
    use super::super::params::Params;
    use super::super::sim_memory::SimMemory;
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicU64;
    use loom::thread;
    use std::collections::HashMap;

    const OWNER: CoreId = CoreId(0);

    /// Arenas of one core, whose first 64 slots are allocated.
    struct Model {
        words: Words,
        layout: Layout,
        class: SizeClass,
    }

    impl Model {
        fn new(arenas: u64, strong_loads: bool) -> Arc<Self> {
            let layout = Layout::simulated(&Params::DEFAULT, 1);
            let class = SizeClass::new(0).unwrap();
            let mut words = HashMap::from([(layout.remote_queue(OWNER, class), AtomicU64::new(0))]);
            for n in 0..arenas {
                let arena = Self::arena_in(&layout, class, n);
                words.insert(arena.get(), AtomicU64::new(u64::MAX));
                let nowhere = SimMemory::new();
                let header = Header::new(&nowhere, arena);
                words.insert(header.remote_link(), AtomicU64::new(0));
                words.insert(header.remote_bitmap(class, 0), AtomicU64::new(0));
            }
            Arc::new(Self {
                words: Words { words, region: layout.region.start(), strong_loads },
                layout,
                class,
            })
        }

        fn arena_in(layout: &Layout, class: SizeClass, n: u64) -> ArenaAddr {
            ArenaAddr::new(layout.region.lane(class) + n * class.arena_stride() as u64)
        }

        fn arena(&self, n: u64) -> ArenaAddr {
            Self::arena_in(&self.layout, self.class, n)
        }

        fn free(&self, arena: u64, slot: usize) -> Result<(), FreeFault> {
            free(&self.words, &self.layout, self.arena(arena), self.class, slot)
        }

        /// What the owner does at a miss; gives the number of arenas in the queue, and of faults.
        fn miss(&self) -> (usize, u32) {
            let (mut count, mut faults) = (0, 0);
            let queue = self.layout.remote_queue(OWNER, self.class);
            let mut queued = take_queue(&self.words, queue);
            while let Some(arena) = queued {
                let taken = take(&self.words, arena, self.class);
                queued = taken.next;
                faults += taken.faults;
                count += 1;
            }
            (count, faults)
        }

        /// Slots of an arena that are free.
        fn freed(&self, arena: u64) -> u64 {
            !self.words.load(self.arena(arena).get())
        }
    }

    /// Checks `f` with loads of both kinds.
    fn model(f: impl Fn(bool) + Copy + Sync + Send + 'static) {
        for strong_loads in [false, true] {
            loom::model(move || f(strong_loads));
        }
    }

    #[test]
    fn loom_no_remote_free_is_lost_in_one_arena() {
        model(|strong_loads| {
            let model = Model::new(1, strong_loads);
            let threads = [1, 2].map(|slot| {
                let model = Arc::clone(&model);
                thread::spawn(move || model.free(0, slot).unwrap())
            });
            model.miss();
            for thread in threads {
                thread.join().unwrap();
            }
            model.miss();
            assert_eq!(model.freed(0), 0b110);
            assert_eq!(model.miss(), (0, 0));
        });
    }

    #[test]
    fn loom_no_arena_is_lost_in_the_queue() {
        model(|strong_loads| {
            let model = Model::new(2, strong_loads);
            let threads = [0, 1].map(|arena| {
                let model = Arc::clone(&model);
                thread::spawn(move || model.free(arena, 5).unwrap())
            });
            let first = model.miss().0;
            for thread in threads {
                thread.join().unwrap();
            }
            assert_eq!(first + model.miss().0, 2);
            assert_eq!((model.freed(0), model.freed(1)), (1 << 5, 1 << 5));
        });
    }

    #[test]
    fn loom_of_two_frees_of_a_slot_one_is_a_fault() {
        model(|strong_loads| {
            let model = Model::new(1, strong_loads);
            let threads = [(), ()].map(|()| {
                let model = Arc::clone(&model);
                thread::spawn(move || usize::from(model.free(0, 3).is_ok()))
            });
            let early = model.miss().1 as usize;
            let good: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
            let late = model.miss().1 as usize;
            assert_eq!(
                2 - good + early + late,
                1,
                "found by one of those who free, or by the owner"
            );
            assert_eq!(model.freed(0), 1 << 3);
        });
    }

    #[test]
    fn loom_a_second_free_that_knows_of_the_first_is_a_fault() {
        model(|strong_loads| {
            let model = Model::new(1, strong_loads);
            let other = Arc::clone(&model);
            let thread = thread::spawn(move || {
                other.free(0, 3).unwrap();
                usize::from(other.free(0, 3).is_err())
            });
            let early = model.miss().1 as usize;
            let at_once = thread.join().unwrap();
            let header = Header::new(&model.words, model.arena(0));
            let pending = is_pending(&model.words, header, model.class, 3);
            assert!(pending || !header.is_allocated(3), "the owner would miss a double free");
            let late = model.miss().1 as usize;
            assert_eq!(at_once + early + late, 1);
            assert_eq!(model.freed(0), 1 << 3);
        });
    }
}
