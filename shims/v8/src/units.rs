//! Which units of the range are whose, and in what state: plain bookkeeping, no system calls.
//!
//! A *unit* is what V8 calls a page: 256 KiB at a multiple of 256 KiB.
//!
//! ```text
//!            take                open
//!   free ───────────→ taken ───────────→ open
//!     ↑                │  ↑     close     │
//!     └────────────────┘  └───────────────┘
//!          release
//! ```
//!
//! **Invariants**
//! 1. A unit that is not open is *kept* if its memory may hold what was written while it was; `kept`
//!    and `open` count such units. What is neither reads as zero, or was never committed.
//! 2. Units are taken lowest first, so what is in use stays dense, and kept units come before fresh
//!    ones.
//! 3. Every unit below `end`, and none above, has been taken at some time.
//!
//! Must not know: addresses, the system, V8.

use core::ops::Range;

/// Bytes of a unit.
pub const UNIT_BYTES: usize = 256 << 10;
/// Number of units: 16 GiB of addresses. A heap that is larger has the rest where the kernel puts it.
pub const UNITS: usize = 65_536;
/// Units of a huge page, on systems where that has 2 MiB.
pub const UNITS_PER_HUGE: usize = 8;
/// The smallest page of any system, in which parts of units are counted.
pub const PART_BYTES: usize = 4096;
/// Parts of a unit.
const PARTS: u8 = (UNIT_BYTES / PART_BYTES) as u8;

/// How many of the units that were opened last are known.
pub const LATEST: usize = 8;

/// V8 has it mapped.
const TAKEN: u8 = 1;
/// V8 may read and write it.
const OPEN: u8 = 2;
/// It may hold something else than zeros.
const DIRTY: u8 = 4;
/// Parts of it are protected otherwise than by being open.
const ODD: u8 = 8;

/// What is to be done before a unit may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opening {
    /// It holds what was there before it was closed.
    pub dirty: bool,
    /// Its protection must be set.
    pub odd: bool,
}

/// The state of all units.
#[derive(Debug)]
pub struct Units {
    flags: [u8; UNITS],
    /// Parts that V8 has not unmapped, of each unit that is taken.
    left: [u8; UNITS],
    /// No unit below is free.
    lowest: usize,
    /// One more than the highest unit that was ever taken.
    end: usize,
    open: usize,
    /// Most units that were open at a time.
    peak: usize,
    kept: usize,
    /// The units that were opened last, one more than their numbers; 0: none yet.
    latest: [usize; LATEST],
    /// Where the next goes.
    next: usize,
}

impl Units {
    /// All units free.
    pub const fn new() -> Self {
        Self {
            flags: [0; UNITS],
            left: [0; UNITS],
            lowest: 0,
            end: 0,
            open: 0,
            peak: 0,
            kept: 0,
            latest: [0; LATEST],
            next: 0,
        }
    }

    /// Takes the lowest free unit.
    pub fn take(&mut self) -> Option<usize> {
        let free = self.flags[self.lowest..].iter().position(|flags| flags & TAKEN == 0)?;
        let unit = self.lowest + free;
        self.flags[unit] |= TAKEN;
        self.left[unit] = PARTS;
        self.lowest = unit + 1;
        self.end = self.end.max(self.lowest);
        Some(unit)
    }

    /// Whether V8 has the unit mapped.
    pub fn is_taken(&self, unit: usize) -> bool {
        self.flags[unit] & TAKEN != 0
    }

    /// Whether V8 may use the unit.
    pub fn is_open(&self, unit: usize) -> bool {
        self.flags[unit] & OPEN != 0
    }

    /// Opens a unit that is taken.
    pub fn open(&mut self, unit: usize) -> Opening {
        let flags = self.flags[unit];
        let closed = flags & OPEN == 0;
        let dirty = closed && flags & DIRTY != 0;
        self.kept -= usize::from(dirty);
        self.open += usize::from(closed);
        self.peak = self.peak.max(self.open);
        self.flags[unit] = TAKEN | OPEN | DIRTY;
        if closed {
            self.latest[self.next] = unit + 1;
            self.next = (self.next + 1) % LATEST;
        }
        Opening { dirty, odd: flags & ODD != 0 }
    }

    /// Notes that parts of an open unit get a protection of their own.
    pub fn mark_odd(&mut self, unit: usize) {
        self.flags[unit] |= ODD;
    }

    /// Closes a unit. Returns whether its protection must be set to be as the others'.
    pub fn close(&mut self, unit: usize) -> bool {
        let flags = self.flags[unit];
        if flags & OPEN != 0 {
            self.open -= 1;
            self.kept += 1;
        }
        self.flags[unit] = flags & !(OPEN | ODD);
        flags & ODD != 0
    }

    /// V8 unmaps `bytes` of the unit; it is free once nothing is left. Returns what
    /// [`Units::close`] does.
    pub fn release(&mut self, unit: usize, bytes: usize) -> bool {
        if !self.is_taken(unit) {
            return false;
        }
        let parts = u8::try_from(bytes.div_ceil(PART_BYTES)).unwrap_or(PARTS);
        self.left[unit] = self.left[unit].saturating_sub(parts);
        if self.left[unit] > 0 {
            return false;
        }
        let odd = self.close(unit);
        self.flags[unit] &= !TAKEN;
        self.lowest = self.lowest.min(unit);
        odd
    }

    /// Whether none of these units is open or kept.
    pub fn is_unused(&self, units: Range<usize>) -> bool {
        self.flags[units].iter().all(|flags| flags & (OPEN | DIRTY) == 0)
    }

    /// How many of the `most` units from `first` on are neither open nor kept, up to the first that is.
    pub fn unused_from(&self, first: usize, most: usize) -> usize {
        (0..most).take_while(|n| self.is_unused(first + n..first + n + 1)).count()
    }

    /// Those of the units opened last that are open still, all of them.
    pub fn latest(&self) -> impl Iterator<Item = usize> {
        let all_open = |&unit: &usize| self.flags[unit] & (OPEN | ODD) == OPEN;
        self.latest.iter().filter_map(|unit| unit.checked_sub(1)).filter(all_open)
    }

    /// Units in use.
    pub fn open_units(&self) -> usize {
        self.open
    }

    /// Most units that were in use at a time.
    pub fn peak_units(&self) -> usize {
        self.peak
    }

    /// Units that hold memory without being in use.
    pub fn kept_units(&self) -> usize {
        self.kept
    }

    /// The highest kept units that lie side by side, at most `most` of them, as first and end; they
    /// count as given back from here on.
    pub fn give_back(&mut self, most: usize) -> Option<(usize, usize)> {
        let is_kept = |flags: &u8| flags & (OPEN | DIRTY) == DIRTY;
        let end = self.flags[..self.end].iter().rposition(is_kept)? + 1;
        let held = self.flags[..end].iter().rev().take(most).take_while(|f| is_kept(f)).count();
        for flags in &mut self.flags[end - held..end] {
            *flags &= !DIRTY;
        }
        self.kept -= held;
        Some((end - held, end))
    }
}

impl Default for Units {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    fn units() -> Box<Units> {
        Box::new(Units::new())
    }

    #[test]
    fn the_lowest_free_unit_is_taken() {
        let mut units = units();
        assert_eq!((0..4).map(|_| units.take().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3]);
        units.release(2, UNIT_BYTES);
        units.release(1, UNIT_BYTES);
        assert_eq!((0..3).map(|_| units.take().unwrap()).collect::<Vec<_>>(), [1, 2, 4]);
    }

    #[test]
    fn all_units_can_be_taken_and_no_more() {
        let mut units = units();
        assert!((0..UNITS).all(|n| units.take() == Some(n)));
        assert_eq!(units.take(), None);
    }

    #[test]
    fn what_was_used_is_dirty_when_opened_again() {
        let mut units = units();
        let unit = units.take().unwrap();
        assert_eq!(units.open(unit), Opening { dirty: false, odd: false });
        assert_eq!(units.open(unit), Opening { dirty: false, odd: false }, "it is open already");
        assert!(!units.close(unit));
        assert_eq!((units.open_units(), units.kept_units()), (0, 1));
        units.release(unit, UNIT_BYTES);
        assert_eq!(units.take(), Some(unit));
        assert!(units.open(unit).dirty);
        assert_eq!((units.open_units(), units.kept_units()), (1, 0));
    }

    #[test]
    fn a_unit_is_free_when_all_of_it_is_unmapped() {
        let mut units = units();
        let unit = units.take().unwrap();
        units.open(unit);
        units.mark_odd(unit);
        assert!(!units.release(unit, 13 * PART_BYTES));
        assert!(units.is_taken(unit) && units.is_open(unit));
        assert!(units.release(unit, UNIT_BYTES - 13 * PART_BYTES), "its protection is to be reset");
        assert!(!units.is_taken(unit));
        assert!(!units.release(unit, UNIT_BYTES), "nothing is there to be released");
        assert_eq!(units.open(units.end - 1), Opening { dirty: true, odd: false });
    }

    #[test]
    fn of_the_units_opened_last_those_count_that_can_be_read() {
        let mut units = units();
        for _ in 0..LATEST + 3 {
            let unit = units.take().unwrap();
            units.open(unit);
            units.open(unit);
        }
        units.close(4);
        units.mark_odd(6);
        let latest: BTreeSet<_> = units.latest().collect();
        assert_eq!(latest, BTreeSet::from([3, 5, 7, 8, 9, 10]));
    }

    #[test]
    fn the_highest_kept_units_are_given_back_in_runs() {
        let mut units = units();
        for _ in 0..10 {
            let unit = units.take().unwrap();
            units.open(unit);
        }
        for unit in [1, 2, 3, 6, 7] {
            units.release(unit, UNIT_BYTES);
        }
        assert_eq!(units.kept_units(), 5);
        assert_eq!(units.give_back(9), Some((6, 8)));
        assert_eq!(units.give_back(2), Some((2, 4)));
        assert_eq!(units.give_back(9), Some((1, 2)));
        assert_eq!(units.give_back(9), None);
        assert_eq!(units.kept_units(), 0);
        let taken = units.take().unwrap();
        assert_eq!((taken, units.open(taken).dirty), (1, false));
    }

    #[test]
    fn unused_is_what_is_neither_open_nor_kept() {
        let mut units = units();
        for _ in 0..4 {
            units.take().unwrap();
        }
        units.open(0);
        units.open(2);
        assert_eq!((units.unused_from(1, 7), units.unused_from(3, 5)), (1, 5));
        units.close(2);
        assert!(!units.is_unused(2..3) && units.is_unused(3..8), "its memory is kept");
        units.give_back(1);
        assert_eq!((units.unused_from(1, 7), units.unused_from(1, 2)), (7, 2));
    }

    /// A random program of operations against a plain model.
    #[test]
    fn counts_follow_from_the_states() {
        let mut units = units();
        let (mut taken, mut open, mut dirty) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut peak = 0;
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..20_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let chosen = (state >> 8) as usize % 24;
            match state % 5 {
                0 if taken.len() < 24 => {
                    let want = (0..).find(|unit| !taken.contains(unit)).unwrap();
                    assert_eq!(units.take(), Some(want));
                    taken.insert(want);
                }
                1 if taken.contains(&chosen) => {
                    let was_dirty = dirty.contains(&chosen) && !open.contains(&chosen);
                    assert_eq!(units.open(chosen).dirty, was_dirty);
                    open.insert(chosen);
                    dirty.insert(chosen);
                }
                2 if taken.contains(&chosen) => {
                    units.close(chosen);
                    open.remove(&chosen);
                }
                3 if taken.contains(&chosen) => {
                    units.release(chosen, UNIT_BYTES);
                    taken.remove(&chosen);
                    open.remove(&chosen);
                }
                4 => {
                    if let Some((first, end)) = units.give_back(1 + chosen % 3) {
                        for unit in first..end {
                            assert!(dirty.remove(&unit) && !open.contains(&unit));
                        }
                    }
                }
                _ => {}
            }
            assert_eq!(units.open_units(), open.len());
            peak = peak.max(open.len());
            assert_eq!(units.peak_units(), peak);
            assert_eq!(units.kept_units(), dirty.difference(&open).count());
        }
    }
}
