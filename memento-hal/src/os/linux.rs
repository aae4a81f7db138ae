//! Linux: `mmap`, `mprotect`, `madvise`.

use super::{HugePages, Os};
use core::ffi::CStr;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// The Linux kernel, through libc's thin wrappers. No call allocates.
#[derive(Debug, Clone, Copy, Default)]
pub struct Linux;

/// Cached page size; 0 until first asked. Written with the same value by whoever comes first.
static PAGE_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Bytes of a huge page, and of what one page table maps. Only speed depends on it.
const HUGE_BYTES: usize = 2 << 20;

/// A [`HugePages`], or 0 until first asked.
static HUGE_PAGES: AtomicU8 = AtomicU8::new(0);

/// Bytes that the process had resident at most so far, or what was there before it was executed. Asked of one thread, as
/// the kernel would go through all of them for the process's times.
fn peak_resident() -> Option<usize> {
    // SAFETY: all zero is a valid value; the kernel fills it in.
    let usage = unsafe {
        let mut usage: libc::rusage = core::mem::zeroed();
        let done = libc::syscall(libc::SYS_getrusage, libc::RUSAGE_THREAD, &raw mut usage);
        (done == 0).then_some(usage)?
    };
    let bytes = usize::try_from(usage.ru_maxrss).ok()?.checked_mul(1024)?;
    (bytes > 0).then_some(bytes)
}

/// Reads a short file of the kernel's. System calls, since other libraries may replace what the C library has for it,
/// and since an allocation is no place to cancel a thread. The descriptor is closed at once.
#[cold]
fn read_file<'a>(path: &CStr, text: &'a mut [u8]) -> Option<&'a [u8]> {
    // SAFETY: a path that ends with zero, and a buffer of the length given.
    let length = unsafe {
        let flags = libc::O_RDONLY | libc::O_CLOEXEC;
        let file = libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags);
        if file < 0 {
            return None;
        }
        let length = libc::syscall(libc::SYS_read, file, text.as_mut_ptr(), text.len());
        libc::syscall(libc::SYS_close, file);
        length
    };
    text.get(..usize::try_from(length).ok()?)
}

/// Reads the host's setting. Without one, as in a container that hides it, nothing is lost by asking:
/// a kernel without huge pages refuses.
#[cold]
fn read_huge_pages() -> HugePages {
    let mut text = [0u8; 64];
    let text = read_file(c"/sys/kernel/mm/transparent_hugepage/enabled", &mut text);
    let text = text.unwrap_or_default();
    let chosen = |word: &[u8]| text.windows(word.len()).any(|part| part == word);
    if chosen(b"[never]") {
        HugePages::Never
    } else if chosen(b"[always]") {
        HugePages::Always
    } else {
        HugePages::Advised
    }
}

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

    fn milliseconds(&self) -> u64 {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `now` is a valid place for the answer. No system call: the coarse clock is a page of the kernel's.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
        now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
    }

    fn reserve(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        self.map_aligned(bytes, align, libc::PROT_NONE, libc::MAP_NORESERVE)
    }

    fn map(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        self.map_aligned(bytes, align, libc::PROT_READ | libc::PROT_WRITE, 0)
    }

    unsafe fn remap(&self, start: NonNull<u8>, old: usize, new: usize) -> Option<NonNull<u8>> {
        let resize = |flags, target: *mut u8| {
            let target = target.cast::<libc::c_void>();
            // SAFETY: the caller vouches that the range is ours; a target is ours too, and unused.
            let at = unsafe { libc::mremap(start.as_ptr().cast(), old, new, flags, target) };
            if at == libc::MAP_FAILED { None } else { NonNull::new(at.cast::<u8>()) }
        };
        if new < HUGE_BYTES {
            return resize(libc::MREMAP_MAYMOVE, null_mut());
        }
        if let Some(grown) = resize(0, null_mut()) {
            return Some(grown);
        }
        // The range became several for the kernel, as where a part of it was advised to be huge: it would not
        // be moved either, but a target might be lost.
        // SAFETY: the thread's own.
        if unsafe { *libc::__errno_location() } == libc::EFAULT {
            return None;
        }
        // At the same distance from a multiple of 2 MiB as before: whole page tables and huge pages
        // move then, not page by page.
        let total = new.checked_add(HUGE_BYTES)?;
        let Some(base) = self.reserve(total, self.page_bytes()) else {
            return resize(libc::MREMAP_MAYMOVE, null_mut());
        };
        let head = start.addr().get().wrapping_sub(base.addr().get()) % HUGE_BYTES;
        // SAFETY: `head` is less than `total - new`; what is cut off is in nobody's use. The target is
        // ours until it is moved to. If that fails, some kernels have unmapped it and others have not, so
        // it may be another thread's by now: it stays, as address space without memory.
        unsafe {
            let target = base.add(head);
            let moved = resize(libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED, target.as_ptr());
            if head > 0 {
                self.release(base, head);
            }
            self.release(target.add(new), HUGE_BYTES - head);
            moved
        }
    }

    fn map_again(&self, start: NonNull<u8>, bytes: usize) -> bool {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        // As a reservation has it, so that it becomes one with what is beside it.
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let flags = flags | libc::MAP_FIXED_NOREPLACE;
        let wanted = start.as_ptr().cast::<libc::c_void>();
        // SAFETY: nothing that is there is replaced. Kernels before 4.17 take the address for a wish.
        unsafe {
            let at = libc::mmap(wanted, bytes, prot, flags, -1, 0);
            if at != wanted && at != libc::MAP_FAILED {
                libc::munmap(at, bytes);
            }
            at == wanted
        }
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

    fn has_resident(&self, bytes: usize) -> Option<bool> {
        // What was most so far costs half a microsecond; the file 5, and 20 when it is first looked up.
        if peak_resident().is_some_and(|peak| peak < bytes) {
            return Some(false);
        }
        let mut text = [0u8; 128];
        let text = read_file(c"/proc/self/statm", &mut text)?;
        // Pages: of the address space, resident, and more.
        let pages = text.split(|byte| *byte == b' ').nth(1)?;
        let pages = pages.iter().fold(0, |pages, digit| pages * 10 + usize::from(digit & 15));
        Some(pages >= bytes / self.page_bytes())
    }

    fn huge_pages(&self) -> HugePages {
        // Relaxed: the value is about the same whoever writes it.
        match HUGE_PAGES.load(Ordering::Relaxed) {
            1 => HugePages::Never,
            2 => HugePages::Advised,
            3 => HugePages::Always,
            _ => {
                let found = read_huge_pages();
                HUGE_PAGES.store(found as u8, Ordering::Relaxed);
                found
            }
        }
    }

    unsafe fn advise_huge(&self, start: NonNull<u8>, bytes: usize) {
        // SAFETY: the caller vouches that the range is committed; contents are kept.
        unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
    }

    unsafe fn backing(&self, start: NonNull<u8>, backed: &mut [u8]) -> bool {
        let bytes = backed.len() * self.page_bytes();
        // SAFETY: the kernel writes one byte for each page.
        unsafe { libc::mincore(start.as_ptr().cast(), bytes, backed.as_mut_ptr()) == 0 }
    }

    unsafe fn collapse(&self, start: NonNull<u8>, bytes: usize) {
        // Linux 6.1; older kernels answer EINVAL.
        // SAFETY: as above.
        unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_COLLAPSE) };
    }

    unsafe fn refuse_huge(&self, start: NonNull<u8>, bytes: usize) {
        // SAFETY: as above.
        unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_NOHUGEPAGE) };
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
    fn the_host_has_a_setting_for_huge_pages() {
        let path = "/sys/kernel/mm/transparent_hugepage/enabled";
        let want = match std::fs::read_to_string(path) {
            Ok(text) if text.contains("[never]") => HugePages::Never,
            Ok(text) if text.contains("[always]") => HugePages::Always,
            _ => HugePages::Advised,
        };
        assert_eq!(Linux.huge_pages(), want);
        assert_eq!(Linux.huge_pages(), want);
    }

    #[test]
    fn what_is_resident_grows_by_what_is_touched() {
        let os = Linux;
        let bytes = 64 << 20;
        let at = os.map(bytes, os.page_bytes()).unwrap();
        // To the next MiB.
        let resident =
            || (0..).find(|mib| os.has_resident(mib << 20) == Some(false)).unwrap() << 20;
        let before = resident();
        // SAFETY: the range was just mapped by `os` and is used by this test alone.
        unsafe {
            os.populate(at, bytes);
            // The kernel's numbers lag by some pages for each processor; other tests have little.
            let grown = resident() - before;
            assert!((bytes / 2..bytes * 3 / 2).contains(&grown), "{grown}");
            os.release(at, bytes);
            // It was so once.
            assert!(peak_resident().unwrap() >= before + bytes / 2);
        }
    }

    #[test]
    fn huge_pages_keep_contents() {
        let os = Linux;
        let huge = 2 << 20;
        let at = os.map(2 * huge, huge).unwrap();
        // SAFETY: the range was just mapped by `os` and is used by this test alone.
        unsafe {
            at.add(5000).write(7);
            os.collapse(at, huge);
            os.advise_huge(at.add(huge), huge);
            assert_eq!((at.read(), at.add(5000).read(), at.add(huge).read()), (0, 7, 0));
            os.release(at, 2 * huge);
        }
    }

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

    #[test]
    fn what_is_locked_is_not_given_back() {
        let os = Linux;
        let page = os.page_bytes();
        let at = os.map(page, page).unwrap();
        // SAFETY: the range was just mapped by `os` and is used by this test alone.
        unsafe {
            assert_eq!(libc::mlock(at.as_ptr().cast(), page), 0);
            at.write(7);
            assert!(!os.decommit(at, page));
            assert_eq!(at.read(), 7);
            os.release(at, page);
        }
    }

    #[test]
    fn a_range_moves_with_its_contents_and_its_offset() {
        let os = Linux;
        let page = os.page_bytes();
        let (old, new) = (HUGE_BYTES, 3 * HUGE_BYTES);
        let at = os.map(2 * old, page).unwrap();
        // SAFETY: mapped just now and used by this test alone.
        unsafe {
            // In the middle of a mapping, so there is no room behind it.
            let start = at.add(page);
            start.write_bytes(5, old);
            let moved = os.remap(start, old, new).unwrap();
            assert_eq!(moved.addr().get() % HUGE_BYTES, start.addr().get() % HUGE_BYTES);
            let contents = core::slice::from_raw_parts(moved.as_ptr(), new);
            assert!(contents[..old].iter().all(|b| *b == 5));
            assert!(contents[old..].iter().all(|b| *b == 0));
            assert!(os.remap(moved, new, usize::MAX - page + 1).is_none());
            assert_eq!(moved.read(), 5);
            os.release(moved, new);
            os.release(at, page);
            os.release(start.add(old), old - page);
        }
    }

    #[test]
    fn a_range_of_which_a_part_is_huge_stays_whole_if_it_is_not_moved() {
        let os = Linux;
        let page = os.page_bytes();
        let (old, new) = (2 * HUGE_BYTES, 3 * HUGE_BYTES);
        let at = os.map(old + page, HUGE_BYTES).unwrap();
        // SAFETY: mapped just now and used by this test alone.
        unsafe {
            at.write_bytes(5, old);
            os.advise_huge(at.add(HUGE_BYTES), HUGE_BYTES);
            let moved = os.remap(at, old, new);
            let start = moved.unwrap_or(at);
            let contents = core::slice::from_raw_parts(start.as_ptr(), old);
            assert!(contents.iter().all(|b| *b == 5));
            os.release(start, if moved.is_some() { new } else { old });
        }
    }

    #[test]
    fn a_range_that_was_moved_away_can_be_had_again_unless_it_is_taken() {
        let os = Linux;
        let page = os.page_bytes();
        let at = os.reserve(4 * page, page).unwrap();
        // SAFETY: reserved just now and used by this test alone.
        unsafe {
            assert!(os.commit(at, 3 * page));
            let middle = at.add(page);
            middle.write(7);
            assert!(!os.map_again(middle, page), "it is still there");
            assert_eq!(middle.read(), 7);
            let moved = os.remap(middle, page, 2 * page).unwrap();
            assert_eq!(moved.read(), 7);
            // Another test may have been given the address meanwhile.
            let again = os.map_again(middle, page);
            assert!(!again || middle.read() == 0);
            os.release(moved, 2 * page);
        }
    }

    #[test]
    fn what_was_touched_is_backed() {
        let os = Linux;
        let page = os.page_bytes();
        let at = os.map(4 * page, page).unwrap();
        let mut backed = [0; 4];
        // SAFETY: mapped just now and used by this test alone.
        unsafe {
            at.add(2 * page).write(1);
            assert!(os.backing(at, &mut backed));
            assert_eq!(backed.map(|b| b & 1), [0, 0, 1, 0]);
            os.release(at, 4 * page);
        }
    }
}
