//! Large objects: runs of pages, described in a table apart from them.
//!
//! They lie side by side in one range of addresses ([`area`]). Fresh pages are dear, a page fault each, so pages
//! that were freed are kept for the next objects ([`runs`]), which take the shortest run that holds them, or
//! lie across runs with memory and without. How much is kept is bounded by what the program uses itself
//! ([`footprint`]); what is more is given back, oldest first, and all of it on purge, or when the system
//! refuses memory. An object grows where it is if what follows is free; else it is copied, with
//! room for more or onto pages that are there, or if it is long its pages are moved.
//!
//! Where there is no area, or an object is too large for it, it has a mapping of its own.
//!
//! An address that is not in the table is not ours.

mod area;
mod footprint;
mod pages;
mod past_caches;
mod runs;
mod table;
mod zero;

use area::Area;
use core::ptr::NonNull;
use footprint::{Habit, Level};
use memento_hal::lock::{ForkLock, this_thread};
use memento_hal::os::{HugePages, Os};
use pages::AREA;
pub(crate) use pages::Pages;
use runs::{Cut, Runs};
pub(crate) use table::{Backing, Table};

/// Bytes of a huge page. Only speed depends on it.
const HUGE_BYTES: usize = 2 << 20;
/// What is shorter is copied, with room for more, if it cannot grow where it is.
pub(crate) const COPIED_MAX: usize = 1 << 20;
/// Zeros of so many bytes come from fresh pages, and those are not kept: so large a table is often used
/// here and there, and writing zeros to all of it costs as much as touching an eighth of it.
const APART_BYTES: usize = 32 << 20;
/// A huge page may reach beyond what is used of the area by this share of it, since the next object has the rest, …
const AHEAD_SHARE: usize = 8;
/// … and by so many parts for so many that are used, if what it reaches by is no more than …
const AHEAD_PARTS: usize = 3;
const USED_PARTS: usize = 5;
/// … this share of what the process has resident.
const RESIDENT_SHARE: usize = 4;

/// The clock by which objects are old: a tick for so many bytes that were allocated.
const TICK_BYTES: usize = 64 << 10;
/// After so many ticks, 12 MiB, what an object was filled with has likely left the caches, which programs share.
const COLD_TICKS: u16 = 192;

/// The large objects of a process.
#[derive(Debug)]
pub struct Large<O: Os> {
    os: O,
    state: ForkLock<State>,
}

/// Totals of the large objects.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct LargeUsage {
    /// Live objects.
    pub objects: usize,
    /// Bytes in their pages.
    pub bytes: usize,
    /// Most bytes ever, kept pages included.
    pub peak_bytes: usize,
    /// Bytes of pages that were freed and are kept.
    pub kept_bytes: usize,
}

#[derive(Debug)]
struct State {
    table: Table,
    area: Area,
    /// What of the area below its top is free, and of other mappings.
    free: Runs,
    /// Number of the latest mapping.
    mappings: u32,
    /// No page that lies lower is huge.
    huge_from: usize,
    /// Start of the latest object on fresh pages.
    latest: Option<NonNull<u8>>,
    level: Level,
    habit: Habit,
    usage: LargeUsage,
    /// Bytes that were ever allocated.
    allocated: usize,
}

// SAFETY: the pages are owned by the state; threads reach it through the lock.
unsafe impl Send for State {}

/// Whether an object that cannot grow where it is may be copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Copying {
    /// If that is better than to move its pages.
    Possible,
    /// There is no memory for a copy.
    Failed,
}

/// An object that is in the table, and what is to be done before it is handed out.
struct Served {
    pages: Pages,
    backing: Backing,
    /// Bytes at its front that may be other than zero.
    used: usize,
    /// Whether they have likely left the caches.
    cold: bool,
    /// Bytes that are better populated at once, since all of them will be touched.
    populate: usize,
}

impl<O: Os> Large<O> {
    /// No objects.
    pub const fn new(os: O) -> Self {
        let state = State {
            table: Table::new(),
            area: Area::new(),
            free: Runs::new(),
            mappings: AREA,
            huge_from: usize::MAX,
            latest: None,
            level: Level::new(),
            habit: Habit::new(),
            usage: LargeUsage { objects: 0, bytes: 0, peak_bytes: 0, kept_bytes: 0 },
            allocated: 0,
        };
        Self { os, state: ForkLock::new(state) }
    }

    /// The lock, for fork handlers.
    pub fn acquire(&self) {
        self.state.hold(this_thread());
    }

    /// Undoes [`Large::acquire`].
    pub fn release(&self) {
        self.state.release();
    }

    /// Sets how many times as long as any that was used in full an object may be to be sure to be, too.
    pub fn set_reach(&self, times: u8) {
        self.state.with(this_thread(), |state| state.habit.set_reach(times));
    }

    /// Memory for `size` bytes at a multiple of `align`, a power of two.
    pub fn allocate(&self, size: usize, align: usize, zeroed: bool) -> Option<NonNull<u8>> {
        let page = self.os.page_bytes();
        let bytes = size.max(1).checked_next_multiple_of(page)?;
        let align = align.max(page);
        let served =
            self.locked(|os, state, surplus| state.allocate(os, bytes, align, zeroed, surplus))?;
        // SAFETY: the object is ours, and nobody knows its address yet.
        unsafe {
            if served.populate > 0 {
                self.os.populate(served.pages.start, served.populate);
            }
            if zeroed {
                let bytes = served.used.min(size).next_multiple_of(page);
                let full = zero::clear(&self.os, Pages { bytes, ..served.pages }, served.cold);
                // Of the little that may lie behind it is not known.
                if full && bytes >= size && !served.pages.full {
                    self.note_full(served.pages.start);
                }
            }
        }
        Some(served.pages.start)
    }

    /// Frees the object at `start`; `false` if there is none.
    ///
    /// # Safety
    /// If there is one, nobody uses it any more.
    pub unsafe fn free(&self, start: NonNull<u8>) -> bool {
        self.locked(|os, state, surplus| {
            let (pages, backing) = state.table.remove(start)?;
            state.usage.objects -= 1;
            state.give_up(os, pages, backing, surplus);
            Some(())
        })
        .is_some()
    }

    /// Whether an object has grown before, and is likely to do so again.
    pub fn has_grown(&self, start: NonNull<u8>) -> bool {
        self.state.with(this_thread(), |state| state.table.has_grown(start)) == Some(true)
    }

    /// Notes of an object that it has grown, if it is large.
    pub fn note_grown(&self, start: NonNull<u8>) {
        self.state.with(this_thread(), |state| state.table.note_grown(start));
    }

    /// Notes that all of an object has memory behind it.
    fn note_full(&self, start: NonNull<u8>) {
        self.state.with(this_thread(), |state| state.table.note_full(start));
    }

    /// Bytes of the object at `start`, if there is one.
    pub fn size_of(&self, start: NonNull<u8>) -> Option<usize> {
        self.locked(|_, state, _| Some(state.table.get(start)?.0.bytes))
    }

    /// Makes the object at `start` hold `size` bytes without copying it: where it is if there is
    /// room, else by moving its pages. `None` if it is better copied, or cannot be had.
    ///
    /// # Safety
    /// `start` is a live large object. If it moves, nobody uses the old address afterwards.
    // Out of line, since its one caller calls it twice.
    #[inline(never)]
    pub unsafe fn resize(
        &self,
        start: NonNull<u8>,
        size: usize,
        align: usize,
        copying: Copying,
    ) -> Option<NonNull<u8>> {
        let page = self.os.page_bytes();
        let needed = size.max(1).checked_next_multiple_of(page)?;
        self.locked(|os, state, surplus| {
            let (pages, backing) = state.table.get(start)?;
            if needed > pages.bytes {
                state.grow(os, (pages, backing), needed, align, copying, surplus)
            } else {
                if needed < pages.bytes - pages.bytes / 4 {
                    state.shrink(os, pages, backing, needed, surplus);
                }
                Some(pages.start)
            }
        })
    }

    /// Gives everything that is kept back; returns bytes.
    pub fn purge(&self) -> usize {
        self.locked(|os, state, _| Some(state.drop_kept(os))).unwrap_or(0)
    }

    /// Notes that the process's heaps have grown by so many bytes, and gives back what is not worth keeping beside that.
    pub fn heaps_grew(&self, bytes: usize) {
        self.locked(|os, state, surplus| {
            state.level.crowd(bytes, state.free.kept());
            state.trim(os, surplus);
            Some(())
        });
    }

    /// Totals.
    pub fn usage(&self) -> LargeUsage {
        self.locked(|_, state, _| Some(state.usage())).unwrap_or_default()
    }

    /// Runs `work` under the lock, then gives back what it has put onto the list. Nothing under the
    /// lock allocates, so it is never entered twice by one thread.
    fn locked<R>(&self, work: impl FnOnce(&O, &mut State, &mut Surplus) -> Option<R>) -> Option<R> {
        let mut surplus = Surplus::new();
        let result = self.state.with(this_thread(), |state| work(&self.os, state, &mut surplus));
        for run in surplus.runs.into_iter().flatten() {
            if give_back(&self.os, &run) {
                self.state.with(this_thread(), |state| state.add_clean(&self.os, run));
            }
        }
        result?
    }
}

/// Runs that are to be given back to the system, once the lock is open.
#[derive(Debug)]
struct Surplus {
    runs: [Option<Pages>; 8],
}

impl Surplus {
    const fn new() -> Self {
        Self { runs: [None; 8] }
    }
}

/// Gives the memory of pages that are in no object and no run back to the system; whether they are still
/// ours, and read as zero.
fn give_back(os: &impl Os, run: &Pages) -> bool {
    // SAFETY: pages of a mapping of ours that nobody uses. Locked ones can only be given back with their
    // addresses.
    unsafe {
        if run.mapping == AREA && os.decommit(run.start, run.bytes) {
            return true;
        }
        os.release(run.start, run.bytes);
    }
    false
}

/// Whether an object that grows begins another quarter of a huge page, or of the power of two below what it had: a look at
/// what was touched costs some microseconds, and many objects grow by a page at a time.
fn is_worth_a_look(old: &Pages, new: &Pages) -> bool {
    let step = (1 << old.bytes.ilog2()).min(HUGE_BYTES) / 4;
    let last = |pages: &Pages| (pages.end() - 1) / step;
    last(old) != last(new)
}

impl State {
    fn usage(&self) -> LargeUsage {
        LargeUsage { kept_bytes: self.free.kept(), ..self.usage }
    }

    fn allocate(
        &mut self,
        os: &impl Os,
        bytes: usize,
        align: usize,
        zeroed: bool,
        surplus: &mut Surplus,
    ) -> Option<Served> {
        if !self.table.reserve(os) || !self.free.reserve(os) {
            return None;
        }
        let mut served = if zeroed && bytes >= APART_BYTES {
            let pages = self.map(os, bytes, align)?;
            Served { pages, backing: Backing::Apart, used: 0, cold: false, populate: 0 }
        } else if let Some(Cut { pages, used, allocated }) = self.free.take_kept(bytes, align) {
            let cold = self.is_cold(allocated);
            Served { pages, backing: Backing::Known, used, cold, populate: 0 }
        } else {
            self.take_fresh(os, bytes, align, zeroed)?
        };
        self.allocated += served.pages.bytes;
        served.pages.allocated = self.now();
        self.table.put(served.pages, served.backing);
        self.usage.objects += 1;
        self.count_in(served.pages.bytes, served.backing);
        self.trim(os, surplus);
        Some(served)
    }

    /// The time of [`Pages::allocated`].
    fn now(&self) -> u16 {
        (self.allocated / TICK_BYTES) as u16
    }

    /// Whether pages of an object that was allocated then have likely left the caches.
    fn is_cold(&self, allocated: u16) -> bool {
        self.now().wrapping_sub(allocated) >= COLD_TICKS
    }

    /// Pages of which at least a part is fresh.
    fn take_fresh(
        &mut self,
        os: &impl Os,
        bytes: usize,
        align: usize,
        zeroed: bool,
    ) -> Option<Served> {
        self.learn_from_latest(os);
        let sure = !zeroed && self.habit.is_sure(bytes);
        let top = self.area.top();
        let cut = self.take_from_area(os, bytes, align);
        let Cut { pages, used, allocated } = match cut {
            Some(cut) => cut,
            None => Cut { pages: self.map(os, bytes, align)?, used: 0, allocated: 0 },
        };
        // What a huge page reached beyond the top shows nothing.
        let shows = pages.address() < top || !self.area.has_reached(pages.end());
        if sure {
            self.back_by_huge_pages(os, &pages);
        }
        let populate = if sure && bytes < HUGE_BYTES { bytes } else { 0 };
        // What is populated would look used whatever becomes of it, as what was used before does.
        let fresh = !zeroed && populate == 0 && used == 0 && shows;
        let backing = if fresh { Backing::Fresh } else { Backing::Known };
        self.latest = Some(pages.start);
        Some(Served { pages, backing, used, cold: self.is_cold(allocated), populate })
    }

    /// An object in the area: in a room that holds it, where the least of it is clean, or at the top.
    fn take_from_area(&mut self, os: &impl Os, bytes: usize, align: usize) -> Option<Cut> {
        if let Some(cut) = self.free.take(bytes, align) {
            return Some(cut);
        }
        let top = self.area.first_free(os)?;
        let lowest = self.free.room_before(top, AREA).unwrap_or(top);
        let start = lowest.checked_next_multiple_of(align)?;
        let raised = self.area.raise(os, start.checked_add(bytes)?)?;
        self.free.add(raised, false);
        self.free.take(bytes, align)
    }

    /// Whether a huge page may reach to this address, which is little for the process, or was before.
    fn may_reach(&mut self, os: &impl Os, end: usize) -> bool {
        let (used, ahead) = (self.area.used(), end.saturating_sub(self.area.top()));
        let little = || {
            ahead <= used / AHEAD_SHARE
                || ahead * USED_PARTS <= used * AHEAD_PARTS
                    && os.has_resident(ahead * RESIDENT_SHARE) == Some(true)
        };
        self.area.has_reached(end) || (little() && self.area.reach(os, end))
    }

    /// Has what is fresh of an object that is sure to be used be huge, and the rest of its last huge page if
    /// that is little. All of the object is advised: for the kernel it stays one, and can be moved by one call.
    fn back_by_huge_pages(&mut self, os: &impl Os, pages: &Pages) {
        let end = pages.end().next_multiple_of(HUGE_BYTES);
        let begins_in_it = end - pages.address() >= HUGE_BYTES;
        let reaches = pages.mapping == AREA
            && begins_in_it
            && os.huge_pages() != HugePages::Never
            && self.may_reach(os, end);
        let bytes = if reaches { end - pages.address() } else { pages.bytes };
        let whole = Pages { bytes, ..*pages }.whole(HUGE_BYTES);
        if whole.bytes > 0 {
            self.huge_from = self.huge_from.min(whole.address());
            // SAFETY: committed: an object's pages are, and the area as far as it reaches.
            unsafe { os.advise_huge(pages.start, bytes) };
        }
    }

    /// A mapping of its own.
    fn map(&mut self, os: &impl Os, bytes: usize, align: usize) -> Option<Pages> {
        let start = os.map(bytes, align).or_else(|| {
            // What is kept may be what is missing.
            self.drop_kept(os);
            os.map(bytes, align)
        })?;
        Some(Pages {
            start,
            bytes,
            mapping: self.next_mapping(),
            allocated: self.now(),
            full: false,
        })
    }

    /// Has a look at the latest object on fresh pages, which mostly is in use by now.
    fn learn_from_latest(&mut self, os: &impl Os) {
        if let Some(start) = self.latest.take()
            && let Some((pages, Backing::Fresh)) = self.table.get(start)
            && self.habit.learn_early(os, &pages)
        {
            self.table.put(pages, Backing::Known);
        }
    }

    /// Takes pages back that are in no object any more: keeps them, or puts them onto the list.
    fn give_up(&mut self, os: &impl Os, pages: Pages, backing: Backing, surplus: &mut Surplus) {
        self.count_out(pages.bytes, backing);
        match backing {
            Backing::Known => {}
            Backing::Fresh => self.habit.learn_at_end(os, &pages),
            Backing::Apart => return self.surrender(os, pages, surplus),
        }
        if self.free.reserve(os) {
            self.free.add(pages, true);
            self.trim(os, surplus);
        } else {
            // There is nowhere to note where they are.
            // SAFETY: pages of a mapping of ours that nobody uses.
            unsafe { os.release(pages.start, pages.bytes) };
        }
    }

    /// Puts pages onto the list of what is given back; if that is full, gives them back at once.
    fn surrender(&mut self, os: &impl Os, pages: Pages, surplus: &mut Surplus) {
        match surplus.runs.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some(pages),
            None if give_back(os, &pages) => self.add_clean(os, pages),
            None => {}
        }
    }

    /// Notes that pages of the area are free and read as zero. They lower the top if they are next to it.
    fn add_clean(&mut self, os: &impl Os, pages: Pages) {
        if !self.free.reserve(os) {
            // SAFETY: as above.
            return unsafe { os.release(pages.start, pages.bytes) };
        }
        self.free.add(pages, false);
        if let Some(clean) = self.free.take_clean_before(self.area.top()) {
            self.area.lower(os, &clean);
        }
    }

    /// Keeps no more than is worth it.
    fn trim(&mut self, os: &impl Os, surplus: &mut Surplus) {
        // A part of a huge page keeps all of it in memory, so parts go only if there are many.
        let (page, most) = (os.page_bytes(), self.level.most_kept());
        for (huge, most) in [(HUGE_BYTES, most.whole), (page, most.parts)] {
            // What is left of a run at both ends is one run more.
            while self.free.kept() > most && self.free.reserve(os) {
                let over = self.free.kept() - most;
                let unit = |run: &Pages| if run.end() <= self.huge_from { page } else { huge };
                let Some(run) = self.free.take_oldest(over, unit) else { break };
                self.surrender(os, run, surplus);
            }
        }
        let now = self.usage.bytes + self.free.kept();
        self.usage.peak_bytes = self.usage.peak_bytes.max(now);
    }

    fn grow(
        &mut self,
        os: &impl Os,
        (pages, backing): (Pages, Backing),
        needed: usize,
        align: usize,
        copying: Copying,
        surplus: &mut Surplus,
    ) -> Option<NonNull<u8>> {
        if !self.free.reserve(os) {
            return None;
        }
        let (now, fresh) = match self.extend(os, &pages, needed) {
            Some(extended) => extended,
            None if align > os.page_bytes() => return None,
            None if copying == Copying::Possible && self.is_better_copied(&pages, needed) => {
                return None;
            }
            None => (self.move_to_grow(os, &pages, needed)?, true),
        };
        // What was filled before it grew will be filled again.
        let filled = Pages { bytes: pages.bytes - pages.bytes / 8, ..now };
        if fresh && is_worth_a_look(&pages, &now) && self.habit.learn_early(os, &filled) {
            self.back_by_huge_pages(os, &now);
        }
        self.table.put(now, backing);
        self.table.note_grown(now.start);
        self.count_in(now.bytes - pages.bytes, backing);
        self.trim(os, surplus);
        Some(now.start)
    }

    /// Copying onto pages that are there is cheaper than many fresh ones; and what is short leaves with its pages a mapping more.
    fn is_better_copied(&self, pages: &Pages, needed: usize) -> bool {
        let onto_kept = needed - pages.bytes >= pages.bytes / 4 && self.free.has_kept(needed);
        onto_kept || pages.bytes < COPIED_MAX
    }

    /// The pages, and as many as are missing behind them; and whether the last of those are fresh.
    fn extend(&mut self, os: &impl Os, pages: &Pages, needed: usize) -> Option<(Pages, bool)> {
        let missing = needed - pages.bytes;
        let behind = self.free.behind(pages);
        if behind < missing {
            if pages.mapping != AREA || pages.end() + behind != self.area.top() {
                return None;
            }
            let raised = self.area.raise(os, pages.end() + missing)?;
            self.free.add(raised, false);
        }
        let more = self.free.take_behind(pages, missing);
        let full = pages.full && more.pages.full;
        Some((Pages { bytes: needed, full, ..*pages }, more.used < missing))
    }

    /// Moves an object's pages to where there is room for more. What was its place is free and clean, if nobody
    /// was quicker.
    fn move_to_grow(&mut self, os: &impl Os, pages: &Pages, needed: usize) -> Option<Pages> {
        // A program that grows an object step by step does so again: an eighth more address space,
        // which costs no memory until it is touched, saves system calls.
        let bytes = needed.checked_add((needed / 8).next_multiple_of(os.page_bytes()))?;
        // SAFETY: the object's pages lie in one mapping, or else the system refuses. If they move, the
        // caller tells its user so.
        let start = unsafe { os.remap(pages.start, pages.bytes, bytes) }?;
        self.table.remove(pages.start);
        if pages.mapping == AREA && os.map_again(pages.start, pages.bytes) {
            self.add_clean(os, *pages);
        }
        Some(Pages { start, bytes, mapping: self.next_mapping(), full: false, ..*pages })
    }

    fn shrink(
        &mut self,
        os: &impl Os,
        mut pages: Pages,
        backing: Backing,
        needed: usize,
        surplus: &mut Surplus,
    ) {
        let rest = pages.split(needed);
        self.table.put(pages, backing);
        self.give_up(os, rest, backing, surplus);
    }

    /// Counts bytes as an object's.
    fn count_in(&mut self, bytes: usize, backing: Backing) {
        self.usage.bytes += bytes;
        if backing != Backing::Apart {
            self.level.rise(bytes);
        }
    }

    /// Undoes [`State::count_in`].
    fn count_out(&mut self, bytes: usize, backing: Backing) {
        self.usage.bytes -= bytes;
        if backing != Backing::Apart {
            self.level.fall(bytes);
        }
    }

    /// A number for a mapping. Should one come twice after four thousand million, runs of two mappings may
    /// become one: they would not be moved by one call then, but copied.
    fn next_mapping(&mut self) -> u32 {
        self.mappings = self.mappings.checked_add(1).unwrap_or(AREA + 1);
        self.mappings
    }

    /// Gives back everything that is kept; returns bytes.
    fn drop_kept(&mut self, os: &impl Os) -> usize {
        let bytes = self.free.kept();
        if self.huge_from != usize::MAX {
            self.area.clear_above(os);
        }
        while let Some(run) = self.free.take_oldest(usize::MAX, |_| os.page_bytes()) {
            if give_back(os, &run) {
                self.add_clean(os, run);
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests;
