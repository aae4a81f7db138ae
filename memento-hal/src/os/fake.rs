//! An operating system of the Rust allocator's making: for Miri, and for tests that want a
//! failure at a chosen call.

use super::{HugePages, Os};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

extern crate std;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::vec::Vec;

/// Reservations are zeroed heap blocks; what is committed is only counted.
///
/// Because the memory is a Rust allocation, Miri checks every access for provenance and bounds.
#[derive(Debug, Default)]
pub struct Fake {
    reservations: Mutex<BTreeMap<usize, (NonNullBlock, usize)>>,
    /// Fails the commit that brings this to zero, and every one after it; `usize::MAX`-ish counts
    /// never fail. 0 means "never".
    commits_left: AtomicUsize,
    /// Reservations above this many bytes fail; 0 means no limit.
    reserve_limit: AtomicUsize,
    /// Number of decommit calls so far.
    decommits: AtomicUsize,
    /// What the clock shows.
    milliseconds: AtomicUsize,
    /// How often it was looked at.
    looks: AtomicUsize,
    /// Number of questions so far what has memory behind it.
    questions: AtomicUsize,
    /// One page in so many has memory behind it, as it says; 0: it does not tell.
    backed_share: AtomicUsize,
    /// Decommits fail, as they do for locked pages; and how many did.
    refuse_decommits: AtomicBool,
    refused: AtomicUsize,
    /// What the process has resident, as it says; 0 if it does not.
    resident: AtomicUsize,
    /// It has huge pages where they are asked for.
    has_huge_pages: AtomicBool,
    /// Advised and collapsed ranges so far: bytes from the start of their reservation.
    huge: Mutex<Vec<(Huge, usize)>>,
}

/// How a huge page came about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Huge {
    /// Asked for before the first touch.
    Advised,
    /// Made of small pages.
    Collapsed,
    /// To be small pages again.
    Refused,
}

#[derive(Debug)]
struct NonNullBlock(NonNull<u8>, Layout);

// SAFETY: the block is only a handle for `dealloc`; the memory behind it is shared under the
// rules of `Os`.
unsafe impl Send for NonNullBlock {}

impl Fake {
    /// Page size that it claims.
    pub const PAGE_BYTES: usize = 4096;
    /// Largest reservation of all. A system refuses what no address space holds; Miri would end the
    /// run instead.
    const ADDRESS_SPACE: usize = 1 << 40;

    /// No failures.
    pub fn new() -> Self {
        Self::default()
    }

    /// The first `n` commits succeed, all later ones fail.
    pub fn fail_commits_after(&self, n: usize) {
        self.commits_left.store(n + 1, Ordering::Relaxed);
    }

    /// Reservations of more than `bytes` fail from now on.
    pub fn limit_reservations(&self, bytes: usize) {
        self.reserve_limit.store(bytes, Ordering::Relaxed);
    }

    /// Tells from now on that the process has so many bytes resident.
    pub fn tell_resident(&self, bytes: usize) {
        self.resident.store(bytes, Ordering::Relaxed);
    }

    /// Has time pass.
    pub fn wait(&self, milliseconds: usize) {
        self.milliseconds.fetch_add(milliseconds, Ordering::Relaxed);
    }

    /// How often the clock was looked at so far.
    pub fn looks(&self) -> usize {
        self.looks.load(Ordering::Relaxed)
    }

    /// How often it was asked what has memory behind it, which it does not tell of itself.
    pub fn questions(&self) -> usize {
        self.questions.load(Ordering::Relaxed)
    }

    /// Tells from now on that the last of each so many pages has memory behind it; or with 0 nothing any more.
    pub fn tell_backed(&self, share: usize) {
        self.backed_share.store(share, Ordering::Relaxed);
    }

    /// Decommits fail from now on.
    pub fn refuse_decommits(&self) {
        self.refuse_decommits.store(true, Ordering::Relaxed);
    }

    /// Number of decommit calls that were refused so far.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// Huge pages can be had from now on.
    pub fn offer_huge_pages(&self) {
        self.has_huge_pages.store(true, Ordering::Relaxed);
    }

    /// The ranges that are to be huge so far, in order: how, and bytes from their reservation's start.
    pub fn huge_ranges(&self) -> Vec<(Huge, usize)> {
        self.huge.lock().unwrap().clone()
    }

    fn note_huge(&self, how: Huge, start: NonNull<u8>) {
        let address = start.addr().get();
        let reservations = self.reservations.lock().unwrap();
        let (first, _) = reservations.range(..=address).next_back().expect("a reservation");
        self.huge.lock().unwrap().push((how, address - first));
    }

    /// Number of decommit calls so far.
    pub fn decommits(&self) -> usize {
        self.decommits.load(Ordering::Relaxed)
    }
}

// SAFETY: each reservation is a fresh block of the Rust allocator, freed when `Fake` drops.
unsafe impl Os for Fake {
    fn page_bytes(&self) -> usize {
        Self::PAGE_BYTES
    }

    fn milliseconds(&self) -> u64 {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.milliseconds.load(Ordering::Relaxed) as u64
    }

    fn reserve(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        let limit = self.reserve_limit.load(Ordering::Relaxed);
        if bytes > Self::ADDRESS_SPACE || (limit != 0 && bytes > limit) {
            return None;
        }
        // Aligned by hand: the system's allocator gives large blocks of small alignment as fresh
        // zero pages, but writes zeros to all of an aligned one.
        let align = align.max(Self::PAGE_BYTES);
        let layout = Layout::from_size_align(bytes.checked_add(align)?, 16).ok()?;
        // SAFETY: the layout's size is not zero.
        let block = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        // SAFETY: the offset is less than `align`, so `bytes` behind it are in the block.
        let at = unsafe { block.add(block.align_offset(align)) };
        self.reservations
            .lock()
            .unwrap()
            .insert(at.addr().get(), (NonNullBlock(block, layout), bytes));
        Some(at)
    }

    unsafe fn commit(&self, _start: NonNull<u8>, _bytes: usize) -> bool {
        let left = self.commits_left.load(Ordering::Relaxed);
        if left == 1 {
            return false;
        }
        if left > 1 {
            self.commits_left.store(left - 1, Ordering::Relaxed);
        }
        true
    }

    fn has_resident(&self, bytes: usize) -> Option<bool> {
        let resident = self.resident.load(Ordering::Relaxed);
        (resident > 0).then_some(resident >= bytes)
    }

    fn huge_pages(&self) -> HugePages {
        if self.has_huge_pages.load(Ordering::Relaxed) {
            HugePages::Advised
        } else {
            HugePages::Never
        }
    }

    unsafe fn advise_huge(&self, start: NonNull<u8>, _bytes: usize) {
        self.note_huge(Huge::Advised, start);
    }

    unsafe fn backing(&self, _start: NonNull<u8>, backed: &mut [u8]) -> bool {
        self.questions.fetch_add(1, Ordering::Relaxed);
        let share = self.backed_share.load(Ordering::Relaxed);
        if share > 0 {
            backed.iter_mut().zip(1..).for_each(|(b, page)| *b = u8::from(page % share == 0));
        }
        share > 0
    }

    unsafe fn collapse(&self, start: NonNull<u8>, _bytes: usize) {
        self.note_huge(Huge::Collapsed, start);
    }

    unsafe fn refuse_huge(&self, start: NonNull<u8>, _bytes: usize) {
        self.note_huge(Huge::Refused, start);
    }

    unsafe fn populate(&self, _start: NonNull<u8>, _bytes: usize) {}

    unsafe fn decommit(&self, start: NonNull<u8>, bytes: usize) -> bool {
        if self.refuse_decommits.load(Ordering::Relaxed) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            // SAFETY: the C library returns the address of this thread's errno.
            unsafe { *libc::__errno_location() = libc::EINVAL };
            return false;
        }
        self.decommits.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller vouches that the range is committed, so it lies in one of our blocks.
        unsafe { start.as_ptr().write_bytes(0, bytes) };
        true
    }

    unsafe fn release(&self, start: NonNull<u8>, bytes: usize) {
        let mut all = self.reservations.lock().unwrap();
        // A part of a reservation stays until the whole is released or `Fake` drops.
        if all.get(&(start.as_ptr() as usize)).is_some_and(|(_, len)| *len == bytes) {
            let (block, _) = all.remove(&(start.as_ptr() as usize)).unwrap();
            // SAFETY: allocated by `reserve` with this layout and removed from the map just now.
            unsafe { dealloc(block.0.as_ptr(), block.1) };
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        for (block, _) in self.reservations.get_mut().unwrap().values() {
            // SAFETY: allocated by `reserve` with this layout, still in the map, so not yet freed.
            unsafe { dealloc(block.0.as_ptr(), block.1) };
        }
    }
}
