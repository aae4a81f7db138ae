//! The soft backend as a [`Hal`], and its one instance in this process.

use super::backing::PagePolicy;
use super::bin::Bin;
use super::heap::{Heap, NO_HEAP, NoHeap, TO_OBJECTS};
use super::region::{Region, Usage};
use crate::counters::Counters;
use crate::geometry::SizeClass;
use crate::hal::{Hal, ProcessHal};
use crate::object::FreeFault;
use crate::os::{Linux, Os};
use crate::sync::Ordering;
use core::ptr::NonNull;

// The calling thread's heap, as the address of its first object: that saves an instruction when an
// address is compared with it, and costs none where the heap's own fields are used.
crate::os::tls::tls_pointer!(
    mod current, "memento_soft_heap", u8, super::NO_HEAP, + super::TO_OBJECTS
);

fn set_current(heap: *mut Heap) {
    current::set(heap.wrapping_byte_add(TO_OBJECTS).cast());
}

/// The soft backend over an operating system.
#[derive(Debug)]
pub struct Soft<O: Os = Linux> {
    region: Region<O>,
}

static PROCESS: Soft<Linux> = Soft::new(Linux);
/// The heap of a thread that will get none any more; empty like `NO_HEAP`.
static ENDED: NoHeap = NoHeap::new();

impl<O: Os> Soft<O> {
    /// A backend that reserves its region at first use.
    pub const fn new(os: O) -> Self {
        Self { region: Region::new(os) }
    }

    #[cfg(test)]
    pub(super) fn region(&self) -> &Region<O> {
        &self.region
    }

    /// What decides about huge pages.
    pub fn page_policy(&self) -> PagePolicy {
        self.region.policy()
    }

    /// Sets what decides about huge pages, for memory that is added from now on.
    pub fn set_page_policy(&self, policy: PagePolicy) {
        self.region.set_policy(policy);
    }

    /// A heap for all the threads that find no slot. Whoever shares it takes turns.
    pub fn attach_last(&self) -> Option<NonNull<Heap<O>>> {
        self.region.attach_last()
    }

    /// Frees an object when the fast path would not. `heap` is the calling thread's, or null.
    ///
    /// # Errors
    /// As [`crate::ObjectAllocator::obj_free`].
    ///
    /// # Safety
    /// As [`crate::ObjectAllocator::obj_free`]; `heap` is null or attached to this thread.
    #[cold]
    pub unsafe fn free_slow(
        &self,
        heap: *mut Heap<O>,
        object: NonNull<u8>,
    ) -> Result<(), FreeFault> {
        // SAFETY: the caller's.
        unsafe { self.region.free(heap, object) }
    }

    /// The bin of the allocated object at `object`; also for objects over 512 bytes.
    ///
    /// # Errors
    /// As [`Hal::class_of`].
    pub fn bin_of(&self, object: NonNull<u8>) -> Result<Bin, FreeFault> {
        self.region.locate(object.addr().get()).map(|found| found.bin)
    }

    /// Allocates when the thread's heap has nothing in the bin: from it, or when its slot is used up
    /// from further slots. `align` and `zeroed` as for [`Heap::alloc_for`].
    ///
    /// # Safety
    /// `heap` is attached to the calling thread.
    pub unsafe fn alloc_slow(
        &self,
        heap: NonNull<Heap<O>>,
        bin: Bin,
        align: usize,
        zeroed: bool,
    ) -> Option<NonNull<u8>> {
        // SAFETY: the chain consists of the thread's heaps, and no reference into them is kept.
        let from = |each: *mut Heap<O>| unsafe { (*each).alloc_for(bin, align, zeroed) };
        // A heap without a block could not even get its first: there is no memory for more of them.
        let mut barren = false;
        let mut each = heap.as_ptr();
        while !each.is_null() {
            if let Some(object) = from(each) {
                return Some(object);
            }
            // SAFETY: as above.
            unsafe {
                barren |= (*each).granules == 0;
                each = (*each).next;
            }
        }
        while !barren {
            // SAFETY: as above.
            let added = self.extend(unsafe { &mut *heap.as_ptr() })?.as_ptr();
            if let Some(object) = from(added) {
                return Some(object);
            }
            // An orphan may be full; then the next is tried.
            // SAFETY: as above.
            barren = unsafe { (*added).granules == 0 };
        }
        None
    }

    /// Adds a heap to a thread whose heap is full. The fast path serves it no better than a remote
    /// free, so this is for the case that a whole slot is used up. `None` if there is no slot.
    pub(super) fn extend(&self, heap: &mut Heap<O>) -> Option<NonNull<Heap<O>>> {
        let added = self.region.attach()?;
        // SAFETY: both heaps are this thread's now. Relaxed: only this thread compares it.
        unsafe {
            (*added.as_ptr()).next = core::mem::replace(&mut heap.next, added.as_ptr());
            (*added.as_ptr()).header().primary.store(heap, Ordering::Relaxed);
        }
        Some(added)
    }

    /// Gives what the thread's heaps have free back to the system. Returns bytes.
    ///
    /// # Safety
    /// `heap` is attached to the calling thread.
    pub unsafe fn purge(&self, heap: NonNull<Heap<O>>) -> usize {
        // SAFETY: the caller's.
        unsafe { self.region.send_all(heap.as_ptr()) };
        let mut bytes = 0;
        let mut heap = heap.as_ptr();
        while !heap.is_null() {
            // SAFETY: the chain consists of the thread's heaps.
            unsafe {
                bytes += (*heap).purge();
                heap = (*heap).next;
            }
        }
        bytes
    }

    /// Gives what heaps without a thread have kept back to the system. Returns bytes.
    pub fn purge_orphans(&self) -> usize {
        self.region.purge_kept()
    }

    /// Counts the lists that the thread's heaps are served from, which makes the counts of
    /// [`Soft::usage`] exact for them, and for heaps without a thread.
    ///
    /// # Safety
    /// `heap` is attached to the calling thread.
    pub unsafe fn sort(&self, heap: NonNull<Heap<O>>) {
        // SAFETY: the caller's.
        unsafe { self.region.send_all(heap.as_ptr()) };
        let mut heap = heap.as_ptr();
        while !heap.is_null() {
            // SAFETY: the chain consists of the thread's heaps.
            unsafe {
                (*heap).change(Heap::sort);
                heap = (*heap).next;
            }
        }
        self.region.sort_kept();
    }

    /// What all heaps hold. Exact for the calling thread's heap after [`Soft::sort`]; free objects
    /// in granules that other threads are served from may count as live.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage::ZERO;
        self.region.add_usage(&mut usage);
        usage
    }
}

// SAFETY: heaps are handed out by `Region::attach` to one thread at a time, guarded by the mailbox;
// their objects are disjoint because their slots are.
unsafe impl<O: Os> Hal for Soft<O> {
    type Core = Heap<O>;
    const NAME: &'static str = "soft";

    fn attach(&self) -> Option<NonNull<Self::Core>> {
        self.region.attach()
    }

    unsafe fn detach(&self, core: NonNull<Self::Core>) {
        // SAFETY: the caller's.
        unsafe { self.region.detach(core) }
    }

    fn contains(&self, address: *const u8) -> bool {
        self.region.contains(address.addr())
    }

    fn class_of(&self, object: NonNull<u8>) -> Result<SizeClass, FreeFault> {
        self.bin_of(object)?.class().ok_or(FreeFault::Outside)
    }

    unsafe fn free_detached(&self, object: NonNull<u8>) -> Result<(), FreeFault> {
        // SAFETY: the caller's; a thread without a heap.
        unsafe { self.region.free(core::ptr::null_mut(), object) }
    }

    fn fork_prepare(&self) {}

    unsafe fn fork_parent(&self) {}

    unsafe fn fork_child(&self, core: Option<NonNull<Self::Core>>) {
        self.region.after_fork(core.map_or(core::ptr::null_mut(), NonNull::as_ptr));
    }

    fn counters(&self, _: &mut Counters) {}
}

// SAFETY: `current` reads what `set_current` wrote, or the initial value, which stands for null.
unsafe impl ProcessHal for Soft<Linux> {
    const IS_SOFT: bool = true;

    fn instance() -> &'static Self {
        &PROCESS
    }

    #[inline]
    fn current() -> *mut Self::Core {
        let heap = Self::current_or_none();
        let none = core::ptr::eq(heap, no_heap()) || Self::thread_has_ended();
        if none { core::ptr::null_mut() } else { heap }
    }

    unsafe fn set_current(core: *mut Self::Core) {
        set_current(if core.is_null() { no_heap() } else { core });
    }
}

fn no_heap() -> *mut Heap<Linux> {
    (&raw const NO_HEAP.0).cast_mut()
}

impl Soft<Linux> {
    /// Notes that the calling thread is running its last destructors: it gets no heap any more, since
    /// nobody would give that back.
    pub fn end_thread() {
        set_current((&raw const ENDED.0).cast_mut());
    }

    /// Whether [`Soft::end_thread`] was called by this thread.
    pub fn thread_has_ended() -> bool {
        core::ptr::eq(Self::current_or_none(), &raw const ENDED.0)
    }

    /// The calling thread's heap, or one that is empty and refuses every free: never null, so the
    /// fast paths need no test.
    #[inline(always)]
    pub fn current_or_none() -> *mut Heap<Linux> {
        const { assert!(size_of::<NoHeap>() == size_of::<Heap<Linux>>()) };
        current::get().wrapping_byte_sub(TO_OBJECTS).cast()
    }
}
