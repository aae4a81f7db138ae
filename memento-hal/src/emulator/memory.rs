//! The emulator's two views of memory: what an access costs, and what a word holds.
//!
//! [`Memory`] is the cost port: in process it answers with fixed latencies, in a simulator with
//! those of simulated caches. [`Store`] holds the words themselves: arena headers, bump pointers,
//! page tables. The emulator has no other memory, so it never allocates.

use super::params::Params;
use core::ops::{Add, AddAssign};

/// A number of clock cycles.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Cycles(pub u64);

impl Add for Cycles {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl AddAssign for Cycles {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

/// Number of a core, which is a thread; the index of its area and of its counters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct CoreId(pub u32);

/// Whether an access reads or writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// The word or line is read.
    Load,
    /// The word or line is written.
    Store,
}

/// What accesses to memory cost. Asked once for each access that the model charges for, in the
/// order in which the hardware makes them.
pub trait Memory {
    /// Cost of reading or writing the header line of the arena at `arena`.
    fn header(&self, core: CoreId, arena: u64, access: Access) -> Cycles;
    /// Cost of loading the bump pointer at `at`.
    fn bump_pointer(&self, core: CoreId, at: u64) -> Cycles;
    /// Cost of loading the page-table entry at `at`.
    fn page_table(&self, core: CoreId, at: u64) -> Cycles;
}

/// Fixed costs: what the emulator uses inside a process, where no cache is simulated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FixedCosts {
    header: Cycles,
    bump_pointer: Cycles,
    page_table: Cycles,
}

impl FixedCosts {
    /// The costs that `params` names.
    pub const fn new(params: &Params) -> Self {
        Self {
            header: Cycles(params.header_cycles),
            bump_pointer: Cycles(params.bump_pointer_cycles),
            page_table: Cycles(params.page_table_cycles),
        }
    }
}

impl Memory for FixedCosts {
    #[inline]
    fn header(&self, _: CoreId, _: u64, _: Access) -> Cycles {
        self.header
    }

    #[inline]
    fn bump_pointer(&self, _: CoreId, _: u64) -> Cycles {
        self.bump_pointer
    }

    #[inline]
    fn page_table(&self, _: CoreId, _: u64) -> Cycles {
        self.page_table
    }
}

/// Memory as 64-bit words at addresses that are multiples of eight.
///
/// A word that was never stored is zero. Only words inside a range that [`Store::commit`] granted
/// are accessed. Several cores may work on one store at the same time, so every access is atomic:
/// loads acquire, stores release, and the read-modify-writes do both. Their partners are named in
/// `remote.rs` and `table.rs`, which are the only places where two cores meet on a word.
pub trait Store {
    /// Makes the words of `start..start + bytes` usable; `false` if memory is exhausted.
    /// Granting a range twice is harmless.
    #[must_use]
    fn commit(&self, start: u64, bytes: u64) -> bool;
    /// The word at `at`.
    fn load(&self, at: u64) -> u64;
    /// Sets the word at `at`.
    fn store(&self, at: u64, value: u64);
    /// Sets the word at `at` and returns what it held.
    fn swap(&self, at: u64, value: u64) -> u64;
    /// Sets `bits` in the word at `at` and returns what it held.
    fn fetch_or(&self, at: u64, bits: u64) -> u64;
    /// Keeps only `bits` in the word at `at` and returns what it held.
    fn fetch_and(&self, at: u64, bits: u64) -> u64;
    /// Sets the word at `at` to `new` if it holds `old`; tells whether it did.
    fn compare_exchange(&self, at: u64, old: u64, new: u64) -> bool;
}
