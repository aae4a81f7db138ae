//! A free object of a larger bin, instead of a page that nobody has touched yet.
//!
//! A heap that is asked for many sizes has some pages of each in use, with some of each free. So a bin that has
//! nothing looks at the next larger ones before it takes a page or a span: up to half as large again, if objects of
//! that size lie at multiples of what the request is aligned to. The object is and stays the larger bin's, as if a request
//! of that size had been served; nothing remembers that it was lent.
//!
//! A bin that borrows takes the slow path for each object. So for each fresh page of its own it may do so [`BORROWED_MAX`]
//! times, which cost a few page faults: a bin whose objects come and go all the time soon has spans of its own.
//!
//! Bins of the hardware's classes neither borrow nor lend: what is counted of a class is what was asked of it.

use super::bin::Bin;
use super::granules::granule_at;
use super::heap::Heap;
use super::refill::Fresh;
use crate::geometry::SMALL_MAX;
use crate::os::Os;

/// Objects that a bin borrows at most between two fresh pages of its own.
const BORROWED_MAX: u8 = 128;

impl<O: Os> Heap<O> {
    /// A free object of a larger bin for a request of `bin` at a multiple of `align`, if the bin can make one only of
    /// a page or a span more.
    pub(super) fn borrow(&mut self, bin: Bin, align: usize) -> Option<Fresh> {
        if bin.size() <= SMALL_MAX
            || self.borrowed[bin.index()] == BORROWED_MAX
            || !self.needs_a_page(bin)
        {
            return None;
        }
        let object = bin
            .larger()
            .take_while(|other| other.size() <= bin.size() + bin.size() / 2)
            .filter(|other| other.size().is_multiple_of(align))
            .find_map(|other| self.take_free(other))?;
        self.borrowed[bin.index()] += 1;
        Some(object)
    }

    /// Whether the next object that the bin makes lies on a page that no object lies on, or in a span more.
    fn needs_a_page(&self, bin: Bin) -> bool {
        let Some(start) = granule_at(self.carving[bin.index()]) else { return true };
        // SAFETY: a span that is carved is a span of ours.
        let span = unsafe { &*self.span(start) };
        let page = self.region().os().page_bytes();
        let offset = span.carved as usize * bin.size();
        span.fresh && (offset.is_multiple_of(page) || offset % page + bin.size() > page)
    }

    /// An object of the bin that was freed, if it has one.
    fn take_free(&mut self, bin: Bin) -> Option<Fresh> {
        if bin.is_big() {
            let last = granule_at(self.ring[bin.index()])?;
            return Some(self.take_big(bin, last));
        }
        if let Some(object) = self.pop(bin) {
            return Some(object);
        }
        let granule = self.first_waiting(bin)?;
        self.serve_waiting(bin, granule)
    }
}
