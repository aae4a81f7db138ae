//! The range of addresses that V8's pages come from, and what the interposed calls do in it.
//!
//! Left alone, V8 gets each page of its heap by a mapping of its own at a random address: the kernel
//! backs it by 64 small pages, with page tables of its own, and what V8 unmaps or makes inaccessible
//! is given back and faulted in again minutes or milliseconds later. Here the pages come out of one
//! reservation, lowest first:
//!
//! - Memory is committed by 2 MiB, a *chunk*, which is advised to be huge if at least half of
//!   the pages mapped last are in use by then ([`backing`]). V8 fills its old generation page by page; but
//!   when its young generation grows, it maps twice as many pages at once as it had, and half of them only
//!   get a header before the next collection.
//! - What V8 unmaps or closes is kept and used for its next page: it is overwritten by zeros then,
//!   which takes a tenth of the time of 64 page faults. Kept is at most [`KEPT_LEAST`] or an eighth of
//!   what is in use. What is more goes back to the system, and all of it at the end of an invocation; and
//!   so does what is more than [`KEPT_ANYWAY`], as long as faulting it in again would not be felt ([`Budget`]).
//! - Opening and closing whole pages changes nothing in the kernel. Other protections are set as asked.
//!
//! V8's objects of more than a page's half have mappings of any length. From 2 MiB on, these are put
//! at a multiple of 2 MiB and their full huge pages advised: V8 initialises all of an object.
//!
//! A mapping that is not of this shape, and every call outside the range, is passed to the kernel
//! unchanged.
//!
//! Must not know: malloc, which process it is in.

use crate::budget::Budget;
use crate::calls;
use crate::shape::{self, Shape};
use crate::units::{PART_BYTES, UNIT_BYTES, UNITS, UNITS_PER_HUGE, Units};
use backing::Chunk;
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicUsize, Ordering};
use memento_hal::lock::{ForkLock, this_thread};
use memento_hal::os::{Linux, Os};

/// Bytes of the reservation.
const RANGE_BYTES: usize = UNITS * UNIT_BYTES;
/// Bytes of a huge page.
const HUGE_BYTES: usize = UNITS_PER_HUGE * UNIT_BYTES;
/// Units that are kept however long the process lives: 1 MiB. With no more the clock is not looked at.
const KEPT_ANYWAY: usize = 4;
/// Units that may be kept however small the heap is: 4 MiB, about what V8 gives back and takes again
/// between two collections of its young generation.
const KEPT_LEAST: usize = 16;
/// Of the units in use, the part that is kept besides.
const KEPT_PART: usize = 8;
/// Cuts that threads may be about to make at the same time.
const CUTS: usize = 16;
/// The address of a range that could not be had.
const REFUSED: usize = 1;
/// Readable and writable.
const OPEN: c_int = libc::PROT_READ | libc::PROT_WRITE;

/// V8 asks for more than it needs, so that there is an aligned part, and cuts off the rest at once.
#[derive(Clone, Copy, Debug)]
struct Cut {
    start: usize,
    bytes: usize,
    /// Start of the object that is left of a mapping of its own; 0 in the range.
    object: usize,
}

const NO_CUT: Cut = Cut { start: 0, bytes: 0, object: 0 };

#[derive(Debug)]
struct Inner {
    units: Units,
    budget: Budget,
    /// Units that the kernel lets the process use, from the first on.
    committed: usize,
    chunks: [Chunk; UNITS / UNITS_PER_HUGE],
    cuts: [Cut; CUTS],
}

/// The pages of V8's heap. One per process, in a static.
#[derive(Debug)]
pub struct V8Pages {
    /// Start of the range; 0 until the first page is mapped.
    base: AtomicUsize,
    /// Cuts that are expected.
    expected: AtomicUsize,
    /// A test's clock; none is the system's, so that the whole is zero and takes no room in a file.
    clock: Option<fn() -> u64>,
    inner: ForkLock<Inner>,
}

/// What a call does to one unit.
struct Part {
    unit: usize,
    bytes: usize,
}

/// The units that `bytes` from `offset` on touch.
fn parts(offset: usize, bytes: usize) -> impl Iterator<Item = Part> {
    let end = offset + bytes;
    (offset / UNIT_BYTES..end.div_ceil(UNIT_BYTES)).map(move |unit| {
        let bytes = end.min((unit + 1) * UNIT_BYTES) - offset.max(unit * UNIT_BYTES);
        Part { unit, bytes }
    })
}

impl V8Pages {
    /// No range yet; it is reserved when V8 maps its first page.
    pub const fn new() -> Self {
        Self::with_clock(None)
    }

    const fn with_clock(clock: Option<fn() -> u64>) -> Self {
        let inner = Inner {
            units: Units::new(),
            budget: Budget::new(),
            committed: 0,
            chunks: [Chunk::Small; UNITS / UNITS_PER_HUGE],
            cuts: [NO_CUT; CUTS],
        };
        Self {
            base: AtomicUsize::new(0),
            expected: AtomicUsize::new(0),
            clock,
            inner: ForkLock::new(inner),
        }
    }

    /// Milliseconds of some clock.
    fn now(&self) -> u64 {
        self.clock.map_or_else(|| Linux.milliseconds(), |clock| clock())
    }

    /// Maps memory: out of the range if it is a page for V8's heap.
    ///
    /// # Safety
    /// As the C library's `mmap`.
    // Not inlined: `mmap` and `mmap64` share it.
    #[inline(never)]
    pub unsafe fn mmap(
        &self,
        at: *mut c_void,
        bytes: usize,
        prot: c_int,
        flags: c_int,
        file: c_int,
        offset: i64,
    ) -> *mut c_void {
        let mut at = at;
        match shape::of(at.addr(), bytes, prot, flags, file) {
            Shape::Page => {
                if let Some(page) = self.take() {
                    return page;
                }
            }
            Shape::Object if bytes - shape::SLACK >= HUGE_BYTES => {
                at = at.map_addr(|address| address - address % HUGE_BYTES);
                // SAFETY: the caller's promise; only the wish for an address differs.
                let mapped = unsafe { calls::mmap(at, bytes, prot, flags, file, offset) };
                let size = bytes - shape::SLACK;
                if mapped.addr().is_multiple_of(HUGE_BYTES) {
                    let start = mapped.addr() + size;
                    let cut = Cut { start, bytes: shape::SLACK, object: mapped.addr() };
                    self.with(|inner| self.expect(inner, cut));
                }
                return mapped;
            }
            Shape::Object | Shape::Other => {}
        }
        // SAFETY: the caller's promise.
        unsafe { calls::mmap(at, bytes, prot, flags, file, offset) }
    }

    /// Unmaps memory.
    ///
    /// # Safety
    /// As the C library's `munmap`.
    pub unsafe fn munmap(&self, at: *mut c_void, bytes: usize) -> c_int {
        // Relaxed: who cuts off expects it itself.
        if self.expected.load(Ordering::Relaxed) > 0
            && let Some(cut) =
                self.with(|inner| self.expected_cut(inner, at.addr(), bytes)).flatten()
        {
            if cut.object == 0 {
                return 0;
            }
            // SAFETY: the caller's promise for the rest; the object was mapped by the caller just
            // now, and advice changes no contents.
            return unsafe {
                let result = calls::munmap(at, bytes);
                self.advise_huge(at.with_addr(cut.object), cut.start - cut.object);
                result
            };
        }
        let Some(offset) = self.offset(at, bytes) else {
            // SAFETY: the caller's promise.
            return unsafe { calls::munmap(at, bytes) };
        };
        self.with(|inner| {
            for part in parts(offset, bytes) {
                if inner.units.release(part.unit, part.bytes) {
                    self.protect(part.unit);
                }
            }
            let most = KEPT_LEAST.max(inner.units.open_units() / KEPT_PART);
            self.keep(inner, most);
            self.keep_little(inner);
        });
        0
    }

    /// Changes protection.
    ///
    /// # Safety
    /// As the C library's `mprotect`.
    pub unsafe fn mprotect(&self, at: *mut c_void, bytes: usize, prot: c_int) -> c_int {
        let Some(offset) = self.offset(at, bytes) else {
            // SAFETY: the caller's promise.
            return unsafe { calls::mprotect(at, bytes, prot) };
        };
        let whole = offset.is_multiple_of(UNIT_BYTES) && bytes.is_multiple_of(UNIT_BYTES);
        match prot {
            libc::PROT_NONE if whole => self.close(offset, bytes),
            OPEN if whole => self.open(offset, bytes),
            _ => {
                let result = self.open(offset, bytes);
                if result != 0 {
                    return result;
                }
                self.with(|inner| {
                    parts(offset, bytes).for_each(|part| inner.units.mark_odd(part.unit));
                });
                // SAFETY: the caller's promise.
                unsafe { calls::mprotect(at, bytes, prot) }
            }
        }
    }

    /// Advises the kernel.
    ///
    /// # Safety
    /// As the C library's `madvise`.
    pub unsafe fn madvise(&self, at: *mut c_void, bytes: usize, advice: c_int) -> c_int {
        if let Some(offset) = self.offset(at, bytes) {
            // The range is not inherited as a whole. What is closed reads as zero when it is opened.
            let done = match advice {
                libc::MADV_DONTFORK => true,
                libc::MADV_DONTNEED | libc::MADV_FREE => self
                    .with(|inner| parts(offset, bytes).all(|part| !inner.units.is_open(part.unit)))
                    .unwrap_or(false),
                _ => false,
            };
            if done {
                return 0;
            }
        }
        // SAFETY: the caller's promise.
        unsafe { calls::madvise(at, bytes, advice) }
    }

    /// Gives all memory back that V8 does not use.
    pub fn purge(&self) {
        if self.base.load(Ordering::Acquire) <= REFUSED {
            return;
        }
        self.with(|inner| while self.give_back(inner, UNITS) {});
    }

    /// How many units are in use and kept at the moment.
    pub fn usage(&self) -> (usize, usize) {
        let counts = |inner: &mut Inner| (inner.units.open_units(), inner.units.kept_units());
        self.with(counts).unwrap_or((0, 0))
    }

    /// Most units that were in use at a time.
    pub fn peak(&self) -> usize {
        self.with(|inner| inner.units.peak_units()).unwrap_or(0)
    }

    /// Whether there is no range, so that V8's pages are where the kernel puts them.
    pub fn is_refused(&self) -> bool {
        self.base.load(Ordering::Acquire) == REFUSED
    }

    /// `None` in a signal handler that interrupted the same.
    fn with<R>(&self, f: impl FnOnce(&mut Inner) -> R) -> Option<R> {
        self.inner.with(this_thread(), f)
    }

    /// A page of the range for V8, which is about to cut off the slack behind it.
    fn take(&self) -> Option<*mut c_void> {
        self.with(|inner| {
            let base = self.base_or_reserve()?;
            // Before a unit is taken: without room to expect the cut, none must be.
            if inner.cuts.iter().all(|cut| cut.bytes != 0) {
                return None;
            }
            let unit = inner.units.take()?;
            let start = base + (unit + 1) * UNIT_BYTES;
            self.expect(inner, Cut { start, bytes: shape::SLACK, object: 0 });
            Some(self.address(unit * UNIT_BYTES))
        })
        .flatten()
    }

    fn expect(&self, inner: &mut Inner, cut: Cut) {
        if let Some(free) = inner.cuts.iter_mut().find(|cut| cut.bytes == 0) {
            *free = cut;
            self.expected.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn expected_cut(&self, inner: &mut Inner, start: usize, bytes: usize) -> Option<Cut> {
        let found = inner.cuts.iter_mut().find(|cut| cut.start == start && cut.bytes == bytes)?;
        self.expected.fetch_sub(1, Ordering::Relaxed);
        Some(core::mem::replace(found, NO_CUT))
    }

    /// Lets V8 use units; `mprotect`'s result.
    fn open(&self, offset: usize, bytes: usize) -> c_int {
        let last = (offset + bytes - 1) / UNIT_BYTES;
        for part in parts(offset, bytes) {
            let opening = self.with(|inner| {
                if last >= inner.committed && !self.commit(inner, last) {
                    return None;
                }
                self.back_again(inner, part.unit);
                let opening = inner.units.open(part.unit);
                if opening.odd {
                    self.protect(part.unit);
                }
                Some(opening)
            });
            match opening.flatten() {
                None => return -1,
                // Outside the lock: the unit is its caller's alone.
                Some(opening) if opening.dirty => self.clear(part.unit),
                Some(_) => {}
            }
        }
        0
    }

    /// Takes units away from V8; `mprotect`'s result. Their memory may be kept.
    fn close(&self, offset: usize, bytes: usize) -> c_int {
        self.with(|inner| {
            for part in parts(offset, bytes) {
                if inner.units.close(part.unit) {
                    self.protect(part.unit);
                }
            }
            self.keep_little(inner);
        });
        0
    }

    /// Makes all of a unit readable and writable again. If the kernel refuses, for want of mappings, it
    /// stays as it is, and V8 is told when it opens the unit by a fault, as it would have been by the call.
    fn protect(&self, unit: usize) {
        // SAFETY: a unit of the range; the protection of what V8 has unmapped or opened is ours.
        unsafe { calls::mprotect(self.address(unit * UNIT_BYTES), UNIT_BYTES, OPEN) };
    }

    /// Overwrites by zeros what the unit has in memory.
    fn clear(&self, unit: usize) {
        let start = self.address(unit * UNIT_BYTES);
        let page = Linux.page_bytes();
        let mut backed = [1u8; UNIT_BYTES / PART_BYTES];
        let backed = &mut backed[..UNIT_BYTES / page];
        // SAFETY: the unit is mapped, and open to its caller alone. If it is not known what is backed,
        // all is overwritten.
        unsafe {
            if !calls::mincore(start, UNIT_BYTES, backed) {
                backed.fill(1);
            }
            for (index, _) in backed.iter().enumerate().filter(|(_, backed)| **backed & 1 != 0) {
                start.cast::<u8>().add(index * page).write_bytes(0, page);
            }
        }
    }

    /// Keeps at most so many units.
    fn keep(&self, inner: &mut Inner, most: usize) {
        while inner.units.kept_units() > most {
            let excess = inner.units.kept_units() - most;
            self.give_back(inner, excess);
        }
    }

    /// Keeps no more than [`KEPT_ANYWAY`], as far as the budget allows.
    fn keep_little(&self, inner: &mut Inner) {
        let kept = inner.units.kept_units();
        if kept > KEPT_ANYWAY {
            let granted = inner.budget.take(kept - KEPT_ANYWAY, self.now());
            self.keep(inner, kept - granted);
        }
    }

    fn address(&self, offset: usize) -> *mut c_void {
        core::ptr::with_exposed_provenance_mut(self.base.load(Ordering::Acquire) + offset)
    }

    /// Bytes between the range's start and `at`, if all of `bytes` lie in the range and start at a page.
    fn offset(&self, at: *mut c_void, bytes: usize) -> Option<usize> {
        // Acquire: pairs with the store of the thread that reserved it, and gave the address away.
        let base = self.base.load(Ordering::Acquire);
        let offset = at.addr().wrapping_sub(base);
        let inside = base > REFUSED && offset < RANGE_BYTES && bytes <= RANGE_BYTES - offset;
        (inside && bytes > 0 && offset.is_multiple_of(PART_BYTES)).then_some(offset)
    }

    /// The range's start. Called under the lock.
    fn base_or_reserve(&self) -> Option<usize> {
        let mut base = self.base.load(Ordering::Acquire);
        if base == 0 {
            base = self.reserve().unwrap_or(REFUSED);
            self.base.store(base, Ordering::Release);
        }
        (base != REFUSED).then_some(base)
    }

    #[cold]
    fn reserve(&self) -> Option<usize> {
        // Under a limit of address space V8's own mappings get by with less.
        if Linux.address_limit().is_some() {
            return None;
        }
        let start = Linux.reserve(RANGE_BYTES, HUGE_BYTES)?.cast::<c_void>();
        // SAFETY: reserved just now. V8 keeps its heap from fork children too.
        unsafe { calls::madvise(start.as_ptr(), RANGE_BYTES, libc::MADV_DONTFORK) };
        Some(start.as_ptr().expose_provenance())
    }
}

impl Default for V8Pages {
    fn default() -> Self {
        Self::new()
    }
}

mod backing;
#[cfg(all(test, not(miri)))]
mod tests;
