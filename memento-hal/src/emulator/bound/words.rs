//! The emulator's words in real memory.

use crate::emulator::memory::Store;
use crate::os::Os;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

/// One reservation, whose words are at their real addresses.
#[derive(Debug)]
pub(super) struct Words<'a, O> {
    os: &'a O,
    /// The reservation's start, with provenance for all of it.
    base: NonNull<u8>,
    page_bytes: u64,
}

impl<'a, O: Os> Words<'a, O> {
    /// The words of the reservation at `base`.
    ///
    /// # Safety
    /// The reservation is `os`'s and outlives the value. Every address given to the methods lies in
    /// it, outside of every object that the program has allocated, and is a multiple of eight.
    #[inline]
    pub unsafe fn new(os: &'a O, base: NonNull<u8>, page_bytes: usize) -> Self {
        Self { os, base, page_bytes: page_bytes as u64 }
    }

    /// The pointer to `at`.
    #[inline]
    pub fn pointer(&self, at: u64) -> *mut u8 {
        self.base.as_ptr().with_addr(at as usize)
    }

    #[inline]
    fn word(&self, at: u64) -> &AtomicU64 {
        // SAFETY: `new`'s caller vouches that the word lies in the reservation and in no object; the
        // emulator accesses only words in ranges that `commit` granted, and only as atomics.
        unsafe { AtomicU64::from_ptr(self.pointer(at).cast()) }
    }
}

impl<O: Os> Store for Words<'_, O> {
    fn commit(&self, start: u64, bytes: u64) -> bool {
        // Pages of the host may be larger than those of the model. What is granted beyond the range
        // lies in the same reservation, whose parts start on multiples of the largest page there is.
        let from = start / self.page_bytes * self.page_bytes;
        let to = (start + bytes).next_multiple_of(self.page_bytes);
        // SAFETY: `new`'s caller vouches for the range. `from` is not null, since the reservation
        // starts on a page.
        unsafe { self.os.commit(NonNull::new_unchecked(self.pointer(from)), (to - from) as usize) }
    }

    #[inline]
    fn load(&self, at: u64) -> u64 {
        // The partner of each ordering in this file is named where the word's protocol is described:
        // `remote.rs` and `table.rs`.
        self.word(at).load(Ordering::Acquire)
    }

    #[inline]
    fn store(&self, at: u64, value: u64) {
        self.word(at).store(value, Ordering::Release);
    }

    fn swap(&self, at: u64, value: u64) -> u64 {
        self.word(at).swap(value, Ordering::AcqRel)
    }

    fn fetch_or(&self, at: u64, bits: u64) -> u64 {
        self.word(at).fetch_or(bits, Ordering::AcqRel)
    }

    fn fetch_and(&self, at: u64, bits: u64) -> u64 {
        self.word(at).fetch_and(bits, Ordering::AcqRel)
    }

    fn compare_exchange(&self, at: u64, old: u64, new: u64) -> bool {
        self.word(at).compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}
