//! Large objects: runs of pages, described in a table apart from them.
//!
//! Fresh pages are dear: a system call, and a page fault each. So pages that were freed are kept for
//! the next objects, which take what they need of a run and leave the rest, or have the longest run
//! moved to where there is room for more: moving pages costs a hundredth of touching fresh ones. How
//! much is kept is bounded by what the program uses itself ([`footprint`]), and all of it is given
//! back on purge, or when the system refuses memory.
//!
//! An address that is not in the table is not ours.

mod footprint;
mod pages;
mod table;
mod zero;

use core::ptr::NonNull;
use footprint::{Habit, Level};
use memento_hal::lock::{ForkLock, this_thread};
use memento_hal::os::Os;
pub(crate) use pages::Pages;
use pages::{Kept, Surplus};
pub(crate) use table::{Backing, Table};

/// Bytes of a huge page. Only speed depends on it.
const HUGE_BYTES: usize = 2 << 20;
/// Zeros of so many bytes come from fresh pages, and those are not kept: so large a table is often used
/// here and there, and writing zeros to all of it costs as much as touching an eighth of it.
const APART_BYTES: usize = 32 << 20;
/// Objects of so many bytes on huge pages get them whole.
const WHOLE_MIN: usize = 4 * HUGE_BYTES;
/// A kept run is moved to the front of an object that is at most so many times as long.
const FRONT_SHARE: usize = 8;

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
    kept: Kept,
    /// Number of the latest mapping.
    mappings: u32,
    /// Start of the latest object on fresh pages.
    latest: Option<NonNull<u8>>,
    level: Level,
    habit: Habit,
    usage: LargeUsage,
}

// SAFETY: the pages are owned by the state; threads reach it through the lock.
unsafe impl Send for State {}

/// An object that is in the table, and what is to be done before it is handed out.
struct Served {
    pages: Pages,
    backing: Backing,
    /// Bytes at its front that may be other than zero.
    used: usize,
    /// Bytes that are better populated at once, since all of them will be touched.
    populate: usize,
}

impl<O: Os> Large<O> {
    /// No objects.
    pub const fn new(os: O) -> Self {
        let state = State {
            table: Table::new(),
            kept: Kept::new(),
            mappings: 0,
            latest: None,
            level: Level::new(),
            habit: Habit::new(),
            usage: LargeUsage { objects: 0, bytes: 0, peak_bytes: 0, kept_bytes: 0 },
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
                let used = served.used.min(size).next_multiple_of(page);
                zero::clear(&self.os, Pages { bytes: used, ..served.pages });
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

    /// Bytes of the object at `start`, if there is one.
    pub fn size_of(&self, start: NonNull<u8>) -> Option<usize> {
        self.locked(|_, state, _| Some(state.table.get(start)?.0.bytes))
    }

    /// Makes the object at `start` hold `size` bytes without copying it: where it is if there is
    /// room, else by moving its pages. `None` if it is better copied, or cannot be had.
    ///
    /// # Safety
    /// `start` is a live large object. If it moves, nobody uses the old address afterwards.
    pub unsafe fn resize(
        &self,
        start: NonNull<u8>,
        size: usize,
        align: usize,
    ) -> Option<NonNull<u8>> {
        let page = self.os.page_bytes();
        let needed = size.max(1).checked_next_multiple_of(page)?;
        self.locked(|os, state, surplus| {
            let (pages, backing) = state.table.get(start)?;
            if needed > pages.bytes {
                state.grow(os, pages, backing, needed, align, surplus)
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

    /// Totals.
    pub fn usage(&self) -> LargeUsage {
        self.locked(|_, state, _| Some(state.usage())).unwrap_or_default()
    }

    /// Runs `work` under the lock, then gives back what it has put onto the list. Nothing under the
    /// lock allocates, so it is never entered twice by one thread.
    fn locked<R>(&self, work: impl FnOnce(&O, &mut State, &mut Surplus) -> Option<R>) -> Option<R> {
        let mut surplus = Surplus::new();
        let result = self.state.with(this_thread(), |state| work(&self.os, state, &mut surplus));
        surplus.release(&self.os);
        result?
    }
}

impl State {
    fn usage(&self) -> LargeUsage {
        LargeUsage { kept_bytes: self.kept.bytes(), ..self.usage }
    }

    fn allocate(
        &mut self,
        os: &impl Os,
        bytes: usize,
        align: usize,
        zeroed: bool,
        surplus: &mut Surplus,
    ) -> Option<Served> {
        if !self.table.reserve(os) {
            return None;
        }
        let apart = zeroed && bytes >= APART_BYTES;
        let kept = if apart { None } else { self.kept.take(bytes, align) };
        let served = match kept {
            Some(pages) => {
                Served { pages, backing: Backing::Known, used: pages.bytes, populate: 0 }
            }
            None if apart => {
                let pages = self.map_fresh(os, bytes, align, surplus)?;
                Served { pages, backing: Backing::Apart, used: 0, populate: 0 }
            }
            None => self.map(os, bytes, align, zeroed, surplus)?,
        };
        self.table.put(served.pages, served.backing);
        self.usage.objects += 1;
        self.count_in(served.pages.bytes, served.backing);
        self.trim(os, surplus);
        Some(served)
    }

    /// Pages of which at least a part is fresh.
    fn map(
        &mut self,
        os: &impl Os,
        bytes: usize,
        align: usize,
        zeroed: bool,
        surplus: &mut Surplus,
    ) -> Option<Served> {
        self.learn_from_latest(os);
        let sure = !zeroed && self.habit.is_sure(bytes);
        let huge = sure && bytes >= HUGE_BYTES;
        if align == os.page_bytes()
            && let Some(front) = self.kept.take_longest(bytes / FRONT_SHARE)
        {
            // SAFETY: the run lies in one mapping, and nobody uses it.
            match unsafe { os.remap(front.start, front.bytes, bytes) } {
                Some(start) => {
                    let pages = Pages { start, bytes, mapping: self.next_mapping() };
                    if huge {
                        // SAFETY: mapped just now.
                        unsafe { os.advise_huge(start, bytes) };
                    }
                    let backing = Backing::Known;
                    return Some(Served { pages, backing, used: front.bytes, populate: 0 });
                }
                // It will not be moved next time either.
                None => surplus.add(os, front),
            }
        }
        let (length, align) = if huge {
            // The last huge page whole, if that is little for the object: the next has the rest of it.
            let whole = bytes.next_multiple_of(HUGE_BYTES);
            (if bytes >= WHOLE_MIN { whole } else { bytes }, align.max(HUGE_BYTES))
        } else {
            (bytes, align)
        };
        let mut pages = self.map_fresh(os, length, align, surplus)?;
        if huge {
            // SAFETY: mapped just now.
            unsafe { os.advise_huge(pages.start, length) };
        }
        if length > bytes {
            let rest = pages.split(bytes);
            surplus.extend(os, self.kept.add(rest));
        }
        let populate = if sure && !huge { bytes } else { 0 };
        // What is populated would look used whatever becomes of it.
        let backing = if zeroed || populate > 0 { Backing::Known } else { Backing::Fresh };
        self.latest = Some(pages.start);
        Some(Served { pages, backing, used: 0, populate })
    }

    /// A mapping.
    fn map_fresh(
        &mut self,
        os: &impl Os,
        bytes: usize,
        align: usize,
        surplus: &mut Surplus,
    ) -> Option<Pages> {
        let start = os.map(bytes, align).or_else(|| {
            // What is kept may be what is missing.
            surplus.release(os);
            self.drop_kept(os);
            os.map(bytes, align)
        })?;
        Some(Pages { start, bytes, mapping: self.next_mapping() })
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
            Backing::Apart => return surplus.add(os, pages),
        }
        surplus.extend(os, self.kept.add(pages));
        self.trim(os, surplus);
    }

    /// Keeps no more than is worth it.
    fn trim(&mut self, os: &impl Os, surplus: &mut Surplus) {
        let most = self.level.most_kept();
        while self.kept.bytes() > most {
            let over = self.kept.bytes() - most;
            // What is left of a huge page keeps all of it in memory.
            let Some(run) = self.kept.take_oldest(over, HUGE_BYTES) else { return };
            surplus.add(os, run);
        }
        let now = self.usage.bytes + self.kept.bytes();
        self.usage.peak_bytes = self.usage.peak_bytes.max(now);
    }

    fn grow(
        &mut self,
        os: &impl Os,
        mut pages: Pages,
        backing: Backing,
        needed: usize,
        align: usize,
        surplus: &mut Surplus,
    ) -> Option<NonNull<u8>> {
        let old = pages.bytes;
        let page = os.page_bytes();
        if let Some(behind) = self.kept.take_behind(&pages, needed - old) {
            pages.bytes += behind.bytes;
            self.table.put(pages, backing);
            self.count_in(behind.bytes, backing);
            self.trim(os, surplus);
            return Some(pages.start);
        }
        // Copying onto pages that are there is cheaper than many fresh ones.
        let by_much = needed - old >= old / 4;
        if align > page || (by_much && self.kept.has(needed, page)) {
            return None;
        }
        // A program that grows an object step by step does so again: an eighth more address space,
        // which costs no memory until it is touched, saves system calls.
        let bytes = needed.checked_add((needed / 8).next_multiple_of(page))?;
        // SAFETY: the object's pages lie in one mapping. If they move, the caller tells its user so.
        let start = unsafe { os.remap(pages.start, old, bytes) }?;
        self.table.remove(pages.start);
        let now = Pages { start, bytes, mapping: self.next_mapping() };
        // What was filled before it grew will be filled again.
        let filled = Pages { bytes: old - old / 8, ..now };
        let sure = self.habit.learn_early(os, &filled);
        if sure && bytes >= HUGE_BYTES {
            // SAFETY: mapped just now.
            unsafe { os.advise_huge(start, bytes) };
        }
        self.table.put(now, backing);
        self.count_in(bytes - old, backing);
        self.trim(os, surplus);
        Some(start)
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
    /// become one: they would not be moved by one call then, and be given back instead.
    fn next_mapping(&mut self) -> u32 {
        self.mappings = self.mappings.wrapping_add(1);
        self.mappings
    }

    /// Gives back everything that is kept; returns bytes.
    fn drop_kept(&mut self, os: &impl Os) -> usize {
        let bytes = self.kept.bytes();
        let mut surplus = Surplus::new();
        while let Some(run) = self.kept.take_longest(0) {
            surplus.add(os, run);
        }
        surplus.release(os);
        bytes
    }
}

#[cfg(test)]
mod tests;
