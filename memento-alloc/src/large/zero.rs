//! Makes pages that were in use read as zero, at the least cost in time and memory.
//!
//! Pages without memory behind them would be faulted in by a write, so they are skipped over. They may be
//! swapped out, which only the kernel knows: it is told to forget them.
//!
//! Pages that are all known to have memory behind them are written over without a question, which for what is short takes longer
//! than the zeros.

use super::pages::Pages;
use super::past_caches;
use core::ptr::NonNull;
use memento_hal::os::Os;

/// Pages that are looked at in one call.
const PART: usize = 1024;
/// Of a part in which fewer pages than this share are backed, all are given back: a program that uses
/// so few would collect more and more of them.
const FEW_SHARE: usize = 32;

/// A hole of fewer pages is written over, …
const HOLE_MIN: usize = 8;
/// … and of fewer than these where the zeros go into the caches: to have the kernel forget them takes longer.
const WARM_HOLE_MIN: usize = 32;

/// Makes the pages read as zero. If the caches do not hold them anyway (`cold`), the zeros go past the caches. Returns whether all
/// of the pages have memory behind them now.
///
/// # Safety
/// They are the caller's alone.
pub(super) unsafe fn clear(os: &impl Os, pages: Pages, cold: bool) -> bool {
    let (write_zeros, hole_min): (unsafe fn(NonNull<u8>, usize), _) = match cold {
        true => (past_caches::write_zeros, HOLE_MIN),
        false => (write_zeros, WARM_HOLE_MIN),
    };
    // What is cold may be swapped out by now.
    if pages.full && !cold {
        // SAFETY: the caller's.
        unsafe { write_zeros(pages.start, pages.bytes) };
        return true;
    }
    let page = os.page_bytes();
    let (mut rest, mut full) = (pages, true);
    while rest.bytes > 0 {
        let mut part = rest;
        rest = part.split(part.bytes.min(PART * page));
        let mut backed = [1; PART];
        let backed = &mut backed[..part.bytes / page];
        // SAFETY: the part is the caller's, and committed as all of an object is.
        unsafe {
            let known = os.backing(part.start, backed);
            let count = backed.iter().filter(|b| **b & 1 == 1).count();
            full &= !known || count == backed.len();
            if !known {
                write_zeros(part.start, part.bytes);
            } else if count * FEW_SHARE < backed.len() {
                forget(os, part.start, part.bytes);
            } else {
                clear_runs(os, part.start, backed, hole_min, write_zeros);
            }
        }
    }
    full
}

/// # Safety
/// The bytes are the caller's.
unsafe fn write_zeros(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller's.
    unsafe { start.write_bytes(0, bytes) };
}

/// Writes zeros to what is backed, run by run, and has the kernel forget the rest.
///
/// # Safety
/// The pages from `start` on are the caller's.
unsafe fn clear_runs(
    os: &impl Os,
    start: NonNull<u8>,
    backed: &[u8],
    hole_min: usize,
    write_zeros: unsafe fn(NonNull<u8>, usize),
) {
    let (page, mut first) = (os.page_bytes(), 0);
    for run in backed.chunk_by(|a, b| (a ^ b) & 1 == 0) {
        // SAFETY: as many pages as `backed` tells of are the caller's.
        unsafe {
            let at = start.add(first * page);
            if run[0] & 1 == 1 || run.len() < hole_min {
                write_zeros(at, run.len() * page);
            } else {
                forget(os, at, run.len() * page);
            }
        }
        first += run.len();
    }
}

/// # Safety
/// The pages are the caller's.
unsafe fn forget(os: &impl Os, start: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller's. Locked pages cannot be given back, but written.
    unsafe {
        if !os.decommit(start, bytes) {
            start.write_bytes(0, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memento_hal::os::Fake;
    use std::vec;
    use std::vec::Vec;

    const PAGE: usize = Fake::PAGE_BYTES;

    /// A system that tells which pages are backed, as a test says, and may refuse to take any back.
    struct Told {
        fake: Fake,
        start: usize,
        backed: Vec<bool>,
    }

    // SAFETY: memory is the fake's.
    unsafe impl Os for Told {
        fn page_bytes(&self) -> usize {
            PAGE
        }
        fn reserve(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
            self.fake.reserve(bytes, align)
        }
        unsafe fn commit(&self, _: NonNull<u8>, _: usize) -> bool {
            true
        }
        unsafe fn populate(&self, _: NonNull<u8>, _: usize) {}
        unsafe fn backing(&self, start: NonNull<u8>, backed: &mut [u8]) -> bool {
            let first = (start.addr().get() - self.start) / PAGE;
            // The other bits mean nothing.
            backed.iter_mut().zip(&self.backed[first..]).for_each(|(b, is)| *b = 6 | u8::from(*is));
            true
        }
        unsafe fn decommit(&self, start: NonNull<u8>, bytes: usize) -> bool {
            // SAFETY: the caller's.
            unsafe { self.fake.decommit(start, bytes) }
        }
        unsafe fn release(&self, _: NonNull<u8>, _: usize) {}
    }

    /// Clears pages full of ones, once as they are told and once as if all were known to be backed; returns how often the system was
    /// asked to take pages back.
    fn clear_told(backed: Vec<bool>, refuse: bool, cold: bool) -> usize {
        let all = backed.iter().all(|is| *is);
        let (asked, is_full) = clear_known(backed.clone(), refuse, cold, false);
        assert_eq!(is_full, all);
        // What is cold is asked about all the same, as it may be swapped out.
        let known = clear_known(backed, refuse, cold, true);
        assert_eq!(known, if cold { (asked, all) } else { (0, true) });
        asked
    }

    fn clear_known(backed: Vec<bool>, refuse: bool, cold: bool, full: bool) -> (usize, bool) {
        let fake = Fake::new();
        if refuse {
            fake.refuse_decommits();
        }
        let bytes = backed.len() * PAGE;
        let start = fake.map(bytes + PAGE, PAGE).unwrap();
        let os = Told { fake, start: start.addr().get(), backed };
        // SAFETY: mapped above, of this length.
        let is_full = unsafe {
            // What is swapped out is not zero either.
            start.write_bytes(1, bytes + 1);
            let is_full = clear(&os, Pages { start, bytes, mapping: 1, allocated: 0, full }, cold);
            assert_eq!(start.add(bytes).read(), 1, "what follows");
            let step = if cfg!(miri) { 509 } else { 1 };
            assert!((0..bytes).step_by(step).all(|at| start.add(at).read() == 0));
            is_full
        };
        (os.fake.decommits(), is_full)
    }

    #[test]
    fn all_is_zero_whatever_is_backed_and_refused() {
        let short = |i: usize| i.is_multiple_of(5);
        let long = |i: usize| i % 20 < 3;
        let runs = |n, is: fn(usize) -> bool| (0..n).map(is).collect();
        for (refuse, cold) in [(false, false), (true, false), (false, true), (true, true)] {
            let asked = |n| if refuse { 0 } else { n };
            assert_eq!(clear_told(vec![true; 40], refuse, cold), 0);
            assert_eq!(clear_told(vec![false; 40], refuse, cold), asked(1));
            assert_eq!(clear_told(runs(40, short), refuse, cold), 0, "short holes");
            let if_cold = |n| if cold { asked(n) } else { 0 };
            assert_eq!(clear_told(runs(40, long), refuse, cold), if_cold(2));
            assert_eq!(clear_told(runs(100, |i| i % 50 < 3), refuse, cold), asked(2));
            if !cfg!(miri) {
                assert_eq!(clear_told(vec![true; PART], refuse, cold), 0);
                let parts = runs(PART * 2 + 50, |i| i == 700);
                assert_eq!(clear_told(parts, refuse, cold), asked(3), "one page of a part");
                assert_eq!(clear_told(runs(PART, long), refuse, cold), if_cold(51));
            }
        }
    }
}
