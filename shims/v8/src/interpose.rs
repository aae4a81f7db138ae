//! The four calls under the C library's names, and how they know that V8 is there.

use crate::calls;
use crate::pages::V8Pages;
use core::ffi::{c_int, c_void};

// The address of `v8::V8::GetVersion()`, 0 in a process without V8: a weak reference, so that nothing
// is needed in other programs. A pointer in relocated read-only data is the form that every
// architecture has.
core::arch::global_asm!(
    ".pushsection .data.rel.ro.memento_v8, \"aw\", @progbits",
    ".balign 8",
    ".weak _ZN2v82V810GetVersionEv",
    ".hidden memento_v8_get_version",
    ".globl memento_v8_get_version",
    "memento_v8_get_version:",
    ".quad _ZN2v82V810GetVersionEv",
    ".popsection",
);

unsafe extern "C" {
    /// The word above.
    static memento_v8_get_version: usize;
}

/// Whether V8 is in this process.
#[inline]
pub fn v8_is_here() -> bool {
    // SAFETY: defined above; the loader writes it before any code of ours runs, and nobody later.
    unsafe { memento_v8_get_version != 0 }
}

/// Exports `mmap`, `mmap64`, `munmap`, `mprotect` and `madvise` from a shared object, with the pages that
/// serve V8 in `static $pages`.
#[macro_export]
macro_rules! export_mapping_calls {
    ($pages:ident) => {
        /// The pages of V8's heap.
        static $pages: $crate::V8Pages = $crate::V8Pages::new();

        /// The C library's names. Safety of all of these: as the C library's.
        mod mapping_calls {
            use super::$pages as PAGES;
            use core::ffi::{c_int, c_void};

            #[unsafe(no_mangle)]
            unsafe extern "C" fn mmap(
                at: *mut c_void,
                bytes: usize,
                prot: c_int,
                flags: c_int,
                file: c_int,
                offset: i64,
            ) -> *mut c_void {
                // SAFETY: the contract of `mmap`.
                unsafe { $crate::mmap(&PAGES, at, bytes, prot, flags, file, offset) }
            }

            #[unsafe(no_mangle)]
            unsafe extern "C" fn mmap64(
                at: *mut c_void,
                bytes: usize,
                prot: c_int,
                flags: c_int,
                file: c_int,
                offset: i64,
            ) -> *mut c_void {
                // SAFETY: the contract of `mmap`, which is the same on 64-bit systems.
                unsafe { $crate::mmap(&PAGES, at, bytes, prot, flags, file, offset) }
            }

            #[unsafe(no_mangle)]
            unsafe extern "C" fn munmap(at: *mut c_void, bytes: usize) -> c_int {
                // SAFETY: the contract of `munmap`.
                unsafe { $crate::munmap(&PAGES, at, bytes) }
            }

            #[unsafe(no_mangle)]
            unsafe extern "C" fn mprotect(at: *mut c_void, bytes: usize, prot: c_int) -> c_int {
                // SAFETY: the contract of `mprotect`.
                unsafe { $crate::mprotect(&PAGES, at, bytes, prot) }
            }

            #[unsafe(no_mangle)]
            unsafe extern "C" fn madvise(at: *mut c_void, bytes: usize, advice: c_int) -> c_int {
                // SAFETY: the contract of `madvise`.
                unsafe { $crate::madvise(&PAGES, at, bytes, advice) }
            }
        }
    };
}

/// `mmap` where V8 may be.
///
/// # Safety
/// As the C library's.
#[inline]
pub unsafe fn mmap(
    pages: &V8Pages,
    at: *mut c_void,
    bytes: usize,
    prot: c_int,
    flags: c_int,
    file: c_int,
    offset: i64,
) -> *mut c_void {
    // SAFETY: the caller's promise. Most mappings leave the address open; V8's heap never does.
    unsafe {
        if at.is_null() || !v8_is_here() {
            return calls::mmap(at, bytes, prot, flags, file, offset);
        }
        pages.mmap(at, bytes, prot, flags, file, offset)
    }
}

/// `munmap` where V8 may be.
///
/// # Safety
/// As the C library's.
#[inline]
pub unsafe fn munmap(pages: &V8Pages, at: *mut c_void, bytes: usize) -> c_int {
    // SAFETY: the caller's promise. Without V8 there is no range, and nothing is cut off.
    unsafe { pages.munmap(at, bytes) }
}

/// `mprotect` where V8 may be.
///
/// # Safety
/// As the C library's.
#[inline]
pub unsafe fn mprotect(pages: &V8Pages, at: *mut c_void, bytes: usize, prot: c_int) -> c_int {
    // SAFETY: the caller's promise. Without V8 there is no range.
    unsafe { pages.mprotect(at, bytes, prot) }
}

/// `madvise` where V8 may be.
///
/// # Safety
/// As the C library's.
#[inline]
pub unsafe fn madvise(pages: &V8Pages, at: *mut c_void, bytes: usize, advice: c_int) -> c_int {
    // SAFETY: the caller's promise. Without V8 there is no range.
    unsafe { pages.madvise(at, bytes, advice) }
}
