//! What memento asks of an operating system: address space and the pages behind it.
//!
//! The contract is [`Os`]. `Linux` fulfils it; `Fake` does so for Miri and for tests that inject
//! failures.

mod linux;
pub(crate) mod tls;
pub use linux::Linux;

tls::tls_pointer!(
    /// For an allocator that counts: the calling thread's block.
    pub mod counters_tls, "memento_tls_counters", crate::counters::CounterBlock
);
tls::tls_pointer!(
    /// For an allocator that writes a trace: the calling thread's number plus one, as an address.
    pub mod recorder_tls, "memento_tls_recorder", u8
);

/// Keeps `errno` across whatever is done while it lives: `free` leaves it alone, and so does a `malloc` that succeeds.
#[derive(Debug)]
pub struct KeepErrno(core::ffi::c_int);

impl KeepErrno {
    /// Notes `errno`, which is set again when this is dropped.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        // SAFETY: the C library returns the address of this thread's errno, which is always valid.
        Self(unsafe { *libc::__errno_location() })
    }
}

impl Drop for KeepErrno {
    fn drop(&mut self) {
        // SAFETY: as in `new`.
        unsafe { *libc::__errno_location() = self.0 };
    }
}

#[cfg(any(test, feature = "fake-os"))]
mod fake;
#[cfg(any(test, feature = "fake-os"))]
pub use fake::{Fake, Huge};

use core::ptr::NonNull;

/// What a host does about huge pages for anonymous memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum HugePages {
    /// There are none, or not for us.
    Never = 1,
    /// Where they are asked for.
    Advised = 2,
    /// Wherever they fit.
    Always = 3,
}

/// Address space and pages. Every `bytes` and every address is a multiple of [`Os::page_bytes`]
/// unless a method says otherwise.
///
/// # Safety
/// An implementor returns only ranges that nothing else in the process uses.
pub unsafe trait Os: Sync {
    /// Bytes of a page of this host: 4096, 16384 or 65536.
    fn page_bytes(&self) -> usize;

    /// Bytes of address space the process may have (`RLIMIT_AS`); `None` without a limit.
    fn address_limit(&self) -> Option<usize> {
        None
    }

    /// Milliseconds since some moment, never 0 and never less than before; 0 where there is no clock.
    fn milliseconds(&self) -> u64 {
        0
    }

    /// Reserves `bytes` of address space at a multiple of `align` (a power of two). The range is
    /// neither readable nor writable and costs no memory. `None` if the address space or its limit
    /// (`RLIMIT_AS`) is exhausted.
    fn reserve(&self, bytes: usize, align: usize) -> Option<NonNull<u8>>;

    /// A range that is readable and writable at once, zero on first touch; otherwise as
    /// [`Os::reserve`].
    fn map(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        let start = self.reserve(bytes, align)?;
        // SAFETY: reserved just now.
        unsafe {
            if self.commit(start, bytes) {
                return Some(start);
            }
            self.release(start, bytes);
        }
        None
    }

    /// Changes the length of a range that lies in one result of [`Os::map`] or [`Os::remap`], moving
    /// it if it must; contents are kept. If it moves, it leaves what is beside it behind. `None` if
    /// that cannot be done without copying, or memory is exhausted; nothing has changed then.
    ///
    /// # Safety
    /// As said of the range. Nobody uses the old address afterwards.
    unsafe fn remap(&self, start: NonNull<u8>, old: usize, new: usize) -> Option<NonNull<u8>> {
        let _ = (start, old, new);
        None
    }

    /// Maps a range anew that [`Os::remap`] has moved pages out of: committed, and zero. `false` if that
    /// cannot be, for one because somebody else was given the addresses meanwhile.
    #[must_use]
    fn map_again(&self, start: NonNull<u8>, bytes: usize) -> bool {
        let _ = (start, bytes);
        false
    }

    /// Makes a reserved range readable and writable. Pages are zero on first touch.
    /// `false` if the system refuses (`vm.overcommit_memory=2`, limits); the range is unchanged then.
    ///
    /// # Safety
    /// The range lies in one reservation of this `Os`.
    #[must_use]
    unsafe fn commit(&self, start: NonNull<u8>, bytes: usize) -> bool;

    /// Backs a committed range with memory ahead of its first touch. A hint: may do nothing.
    ///
    /// # Safety
    /// The range is committed.
    unsafe fn populate(&self, start: NonNull<u8>, bytes: usize);

    /// Whether the process has so many bytes resident now, about; `None` if that is not known.
    fn has_resident(&self, bytes: usize) -> Option<bool> {
        let _ = bytes;
        None
    }

    /// What the host does about huge pages.
    fn huge_pages(&self) -> HugePages {
        HugePages::Never
    }

    /// Asks for pages of 2 MiB for what of a committed range is touched from now on. A hint, which
    /// holds until the range is released: may do nothing.
    ///
    /// # Safety
    /// The range is committed.
    unsafe fn advise_huge(&self, start: NonNull<u8>, bytes: usize) {
        let _ = (start, bytes);
    }

    /// Tells of each page of a committed range whether it has memory behind it: bit 0 of its byte. It has
    /// not if it was never touched or populated, and neither if it is swapped out. `false` if that is
    /// not known.
    ///
    /// # Safety
    /// As many pages as `backed` has bytes are committed from `start` on.
    unsafe fn backing(&self, start: NonNull<u8>, backed: &mut [u8]) -> bool {
        let _ = (start, backed);
        false
    }

    /// Replaces the small pages behind a committed range by huge ones, now. A hint: may do nothing.
    ///
    /// # Safety
    /// The range is committed.
    unsafe fn collapse(&self, start: NonNull<u8>, bytes: usize) {
        let _ = (start, bytes);
    }

    /// Has the system make no huge pages of a committed range any more. Contents stay as they are.
    ///
    /// # Safety
    /// The range is committed.
    unsafe fn refuse_huge(&self, start: NonNull<u8>, bytes: usize) {
        let _ = (start, bytes);
    }

    /// Gives the memory behind a committed range back; it stays committed and reads as zero. `false`
    /// if the system refuses (locked pages); contents are as before then.
    ///
    /// # Safety
    /// The range is committed and holds nothing that is still needed.
    #[must_use]
    unsafe fn decommit(&self, start: NonNull<u8>, bytes: usize) -> bool;

    /// Ends a reservation or a part of it.
    ///
    /// # Safety
    /// The range lies in one reservation of this `Os`, and nobody uses it afterwards.
    unsafe fn release(&self, start: NonNull<u8>, bytes: usize);
}
