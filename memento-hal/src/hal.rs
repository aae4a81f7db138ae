//! The contract of a whole backend: all cores of one process.

use crate::counters::Counters;
use crate::geometry::SizeClass;
use crate::object::{FreeFault, ObjectAllocator};
use core::ptr::NonNull;

/// A backend: it owns the cores, the arenas of dead cores, and the remote frees between cores.
///
/// Thread lifetime is the caller's: it attaches a core when a thread first allocates and detaches
/// it when the thread ends.
///
/// # Safety
/// An implementor keeps the promises of [`ObjectAllocator`] across all cores it hands out, and
/// hands out each core to one caller at a time.
pub unsafe trait Hal: Sync {
    /// One thread's view.
    type Core: ObjectAllocator;

    /// The backend's name on the command line and in reports: `soft`, `emu` or `isa`.
    const NAME: &'static str;

    /// A core for the calling thread: a new one, or a dead thread's with all that it owned.
    /// `None` when no core or no memory is left.
    fn attach(&self) -> Option<NonNull<Self::Core>>;

    /// Gives the core of an ending thread back: it is flushed, its empty arenas are returned, and
    /// what still holds objects waits for remote frees and for the next thread.
    ///
    /// # Safety
    /// `core` came from [`Hal::attach`] of this backend, and nobody uses it afterwards.
    unsafe fn detach(&self, core: NonNull<Self::Core>);

    /// Whether `address` lies in this backend's region. Costs a few instructions; says nothing
    /// about whether an object is there.
    fn contains(&self, address: *const u8) -> bool;

    /// Class of the allocated object at `object`.
    ///
    /// # Errors
    /// [`FreeFault::Outside`] or [`FreeFault::Misaligned`] if no object can start there.
    fn class_of(&self, object: NonNull<u8>) -> Result<SizeClass, FreeFault>;

    /// Frees an object from a thread that has no core (too early, too late, or none left).
    ///
    /// # Errors
    /// As [`ObjectAllocator::obj_free`].
    ///
    /// # Safety
    /// As [`ObjectAllocator::obj_free`].
    unsafe fn free_detached(&self, object: NonNull<u8>) -> Result<(), FreeFault>;

    /// Called by the forking thread before `fork`: takes every lock, so that the child sees none
    /// held by a thread that it does not have.
    fn fork_prepare(&self);

    /// Called in the parent after `fork`.
    ///
    /// # Safety
    /// The calling thread called [`Hal::fork_prepare`] and forked since.
    unsafe fn fork_parent(&self);

    /// Called in the child after `fork`: `core` is the calling thread's, if it has one. The cores
    /// of all other threads are dead.
    ///
    /// # Safety
    /// As for [`Hal::fork_parent`].
    unsafe fn fork_child(&self, core: Option<NonNull<Self::Core>>);

    /// Adds what the hardware counted, over all cores alive or dead. Backends that count nothing
    /// leave `into` alone.
    fn counters(&self, into: &mut Counters);
}

/// A backend that is bound to this process: one instance and one thread-local core pointer.
///
/// # Safety
/// `current` returns what the same thread last gave to `set_current`, or null.
pub unsafe trait ProcessHal: Hal + Sized + 'static {
    /// Whether this is the soft backend, whose fast path callers may inline. A constant, so that
    /// choosing costs nothing.
    const IS_SOFT: bool = false;

    /// The process's one instance.
    fn instance() -> &'static Self;

    /// The calling thread's core, or null.
    fn current() -> *mut Self::Core;

    /// Sets the calling thread's core.
    ///
    /// # Safety
    /// `core` is null or was attached by this thread and not detached.
    unsafe fn set_current(core: *mut Self::Core);
}
