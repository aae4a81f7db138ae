//! The code that a patched site jumps to.
//!
//! A stub belongs to one site: it steps over the red zone, calls the trampoline with a descriptor
//! of the instruction, and jumps back behind the site. The trampoline, common to all, saves every
//! register and the flags, calls [`dispatch`] and restores them, the destination register with
//! the result in it.
//!
//! Vector registers are saved by `XSAVE`. The device is Rust code for baseline x86-64 and would
//! itself only touch `xmm`, but it calls libc's `memcpy` and `memset`, which use whatever the CPU
//! has, up to `zmm` and the mask registers, and end in `vzeroupper`. Saving fewer than all of
//! them would corrupt a caller in the middle of AVX-512 code. Tile registers and protection keys
//! are not touched by any of this and are left out, which also bounds the size of the save area.

use super::encoding::{Function, Instruction, X86_BYTES};
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// Bytes of a stub, padding included.
const STUB_BYTES: usize = 32;
/// Bytes of a page of stubs: the page size of every x86-64.
pub(super) const PAGE_BYTES: usize = 4096;
/// Most pages of stubs in a process: enough for 8128 sites. Sites beyond keep trapping.
const PAGES_MAX: usize = 64;

/// State components that a stub saves: x87, SSE, AVX, the AVX-512 three, and APX's registers.
const XSAVE_COMPONENTS: u32 = 0b1000_0000_0000_1110_0111;
/// Bytes that those components span in the standard format: AVX-512's last ends at 1664 + 1024 on
/// Intel and lower on AMD; APX lies in the gap that MPX left. A multiple of 64.
const XSAVE_BYTES: usize = 2688;

/// How a stub saves vector registers: 0 until the first trap told, then one of the constants.
static VECTOR_STATE: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const FXSAVE: u8 = 1;
const XSAVE: u8 = 2;

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

/// Learns from a signal's context whether the system saves extended state, so that no CPUID is
/// needed (5 µs each on a virtual machine).
///
/// # Safety
/// `state` is the `fpregs` of a context that the kernel passed to a signal handler, or null.
pub(super) unsafe fn learn_vector_state(state: *const u8) {
    // FP_XSTATE_MAGIC1 at this offset says that the frame was written by XSAVE.
    const MAGIC_OFFSET: usize = 464;
    const MAGIC: u32 = 0x4650_5853;
    if state.is_null() {
        return;
    }
    // SAFETY: the kernel's floating-point frame is at least the 512 bytes of FXSAVE.
    let magic = unsafe { state.add(MAGIC_OFFSET).cast::<u32>().read_unaligned() };
    let found = if magic == MAGIC { XSAVE } else { FXSAVE };
    // Relaxed: every thread learns the same.
    VECTOR_STATE.store(found, Ordering::Relaxed);
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
                "sub rsp, {bytes}",
                "and rsp, -64",
                $($save,)*
                "mov rdi, rbx",
                "call {dispatch}",
                $($restore,)*
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
    /// For systems that save extended state. XRSTOR refuses a header with rubbish in it, and
    /// XSAVE writes only the header's first word, hence the zeros.
    xsave_trampoline,
    XSAVE_BYTES,
    [
        "xor eax, eax",
        "mov [rsp + 512], rax",
        "mov [rsp + 520], rax",
        "mov [rsp + 528], rax",
        "mov [rsp + 536], rax",
        "mov [rsp + 544], rax",
        "mov [rsp + 552], rax",
        "mov [rsp + 560], rax",
        "mov [rsp + 568], rax",
        "xor edx, edx",
        "mov eax, 0x800e7",
        "xsave64 [rsp]"
    ],
    ["xor edx, edx", "mov eax, 0x800e7", "xrstor64 [rsp]"]
);
const _: () = assert!(XSAVE_COMPONENTS == 0x800E7, "the literal in the trampoline");

trampoline!(
    /// For systems that do not: there are no registers beyond `xmm` then.
    fxsave_trampoline,
    512,
    ["fxsave64 [rsp]"],
    ["fxrstor64 [rsp]"]
);

/// The trampoline for this system; `None` before the first trap.
fn trampoline() -> Option<usize> {
    match VECTOR_STATE.load(Ordering::Relaxed) {
        XSAVE => Some(xsave_trampoline as *const () as usize),
        FXSAVE => Some(fxsave_trampoline as *const () as usize),
        _ => None,
    }
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
/// reach or the system refuses.
///
/// # Safety
/// The caller holds the patch lock.
pub(super) unsafe fn create(instruction: Instruction, site: usize) -> Option<usize> {
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
    let window = super::patch::Window::open(page)?;
    // SAFETY: the window makes the page writable; the slot is unused, and no jump to it exists.
    unsafe { core::ptr::with_exposed_provenance_mut::<[u8; STUB_BYTES]>(stub).write(bytes) };
    drop(window);
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
    fn a_jump_elsewhere_is_not_ours() {
        assert!(!is_jump(0x1000, [0xE9, 0, 0, 0, 0, 0xCC, 0xCC, 0xCC]));
        assert!(!is_jump(0x1000, [0xEB, 0, 0, 0, 0, 0xCC, 0xCC, 0xCC]));
    }
}
