//! `Memento` as the heap behind C's functions.
//!
//! C has no layouts, so the soft backend aligns every object for C to at least 16: then a request's
//! bin is its size rounded up to 16, which `malloc` computes in two instructions, and sized frees
//! find the same. Hardware backends get the request as C states it, and the observer always does.

use crate::c;
use crate::c_report::Footprint;
use crate::memento::Memento;
use crate::observer::Observer;
use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};
use memento_hal::ProcessHal;
use memento_hal::geometry::{CLASS_STEP, c_alignment};
use memento_hal::soft::{DIRECT_MAX, Heap, Soft};

/// Least alignment of objects for C with the soft backend, and the step between their sizes.
const STEP: usize = 16;

const fn alignment<H: ProcessHal>(align: usize) -> usize {
    if H::IS_SOFT && align < STEP { STEP } else { align }
}

// SAFETY: the methods forward to `Memento`'s, which make the same promises.
unsafe impl<H: ProcessHal, O: Observer> c::Heap for Memento<H, O> {
    #[inline(always)]
    fn malloc(&self, size: usize) -> *mut c_void {
        let object = c::Heap::at_hand(self, size);
        if object.is_null() { malloc_slow(self, size) } else { object }
    }

    #[inline(always)]
    fn at_hand(&self, size: usize) -> *mut c_void {
        if !H::IS_SOFT || O::OBSERVES || size > DIRECT_MAX {
            return null_mut();
        }
        // Zero bytes round to place 0, which is always empty.
        let place = ((size + (STEP - 1)) & !(STEP - 1)) / CLASS_STEP;
        // SAFETY: the pointer is this thread's heap or the empty one.
        unsafe { Heap::take(Soft::current_or_none(), place) }.cast()
    }

    #[inline(always)]
    unsafe fn free(&self, object: *mut u8) {
        // SAFETY: the caller's. Null is in no heap's window, so it is told apart on the slow path.
        unsafe {
            if O::OBSERVES || !Heap::give(Soft::current_or_none(), object) {
                free_slow(self, object);
            }
        }
    }

    #[inline(always)]
    fn allocate(&self, size: usize, align: usize) -> Option<NonNull<u8>> {
        let object = self.route(size, alignment::<H>(align), false)?;
        self.observer.alloc(object, size, align);
        Some(object)
    }

    #[inline(always)]
    fn allocate_zeroed(&self, size: usize, align: usize) -> Option<NonNull<u8>> {
        let object = self.route(size, alignment::<H>(align), true)?;
        self.observer.alloc(object, size, align);
        Some(object)
    }

    #[inline(always)]
    unsafe fn deallocate(&self, object: NonNull<u8>) {
        // SAFETY: the caller's.
        unsafe { Memento::deallocate(self, object) }
    }

    #[inline(always)]
    unsafe fn deallocate_sized(&self, object: NonNull<u8>, size: usize, align: usize) {
        // SAFETY: the caller's; the alignment is the one that `allocate` used.
        unsafe { Memento::deallocate_sized(self, object, size, alignment::<H>(align)) }
    }

    #[inline]
    unsafe fn reallocate(
        &self,
        object: NonNull<u8>,
        size: usize,
        align: usize,
    ) -> Option<NonNull<u8>> {
        // SAFETY: the caller's; as above.
        unsafe { Memento::reallocate(self, object, size, alignment::<H>(align)) }
    }

    unsafe fn usable_size(&self, object: NonNull<u8>) -> usize {
        // SAFETY: the caller's.
        unsafe { Memento::usable_size(self, object) }
    }

    fn purge(&self) {
        Memento::purge(self);
    }

    fn footprint(&self) -> Footprint {
        let stats = self.stats();
        let large = self.large_usage();
        Footprint {
            committed: stats.committed_bytes as usize,
            peak: stats.peak_bytes as usize,
            live: stats.live_bytes as usize,
            mapped_objects: large.objects,
            mapped: large.bytes,
        }
    }
}

/// `malloc` where the bin is empty, the object is not small, or something is to be counted.
#[inline(never)]
fn malloc_slow<H: ProcessHal, O: Observer>(heap: &Memento<H, O>, size: usize) -> *mut c_void {
    if size > isize::MAX as usize {
        return c::pointer(None);
    }
    c::pointer(c::Heap::allocate(heap, size, c_alignment(size)))
}

/// `free` of null, of what is not in this thread's window, or where something is to be counted.
#[inline(never)]
unsafe fn free_slow<H: ProcessHal, O: Observer>(heap: &Memento<H, O>, object: *mut u8) {
    let Some(object) = NonNull::new(object) else { return };
    // SAFETY: the caller's.
    unsafe {
        if O::OBSERVES { heap.deallocate(object) } else { heap.deallocate_slow(object, None) }
    }
}
