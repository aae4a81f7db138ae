//! The region and its slots: who has which heap, and whose an address is.
//!
//! The region is reserved by the first thread that allocates. Slots are handed out bottom up and
//! never given back; a slot whose thread ended is an orphan that the next thread adopts with all that
//! it holds. No lock is taken anywhere, so a fork finds none held.

use super::backing::{PagePolicy, PolicyCell};
use super::bin::{BINS, Bin};
use super::heap::{Heap, SlotHeader};
use super::keep::{Kept, Left};
use super::layout::{
    COUNTDOWNS_OFFSET, GRANULE_SHIFT, HEAP_OFFSET, OBJECTS_OFFSET, SLOT_ALIGN, SLOT_SHIFT_MAX,
    SLOT_SHIFT_MIN, SLOTS_MAX,
};
use super::lists::SERVED;
use super::orphans::Orphans;
use super::outbox::{Offset, Outbox, Parcel, object_at, offset_in, seal};
use super::span::{FreeObject, Granule, State, span_at};
use crate::fatal::corruption;
use crate::object::FreeFault;
use crate::os::Os;
use crate::sync::{AtomicPtr, AtomicU8, AtomicU32, Ordering};
use core::ptr::{NonNull, null_mut};

/// The soft backend's address space, of one process or of one test.
#[derive(Debug)]
pub struct Region<O: Os> {
    os: O,
    policy: PolicyCell,
    /// The region's start; its low bits, zero by alignment, hold what [`Bounds`] unpacks. One word,
    /// so that racing first threads publish all of it or nothing.
    packed: AtomicPtr<u8>,
    /// Slots handed out so far.
    slots: AtomicU32,
    /// The slots whose threads have ended.
    pub(super) orphans: Orphans<SLOTS_MAX>,
    /// What these keep.
    pub(super) kept: Kept,
    /// Which slots have a heap.
    ready: [AtomicU8; SLOTS_MAX],
}

/// Where the region is and how it is divided.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    base: *mut u8,
    slot_shift: u32,
    slots_log2: u32,
}

const SHIFT_BITS: u32 = 6;

impl Bounds {
    fn pack(self) -> *mut u8 {
        debug_assert!(self.base.addr().is_multiple_of(SLOT_ALIGN));
        self.base.map_addr(|a| a | (self.slots_log2 << SHIFT_BITS | self.slot_shift) as usize)
    }

    fn unpack(packed: *mut u8) -> Option<Self> {
        if packed.is_null() {
            return None;
        }
        let low = packed.addr() % SLOT_ALIGN;
        Some(Self {
            base: packed.map_addr(|a| a - low),
            slot_shift: (low as u32) % (1 << SHIFT_BITS),
            slots_log2: (low as u32) >> SHIFT_BITS,
        })
    }

    fn bytes(self) -> usize {
        1 << (self.slot_shift + self.slots_log2)
    }

    fn slot(self, index: u32) -> *mut u8 {
        self.base.wrapping_add((index as usize) << self.slot_shift)
    }
}

/// What the heaps hold, by bin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Usage {
    /// Objects that are allocated, by [`Bin::index`].
    pub live: [u64; BINS],
    /// Bytes of the heaps that may have memory behind them.
    pub resident_bytes: u64,
    /// Most bytes of the heaps that were ever in use at a time, summed over the heaps.
    pub peak_bytes: u64,
    /// Objects that another thread freed than the one that allocated them, and that have arrived.
    pub remote_frees: u64,
}

impl Usage {
    /// All zero.
    pub const ZERO: Self =
        Self { live: [0; BINS], resident_bytes: 0, peak_bytes: 0, remote_frees: 0 };
}

/// An object of the region, found by its address.
pub(super) struct Located {
    slot: *mut u8,
    pub bin: Bin,
    /// The object, with the region's provenance.
    object: *mut FreeObject,
}

impl Located {
    fn heap<O: Os>(&self) -> *mut Heap<O> {
        self.slot.wrapping_add(HEAP_OFFSET).cast()
    }
}

/// What `add_usage` reads of a granule.
struct Snapshot {
    bin: u8,
    back: Granule,
    state: State,
    carved: u16,
    made: u16,
    bits: u32,
    countdown: u32,
    dirty: u16,
}

impl Snapshot {
    /// Objects that are allocated of the granule, or of the span of big objects that starts there.
    fn live(&self, bin: Bin) -> u32 {
        match self.state {
            _ if bin.is_big() && self.back == 0 => {
                u32::from(self.carved).saturating_sub(self.bits.count_ones())
            }
            _ if bin.is_big() => 0,
            State::Closed => self.made.into(),
            State::Open => self.countdown,
            State::Idle => 0,
            State::Served => self.countdown.saturating_sub(SERVED),
        }
    }
}

/// The header of a slot.
fn header<'a, O: Os>(slot: *mut u8) -> &'a SlotHeader<O> {
    // SAFETY: callers pass slots that are ready, whose head is committed for the region's life.
    unsafe { &*slot.cast::<SlotHeader<O>>() }
}

impl<O: Os> Region<O> {
    /// A region that is reserved at first use.
    pub const fn new(os: O) -> Self {
        Self {
            os,
            policy: PolicyCell::new(),
            packed: AtomicPtr::new(null_mut()),
            slots: AtomicU32::new(0),
            orphans: Orphans::new(),
            kept: Kept::new(),
            ready: [const { AtomicU8::new(0) }; SLOTS_MAX],
        }
    }

    pub(super) fn os(&self) -> &O {
        &self.os
    }

    /// What decides about huge pages.
    pub fn policy(&self) -> PagePolicy {
        self.policy.get()
    }

    /// Sets what decides about huge pages, for memory that is added from now on, and about what the heaps
    /// of threads keep that end from now on.
    pub fn set_policy(&self, policy: PagePolicy) {
        self.policy.set(policy);
        self.kept.set_most(policy.kept);
    }

    /// How many heaps there are, with those that wait for a thread; at least 1.
    pub fn heaps(&self) -> usize {
        // Relaxed: the number gives nothing but itself.
        self.slots.load(Ordering::Relaxed).max(1) as usize
    }

    /// Whether the address lies in the region.
    #[inline]
    pub fn contains(&self, address: usize) -> bool {
        self.bounds().is_some_and(|b| address.wrapping_sub(b.base.addr()) < b.bytes())
    }

    /// A heap for the calling thread: an orphan's if there is one, else a new one. The last slot
    /// is left for [`Region::attach_last`].
    pub fn attach(&self) -> Option<NonNull<Heap<O>>> {
        self.attach_up_to(1)
    }

    /// A heap for all the threads that find no slot.
    pub fn attach_last(&self) -> Option<NonNull<Heap<O>>> {
        self.attach_up_to(0)
    }

    /// Attaches while more than `spare` slots are unused; a region of one slot spares none.
    fn attach_up_to(&self, spare: u32) -> Option<NonNull<Heap<O>>> {
        let bounds = match self.bounds() {
            Some(bounds) => bounds,
            None => self.reserve()?,
        };
        let slot = match self.adopt() {
            Some(slot) => slot,
            None => self.new_slot(bounds, spare)?,
        };
        let heap = slot.wrapping_add(HEAP_OFFSET).cast::<Heap<O>>();
        // Relaxed: only the owner compares it with its own heap, see `free`.
        header(slot).primary.store(heap, Ordering::Relaxed);
        NonNull::new(heap)
    }

    /// Gives up the heap of an ending thread, and all that hang on it.
    ///
    /// # Safety
    /// The calling thread attached `heap` and does not use it afterwards.
    pub unsafe fn detach(&self, heap: NonNull<Heap<O>>) {
        // First all of them stop being this thread's; `abandon` publishes that. Otherwise the thread
        // that adopts the first heap could take a further one for its own.
        let mut each = heap.as_ptr();
        while !each.is_null() {
            // SAFETY: the thread has the chain's heaps.
            unsafe {
                (*each).header().primary.store(null_mut(), Ordering::Relaxed);
                each = (*each).next;
            }
        }
        let mut heap = heap.as_ptr();
        while !heap.is_null() {
            // SAFETY: the thread has this heap.
            unsafe {
                let next = core::mem::replace(&mut (*heap).next, null_mut());
                self.send_all(heap);
                self.leave(heap);
                heap = next;
            }
        }
    }

    /// Frees an object that is not in the window of the calling thread's heap `mine` (null: it has
    /// none), or that the fast path refused.
    ///
    /// # Errors
    /// As [`crate::ObjectAllocator::obj_free`]; finds wrong slots too, and the
    /// immediate repeat.
    ///
    /// # Safety
    /// As [`crate::ObjectAllocator::obj_free`].
    pub unsafe fn free(&self, mine: *mut Heap<O>, object: NonNull<u8>) -> Result<(), FreeFault> {
        let found = self.locate(object.addr().get())?;
        let header = header::<O>(found.slot);
        // Relaxed: if it is our own heap, we stored it; what others store is never ours.
        let primary = header.primary.load(Ordering::Relaxed);
        if !mine.is_null() && primary == mine {
            // One of the thread's own heaps, so this thread has it. `mine` itself is reached through
            // `mine`, to which the caller may have exclusive access.
            let heap = found.heap::<O>();
            let heap = if heap == mine { mine } else { heap };
            // SAFETY: as said.
            return unsafe { (*heap).change(|heap| heap.put(found.object)) };
        }
        let sent = if mine.is_null() {
            // SAFETY: an object of that slot, which the caller gives up.
            unsafe { self.post(found.slot, &[offset_in(found.slot, found.object)]) }
        } else {
            // SAFETY: as above; the calling thread has `mine`.
            unsafe { self.send(mine, &found) }
        };
        if sent { Ok(()) } else { Err(FreeFault::NotAllocated) }
    }

    /// Puts a remote free into the thread's outbox, and posts what is ready. `false` if the object is
    /// there already, last.
    ///
    /// # Safety
    /// The calling thread has `mine`, and the caller gives the object up.
    unsafe fn send(&self, mine: *mut Heap<O>, found: &Located) -> bool {
        let slot = found.slot;
        let offset = offset_in(slot, found.object);
        // SAFETY: the calling thread has `mine`.
        let parcel = unsafe { &mut *Outbox::parcel(&raw mut (*mine).outbox, found.object.addr()) };
        if !parcel.is_for(slot) {
            // SAFETY: what is in an outbox was given up.
            unsafe { self.dispatch(parcel) };
        } else if parcel.newest() == Some(offset) {
            return false;
        }
        // Acquire: pairs with the Release in `set_granules`.
        parcel.address_to(slot, header::<O>(slot).granules.load(Ordering::Acquire));
        // Only the newest object that was posted can be told from one that was allocated since.
        if parcel.newest().is_none() && header::<O>(slot).mailbox.newest() == found.object {
            return false;
        }
        if parcel.add(offset, found.bin) {
            // SAFETY: as above.
            unsafe { self.dispatch(parcel) };
        }
        true
    }

    /// Posts what a thread's outbox holds.
    ///
    /// # Safety
    /// The calling thread has `mine`.
    pub(super) unsafe fn send_all(&self, mine: *mut Heap<O>) {
        // SAFETY: the caller's; what is in an outbox was given up.
        unsafe {
            for parcel in (*mine).outbox.parcels() {
                self.dispatch(parcel);
            }
        }
    }

    /// # Safety
    /// The parcel is of an outbox of the calling thread.
    #[inline(never)]
    pub(super) unsafe fn dispatch(&self, parcel: &mut Parcel) {
        let (slot, objects) = parcel.take();
        let Some(newest) = objects.last() else { return };
        // SAFETY: `send` put objects of this slot in, which were given up.
        if unsafe { !self.post(slot, objects) } {
            corruption(FreeFault::NotAllocated.message(), object_at(slot, *newest).addr());
        }
    }

    /// Posts objects of a slot, the newest of which is the last. `false` if that was posted before.
    ///
    /// # Safety
    /// `offsets` names objects of the slot that the caller gives up.
    #[inline(never)]
    unsafe fn post(&self, slot: *mut u8, offsets: &[Offset]) -> bool {
        let header = header::<O>(slot);
        // The newest must not be overwritten before it is known not to be there already.
        let newest = offsets.last().map_or(null_mut(), |offset| object_at(slot, *offset));
        if header.mailbox.newest() == newest {
            return false;
        }
        // SAFETY: the objects are ours; the settling closure runs while we have the heap.
        unsafe {
            let (first, last) = seal(slot, offsets);
            header.mailbox.post(first, last, |mail| (*Self::heap_at(slot)).settle_orphan(mail))
        }
    }

    /// The object at an address: its heap and its bin.
    ///
    /// # Errors
    /// [`FreeFault::Outside`] if the address is not of the region or in a part that was never handed
    /// out, [`FreeFault::NotAllocated`] if its granules are in no span, [`FreeFault::Misaligned`] if
    /// it is not the start of a slot.
    pub(super) fn locate(&self, address: usize) -> Result<Located, FreeFault> {
        let bounds = self.bounds().ok_or(FreeFault::Outside)?;
        let offset = address.wrapping_sub(bounds.base.addr());
        if offset >= bounds.bytes() {
            return Err(FreeFault::Outside);
        }
        let index = (offset >> bounds.slot_shift) as u32;
        if !self.is_ready(index) {
            return Err(FreeFault::Outside);
        }
        let slot = bounds.slot(index);
        let within = address - slot.addr();
        // Acquire: pairs with the Release in `set_granules`.
        let granules = header::<O>(slot).granules.load(Ordering::Acquire) as usize;
        let granule = within.wrapping_sub(OBJECTS_OFFSET) >> GRANULE_SHIFT;
        if granule >= granules {
            return Err(FreeFault::Outside);
        }
        // SAFETY: the span array is committed for all granules below the published limit.
        let (bin, back) = unsafe {
            let span = span_at(slot, granule);
            ((*span).bin(), (*span).back() as usize)
        };
        let bin = Bin::new(bin).ok_or(FreeFault::NotAllocated)?;
        let span_start = OBJECTS_OFFSET + ((granule - back) << GRANULE_SHIFT);
        let offset = within - span_start;
        if !bin.starts_at(offset) {
            return Err(FreeFault::Misaligned);
        }
        Ok(Located { slot, bin, object: slot.wrapping_add(within).cast() })
    }

    /// In a fork child whose one thread has `mine` (or null): every other thread is gone.
    pub fn after_fork(&self, mine: *mut Heap<O>) {
        let Some(bounds) = self.bounds() else { return };
        self.forget_orphans();
        for slot in self.ready_slots(bounds) {
            let header = header::<O>(slot);
            // Relaxed: the child has one thread.
            let primary = header.primary.load(Ordering::Relaxed);
            if !mine.is_null() && primary == mine {
                // SAFETY: the slot is ready, and its heap is the calling thread's.
                unsafe { (*Self::heap_at(slot)).left = Left::NONE };
                continue;
            }
            // The chains of dead threads fall apart: each heap may get an owner of its own.
            header.primary.store(null_mut(), Ordering::Relaxed);
            // SAFETY: the slot is ready, so it has a heap, whose thread does not exist here.
            unsafe {
                let heap = Self::heap_at(slot);
                (*heap).next = null_mut();
                // What it holds is lost, some KiB at most: its thread may have been posting it.
                (*heap).outbox = Outbox::new();
                (*heap).forked = true;
            }
            if header.mailbox.after_fork(!header.changing.load(Ordering::Relaxed)) {
                self.count_orphan(slot);
            }
        }
    }

    /// Adds what every heap holds. Heaps of other threads change under its hands: numbers are read
    /// as they are, and stay within the committed part of each slot.
    pub fn add_usage(&self, usage: &mut Usage) {
        let Some(bounds) = self.bounds() else { return };
        for slot in self.ready_slots(bounds) {
            // Acquire: pairs with the Release in `set_granules`.
            let granules = header::<O>(slot).granules.load(Ordering::Acquire) as usize;
            usage.peak_bytes += (granules as u64) << GRANULE_SHIFT;
            for granule in 0..granules {
                // SAFETY: spans and countdowns are committed for granules below the published limit. The
                // fields are read one by one, volatile, since the owner may be writing them.
                let field = unsafe {
                    let span = span_at(slot, granule);
                    let countdowns = slot.wrapping_add(COUNTDOWNS_OFFSET).cast::<u32>();
                    Snapshot {
                        bin: (*span).bin(),
                        back: (*span).back(),
                        state: (&raw const (*span).state).read_volatile(),
                        carved: (&raw const (*span).carved).read_volatile(),
                        made: (&raw const (*span).made).read_volatile(),
                        bits: (&raw const (*span).bits).read_volatile(),
                        countdown: countdowns.wrapping_add(granule).read_volatile(),
                        dirty: (&raw const (*span).block.dirty).read_volatile(),
                    }
                };
                usage.resident_bytes += u64::from(field.dirty.count_ones()) << GRANULE_SHIFT;
                if let Some(bin) = Bin::new(field.bin) {
                    usage.live[bin.index()] += u64::from(field.live(bin));
                }
            }
            usage.remote_frees += header::<O>(slot).remote_frees.get();
        }
    }

    fn bounds(&self) -> Option<Bounds> {
        // Acquire: pairs with the Release in `reserve`.
        Bounds::unpack(self.packed.load(Ordering::Acquire))
    }

    /// Reserves the region: as much as there is, down to one slot. Under a limit on address space
    /// (`RLIMIT_AS`) at most half of it, since the program needs the rest.
    #[cold]
    fn reserve(&self) -> Option<Bounds> {
        let largest = SLOT_SHIFT_MAX + SLOTS_MAX.ilog2();
        let mut log2 = match self.os.address_limit() {
            Some(limit) => (limit / 2).max(1).ilog2().min(largest),
            None => largest,
        };
        while log2 >= SLOT_SHIFT_MIN {
            // Few large slots serve few threads, small ones serve large heaps badly: four slots at
            // least, as far as the smallest size allows.
            let slot_shift = (log2.saturating_sub(2)).clamp(SLOT_SHIFT_MIN, SLOT_SHIFT_MAX);
            if let Some(base) = self.os.reserve(1 << log2, SLOT_ALIGN) {
                let mine =
                    Bounds { base: base.as_ptr(), slot_shift, slots_log2: log2 - slot_shift };
                return self.publish(mine);
            }
            log2 -= 1;
        }
        None
    }

    fn publish(&self, mine: Bounds) -> Option<Bounds> {
        // Release: pairs with the Acquire in `bounds`. Acquire on failure: likewise.
        let order = (Ordering::Release, Ordering::Acquire);
        match self.packed.compare_exchange(null_mut(), mine.pack(), order.0, order.1) {
            Ok(_) => Some(mine),
            Err(theirs) => {
                // SAFETY: our reservation, which nobody else knows.
                unsafe { self.os.release(NonNull::new_unchecked(mine.base), mine.bytes()) };
                Bounds::unpack(theirs)
            }
        }
    }

    /// A slot that was never used, with its heap.
    fn new_slot(&self, bounds: Bounds, spare: u32) -> Option<*mut u8> {
        let most = (1u32 << bounds.slots_log2).saturating_sub(spare).max(1);
        let claim = |n: u32| (n < most).then_some(n + 1);
        // Relaxed: the number gives nothing but itself.
        let index = self.slots.fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim).ok()?;
        let head = Heap::<O>::HEAD_BYTES;
        // SAFETY: the index is this thread's alone, and its slot lies in the reservation.
        unsafe {
            let slot = NonNull::new_unchecked(bounds.slot(index));
            if !self.os.commit(slot, head) {
                // Relaxed, as above. If another thread has claimed the next slot, this one is lost.
                let order = (Ordering::Relaxed, Ordering::Relaxed);
                let _ = self.slots.compare_exchange(index + 1, index, order.0, order.1);
                return None;
            }
            Heap::init(slot, 1 << bounds.slot_shift, head, self);
            // Release: pairs with the Acquire in `is_ready`.
            self.ready[index as usize].store(1, Ordering::Release);
            Some(slot.as_ptr())
        }
    }

    /// The slot with this number, which was handed out.
    pub(super) fn slot(&self, index: u32) -> Option<*mut u8> {
        Some(self.bounds()?.slot(index))
    }

    /// The number of a slot.
    pub(super) fn index_of(&self, slot: *mut u8) -> u32 {
        let Some(bounds) = self.bounds() else { return 0 };
        ((slot.addr() - bounds.base.addr()) >> bounds.slot_shift) as u32
    }

    pub(super) fn heap_at(slot: *mut u8) -> *mut Heap<O> {
        slot.wrapping_add(HEAP_OFFSET).cast()
    }

    pub(super) fn header_at(slot: *mut u8) -> *const SlotHeader<O> {
        slot.cast()
    }

    fn is_ready(&self, index: u32) -> bool {
        // Acquire: pairs with the Release in `new_slot`.
        self.ready[index as usize].load(Ordering::Acquire) != 0
    }

    fn ready_slots(&self, bounds: Bounds) -> impl Iterator<Item = *mut u8> {
        // Relaxed: `is_ready` orders what matters.
        (0..self.slots.load(Ordering::Relaxed))
            .filter(|index| self.is_ready(*index))
            .map(move |index| bounds.slot(index))
    }
}
