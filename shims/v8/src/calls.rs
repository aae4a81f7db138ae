//! The system calls behind the interposed functions, by number: their names are ours.

use core::ffi::{c_int, c_long, c_void};

/// `mmap`.
///
/// # Safety
/// As the C library's.
pub unsafe fn mmap(
    at: *mut c_void,
    bytes: usize,
    prot: c_int,
    flags: c_int,
    file: c_int,
    offset: i64,
) -> *mut c_void {
    // SAFETY: the caller's promise. The C library's function adds nothing where a page has 4 KiB
    // or `offset` is a multiple of the page size, which the kernel checks.
    let mapped = unsafe {
        libc::syscall(
            libc::SYS_mmap,
            at,
            bytes,
            c_long::from(prot),
            c_long::from(flags),
            c_long::from(file),
            offset,
        )
    };
    core::ptr::with_exposed_provenance_mut(mapped as usize)
}

/// `munmap`.
///
/// # Safety
/// As the C library's.
pub unsafe fn munmap(at: *mut c_void, bytes: usize) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_munmap, at, bytes) as c_int }
}

/// `mprotect`.
///
/// # Safety
/// As the C library's.
pub unsafe fn mprotect(at: *mut c_void, bytes: usize, prot: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_mprotect, at, bytes, c_long::from(prot)) as c_int }
}

/// `madvise`.
///
/// # Safety
/// As the C library's.
pub unsafe fn madvise(at: *mut c_void, bytes: usize, advice: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_madvise, at, bytes, c_long::from(advice)) as c_int }
}

/// Which pages of a range have memory behind them, one byte each; `false` if that is not known.
///
/// # Safety
/// `backed` has a byte for each page of the range, which is mapped.
pub unsafe fn mincore(at: *mut c_void, bytes: usize, backed: &mut [u8]) -> bool {
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_mincore, at, bytes, backed.as_mut_ptr()) == 0 }
}
