//! The code that a patched site jumps to.
//!
//! A stub belongs to one site: it steps over the red zone, calls the trampoline with a descriptor
//! of the instruction, and jumps back behind the site. The trampoline, common to all, saves every
//! register and the flags, calls [`dispatch`] and restores them, the destination register with
//! the result in it.
//!
//! Every vector register is saved that the system has enabled. The device is Rust code for
//! baseline x86-64 and would itself only touch `xmm`, but it calls libc's `memcpy` and `memset`,
//! which use whatever the CPU has, up to `zmm` and the mask registers, and end in `vzeroupper`.
//! Saving fewer would corrupt a caller in the middle of AVX-512 code. Plain moves do it: XSAVE and
//! XRSTOR of the same registers take 160 ns where these take 20. What none of that code touches is
//! left alone: x87, tile registers, protection keys.

use super::encoding::{Function, Instruction, X86_BYTES};
use super::patch::Window;
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// Bytes of a stub, padding included.
const STUB_BYTES: usize = 32;
/// Bytes of a page of stubs: the page size of every x86-64.
pub(super) const PAGE_BYTES: usize = 4096;
/// Most pages of stubs in a process: enough for 8128 sites. Sites beyond keep trapping.
const PAGES_MAX: usize = 64;

/// Which vector registers there are, and so which trampoline serves: 0 until the first trap told,
/// then one of the constants.
static VECTORS: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const SSE: u8 = 1;
const AVX: u8 = 2;
const AVX512: u8 = 3;
/// Registers that no trampoline saves: sites keep trapping.
const UNSUPPORTED: u8 = 4;

/// Start addresses of the pages of stubs, 0 behind the last. Written under the patch lock.
static PAGES: [AtomicUsize; PAGES_MAX] = [const { AtomicUsize::new(0) }; PAGES_MAX];
/// Stubs in the last page of `PAGES`. Accessed under the patch lock.
static USED: AtomicUsize = AtomicUsize::new(0);

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
fn trampoline() -> Option<usize> {
    Some(match VECTORS.load(Ordering::Relaxed) {
        SSE => sse_trampoline as *const () as usize,
        AVX => avx_trampoline as *const () as usize,
        AVX512 => avx512_trampoline as *const () as usize,
        _ => return None,
    })
}

/// Bytes of the stub at `stub` for `instruction` at `site`. `pointer` is the address of a word
/// with the trampoline's address, in the same page. `None` if the site is out of reach.
fn encode(
    instruction: Instruction,
    site: usize,
    stub: usize,
    pointer: usize,
) -> Option<[u8; STUB_BYTES]> {
    let mut bytes = [0xCC; STUB_BYTES];
    let descriptor = [instruction.function.code(), instruction.rd, instruction.rs, 0];
    // lea rsp, [rsp - 128]: over the red zone; flags untouched.
    bytes[0..5].copy_from_slice(&[0x48, 0x8D, 0x64, 0x24, 0x80]);
    // push descriptor
    bytes[5] = 0x68;
    bytes[6..10].copy_from_slice(&descriptor);
    // call [rip + …]
    bytes[10..12].copy_from_slice(&[0xFF, 0x15]);
    bytes[12..16].copy_from_slice(&relative(stub + 16, pointer)?);
    // lea rsp, [rsp + 136]: descriptor and red zone.
    bytes[16..24].copy_from_slice(&[0x48, 0x8D, 0xA4, 0x24, 136, 0, 0, 0]);
    // jmp behind the site
    bytes[24] = 0xE9;
    bytes[25..29].copy_from_slice(&relative(stub + 29, site + X86_BYTES)?);
    Some(bytes)
}

/// The displacement from the end of a branch at `from` to `to`; `None` beyond ±2 GiB.
fn relative(from: usize, to: usize) -> Option<[u8; 4]> {
    let distance = (to as isize).checked_sub(from as isize)?;
    i32::try_from(distance).ok().map(i32::to_le_bytes)
}

/// The eight bytes that replace the instruction at `site`: a jump to `stub`, and filler that no
/// thread can reach, since the slot was one instruction.
pub(super) fn jump(site: usize, stub: usize) -> Option<[u8; X86_BYTES]> {
    let mut slot = [0xCC; X86_BYTES];
    slot[0] = 0xE9;
    slot[1..5].copy_from_slice(&relative(site + 5, stub)?);
    Some(slot)
}

/// Whether the slot at `site` holds a jump to one of our stubs.
pub(super) fn is_jump(site: usize, slot: [u8; X86_BYTES]) -> bool {
    let [0xE9, d0, d1, d2, d3, 0xCC, 0xCC, 0xCC] = slot else { return false };
    let distance = i32::from_le_bytes([d0, d1, d2, d3]) as isize;
    let target = (site + 5).wrapping_add_signed(distance);
    // Acquire pairs with the Release in `add_page`; a jump is only seen after its page was listed.
    PAGES
        .iter()
        .map(|page| page.load(Ordering::Acquire))
        .take_while(|&page| page != 0)
        .any(|page| (page..page + PAGE_BYTES).contains(&target))
}

/// Writes a stub for `instruction` at `site` and returns its address; `None` if no page is in
/// reach or the system refuses. `window` is left open on the stub's page, for the next stub.
///
/// # Safety
/// The caller holds the patch lock.
pub(super) unsafe fn create(
    instruction: Instruction,
    site: usize,
    window: &mut Option<Window>,
) -> Option<usize> {
    let trampoline = trampoline()?;
    let listed = PAGES.iter().take_while(|page| page.load(Ordering::Relaxed) != 0).count();
    let last = listed.checked_sub(1).map(|at| PAGES[at].load(Ordering::Relaxed));
    let used = USED.load(Ordering::Relaxed);
    // Only the last page has room. One that is out of the site's reach is left with room in it.
    let (page, index) = match last {
        Some(page) if (used + 1) * STUB_BYTES < PAGE_BYTES && reaches(page, site) => (page, used),
        _ => (add_page(listed, site, trampoline)?, 0),
    };
    // The first slot of a page holds the trampoline's address.
    let stub = page + (index + 1) * STUB_BYTES;
    let bytes = encode(instruction, site, stub, page)?;
    Window::move_to(window, page)?;
    // SAFETY: the window makes the page writable; the slot is unused, and no jump to it exists.
    unsafe { core::ptr::with_exposed_provenance_mut::<[u8; STUB_BYTES]>(stub).write(bytes) };
    USED.store(index + 1, Ordering::Relaxed);
    Some(stub)
}

/// Whether every byte of `page` and the site are in reach of each other's branches.
fn reaches(page: usize, site: usize) -> bool {
    page.abs_diff(site) < (1 << 31) - 2 * PAGE_BYTES
}

/// Maps a page near `site` and lists it at `at`.
fn add_page(at: usize, site: usize, trampoline: usize) -> Option<usize> {
    let entry = PAGES.get(at)?;
    let page = map_near(site)?;
    // SAFETY: a fresh page that is readable and writable.
    unsafe { core::ptr::with_exposed_provenance_mut::<usize>(page).write(trampoline) };
    // Release pairs with the Acquire in `is_jump`.
    entry.store(page, Ordering::Release);
    Some(page)
}

/// A fresh page in reach of `site`: below it by preference, since the heap of a program grows
/// upwards from its text.
fn map_near(site: usize) -> Option<usize> {
    let base = site & !(PAGE_BYTES - 1);
    // 64 KiB, 128 KiB … 1 GiB, then steps of 64 MiB.
    let distances = (16..31).map(|shift| 1usize << shift).chain((1..32).map(|n| n << 26));
    for distance in distances {
        for wanted in [base.checked_sub(distance), base.checked_add(distance)] {
            let Some(wanted) = wanted.filter(|&address| address >= 1 << 16) else { continue };
            // SAFETY: NOREPLACE leaves every existing mapping alone; a kernel before 4.17 takes
            // the address as a hint.
            let got = unsafe {
                libc::mmap(
                    core::ptr::without_provenance_mut(wanted),
                    PAGE_BYTES,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
                    -1,
                    0,
                )
            };
            if got == libc::MAP_FAILED {
                continue;
            }
            if reaches(got.expose_provenance(), site) {
                return Some(got.addr());
            }
            // SAFETY: the page was mapped just now and nobody knows it.
            unsafe { libc::munmap(got, PAGE_BYTES) };
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stub_returns_behind_its_site_from_either_side() {
        let free = Instruction { function: Function::ObjFree, rd: 9, rs: 15 };
        for (site, stub) in
            [(0x5000_0000_0008, 0x5000_1000_0020), (0x5000_1000_0008, 0x5000_0000_0040)]
        {
            let page = stub & !(PAGE_BYTES - 1);
            let bytes = encode(free, site, stub, page).unwrap();
            assert_eq!(&bytes[5..10], &[0x68, 2, 9, 15, 0]);
            let call = i32::from_le_bytes(bytes[12..16].try_into().unwrap()) as isize;
            assert_eq!((stub + 16).wrapping_add_signed(call), page);
            let back = i32::from_le_bytes(bytes[25..29].try_into().unwrap()) as isize;
            assert_eq!((stub + 29).wrapping_add_signed(back), site + X86_BYTES);
            let slot = jump(site, stub).unwrap();
            let forth = i32::from_le_bytes(slot[1..5].try_into().unwrap()) as isize;
            assert_eq!((site + 5).wrapping_add_signed(forth), stub);
        }
    }

    #[test]
    fn what_is_out_of_reach_is_refused() {
        let alloc = Instruction { function: Function::ObjAlloc, rd: 0, rs: 7 };
        let (site, stub) = (0x5000_0000_0000, 0x5000_8000_0020);
        assert_eq!(jump(site, stub), None);
        assert_eq!(encode(alloc, site, stub, stub & !(PAGE_BYTES - 1)), None);
    }

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

    #[test]
    fn a_jump_elsewhere_is_not_ours() {
        assert!(!is_jump(0x1000, [0xE9, 0, 0, 0, 0, 0xCC, 0xCC, 0xCC]));
        assert!(!is_jump(0x1000, [0xEB, 0, 0, 0, 0, 0xCC, 0xCC, 0xCC]));
    }
}
