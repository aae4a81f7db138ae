//! Emission for x86-64: UD1 with a register operand pair and the function code as displacement.
//!
//! Every site is eight bytes at a multiple of eight, the operands are always `rdi` and `rax` (the
//! C calling convention's first argument and result), and its address is noted in the linker
//! section `memento_sites`, so that it can be patched before it ever traps.

use super::encoding::{Function, X86_SIGNATURE};

/// Emits one instruction, lists its site, and yields what the instruction wrote to `rax`.
macro_rules! instruction {
    ($function:expr, $operand:expr) => {
        instruction!($function, $operand, usize)
    };
    ($function:expr, $operand:expr, $result:ty) => {{
        let result: $result;
        core::arch::asm!(
            ".p2align 3",
            "770:",
            ".byte 0x48, 0x0f, 0xb9, 0x87",
            ".long {code}",
            // `?` puts the entry into the function's section group, if it has one, so that the
            // linker drops both together; `R` keeps it where sections are collected, although only
            // the `__start_` symbol refers to it.
            ".pushsection memento_sites, \"aR?\", @progbits",
            ".p2align 2",
            ".long 770b - .",
            ".popsection",
            code = const X86_SIGNATURE | $function.code() as u32,
            in("rdi") $operand,
            lateout("rax") result,
            // The instruction changes nothing but `rax`; memory is not claimed untouched, so that
            // no access to an object moves across its allocation or its free.
            options(nostack, preserves_flags)
        );
        result
    }};
}

/// `memento-id`: the identification word.
///
/// # Safety
/// The CPU has the extension, or the handler of [`super::trap`] is in place.
#[inline]
pub unsafe fn identify() -> u64 {
    // SAFETY: the caller vouches that the instruction is executed or emulated; either way it
    // writes `rax` only.
    unsafe { instruction!(Function::Identify, 0usize) as u64 }
}

/// `obj-alloc`: an object of `size` bytes, or null. `size` is the size of the class:
/// rounded up for alignment by the caller.
///
/// # Safety
/// As [`identify`].
#[inline]
pub unsafe fn obj_alloc(size: usize) -> *mut u8 {
    // SAFETY: as in `identify`.
    unsafe { instruction!(Function::ObjAlloc, size, *mut u8) }
}

/// `obj-free`: frees the object at `va` and returns the fault code, 0 for none.
///
/// # Safety
/// As [`identify`]; and nobody uses the object afterwards.
#[inline]
pub unsafe fn obj_free(va: *mut u8) -> usize {
    // SAFETY: as in `identify`.
    unsafe { instruction!(Function::ObjFree, va) }
}

/// `read-mrs`: first address of the region.
///
/// # Safety
/// As [`identify`].
#[inline]
pub unsafe fn region_start() -> usize {
    // SAFETY: as in `identify`.
    unsafe { instruction!(Function::ReadRegionStart, 0usize) }
}

/// `read-mre`: first address after the region.
///
/// # Safety
/// As [`identify`].
#[inline]
pub unsafe fn region_end() -> usize {
    // SAFETY: as in `identify`.
    unsafe { instruction!(Function::ReadRegionEnd, 0usize) }
}

/// The listed sites of the executable or shared object that contains this code.
pub(super) fn listed_sites() -> impl Iterator<Item = usize> {
    let start: *const i32;
    let stop: *const i32;
    // SAFETY: the linker defines both symbols around the section of this very image; hidden, so
    // that another image's symbols of the same name are never meant. The empty `pushsection`
    // makes the section exist in this object file even if no instruction was emitted into it.
    unsafe {
        core::arch::asm!(
            ".pushsection memento_sites, \"aR\", @progbits",
            ".popsection",
            ".hidden __start_memento_sites",
            ".hidden __stop_memento_sites",
            "lea {start}, [rip + __start_memento_sites]",
            "lea {stop}, [rip + __stop_memento_sites]",
            start = out(reg) start,
            stop = out(reg) stop,
            options(nostack, preserves_flags, nomem, pure)
        );
    }
    let entries = (stop as usize - start as usize) / size_of::<i32>();
    (0..entries).map(move |index| {
        // SAFETY: `index` is below the number of entries between the two symbols.
        let entry = unsafe { start.add(index) };
        // SAFETY: as above; the section is read-only data that was written by the linker.
        let offset = unsafe { entry.read() };
        (entry as usize).wrapping_add_signed(offset as isize)
    })
}
