//! From a stub to the device and back, with every register in its place.
//!
//! A trampoline, common to all stubs, saves every register and the flags, calls [`dispatch`] and
//! restores them, the destination register with the result in it.
//!
//! Every vector register is saved that the system has enabled. The device is Rust code for
//! baseline x86-64 and would itself only touch `xmm`, but it calls libc's `memcpy` and `memset`,
//! which use whatever the CPU has, up to `zmm` and the mask registers, and end in `vzeroupper`.
//! Saving fewer would corrupt a caller in the middle of AVX-512 code. Plain moves do it: XSAVE and
//! XRSTOR of the same registers take 160 ns where these take 20. What none of that code touches is
//! left alone: x87, tile registers, protection keys.

use super::encoding::{Function, Instruction};
use core::sync::atomic::{AtomicU8, Ordering};

/// Which vector registers there are, and so which trampoline serves: 0 until the first trap told,
/// then one of the constants.
static VECTORS: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const SSE: u8 = 1;
const AVX: u8 = 2;
const AVX512: u8 = 3;
/// Registers that no trampoline saves: sites keep trapping.
const UNSUPPORTED: u8 = 4;

/// The registers of the code around a patched site, as the trampoline pushes them.
#[derive(Debug)]
#[repr(C)]
struct Frame {
    /// By register number; the entry of `rsp` is meaningless.
    registers: [usize; 16],
    flags: usize,
    return_address: usize,
    descriptor: usize,
}

/// What the bytes at offset 464 of a signal's floating-point frame say.
#[repr(C)]
struct SoftwareBytes {
    /// `FP_XSTATE_MAGIC1` if the frame was written by XSAVE.
    magic: u32,
    extended_size: u32,
    /// State components that the system has enabled.
    features: u64,
}

/// Learns from a signal's context which vector registers the system has enabled, so that no CPUID
/// is needed on most CPUs.
///
/// # Safety
/// `state` is the `fpregs` of a context that the kernel passed to a signal handler, or null.
pub(super) unsafe fn learn_vectors(state: *const u8) {
    // Relaxed here and below: every thread learns the same.
    if state.is_null() || VECTORS.load(Ordering::Relaxed) != UNKNOWN {
        return;
    }
    // SAFETY: the kernel's floating-point frame is at least the 512 bytes of FXSAVE.
    let software = unsafe { state.add(464).cast::<SoftwareBytes>().read_unaligned() };
    VECTORS.store(vectors(&software, has_avx512bw), Ordering::Relaxed);
}

/// The constant for what `software` says. `has_bw` is asked only if the CPU has AVX-512.
fn vectors(software: &SoftwareBytes, has_bw: impl FnOnce() -> bool) -> u8 {
    const MAGIC: u32 = 0x4650_5853;
    const YMM: u64 = 1 << 2;
    const MASKS_AND_ZMM: u64 = 0b111 << 5;
    /// APX: sixteen more general registers.
    const APX: u64 = 1 << 19;
    let features = if software.magic == MAGIC { software.features } else { 0 };
    if features & APX != 0 {
        UNSUPPORTED
    } else if features & MASKS_AND_ZMM != 0 {
        // Without BW (Xeon Phi) mask registers have 16 bits and another move.
        if has_bw() { AVX512 } else { UNSUPPORTED }
    } else if features & YMM != 0 {
        AVX
    } else {
        SSE
    }
}

/// Whether the CPU has AVX-512BW; asked once, of CPUs with AVX-512, before the first stub.
fn has_avx512bw() -> bool {
    const BW: u32 = 1 << 30;
    core::arch::x86_64::__cpuid_count(7, 0).ebx & BW != 0
}

/// The word that a stub pushes to say which instruction it stands for.
pub(super) const fn descriptor(instruction: Instruction) -> [u8; 4] {
    [instruction.function.code(), instruction.rd, instruction.rs, 0]
}

/// Executes the instruction of a patched site.
///
/// # Safety
/// Called by the trampolines only, with the frame they pushed.
unsafe extern "sysv64" fn dispatch(frame: &mut Frame) {
    let [code, rd, rs, _] = (frame.descriptor as u32).to_le_bytes();
    let Some(function) = Function::from_code(code) else { return };
    let operand = frame.registers[rs as usize & 15];
    // SAFETY: the instruction's own contract: who executes `obj-free` gives the object up.
    let result =
        unsafe { super::device::execute(Instruction { function, rd, rs }, operand).unwrap_or(0) };
    frame.registers[rd as usize & 15] = result;
}

/// A trampoline: `$save` and `$restore` handle the vector registers in an area of `$bytes` bytes
/// at `rsp`, which is aligned to 64.
macro_rules! trampoline {
    ($(#[$doc:meta])* $name:ident, $bytes:expr, [$($save:literal),*], [$($restore:literal),*]) => {
        $(#[$doc])*
        #[unsafe(naked)]
        unsafe extern "sysv64" fn $name() {
            core::arch::naked_asm!(
                // Reached by an indirect call: a landing pad for indirect branch tracking.
                "endbr64",
                "pushfq",
                "cld",
                "push r15", "push r14", "push r13", "push r12",
                "push r11", "push r10", "push r9", "push r8",
                "push rdi", "push rsi", "push rbp", "push rsp",
                "push rbx", "push rdx", "push rcx", "push rax",
                "mov rbx, rsp",
                // 64 bytes above the vectors: MXCSR in the first.
                "sub rsp, {bytes} + 64",
                "and rsp, -64",
                "stmxcsr [rsp + {bytes}]",
                $($save,)*
                "mov rdi, rbx",
                "call {dispatch}",
                $($restore,)*
                // Loading it is slow, and it hardly ever changed.
                "stmxcsr [rsp + {bytes} + 4]",
                "mov eax, [rsp + {bytes}]",
                "cmp eax, [rsp + {bytes} + 4]",
                "je 2f",
                "ldmxcsr [rsp + {bytes}]",
                "2:",
                "mov rsp, rbx",
                "pop rax", "pop rcx", "pop rdx", "pop rbx",
                // The stack pointer's entry is passed over without touching the flags.
                "lea rsp, [rsp + 8]",
                "pop rbp", "pop rsi", "pop rdi",
                "pop r8", "pop r9", "pop r10", "pop r11",
                "pop r12", "pop r13", "pop r14", "pop r15",
                "popfq",
                "ret",
                bytes = const $bytes,
                dispatch = sym dispatch,
            )
        }
    };
}

trampoline!(
    /// `xmm0`–`xmm15`.
    sse_trampoline,
    16 * 16,
    [
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "movaps [rsp + 16 * \\n], xmm\\n",
        ".endr"
    ],
    [
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "movaps xmm\\n, [rsp + 16 * \\n]",
        ".endr"
    ]
);

trampoline!(
    /// `ymm0`–`ymm15`.
    avx_trampoline,
    16 * 32,
    [
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "vmovaps [rsp + 32 * \\n], ymm\\n",
        ".endr",
        // The device's SSE code is slow while upper halves are in use.
        "vzeroupper"
    ],
    [
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "vmovaps ymm\\n, [rsp + 32 * \\n]",
        ".endr"
    ]
);

trampoline!(
    /// `zmm0`–`zmm31` and `k0`–`k7`.
    avx512_trampoline,
    32 * 64 + 64,
    [
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
        "vmovaps [rsp + 64 * \\n], zmm\\n",
        ".endr",
        ".irp n, 0,1,2,3,4,5,6,7",
        "kmovq [rsp + 32 * 64 + 8 * \\n], k\\n",
        ".endr",
        "vzeroupper"
    ],
    [
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
        "vmovaps zmm\\n, [rsp + 64 * \\n]",
        ".endr",
        ".irp n, 0,1,2,3,4,5,6,7",
        "kmovq k\\n, [rsp + 32 * 64 + 8 * \\n]",
        ".endr"
    ]
);

/// The trampoline for this system; `None` before the first trap, or if there is none.
pub(super) fn trampoline() -> Option<usize> {
    Some(match VECTORS.load(Ordering::Relaxed) {
        SSE => sse_trampoline as *const () as usize,
        AVX => avx_trampoline as *const () as usize,
        AVX512 => avx512_trampoline as *const () as usize,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_tells_the_registers_and_asks_the_cpu_only_about_avx512() {
        let told = |magic, features, bw: Option<bool>| {
            vectors(&SoftwareBytes { magic, extended_size: 0, features }, || bw.unwrap())
        };
        const MAGIC: u32 = 0x4650_5853;
        assert_eq!(told(0, !0, None), SSE);
        assert_eq!(told(MAGIC, 0b011, None), SSE);
        assert_eq!(told(MAGIC, 0b111, None), AVX);
        assert_eq!(told(MAGIC, 0xE7, Some(true)), AVX512);
        assert_eq!(told(MAGIC, 0xE7, Some(false)), UNSUPPORTED);
        assert_eq!(told(MAGIC, 0x800E7, None), UNSUPPORTED);
    }

    /// Whatever this CPU has, the others' code is tried too: a stub is executed with a trampoline
    /// of each width that exists here.
    #[cfg(not(miri))]
    #[test]
    fn narrower_trampolines_return_the_result_too() {
        static DEVICE: super::super::Device = super::super::Device {
            obj_alloc: |size| size + 5,
            obj_free: |_| Ok(()),
            region: || (0, 0),
        };
        super::super::device::set(&DEVICE);
        let mut trampolines: Vec<unsafe extern "sysv64" fn()> = vec![sse_trampoline];
        if std::arch::is_x86_feature_detected!("avx") {
            trampolines.push(avx_trampoline);
        }
        if std::arch::is_x86_feature_detected!("avx512bw") {
            trampolines.push(avx512_trampoline);
        }
        for trampoline in trampolines {
            let result: usize;
            // What a stub does, for `obj-alloc rdx, rcx`.
            // SAFETY: the trampoline restores everything but the destination register.
            unsafe {
                core::arch::asm!(
                    "lea rsp, [rsp - 128]",
                    "push 0x00010201",
                    "call {trampoline}",
                    "lea rsp, [rsp + 136]",
                    trampoline = in(reg) trampoline,
                    in("rcx") 37usize,
                    out("rdx") result,
                );
            }
            assert_eq!(result, 42);
        }
    }
}
