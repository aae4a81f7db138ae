//! What is counted, in two forms: a plain snapshot, and a block that one thread writes while
//! others read.
//!
//! A [`CounterBlock`] is `repr(C)` and consists of 64-bit words only, so that it can lie in a file
//! that another process maps or reads: the numbers survive `_exit` and `SIGKILL`. The order of the
//! words is the order of [`Counters::FIELDS`].

use crate::geometry::CLASSES;
use core::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident),* $(,)?) => {
        /// A snapshot of every counter; adds up over cores and processes.
        #[derive(Clone, PartialEq, Eq, Debug)]
        #[repr(C)]
        pub struct Counters {
            /// Allocations by size class, as the program asked for them.
            pub allocs: [u64; CLASSES],
            /// Frees by size class.
            pub frees: [u64; CLASSES],
            $($(#[$doc])* pub $field: u64,)*
        }

        /// The same counters, written by one thread and read by any.
        #[derive(Debug)]
        #[repr(C)]
        pub struct CounterBlock {
            /// Allocations by size class, as the program asked for them.
            pub allocs: [Counter; CLASSES],
            /// Frees by size class.
            pub frees: [Counter; CLASSES],
            $($(#[$doc])* pub $field: Counter,)*
        }

        impl Counters {
            /// Names of the words that follow `allocs[64]` and `frees[64]`, in memory order.
            pub const FIELDS: &[&str] = &[$(stringify!($field)),*];
            /// Number of 64-bit words in a block.
            pub const WORDS: usize = 2 * CLASSES + Self::FIELDS.len();
            /// All zero.
            pub const ZERO: Self =
                Self { allocs: [0; CLASSES], frees: [0; CLASSES], $($field: 0),* };

            /// The counters that follow the two arrays, with their names.
            pub fn fields(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field)),*].into_iter()
            }

            /// Adds `other` to `self`, wrapping.
            pub fn add(&mut self, other: &Self) {
                for c in 0..CLASSES {
                    self.allocs[c] = self.allocs[c].wrapping_add(other.allocs[c]);
                    self.frees[c] = self.frees[c].wrapping_add(other.frees[c]);
                }
                $(self.$field = self.$field.wrapping_add(other.$field);)*
            }

            /// The counters from the words of a [`CounterBlock`]; `None` if the number of words
            /// is not [`Counters::WORDS`].
            pub fn from_words(words: &[u64]) -> Option<Self> {
                if words.len() != Self::WORDS {
                    return None;
                }
                let mut it = words.iter().copied();
                let mut next = || it.next().unwrap_or(0);
                let mut all = Self::ZERO;
                all.allocs.iter_mut().for_each(|w| *w = next());
                all.frees.iter_mut().for_each(|w| *w = next());
                $(all.$field = next();)*
                Some(all)
            }
        }

        impl CounterBlock {
            /// All zero.
            pub const fn new() -> Self {
                Self {
                    allocs: [const { Counter::new() }; CLASSES],
                    frees: [const { Counter::new() }; CLASSES],
                    $($field: Counter::new()),*
                }
            }

            /// Reads every counter. Values of different counters may be of different moments.
            pub fn snapshot(&self) -> Counters {
                Counters {
                    allocs: core::array::from_fn(|c| self.allocs[c].get()),
                    frees: core::array::from_fn(|c| self.frees[c].get()),
                    $($field: self.$field.get()),*
                }
            }
        }
    };
}

counters! {
    /// Allocations of the software path: over 512 bytes, or aligned beyond 64.
    software_allocs,
    /// Frees of the software path.
    software_frees,
    /// Bytes asked for, all allocations.
    bytes_requested,
    /// Allocations served by the arena that was in the HOT when they began.
    hot_alloc_hits,
    /// All other allocations.
    hot_alloc_misses,
    /// Frees whose arena was in the HOT.
    hot_free_hits,
    /// Frees by the owning core whose arena was not in the HOT.
    hot_free_misses,
    /// Flushes of a whole HOT: thread exit, fork child.
    hot_flushes,
    /// Arenas created.
    arenas_created,
    /// Allocations that changed an arena list (at most one each).
    alloc_list_operations,
    /// Frees that changed an arena list (at most one each).
    free_list_operations,
    /// New arenas whose bump pointer was in the AAC.
    aac_hits,
    /// New arenas whose bump pointer was loaded from memory.
    aac_misses,
    /// Data frames taken from the page pool.
    pages_taken,
    /// Page-table frames taken from the page pool.
    pages_table_frames,
    /// Times the OS refilled the pool (the initial fill is none).
    pages_refills,
    /// Times a page was needed while the pool was dry.
    pages_dry_stalls,
    /// Lines whose first touch needed no fetch from main memory.
    bypass_lines,
    /// Frees by a core other than the owner.
    remote_frees,
    /// Memento faults raised.
    faults,
    /// Cycles of `obj-alloc`.
    cycles_obj_alloc,
    /// Cycles of `obj-free`.
    cycles_obj_free,
    /// Cycles of backing pages and walking or filling the page table.
    cycles_page_management,
    /// Cycles that bypassed lines would have cost; never subtracted from the others.
    cycles_bypass_saved,
}

const _: () = {
    assert!(size_of::<Counters>() == Counters::WORDS * 8);
    assert!(size_of::<CounterBlock>() == Counters::WORDS * 8);
};

/// One counter with a single writer: adding is a plain load and store, never a locked operation.
#[derive(Debug)]
#[repr(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Zero.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `n`, wrapping. Only the block's one writer calls this; a second writer would lose
    /// counts, not more.
    #[inline]
    pub fn add(&self, n: u64) {
        // Relaxed: readers want some recent value of each counter, and no order between them.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The current value.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets the value; for a fork child, which starts at zero.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

impl Default for Counter {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for CounterBlock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_in_declared_order() {
        let block = CounterBlock::new();
        block.allocs[3].add(7);
        block.frees[63].add(9);
        block.cycles_bypass_saved.add(11);
        let mut words = vec![0u64; Counters::WORDS];
        words[3] = 7;
        words[CLASSES + 63] = 9;
        *words.last_mut().unwrap() = 11;
        assert_eq!(Counters::from_words(&words).unwrap(), block.snapshot());
        assert!(Counters::from_words(&words[1..]).is_none());
    }

    #[test]
    fn adding_sums_every_field() {
        let mut a = Counters::from_words(&(0..Counters::WORDS as u64).collect::<Vec<_>>()).unwrap();
        let b = a.clone();
        a.add(&b);
        let want: Vec<u64> = (0..Counters::WORDS as u64).map(|w| 2 * w).collect();
        assert_eq!(a, Counters::from_words(&want).unwrap());
    }
}
