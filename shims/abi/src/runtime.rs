//! What the macros' expansions need at run time, and what every shared object must bring.

pub use core::arch::naked_asm;
pub use core::ffi::{c_char, c_int, c_void};

/// One line on stderr, then death by `SIGABRT`. Formats nothing and allocates nothing.
#[cold]
pub fn die(line: &[u8]) -> ! {
    write_stderr(line);
    // SAFETY: abort has no preconditions.
    unsafe { libc::abort() }
}

/// Writes to stderr with one system call, so that lines of several threads do not mix. A short or
/// failed write is not repeated: there is nobody to tell.
pub fn write_stderr(text: &[u8]) {
    // SAFETY: the range is a slice.
    unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
}

/// Writes `text` to a stdio stream; 0, or -1 as `fwrite` fails.
///
/// # Safety
/// `stream` is an open stream.
pub unsafe fn write_stream(stream: *mut libc::FILE, text: &[u8]) -> c_int {
    // SAFETY: the range is a slice, the stream is the caller's promise.
    let written = unsafe { libc::fwrite(text.as_ptr().cast(), 1, text.len(), stream) };
    if written == text.len() { 0 } else { -1 }
}

/// Ends the process when `operator new` has no memory and the program has no libstdc++ to throw
/// with.
///
/// The C++ forms jump here from assembly.
pub extern "C" fn no_bad_alloc() -> ! {
    die(b"memento: operator new: out of memory, and no C++ library to throw std::bad_alloc\n")
}

// The addresses of the C++ library's functions that `cxx.rs` needs, 0 where the program has none: weak
// references, so that nothing is linked for programs that are not C++. A pointer in relocated
// read-only data is the form that every architecture has.
core::arch::global_asm!(
    ".pushsection .data.rel.ro.memento_cxx, \"aw\", @progbits",
    ".balign 8",
    ".weak _ZSt15get_new_handlerv",
    ".weak _ZSt17__throw_bad_allocv",
    ".weak __cxa_begin_catch",
    ".weak __cxa_end_catch",
    ".weak __gxx_personality_v0",
    ".hidden memento_cxx_get_new_handler",
    ".globl memento_cxx_get_new_handler",
    "memento_cxx_get_new_handler:",
    ".quad _ZSt15get_new_handlerv",
    ".hidden memento_cxx_throw_bad_alloc",
    ".globl memento_cxx_throw_bad_alloc",
    "memento_cxx_throw_bad_alloc:",
    ".quad _ZSt17__throw_bad_allocv",
    ".hidden memento_cxx_begin_catch",
    ".globl memento_cxx_begin_catch",
    "memento_cxx_begin_catch:",
    ".quad __cxa_begin_catch",
    ".hidden memento_cxx_end_catch",
    ".globl memento_cxx_end_catch",
    "memento_cxx_end_catch:",
    ".quad __cxa_end_catch",
    ".hidden memento_cxx_personality",
    ".globl memento_cxx_personality",
    "memento_cxx_personality:",
    ".quad __gxx_personality_v0",
    ".popsection",
);

/// Defines what the start files would have. `pthread_atfork` names its caller's object by this address; only
/// the address counts.
#[doc(hidden)]
#[macro_export]
macro_rules! __dso_handle {
    () => {
        core::arch::global_asm!(
            ".pushsection .rodata.memento_dso_handle, \"a\", @progbits",
            ".balign 8",
            ".hidden __dso_handle",
            ".globl __dso_handle",
            "__dso_handle:",
            ".quad 0",
            ".popsection",
        );
    };
}

/// Nothing on the allocator's paths panics; if it does all the same, say so and stop.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    die(b"memento: internal error: panic\n")
}
