//! Emission for RISC-V: R-type instructions of custom-0 with the function code as `funct7`.
//!
//! The operands are always `a0`, the calling convention's first argument and result, and `rs2` is
//! `x0`.

use super::encoding::Function;

/// Emits one instruction and yields what it wrote to `a0`.
macro_rules! instruction {
    ($function:expr, $operand:expr) => {
        instruction!($function, $operand, usize)
    };
    ($function:expr, $operand:expr, $result:ty) => {{
        let result: $result;
        core::arch::asm!(
            ".insn r CUSTOM_0, 0, {code}, a0, a0, x0",
            code = const $function.code() as u32,
            in("a0") $operand,
            lateout("a0") result,
            // Memory is not claimed untouched, so that no access to an object moves across its
            // allocation or its free.
            options(nostack)
        );
        result
    }};
}

/// `memento-id`: the identification word.
///
/// # Safety
/// The CPU has the extension, or software emulates it.
#[inline]
pub unsafe fn identify() -> u64 {
    // SAFETY: the caller vouches that the instruction is executed or emulated; either way it
    // writes `a0` only.
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
