//! The contract of one core's object allocator.

use crate::geometry::SizeClass;
use core::ptr::NonNull;

/// Why a free was refused. The hardware calls it a *memento fault*.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FreeFault {
    /// The address lies in no arena or span of this backend.
    Outside,
    /// The address lies inside an arena or span but is not the start of a slot.
    Misaligned,
    /// The slot is not allocated: a double free.
    NotAllocated,
}

impl FreeFault {
    /// The fault in words, for the one line that is written before the process aborts.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Outside => "free of an address that memento did not allocate",
            Self::Misaligned => "free of an address inside an object",
            Self::NotAllocated => "double free",
        }
    }
}

/// One core's object allocator: `obj-alloc` and `obj-free`.
///
/// `&mut` gives exclusivity, so no implementation needs an atomic read-modify-write for objects of
/// its own core.
///
/// # Safety
/// An implementor returns only addresses that are valid for reads and writes of `class.size()`
/// bytes, aligned to the largest power of two that divides that size up to 64, and
/// disjoint from every object that is allocated and not yet freed, on whichever core.
pub unsafe trait ObjectAllocator {
    /// Allocates one object of `class`; `None` when memory is exhausted. The contents are undefined.
    fn obj_alloc(&mut self, class: SizeClass) -> Option<NonNull<u8>>;

    /// Frees one object, which any core may have allocated. `known` is its class if the caller was
    /// told (sized deallocation); a backend may use it instead of looking the class up.
    ///
    /// # Errors
    /// A [`FreeFault`] if the backend finds that `object` is not an allocated object. Nothing has
    /// changed then. The emulator finds every such case until the slot is reused.
    ///
    /// # Safety
    /// Nobody uses the object afterwards. `known`, if given, is the class that it was allocated
    /// with.
    unsafe fn obj_free(
        &mut self,
        object: NonNull<u8>,
        known: Option<SizeClass>,
    ) -> Result<(), FreeFault>;
}
