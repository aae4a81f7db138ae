//! One thread's heap: its list heads, and the fast paths of allocation and free.
//!
//! Invariants, kept by this module and by `refill` and `granules`:
//! - `limit` covers exactly the blocks that were handed out; every granule below it has its entry in
//!   the granule table: the bin of its span, or [`QUARANTINE`].
//! - `bins[k]` links free objects of bin *k* that lie in spans of this heap. `bins[0]` is null.
//! - Only the thread that has the heap (see `mailbox`) uses it; other threads read the slot header
//!   and the granule table.

use super::bin::{BIN_SLOTS, Bin};
use super::keep::Left;
use super::layout::{GRANULE_SHIFT, HEAP_OFFSET, OBJECTS_OFFSET, SPANS_OFFSET, TABLE_OFFSET};
use super::mailbox::{Link, Mailbox};
use super::outbox::{Outbox, Parcel};
use super::region::Region;
use super::span::{FreeObject, Granule, Span, SpanLink};
use crate::counters::Counter;
use crate::geometry::SizeClass;
use crate::object::{FreeFault, ObjectAllocator};
use crate::os::{Linux, Os};
use crate::sync::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, Ordering};
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
    /// The same in bytes.
    window: usize,
    /// Heads of the lists of free objects.
    pub(super) bins: [*mut FreeObject; BIN_SLOTS],
    /// Start of the slot, with provenance over all of it.
    slot: *mut u8,
    region: *const Region<O>,
    /// First span with free objects of each bin.
    pub(super) listed: [SpanLink; BIN_SLOTS],
    /// Span of each bin that still has objects to carve.
    pub(super) carving: [SpanLink; BIN_SLOTS],
    /// First block of each `Fill`; those that are full are in no list.
    pub(super) blocks: [SpanLink; 4],
    /// Granules below the limit, and the most that the slot has room for.
    pub(super) granules: Granule,
    pub(super) granules_max: Granule,
    /// Committed bytes of the three parts of the slot.
    pub(super) committed: Committed,
    /// Bytes of objects that were ever made in fresh pages, less what was given back.
    pub(super) touched: usize,
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
    /// The next heap of the same thread, when this one's slot is full.
    pub(super) next: *mut Heap<O>,
    /// Mail that was taken and not read yet, and how many objects of it were.
    pub(super) mail: *mut FreeObject,
    pub(super) mail_read: usize,
    /// What the thread freed for other heaps and has not posted yet.
    pub(super) outbox: Outbox,
    /// What the heap remembers of its last thread's end.
    pub(super) left: Left,
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
const TO_TABLE: usize = TABLE_OFFSET - HEAP_OFFSET;

/// The heap of a thread that has none yet: nothing can be taken from it or given to it, so both
/// fast paths fall through to the slow ones without a test for null.
pub struct NoHeap(pub(super) Heap<Linux>);
// SAFETY: nobody writes to it: `take` finds empty bins, `give` a limit of zero.
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
            bins: [null_mut(); BIN_SLOTS],
            slot: null_mut(),
            region: core::ptr::null(),
            listed: [0; BIN_SLOTS],
            carving: [0; BIN_SLOTS],
            blocks: [0; 4],
            granules: 0,
            granules_max: 0,
            committed: Committed { head: 0, spans: 0, objects: 0 },
            touched: 0,
            backed: 0,
            huge_end: 0,
            growth_left: 0,
            spans: 0,
            free_dirty: 0,
            stuck: 0,
            next: null_mut(),
            mail: null_mut(),
            mail_read: 0,
            outbox: Outbox::new(),
            left: Left::NONE,
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
            (*this).slot = slot.as_ptr();
            (*this).region = region;
            (*this).granules_max = ((bytes - OBJECTS_OFFSET) >> GRANULE_SHIFT) as Granule;
            (*this).committed.head = committed;
            (*this).growth_left = super::refill::growth_allowed(0);
            this
        }
    }

    /// Takes a free object from a bin; null if the bin is empty.
    ///
    /// # Safety
    /// The calling thread has the heap, or it is the empty heap of threads without one.
    #[inline(always)]
    pub unsafe fn take(this: *mut Self, bin: usize) -> *mut FreeObject {
        // SAFETY: `bin` is below BIN_SLOTS by the callers' arithmetic; an object in a bin is free
        // memory of ours, and its first word links to the next.
        unsafe {
            let head = Self::head(this, bin);
            let object = *head;
            if !object.is_null() {
                *head = (*object).next;
            }
            object
        }
    }

    /// The head of a bin's list.
    ///
    /// # Safety
    /// `this` is a heap, and `bin < BIN_SLOTS`.
    #[inline(always)]
    unsafe fn head(this: *mut Self, bin: usize) -> *mut *mut FreeObject {
        debug_assert!(bin < BIN_SLOTS);
        // SAFETY: the array has a head for each such bin.
        unsafe { (&raw mut (*this).bins).cast::<*mut FreeObject>().add(bin) }
    }

    /// Puts a freed object into its bin. `false` if that takes the slow path: the object is not of
    /// this heap, is misaligned, or was the last one freed into its bin.
    ///
    /// One subtraction, rotation and comparison decide three things at once: whether the object lies
    /// in this heap, so that it is the calling thread's; and whether it is a multiple of 8, since the
    /// rotation moves the low three bits to the top.
    ///
    /// # Safety
    /// As for [`Heap::take`]; and nobody uses the object any more.
    #[inline(always)]
    pub unsafe fn give(this: *mut Self, object: *mut u8) -> bool {
        // SAFETY: the calling thread has the heap; below the limit, the granule table holds a bin
        // index for every granule, and the granule is committed memory.
        unsafe {
            let offset = object.addr().wrapping_sub(this.wrapping_byte_add(TO_OBJECTS).addr());
            let offset = offset.rotate_right(3);
            if offset >= (*this).limit {
                return false;
            }
            // As in `give_to`: the slot's provenance, where it matters.
            let table = if cfg!(miri) {
                (*this).slot.add(TABLE_OFFSET)
            } else {
                this.cast::<u8>().add(TO_TABLE)
            };
            let bin = *table.add(offset >> (GRANULE_SHIFT - 3));
            Self::give_to(this, object, bin as usize)
        }
    }

    /// As [`Heap::give`], for an object that is known to be of `bin` if it is this heap's. Whoever
    /// knows the bin knows an object's address, so that it is a multiple of 8 is not checked.
    ///
    /// # Safety
    /// As for [`Heap::give`]; and `bin` is the object's.
    #[inline(always)]
    pub unsafe fn give_known(this: *mut Self, object: *mut u8, bin: usize) -> bool {
        // SAFETY: as for `give`; the range check proves that the object is of this heap.
        unsafe {
            let offset = object.addr().wrapping_sub(this.wrapping_byte_add(TO_OBJECTS).addr());
            if offset >= (*this).window {
                return false;
            }
            Self::give_to(this, object, bin)
        }
    }

    /// Frees another heap's object, if that takes nothing but to put it beside others in the thread's
    /// outbox. `false` if it takes more, or if anything is odd: `Region::free` finds out.
    ///
    /// # Safety
    /// As for [`Heap::give`].
    #[inline(always)]
    pub unsafe fn give_away(this: *mut Self, object: *mut u8) -> bool {
        // SAFETY: the calling thread has the heap, or it is an empty one, whose parcels are addressed
        // to no slot and so are only read.
        unsafe {
            Parcel::add_beside(Outbox::parcel(&raw mut (*this).outbox, object.addr()), object)
        }
    }

    /// # Safety
    /// As for [`Heap::give_known`], and the object is of this heap.
    #[inline(always)]
    unsafe fn give_to(this: *mut Self, object: *mut u8, bin: usize) -> bool {
        // SAFETY: the caller's; `bin` comes from the granule table or from a `Bin`.
        unsafe {
            let head = Self::head(this, bin);
            // The link goes through the slot's provenance, not the program's: the program's pointer
            // may be good for fewer bytes. Only Miri can tell the difference.
            let object: *mut FreeObject = if cfg!(miri) {
                (*this).slot.with_addr(object.addr()).cast()
            } else {
                object.cast()
            };
            let first = *head;
            if first == object {
                return false;
            }
            (*object).next = first;
            *head = object;
            true
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
        self.slot.wrapping_add(SPANS_OFFSET).cast::<Span>().wrapping_add(granule as usize)
    }

    /// A granule's entry in the granule table.
    pub(super) fn table(&self, granule: Granule) -> &AtomicU8 {
        // SAFETY: callers stay below the committed part of the table, by `granules`.
        unsafe { &*self.slot.add(TABLE_OFFSET + granule as usize).cast::<AtomicU8>() }
    }

    /// Publishes a new limit, after the table has been filled up to it.
    pub(super) fn set_granules(&mut self, granules: Granule) {
        self.granules = granules;
        self.window = (granules as usize) << GRANULE_SHIFT;
        self.limit = self.window >> 3;
        // Release: pairs with the Acquire in `region::locate`, which then sees the table.
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

// SAFETY: objects are slots of spans of this heap, which are disjoint; a slot leaves its bin when it
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
            if done { Ok(()) } else { (*(*this).region).free(this, object) }
        }
    }
}

impl<O: Os> Heap<O> {
    /// Allocates one object of `bin`.
    #[inline]
    pub fn alloc(&mut self, bin: Bin) -> Option<NonNull<u8>> {
        // SAFETY: `&mut self` is the heap.
        let object = unsafe { Self::take(self, bin.index()) };
        match NonNull::new(object) {
            Some(object) => Some(object.cast()),
            None => self.refill(bin).map(|fresh| fresh.object),
        }
    }

    /// Allocates one object of `bin` that reads as zero, without writing to pages that were never
    /// touched.
    pub fn alloc_zeroed(&mut self, bin: Bin) -> Option<NonNull<u8>> {
        // SAFETY: `&mut self` is the heap.
        let object = unsafe { Self::take(self, bin.index()) };
        let (object, zero) = match NonNull::new(object) {
            Some(object) => (object.cast(), false),
            None => self.refill(bin).map(|fresh| (fresh.object, fresh.zero))?,
        };
        if !zero {
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
    assert!(HEAP_OFFSET + size_of::<Heap<Linux>>() <= TABLE_OFFSET);
    assert!(SPANS_OFFSET + super::layout::GRANULES_MAX * size_of::<Span>() <= OBJECTS_OFFSET);
    // What the fast paths use lies at the heap's start.
    assert!(core::mem::offset_of!(Heap<Linux>, bins) == 16);
};
