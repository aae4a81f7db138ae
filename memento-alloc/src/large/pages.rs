//! Runs of pages that are in no object's use, and which of them serve a request.
//!
//! A run is a part of one **mapping**: of what one `mmap` or `mremap` returned. Runs that touch and are
//! of one mapping become one, so every run can be moved by one `mremap`. This module gives nothing
//! back to the system: what is to be given back goes onto a list.

use core::ptr::NonNull;
use memento_hal::os::Os;

/// Pages of one mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pages {
    pub start: NonNull<u8>,
    pub bytes: usize,
    /// Number of the mapping.
    pub mapping: u32,
}

impl Pages {
    /// Address behind the last byte.
    fn end(&self) -> usize {
        self.start.addr().get() + self.bytes
    }

    /// Cuts off what is behind the first `bytes`.
    pub fn split(&mut self, bytes: usize) -> Self {
        debug_assert!(bytes <= self.bytes);
        // SAFETY: within the run or at its end, so not null.
        let start = unsafe { NonNull::new_unchecked(self.start.as_ptr().wrapping_add(bytes)) };
        let rest = Self { start, bytes: self.bytes - bytes, mapping: self.mapping };
        self.bytes = bytes;
        rest
    }

    /// Bytes to skip for an object of `bytes` at a multiple of `align`; `None` if it does not fit.
    fn offset_for(&self, bytes: usize, align: usize) -> Option<usize> {
        let address = self.start.addr().get();
        let offset = address.checked_next_multiple_of(align)? - address;
        (offset.checked_add(bytes)? <= self.bytes).then_some(offset)
    }
}

/// Most runs that are kept.
pub(super) const KEPT_MAX: usize = 64;
/// What is left of a run, if it is less than this, stays with the object.
const LEFT_MIN: usize = 64 * 1024;

/// Runs that are kept, oldest first.
#[derive(Debug)]
pub(super) struct Kept {
    runs: [Option<Pages>; KEPT_MAX],
    count: usize,
    bytes: usize,
}

// SAFETY: the runs are owned by whoever has this.
unsafe impl Send for Kept {}

impl Kept {
    /// Nothing.
    pub const fn new() -> Self {
        Self { runs: [None; KEPT_MAX], count: 0, bytes: 0 }
    }

    /// Bytes of all runs.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn runs(&self) -> impl Iterator<Item = (usize, &Pages)> {
        self.runs[..self.count].iter().enumerate().filter_map(|(i, run)| Some((i, run.as_ref()?)))
    }

    fn remove(&mut self, index: usize) -> Option<Pages> {
        let run = self.runs[index].take()?;
        self.runs[index..self.count].rotate_left(1);
        self.count -= 1;
        self.bytes -= run.bytes;
        Some(run)
    }

    /// Index of a run that touches this one, of the same mapping.
    fn neighbour(&self, run: &Pages) -> Option<usize> {
        let touch = |other: &Pages| {
            other.end() == run.start.addr().get() || run.end() == other.start.addr().get()
        };
        let found = self.runs().find(|(_, other)| other.mapping == run.mapping && touch(other));
        found.map(|(index, _)| index)
    }

    /// Adds a run that is younger than all others, with its neighbours. Returns the oldest if there
    /// are too many.
    pub fn add(&mut self, mut run: Pages) -> Option<Pages> {
        while let Some(index) = self.neighbour(&run) {
            if let Some(other) = self.remove(index) {
                // The lower start is good for both: what a mapping returned reaches over all of it.
                run.start = run.start.min(other.start);
                run.bytes += other.bytes;
            }
        }
        let surplus = if self.count == KEPT_MAX { self.remove(0) } else { None };
        self.runs[self.count] = Some(run);
        self.count += 1;
        self.bytes += run.bytes;
        surplus
    }

    /// The shortest run that holds `bytes` at a multiple of `align`, cut to that.
    pub fn take(&mut self, bytes: usize, align: usize) -> Option<Pages> {
        let fits = |run: &Pages| run.offset_for(bytes, align);
        let (index, offset) = self
            .runs()
            .filter_map(|(index, run)| Some((run.bytes, index, fits(run)?)))
            .min()
            .map(|(_, index, offset)| (index, offset))?;
        let mut before = self.remove(index)?;
        // The run's own place is free again, and one more if need be: `add` finds room for both, or
        // the head stays what it was.
        if offset > 0 && self.count + 2 > KEPT_MAX {
            self.add(before);
            return None;
        }
        let mut run = before.split(offset);
        if run.bytes - bytes >= LEFT_MIN {
            let rest = run.split(bytes);
            self.add(rest);
        }
        if offset > 0 {
            self.add(before);
        }
        Some(run)
    }

    /// Whether [`Kept::take`] would find something.
    pub fn has(&self, bytes: usize, align: usize) -> bool {
        self.runs().any(|(_, run)| run.offset_for(bytes, align).is_some())
    }

    /// The first `bytes` of the run that follows `after` in its mapping.
    pub fn take_behind(&mut self, after: &Pages, bytes: usize) -> Option<Pages> {
        let (index, _) = self.runs().find(|(_, run)| {
            run.start.addr().get() == after.end()
                && run.mapping == after.mapping
                && run.bytes >= bytes
        })?;
        let mut run = self.remove(index)?;
        if run.bytes - bytes >= LEFT_MIN {
            let rest = run.split(bytes);
            self.add(rest);
        }
        Some(run)
    }

    /// The longest run, if it has `bytes`.
    pub fn take_longest(&mut self, bytes: usize) -> Option<Pages> {
        let (length, index) = self.runs().map(|(index, run)| (run.bytes, index)).max()?;
        if length < bytes { None } else { self.remove(index) }
    }

    /// Takes out at least `surplus` bytes, as far as there are any, oldest first; of the last run no more than
    /// is needed, in steps of `step`, a power of two.
    pub fn take_oldest(&mut self, surplus: usize, step: usize) -> Option<Pages> {
        let mut run = self.remove(0)?;
        let address = run.start.addr().get();
        let cut = (run.end() - surplus.min(run.bytes)) / step * step;
        if cut < address + step {
            return Some(run);
        }
        let rest = run.split(cut - address);
        // In its old place: it has not been used since.
        self.runs[self.count] = Some(run);
        self.count += 1;
        self.runs[..self.count].rotate_right(1);
        self.bytes += run.bytes;
        Some(rest)
    }
}

/// Runs that are to be given back to the system, once the lock is open.
#[derive(Debug)]
pub(super) struct Surplus {
    runs: [Option<Pages>; 8],
}

impl Surplus {
    /// Nothing.
    pub const fn new() -> Self {
        Self { runs: [None; 8] }
    }

    /// Adds a run that nobody knows of any more; if there are many, it is given back at once.
    pub fn add(&mut self, os: &impl Os, run: Pages) {
        match self.runs.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some(run),
            None => release(os, run),
        }
    }

    /// Adds a run, if there is one.
    pub fn extend(&mut self, os: &impl Os, run: Option<Pages>) {
        if let Some(run) = run {
            self.add(os, run);
        }
    }

    /// Gives all of it back; returns bytes.
    pub fn release(&mut self, os: &impl Os) -> usize {
        let mut bytes = 0;
        for run in self.runs.iter_mut().map_while(Option::take) {
            bytes += run.bytes;
            release(os, run);
        }
        bytes
    }
}

fn release(os: &impl Os, run: Pages) {
    // SAFETY: pages of a mapping of ours, which are in no object and in no list any more.
    unsafe { os.release(run.start, run.bytes) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const UNIT: usize = 64 * 1024;

    /// Pages without memory: nothing here reads or writes them.
    fn run(at: usize, units: usize, mapping: u32) -> Pages {
        let start = NonNull::new(core::ptr::without_provenance_mut::<u8>(at * UNIT)).unwrap();
        Pages { start, bytes: units * UNIT, mapping }
    }

    /// All that is kept, as (start, units, mapping), in order of address.
    fn contents(kept: &Kept) -> Vec<(usize, usize, u32)> {
        let whole = |run: &Pages| (run.start.addr().get() / UNIT, run.bytes / UNIT, run.mapping);
        let mut all: Vec<_> = kept.runs().map(|(_, run)| whole(run)).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn neighbours_of_one_mapping_become_one() {
        let mut kept = Kept::new();
        for each in [run(10, 2, 1), run(14, 2, 1), run(16, 2, 2), run(8, 2, 2), run(12, 2, 1)] {
            assert_eq!(kept.add(each), None);
        }
        assert_eq!(contents(&kept), [(8, 2, 2), (10, 6, 1), (16, 2, 2)]);
        assert_eq!(kept.bytes(), 10 * UNIT);
    }

    #[test]
    fn the_shortest_fit_is_cut_at_both_ends() {
        let mut kept = Kept::new();
        kept.add(run(3, 20, 1));
        kept.add(run(33, 6, 2));
        assert_eq!(kept.take(2 * UNIT, 4 * UNIT), Some(run(36, 2, 2)));
        assert_eq!(contents(&kept), [(3, 20, 1), (33, 3, 2), (38, 1, 2)]);
        assert_eq!(kept.take(21 * UNIT, UNIT), None);
        assert_eq!(kept.take(4 * UNIT, UNIT), Some(run(3, 4, 1)));
        assert!(kept.has(16 * UNIT, UNIT) && !kept.has(17 * UNIT, UNIT));
        assert_eq!(kept.take_behind(&run(3, 4, 2), UNIT), None, "another mapping");
        assert_eq!(kept.take_behind(&run(3, 4, 1), 2 * UNIT), Some(run(7, 2, 1)));
        assert_eq!(kept.take_longest(15 * UNIT), None);
        assert_eq!(kept.take_longest(14 * UNIT), Some(run(9, 14, 1)));
        assert_eq!(kept.bytes(), 4 * UNIT);
    }

    #[test]
    fn the_oldest_go_first_and_only_as_much_as_need_be() {
        let mut kept = Kept::new();
        kept.add(run(10, 9, 1));
        kept.add(run(30, 4, 2));
        // In steps of four units: the cut is at 16 or below.
        assert_eq!(kept.take_oldest(UNIT, 4 * UNIT), Some(run(16, 3, 1)));
        assert_eq!(
            kept.take_oldest(2 * UNIT, 4 * UNIT),
            Some(run(10, 6, 1)),
            "less is not worth it"
        );
        assert_eq!(contents(&kept), [(30, 4, 2)]);
        assert_eq!(kept.take_oldest(100 * UNIT, 4 * UNIT), Some(run(30, 4, 2)));
        assert_eq!((kept.take_oldest(UNIT, UNIT), kept.bytes()), (None, 0));
    }

    #[test]
    fn when_there_are_too_many_the_oldest_leaves() {
        let mut kept = Kept::new();
        for i in 0..KEPT_MAX {
            assert_eq!(kept.add(run(2 * i + 1, 1, 1)), None);
        }
        assert_eq!(kept.add(run(1000, 4, 2)), Some(run(1, 1, 1)));
        // No place for a head and a rest.
        assert_eq!(kept.take(UNIT, 1024 * UNIT), None);
        assert_eq!(kept.take(UNIT, 1002 * UNIT / 2), None);
        assert_eq!(kept.bytes(), (KEPT_MAX - 1 + 4) * UNIT);
    }
}
