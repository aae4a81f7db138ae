//! The address range in which large objects lie side by side.
//!
//! It is one mapping, so whatever is free side by side can serve one object, whoever had the parts before; and an
//! object can grow where it is as long as what follows is free. It is used from the bottom up: what
//! lies above the *top* was never touched, or was given back.
//!
//! Must not know: which objects there are, and what of the part below the top is free.

use super::pages::{AREA, Pages};
use core::ptr::{NonNull, null_mut};
use memento_hal::os::Os;

/// Address space that is asked for, and the least that is of use, as powers of two.
const LARGEST: u32 = if cfg!(miri) { 20 } else { 36 };
const SMALLEST: u32 = if cfg!(miri) { 20 } else { 26 };
/// Where address space is limited, the area is this share of it at most.
const LIMITED_SHARE: usize = 8;
/// Commits grow in steps of at least this many bytes, and of an eighth of what is committed.
const COMMIT_STEP: usize = 4 << 20;

/// The range. Its place is chosen once.
#[derive(Debug)]
pub(super) struct Area {
    /// Null: not asked for yet, or not to be had.
    base: *mut u8,
    bytes: usize,
    asked: bool,
    /// Bytes below the top, and bytes that are committed.
    top: usize,
    committed: usize,
    /// Bytes up to which huge pages may have memory, if that is beyond the top.
    reached: usize,
}

impl Area {
    /// Not asked for yet.
    pub const fn new() -> Self {
        Self { base: null_mut(), bytes: 0, asked: false, top: 0, committed: 0, reached: 0 }
    }

    /// Address of the top; 0 without an area.
    pub fn top(&self) -> usize {
        self.base.addr() + self.top
    }

    /// Bytes below the top.
    pub fn used(&self) -> usize {
        self.top
    }

    /// Raises the top to this address at least; returns what is below it now that was above, which reads as
    /// zero. `None` if there is no area, or not so much of it, or the system refuses.
    pub fn raise(&mut self, os: &impl Os, end: usize) -> Option<Pages> {
        self.ask(os)?;
        let top = end.checked_sub(self.base.addr()).filter(|top| *top <= self.bytes)?;
        if !self.commit(os, top) {
            return None;
        }
        let old = self.top;
        self.top = top.max(old);
        let start = NonNull::new(self.base.wrapping_add(old))?;
        Some(Pages { start, bytes: self.top - old, mapping: AREA, allocated: 0, full: false })
    }

    /// Address from which on an object may lie, if nothing below the top is free; asks for the area first.
    pub fn first_free(&mut self, os: &impl Os) -> Option<usize> {
        self.ask(os)?;
        Some(self.top())
    }

    /// Lowers the top to the start of pages that end there and read as zero.
    pub fn lower(&mut self, os: &impl Os, pages: &Pages) {
        debug_assert!(pages.mapping == AREA && pages.end() == self.top());
        // What reaches beyond the top would be forgotten.
        self.clear_above(os);
        self.top -= pages.bytes;
    }

    /// Gives back what the last huge page may have above the top.
    pub fn clear_above(&mut self, os: &impl Os) {
        let above = core::mem::take(&mut self.reached).saturating_sub(self.top);
        if let Some(start) = NonNull::new(self.base.wrapping_add(self.top))
            && above > 0
        {
            // SAFETY: committed, and above the top nothing is needed. If the system refuses, it is zero
            // as before.
            let _ = unsafe { os.decommit(start, above) };
        }
    }

    /// Whether a huge page that reaches to this address was allowed before.
    pub fn has_reached(&self, end: usize) -> bool {
        end.wrapping_sub(self.base.addr()) <= self.reached
    }

    /// Has the area be committed up to this address, beyond the top, so that the last huge page is whole.
    /// `false` if that is not to be.
    pub fn reach(&mut self, os: &impl Os, end: usize) -> bool {
        let wanted = end.wrapping_sub(self.base.addr());
        let done = wanted <= self.bytes && self.commit(os, wanted);
        if done {
            self.reached = self.reached.max(wanted);
        }
        done
    }

    fn commit(&mut self, os: &impl Os, end: usize) -> bool {
        if end <= self.committed {
            return true;
        }
        let least = (self.committed / 8).max(COMMIT_STEP);
        let generous = end.max(self.committed + least).next_multiple_of(COMMIT_STEP);
        for wanted in [generous.min(self.bytes), end] {
            // SAFETY: within the reservation, of which this part was not committed yet.
            let done = unsafe {
                let start = NonNull::new_unchecked(self.base.add(self.committed));
                os.commit(start, wanted - self.committed)
            };
            if done {
                self.committed = wanted;
                return true;
            }
        }
        false
    }

    fn ask(&mut self, os: &impl Os) -> Option<()> {
        if !self.asked {
            self.asked = true;
            let most = match os.address_limit() {
                Some(limit) => (limit / LIMITED_SHARE).max(1).ilog2().min(LARGEST),
                None => LARGEST,
            };
            let found = (SMALLEST..=most)
                .rev()
                .find_map(|log2| Some((os.reserve(1 << log2, os.page_bytes())?, 1 << log2)));
            if let Some((base, bytes)) = found {
                (self.base, self.bytes) = (base.as_ptr(), bytes);
            }
        }
        if self.base.is_null() { None } else { Some(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::test_os;
    use super::*;

    const STEP: usize = 64 << 10;

    #[test]
    fn the_top_rises_and_falls_by_whole_pages() {
        let os = test_os();
        let mut area = Area::new();
        assert_eq!((area.top(), area.used()), (0, 0));
        let base = area.first_free(&os).unwrap();
        let got = area.raise(&os, base + 3 * STEP).unwrap();
        assert_eq!((got.address(), got.bytes, got.mapping), (base, 3 * STEP, AREA));
        // SAFETY: committed, and nobody else's.
        unsafe { got.start.write_bytes(1, got.bytes) };
        let none = area.raise(&os, base + STEP).unwrap();
        assert_eq!((none.bytes, area.used()), (0, 3 * STEP), "it is that high already");
        let mut low = got;
        let high = low.split(STEP);
        area.lower(&os, &high);
        assert_eq!(area.top(), base + STEP);
        assert!(area.raise(&os, base + (1 << LARGEST) + 1).is_none(), "beyond the area");
        assert!(area.raise(&os, base - 1).is_none());
    }

    #[test]
    fn what_reaches_beyond_the_top_is_given_back_with_it() {
        let os = memento_hal::os::Fake::new();
        os.limit_reservations(1 << SMALLEST);
        let mut area = Area::new();
        let base = area.first_free(&os).unwrap();
        for lowers in [true, false] {
            let got = area.raise(&os, base + 3 * STEP).unwrap();
            assert!(!area.has_reached(base + 4 * STEP));
            assert!(area.reach(&os, base + 4 * STEP));
            assert!(area.has_reached(base + 4 * STEP) && !area.has_reached(base + 5 * STEP));
            let beyond = got.start.as_ptr().with_addr(got.end());
            // SAFETY: committed, and nobody else's.
            unsafe { beyond.write(1) };
            let before = os.decommits();
            if lowers {
                area.lower(&os, &got);
            } else {
                area.clear_above(&os);
            }
            assert_eq!(os.decommits(), before + 1);
            area.clear_above(&os);
            assert_eq!(os.decommits(), before + 1, "once");
            // SAFETY: as above.
            assert_eq!(unsafe { beyond.read() }, 0);
        }
    }

    #[test]
    fn without_address_space_there_is_none() {
        let os = memento_hal::os::Fake::new();
        os.limit_reservations((1 << SMALLEST) - 1);
        let mut area = Area::new();
        assert!(area.first_free(&os).is_none() && area.raise(&os, 1 << 20).is_none());
        assert_eq!(area.top(), 0);
    }

    #[test]
    fn what_cannot_be_committed_is_not_used() {
        let os = memento_hal::os::Fake::new();
        os.limit_reservations(1 << SMALLEST);
        os.fail_commits_after(1);
        let mut area = Area::new();
        let base = area.first_free(&os).unwrap();
        assert!(area.raise(&os, base + STEP).is_some());
        let end = base + (1 << SMALLEST);
        if COMMIT_STEP < 1 << SMALLEST {
            assert!(area.raise(&os, end).is_none() && !area.reach(&os, end));
        }
        assert_eq!(area.used(), STEP);
    }
}
