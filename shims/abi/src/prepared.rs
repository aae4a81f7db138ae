//! A heap that is set up by its first caller.
//!
//! A constructor would come too late: the loader and the constructors of other libraries allocate
//! before it. The plain objects need no set-up and do not pay for this test.

use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use memento_alloc::c::Heap;
use memento_alloc::c_report::Footprint;

/// A heap and what is to be done before it first hands out memory.
#[derive(Debug)]
pub struct Prepared<A> {
    heap: A,
    begun: AtomicBool,
    prepare: fn(),
}

impl<A> Prepared<A> {
    /// `prepare` runs once, in the thread that allocates first, before it gets anything. It may
    /// not allocate.
    pub const fn new(heap: A, prepare: fn()) -> Self {
        Self { heap, begun: AtomicBool::new(false), prepare }
    }

    #[inline(always)]
    fn ready(&self) -> &A {
        // Relaxed: the first allocation of a process is made by the loader, or by the libc's
        // start-up, when there is one thread; every other thread is created after it.
        if !self.begun.load(Ordering::Relaxed) {
            self.begin();
        }
        &self.heap
    }

    #[cold]
    fn begin(&self) {
        if !self.begun.swap(true, Ordering::Relaxed) {
            (self.prepare)();
        }
    }
}

impl<A> Deref for Prepared<A> {
    type Target = A;

    fn deref(&self) -> &A {
        self.ready()
    }
}

// SAFETY: every method is the inner heap's, which keeps the contract.
unsafe impl<A: Heap> Heap for Prepared<A> {
    fn allocate(&self, size: usize, align: usize) -> Option<NonNull<u8>> {
        self.ready().allocate(size, align)
    }
    fn allocate_zeroed(&self, size: usize, align: usize) -> Option<NonNull<u8>> {
        self.ready().allocate_zeroed(size, align)
    }
    unsafe fn deallocate(&self, object: NonNull<u8>) {
        // SAFETY: the caller's promise.
        unsafe { self.heap.deallocate(object) }
    }
    unsafe fn deallocate_sized(&self, object: NonNull<u8>, size: usize, align: usize) {
        // SAFETY: the caller's promise.
        unsafe { self.heap.deallocate_sized(object, size, align) }
    }
    unsafe fn reallocate(
        &self,
        object: NonNull<u8>,
        new_size: usize,
        align: usize,
    ) -> Option<NonNull<u8>> {
        // SAFETY: the caller's promise.
        unsafe { self.heap.reallocate(object, new_size, align) }
    }
    unsafe fn usable_size(&self, object: NonNull<u8>) -> usize {
        // SAFETY: the caller's promise.
        unsafe { self.heap.usable_size(object) }
    }
    fn purge(&self) {
        self.heap.purge();
    }
    fn invocation_end(&self) {
        self.heap.invocation_end();
    }
    fn footprint(&self) -> Footprint {
        self.heap.footprint()
    }
}
