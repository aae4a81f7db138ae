//! What an interpreter that brings allocators of its own needs besides C's functions: a free and a
//! resize that hand what is not memento's to whom it belongs, and a start that is known beforehand.

use crate::c;
use crate::memento::Memento;
use crate::observer::Observer;
use crate::page_conf;
use core::ffi::c_void;
use core::ptr::NonNull;
use memento_hal::soft::{HEAP_MAX, Heap, PagePolicy, Soft};
use memento_hal::{Hal, ProcessHal};

impl<O: Observer> Memento<Soft, O> {
    /// Has the calling thread's heap get its first memory by one policy, and all that comes by another: for a program
    /// that is known to touch so much at once. What the environment says counts more than both.
    ///
    /// Interpreters ask for buffers of the most that they may need, and cut them afterwards: so an object
    /// that is longer than any that was used in full gets no huge page.
    #[cold]
    pub fn begin(&'static self, first: PagePolicy, then: PagePolicy) {
        self.prepare_process();
        page_conf::apply_over(first);
        // The longest object of a heap takes a block of its own, so that one is added now, by `first`.
        // No observer is told: the program did not ask for it.
        if let Some(object) = self.route(HEAP_MAX, 1, false) {
            // SAFETY: allocated just now, and nobody has it.
            unsafe { self.give_back(object) };
        }
        if page_conf::apply_over(then) {
            page_conf::print();
        }
        self.large.set_reach(1);
    }

    /// Whether an address is in memento's hands: in the region of the software heaps, or the start
    /// of an object with pages of its own.
    pub fn owns(&self, object: NonNull<u8>) -> bool {
        Soft::instance().contains(object.as_ptr())
            || self.large.size_of(object).is_some()
            || (self.is_hardened() && self.hardened_size(object).is_some())
    }

    /// Frees an object, or has `other` free what is not memento's. Null is nothing.
    ///
    /// # Safety
    /// `object` is null, or live and memento's or `other`'s, and nobody uses it afterwards.
    #[inline(always)]
    pub unsafe fn free_or(&self, object: *mut u8, other: unsafe fn(NonNull<u8>)) {
        // SAFETY: the caller's; the pointer is this thread's heap or the empty one, and neither null
        // nor what is not memento's is in a heap's window.
        unsafe {
            if O::OBSERVES || !Heap::give(Soft::current_or_none(), object) {
                self.free_or_slow(object, other);
            }
        }
    }

    #[cold]
    #[inline(never)]
    unsafe fn free_or_slow(&self, object: *mut u8, other: unsafe fn(NonNull<u8>)) {
        let Some(object) = NonNull::new(object) else { return };
        // SAFETY: the caller's.
        unsafe {
            match (self.owns(object), O::OBSERVES) {
                (false, _) => other(object),
                (true, false) => self.deallocate_slow(object, None),
                (true, true) => self.deallocate(object),
            }
        }
    }

    /// Frees without telling an observer.
    unsafe fn give_back(&self, object: NonNull<u8>) {
        // SAFETY: the caller's.
        unsafe {
            if !Heap::give(Soft::current_or_none(), object.as_ptr()) {
                self.deallocate_slow(object, None);
            }
        }
    }

    /// Makes an object hold `size` bytes, more than 0, or has `other` do so for what is not memento's.
    /// Null with `ENOMEM` if there is no memory; the object is as before then.
    ///
    /// # Safety
    /// As [`Memento::free_or`] if it succeeds, and `object` is not null.
    #[inline]
    pub unsafe fn resize_or(
        &self,
        object: NonNull<u8>,
        size: usize,
        other: unsafe fn(NonNull<u8>, usize) -> *mut c_void,
    ) -> *mut c_void {
        // SAFETY: the caller's; the pointer is this thread's heap or the empty one, which has no objects.
        unsafe {
            // Nearly always the first, which is much less to do.
            if Heap::has(Soft::current_or_none(), object.as_ptr()) || self.owns(object) {
                c::realloc(self, object.as_ptr().cast(), size)
            } else {
                other(object, size)
            }
        }
    }
}
