//! A run of pages.

use core::ptr::NonNull;

/// Number of the mapping that is the [area](super::area::Area). All others are numbered from 1.
pub(super) const AREA: u32 = 0;

/// Pages of one mapping: of the area, or of what one `mmap` or `mremap` returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pages {
    pub start: NonNull<u8>,
    pub bytes: usize,
    /// Number of the mapping.
    pub mapping: u32,
    /// When the object that they are or were was allocated, by a clock that goes with what is allocated, and round each 4 GiB.
    pub allocated: u16,
    /// It was seen that each has memory behind it, when zeros were written there.
    pub full: bool,
}

impl Pages {
    /// Address of the first byte.
    pub fn address(&self) -> usize {
        self.start.addr().get()
    }

    /// Address behind the last byte.
    pub fn end(&self) -> usize {
        self.address() + self.bytes
    }

    /// Cuts off what is behind the first `bytes`.
    pub fn split(&mut self, bytes: usize) -> Self {
        debug_assert!(bytes <= self.bytes);
        let rest = Self { start: self.at(bytes), bytes: self.bytes - bytes, ..*self };
        self.bytes = bytes;
        rest
    }

    /// With those that follow in the same mapping; as old as their bytes are on average, about.
    pub fn joined(&self, next: &Self) -> Self {
        let bytes = self.bytes + next.bytes;
        // The clock may have gone round. Of what is less than 64 KiB nothing is seen.
        let later = i64::from(next.allocated.wrapping_sub(self.allocated) as i16);
        let part = later * (next.bytes >> 16) as i64 / (bytes >> 16).max(1) as i64;
        let allocated = self.allocated.wrapping_add(part as u16);
        Self { bytes, allocated, full: self.full && next.full, ..*self }
    }

    /// The address so many bytes from the start: within the run or at its end.
    pub fn at(&self, offset: usize) -> NonNull<u8> {
        debug_assert!(offset <= self.bytes);
        // SAFETY: within the run or at its end, so not null.
        unsafe { NonNull::new_unchecked(self.start.as_ptr().wrapping_add(offset)) }
    }

    /// The whole blocks of `unit` bytes in it; empty at its end if there are none.
    pub fn whole(&self, unit: usize) -> Self {
        let first = self.address().next_multiple_of(unit).min(self.end());
        let last = (self.end() / unit * unit).max(first);
        Self { start: self.at(first - self.address()), bytes: last - first, ..*self }
    }
}
