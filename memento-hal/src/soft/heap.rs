//! One thread's heap: its list heads, and the fast paths of allocation and free.
//!
//! Invariants, kept by this module and by `refill` and `granules`:
//! - `limit` covers exactly the blocks that were handed out; every granule below it has a *list* of the
//!   free objects that start in it, and a *countdown*: how many frees from now one takes the slow path.
//! - The countdown is never 0 between two calls, but in a fork child until [`Heap::after_fork`]. It is 1 if the granule is closed, if it is in no
//!   span, or if its objects are big, so that the next free is noticed; the number of its objects that are
//!   allocated if it waits for its bin, so that the last one is; and more than can be freed before it is
//!   looked at again if its bin is served from it.
//! - `current` names the list that a bin is served from, the same at all places of the bin. It may be empty.
//!   `current[0]` names none.
//! - Only the thread that has the heap (see `mailbox`) uses it; other threads read the slot header
//!   and of the spans the bin and the first granule.

use super::bin::{BIN_SLOTS, Bin, PLACES};
use super::idle::Idle;
use super::keep::Left;
use super::layout::{
    COUNTDOWNS_OFFSET, GRANULE_BYTES, GRANULE_SHIFT, HEAP_OFFSET, LISTS_OFFSET, OBJECTS_OFFSET,
};
use super::lists::EMPTIED;
use super::mailbox::{Link, Mailbox};
use super::outbox::{Added, Outbox, Parcel};
use super::region::Region;
use super::span::{FreeObject, Granule, Span, SpanLink, span_at};
use crate::counters::Counter;
use crate::geometry::{CLASSES, SizeClass};
use crate::object::{FreeFault, ObjectAllocator};
use crate::os::{Linux, Os};
use crate::sync::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use core::ptr::{NonNull, null_mut};

/// The part of a slot that other threads use; at the slot's very start. Three cache lines, by who
/// writes: a thread that frees remotely reads the last for each object, and writes the first for
/// some.
#[repr(C)]
pub struct SlotHeader<O: Os> {
    pub mailbox: Mailbox<FreeObject>,
    _other_threads_write_above: [u64; 7],
    /// A change is under way that a fork must not cut in two.
    pub changing: AtomicBool,
    /// Objects that other threads freed and that have arrived. Written by whoever has the heap.
    pub remote_frees: Counter,
    _the_owner_writes_above: [u64; 6],
    /// The heap that the owning thread's pointer names: a thread may have several slots.
    pub primary: AtomicPtr<Heap<O>>,
    /// Granules below the heap's limit.
    pub granules: AtomicU32,
}

/// One thread's heap.
#[derive(Debug)]
#[repr(C)]
pub struct Heap<O: Os = Linux> {
    /// Bytes of objects below the limit, in units of 8.
    limit: usize,
    /// The same in granules.
    window: usize,
    /// The granule that each bin is served from, at each of its places.
    pub(super) current: [SpanLink; PLACES],
    /// The same of the small bins, for frees: [`NOT_SERVED`] stands for none.
    pub(super) served: [usize; CLASSES + 1],
    /// Start of the slot, with provenance over all of it.
    slot: *mut u8,
    region: *const Region<O>,
    /// Last of each bin's ring of granules that wait for it.
    pub(super) ring: [SpanLink; BIN_SLOTS],
    /// Span of each bin that still has objects to carve.
    pub(super) carving: [SpanLink; BIN_SLOTS],
    /// Objects that each bin has borrowed since it last made some of a fresh page.
    pub(super) borrowed: [u8; BIN_SLOTS],
    /// First block of each `Fill`; those that are full are in no list.
    pub(super) blocks: [SpanLink; 4],
    /// Granules below the limit, and the most that the slot has room for.
    pub(super) granules: Granule,
    pub(super) granules_max: Granule,
    /// Committed bytes of the three parts of the slot.
    pub(super) committed: Committed,
    /// Bytes of objects that were ever made in fresh pages, less what was given back.
    pub(super) touched: usize,
    /// Of these, bytes of big objects, of which a program may use the front alone; …
    pub(super) big: usize,
    /// … whether it was seen that it does, …
    pub(super) hollow: bool,
    /// … and the granule before which that was seen last; 0: never.
    pub(super) looked_at: Granule,
    /// Below this granule it is decided what backs the pages.
    pub(super) backed: Granule,
    /// Where the last chunk that became a huge page ends.
    pub(super) huge_end: Granule,
    /// Granules that may still be added before the free objects in the bins are looked through.
    pub(super) growth_left: Granule,
    /// Spans that exist.
    pub(super) spans: u32,
    /// Granules that are free and may have memory behind them, and how many of these the last attempt
    /// to give them back left.
    pub(super) free_dirty: u32,
    pub(super) stuck: u32,
    /// What was not needed of late.
    pub(super) idle: Idle,
    /// The next heap of the same thread, when this one's slot is full.
    pub(super) next: *mut Heap<O>,
    /// Mail that was taken and not read yet, and how many objects of it were.
    pub(super) mail: *mut FreeObject,
    pub(super) mail_read: usize,
    /// The heap's thread may have been freeing when the process forked: a countdown may be too low.
    pub(super) forked: bool,
    /// Every number was made right after the heap was left last.
    pub(super) settled: bool,
    /// The spans of big objects that are free altogether and not given up yet, and which is to be next if there is no place.
    pub(super) emptied: [SpanLink; EMPTIED],
    pub(super) emptied_next: usize,
    /// What the heap remembers of its last thread's end.
    pub(super) left: Left,
    /// What the thread freed for other heaps and has not posted yet.
    pub(super) outbox: Outbox,
    _to_a_cache_lines_end: [u64; 7],
    /// The list of no granule: always empty. Behind it, in the slot, lie those of the granules.
    none: *mut FreeObject,
}

/// Bytes of a slot that are readable and writable, by part.
#[derive(Debug, Default, Clone, Copy)]
pub struct Committed {
    pub head: usize,
    pub spans: usize,
    pub objects: usize,
}

/// Distance from a heap to its first object.
pub(super) const TO_OBJECTS: usize = OBJECTS_OFFSET - HEAP_OFFSET;
/// Distance from a heap to its list heads.
const TO_LISTS: usize = LISTS_OFFSET - HEAP_OFFSET;
/// Bytes of a heap without the list heads.
pub(super) const HEAP_BYTES: usize = core::mem::offset_of!(Heap<Linux>, none);
/// What no object's granule is.
pub(super) const NOT_SERVED: usize = usize::MAX;
/// Distance from a heap to its countdowns.
const TO_COUNTDOWNS: usize = COUNTDOWNS_OFFSET - HEAP_OFFSET;

/// The heap of a thread that has none yet: nothing can be taken from it or given to it, so both
/// fast paths fall through to the slow ones without a test for null.
pub struct NoHeap(pub(super) Heap<Linux>);
// SAFETY: nobody writes to it: `take` finds the empty list, `give` a limit of zero.
unsafe impl Sync for NoHeap {}
/// See [`NoHeap`].
pub static NO_HEAP: NoHeap = NoHeap::new();

impl NoHeap {
    /// An empty heap.
    pub(super) const fn new() -> Self {
        Self(Heap::empty())
    }
}

impl<O: Os> Heap<O> {
    const fn empty() -> Self {
        Self {
            limit: 0,
            window: 0,
            current: [0; PLACES],
            served: [NOT_SERVED; CLASSES + 1],
            slot: null_mut(),
            region: core::ptr::null(),
            ring: [0; BIN_SLOTS],
            carving: [0; BIN_SLOTS],
            borrowed: [0; BIN_SLOTS],
            blocks: [0; 4],
            granules: 0,
            granules_max: 0,
            committed: Committed { head: 0, spans: 0, objects: 0 },
            touched: 0,
            big: 0,
            hollow: false,
            looked_at: 0,
            backed: 0,
            huge_end: 0,
            growth_left: 0,
            spans: 0,
            free_dirty: 0,
            stuck: 0,
            idle: Idle::NONE,
            next: null_mut(),
            mail: null_mut(),
            mail_read: 0,
            forked: false,
            settled: false,
            emptied: [0; EMPTIED],
            emptied_next: 0,
            left: Left::NONE,
            outbox: Outbox::new(),
            _to_a_cache_lines_end: [0; 7],
            none: null_mut(),
        }
    }

    /// Prepares the heap of a slot that was never used.
    ///
    /// # Safety
    /// `slot` is the start of a slot of `bytes` bytes whose first `committed` bytes are committed and
    /// zero; nobody else has it. `region` outlives it.
    pub(super) unsafe fn init(
        slot: NonNull<u8>,
        bytes: usize,
        committed: usize,
        region: *const Region<O>,
    ) -> *mut Self {
        // SAFETY: the heap lies in the committed part, by the layout's assertions.
        unsafe {
            let this = slot.as_ptr().add(HEAP_OFFSET).cast::<Self>();
            // All other fields of an empty heap are zero, as the fresh memory is.
            (*this).served = [NOT_SERVED; CLASSES + 1];
            (*this).slot = slot.as_ptr();
            (*this).region = region;
            (*this).granules_max = ((bytes - OBJECTS_OFFSET) >> GRANULE_SHIFT) as Granule;
            (*this).committed.head = committed;
            (*this).growth_left = super::refill::growth_allowed(0);
            this
        }
    }

    /// Takes a free object for a [place](Bin::place) of a bin; null if its list is empty.
    ///
    /// # Safety
    /// The calling thread has the heap, or it is the empty heap of threads without one.
    #[inline(always)]
    pub unsafe fn take(this: *mut Self, place: usize) -> *mut FreeObject {
        debug_assert!(place < PLACES);
        // SAFETY: `place` is below PLACES by the callers' arithmetic; an object in an open list is free
        // memory of ours, and its first word links to the next.
        unsafe {
            let current = *(&raw const (*this).current).cast::<SpanLink>().add(place);
            let head = Self::list(this, current as usize);
            let object = *head;
            if !object.is_null() {
                *head = (*object).next;
            }
            object
        }
    }

    /// The head of a list: of granule `index - 1`, or for 0 of none.
    ///
    /// # Safety
    /// `this` is a heap, and the granule is below its limit.
    #[inline(always)]
    unsafe fn list(this: *mut Self, index: usize) -> *mut *mut FreeObject {
        // The slot's provenance, not the heap's: the heads lie behind it. Only Miri can tell the difference.
        let lists = if cfg!(miri) && index != 0 {
            // SAFETY: the caller's; an empty heap has no granules.
            unsafe { (*this).slot.wrapping_add(LISTS_OFFSET) }
        } else {
            this.cast::<u8>().wrapping_add(TO_LISTS)
        };
        lists.cast::<*mut FreeObject>().wrapping_add(index)
    }

    /// Puts a freed object into its granule's list. `false` if that takes the slow path: the object is
    /// not of this heap, is misaligned, was the last one freed into that list, or the countdown has
    /// ended. In the last case [`Heap::give_noticed`] must follow.
    ///
    /// One subtraction, rotation and comparison decide three things at once: whether the object lies
    /// in this heap, so that it is the calling thread's; and whether it is a multiple of 8, since the
    /// rotation moves the low three bits to the top.
    ///
    /// # Safety
    /// As for [`Heap::take`]; and nobody uses the object any more.
    #[inline(always)]
    pub unsafe fn give(this: *mut Self, object: *mut u8) -> bool {
        // SAFETY: the calling thread has the heap; below the limit every granule has a list and is
        // committed memory.
        unsafe {
            let offset = object.addr().wrapping_sub(this.wrapping_byte_add(TO_OBJECTS).addr());
            let offset = offset.rotate_right(3);
            if offset >= (*this).limit {
                return false;
            }
            let granule = offset >> (GRANULE_SHIFT - 3);
            *Self::list(this, granule + 1) != object.cast() && Self::give_to(this, granule, object)
        }
    }

    /// As [`Heap::give`], for an object whose size is known, so that its address can be trusted: neither
    /// that it is a multiple of 8 nor that it was not freed just now is checked. What is freed soon after
    /// it was allocated is of the granule that its bin is served from, where nothing is counted.
    ///
    /// # Safety
    /// As for [`Heap::give`]; and the object is not free. If it is not of `bin`, a small one, its granule is none that `bin`
    /// is served from, and it goes where it belongs.
    #[inline(always)]
    pub unsafe fn give_known(this: *mut Self, object: *mut u8, bin: usize) -> bool {
        debug_assert!(bin <= CLASSES);
        // SAFETY: as for `give`; being served from or below the limit proves that the granule is this
        // heap's.
        unsafe {
            let offset = object.addr().wrapping_sub(this.wrapping_byte_add(TO_OBJECTS).addr());
            let granule = offset >> GRANULE_SHIFT;
            if granule == *(&raw const (*this).served).cast::<usize>().add(bin) {
                Self::push(this, granule, object);
                return true;
            }
            granule < (*this).window && Self::give_to(this, granule, object)
        }
    }

    /// Frees another heap's object, if that takes no more than to put it into the thread's outbox: not if anything
    /// is odd, `Region::free` finds out. If it was the last, [`Heap::send_away`] must follow.
    ///
    /// # Safety
    /// As for [`Heap::give`].
    #[inline(always)]
    pub unsafe fn give_away(this: *mut Self, object: *mut u8) -> Added {
        // SAFETY: the calling thread has the heap, or it is an empty one, whose parcels are addressed
        // to no slot and so are only read.
        unsafe {
            Parcel::add_beside(Outbox::parcel(&raw mut (*this).outbox, object.addr()), object)
        }
    }

    /// Posts the parcel that the object at this address was the last of.
    ///
    /// # Safety
    /// [`Heap::give_away`] said so just now.
    pub unsafe fn send_away(this: *mut Self, object: *mut u8) {
        // SAFETY: only a thread's own heap has parcels that take objects; the region outlives it.
        unsafe {
            let parcel = Outbox::parcel(&raw mut (*this).outbox, object.addr());
            (*(*this).region).dispatch(&mut *parcel);
        }
    }

    /// Puts an object into its granule's list. `false` if that ends the countdown: then the object is in no list, and
    /// nothing of it was touched, since a big one may not have been for long.
    ///
    /// A fork child that finds a free cut in two counts the list: see `after_fork`.
    ///
    /// # Safety
    /// As for [`Heap::give_known`], and the object is of this granule.
    #[inline(always)]
    unsafe fn give_to(this: *mut Self, granule: usize, object: *mut u8) -> bool {
        // SAFETY: the caller's; below the limit every granule has a countdown.
        unsafe {
            // As in `list`.
            let countdowns = if cfg!(miri) {
                (*this).slot.wrapping_add(COUNTDOWNS_OFFSET)
            } else {
                this.cast::<u8>().wrapping_add(TO_COUNTDOWNS)
            };
            let countdown = countdowns.cast::<u32>().wrapping_add(granule);
            *countdown = (*countdown).wrapping_sub(1);
            if *countdown == 0 {
                return false;
            }
            Self::push(this, granule, object);
            true
        }
    }

    /// # Safety
    /// As for `give_to`.
    #[inline(always)]
    unsafe fn push(this: *mut Self, granule: usize, object: *mut u8) {
        // SAFETY: the caller's; below the limit every granule has a list.
        unsafe {
            // The link goes through the slot's provenance, not the program's: the program's pointer
            // may be good for fewer bytes. Only Miri can tell the difference.
            let object: *mut FreeObject = if cfg!(miri) {
                (*this).slot.with_addr(object.addr()).cast()
            } else {
                object.cast()
            };
            let head = Self::list(this, granule + 1);
            (*object).next = *head;
            *head = object;
        }
    }

    /// Whether an address is of this heap's objects, and a multiple of 8.
    ///
    /// # Safety
    /// `this` is a heap.
    #[inline(always)]
    pub unsafe fn has(this: *mut Self, object: *mut u8) -> bool {
        let offset = object.addr().wrapping_sub(this.wrapping_byte_add(TO_OBJECTS).addr());
        // SAFETY: the caller's.
        unsafe { offset.rotate_right(3) < (*this).limit }
    }

    /// The bin of an object of this heap. `None` if it is none; and where it says that an object starts,
    /// one may have been freed.
    ///
    /// # Safety
    /// `this` is a heap.
    #[inline(always)]
    pub unsafe fn bin_of(this: *mut Self, object: *mut u8) -> Option<Bin> {
        // SAFETY: the caller's; below the limit every granule has an entry.
        unsafe {
            if !Self::has(this, object) {
                return None;
            }
            let offset = object.addr() - this.wrapping_byte_add(TO_OBJECTS).addr();
            let granule = offset >> GRANULE_SHIFT;
            let span = span_at((*this).slot, granule);
            let start = granule - (*span).back() as usize;
            let bin = Bin::new((*span).bin())?;
            bin.starts_at(offset - (start << GRANULE_SHIFT)).then_some(bin)
        }
    }

    /// The slot's part for other threads.
    pub(super) fn header(&self) -> &SlotHeader<O> {
        // SAFETY: every heap but `NO_HEAP`, which never gets here, lies in a slot whose header was
        // zeroed by the OS, which is a valid header.
        unsafe { &*self.slot.cast::<SlotHeader<O>>() }
    }

    pub(super) fn slot(&self) -> *mut u8 {
        self.slot
    }

    pub(super) fn region(&self) -> &Region<O> {
        // SAFETY: set by `init`, whose caller vouches that it outlives the slot.
        unsafe { &*self.region }
    }

    /// Address of a granule's first byte.
    pub(super) fn granule_start(&self, granule: Granule) -> *mut u8 {
        self.slot.wrapping_add(OBJECTS_OFFSET + ((granule as usize) << GRANULE_SHIFT))
    }

    /// The granule of an address in the objects part.
    pub(super) fn granule_of(&self, object: *mut FreeObject) -> Granule {
        ((object.addr() - self.slot.addr() - OBJECTS_OFFSET) >> GRANULE_SHIFT) as Granule
    }

    /// The span array's entry of a granule.
    pub(super) fn span(&self, granule: Granule) -> *mut Span {
        span_at(self.slot, granule as usize)
    }

    /// The head of a granule's list.
    pub(super) fn list_of(&self, granule: Granule) -> *mut *mut FreeObject {
        let lists = self.slot.wrapping_add(LISTS_OFFSET).cast::<*mut FreeObject>();
        lists.wrapping_add(granule as usize + 1)
    }

    /// A granule's countdown.
    pub(super) fn countdown_of(&self, granule: Granule) -> *mut u32 {
        let countdowns = self.slot.wrapping_add(COUNTDOWNS_OFFSET).cast::<u32>();
        countdowns.wrapping_add(granule as usize)
    }

    /// Publishes a new limit, after the granules below it have been closed.
    pub(super) fn set_granules(&mut self, granules: Granule) {
        self.granules = granules;
        self.window = granules as usize;
        self.limit = self.window << (GRANULE_SHIFT - 3);
        // Release: pairs with the Acquire in `region::locate`, which then sees the spans.
        self.header().granules.store(granules, Ordering::Release);
    }
}

impl Link for FreeObject {
    unsafe fn set_next(this: *mut Self, next: *mut Self) {
        // SAFETY: the caller gave us the object.
        unsafe { (*this).next = next }
    }
    unsafe fn next(this: *mut Self) -> *mut Self {
        // SAFETY: as above.
        unsafe { (*this).next }
    }
}

// SAFETY: objects are slots of spans of this heap, which are disjoint; a slot leaves its list when it
// is taken and enters it when it is given. Object sizes are multiples of the alignment promised, and
// spans start on granules.
unsafe impl<O: Os> ObjectAllocator for Heap<O> {
    #[inline]
    fn obj_alloc(&mut self, class: SizeClass) -> Option<NonNull<u8>> {
        self.alloc(Bin::of_class(class))
    }

    #[inline]
    unsafe fn obj_free(
        &mut self,
        object: NonNull<u8>,
        known: Option<SizeClass>,
    ) -> Result<(), FreeFault> {
        // SAFETY: `&mut self` is the heap; the caller gives the object up and vouches for its class.
        unsafe {
            let this: *mut Self = self;
            let done = match known {
                Some(class) => {
                    Self::give_known(this, object.as_ptr(), Bin::of_class(class).index())
                }
                None => Self::give(this, object.as_ptr()),
            };
            if done {
                return Ok(());
            }
            let noticed = match Self::has(this, object.as_ptr()) {
                true => Self::give_noticed(this, object.as_ptr()),
                false => None,
            };
            noticed.unwrap_or_else(|| (*(*this).region).free(this, object))
        }
    }
}

impl<O: Os> Heap<O> {
    /// Whether it is the first heap of its process, which mostly is the main thread's.
    pub fn is_first(&self) -> bool {
        self.region().index_of(self.slot()) == 0
    }

    /// Bytes of the blocks that it has.
    pub fn bytes(&self) -> usize {
        (self.granules as usize) << GRANULE_SHIFT
    }

    /// Makes an object that [is alone](Bin::is_alone) in its span one of `bin`, which is no smaller: where it is.
    /// `false` if that cannot be; it is as before then.
    ///
    /// # Safety
    /// The calling thread has the heap, and the heap the object, which is allocated; `bin` is no smaller than the object's.
    pub unsafe fn lengthen(this: *mut Self, object: *mut u8, bin: Bin) -> bool {
        // SAFETY: the caller's.
        unsafe {
            let start = (*this).granule_of((*this).slot().with_addr(object.addr()).cast());
            bin.is_alone() && (*this).change(|heap| heap.lengthen_span(start, bin))
        }
    }

    /// Allocates one object of `bin`, at a multiple of everything that the bin's size is a multiple of.
    #[inline]
    pub fn alloc(&mut self, bin: Bin) -> Option<NonNull<u8>> {
        // SAFETY: `&mut self` is the heap.
        let object = unsafe { Self::take(self, bin.place()) };
        match NonNull::new(object) {
            Some(object) => Some(object.cast()),
            None => self.refill(bin, GRANULE_BYTES).map(|fresh| fresh.object),
        }
    }

    /// Allocates one object of `bin` or of a larger one, at a multiple of `align`, which the bin's size is a multiple of.
    /// If it is to be `zeroed`, as many bytes as an object of `bin` has read as zero; pages that were never touched
    /// are not written to.
    pub fn alloc_for(&mut self, bin: Bin, align: usize, zeroed: bool) -> Option<NonNull<u8>> {
        // SAFETY: `&mut self` is the heap.
        let object = unsafe { Self::take(self, bin.place()) };
        let (object, zero) = match NonNull::new(object) {
            Some(object) => (object.cast(), false),
            None => self.refill(bin, align).map(|fresh| (fresh.object, fresh.zero))?,
        };
        if zeroed && !zero {
            // SAFETY: an object of `bin` has this many bytes, and nobody else has it.
            unsafe { object.write_bytes(0, bin.size()) };
        }
        Some(object)
    }
}

const _: () = {
    assert!(size_of::<SlotHeader<Linux>>() <= HEAP_OFFSET);
    assert!(core::mem::offset_of!(SlotHeader<Linux>, changing) == 64);
    assert!(core::mem::offset_of!(SlotHeader<Linux>, primary) == 128);
    // Nothing of the heap lies behind the first list head, and a cache line has eight whole ones.
    assert!(HEAP_BYTES + size_of::<usize>() == size_of::<Heap<Linux>>());
    assert!(
        (LISTS_OFFSET + size_of::<usize>()).is_multiple_of(64) && HEAP_OFFSET.is_multiple_of(64)
    );
    // What the fast paths use lies at the heap's start.
    assert!(core::mem::offset_of!(Heap<Linux>, current) == 16);
};
