//! The thread-key functions under the version that they have had since the first glibc of each
//! architecture.
//!
//! They moved from libpthread into libc with glibc 2.34, and a linker on such a system binds them as of
//! that version: the shared object would then load nowhere else, though nothing in the functions
//! changed. Here the plain names, by which `memento-alloc` calls them, are hidden jumps to the oldest version, which
//! new systems still have. The references are weak: on an older glibc, a program that was not linked
//! with libpthread has no threads, and no such functions; then no key can be had, which the caller
//! takes as from a system whose keys are used up.
//!
//! The functions of a `libpthread` that is loaded later, by `dlopen`, are not found. The threads of
//! such a program keep what they hold when they end.
//!
//! For shared objects only: in a static library the hidden names would be taken for the whole program's.

/// The version that the functions have had from the start.
#[cfg(target_arch = "x86_64")]
#[doc(hidden)]
#[macro_export]
macro_rules! __oldest_version {
    () => {
        "GLIBC_2.2.5"
    };
}
/// The version that the functions have had from the start.
#[cfg(target_arch = "aarch64")]
#[doc(hidden)]
#[macro_export]
macro_rules! __oldest_version {
    () => {
        "GLIBC_2.17"
    };
}

/// A jump to the function whose address is in the word, or the answer `EAGAIN`, that no key can be had.
#[cfg(target_arch = "x86_64")]
#[doc(hidden)]
#[macro_export]
macro_rules! __jump_through {
    ($word:expr) => {
        concat!(
            "mov rax, qword ptr [rip + ",
            $word,
            "]\n",
            "test rax, rax\n",
            "jz 2f\n",
            "jmp rax\n",
            "2: mov eax, 11\n",
            "ret"
        )
    };
}
/// A jump to the function whose address is in the word, or the answer `EAGAIN`, that no key can be had.
#[cfg(target_arch = "aarch64")]
#[doc(hidden)]
#[macro_export]
macro_rules! __jump_through {
    ($word:expr) => {
        concat!(
            "adrp x16, ",
            $word,
            "\n",
            "ldr x16, [x16, :lo12:",
            $word,
            "]\n",
            "cbz x16, 2f\n",
            "br x16\n",
            "2: mov w0, #11\n",
            "ret"
        )
    };
}

/// Defines the functions of these names: a word with the address or 0, and the jump.
#[doc(hidden)]
#[macro_export]
macro_rules! __thread_keys {
    ($($name:literal)*) => {$(
        core::arch::global_asm!(
            concat!(".symver memento_oldest_", $name, ", ", $name, "@", $crate::__oldest_version!()),
            concat!(".weak memento_oldest_", $name),
            ".pushsection .data.rel.ro.memento_thread_keys, \"aw\", @progbits",
            ".balign 8",
            concat!("memento_", $name, ":"),
            concat!(".quad memento_oldest_", $name),
            ".popsection",
            concat!(".pushsection .text.memento_", $name, ", \"ax\", @progbits"),
            concat!(".hidden ", $name),
            concat!(".globl ", $name),
            concat!(".type ", $name, ", @function"),
            concat!($name, ":"),
            $crate::__jump_through!(concat!("memento_", $name)),
            concat!(".size ", $name, ", . - ", $name),
            ".popsection",
        );
    )*};
}
