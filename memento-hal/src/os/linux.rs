//! Linux: `mmap`, `mprotect`, `madvise`.

use super::Os;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicUsize, Ordering};

/// The Linux kernel, through libc's thin wrappers. No call allocates.
#[derive(Debug, Clone, Copy, Default)]
pub struct Linux;

/// Cached page size; 0 until first asked. Written with the same value by whoever comes first.
static PAGE_BYTES: AtomicUsize = AtomicUsize::new(0);

impl Linux {
    /// One anonymous mapping of `bytes` at a multiple of `align`.
    fn map_aligned(
        &self,
        bytes: usize,
        align: usize,
        prot: libc::c_int,
        flags: libc::c_int,
    ) -> Option<NonNull<u8>> {
        let slack = if align > self.page_bytes() { align } else { 0 };
        let total = bytes.checked_add(slack)?;
        let base = Self::map_anywhere(total, prot, flags)?;
        if slack == 0 {
            return Some(base);
        }
        let head = base.as_ptr().align_offset(align);
        // SAFETY: `head < align == slack`, so the aligned start and `bytes` after it lie in the
        // mapping; the parts cut off are in nobody's use.
        unsafe {
            let start = base.add(head);
            if head > 0 {
                self.release(base, head);
            }
            if slack > head {
                self.release(start.add(bytes), slack - head);
            }
            Some(start)
        }
    }

    fn map_anywhere(bytes: usize, prot: libc::c_int, flags: libc::c_int) -> Option<NonNull<u8>> {
        let flags = flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh anonymous mapping without MAP_FIXED touches nothing that exists.
        let at = unsafe { libc::mmap(null_mut(), bytes, prot, flags, -1, 0) };
        if at == libc::MAP_FAILED { None } else { NonNull::new(at.cast()) }
    }
}

// SAFETY: the kernel hands out fresh ranges; every other method acts on the range it is given.
unsafe impl Os for Linux {
    fn page_bytes(&self) -> usize {
        // Relaxed: the value is the same whoever writes it.
        let known = PAGE_BYTES.load(Ordering::Relaxed);
        if known != 0 {
            return known;
        }
        // SAFETY: sysconf has no preconditions; for this name glibc and musl read the auxiliary
        // vector and do not allocate.
        let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        PAGE_BYTES.store(bytes, Ordering::Relaxed);
        bytes
    }

    fn address_limit(&self) -> Option<usize> {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is a valid place for the answer.
        let known = unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) } == 0;
        let limited = known && limit.rlim_cur != libc::RLIM_INFINITY;
        limited.then_some(usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX))
    }

    fn reserve(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        self.map_aligned(bytes, align, libc::PROT_NONE, libc::MAP_NORESERVE)
    }

    fn map(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        self.map_aligned(bytes, align, libc::PROT_READ | libc::PROT_WRITE, 0)
    }

    unsafe fn remap(&self, start: NonNull<u8>, old: usize, new: usize) -> Option<NonNull<u8>> {
        // SAFETY: the caller vouches that the range is a mapping of ours.
        let at = unsafe { libc::mremap(start.as_ptr().cast(), old, new, libc::MREMAP_MAYMOVE) };
        if at == libc::MAP_FAILED { None } else { NonNull::new(at.cast()) }
    }

    unsafe fn commit(&self, start: NonNull<u8>, bytes: usize) -> bool {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the caller vouches that the range is a reservation of ours.
        unsafe { libc::mprotect(start.as_ptr().cast(), bytes, prot) == 0 }
    }

    unsafe fn populate(&self, start: NonNull<u8>, bytes: usize) {
        // Linux 5.14; older kernels answer EINVAL, and pages come by first touch as ever.
        // SAFETY: the caller vouches that the range is committed; contents are kept.
        unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_POPULATE_WRITE) };
    }

    unsafe fn decommit(&self, start: NonNull<u8>, bytes: usize) -> bool {
        // SAFETY: the caller vouches that nothing in the range is needed.
        unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_DONTNEED) == 0 }
    }

    unsafe fn release(&self, start: NonNull<u8>, bytes: usize) {
        // SAFETY: the caller vouches that the range is ours and unused from here on.
        unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn a_committed_range_is_zero_again_after_decommit() {
        let os = Linux;
        let page = os.page_bytes();
        let at = os.reserve(4 * page, 1 << 20).unwrap();
        assert_eq!(at.as_ptr() as usize % (1 << 20), 0);
        // SAFETY: the range was just reserved by `os` and is used by this test alone.
        unsafe {
            assert!(os.commit(at, 2 * page));
            os.populate(at, page);
            at.write(7);
            assert!(os.decommit(at, page));
            assert_eq!(at.read(), 0);
            os.release(at, 4 * page);
        }
    }
}
