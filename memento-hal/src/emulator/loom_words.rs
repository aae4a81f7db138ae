//! A store for loom models.

use super::memory::Store;
use loom::sync::atomic::{AtomicU64, Ordering};
use std::collections::HashMap;

/// Those words that a model needs; all others are zero and never written.
pub(super) struct Words {
    pub words: HashMap<u64, AtomicU64>,
    /// Where arenas begin; below lies the queue.
    pub region: u64,
    /// Loads of the queue's head are read-modify-writes. Loom looks for other orders of two
    /// accesses only if no access by the same thread lies between them, and so overlooks most
    /// orders of "load, then compare and exchange". With such loads it finds them all, but none
    /// returns an old value; so every model runs both ways.
    pub strong_loads: bool,
}

impl Words {
    fn at(&self, at: u64) -> &AtomicU64 {
        &self.words[&at]
    }
}

impl Store for Words {
    fn commit(&self, _: u64, _: u64) -> bool {
        true
    }
    fn load(&self, at: u64) -> u64 {
        let Some(word) = self.words.get(&at) else { return 0 };
        if self.strong_loads && at < self.region {
            word.fetch_or(0, Ordering::AcqRel)
        } else {
            word.load(Ordering::Acquire)
        }
    }
    fn store(&self, at: u64, value: u64) {
        self.at(at).store(value, Ordering::Release);
    }
    fn swap(&self, at: u64, value: u64) -> u64 {
        self.at(at).swap(value, Ordering::AcqRel)
    }
    fn fetch_or(&self, at: u64, bits: u64) -> u64 {
        self.at(at).fetch_or(bits, Ordering::AcqRel)
    }
    fn fetch_and(&self, at: u64, bits: u64) -> u64 {
        self.at(at).fetch_and(bits, Ordering::AcqRel)
    }
    fn compare_exchange(&self, at: u64, old: u64, new: u64) -> bool {
        self.at(at).compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}
