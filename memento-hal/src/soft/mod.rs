//! The production backend: no hardware, the fastest software for the same contract.
//!
//! Layers, each of which uses only those below it:
//! `Soft` (the contract) → `keep` (heaps without a thread) → `region` (slots, whose an address is) →
//! `refill`, `borrow` and `mail` (slow paths of a heap) → `lists` (the granules' free objects) →
//! `granules` (which granules a heap uses) → `backing` (which pages are huge) → `heap` (fast paths) → `mailbox` and `outbox` (remote frees), `orphans`,
//! `span`, `bin`, `layout`.
//!
//! What it detects on free at no cost to the fast path: addresses outside the region or in parts
//! that are in no use, addresses that are not a multiple of 8, and the immediate repeat. Frees from
//! other threads and of big objects are checked exactly. Everything else is found when all of a
//! granule is free or its list is counted (see `lists`), which is late: between a double free and
//! then, the object can be handed out twice.

// Loom's atomics cannot lie in statics or in zeroed memory: it sees the lock-free part alone.
mod mailbox;
mod orphans;
cfg_if::cfg_if! {
    if #[cfg(not(loom))] {
        mod backing;
        mod bin;
        mod borrow;
        mod granules;
        mod hardened;
        mod heap;
        mod idle;
        mod keep;
        mod layout;
        mod lists;
        mod mail;
        mod outbox;
        mod process;
        mod refill;
        mod region;
        mod span;
        #[cfg(test)]
        mod tests;
        #[cfg(test)]
        mod big_tests;
        #[cfg(test)]
        mod thread_tests;

        pub use backing::PagePolicy;
        pub use bin::{BINS, Bin, DIRECT_MAX, HEAP_MAX};
        pub use hardened::{Hardened, Misuse};
        pub use heap::Heap;
        pub use outbox::Added;
        pub use process::Soft;
        pub use region::{Region, Usage};
    }
}
