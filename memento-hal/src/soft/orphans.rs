//! Which slots wait for a thread, and which of them the next thread gets.
//!
//! An entry for each slot, zero for one that does not wait. It ranks the slots: *warm* ones, which kept their free
//! memory, before *cold* ones, which gave it back (see `keep`); then by what is free in them, so that a thread does not
//! make one heap grow while another has room; where both have enough, the one left last, whose memory is
//! still in the caches.
//!
//! To take an entry out gives no right to a heap: whoever did still has to adopt it (see `mailbox`), and puts the entry
//! back if somebody has the heap for a moment. Slots are few, as a thread that ends leaves its own to the next, so who
//! takes one looks at all.

use crate::sync::{AtomicU64, Ordering};

/// The slots that wait, of `N` slots.
#[derive(Debug)]
pub struct Orphans<const N: usize> {
    entries: [AtomicU64; N],
    /// The latest stamp.
    clock: AtomicU64,
}

/// How a slot ranks among those that wait: the highest is taken first. No two are the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rank(u64);

/// What is free in a slot counts up to so many granules.
pub const ENOUGH: u32 = 127;

const WARM: u64 = 1 << 63;
const FREE_SHIFT: u32 = 56;
const FREE: u64 = (ENOUGH as u64) << FREE_SHIFT;

impl Rank {
    /// Above all.
    pub const HIGHEST: Self = Self(u64::MAX);
    /// Below all.
    pub const LOWEST: Self = Self(0);
    /// Above what is cold, below what is warm.
    pub const COLD: Self = Self(WARM - 1);

    fn with_free(self, free: u32) -> Self {
        Self(self.0 & !FREE | u64::from(free.min(ENOUGH)) << FREE_SHIFT)
    }
}

impl<const N: usize> Orphans<N> {
    /// None waits.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self { entries: [const { AtomicU64::new(0) }; N], clock: AtomicU64::new(0) }
    }

    /// None waits; loom's atomics are not const.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self { entries: core::array::from_fn(|_| AtomicU64::new(0)), clock: AtomicU64::new(0) }
    }

    /// Has a slot wait that does not, with so many granules free.
    pub fn put(&self, slot: u32, is_warm: bool, free: u32) {
        // Relaxed: a number that orders nothing.
        let stamp = (self.clock.fetch_add(1, Ordering::Relaxed) + 1) & !(WARM | FREE);
        let rank = Rank(stamp | if is_warm { WARM } else { 0 }).with_free(free);
        self.put_back(slot, rank);
    }

    /// Undoes [`Orphans::take`].
    pub fn put_back(&self, slot: u32, rank: Rank) {
        // Release: pairs with the Acquire in `take`.
        self.entries[slot as usize].store(rank.0, Ordering::Release);
    }

    /// Says what is free in a slot, if it waits.
    pub fn set_free(&self, slot: u32, free: u32) {
        let update = |entry| (entry != 0).then(|| Rank(entry).with_free(free).0);
        // Release, as a `take` that sees this no longer sees what `put` stored. Whether it is taken meanwhile is all the same.
        let _ =
            self.entries[slot as usize].fetch_update(Ordering::Release, Ordering::Relaxed, update);
    }

    /// Takes the slot out that ranks highest, between two ranks, of the first so many slots.
    pub fn take(&self, above: Rank, below: Rank, slots: usize) -> Option<(u32, Rank)> {
        let entries = &self.entries[..slots];
        loop {
            // Relaxed: the exchange below decides.
            let all = entries.iter().map(|entry| Rank(entry.load(Ordering::Relaxed)));
            let within = (0..).zip(all).filter(|(_, rank)| above < *rank && *rank < below);
            let (slot, rank) = within.max_by_key(|(_, rank)| *rank)?;
            // Acquire: pairs with the Release in `put_back`, so that what was written before is seen.
            let entry = &entries[slot as usize];
            if entry.compare_exchange(rank.0, 0, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return Some((slot, rank));
            }
        }
    }

    /// Has none wait. In a fork child, whose one thread then puts them in anew: other threads may
    /// have been in the middle of anything.
    pub fn clear(&self) {
        for entry in &self.entries {
            entry.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::AtomicU32;
    #[cfg(loom)]
    use loom::{sync::Arc, thread};
    #[cfg(not(loom))]
    use std::{sync::Arc, thread};

    fn model(body: impl Fn() + Send + Sync + 'static) {
        #[cfg(loom)]
        {
            let mut builder = loom::model::Builder::new();
            builder.preemption_bound = Some(3);
            builder.check(body);
        }
        #[cfg(not(loom))]
        for _ in 0..if cfg!(miri) { 3 } else { 200 } {
            body();
        }
    }

    fn take<const N: usize>(orphans: &Orphans<N>) -> Option<u32> {
        Some(orphans.take(Rank::LOWEST, Rank::HIGHEST, N)?.0)
    }

    #[test]
    fn loom_every_slot_is_in_one_place() {
        model(|| {
            let orphans = Arc::new(Orphans::<3>::new());
            for slot in 0..3 {
                orphans.put(slot, true, slot);
            }
            let other = {
                let orphans = orphans.clone();
                thread::spawn(move || {
                    orphans.set_free(2, 0);
                    take(&orphans)
                })
            };
            let first = orphans.take(Rank::LOWEST, Rank::HIGHEST, 3);
            let second = take(&orphans);
            if let Some((slot, rank)) = first {
                orphans.put_back(slot, rank);
            }
            let mut seen = [0; 3];
            let mut count = |slot: Option<u32>| {
                if let Some(slot) = slot {
                    seen[slot as usize] += 1;
                }
            };
            count(second);
            count(other.join().unwrap());
            while let Some(slot) = take(&orphans) {
                count(Some(slot));
            }
            assert_eq!(seen, [1, 1, 1]);
        });
    }

    #[test]
    fn loom_a_slot_carries_what_was_written_before_it_was_put() {
        model(|| {
            let shared = Arc::new((Orphans::<2>::new(), [AtomicU32::new(0), AtomicU32::new(0)]));
            let threads = [0, 1].map(|slot| {
                let shared = shared.clone();
                thread::spawn(move || {
                    shared.1[slot as usize].store(1, Ordering::Relaxed);
                    shared.0.put(slot, false, 0);
                    shared.0.set_free(slot, 1);
                })
            });
            while let Some(slot) = take(&shared.0) {
                assert_eq!(shared.1[slot as usize].load(Ordering::Relaxed), 1);
            }
            threads.into_iter().for_each(|t| t.join().unwrap());
        });
    }

    #[test]
    fn the_one_with_most_is_taken_or_the_last_of_those_with_enough() {
        let orphans = Orphans::<8>::new();
        orphans.put(3, true, 2);
        orphans.put(7, false, ENOUGH);
        orphans.put(0, true, 5);
        orphans.put(1, true, 2);
        assert_eq!(take(&orphans), Some(0), "most is free");
        assert_eq!(take(&orphans), Some(1), "as much, but later");
        orphans.put(4, true, ENOUGH + 9);
        orphans.put(5, true, ENOUGH);
        orphans.set_free(3, ENOUGH - 1);
        orphans.set_free(2, ENOUGH);
        assert_eq!(take(&orphans), Some(5), "what is more than enough does not count");
        assert_eq!(take(&orphans), Some(4));
        let (slot, rank) = orphans.take(Rank::COLD, Rank::HIGHEST, 8).unwrap();
        assert_eq!(slot, 3);
        assert!(orphans.take(Rank::COLD, rank, 8).is_none(), "7 is cold, 2 does not wait");
        orphans.put_back(slot, rank);
        assert_eq!(orphans.take(Rank::LOWEST, rank, 8).map(|(slot, _)| slot), Some(7));
        assert!(orphans.take(Rank::LOWEST, Rank::HIGHEST, 3).is_none(), "3 is beyond");
        orphans.clear();
        assert_eq!(take(&orphans), None);
    }
}
