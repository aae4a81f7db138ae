//! The code that a patched site jumps to.
//!
//! A stub belongs to one site: it steps over the red zone, calls the trampoline with a descriptor
//! of the instruction, and jumps back behind the site. Stubs lie in pages near the sites; nothing
//! here knows when a site may be patched, nor what the trampoline does.

use super::encoding::{Instruction, X86_BYTES};
use super::patch::Window;
use super::trampoline::trampoline;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of a stub, padding included.
const STUB_BYTES: usize = 32;
/// Bytes of a page of stubs: the page size of every x86-64.
pub(super) const PAGE_BYTES: usize = 4096;
/// Most pages of stubs in a process: enough for 8128 sites. Sites beyond keep trapping.
const PAGES_MAX: usize = 64;

/// Start addresses of the pages of stubs, 0 behind the last. Written under the patch lock.
static PAGES: [AtomicUsize; PAGES_MAX] = [const { AtomicUsize::new(0) }; PAGES_MAX];
/// Stubs in the last page of `PAGES`. Accessed under the patch lock.
static USED: AtomicUsize = AtomicUsize::new(0);

/// Bytes of the stub at `stub` for `instruction` at `site`. `pointer` is the address of a word
/// with the trampoline's address, in the same page. `None` if the site is out of reach.
fn encode(
    instruction: Instruction,
    site: usize,
    stub: usize,
    pointer: usize,
) -> Option<[u8; STUB_BYTES]> {
    let mut bytes = [0xCC; STUB_BYTES];
    let descriptor = super::trampoline::descriptor(instruction);
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
    use super::super::encoding::Function;
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
