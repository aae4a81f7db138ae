//! The mem and obj domains, as CPython asks for them.
//!
//! Both are served alike, from the same heap as `malloc`: CPython frees with one what it allocated
//! with another where it resets its allocators (when an interpreter is started again after its end,
//! or one is embedded), and its own allocator hands what it does not know to `free`.
//!
//! What these need not do: look whether a pointer is memento's, before the ordinary case is done. That a
//! pointer is of this thread's heap is one comparison, and all others take the slow path, which also
//! knows of pointers that the interpreter's own allocator handed out before.

use crate::HEAP;
use crate::install::before;
use crate::interpreter::Allocator;
use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicU64, Ordering};
use memento_shim_abi::memento_alloc::c;

/// How memento serves a domain.
pub(crate) const SERVED: Allocator =
    Allocator { context: null_mut(), malloc, calloc, realloc, free };

/// The same, counting.
pub(crate) const COUNTED: Allocator = Allocator {
    context: null_mut(),
    malloc: counted_malloc,
    calloc: counted_calloc,
    realloc: counted_realloc,
    free,
};

/// Objects that were handed out, where they are counted.
pub(crate) static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// Zero bytes give a unique address in all of these, as CPython promises.

unsafe extern "C" fn malloc(_: *mut c_void, size: usize) -> *mut c_void {
    c::malloc(&HEAP, size)
}

unsafe extern "C" fn calloc(_: *mut c_void, count: usize, size: usize) -> *mut c_void {
    c::calloc(&HEAP, count, size)
}

unsafe extern "C" fn realloc(_: *mut c_void, object: *mut c_void, size: usize) -> *mut c_void {
    match NonNull::new(object.cast()) {
        // SAFETY: CPython's contract: live and of this domain. What is resized to nothing stays
        // allocated.
        Some(object) => unsafe { HEAP.resize_or(object, size.max(1), resize_from_before) },
        None => c::malloc(&HEAP, size),
    }
}

unsafe extern "C" fn free(_: *mut c_void, object: *mut c_void) {
    // SAFETY: CPython's contract: null, or live and of this domain.
    unsafe { HEAP.free_or(object.cast(), free_from_before) }
}

/// Frees what the allocator handed out that served the domain before.
unsafe fn free_from_before(object: NonNull<u8>) {
    let before = before();
    // SAFETY: the caller's object is live, and not memento's, so it is of that allocator.
    unsafe { (before.free)(before.context, object.as_ptr().cast()) }
}

/// Resizes what the allocator handed out that served the domain before.
unsafe fn resize_from_before(object: NonNull<u8>, size: usize) -> *mut c_void {
    let before = before();
    // SAFETY: as in `free_from_before`.
    unsafe { (before.realloc)(before.context, object.as_ptr().cast(), size) }
}

fn count(object: *mut c_void) -> *mut c_void {
    // Relaxed: a number that is read on its own.
    ALLOCATIONS.fetch_add(u64::from(!object.is_null()), Ordering::Relaxed);
    object
}

unsafe extern "C" fn counted_malloc(context: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: CPython's contract.
    count(unsafe { malloc(context, size) })
}

unsafe extern "C" fn counted_calloc(
    context: *mut c_void,
    elements: usize,
    size: usize,
) -> *mut c_void {
    // SAFETY: CPython's contract.
    count(unsafe { calloc(context, elements, size) })
}

unsafe extern "C" fn counted_realloc(
    context: *mut c_void,
    object: *mut c_void,
    size: usize,
) -> *mut c_void {
    // SAFETY: CPython's contract.
    let new = unsafe { realloc(context, object, size) };
    if object.is_null() { count(new) } else { new }
}
