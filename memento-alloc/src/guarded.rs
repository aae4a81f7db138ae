//! Large objects in hardened mode: each in a mapping of its own, between pages that fault.
//!
//! An object ends where its last page does, as far as its alignment allows: the first byte behind it
//! faults, and the up to `align − 1` bytes between are checked when it is freed. Its first page
//! begins behind a guard as well. A freed object is unmapped at once, so that a later use faults and
//! a later free names an address that memento does not know.

use crate::large::{Backing, LargeUsage, Pages, Table};
use core::ptr::NonNull;
use memento_hal::lock::{ForkLock, this_thread};
use memento_hal::os::Os;
use memento_hal::soft::Misuse;

/// What the bytes between an object and its guard hold.
const SLACK: u8 = 0xc7;

/// The guarded objects of a process.
#[derive(Debug)]
pub(crate) struct Guarded<O: Os> {
    os: O,
    state: ForkLock<State>,
}

#[derive(Debug)]
struct State {
    /// Sizes by address: those that were asked for.
    table: Table,
    usage: LargeUsage,
}

// SAFETY: mappings are owned by the state; threads reach it through the lock.
unsafe impl Send for State {}

/// An object's pages, in bytes from its start: those before it, and all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    before: usize,
    pages: usize,
}

impl Place {
    /// Where an object of `size` bytes that is to lie at a multiple of `align` goes.
    fn of_request(size: usize, align: usize, page: usize) -> Option<Self> {
        let pages = size.max(1).checked_next_multiple_of(page)?;
        let space = size.max(1).checked_next_multiple_of(align)?;
        // Beyond a page's alignment it must start where its pages do.
        Some(Self { before: if align > page { 0 } else { pages - space }, pages })
    }

    /// Where the object at `address` is.
    fn of_object(address: usize, size: usize, page: usize) -> Self {
        let before = address % page;
        Self { before, pages: (before + size.max(1)).next_multiple_of(page) }
    }
}

impl<O: Os> Guarded<O> {
    /// No objects.
    pub(crate) const fn new(os: O) -> Self {
        let usage = LargeUsage { objects: 0, bytes: 0, peak_bytes: 0, kept_bytes: 0 };
        Self { os, state: ForkLock::new(State { table: Table::new(), usage }) }
    }

    /// The lock, for fork handlers.
    pub(crate) fn acquire(&self) {
        self.state.hold(this_thread());
    }

    /// Undoes [`Guarded::acquire`].
    pub(crate) fn release(&self) {
        self.state.release();
    }

    /// Memory for `size` bytes at a multiple of `align`, a power of two. Reads as zero.
    pub(crate) fn allocate(&self, size: usize, align: usize) -> Option<NonNull<u8>> {
        let page = self.os.page_bytes();
        let place = Place::of_request(size, align, page)?;
        // The guard in front is as long as the alignment, at first.
        let front = align.max(page);
        let whole = place.pages.checked_add(front)?.checked_add(page)?;
        let base = self.os.reserve(whole, front)?;
        // SAFETY: all parts lie in the reservation, which nobody else knows.
        unsafe {
            if !self.os.commit(base.add(front), place.pages) {
                self.os.release(base, whole);
                return None;
            }
            if front > page {
                self.os.release(base, front - page);
            }
            let object = base.add(front + place.before);
            object.add(size).write_bytes(SLACK, place.pages - place.before - size);
            let inserted = self.locked(|state| {
                state.table.reserve(&self.os).then(|| {
                    let pages =
                        Pages { start: object, bytes: size, mapping: 0, allocated: 0, full: false };
                    state.table.put(pages, Backing::Known);
                    state.usage.objects += 1;
                    state.usage.bytes += place.pages;
                    state.usage.peak_bytes = state.usage.peak_bytes.max(state.usage.bytes);
                })
            });
            if inserted.is_none() {
                self.unmap(object, place);
                return None;
            }
            Some(object)
        }
    }

    /// Frees the object at `object`, if there is one. `known`: the size that the program says it has.
    ///
    /// # Safety
    /// If there is one, nobody uses it any more.
    pub(crate) unsafe fn free(
        &self,
        object: NonNull<u8>,
        known: Option<usize>,
    ) -> Option<Result<(), Misuse>> {
        let page = self.os.page_bytes();
        // Taken out first: of two threads that free it, one finds it.
        let (size, place) = self.locked(|state| {
            let size = state.table.remove(object)?.0.bytes;
            let place = Place::of_object(object.addr().get(), size, page);
            state.usage.objects -= 1;
            state.usage.bytes -= place.pages;
            Some((size, place))
        })?;
        if known.is_some_and(|known| known != size) {
            return Some(Err(Misuse::WrongSize));
        }
        // SAFETY: the bytes up to the last page's end are the mapping's, and nobody uses them.
        let whole =
            unsafe { (size..place.pages - place.before).all(|i| object.add(i).read() == SLACK) };
        if !whole {
            return Some(Err(Misuse::PastEnd));
        }
        // SAFETY: the object's mapping, which is in no table any more.
        unsafe { self.unmap(object, place) };
        Some(Ok(()))
    }

    /// Bytes that were asked for, if there is an object.
    pub(crate) fn size_of(&self, object: NonNull<u8>) -> Option<usize> {
        self.locked(|state| Some(state.table.get(object)?.0.bytes))
    }

    /// Totals.
    pub(crate) fn usage(&self) -> LargeUsage {
        self.locked(|state| Some(state.usage)).unwrap_or_default()
    }

    /// # Safety
    /// The object's pages and their guards are a mapping of ours that nobody uses.
    unsafe fn unmap(&self, object: NonNull<u8>, place: Place) {
        let page = self.os.page_bytes();
        // SAFETY: the caller's.
        unsafe {
            let start = object.sub(place.before + page);
            self.os.release(start, place.pages + 2 * page);
        }
    }

    /// Nothing under the lock allocates, so `with` is never entered twice by one thread.
    fn locked<R>(&self, work: impl FnOnce(&mut State) -> Option<R>) -> Option<R> {
        self.state.with(this_thread(), work)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memento_hal::os::Fake;

    const PAGE: usize = Fake::PAGE_BYTES;

    #[test]
    fn objects_end_at_their_guard_and_are_found_again() {
        let guarded = Guarded::new(Fake::new());
        for align in [1, 8, 16, 64, PAGE, 4 * PAGE] {
            for size in [0, 1, 15, 16, PAGE - 1, PAGE, PAGE + 1, 5 * PAGE + 100] {
                let place = Place::of_request(size, align, PAGE).unwrap();
                let object = guarded.allocate(size, align).unwrap();
                let address = object.addr().get();
                assert!(address.is_multiple_of(align), "{size} {align}");
                assert_eq!(Place::of_object(address, size, PAGE), place, "{size} {align}");
                if align <= PAGE {
                    assert!((address + place.pages - place.before).is_multiple_of(PAGE));
                    assert!(place.pages - place.before - size.max(1) < align);
                }
                assert_eq!(guarded.size_of(object), Some(size));
                // SAFETY: the object has this many bytes; it is not used afterwards.
                unsafe {
                    let step = if cfg!(miri) { 509 } else { 1 };
                    assert!((0..size).step_by(step).all(|i| object.add(i).read() == 0));
                    object.write_bytes(9, size);
                    assert_eq!(guarded.free(object, Some(size)), Some(Ok(())));
                    assert_eq!(guarded.free(object, None), None);
                }
            }
        }
        assert_eq!(guarded.usage().objects, 0);
        assert_eq!(guarded.usage().bytes, 0);
        assert!(guarded.allocate(usize::MAX - 10, 16).is_none());
    }

    #[test]
    fn what_is_wrong_with_a_free_is_told() {
        let guarded = Guarded::new(Fake::new());
        // SAFETY: the writes stay in the pages of the objects.
        unsafe {
            let object = guarded.allocate(100_001, 16).unwrap();
            object.add(100_001).write(0);
            assert_eq!(guarded.free(object, None), Some(Err(Misuse::PastEnd)));
            let object = guarded.allocate(100_001, 16).unwrap();
            assert_eq!(guarded.free(object.add(16), None), None);
            assert_eq!(guarded.free(object, Some(100_000)), Some(Err(Misuse::WrongSize)));
        }
    }

    #[test]
    fn without_memory_nothing_is_kept() {
        let os = Fake::new();
        os.fail_commits_after(0);
        let guarded = Guarded::new(os);
        assert!(guarded.allocate(PAGE, 16).is_none());
        assert_eq!(guarded.usage(), LargeUsage::default());
    }
}
