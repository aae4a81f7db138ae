//! The contract of the page allocator: where arenas come from and what backs their pages.
//!
//! Addresses here are numbers, real or simulated; that memory may be used through them is promised
//! by [`crate::ObjectAllocator`] alone.

use crate::geometry::SizeClass;

/// A number of pages of [`crate::geometry::PAGE_BYTES`] bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct PageCount(pub u64);

/// A page-aligned range of addresses for the objects of one class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// First address.
    pub start: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// Hands out extents for objects and backs their pages.
///
/// Extents are disjoint from each other, and are not taken back: an empty arena is kept.
pub trait PageAllocator {
    /// An extent for a new arena of `class`, whose first page is backed; `None`, and nothing has
    /// changed, when the region or memory is exhausted.
    fn acquire(&mut self, class: SizeClass) -> Option<Extent>;

    /// Backs the page that starts at `page`, in an extent that was handed out, before its first
    /// touch. Once for each page. `None`, and nothing has changed, when memory is exhausted.
    fn back(&mut self, page: u64) -> Option<()>;

    /// Pages that are backed by memory now.
    fn backed(&self) -> PageCount;
}
