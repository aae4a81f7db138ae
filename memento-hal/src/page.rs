//! The contract of the page allocator: where arenas come from.

use crate::geometry::SizeClass;

/// A number of pages of [`crate::geometry::PAGE_BYTES`] bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct PageCount(pub usize);

/// A page-aligned range of addresses for the objects of one class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// First address.
    pub start: usize,
    /// Length in bytes.
    pub bytes: usize,
}

/// Hands out extents for objects and takes account of the pages behind them.
///
/// # Safety
/// An implementor hands out extents that are disjoint from every extent it has handed out and not
/// got back, and whose addresses may be read and written until they are released.
pub unsafe trait PageAllocator {
    /// An extent for a new arena (hardware) or span (software) of `class`; `None` when the region
    /// or memory is exhausted.
    fn acquire(&mut self, class: SizeClass) -> Option<Extent>;

    /// Takes back an extent.
    ///
    /// # Safety
    /// `extent` came from [`PageAllocator::acquire`] of this allocator, was not released since, and
    /// holds no allocated object.
    unsafe fn release(&mut self, extent: Extent);

    /// Pages that are backed by memory now.
    fn backed(&self) -> PageCount;
}
