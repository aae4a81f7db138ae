//! Turns an instruction that traps into a jump to a stub, in a process that is running.
//!
//! The slot is eight bytes at a multiple of eight and held exactly one instruction, so one atomic
//! store replaces it, no thread can be stopped inside it, and whoever fetches it sees the old
//! bytes or the new. A CPU that still executes the old ones traps; the handler then finds the
//! jump, and returns to it by an `iret`, which serialises: no cross-core synchronisation is
//! needed. The stub is complete before the store that makes it reachable (x86 keeps stores in
//! order).
//!
//! Text and stub pages are writable *and* executable while one site is written, since other
//! threads execute them meanwhile. A system that forbids that (or any other refusal) costs
//! nothing but speed: the site keeps trapping.

use super::encoding::{Instruction, X86_BYTES};
use super::maps::{self, Permissions};
use super::stub::{self, PAGE_BYTES};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Held by the thread that writes code. Never waited for: who does not get it keeps trapping.
static LOCKED: AtomicBool = AtomicBool::new(false);
/// Cleared by [`disable`] and by the first page that the system refused to make writable.
static ENABLED: AtomicBool = AtomicBool::new(true);
/// Sites patched so far.
static PATCHED: AtomicU64 = AtomicU64::new(0);

/// Pages whose sites were refused, direct-mapped by page number, so that a site that must trap
/// does not pay for reading `/proc/self/maps` (30 µs) each time. A page that becomes text later
/// keeps trapping, which is right and only slow.
static REFUSED: [AtomicUsize; 64] = [const { AtomicUsize::new(0) }; 64];

/// The entry of [`REFUSED`] for the page that contains `address`.
fn refused(address: usize) -> &'static AtomicUsize {
    &REFUSED[address / PAGE_BYTES % REFUSED.len()]
}

/// Number of sites that were turned into jumps since the process started.
pub fn patched_sites() -> u64 {
    PATCHED.load(Ordering::Relaxed)
}

/// Leaves all sites that are not patched yet as they are: they trap each time.
pub fn disable() {
    // Relaxed: a site that is patched by a thread that has not heard of it is no harm.
    ENABLED.store(false, Ordering::Relaxed);
}

/// Runs `f` while no site is patched.
pub(super) fn held_back<R>(f: impl FnOnce() -> R) -> R {
    let _lock = Lock::try_take();
    f()
}

/// In a fork child: frees the lock that a thread which no longer exists may have held.
pub(super) fn fork_child() {
    // Relaxed: the child has one thread.
    LOCKED.store(false, Ordering::Relaxed);
}

/// A page of code that can be written while this lives, and only executed afterwards.
pub(super) struct Window {
    page: usize,
}

impl Window {
    /// Makes the page that contains `address` writable; `None` if the system refuses, and then
    /// patching ends for good.
    pub fn open(address: usize) -> Option<Self> {
        let page = address & !(PAGE_BYTES - 1);
        if Self::protect(page, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) {
            return Some(Self { page });
        }
        disable();
        None
    }

    fn protect(page: usize, protection: i32) -> bool {
        let page = core::ptr::with_exposed_provenance_mut(page);
        // SAFETY: readable and executable it stays; the contents are not touched.
        unsafe { libc::mprotect(page, PAGE_BYTES, protection) == 0 }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // Taking a permission away from one whole page cannot fail for want of memory: the
        // mapping was split when the window opened.
        Self::protect(self.page, libc::PROT_READ | libc::PROT_EXEC);
    }
}

/// Holds [`LOCKED`].
struct Lock;

impl Lock {
    fn try_take() -> Option<Self> {
        // Acquire pairs with the Release in `drop`: the stub pool of the previous holder is seen.
        // Not `then_some`: it would make a lock and drop it where there is none.
        (!LOCKED.swap(true, Ordering::Acquire)).then(|| Self)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        LOCKED.store(false, Ordering::Release);
    }
}

/// The slot at `site`.
///
/// # Safety
/// `site` is a multiple of eight and lies in readable memory.
pub(super) unsafe fn read_slot(site: usize) -> [u8; X86_BYTES] {
    // SAFETY: aligned and readable, says the caller; atomic since another thread may patch it.
    let word = unsafe { AtomicU64::from_ptr(core::ptr::with_exposed_provenance_mut(site)) };
    // Acquire pairs with the Release in `replace`.
    word.load(Ordering::Acquire).to_le_bytes()
}

/// Patches the site at `site`, if it still holds one of our instructions, patching is enabled and
/// the memory around it is private text.
///
/// # Safety
/// `site` is a multiple of eight in readable memory whose bytes are executed as code.
pub(super) unsafe fn patch(site: usize) {
    // Relaxed: see `disable`.
    if !ENABLED.load(Ordering::Relaxed) {
        return;
    }
    let page = site & !(PAGE_BYTES - 1);
    // Relaxed here and below: a hint.
    if refused(page).load(Ordering::Relaxed) == page {
        return;
    }
    let Some(_lock) = Lock::try_take() else { return };
    if maps::permissions(site) != Some(Permissions::TEXT) {
        refused(page).store(page, Ordering::Relaxed);
    } else if let Some(window) = Window::open(site) {
        // SAFETY: the lock is held, and the window is open.
        unsafe { replace(site, &window) };
    }
}

/// Patches the listed sites of this image. They lie in its own text, so nothing is asked about
/// their memory.
pub(super) fn patch_listed(sites: impl Iterator<Item = usize>) {
    // Relaxed: see `disable`.
    if !ENABLED.load(Ordering::Relaxed) {
        return;
    }
    let Some(_lock) = Lock::try_take() else { return };
    let mut window: Option<Window> = None;
    for site in sites {
        if window.as_ref().is_none_or(|w| w.page != site & !(PAGE_BYTES - 1)) {
            // Closed before the next is opened.
            drop(window.take());
            window = Window::open(site);
        }
        let Some(window) = &window else { return };
        // SAFETY: listed sites are aligned text of this image; the lock is held, and the window
        // is open.
        unsafe { replace(site, window) };
    }
}

/// Replaces the instruction at `site`, if there is one, by a jump.
///
/// # Safety
/// `site` is a multiple of eight in the page of the window; the caller holds the lock.
unsafe fn replace(site: usize, _window: &Window) {
    // SAFETY: text is readable.
    let Some(instruction) = Instruction::decode_x86(unsafe { read_slot(site) }) else { return };
    // A list may name a site of the supervisor's, which is to fault.
    if !instruction.function.is_user() {
        return;
    }
    // SAFETY: the lock is held.
    let Some(stub) = (unsafe { stub::create(instruction, site) }) else { return };
    let Some(jump) = stub::jump(site, stub) else { return };
    // SAFETY: aligned, and writable while the window is open.
    let slot = unsafe { AtomicU64::from_ptr(core::ptr::with_exposed_provenance_mut(site)) };
    // Release pairs with the Acquire in `read_slot`; instruction fetch sees the stub's bytes
    // before the jump, since x86 keeps stores in order.
    slot.store(u64::from_le_bytes(jump), Ordering::Release);
    PATCHED.fetch_add(1, Ordering::Relaxed);
}
