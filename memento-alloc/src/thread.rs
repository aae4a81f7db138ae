//! A thread's heap and core: got at its first allocation, given back at its end.
//!
//! The end of a thread is announced by a `pthread` key's destructor. Destructors of other keys may
//! run after ours and still allocate and free; so may code that runs after all of them. From our
//! destructor on a thread therefore gets nothing of its own any more: it allocates from a heap and a
//! core that all such threads share under a lock, and frees like a thread that never had a heap.
//! Threads for which no slot was left do the same.

use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicU32, Ordering};
use memento_hal::geometry::SizeClass;
use memento_hal::lock::{ForkLock, this_thread};
use memento_hal::soft::{Bin, Heap, Soft};
use memento_hal::{Hal, ObjectAllocator, ProcessHal};

/// What threads without a heap of their own share.
pub(crate) struct Shared<H: ProcessHal> {
    parts: ForkLock<Parts<H>>,
}

struct Parts<H: ProcessHal> {
    heap: *mut Heap,
    core: *mut H::Core,
}

// SAFETY: the heap and the core belong to whoever has the lock.
unsafe impl<H: ProcessHal> Send for Parts<H> {}

impl<H: ProcessHal> Shared<H> {
    pub(crate) const fn new() -> Self {
        Self { parts: ForkLock::new(Parts { heap: null_mut(), core: null_mut() }) }
    }

    pub(crate) fn acquire(&self) {
        self.parts.hold(this_thread());
    }

    pub(crate) fn release(&self) {
        self.parts.release();
    }

    /// In a fork child: the backends took the shared heap and core for a dead thread's and may give
    /// them to others, so they are let go of here.
    pub(crate) fn after_fork(&self) {
        self.parts
            .with(this_thread(), |parts| *parts = Parts { heap: null_mut(), core: null_mut() });
    }

    /// Allocates an object of `bin` from the shared heap.
    pub(crate) fn alloc(&self, bin: Bin, align: usize, zeroed: bool) -> Option<NonNull<u8>> {
        self.parts.with(this_thread(), |parts| {
            if parts.heap.is_null() {
                parts.heap = Soft::instance().attach_last()?.as_ptr();
            }
            let heap = NonNull::new(parts.heap)?;
            // SAFETY: the lock gives this thread the shared heap, which was attached for it.
            unsafe { Soft::instance().alloc_slow(heap, bin, align, zeroed) }
        })?
    }

    /// Allocates an object of `class` from the shared core.
    pub(crate) fn obj_alloc(&self, class: SizeClass) -> Option<NonNull<u8>> {
        self.parts.with(this_thread(), |parts| {
            if parts.core.is_null() {
                parts.core = H::instance().attach()?.as_ptr();
            }
            // SAFETY: the lock gives this thread the shared core, which was attached for it.
            unsafe { (*parts.core).obj_alloc(class) }
        })?
    }
}

/// The key whose destructor ends threads; 0 until the first thread has something to give back.
#[derive(Debug)]
pub(crate) struct ThreadKey(AtomicU32);

impl ThreadKey {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Asks that `thread_end` run when the calling thread ends.
    pub(crate) fn arm<H: ProcessHal>(&self) {
        if let Some(key) = self.get::<H>() {
            // SAFETY: the key exists. The value only has to differ from null.
            unsafe { libc::pthread_setspecific(key, (&raw const *self).cast()) };
        }
    }

    /// The key, made by the first thread that asks. Without one (the system has no more than 1024),
    /// a thread's heap is not given back at its end.
    fn get<H: ProcessHal>(&self) -> Option<libc::pthread_key_t> {
        // Relaxed: a key is a number; the C library orders what it stands for.
        if let Some(key) = self.0.load(Ordering::Relaxed).checked_sub(1) {
            return Some(key);
        }
        let mut key = 0;
        // SAFETY: `key` is a valid place for the answer.
        if unsafe { libc::pthread_key_create(&raw mut key, Some(thread_end::<H>)) } != 0 {
            return None;
        }
        match self.0.compare_exchange(0, key + 1, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Some(key),
            Err(theirs) => {
                // SAFETY: created above and known to nobody.
                unsafe { libc::pthread_key_delete(key) };
                theirs.checked_sub(1)
            }
        }
    }
}

/// Gives back what the calling thread has.
unsafe extern "C" fn thread_end<H: ProcessHal>(_: *mut c_void) {
    let heap = Soft::current();
    // From here on a signal handler or a later destructor finds a thread that has ended.
    Soft::end_thread();
    // SAFETY: heap and core were attached by this thread, which cannot reach them any more.
    unsafe {
        if !H::IS_SOFT {
            let core = H::current();
            H::set_current(null_mut());
            if let Some(core) = NonNull::new(core) {
                H::instance().detach(core);
            }
        }
        if let Some(heap) = NonNull::new(heap) {
            Soft::instance().detach(heap);
        }
    }
}
