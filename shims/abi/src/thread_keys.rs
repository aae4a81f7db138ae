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

/// The answer without the functions: no key.
const EAGAIN: i32 = 11;

#[cfg(target_arch = "x86_64")]
macro_rules! oldest {
    () => {
        "GLIBC_2.2.5"
    };
}
#[cfg(target_arch = "aarch64")]
macro_rules! oldest {
    () => {
        "GLIBC_2.17"
    };
}

/// One function: a word with its address or 0, and the jump.
macro_rules! forward {
    ($name:literal, $jump:expr) => {
        core::arch::global_asm!(
            concat!(".symver memento_oldest_", $name, ", ", $name, "@", oldest!()),
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
            $jump,
            concat!(".size ", $name, ", . - ", $name),
            ".popsection",
            none = const EAGAIN,
        );
    };
}

/// The jump, or the answer without the function.
#[cfg(target_arch = "x86_64")]
macro_rules! jump {
    ($name:literal) => {
        forward!(
            $name,
            concat!(
                "mov rax, qword ptr [rip + memento_",
                $name,
                "]\n",
                "test rax, rax\n",
                "jz 2f\n",
                "jmp rax\n",
                "2: mov eax, {none}\n",
                "ret"
            )
        );
    };
}
#[cfg(target_arch = "aarch64")]
macro_rules! jump {
    ($name:literal) => {
        forward!(
            $name,
            concat!(
                "adrp x16, memento_",
                $name,
                "\n",
                "ldr x16, [x16, :lo12:memento_",
                $name,
                "]\n",
                "cbz x16, 2f\n",
                "br x16\n",
                "2: mov w0, #{none}\n",
                "ret"
            )
        );
    };
}

jump!("pthread_key_create");
jump!("pthread_key_delete");
jump!("pthread_setspecific");
