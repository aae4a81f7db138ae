//! Remote frees on their way: what a thread has freed of other heaps and not posted yet, and the letters
//! that it becomes.
//!
//! A post is an atomic exchange on a cache line that two threads write, and it writes to the posted
//! object, which the freeing thread may not have in its cache and the owner will not have any more. So
//! a thread gathers what it frees in a few *parcels*, one heap's objects each, and posts a parcel as
//! a *letter*: the newest object holds the link of the mailbox's list and the offsets of the others,
//! which nobody touches until the owner does. What does not fit into the first object goes into a further
//! letter of the same post.
//!
//! What waits in an outbox cannot be allocated, however long its thread sleeps. It is less than
//! [`BYTES_MAX`] in each of [`PARCELS`] parcels.

use super::bin::{Bin, CHARGE_UNIT};
use super::layout::{GRANULE_BYTES, GRANULE_SHIFT, OBJECTS_OFFSET, SLOT_SHIFT_MAX};
use super::mailbox::Link;
use super::span::{FreeObject, Granule, span_at};
use core::ptr::null_mut;

/// An object of a slot: its distance from the slot's start in units of 8. Never 0.
pub type Offset = u32;

/// Objects of one parcel; with its head and one more, two cache lines.
pub const PARCEL_MAX: usize = 27;
/// A parcel with about this many bytes is posted.
pub const BYTES_MAX: usize = 2048;
/// The same in [`CHARGE_UNIT`]s, which is what is counted.
pub const CHARGE_MAX: usize = BYTES_MAX / CHARGE_UNIT;
/// The least that an object is charged: so much that the charges alone limit the objects, too.
pub const CHARGE_MIN: usize = CHARGE_MAX.div_ceil(PARCEL_MAX);
/// Parcels of an outbox.
pub const PARCELS: usize = 8;
/// Most offsets in a letter, its own not counted.
const ENCLOSED_MAX: usize = PARCEL_MAX - 1;

/// Objects of one slot that the thread gave up.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Parcel {
    /// The slot's first object.
    start: *mut u8,
    /// Granules that the slot had when this was last looked up.
    granules: Granule,
    /// Number of objects.
    count: u16,
    /// What may still be added, as [`Bin::charge`] counts it.
    budget: u16,
    /// The objects from the second entry on; the first has the object that was posted last. So the
    /// entry before the next free one is always what an immediate repeat would be.
    objects: [Offset; PARCEL_MAX + 1],
}

const _: () = assert!(size_of::<Parcel>() == 128);

/// What became of an object that was to be added to a parcel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Added {
    /// It is not in it.
    Not,
    /// It is beside others.
    Beside,
    /// It is the last that the parcel takes, which must be posted now.
    Last,
}

impl Parcel {
    const EMPTY: Self =
        Self { start: null_mut(), granules: 0, count: 0, budget: 0, objects: [0; PARCEL_MAX + 1] };
}

/// A thread's parcels.
#[derive(Debug)]
pub struct Outbox([Parcel; PARCELS]);

impl Outbox {
    /// An empty outbox.
    pub const fn new() -> Self {
        Self([Parcel::EMPTY; PARCELS])
    }

    /// The parcel that an object at this address goes to; it may hold another slot's. Where slots are
    /// small, several share one.
    ///
    /// # Safety
    /// `this` is an outbox.
    #[inline(always)]
    pub unsafe fn parcel(this: *mut Self, object: usize) -> *mut Parcel {
        // SAFETY: the index is below the array's length.
        unsafe { (&raw mut (*this).0).cast::<Parcel>().add((object >> SLOT_SHIFT_MAX) % PARCELS) }
    }

    /// All of them.
    pub fn parcels(&mut self) -> impl Iterator<Item = &mut Parcel> {
        self.0.iter_mut()
    }
}

impl Parcel {
    /// Whether it holds objects of this slot, or did last.
    pub fn is_for(&self, slot: *mut u8) -> bool {
        self.start == slot.wrapping_add(OBJECTS_OFFSET)
    }

    /// Makes the parcel this slot's, which has so many granules; it is that already, or empty.
    pub fn address_to(&mut self, slot: *mut u8, granules: Granule) {
        if !self.is_for(slot) {
            self.objects[0] = 0;
        }
        (self.start, self.granules) = (slot.wrapping_add(OBJECTS_OFFSET), granules);
        if self.count == 0 {
            self.budget = CHARGE_MAX as u16;
        }
    }

    /// The object that was added last, if it is still there.
    pub fn newest(&self) -> Option<Offset> {
        (self.count > 0).then(|| self.objects[self.count as usize % self.objects.len()])
    }

    /// Adds an object. `true` if the parcel must be posted now.
    pub fn add(&mut self, object: Offset, bin: Bin) -> bool {
        // There is room: a full parcel was posted.
        self.count += 1;
        self.objects[self.count as usize % self.objects.len()] = object;
        self.budget = self.budget.saturating_sub(bin.charge().into());
        self.budget == 0
    }

    /// Adds an object to others, if it is one of this parcel's slot, starts where an object starts, and was not
    /// the last one added.
    ///
    /// # Safety
    /// If it is an object of that slot, it is allocated. `this` is the calling thread's, or one that
    /// holds nothing and is no slot's, of which nothing is written.
    #[inline(always)]
    pub unsafe fn add_beside(this: *mut Self, object: *mut u8) -> Added {
        // SAFETY: the caller's; the spans are committed for the slot's granules; a full parcel was posted, and
        // charges limit the objects of others, see `CHARGE_MIN`.
        unsafe {
            let within = object.addr().wrapping_sub((*this).start.addr());
            let granule = within >> GRANULE_SHIFT;
            if granule >= (*this).granules as usize {
                return Added::Not;
            }
            let slot = (*this).start.wrapping_sub(OBJECTS_OFFSET);
            let bin = (*span_at(slot, granule)).bin();
            let Some(charge) = Bin::charge_at(bin, within % GRANULE_BYTES) else {
                return Added::Not;
            };
            let offset = ((OBJECTS_OFFSET + within) / 8) as Offset;
            let (charge, last) = (u16::from(charge), (*this).count as usize);
            let objects = (&raw mut (*this).objects).cast::<Offset>();
            if *objects.add(last) == offset {
                return Added::Not;
            }
            debug_assert!(last < PARCEL_MAX && (*this).budget > 0);
            *objects.add(last + 1) = offset;
            (*this).count += 1;
            if charge < (*this).budget {
                (*this).budget -= charge;
                Added::Beside
            } else {
                Added::Last
            }
        }
    }

    /// Empties it: the slot and its objects, which must be posted before more are added.
    pub fn take(&mut self) -> (*mut u8, &[Offset]) {
        self.objects[0] = self.newest().unwrap_or(self.objects[0]);
        self.budget = CHARGE_MAX as u16;
        let count = core::mem::take(&mut self.count) as usize;
        (self.start.wrapping_sub(OBJECTS_OFFSET), &self.objects[1..][..count.min(PARCEL_MAX)])
    }
}

/// The offset of an object in its slot.
pub fn offset_in(slot: *mut u8, object: *mut FreeObject) -> Offset {
    ((object.addr() - slot.addr()) / 8) as Offset
}

/// The object at an offset.
pub fn object_at(slot: *mut u8, offset: Offset) -> *mut FreeObject {
    slot.wrapping_add(offset as usize * 8).cast()
}

/// How many offsets fit into an object beside its link.
fn room(slot: *mut u8, object: *mut FreeObject) -> usize {
    let granule = (object.addr() - slot.addr() - OBJECTS_OFFSET) >> GRANULE_SHIFT;
    // SAFETY: the object is the slot's, so the spans are committed up to its granule.
    let bin = unsafe { (*span_at(slot, granule)).bin() };
    let bytes = Bin::new(bin).map_or(usize::MAX, Bin::size);
    (bytes - size_of::<FreeObject>()).min(ENCLOSED_MAX * size_of::<Offset>()) / size_of::<Offset>()
}

fn enclosed(letter: *mut FreeObject) -> *mut Offset {
    letter.wrapping_add(1).cast()
}

/// Writes letters about the objects, and links them: the first is about the newest object, which is
/// `offsets`' last. Returns the first and the last letter.
///
/// # Safety
/// The offsets name objects of the slot that were given up; there is one at least.
pub unsafe fn seal(slot: *mut u8, offsets: &[Offset]) -> (*mut FreeObject, *mut FreeObject) {
    let mut left = offsets;
    let (mut first, mut last) = (null_mut::<FreeObject>(), null_mut::<FreeObject>());
    while let [rest @ .., own] = left {
        let letter = object_at(slot, *own);
        let room = room(slot, letter);
        let (rest, inside) = rest.split_at(rest.len().saturating_sub(room));
        // SAFETY: the object is ours and has room for this many offsets.
        unsafe {
            enclosed(letter).copy_from_nonoverlapping(inside.as_ptr(), inside.len());
            if inside.len() < room {
                enclosed(letter).add(inside.len()).write(0);
            }
            if first.is_null() {
                first = letter;
            } else {
                FreeObject::set_next(last, letter);
            }
        }
        last = letter;
        left = rest;
    }
    (first, last)
}

/// A letter that is read: first its link, then what it encloses.
#[derive(Debug)]
pub struct Opened {
    at: *mut Offset,
    end: *mut Offset,
}

/// Opens a letter: its link, and the offsets that it encloses. Nothing in it is trusted yet.
///
/// # Safety
/// The letter is an object of the slot that was posted and taken, and is not written to while it is
/// read.
#[inline]
pub unsafe fn open(slot: *mut u8, letter: *mut FreeObject) -> (*mut FreeObject, Opened) {
    let at = enclosed(letter);
    let end = at.wrapping_add(room(slot, letter));
    // SAFETY: `seal` wrote the link.
    (unsafe { FreeObject::next(letter) }, Opened { at, end })
}

impl Iterator for Opened {
    type Item = Offset;
    #[inline]
    fn next(&mut self) -> Option<Offset> {
        if self.at == self.end {
            return None;
        }
        // SAFETY: `seal` wrote as many offsets as there is room for, or a 0 after them.
        let offset = unsafe { self.at.read() };
        self.at = self.at.wrapping_add(1);
        (offset != 0).then_some(offset)
    }
}
