//! C semantics over any heap: the malloc family and the C++ operators, as functions that a shared
//! object only has to export under their C names.
//!
//! This file decides what C leaves to the implementation: alignment by size, zero sizes, overflow,
//! which error is reported how. It follows glibc, because that is what the programs under a
//! preload were tested with; where glibc's versions differ it follows the newer one. It knows
//! nothing of how memory is found: that is the [`Heap`]'s.
//!
//! No function here is exported with a C name, so that a Rust program that links this crate is
//! never interposed by accident.

use crate::c_report::Footprint;
use core::ffi::{c_int, c_void};
use core::ptr::{NonNull, null_mut};
use memento_hal::geometry::c_alignment;

/// What C needs of an allocator. `Memento` is one; the tests of this file use a scripted one.
///
/// # Safety
/// `allocate` and `allocate_zeroed` return memory of at least `size` bytes at a multiple of
/// `align` that nothing else uses until it is handed to `deallocate` or `reallocate`. No method
/// panics. Freeing keeps `errno`.
pub unsafe trait Heap: Sync {
    /// Memory for `size` bytes (0 allowed: a unique address) at a multiple of `align`, a power of
    /// two.
    fn allocate(&self, size: usize, align: usize) -> Option<NonNull<u8>>;
    /// C's `malloc`: null and `ENOMEM` if there is no memory. A heap overrides it where it knows a
    /// shorter way.
    #[inline(always)]
    fn malloc(&self, size: usize) -> *mut c_void {
        if size > SIZE_LIMIT {
            return out_of_memory();
        }
        pointer(self.allocate(size, c_alignment(size)))
    }
    /// A small object that is free at once, or null: then nothing was tried that could fail.
    #[inline(always)]
    fn at_hand(&self, _size: usize) -> *mut c_void {
        null_mut()
    }
    /// Frees what may be null. A heap overrides it where it needs no test for null.
    ///
    /// # Safety
    /// As [`Heap::deallocate`], or `object` is null.
    #[inline(always)]
    unsafe fn free(&self, object: *mut u8) {
        if let Some(object) = NonNull::new(object) {
            // SAFETY: the caller's promise.
            unsafe { self.deallocate(object) };
        }
    }
    /// As [`Heap::allocate`], reading as zero.
    fn allocate_zeroed(&self, size: usize, align: usize) -> Option<NonNull<u8>>;
    /// Frees. Ends the process with one line on stderr if it can tell that `object` is not live.
    ///
    /// # Safety
    /// `object` is live, came from this heap, and is used by nobody afterwards.
    unsafe fn deallocate(&self, object: NonNull<u8>);
    /// Frees an object whose size and alignment the caller knows.
    ///
    /// # Safety
    /// As [`Heap::deallocate`]; `size` and `align` are those of the last request for it.
    unsafe fn deallocate_sized(&self, object: NonNull<u8>, size: usize, align: usize);
    /// Resizes, moving if it must. On `None` the old object is untouched.
    ///
    /// # Safety
    /// As [`Heap::deallocate`] if it succeeds.
    unsafe fn reallocate(
        &self,
        object: NonNull<u8>,
        new_size: usize,
        align: usize,
    ) -> Option<NonNull<u8>>;
    /// Bytes that the caller may use at `object`.
    ///
    /// # Safety
    /// `object` is live and came from this heap.
    unsafe fn usable_size(&self, object: NonNull<u8>) -> usize;
    /// Gives back to the system what is free.
    fn purge(&self);
    /// Ends an invocation of a function: gives back what it left, because the process may be frozen
    /// right after.
    fn invocation_end(&self) {
        self.purge();
    }
    /// Totals for `mallinfo2` and its kin.
    fn footprint(&self) -> Footprint;
}

/// Largest request that can succeed: C programs subtract pointers, so no object exceeds this.
const SIZE_LIMIT: usize = isize::MAX as usize;

/// Sets the calling thread's `errno`.
#[cold]
fn set_errno(value: c_int) {
    // SAFETY: libc returns the address of this thread's errno, valid as long as the thread lives.
    unsafe { *libc::__errno_location() = value };
}

/// The C form of a result: null and `ENOMEM` for none.
#[inline(always)]
pub(crate) fn pointer(object: Option<NonNull<u8>>) -> *mut c_void {
    match object {
        Some(object) => object.as_ptr().cast(),
        None => out_of_memory(),
    }
}

/// Out of line and last, so that callers keep their fast path free of it.
#[cold]
#[inline(never)]
fn out_of_memory() -> *mut c_void {
    set_errno(libc::ENOMEM);
    null_mut()
}

/// C's `malloc`. Zero bytes give a unique address.
#[inline(always)]
pub fn malloc<A: Heap>(heap: &A, size: usize) -> *mut c_void {
    heap.malloc(size)
}

/// C's `calloc`; the product may not overflow.
#[inline(always)]
pub fn calloc<A: Heap>(heap: &A, count: usize, size: usize) -> *mut c_void {
    match count.checked_mul(size) {
        Some(bytes) if bytes <= SIZE_LIMIT => {
            pointer(heap.allocate_zeroed(bytes, c_alignment(bytes)))
        }
        _ => out_of_memory(),
    }
}

/// C's `free`; null is allowed, `errno` is kept.
///
/// # Safety
/// `object` is null, or live and from this heap.
#[inline(always)]
pub unsafe fn free<A: Heap>(heap: &A, object: *mut c_void) {
    // SAFETY: the caller's promise is the one that the heap asks for.
    unsafe { heap.free(object.cast()) };
}

/// C23's `free_sized`: `size` is what was last asked for.
///
/// # Safety
/// As [`free`]; `object` came from `malloc`, `calloc` or `realloc` with this `size`.
#[inline(always)]
pub unsafe fn free_sized<A: Heap>(heap: &A, object: *mut c_void, size: usize) {
    if let Some(object) = NonNull::new(object.cast()) {
        // SAFETY: the caller's promise; `c_alignment` is what those functions asked the heap for.
        unsafe { heap.deallocate_sized(object, size, c_alignment(size)) };
    }
}

/// C23's `free_aligned_sized`.
///
/// # Safety
/// As [`free`]; `object` came from `aligned_alloc` with this `align` and `size`.
#[inline(always)]
pub unsafe fn free_aligned_sized<A: Heap>(
    heap: &A,
    object: *mut c_void,
    align: usize,
    size: usize,
) {
    if let Some(object) = NonNull::new(object.cast()) {
        // SAFETY: the caller's promise; `at_least` is what `aligned_alloc` asked the heap for.
        unsafe { heap.deallocate_sized(object, size, at_least(align, size)) };
    }
}

/// C's `realloc`, as glibc has it: a null `object` is a `malloc`, a zero `size` frees and returns
/// null without an error.
///
/// # Safety
/// As [`free`]. On null with `ENOMEM` the old object is still live.
#[inline(always)]
pub unsafe fn realloc<A: Heap>(heap: &A, object: *mut c_void, size: usize) -> *mut c_void {
    let Some(object) = NonNull::new(object.cast::<u8>()) else {
        return malloc(heap, size);
    };
    if size == 0 {
        // SAFETY: the caller's promise.
        unsafe { heap.deallocate(object) };
        return null_mut();
    }
    if size > SIZE_LIMIT {
        return out_of_memory();
    }
    // SAFETY: the caller's promise.
    pointer(unsafe { heap.reallocate(object, size, c_alignment(size)) })
}

/// `reallocarray`: a `realloc` to so many bytes, whose product may not overflow.
#[inline]
pub fn reallocarray(
    count: usize,
    size: usize,
    realloc: impl FnOnce(usize) -> *mut c_void,
) -> *mut c_void {
    count.checked_mul(size).map_or_else(out_of_memory, realloc)
}

/// An explicit alignment never weakens the one that C promises by size.
#[inline(always)]
fn at_least(align: usize, size: usize) -> usize {
    let natural = c_alignment(size);
    if align > natural { align } else { natural }
}

/// An allocation at a multiple of `align`, a power of two; null if there is none.
#[inline(always)]
fn aligned<A: Heap>(heap: &A, align: usize, size: usize) -> Option<NonNull<u8>> {
    if size > SIZE_LIMIT { None } else { heap.allocate(size, at_least(align, size)) }
}

/// `posix_memalign`: returns the error and leaves `errno` and, on an error, `*out` alone.
///
/// # Safety
/// `out` is writable.
pub unsafe fn posix_memalign<A: Heap>(
    heap: &A,
    out: *mut *mut c_void,
    align: usize,
    size: usize,
) -> c_int {
    if !align.is_power_of_two() || !align.is_multiple_of(size_of::<*mut c_void>()) {
        return libc::EINVAL;
    }
    match aligned(heap, align, size) {
        Some(object) => {
            // SAFETY: the caller vouches that `out` is writable.
            unsafe { out.write(object.as_ptr().cast()) };
            0
        }
        None => libc::ENOMEM,
    }
}

/// C's `aligned_alloc`: as in C17 and glibc since 2.38, an alignment that is no power of two is
/// `EINVAL`; the size need not be a multiple of it.
pub fn aligned_alloc<A: Heap>(heap: &A, align: usize, size: usize) -> *mut c_void {
    if !align.is_power_of_two() {
        set_errno(libc::EINVAL);
        return null_mut();
    }
    pointer(aligned(heap, align, size))
}

/// `memalign`: as in glibc, an alignment that is no power of two is rounded up to one, and one
/// that cannot be is `EINVAL`.
pub fn memalign<A: Heap>(heap: &A, align: usize, size: usize) -> *mut c_void {
    match align.checked_next_power_of_two() {
        Some(align) => pointer(aligned(heap, align, size)),
        None => {
            set_errno(libc::EINVAL);
            null_mut()
        }
    }
}

/// Bytes of a page of this host.
fn page_bytes() -> usize {
    use memento_hal::os::{Linux, Os};
    Linux.page_bytes()
}

/// `valloc`: at a multiple of the page size.
pub fn valloc<A: Heap>(heap: &A, size: usize) -> *mut c_void {
    pointer(aligned(heap, page_bytes(), size))
}

/// `pvalloc`: whole pages.
pub fn pvalloc<A: Heap>(heap: &A, size: usize) -> *mut c_void {
    let page = page_bytes();
    match size.max(1).checked_next_multiple_of(page) {
        Some(bytes) => pointer(aligned(heap, page, bytes)),
        None => out_of_memory(),
    }
}

/// `malloc_usable_size`: all of it may be used; 0 for null.
///
/// # Safety
/// `object` is null, or live and from this heap.
pub unsafe fn malloc_usable_size<A: Heap>(heap: &A, object: *mut c_void) -> usize {
    match NonNull::new(object.cast()) {
        // SAFETY: the caller's promise.
        Some(object) => unsafe { heap.usable_size(object) },
        None => 0,
    }
}

/// `malloc_trim`: gives back what is free, and says (1) whether that was anything.
pub fn malloc_trim<A: Heap>(heap: &A) -> c_int {
    let before = heap.footprint().committed;
    heap.purge();
    c_int::from(heap.footprint().committed < before)
}

/// `memento_stats_json`: writes at most `bytes` bytes including a final zero, and returns the
/// length of the whole text, like `snprintf`. `write` fills a buffer as far as it goes and returns
/// that length.
///
/// # Safety
/// `buffer` holds `bytes` writable bytes; it may be null if that is 0.
pub unsafe fn stats_json(
    buffer: *mut u8,
    bytes: usize,
    write: impl FnOnce(&mut [u8]) -> usize,
) -> usize {
    let Some(room) = bytes.checked_sub(1) else {
        return write(&mut []);
    };
    // SAFETY: the caller vouches for `bytes` writable bytes; zeroed, they may be read too.
    let text = unsafe {
        buffer.write_bytes(0, bytes);
        core::slice::from_raw_parts_mut(buffer, room)
    };
    write(text)
}

/// `mallopt`: every parameter is accepted and none has an effect, so it answers "done" (1), as
/// programs that tune glibc go on only then.
pub fn mallopt() -> c_int {
    1
}

/// The shortest way of C++'s `operator new`: an object that is at hand, or null, which says nothing. Then
/// [`operator_new`] is next.
#[inline(always)]
pub fn at_hand<A: Heap>(heap: &A, size: usize) -> *mut c_void {
    heap.at_hand(size)
}

/// One attempt of C++'s `operator new`: null, with `errno` alone, when there is no memory. What
/// follows then (`new_handler`, `std::bad_alloc`) belongs to the shim, which can jump.
#[inline]
pub fn operator_new<A: Heap>(heap: &A, size: usize) -> *mut c_void {
    if size > SIZE_LIMIT {
        return null_mut();
    }
    heap.allocate(size, c_alignment(size)).map_or(null_mut(), |object| object.as_ptr().cast())
}

/// One attempt of the `std::align_val_t` forms; an `align` that is no power of two never succeeds.
#[inline]
pub fn operator_new_aligned<A: Heap>(heap: &A, size: usize, align: usize) -> *mut c_void {
    if !align.is_power_of_two() {
        return null_mut();
    }
    aligned(heap, align, size).map_or(null_mut(), |object| object.as_ptr().cast())
}

#[cfg(test)]
#[path = "c_tests.rs"]
mod tests;
