//! The free objects of each granule: frees that the fast path leaves to the slow one, and which granules
//! wait for their bin.
//!
//! The fast path of a free puts the object into its granule's list and counts down. It comes here when the
//! countdown ends, which says one of two things about the granule ([`State`]):
//!
//! - *closed*: it had nothing free, and now has one object. It becomes *open*: it enters its bin's ring,
//!   and the countdown becomes the number of its objects that are still allocated. One that was served from until it
//!   was empty is open at once, for one turn;
//! - *open*: all of it is free. If that goes for the whole span, its granules are free for any bin at once.
//!
//! A granule that its bin is *served* from counts down from so far above that it does not end: objects
//! leave the list without being counted, so its number is unknown until the list is counted.
//!
//! Before a span is given up its lists are checked, object by object: one that was freed twice makes a
//! list a circle or ends the countdown too soon, one that is not the start of a slot is told by its
//! address, and what wrote to freed memory led the list astray. All of these abort the process.
//!
//! Big objects ([`Bin::is_big`]) are bits of their span instead. Their granules are always closed, so
//! every free of one comes here, and is checked exactly. A span that becomes free altogether stays in its bin's ring,
//! to be taken last, until some more have become so, or granules are needed: to give it up and make it again takes
//! longer than all the rest, and programs use few big sizes at a time.

use super::bin::Bin;
use super::granules::granule_at;
use super::heap::{Heap, NOT_SERVED};
use super::layout::GRANULE_BYTES;
use super::mailbox::Link;
use super::refill::Fresh;
use super::span::{FreeObject, Granule, SpanLink, State};
use crate::fatal::corruption;
use crate::object::FreeFault;
use crate::os::Os;
use core::ptr::NonNull;

/// The countdown of a granule that is served from starts so far above the number of its objects that are
/// allocated.
pub(super) const SERVED: u32 = 1 << 30;

/// A waiting granule of which less than this part is free is left to ripen while there is other room: each
/// object of it would cost as much as two slow paths.
const RIPE: u32 = 8;

/// Spans of big objects that are free altogether and not given up.
pub(super) const EMPTIED: usize = 8;

impl<O: Os> Heap<O> {
    /// Goes on where [`Heap::give`] refused because a countdown ended. `None` if it refused for another
    /// reason; then `Region::free` finds out why.
    ///
    /// # Safety
    /// As for [`Heap::give`], which was called just now; and the heap [has](Heap::has) the object.
    #[inline(never)]
    pub unsafe fn give_noticed(this: *mut Self, object: *mut u8) -> Option<Result<(), FreeFault>> {
        // SAFETY: the calling thread has the heap; the object is given up.
        unsafe {
            let object = (*this).slot().with_addr(object.addr()).cast();
            let granule = (*this).granule_of(object);
            let ended = *(*this).countdown_of(granule) == 0;
            ended.then(|| (*this).change(|heap| heap.notice(granule, object)))
        }
    }

    /// Does a free that ended a countdown with all the checks.
    fn notice(&mut self, granule: Granule, object: *mut FreeObject) -> Result<(), FreeFault> {
        // SAFETY: the granule is below the limit.
        unsafe { *self.countdown_of(granule) = 1 };
        self.put(object)
    }

    /// Puts an object that another thread freed, at this distance from the slot's start, where it belongs. It was
    /// checked then, but its granule has changed since if the program freed it twice.
    #[inline(always)]
    pub(super) fn put_posted(&mut self, offset: usize) {
        // SAFETY: what is below the limit was given up.
        if unsafe { !Self::give(self, self.slot().wrapping_add(offset)) } {
            self.notice_posted(offset);
        }
    }

    /// The same for an object that its granule must hear of, or that is none.
    #[cold]
    #[inline(never)]
    fn notice_posted(&mut self, offset: usize) {
        let object = self.posted(offset);
        let granule = self.granule_of(object);
        // SAFETY: the heap has the object, which was given up.
        let result = unsafe {
            if *self.countdown_of(granule) == 0 {
                self.notice(granule, object)
            } else {
                Err(FreeFault::NotAllocated)
            }
        };
        if let Err(fault) = result {
            corruption(fault.message(), object.addr());
        }
    }

    /// Puts a free object where it belongs. Its address is in the heap and a multiple of 8.
    pub(super) fn put(&mut self, object: *mut FreeObject) -> Result<(), FreeFault> {
        let granule = self.granule_of(object);
        // SAFETY: the granule is below the limit.
        let (bin, back) = unsafe { ((*self.span(granule)).bin(), (*self.span(granule)).back()) };
        let bin = Bin::new(bin).ok_or(FreeFault::NotAllocated)?;
        let start = granule - back;
        let within = object.addr() - self.granule_start(start).addr();
        if bin.is_big() {
            return self.put_big(bin, start, within);
        }
        let head = self.list_of(granule);
        // SAFETY: as above; nothing else refers to the entry meanwhile.
        let (first, span) = unsafe { (*head, &mut *self.span(granule)) };
        if first == object || span.state == State::Idle {
            return Err(FreeFault::NotAllocated);
        }
        if span.state == State::Closed && !bin.starts_at(within) {
            return Err(FreeFault::Misaligned);
        }
        let (state, made) = (span.state, u32::from(span.made));
        // SAFETY: as above; the object is free memory of ours from here on.
        let left = unsafe {
            FreeObject::set_next(object, first);
            *head = object;
            let countdown = self.countdown_of(granule);
            *countdown = match state {
                State::Closed => made.saturating_sub(1),
                State::Open | State::Idle => *countdown - 1,
                // So many frees without an end of the list that they were not told from its objects.
                State::Served if *countdown <= 1 => SERVED + made,
                State::Served => *countdown - 1,
            };
            *countdown
        };
        if state == State::Closed {
            self.wait_in_ring(bin, granule);
        }
        if left == 0 {
            self.become_idle(bin, start, granule);
        }
        Ok(())
    }

    #[inline(never)]
    fn put_big(&mut self, bin: Bin, start: Granule, within: usize) -> Result<(), FreeFault> {
        let number = bin.number_at(within);
        // SAFETY: the start of a span of ours.
        let span = unsafe { &mut *self.span(start) };
        if number >= bin.span_objects() as u32 {
            return Err(FreeFault::Misaligned);
        }
        let bit = 1 << number;
        if number >= u32::from(span.carved) || span.bits & bit != 0 {
            return Err(FreeFault::NotAllocated);
        }
        let listed = span.bits != 0;
        span.bits |= bit;
        if span.is_empty() {
            self.note_emptied(bin, start, listed);
        } else if !listed {
            self.enter_ring(bin.index(), start);
        }
        Ok(())
    }

    /// A span of big objects became free altogether. It gives way to others of its bin that have objects.
    fn note_emptied(&mut self, bin: Bin, start: Granule, listed: bool) {
        let k = bin.index();
        if listed {
            self.leave_ring(k, start);
        }
        let last = self.ring[k];
        self.enter_ring(k, start);
        if last != 0 {
            self.ring[k] = last;
        }
        if let Some(place) = self.emptied.iter().position(|link| *link == 0) {
            self.emptied[place] = start + 1;
            // Where none is given up, it is time to look at the clock as well.
            self.note_freed();
        } else {
            let place = self.emptied_next % EMPTIED;
            self.emptied_next = place + 1;
            let oldest = core::mem::replace(&mut self.emptied[place], start + 1);
            self.release_emptied_span(oldest);
        }
    }

    #[inline(never)]
    fn release_emptied_span(&mut self, link: SpanLink) {
        let Some(start) = granule_at(link) else { return };
        // SAFETY: the start of a span of ours.
        let Some(bin) = Bin::new(unsafe { (*self.span(start)).bin() }) else { return };
        self.leave_ring(bin.index(), start);
        self.release_span(start, bin);
    }

    /// Gives up the spans of big objects that are free altogether.
    #[inline(never)]
    pub(super) fn release_emptied(&mut self) {
        for link in core::mem::replace(&mut self.emptied, [0; EMPTIED]) {
            self.release_emptied_span(link);
        }
    }

    /// Takes the lowest free object of a span of big objects in the ring.
    pub(super) fn take_big(&mut self, bin: Bin, start: Granule) -> Fresh {
        // SAFETY: a span in a ring is a span of ours.
        let span = unsafe { &mut *self.span(start) };
        if span.is_empty()
            && let Some(link) = self.emptied.iter_mut().find(|link| **link == start + 1)
        {
            *link = 0;
        }
        let number = span.bits.trailing_zeros();
        span.bits &= span.bits - 1;
        if span.bits == 0 {
            self.leave_ring(bin.index(), start);
        }
        let object = self.granule_start(start).wrapping_add(number as usize * bin.size());
        // SAFETY: an object in the slot is not at null.
        Fresh { object: unsafe { NonNull::new_unchecked(object) }, zero: false }
    }

    /// Has a granule wait for its bin, with free objects or for some.
    fn wait_in_ring(&mut self, bin: Bin, granule: Granule) {
        // SAFETY: a granule of ours.
        unsafe { (*self.span(granule)).state = State::Open };
        self.enter_ring(bin.index(), granule);
    }

    /// Nothing that was made of a waiting granule is allocated.
    fn become_idle(&mut self, bin: Bin, start: Granule, granule: Granule) {
        self.check_all_free(bin, start, granule);
        // SAFETY: a granule of ours.
        unsafe {
            (*self.span(granule)).state = State::Idle;
            *self.countdown_of(granule) = 1;
        }
        let span = start..start + bin.span_granules() as Granule;
        if span.clone().all(|g| self.state(g) == State::Idle || self.made(g) == 0) {
            for granule in span {
                if self.state(granule) == State::Idle {
                    self.leave_ring(bin.index(), granule);
                }
            }
            self.release_span(start, bin);
        }
    }

    /// Aborts unless each object that was made of a granule is in its list, once.
    ///
    /// Then the links of all of them are the addresses of all but the first; so their sum is known. That is
    /// read in the order of memory, while to follow the list would mean to wait for one object after
    /// the other.
    fn check_all_free(&self, bin: Bin, start: Granule, granule: Granule) {
        let (size, made) = (bin.size(), usize::from(self.made(granule)));
        let (base, within) =
            (self.granule_start(start), (granule - start) as usize * GRANULE_BYTES);
        let first = base.wrapping_add(match within {
            0 => 0,
            _ => within.next_multiple_of(size),
        });
        // SAFETY: the granule is ours, and the objects lie in it.
        let (list, links) = unsafe {
            let mut links = 0usize;
            let mut object = first;
            let end = first.wrapping_add(made * size);
            while object != end {
                links = links.wrapping_add(FreeObject::next(object.cast()).addr());
                object = object.wrapping_add(size);
            }
            (*self.list_of(granule), links)
        };
        let all = made.wrapping_mul(first.addr()).wrapping_add(size * (made * (made - 1) / 2));
        if links != all.wrapping_sub(list.addr()) {
            self.count_list(bin, start, granule);
            double_free(list);
        }
    }

    /// The granule that has waited longest for its bin, of those that have something for it. The others,
    /// of which nothing was freed while they waited, are closed.
    pub(super) fn first_waiting(&mut self, bin: Bin) -> Option<Granule> {
        loop {
            let granule = self.first_in_ring(bin)?;
            // SAFETY: a granule of ours.
            if unsafe { !(*self.list_of(granule)).is_null() } {
                return Some(granule);
            }
            self.leave_ring(bin.index(), granule);
            self.reset_list(granule);
        }
    }

    /// The granule that has waited longest for its bin.
    fn first_in_ring(&self, bin: Bin) -> Option<Granule> {
        let last = granule_at(self.ring[bin.index()])?;
        // SAFETY: granules in a ring are ours.
        granule_at(unsafe { (*self.span(last)).next })
    }

    /// Whether so much of a waiting granule is free that it is worth going on with it.
    pub(super) fn is_ripe(&self, granule: Granule) -> bool {
        let made = u32::from(self.made(granule));
        let allocated =
            if self.state(granule) == State::Open { self.countdown(granule) } else { 0 };
        made - allocated >= made.div_ceil(RIPE)
    }

    /// Has a granule wait no longer. Returns how many of its objects are allocated.
    pub(super) fn leave_waiting(&mut self, bin: Bin, granule: Granule) -> u32 {
        match self.state(granule) {
            State::Closed | State::Served => self.made(granule).into(),
            State::Idle => {
                self.leave_ring(bin.index(), granule);
                0
            }
            State::Open => {
                self.leave_ring(bin.index(), granule);
                self.countdown(granule)
            }
        }
    }

    /// Has a bin be served from a granule that is in no ring and of which so many objects are allocated.
    /// What it is served from is empty; that waits to the ring's end for what is freed meanwhile.
    pub(super) fn serve_from(&mut self, bin: Bin, granule: Granule, allocated: u32) {
        if let Some(last) = granule_at(self.current[bin.place()])
            && last != granule
        {
            // SAFETY: a granule of ours.
            unsafe {
                debug_assert!((*self.list_of(last)).is_null());
                *self.countdown_of(last) = self.made(last).into();
            }
            self.wait_in_ring(bin, last);
        }
        self.set_current(bin, Some(granule));
        // SAFETY: a granule of ours.
        unsafe {
            (*self.span(granule)).state = State::Served;
            *self.countdown_of(granule) = SERVED + allocated;
        }
    }

    /// Notes the granule that a bin is served from.
    pub(super) fn set_current(&mut self, bin: Bin, granule: Option<Granule>) {
        let link = granule.map_or(0, |granule| granule + 1);
        self.current[bin.place()] = link;
        self.current[bin.direct_places()].fill(link);
        if let Some(served) = self.served.get_mut(bin.index()) {
            *served = granule.map_or(NOT_SERVED, |granule| granule as usize);
        }
    }

    /// Counts what is allocated of the granule that a bin is served from, and if that is nothing has it
    /// wait instead.
    pub(super) fn count_served(&mut self, bin: Bin) {
        let Some((start, granule)) = self.served(bin) else { return };
        let free = self.count_list(bin, start, granule);
        let allocated = u32::from(self.made(granule)) - u32::from(free);
        if allocated == 0 {
            self.serve_from_none(bin);
        } else {
            // SAFETY: a granule of ours.
            unsafe { *self.countdown_of(granule) = SERVED + allocated };
        }
    }

    /// Leaves a bin without a granule that it is served from.
    pub(super) fn serve_from_none(&mut self, bin: Bin) {
        let Some((start, granule)) = self.served(bin) else { return };
        self.set_current(bin, None);
        let free = self.count_list(bin, start, granule);
        if free == 0 {
            return self.reset_list(granule);
        }
        let allocated = u32::from(self.made(granule)) - u32::from(free);
        // SAFETY: a granule of ours.
        unsafe { *self.countdown_of(granule) = allocated };
        self.wait_in_ring(bin, granule);
        if allocated == 0 {
            self.become_idle(bin, start, granule);
        }
    }

    /// Makes every number right and keeps it so, whoever frees: for a heap that nobody allocates from.
    pub(super) fn settle_down(&mut self) {
        if !core::mem::replace(&mut self.settled, true) {
            Bin::all().for_each(|bin| self.serve_from_none(bin));
        }
    }

    /// Most granules that [`Heap::settle_down`] would find to be free.
    pub(super) fn unsettled(&self) -> Granule {
        let found = Bin::all().filter_map(|bin| {
            let (_, granule) = self.served(bin)?;
            // SAFETY: a granule of ours.
            let some = unsafe { !(*self.list_of(granule)).is_null() };
            some.then_some(bin.span_granules() as Granule)
        });
        found.sum()
    }

    /// In a fork child: counts what the thread that had the heap may have been freeing.
    pub(super) fn after_fork(&mut self) {
        if !core::mem::take(&mut self.forked) {
            return;
        }
        for bin in Bin::all() {
            self.serve_from_none(bin);
        }
        for granule in 0..self.granules {
            // SAFETY: a granule below the limit.
            let (bin, back) =
                unsafe { ((*self.span(granule)).bin(), (*self.span(granule)).back()) };
            if self.countdown(granule) == 0 {
                // The free that ended it has not got further. What it freed is lost.
                // SAFETY: as above.
                unsafe { *self.countdown_of(granule) = 1 };
            }
            let Some(bin) = Bin::new(bin).filter(|bin| !bin.is_big()) else { continue };
            let free = self.count_list(bin, granule - back, granule);
            if self.state(granule) == State::Open {
                let allocated = u32::from(self.made(granule)) - u32::from(free);
                // SAFETY: as above. An object may be lost, and with it the granule, but it is not taken
                // for free.
                unsafe { *self.countdown_of(granule) = allocated.max(1) };
            }
        }
    }

    /// The granule that a bin is served from, after the start of its span.
    fn served(&self, bin: Bin) -> Option<(Granule, Granule)> {
        let granule = granule_at(self.current[bin.place()])?;
        // SAFETY: a granule of ours.
        Some((granule - unsafe { (*self.span(granule)).back() }, granule))
    }

    fn state(&self, granule: Granule) -> State {
        // SAFETY: callers pass a granule of ours.
        unsafe { (*self.span(granule)).state }
    }

    fn countdown(&self, granule: Granule) -> u32 {
        // SAFETY: callers pass a granule of ours.
        unsafe { *self.countdown_of(granule) }
    }

    fn made(&self, granule: Granule) -> u16 {
        // SAFETY: callers pass a granule of ours.
        unsafe { (*self.span(granule)).made }
    }

    /// Length of a granule's list, each object of which is checked; as many as were made at most.
    fn count_list(&self, bin: Bin, start: Granule, granule: Granule) -> u16 {
        let first = self.granule_start(granule).addr();
        let base = self.granule_start(start).addr();
        let made = self.made(granule);
        // SAFETY: the granule is ours.
        let mut object = unsafe { *self.list_of(granule) };
        let mut count = 0;
        while !object.is_null() {
            if object.addr().wrapping_sub(first) >= GRANULE_BYTES {
                corruption("free list damaged by a write to freed memory", object.addr());
            }
            if !bin.starts_at(object.addr() - base) {
                corruption(FreeFault::Misaligned.message(), object.addr());
            }
            count += 1;
            if count > made {
                double_free(object);
            }
            // SAFETY: an object of the granule.
            object = unsafe { FreeObject::next(object) };
        }
        count
    }

    /// Puts a granule, or the first granule of a span of big objects, at the end of a bin's ring.
    fn enter_ring(&mut self, k: usize, granule: Granule) {
        let last = self.ring[k];
        // SAFETY: granules of ours.
        unsafe {
            let span = self.span(granule);
            match granule_at(last) {
                None => ((*span).next, (*span).previous) = (granule + 1, granule + 1),
                Some(g) => {
                    let first = (*self.span(g)).next;
                    ((*span).next, (*span).previous) = (first, last);
                    (*self.span(g)).next = granule + 1;
                    (*self.span(first - 1)).previous = granule + 1;
                }
            }
        }
        self.ring[k] = granule + 1;
    }

    pub(super) fn leave_ring(&mut self, k: usize, granule: Granule) {
        // SAFETY: granules of ours, in one ring.
        unsafe {
            let span = self.span(granule);
            let (next, previous) = ((*span).next, (*span).previous);
            ((*span).next, (*span).previous) = (0, 0);
            if next == granule + 1 {
                self.ring[k] = 0;
                return;
            }
            (*self.span(next - 1)).previous = previous;
            (*self.span(previous - 1)).next = next;
            if self.ring[k] == granule + 1 {
                self.ring[k] = previous;
            }
        }
    }
}

#[cold]
pub(super) fn double_free(object: *mut FreeObject) -> ! {
    corruption(FreeFault::NotAllocated.message(), object.addr())
}
