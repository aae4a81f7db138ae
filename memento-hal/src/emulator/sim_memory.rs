//! A store of simulated words: what a trace replay and the tests run the emulator on.
//!
//! Any 47-bit address works and nothing outside this value is touched, so a run depends on its
//! operations alone. One thread uses it at a time.

extern crate std;

use super::memory::Store;
use crate::geometry::LINE_BYTES;
use core::cell::{Cell, RefCell};
use core::hash::{BuildHasherDefault, Hasher};
use std::collections::HashMap;
use std::vec::Vec;

const WORDS: usize = LINE_BYTES / 8;
/// Lines whose place is remembered in front of the map; a power of two.
const RECENT: usize = 1024;

/// Words by address, kept by the line and zero until stored.
#[derive(Debug)]
pub struct SimMemory {
    /// Place in `lines` of each line that was ever stored to.
    places: RefCell<HashMap<u64, usize, BuildHasherDefault<LineHasher>>>,
    lines: RefCell<Vec<[u64; WORDS]>>,
    /// Line number plus one and place, direct-mapped by line number.
    recent: RefCell<Vec<(u64, usize)>>,
    left: Cell<u64>,
}

/// Multiplies; line numbers need no more.
#[derive(Default)]
struct LineHasher(u64);

impl Hasher for LineHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(self.0 << 8 | u64::from(byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }
}

impl SimMemory {
    /// Memory without a limit.
    pub fn new() -> Self {
        Self::with_limit(u64::MAX)
    }

    /// Memory that refuses the commit that would bring the sum of all above `bytes`.
    pub fn with_limit(bytes: u64) -> Self {
        Self {
            places: RefCell::default(),
            lines: RefCell::default(),
            recent: RefCell::new(std::vec![(0, 0); RECENT]),
            left: Cell::new(bytes),
        }
    }

    /// Place of the line of `at` in `lines`; makes one if `create`.
    fn place(&self, at: u64, create: bool) -> Option<usize> {
        let line = at / LINE_BYTES as u64;
        let recent = &mut self.recent.borrow_mut()[recent_slot(line)];
        if recent.0 == line + 1 {
            return Some(recent.1);
        }
        let mut places = self.places.borrow_mut();
        let place = match places.get(&line) {
            Some(&place) => place,
            None if !create => return None,
            None => {
                let mut lines = self.lines.borrow_mut();
                lines.push([0; WORDS]);
                places.insert(line, lines.len() - 1);
                lines.len() - 1
            }
        };
        *recent = (line + 1, place);
        Some(place)
    }

    fn update(&self, at: u64, change: impl FnOnce(u64) -> u64) -> u64 {
        debug_assert!(at.is_multiple_of(8));
        // `place` with `create` always finds one.
        let Some(place) = self.place(at, true) else { return 0 };
        let word = &mut self.lines.borrow_mut()[place][word_index(at)];
        let old = *word;
        *word = change(old);
        old
    }
}

fn recent_slot(line: u64) -> usize {
    // Headers are a page or more apart, so the upper bits must count too.
    (line ^ line >> 6 ^ line >> 12) as usize % RECENT
}

fn word_index(at: u64) -> usize {
    (at / 8) as usize % WORDS
}

impl Default for SimMemory {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for SimMemory {
    fn commit(&self, _: u64, bytes: u64) -> bool {
        let left = self.left.get().checked_sub(bytes);
        if let Some(left) = left {
            self.left.set(left);
        }
        left.is_some()
    }

    fn load(&self, at: u64) -> u64 {
        debug_assert!(at.is_multiple_of(8));
        self.place(at, false).map_or(0, |place| self.lines.borrow()[place][word_index(at)])
    }

    fn store(&self, at: u64, value: u64) {
        self.update(at, |_| value);
    }

    fn swap(&self, at: u64, value: u64) -> u64 {
        self.update(at, |_| value)
    }

    fn fetch_or(&self, at: u64, bits: u64) -> u64 {
        self.update(at, |old| old | bits)
    }

    fn fetch_and(&self, at: u64, bits: u64) -> u64 {
        self.update(at, |old| old & bits)
    }

    fn compare_exchange(&self, at: u64, old: u64, new: u64) -> bool {
        self.update(at, |held| if held == old { new } else { held }) == old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_values_wherever_they_lie() {
        let memory = SimMemory::new();
        let at = |n: u64| 0x1_0000 * n * n + 8 * (n % 8);
        for n in 0..3000 {
            assert_eq!(memory.load(at(n)), 0);
            memory.store(at(n), n + 1);
        }
        for n in 0..3000 {
            assert_eq!(memory.load(at(n)), n + 1);
            assert_eq!(memory.load(at(n) ^ 64), 0);
        }
    }

    #[test]
    fn read_modify_writes_return_what_was_there() {
        let memory = SimMemory::new();
        assert_eq!(memory.fetch_or(8, 0b110), 0);
        assert_eq!(memory.fetch_and(8, 0b011), 0b110);
        assert_eq!(memory.swap(8, 9), 0b010);
        assert!(!memory.compare_exchange(8, 8, 1));
        assert_eq!(memory.load(8), 9);
        assert!(memory.compare_exchange(8, 9, 1));
        assert_eq!(memory.load(8), 1);
    }

    #[test]
    fn the_limit_counts_every_commit() {
        let memory = SimMemory::with_limit(100);
        assert!(memory.commit(0, 60));
        assert!(!memory.commit(0, 41));
        assert!(memory.commit(4096, 40));
        assert!(!memory.commit(0, 1));
    }
}
