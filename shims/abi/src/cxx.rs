//! C++'s replaceable `operator new` and `operator delete`, all of them.
//!
//! When there is no memory, C++ asks for more than null: `operator new` calls the program's
//! `new_handler` and tries again as long as there is one, then throws `std::bad_alloc`. Both the
//! handler and the throw unwind, and no Rust frame may be on the stack then. So what takes more than
//! an object that is at hand is assembly around Rust calls, to which the fast path jumps: it is a Rust
//! function whose last act is that call, so that an optimising build leaves no frame of it. The tests
//! throw through it, and count its instructions.
//!
//! A program may replace some forms and not others; C++ defines the others by the plain ones. So
//! sized and array forms jump to the plain form that the program sees, its own or ours, and what one
//! of them allocated the other can free.
//!
//! The `nothrow` forms turn what the handler throws into null, as the standard asks: their slow
//! path carries a catch-all in the form in which a C++ compiler would have written it.

/// Exports operators that are other functions of this crate.
#[cfg(target_arch = "x86_64")]
#[doc(hidden)]
#[macro_export]
macro_rules! __operator_new {
    ($($name:ident $own:ident;)*) => {$(
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn $name() -> *mut c_void {
            naked_asm!(
                // A second name that nobody can replace, to tell whether somebody did.
                concat!(".globl memento_own_", stringify!($name)),
                concat!(".hidden memento_own_", stringify!($name)),
                concat!("memento_own_", stringify!($name), ":"),
                "jmp {own}",
                own = sym $own,
            )
        }
    )*};
}

/// The throwing forms' slow paths: `rdi`, `rsi` are the request's size and alignment.
#[cfg(target_arch = "x86_64")]
#[doc(hidden)]
#[macro_export]
macro_rules! __operator_new_slow {
    ($($name:ident $attempt:ident;)*) => {$(
        /// Tries, and as long as there is no memory, calls the new-handler and tries again; throws if there
        /// is none.
        #[cold]
        #[unsafe(naked)]
        unsafe extern "C" fn $name(size: usize, align: usize) -> *mut c_void {
            naked_asm!(
                ".cfi_startproc",
                "push rbx",
                ".cfi_adjust_cfa_offset 8",
                ".cfi_rel_offset rbx, 0",
                "push r12",
                ".cfi_adjust_cfa_offset 8",
                ".cfi_rel_offset r12, 0",
                "sub rsp, 8",
                ".cfi_adjust_cfa_offset 8",
                "mov rbx, rdi",
                "mov r12, rsi",
                "call {attempt}",
                "2:",
                "test rax, rax",
                "jne 4f",
                "mov rax, qword ptr [rip + memento_cxx_get_new_handler]",
                "test rax, rax",
                "je 3f",
                "call rax",
                "test rax, rax",
                "je 3f",
                "call rax",
                "mov rdi, rbx",
                "mov rsi, r12",
                "call {attempt}",
                "jmp 2b",
                "3:",
                "mov rax, qword ptr [rip + memento_cxx_throw_bad_alloc]",
                "test rax, rax",
                "je 5f",
                "call rax",
                "4:",
                "add rsp, 8",
                ".cfi_remember_state",
                ".cfi_adjust_cfa_offset -8",
                "pop r12",
                ".cfi_adjust_cfa_offset -8",
                ".cfi_restore r12",
                "pop rbx",
                ".cfi_adjust_cfa_offset -8",
                ".cfi_restore rbx",
                "ret",
                ".cfi_restore_state",
                "5:",
                "call {no_bad_alloc}",
                ".cfi_endproc",
                attempt = sym $attempt,
                no_bad_alloc = sym $crate::runtime::no_bad_alloc,
            )
        }
    )*};
}

/// Exports every replaceable operator for the expanding crate's `HEAP`.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_operators {
    () => {
        /// The C++ names, by the Itanium ABI's mangling of 64-bit targets.
        #[allow(non_snake_case)]
        mod operators {
            use super::HEAP;
            use $crate::memento_alloc::c;
            use $crate::runtime::{c_void, naked_asm};

            extern "C" fn attempt(size: usize) -> *mut c_void {
                c::operator_new(&HEAP, size)
            }

            extern "C" fn attempt_aligned(size: usize, align: usize) -> *mut c_void {
                c::operator_new_aligned(&HEAP, size, align)
            }

            $crate::__operator_new_slow! {
                slow attempt;
                slow_aligned attempt_aligned;
            }
            $crate::__operator_new_nothrow_slow! {
                slow_nothrow attempt;
                slow_nothrow_aligned attempt_aligned;
            }

            /// The throwing form. Its last act is to jump.
            extern "C" fn plain(size: usize) -> *mut c_void {
                let object = c::at_hand(&HEAP, size);
                // SAFETY: the slow path takes any size.
                if object.is_null() { unsafe { slow(size, 0) } } else { object }
            }

            /// The same that gives null.
            extern "C" fn nothrow(size: usize) -> *mut c_void {
                let object = c::at_hand(&HEAP, size);
                // SAFETY: as above.
                if object.is_null() { unsafe { slow_nothrow(size, 0) } } else { object }
            }

            $crate::__operator_new! {
                _Znwm plain;
                _ZnwmSt11align_val_t slow_aligned;
            }
            $crate::__operator_new_nothrow! {
                _ZnwmRKSt9nothrow_t nothrow "_Znwm";
                _ZnamRKSt9nothrow_t nothrow "_Znwm";
                _ZnwmSt11align_val_tRKSt9nothrow_t slow_nothrow_aligned "_ZnwmSt11align_val_t";
                _ZnamSt11align_val_tRKSt9nothrow_t slow_nothrow_aligned "_ZnwmSt11align_val_t";
            }
            $crate::__operator_by_another! {
                _Znam "_Znwm";
                _ZnamSt11align_val_t "_ZnwmSt11align_val_t";
                _ZdlPvm "_ZdlPv";
                _ZdaPv "_ZdlPv";
                _ZdaPvm "_ZdlPv";
                _ZdlPvRKSt9nothrow_t "_ZdlPv";
                _ZdaPvRKSt9nothrow_t "_ZdlPv";
                _ZdlPvmSt11align_val_t "_ZdlPvSt11align_val_t";
                _ZdaPvSt11align_val_t "_ZdlPvSt11align_val_t";
                _ZdaPvmSt11align_val_t "_ZdlPvSt11align_val_t";
                _ZdlPvSt11align_val_tRKSt9nothrow_t "_ZdlPvSt11align_val_t";
                _ZdaPvSt11align_val_tRKSt9nothrow_t "_ZdlPvSt11align_val_t";
            }

            #[unsafe(no_mangle)]
            unsafe extern "C" fn _ZdlPv(object: *mut c_void) {
                // SAFETY: C++'s contract: null, or from `operator new`.
                unsafe { c::free(&HEAP, object) }
            }

            #[unsafe(no_mangle)]
            unsafe extern "C" fn _ZdlPvSt11align_val_t(object: *mut c_void, _align: usize) {
                // SAFETY: C++'s contract: null, or from the aligned `operator new`.
                unsafe { c::free(&HEAP, object) }
            }
        }
    };
}

/// Forms that do what another does, with the same first arguments: they jump to the one that the
/// program sees.
#[doc(hidden)]
#[macro_export]
macro_rules! __operator_by_another {
    ($($name:ident $other:literal;)*) => {$(
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            naked_asm!(concat!("jmp qword ptr [rip + ", $other, "@GOTPCREL]"))
        }
    )*};
}

/// The nothrow forms: ours, or if the program replaced the plain form then that one, which throws
/// where this should give null.
#[doc(hidden)]
#[macro_export]
macro_rules! __operator_new_nothrow {
    ($($name:ident $own:ident $plain:literal;)*) => {$(
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn $name() -> *mut c_void {
            naked_asm!(
                concat!("mov rax, qword ptr [rip + ", $plain, "@GOTPCREL]"),
                concat!("lea rcx, [rip + memento_own_", $plain, "]"),
                "cmp rax, rcx",
                "je {own}",
                "jmp rax",
                own = sym $own,
            )
        }
    )*};
}

/// As `__operator_new_slow`, for the `nothrow` forms: no handler gives null, and so does an
/// exception of the handler.
#[cfg(target_arch = "x86_64")]
#[doc(hidden)]
#[macro_export]
macro_rules! __operator_new_nothrow_slow {
    ($($name:ident $attempt:ident;)*) => {$(
        /// Tries, and as long as there is no memory, calls the new-handler and tries again; null if there
        /// is none or it throws.
        #[cold]
        #[unsafe(naked)]
        unsafe extern "C" fn $name(size: usize, align: usize) -> *mut c_void {
            naked_asm!(
                ".cfi_startproc",
                // 0x9b: a pc-relative 4-byte offset to a pointer, as in code for shared objects.
                ".cfi_personality 0x9b, memento_cxx_personality",
                // 0x1b: a pc-relative 4-byte offset.
                concat!(".cfi_lsda 0x1b, .Lmemento_lsda_", stringify!($name)),
                "20:",
                "push rbx",
                ".cfi_adjust_cfa_offset 8",
                ".cfi_rel_offset rbx, 0",
                "push r12",
                ".cfi_adjust_cfa_offset 8",
                ".cfi_rel_offset r12, 0",
                "sub rsp, 8",
                ".cfi_adjust_cfa_offset 8",
                "mov rbx, rdi",
                "mov r12, rsi",
                "call {attempt}",
                "2:",
                "test rax, rax",
                "jne 4f",
                "mov rax, qword ptr [rip + memento_cxx_get_new_handler]",
                "test rax, rax",
                "je 4f",
                "call rax",
                "test rax, rax",
                "je 4f",
                "21:",
                "call rax",
                "22:",
                "mov rdi, rbx",
                "mov rsi, r12",
                "call {attempt}",
                "jmp 2b",
                "4:",
                "add rsp, 8",
                ".cfi_remember_state",
                ".cfi_adjust_cfa_offset -8",
                "pop r12",
                ".cfi_adjust_cfa_offset -8",
                ".cfi_restore r12",
                "pop rbx",
                ".cfi_adjust_cfa_offset -8",
                ".cfi_restore rbx",
                "ret",
                ".cfi_restore_state",
                // The unwinder comes here with the exception in rax.
                "23:",
                "mov rdi, rax",
                "call qword ptr [rip + memento_cxx_begin_catch]",
                "call qword ptr [rip + memento_cxx_end_catch]",
                "xor eax, eax",
                "jmp 4b",
                ".cfi_endproc",
                // The language-specific data: one call may throw, and everything is caught.
                ".pushsection .gcc_except_table, \"a\", @progbits",
                ".balign 4",
                concat!(".Lmemento_lsda_", stringify!($name), ":"),
                ".byte 0xff",             // landing pads are relative to the function
                ".byte 0x0b",             // types: 4 bytes, signed
                ".uleb128 93f - 91f",     // from here to the end of the types
                "91:",
                ".byte 0x01",             // call sites: uleb128
                ".uleb128 95f - 92f",
                "92:",
                ".uleb128 21b - 20b",     // the handler's call:
                ".uleb128 22b - 21b",     // its length,
                ".uleb128 23b - 20b",     // where its exceptions land,
                ".uleb128 1",             // with the first action
                "95:",
                ".byte 1",                // catch the first type,
                ".byte 0",                // and nothing after it
                ".balign 4",
                ".long 0",                // the first type: any
                "93:",
                ".popsection",
                attempt = sym $attempt,
            )
        }
    )*};
}
