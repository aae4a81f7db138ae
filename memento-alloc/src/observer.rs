//! What a program did with its memory, told to whoever wants to know.
//!
//! The plain allocator is built with `()`, which compiles to nothing. The instrumented shared
//! objects that `memento run --report` and `memento record` load are built with an observer that
//! counts or writes a trace.

use core::ptr::NonNull;

/// Sees every operation of the program, in the calling thread, after a successful allocation and
/// before a free takes effect. Must not allocate.
pub trait Observer: Sync + 'static {
    /// Whether there is anything to observe; `false` lets the fast paths be what they are.
    const OBSERVES: bool = true;
    /// `size` and `align` are what the program asked for (`align` as C or Rust defines it for the
    /// call that was made).
    fn alloc(&self, object: NonNull<u8>, size: usize, align: usize);
    /// `object` is about to be freed. `usable` is the number of bytes the object could hold.
    fn free(&self, object: NonNull<u8>, usable: usize);
    /// `old` became `new`, perhaps at the same address, and `size` bytes were asked for.
    fn realloc(&self, old: NonNull<u8>, old_usable: usize, new: NonNull<u8>, size: usize);
    /// Operations so far, if this observer counts them.
    fn totals(&self) -> Option<memento_hal::counters::Counters> {
        None
    }
    /// The calling process is a fork child: it starts at zero.
    fn fork_child(&self);
}

impl Observer for () {
    const OBSERVES: bool = false;
    #[inline(always)]
    fn alloc(&self, _: NonNull<u8>, _: usize, _: usize) {}
    #[inline(always)]
    fn free(&self, _: NonNull<u8>, _: usize) {}
    #[inline(always)]
    fn realloc(&self, _: NonNull<u8>, _: usize, _: NonNull<u8>, _: usize) {}
    #[inline(always)]
    fn fork_child(&self) {}
}
