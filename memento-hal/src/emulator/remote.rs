//! Frees of objects that another core's arena holds.
//!
//! A core that frees another's object sets the slot's bit in the arena's *remote bitmap*; if the
//! arena is not queued yet it pushes it onto the owner's queue for the class. The owner empties the
//! queue at its next miss of that class. What is pending is bounded by the arenas themselves:
//! a remote free allocates nothing, waits for nobody, and writes no word that the owner's hits
//! write.
//!
//! | word | written by | meeting of |
//! | --- | --- | --- |
//! | occupancy bitmap | the owner, plain stores | [`take`] stores 0 before it clears the remote bit, so that whoever sets the remote bit anew sees the slot as free: the second free of a slot is found, even while the first takes effect |
//! | remote bitmap | all, read-modify-write | two frees of a slot: the later one sees the earlier one's bit |
//! | link | all, read-modify-write | "set the bit, then the link's queued bit" against "clear the link, then read the bitmap": one of the two sees the other, so no bit stays behind in an arena that is not queued |
//! | queue head | all, read-modify-write | [`push`]es against each other and against the owner's [`take_queue`], which always takes all, so that no ABA can happen |

use super::arena::{ArenaAddr, BITMAP_WORDS, Header};
use super::layout::Layout;
use super::memory::Store;
use crate::geometry::SizeClass;
use crate::object::FreeFault;

/// The bit of an arena's link that says: this arena is queued, or about to be.
const QUEUED: u64 = 1;

/// Frees `slot` of an arena that another core owns.
///
/// # Errors
/// [`FreeFault::NotAllocated`] if the slot is free or another remote free of it is pending.
pub(super) fn free<S: Store>(
    store: &S,
    layout: &Layout,
    arena: ArenaAddr,
    class: SizeClass,
    slot: usize,
) -> Result<(), FreeFault> {
    let header = Header::new(store, arena);
    let at = header.remote_bitmap(class, slot / 64);
    let bit = 1 << (slot % 64);
    if !header.is_allocated(slot) || store.fetch_or(at, bit) & bit != 0 {
        return Err(FreeFault::NotAllocated);
    }
    // The owner may have emptied its queue between the two reads above, with an earlier free of this
    // slot in it. Then setting the bit acquired that the owner had marked the slot free.
    if !header.is_allocated(slot) {
        store.fetch_and(at, !bit);
        return Err(FreeFault::NotAllocated);
    }
    if store.fetch_or(header.remote_link(), QUEUED) & QUEUED == 0 {
        push(store, layout.remote_queue(header.owner(), class), header, arena);
    }
    Ok(())
}

/// Pushes an arena onto the queue whose head is at `queue`. The caller set its queued bit.
fn push<S: Store>(store: &S, queue: u64, header: Header<'_, S>, arena: ArenaAddr) {
    loop {
        let head = store.load(queue);
        // A swap, not a store: others set the queued bit meanwhile, and what they did before must
        // stay visible to the owner that reads this word.
        store.swap(header.remote_link(), head | QUEUED);
        if store.compare_exchange(queue, head, arena.get()) {
            return;
        }
    }
}

/// Whether a remote free of `slot` is pending. Costs the owner one load of the header line when
/// none is pending in the whole arena.
#[inline]
pub(super) fn is_pending<S: Store>(
    store: &S,
    header: Header<'_, S>,
    class: SizeClass,
    slot: usize,
) -> bool {
    store.load(header.remote_link()) & QUEUED != 0
        && store.load(header.remote_bitmap(class, slot / 64)) >> (slot % 64) & 1 == 1
}

/// Takes all arenas that are queued at `queue`, in the order in which they were queued. By the
/// owner.
pub(super) fn take_queue<S: Store>(store: &S, queue: u64) -> Option<ArenaAddr> {
    if store.load(queue) == 0 {
        return None;
    }
    let mut arena = ArenaAddr::from_link(store.swap(queue, 0));
    // The queue is a stack, so turn it over; the queued bits stay set meanwhile.
    let mut first = None;
    while let Some(next) = arena {
        let link = Header::new(store, next).remote_link();
        let below = store.swap(link, ArenaAddr::to_link(first) | QUEUED);
        first = Some(next);
        arena = ArenaAddr::from_link(below & !QUEUED);
    }
    first
}

/// Takes `arena` out of a taken queue, frees the slots whose remote frees are pending in it, and
/// gives the arena behind it. By the owner.
pub(super) fn take<S: Store>(store: &S, arena: ArenaAddr, class: SizeClass) -> Option<ArenaAddr> {
    let header = Header::new(store, arena);
    let next = store.swap(header.remote_link(), 0);
    for w in 0..BITMAP_WORDS {
        let at = header.remote_bitmap(class, w);
        let bits = store.load(at);
        if bits != 0 {
            header.clear(w, bits);
            store.fetch_and(at, !bits);
        }
    }
    ArenaAddr::from_link(next & !QUEUED)
}
