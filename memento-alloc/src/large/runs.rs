//! Runs of pages that are in no object's use, and which of them serve a request.
//!
//! A run is *kept* if it may have memory behind it, else it is *clean*: address space that reads as zero.
//! Runs of one kind that touch and are of one mapping are one. Runs of both kinds that touch are a *room*: an
//! object may lie across them.
//!
//! The runs are an array in order of address, which moves to a mapping of its own when it grows: there are
//! hardly more of them than large objects, so a search costs less than one page fault.
//!
//! This module gives nothing back to the system.

use super::pages::Pages;
use core::ops::Range;
use core::ptr::NonNull;
use memento_hal::os::Os;

/// What is left of a run, if it is less than this, …
const LEFT_MIN: usize = 64 * 1024;
/// … and than this share of the object, stays with it.
const LEFT_SHARE: usize = 4;

/// Runs before the array needs a mapping.
const FEW: usize = 32;
/// Runs that one change may add.
const MOST_ADDED: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Run {
    pages: Pages,
    kept: bool,
    /// When it became what it is: larger is younger.
    age: u64,
}

impl Run {
    const NONE: Self = Self {
        pages: Pages {
            start: NonNull::dangling(),
            bytes: 0,
            mapping: 0,
            allocated: 0,
            full: false,
        },
        kept: false,
        age: 0,
    };

    /// Whether `next` begins where this ends, in the same mapping.
    fn touches(&self, next: &Self) -> bool {
        self.pages.end() == next.pages.address() && self.pages.mapping == next.pages.mapping
    }
}

/// Pages that were cut out of a room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cut {
    pub pages: Pages,
    /// Bytes at the front that may be other than zero: behind them all is clean.
    pub used: usize,
    /// When these were allocated, see [`Pages::allocated`].
    pub allocated: u16,
}

/// The runs, in order of address.
#[derive(Debug)]
pub(super) struct Runs {
    few: [Run; FEW],
    /// Those that are more than a few, all of them.
    many: Option<NonNull<Run>>,
    capacity: usize,
    count: usize,
    kept: usize,
    /// The latest age.
    now: u64,
}

// SAFETY: the runs are owned by whoever has this.
unsafe impl Send for Runs {}

impl Runs {
    /// Nothing.
    pub const fn new() -> Self {
        Self { few: [Run::NONE; FEW], many: None, capacity: FEW, count: 0, kept: 0, now: 0 }
    }

    /// Bytes of the runs that are kept.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Makes room for what one change may add; `false` if there is no memory for it.
    pub fn reserve(&mut self, os: &impl Os) -> bool {
        if self.count + MOST_ADDED <= self.capacity {
            return true;
        }
        let page = os.page_bytes();
        let bytes = |capacity: usize| (capacity * size_of::<Run>()).next_multiple_of(page);
        let capacity = self.capacity * 4;
        let Some(many) = os.map(bytes(capacity), page) else { return false };
        let many = many.cast::<Run>();
        // SAFETY: the new array has room for all that the old one holds, which nobody uses afterwards.
        unsafe {
            many.copy_from_nonoverlapping(NonNull::from(self.all()).cast(), self.count);
            if let Some(old) = self.many.replace(many) {
                os.release(old.cast(), bytes(self.capacity));
            }
        }
        self.capacity = capacity;
        true
    }

    fn all(&self) -> &[Run] {
        match self.many {
            None => &self.few[..self.count],
            // SAFETY: the array holds as many.
            Some(many) => unsafe { core::slice::from_raw_parts(many.as_ptr(), self.count) },
        }
    }

    fn all_mut(&mut self) -> &mut [Run] {
        match self.many {
            None => &mut self.few[..self.count],
            // SAFETY: as above.
            Some(many) => unsafe { core::slice::from_raw_parts_mut(many.as_ptr(), self.count) },
        }
    }

    /// Index of the first run at this address or behind it.
    fn position(&self, address: usize) -> usize {
        self.all().partition_point(|run| run.pages.address() < address)
    }

    fn insert(&mut self, index: usize, run: Run) {
        assert!(self.count < self.capacity, "room was made");
        self.count += 1;
        self.kept += if run.kept { run.pages.bytes } else { 0 };
        let tail = &mut self.all_mut()[index..];
        tail.rotate_right(1);
        tail[0] = run;
    }

    fn remove(&mut self, index: usize) -> Run {
        let tail = &mut self.all_mut()[index..];
        let run = tail[0];
        tail.rotate_left(1);
        self.count -= 1;
        self.kept -= if run.kept { run.pages.bytes } else { 0 };
        run
    }

    /// Adds pages, which are in no run. There is room: [`Runs::reserve`] said so.
    pub fn add(&mut self, pages: Pages, kept: bool) {
        self.now += 1;
        self.add_aged(pages, kept, self.now);
    }

    fn add_aged(&mut self, pages: Pages, kept: bool, age: u64) {
        if pages.bytes == 0 {
            return;
        }
        let mut run = Run { pages, kept, age };
        let mut index = self.position(pages.address());
        if let Some(next) = self.all().get(index)
            && next.kept == kept
            && run.touches(next)
        {
            let next = self.remove(index);
            run.pages = run.pages.joined(&next.pages);
            run.age = run.age.max(next.age);
        }
        if let Some(before) = index.checked_sub(1)
            && self.all()[before].kept == kept
            && self.all()[before].touches(&run)
        {
            index = before;
            let first = self.remove(index);
            // Its start is good for both: what a mapping returned reaches over all of it.
            run.pages = first.pages.joined(&run.pages);
            run.age = run.age.max(first.age);
        }
        self.insert(index, run);
    }

    /// Cuts `bytes` from `address` on out of the runs; all of it is in one room. There is room for what is
    /// left at both ends.
    fn cut(&mut self, address: usize, bytes: usize) -> Cut {
        let end = address + bytes;
        let mut index = self.position(address + 1) - 1;
        let mut found: Option<Pages> = None;
        let (mut used, mut known) = (0, None::<Pages>);
        while index < self.count && self.all()[index].pages.address() < end {
            let Run { mut pages, kept, age } = self.remove(index);
            let mut inner = pages.split(address.saturating_sub(pages.address()));
            let rest = inner.split((end - inner.address()).min(inner.bytes));
            // What is left at the front is before `index`, what is left at the end ends the loop.
            if pages.bytes > 0 {
                self.insert(index, Run { pages, kept, age });
                index += 1;
            }
            if rest.bytes > 0 {
                self.insert(index, Run { pages: rest, kept, age });
            }
            if kept {
                used = inner.end() - address;
                known = Some(known.map_or(inner, |all| all.joined(&inner)));
            }
            found = Some(found.map_or(inner, |all| all.joined(&inner)));
        }
        let mut pages = found.unwrap_or(Run::NONE.pages);
        debug_assert!(pages.address() == address && pages.bytes == bytes);
        pages.full = known.is_some_and(|known| known.full && known.bytes == bytes);
        Cut { pages, used, allocated: known.map_or(0, |known| known.allocated) }
    }

    /// Where an object of `bytes` at a multiple of `align` may lie in free pages; `None` if it does not fit.
    fn place(start: usize, end: usize, bytes: usize, align: usize) -> Option<usize> {
        let address = start.checked_next_multiple_of(align)?;
        (address.checked_add(bytes)? <= end).then_some(address)
    }

    /// Cuts an object of `bytes` at a multiple of `align` out of the shortest kept run that holds it.
    pub fn take_kept(&mut self, bytes: usize, align: usize) -> Option<Cut> {
        let kept = self.all().iter().filter(|run| run.kept).map(|run| run.pages);
        let fits = kept.filter_map(|run| {
            Some((run.bytes, Self::place(run.address(), run.end(), bytes, align)?, run.end()))
        });
        let (_, address, end) = fits.min()?;
        let left = end - address - bytes;
        let little = left < LEFT_MIN.min(bytes / LEFT_SHARE);
        Some(self.cut(address, bytes + if little { left } else { 0 }))
    }

    /// Whether [`Runs::take_kept`] would find something.
    pub fn has_kept(&self, bytes: usize) -> bool {
        self.all().iter().any(|run| run.kept && run.pages.bytes >= bytes)
    }

    /// The room that begins at the run with this index: its end, and the index behind it.
    fn room(&self, first: usize) -> (usize, usize) {
        let all = self.all();
        let mut next = first + 1;
        while next < all.len() && all[next - 1].touches(&all[next]) {
            next += 1;
        }
        (all[next - 1].pages.end(), next)
    }

    /// Cuts an object of `bytes` at a multiple of `align` out of a room that holds it: where the least of it is
    /// clean, which costs its page faults, or where that is all the same in the smallest room.
    pub fn take(&mut self, bytes: usize, align: usize) -> Option<Cut> {
        let mut best: Option<(usize, usize, usize)> = None;
        let mut first = 0;
        while first < self.count {
            let start = self.all()[first].pages.address();
            let (end, next) = self.room(first);
            let fits = |address: &usize| *address >= start && *address <= end - bytes;
            for run in self.all()[first..next].iter().filter(|_| end - start >= bytes) {
                let pages = &run.pages;
                // The first place of all, and those that begin or end with something kept.
                let from = pages.address().checked_next_multiple_of(align);
                let to = pages.end().checked_sub(bytes).map(|address| address & !(align - 1));
                let to = to.filter(|_| run.kept);
                let from = from.filter(|_| run.kept || pages.address() == start);
                for address in [from, to].into_iter().flatten().filter(fits) {
                    let clean = bytes - self.kept_in(first..next, address, address + bytes);
                    let candidate = (clean, end - start, address);
                    best = Some(best.map_or(candidate, |best| best.min(candidate)));
                }
            }
            first = next;
        }
        let (_, _, address) = best?;
        Some(self.cut(address, bytes))
    }

    /// Bytes between two addresses that are in kept ones of these runs.
    fn kept_in(&self, runs: Range<usize>, start: usize, end: usize) -> usize {
        let runs = &self.all()[runs];
        let first = runs.partition_point(|run| run.pages.end() <= start);
        let within = runs[first..].iter().take_while(|run| run.pages.address() < end);
        let part = |run: &Run| run.pages.end().min(end) - run.pages.address().max(start);
        within.filter(|run| run.kept).map(part).sum()
    }

    /// Bytes of the room right behind these pages, in their mapping.
    pub fn behind(&self, pages: &Pages) -> usize {
        let index = self.position(pages.end());
        let follows =
            |run: &Run| run.pages.address() == pages.end() && run.pages.mapping == pages.mapping;
        match self.all().get(index) {
            Some(run) if follows(run) => self.room(index).0 - pages.end(),
            _ => 0,
        }
    }

    /// Cuts `bytes` out of the room right behind these pages, which has as many.
    pub fn take_behind(&mut self, pages: &Pages, bytes: usize) -> Cut {
        self.cut(pages.end(), bytes)
    }

    /// Start of the room of a mapping that ends at this address, if there is one.
    pub fn room_before(&self, end: usize, mapping: u32) -> Option<usize> {
        let all = self.all();
        let mut index = self.position(end).checked_sub(1)?;
        if all[index].pages.end() != end || all[index].pages.mapping != mapping {
            return None;
        }
        while index > 0 && all[index - 1].touches(&all[index]) {
            index -= 1;
        }
        Some(all[index].pages.address())
    }

    /// Takes the clean run out that ends at this address.
    pub fn take_clean_before(&mut self, end: usize) -> Option<Pages> {
        let index = self.position(end).checked_sub(1)?;
        let run = self.all()[index];
        (!run.kept && run.pages.end() == end).then(|| self.remove(index).pages)
    }

    /// Takes out kept pages that are to be given back, about as many as are over: whole blocks of as many
    /// bytes as `unit` says, of the run that is kept longest of those that have any. `None` if no run has.
    pub fn take_oldest(&mut self, over: usize, unit: impl Fn(&Pages) -> usize) -> Option<Pages> {
        let kept = self.all().iter().enumerate().filter(|(_, run)| run.kept);
        let whole = kept.filter(|(_, run)| run.pages.whole(unit(&run.pages)).bytes > 0);
        let (index, _) = whole.min_by_key(|(_, run)| run.age)?;
        let Run { mut pages, kept, age } = self.remove(index);
        let unit = unit(&pages);
        let whole = pages.whole(unit);
        let last = pages.split(whole.end() - pages.address());
        let least = over.min(whole.bytes).next_multiple_of(unit);
        let taken = pages.split(pages.bytes - least);
        // The later one first: then the other has the same index.
        for rest in [last, pages] {
            if rest.bytes > 0 {
                self.insert(index, Run { pages: rest, kept, age });
            }
        }
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::test_os;
    use super::*;
    use std::vec::Vec;

    const UNIT: usize = 64 * 1024;

    /// Pages without memory: nothing here reads or writes them.
    fn run(at: usize, units: usize, mapping: u32) -> Pages {
        let start = NonNull::new(core::ptr::without_provenance_mut::<u8>(at * UNIT)).unwrap();
        Pages { start, bytes: units * UNIT, mapping, allocated: 0, full: false }
    }

    /// All runs as (start, units, kept), in order of address.
    fn contents(runs: &Runs) -> Vec<(usize, usize, bool)> {
        let each = |r: &Run| (r.pages.address() / UNIT, r.pages.bytes / UNIT, r.kept);
        runs.all().iter().map(each).collect()
    }

    fn take_kept(runs: &mut Runs, bytes: usize, align: usize) -> Option<Pages> {
        let cut = runs.take_kept(bytes, align)?;
        assert_eq!(cut.used, cut.pages.bytes);
        Some(cut.pages)
    }

    /// What is taken out of a room, and how much of it was used.
    fn take(runs: &mut Runs, bytes: usize, align: usize) -> Option<(Pages, usize)> {
        runs.take(bytes, align).map(|cut| (cut.pages, cut.used))
    }

    fn cut(at: usize, units: usize, mapping: u32, used: usize) -> (Pages, usize) {
        (run(at, units, mapping), used * UNIT)
    }

    #[test]
    fn what_is_joined_is_about_as_old_as_its_parts() {
        let mut runs = Runs::new();
        let aged = |at, units, allocated| Pages { allocated, ..run(at, units, 1) };
        runs.add(aged(10, 6, 100), true);
        runs.add(aged(18, 2, 500), true);
        runs.add(aged(16, 2, 900), true);
        assert_eq!(contents(&runs), [(10, 10, true)]);
        // Six of 100, two of 900, then two of 500.
        assert_eq!(runs.take_kept(4 * UNIT, UNIT).unwrap().allocated, 340);
        // What is clean does not count.
        runs.add(aged(20, 4, 7), false);
        let cut = runs.take(8 * UNIT, UNIT).unwrap();
        assert_eq!((cut.pages.bytes, cut.used, cut.allocated), (8 * UNIT, 6 * UNIT, 340));
    }

    #[test]
    fn what_is_cut_is_full_if_all_that_it_was_cut_from_is() {
        let mut runs = Runs::new();
        let add = |runs: &mut Runs, at, full| runs.add(Pages { full, ..run(at, 4, 1) }, true);
        let is_full =
            |runs: &mut Runs, units: usize| runs.take(units * UNIT, UNIT).unwrap().pages.full;
        add(&mut runs, 10, true);
        assert!(is_full(&mut runs, 2) && is_full(&mut runs, 2));
        add(&mut runs, 10, true);
        add(&mut runs, 14, true);
        assert!(is_full(&mut runs, 8));
        add(&mut runs, 10, true);
        add(&mut runs, 14, false);
        assert!(!is_full(&mut runs, 4), "it is one run with what is not");
        assert!(!is_full(&mut runs, 4));
        add(&mut runs, 10, true);
        runs.add(run(14, 4, 1), false);
        assert!(!is_full(&mut runs, 5), "a part of it is clean");
    }

    #[test]
    fn runs_of_one_kind_and_mapping_that_touch_are_one() {
        let mut runs = Runs::new();
        for (pages, kept) in [
            (run(10, 2, 1), true),
            (run(16, 2, 1), true),
            (run(12, 4, 2), true),
            (run(18, 1, 1), false),
            (run(8, 2, 1), true),
            (run(19, 3, 1), false),
        ] {
            runs.add(pages, kept);
        }
        assert_eq!(contents(&runs), [(8, 4, true), (12, 4, true), (16, 2, true), (18, 4, false)]);
        assert_eq!(runs.kept(), 10 * UNIT);
    }

    #[test]
    fn the_shortest_kept_run_is_cut_at_both_ends() {
        let mut runs = Runs::new();
        runs.add(run(3, 20, 1), true);
        runs.add(run(33, 6, 2), true);
        runs.add(run(50, 2, 2), false);
        assert_eq!(take_kept(&mut runs, 2 * UNIT, 4 * UNIT), Some(run(36, 2, 2)));
        assert_eq!(contents(&runs), [(3, 20, true), (33, 3, true), (38, 1, true), (50, 2, false)]);
        assert_eq!(take_kept(&mut runs, 21 * UNIT, UNIT), None);
        assert_eq!(take_kept(&mut runs, 4 * UNIT, UNIT), Some(run(3, 4, 1)));
        assert!(runs.has_kept(16 * UNIT) && !runs.has_kept(17 * UNIT));
        assert_eq!(runs.kept(), 20 * UNIT);
        // Less than is worth a run stays with the object, of one that is short less.
        assert_eq!(take_kept(&mut runs, 3 * UNIT - 1, 1), Some(run(33, 3, 2)));
        assert_eq!(take_kept(&mut runs, UNIT / 2, 1).unwrap().bytes, UNIT / 2);
    }

    #[test]
    fn a_room_is_of_runs_of_both_kinds_and_the_smallest_serves() {
        let mut runs = Runs::new();
        runs.add(run(4, 3, 1), true);
        runs.add(run(7, 3, 1), false);
        runs.add(run(10, 2, 1), true);
        runs.add(run(12, 9, 2), false);
        assert_eq!(take(&mut runs, 10 * UNIT, UNIT), None);
        assert_eq!(runs.room_before(12 * UNIT, 1), Some(4 * UNIT));
        assert_eq!((runs.room_before(11 * UNIT, 1), runs.room_before(12 * UNIT, 2)), (None, None));
        assert_eq!(runs.behind(&run(2, 2, 1)), 8 * UNIT);
        assert_eq!(runs.behind(&run(2, 2, 2)), 0, "another mapping");
        assert_eq!(runs.behind(&run(2, 3, 1)), 0);
        assert_eq!(take(&mut runs, 7 * UNIT, UNIT), Some(cut(4, 7, 1, 7)));
        assert_eq!(contents(&runs), [(11, 1, true), (12, 9, false)]);
        assert_eq!(take(&mut runs, 3 * UNIT, 8 * UNIT), Some(cut(16, 3, 2, 0)));
        assert_eq!(contents(&runs), [(11, 1, true), (12, 4, false), (19, 2, false)]);
        let behind = runs.take_behind(&run(9, 2, 1), UNIT);
        assert_eq!((behind.pages, behind.used), cut(11, 1, 1, 1));
        assert_eq!(runs.take_clean_before(21 * UNIT), Some(run(19, 2, 2)));
        assert_eq!(runs.take_clean_before(21 * UNIT), None);
        assert_eq!((contents(&runs), runs.kept()), (std::vec![(12, 4, false)], 0));
    }

    #[test]
    fn an_object_lies_where_most_is_kept() {
        let rooms = || {
            let mut runs = Runs::new();
            // The smallest room has one kept unit, the other ends with four.
            runs.add(run(1, 4, 1), false);
            runs.add(run(5, 1, 1), true);
            runs.add(run(10, 9, 2), false);
            runs.add(run(19, 1, 2), true);
            runs.add(run(20, 3, 2), false);
            runs.add(run(23, 4, 2), true);
            runs.add(run(27, 1, 2), false);
            runs
        };
        assert_eq!(take(&mut rooms(), 6 * UNIT, UNIT), Some(cut(21, 6, 2, 6)));
        assert_eq!(take(&mut rooms(), 6 * UNIT, 2 * UNIT), Some(cut(20, 6, 2, 6)));
        assert_eq!(take(&mut rooms(), 8 * UNIT, UNIT), Some(cut(19, 8, 2, 8)));
        assert_eq!(take(&mut rooms(), 18 * UNIT, UNIT), Some(cut(10, 18, 2, 17)));
        assert_eq!(take(&mut rooms(), 19 * UNIT, UNIT), None);
    }

    #[test]
    fn what_is_kept_longest_goes_first_and_only_as_much_as_need_be() {
        let mut runs = Runs::new();
        runs.add(run(10, 9, 1), true);
        runs.add(run(30, 12, 2), true);
        runs.add(run(42, 2, 2), false);
        // Whole blocks of four units: the first run has one from 12 to 16, the second one from 32 on.
        assert_eq!(runs.take_oldest(UNIT, |_| 4 * UNIT), Some(run(12, 4, 1)));
        assert_eq!(contents(&runs), [(10, 2, true), (16, 3, true), (30, 12, true), (42, 2, false)]);
        assert_eq!(runs.take_oldest(4 * UNIT + 1, |_| 4 * UNIT), Some(run(32, 8, 2)));
        assert_eq!(runs.take_oldest(UNIT, |_| 4 * UNIT), None, "parts stay");
        assert_eq!(runs.take_oldest(100 * UNIT, |_| UNIT), Some(run(10, 2, 1)));
        assert_eq!(runs.take_oldest(UNIT, |_| UNIT), Some(run(18, 1, 1)));
        assert_eq!(runs.kept(), 6 * UNIT);
    }

    #[test]
    fn there_may_be_any_number() {
        let os = test_os();
        let mut runs = Runs::new();
        let number = if cfg!(miri) { 150 } else { 3000 };
        for i in 0..number {
            assert!(runs.reserve(&os));
            runs.add(run(2 * (i * 7 % number) + 1, 1, 1), true);
        }
        assert!(contents(&runs).into_iter().eq((0..number).map(|i| (2 * i + 1, 1, true))));
        assert_eq!(take_kept(&mut runs, UNIT, 1), Some(run(1, 1, 1)), "of equal ones the lowest");
        for i in 1..number {
            runs.add(run(2 * i, 1, 1), true);
        }
        assert_eq!(contents(&runs), [(2, 2 * number - 2, true)]);
    }
}
