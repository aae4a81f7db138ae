//! The malloc family and memento's own entry points.

/// Exports the malloc family, the C++ operators and memento's own functions for one heap.
///
/// ```ignore
/// memento_shim_abi::export!(Memento<Soft> = Memento::new());
/// ```
///
/// `at_invocation_end: || …` behind it is what `memento_invocation_end` does besides.
#[macro_export]
macro_rules! export {
    ($heap:ty = $new:expr $(, at_invocation_end: $end:expr)?) => {
        $crate::__export_names!($heap = $new $(, at_invocation_end: $end)?);
        $crate::__dso_handle!();
        $crate::__thread_keys!("pthread_key_create" "pthread_key_delete" "pthread_setspecific");
    };
}

/// [`export!`] for a static library, which is bound to the C library of the program that it is linked into.
#[macro_export]
macro_rules! export_static {
    ($heap:ty = $new:expr) => {
        $crate::__export_names!($heap = $new);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_names {
    ($heap:ty = $new:expr $(, at_invocation_end: $end:expr)?) => {
        /// The one heap of the process.
        static HEAP: $heap = $new;

        /// The C names. Each forwards; what they mean is `memento_alloc::c`'s.
        mod malloc_family {
            use super::HEAP;
            use $crate::memento_alloc::{c, c_report};
            use $crate::runtime::{c_int, c_void, write_stderr, write_stream};

            $crate::__export_malloc_family!();
        }

        /// Gives back what an invocation left behind; see `memento.h`.
        #[unsafe(no_mangle)]
        extern "C" fn memento_invocation_end() {
            $crate::memento_alloc::c::Heap::invocation_end(&HEAP);
            $(($end)();)?
        }

        $crate::__export_operators!();
    };
}

/// Runs an expression when the object is loaded, before the program's own constructors; for the
/// instrumented objects, whose report file proves that they were loaded. The plain object has no
/// constructor, because every process would pay for it.
#[macro_export]
macro_rules! at_load {
    ($run:expr) => {
        /// Called by the loader.
        extern "C" fn at_load() {
            $run
        }

        /// The loader's list of functions to call.
        #[used]
        #[unsafe(link_section = ".init_array")]
        static AT_LOAD: extern "C" fn() = at_load;
    };
}

/// Runs an expression when the process ends through `exit`, after the program's own handlers.
#[macro_export]
macro_rules! at_end {
    ($run:expr) => {
        /// Called by the loader.
        extern "C" fn at_end() {
            $run
        }

        /// The loader's list of functions to call.
        #[used]
        #[unsafe(link_section = ".fini_array")]
        static AT_END: extern "C" fn() = at_end;
    };
}

/// Safety of all of these: the C standard's contract of the function of that name.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_malloc_family {
    () => {
        #[unsafe(no_mangle)]
        extern "C" fn malloc(size: usize) -> *mut c_void {
            c::malloc(&HEAP, size)
        }

        #[unsafe(no_mangle)]
        extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
            c::calloc(&HEAP, count, size)
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn free(object: *mut c_void) {
            // SAFETY: C's contract of `free`.
            unsafe { c::free(&HEAP, object) }
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn cfree(object: *mut c_void) {
            // SAFETY: `cfree` is an old name of `free`.
            unsafe { c::free(&HEAP, object) }
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn free_sized(object: *mut c_void, size: usize) {
            // SAFETY: C23's contract of `free_sized`.
            unsafe { c::free_sized(&HEAP, object, size) }
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn free_aligned_sized(object: *mut c_void, align: usize, size: usize) {
            // SAFETY: C23's contract of `free_aligned_sized`.
            unsafe { c::free_aligned_sized(&HEAP, object, align, size) }
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn realloc(object: *mut c_void, size: usize) -> *mut c_void {
            // SAFETY: C's contract of `realloc`.
            unsafe { c::realloc(&HEAP, object, size) }
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn reallocarray(
            object: *mut c_void,
            count: usize,
            size: usize,
        ) -> *mut c_void {
            // SAFETY: the contract of `reallocarray` is that of `realloc`.
            c::reallocarray(count, size, |bytes| unsafe { realloc(object, bytes) })
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn posix_memalign(
            out: *mut *mut c_void,
            align: usize,
            size: usize,
        ) -> c_int {
            // SAFETY: POSIX's contract: `out` is writable.
            unsafe { c::posix_memalign(&HEAP, out, align, size) }
        }

        #[unsafe(no_mangle)]
        extern "C" fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
            c::aligned_alloc(&HEAP, align, size)
        }

        #[unsafe(no_mangle)]
        extern "C" fn memalign(align: usize, size: usize) -> *mut c_void {
            c::memalign(&HEAP, align, size)
        }

        #[unsafe(no_mangle)]
        extern "C" fn valloc(size: usize) -> *mut c_void {
            c::valloc(&HEAP, size)
        }

        #[unsafe(no_mangle)]
        extern "C" fn pvalloc(size: usize) -> *mut c_void {
            c::pvalloc(&HEAP, size)
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn malloc_usable_size(object: *mut c_void) -> usize {
            // SAFETY: the caller's object is live or null.
            unsafe { c::malloc_usable_size(&HEAP, object) }
        }

        #[unsafe(no_mangle)]
        extern "C" fn malloc_trim(_pad: usize) -> c_int {
            c::malloc_trim(&HEAP)
        }

        #[unsafe(no_mangle)]
        extern "C" fn mallopt(_parameter: c_int, _value: c_int) -> c_int {
            c::mallopt()
        }

        #[unsafe(no_mangle)]
        extern "C" fn mallinfo2() -> c_report::Mallinfo2 {
            c_report::mallinfo2(&HEAP)
        }

        #[unsafe(no_mangle)]
        extern "C" fn mallinfo() -> c_report::Mallinfo {
            c_report::mallinfo(&HEAP)
        }

        #[unsafe(no_mangle)]
        extern "C" fn malloc_stats() {
            write_stderr(c_report::malloc_stats(&HEAP).as_bytes());
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn malloc_info(_options: c_int, stream: *mut c_void) -> c_int {
            // SAFETY: glibc's contract of `malloc_info`: an open stream.
            unsafe { write_stream(stream.cast(), c_report::malloc_info(&HEAP).as_bytes()) }
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn memento_stats_json(buffer: *mut u8, bytes: usize) -> usize {
            // SAFETY: `memento.h`: the buffer holds that many bytes, or is null with 0.
            unsafe { c::stats_json(buffer, bytes, |text| HEAP.stats().to_json(text)) }
        }
    };
}
