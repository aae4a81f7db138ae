//! Hardened mode: every request and every free is checked, and nothing is fast.
//!
//! In this mode no thread gets a [`Heap`](super::Heap). Its pointer stays at the empty one, from which
//! nothing can be taken and to which nothing can be given, so both fast paths fall through to the
//! slow ones, and the mode costs them nothing when it is off. The slow paths come here.
//!
//! ```text
//! region = [ shard 0 | shard 1 | … ]                   one reservation
//! shard  = [ · | range of bin 1 | range of bin 2 | … ]   and a lock; shard 0's · holds all states
//! range  = [ records | guard | slots | guard ]         see `class`
//! ```
//! An address range holds objects of one size for ever, so that a pointer which outlived its object
//! never comes to point into one of another size. Shards keep threads out of each other's way; a
//! free goes to the object's shard, under its lock, and so is decided at once whichever thread asks
//! for it. Threads have no state here: nothing is to be done when one begins or ends.
//!
//! What is found, always and at once: a free of an address that is not the start of a live object.
//! When the object is freed, resized or measured: a write behind its end, up to the slot's end. When
//! the slot is used again, or on a purge: a write to a freed object of anything but zeros. Objects of
//! more than [`SLOT_MAX`] bytes are `memento-alloc`'s, which gives each a mapping between guards.

mod class;
#[cfg(test)]
mod tests;

use super::bin::{BINS, Bin};
use super::region::Usage;
use crate::lock::{ForkLock, this_thread};
use crate::object::FreeFault;
use crate::os::{Linux, Os};
use crate::sync::{AtomicPtr, AtomicU64, Ordering};
use class::{Class, Refusal, Site};
use core::ptr::{NonNull, null_mut};

/// Largest slot in bytes.
pub const SLOT_MAX: usize = 32 * 1024;

const SHARDS_LOG2: u32 = 4;
const SHARDS: usize = 1 << SHARDS_LOG2;
/// Ranges of a shard: one for each bin index, a power of two.
const RANGES_LOG2: u32 = 7;
const RANGE_SHIFT_MAX: u32 = 31;
/// A range this small holds one slot of the largest size.
const RANGE_SHIFT_MIN: u32 = 19;
/// The region's alignment, which leaves room for its shape in the low bits of its address.
const REGION_ALIGN: usize = 2 * 1024 * 1024;

/// Bins with slots: those of at most [`SLOT_MAX`] bytes.
const CLASSES: usize = match Bin::for_request(SLOT_MAX, 8) {
    Some(bin) => bin.index() + 1,
    None => BINS,
};

const _: () = assert!(CLASSES <= 1 << RANGES_LOG2);

/// What a check found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Misuse {
    /// The address is not the start of a live object.
    Free(FreeFault),
    /// The bytes behind the object were written to.
    PastEnd,
    /// A freed object was written to.
    AfterFree,
    /// A sized free of another size than was asked for.
    WrongSize,
}

impl Misuse {
    /// The finding in words, for the one line that is written before the process aborts.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Free(fault) => fault.message(),
            Self::PastEnd => "write past the end of an object",
            Self::AfterFree => "write to a freed object",
            Self::WrongSize => "sized free of another size",
        }
    }
}

/// The objects of a process in hardened mode, or those of a test.
pub struct Hardened<O: Os = Linux> {
    os: O,
    secret: AtomicU64,
    /// The region's start, and its shape in the low bits: see [`Region`]. Null until the first
    /// request.
    packed: AtomicPtr<u8>,
    /// The same, while a fork holds the locks: null if there were none to take.
    held: AtomicPtr<u8>,
}

/// The shards' states. They lie in the region, where the first shard's range of bin 0 would be: a
/// large static would cost every process a mapping when the shared object is loaded.
type Shards = [ForkLock<Shard>; SHARDS];

/// All zero is a shard without objects, and a lock that is open.
struct Shard {
    random: u64,
    classes: [Class; CLASSES],
}

// SAFETY: a shard's classes lie in their ranges, which whoever has the lock alone uses.
unsafe impl Send for Shard {}

/// What is committed for the states: a multiple of every page size.
const STATE_BYTES: usize = 128 * 1024;
const _: () = assert!(size_of::<Shards>() <= STATE_BYTES && STATE_BYTES < 1 << RANGE_SHIFT_MIN);

/// Where the region is and how it is divided.
#[derive(Clone, Copy)]
struct Region {
    base: *mut u8,
    range_shift: u32,
    shards_log2: u32,
}

const SHIFT_BITS: u32 = 6;

impl Region {
    fn pack(self) -> *mut u8 {
        self.base.map_addr(|a| a | (self.shards_log2 << SHIFT_BITS | self.range_shift) as usize)
    }

    fn unpack(packed: *mut u8) -> Option<Self> {
        let low = packed.addr() % REGION_ALIGN;
        (!packed.is_null()).then(|| Self {
            base: packed.map_addr(|a| a - low),
            range_shift: (low as u32) % (1 << SHIFT_BITS),
            shards_log2: (low as u32) >> SHIFT_BITS,
        })
    }

    fn bytes_log2(self) -> u32 {
        self.range_shift + RANGES_LOG2 + self.shards_log2
    }

    /// Shard and class of an address.
    fn place(self, address: usize) -> Option<(usize, usize)> {
        let offset = address.wrapping_sub(self.base.addr());
        if offset >> self.bytes_log2() != 0 {
            return None;
        }
        let range = offset >> self.range_shift;
        Some((range >> RANGES_LOG2, range % (1 << RANGES_LOG2)))
    }

    fn shards(&self) -> &Shards {
        // SAFETY: committed before the region was published, and zero then, which is a valid state.
        unsafe { &*self.base.cast::<Shards>() }
    }

    fn range(self, shard: usize, class: usize) -> *mut u8 {
        self.base.wrapping_add((shard << RANGES_LOG2 | class) << self.range_shift)
    }
}

static PROCESS: Hardened<Linux> = Hardened::new(Linux);

impl Hardened<Linux> {
    /// The process's one instance.
    pub fn instance() -> &'static Self {
        &PROCESS
    }
}

impl<O: Os> Hardened<O> {
    /// No objects; address space is reserved by the first request.
    pub const fn new(os: O) -> Self {
        Self {
            os,
            secret: AtomicU64::new(0),
            packed: AtomicPtr::new(null_mut()),
            held: AtomicPtr::new(null_mut()),
        }
    }

    /// Sets what slots and canaries are chosen by. Before the first request.
    pub fn set_secret(&self, secret: u64) {
        // Relaxed: whoever allocates first sets it, in the same thread.
        self.secret.store(secret, Ordering::Relaxed);
    }

    /// Whether the address lies in the region.
    pub fn contains(&self, address: usize) -> bool {
        self.region().is_some_and(|region| region.place(address).is_some())
    }

    /// Memory for `size` bytes at a multiple of `align`, a power of two, that reads as zero. `None`
    /// if it must come from elsewhere: too large, or no room.
    pub fn alloc(&self, size: usize, align: usize) -> Option<NonNull<u8>> {
        let wanted = bin_for(size, align)?;
        let region = match self.region() {
            Some(region) => region,
            None => self.reserve()?,
        };
        let home = home(region.shards_log2);
        // Larger slots and other threads' shards are for when a range is used up, as it may be where
        // address space is short.
        for index in wanted.index()..CLASSES {
            let bin = Bin::new(index as u8).filter(|bin| bin.size().is_multiple_of(align));
            let Some(bin) = bin else { continue };
            for turn in 0..1 << region.shards_log2 {
                let shard = home ^ turn;
                let got = self.with(region, shard, bin, |class, site, random| {
                    class.alloc(site, size, random)
                })?;
                match got {
                    Ok(object) => return Some(object),
                    Err(Refusal::Full) => {}
                    Err(Refusal::NoMemory) => return None,
                }
            }
        }
        None
    }

    /// Frees an object. `known`: the size that the program says it has.
    ///
    /// # Errors
    /// What is wrong with it, or with the address.
    ///
    /// # Safety
    /// If there is an object, nobody uses it afterwards.
    pub unsafe fn free(&self, object: NonNull<u8>, known: Option<usize>) -> Result<(), Misuse> {
        self.at(object, |class, site| class.free(site, object.addr().get(), known))
            .unwrap_or(Ok(()))
    }

    /// Bytes that were asked for.
    ///
    /// # Errors
    /// As [`Hardened::free`].
    pub fn size_of(&self, object: NonNull<u8>) -> Result<usize, Misuse> {
        self.at(object, |class, site| class.size_of(site, object.addr().get())).unwrap_or(Ok(0))
    }

    /// Makes the object one of `size` bytes where it is, if a request for that would be served with a
    /// slot like its own. `false` if it has to move.
    ///
    /// # Errors
    /// As [`Hardened::free`].
    pub fn resize(&self, object: NonNull<u8>, size: usize, align: usize) -> Result<bool, Misuse> {
        self.at(object, |class, site| {
            let address = object.addr().get();
            if bin_for(size, align) != Some(site.bin) || !address.is_multiple_of(align) {
                return class.size_of(site, address).map(|_| false);
            }
            class.resize(site, address, size).map(|()| true)
        })
        .unwrap_or(Ok(false))
    }

    /// Looks through what is free, and gives its whole pages back to the system. Returns bytes.
    pub fn purge(&self) -> usize {
        let mut bytes = 0;
        self.each_class(|class, site| bytes += class.purge(site));
        bytes
    }

    /// Adds what is held.
    pub fn add_usage(&self, usage: &mut Usage) {
        self.each_class(|class, site| {
            let tally = class.tally(site.bin);
            usage.live[site.bin.index()] += tally.live;
            usage.resident_bytes += tally.touched_bytes;
            usage.peak_bytes += tally.carved_bytes;
        });
    }

    /// Takes every lock, for a fork. One thread at a time.
    pub fn acquire(&self) {
        if let Some(region) = self.region() {
            region.shards().iter().for_each(|shard| shard.hold(this_thread()));
            // Relaxed: for `release` in the same thread.
            self.held.store(region.pack(), Ordering::Relaxed);
        }
    }

    /// Undoes [`Hardened::acquire`], in the same thread or in the fork child that it has become.
    pub fn release(&self) {
        // Not the region as it is now: another thread may have reserved it meanwhile.
        if let Some(region) = Region::unpack(self.held.swap(null_mut(), Ordering::Relaxed)) {
            region.shards().iter().for_each(ForkLock::release);
        }
    }

    fn region(&self) -> Option<Region> {
        // Acquire: pairs with the Release in `reserve`.
        Region::unpack(self.packed.load(Ordering::Acquire))
    }

    /// Reserves the region: as much as there is, at most half of what a limit allows.
    #[cold]
    fn reserve(&self) -> Option<Region> {
        let largest = RANGE_SHIFT_MAX + RANGES_LOG2 + SHARDS_LOG2;
        let mut log2 = match self.os.address_limit() {
            Some(limit) => (limit / 2).max(1).ilog2().min(largest),
            None => largest,
        };
        while log2 >= RANGE_SHIFT_MIN + RANGES_LOG2 {
            // Shards only where their ranges are still large.
            let shards_log2 = (log2 - RANGES_LOG2).saturating_sub(28).min(SHARDS_LOG2);
            if let Some(base) = self.os.reserve(1 << log2, REGION_ALIGN) {
                let range_shift = log2 - RANGES_LOG2 - shards_log2;
                let region = Region { base: base.as_ptr(), range_shift, shards_log2 };
                // SAFETY: our reservation, which nobody else knows.
                if !unsafe { self.os.commit(base, STATE_BYTES) } {
                    // SAFETY: as above.
                    unsafe { self.os.release(base, 1 << log2) };
                    return None;
                }
                return self.publish(region);
            }
            log2 -= 1;
        }
        None
    }

    fn publish(&self, mine: Region) -> Option<Region> {
        // Release: pairs with the Acquire in `region`. Acquire on failure: likewise.
        let order = (Ordering::Release, Ordering::Acquire);
        match self.packed.compare_exchange(null_mut(), mine.pack(), order.0, order.1) {
            Ok(_) => Some(mine),
            Err(theirs) => {
                // SAFETY: our reservation, which nobody else knows.
                unsafe {
                    let base = NonNull::new_unchecked(mine.base);
                    self.os.release(base, 1 << mine.bytes_log2());
                }
                Region::unpack(theirs)
            }
        }
    }

    /// Runs `work` on the class of the address. `None` if this thread is inside its shard already.
    fn at<R>(
        &self,
        object: NonNull<u8>,
        work: impl FnOnce(&mut Class, &Site<'_, O>) -> Result<R, Misuse>,
    ) -> Option<Result<R, Misuse>> {
        let outside = Err(Misuse::Free(FreeFault::Outside));
        let Some(region) = self.region() else { return Some(outside) };
        let place = region.place(object.addr().get());
        let found = place.and_then(|(shard, class)| Some((shard, Bin::new(class as u8)?)));
        match found {
            Some((shard, bin)) if bin.index() < CLASSES => {
                self.with(region, shard, bin, |class, site, _| work(class, site))
            }
            _ => Some(outside),
        }
    }

    /// Runs `work` on a class, with a random number. `None` if this thread is inside the shard
    /// already, as a signal handler may be.
    fn with<R>(
        &self,
        region: Region,
        shard: usize,
        bin: Bin,
        work: impl FnOnce(&mut Class, &Site<'_, O>, u64) -> R,
    ) -> Option<R> {
        let site = Site {
            os: &self.os,
            range: region.range(shard, bin.index()),
            range_bytes: 1 << region.range_shift,
            bin,
            // Relaxed: see `set_secret`.
            secret: self.secret.load(Ordering::Relaxed),
        };
        region.shards().get(shard)?.with(this_thread(), |shard| {
            let random = shard.next(site.secret);
            work(&mut shard.classes[bin.index()], &site, random)
        })
    }

    fn each_class(&self, mut work: impl FnMut(&mut Class, &Site<'_, O>)) {
        let Some(region) = self.region() else { return };
        for shard in 0..1 << region.shards_log2 {
            for bin in Bin::all().filter(|bin| bin.index() < CLASSES) {
                self.with(region, shard, bin, |class, site, _| work(class, site));
            }
        }
    }
}

impl Shard {
    /// A number that looks random (splitmix64); not for cryptography.
    fn next(&mut self, secret: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random ^ secret;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The bin whose slots serve a request: one byte more than was asked for, so that every object has a
/// canary behind it. `None` if that is more than a slot holds.
fn bin_for(size: usize, align: usize) -> Option<Bin> {
    Bin::for_request(size.checked_add(1)?, align).filter(|bin| bin.index() < CLASSES)
}

/// The calling thread's shard.
fn home(shards_log2: u32) -> usize {
    let spread = (this_thread() as u64 >> 6).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (spread >> 32) as usize & ((1 << shards_log2) - 1)
}
