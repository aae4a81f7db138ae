//! What an interpreter that brings allocators of its own needs besides C's functions: the short way
//! alone, and whose an address is, so that what is not memento's can go to whom it belongs.

use crate::memento::Memento;
use crate::observer::Observer;
use core::ptr::NonNull;
use memento_hal::Hal;
use memento_hal::ProcessHal;
use memento_hal::soft::{Heap, Soft};

impl<O: Observer> Memento<Soft, O> {
    /// Frees an object of the calling thread's heap. `false`, with nothing done, if it is anything
    /// else, also null, or if freeing it takes more than a moment, such as telling an observer.
    ///
    /// # Safety
    /// If `object` is live and memento's, nobody uses it afterwards.
    #[inline(always)]
    pub unsafe fn free_own(&self, object: *mut u8) -> bool {
        // SAFETY: the caller's; the pointer is this thread's heap or the empty one.
        unsafe { !O::OBSERVES && Heap::give(Soft::current_or_none(), object) }
    }

    /// Whether an address is in memento's hands: in the region of the software heaps, or the start
    /// of an object with pages of its own.
    pub fn owns(&self, object: *mut u8) -> bool {
        Soft::instance().contains(object)
            || NonNull::new(object).is_some_and(|object| {
                self.large.size_of(object).is_some()
                    || (self.is_hardened() && self.hardened_size(object).is_some())
            })
    }
}
