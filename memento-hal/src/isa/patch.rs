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
    fn open(address: usize) -> Option<Self> {
        let page = address & !(PAGE_BYTES - 1);
        if Self::protect(page, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) {
            return Some(Self { page });
        }
        disable();
        None
    }

    /// Makes `window` one on the page that contains `address`, closing the one before.
    pub fn move_to(window: &mut Option<Self>, address: usize) -> Option<()> {
        if window.as_ref().is_none_or(|open| open.page != address & !(PAGE_BYTES - 1)) {
            *window = None;
            *window = Some(Self::open(address)?);
        }
        Some(())
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
    // Acquire pairs with the Release in `Writer::replace`.
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
    let Some(mut writer) = Writer::new() else { return };
    let is_text = maps::permissions(site) == Some(Permissions::TEXT);
    // SAFETY: text, and aligned as the caller says.
    if !is_text || unsafe { writer.replace(site) }.is_none() {
        refused(page).store(page, Ordering::Relaxed);
    }
}

/// Patches the listed sites of this image. They lie in its own text, so nothing is asked about
/// their memory.
pub(super) fn patch_listed(sites: impl Iterator<Item = usize>) {
    // Relaxed: see `disable`.
    if !ENABLED.load(Ordering::Relaxed) {
        return;
    }
    let Some(mut writer) = Writer::new() else { return };
    for site in sites {
        // SAFETY: listed sites are aligned text of this image.
        if unsafe { writer.replace(site) }.is_none() {
            return;
        }
    }
}

/// Who writes code: the lock, and the pages that are writable. Fields are dropped in this order.
struct Writer {
    text: Option<Window>,
    stubs: Option<Window>,
    _lock: Lock,
}

impl Writer {
    fn new() -> Option<Self> {
        Lock::try_take().map(|lock| Self { text: None, stubs: None, _lock: lock })
    }

    /// Replaces the instruction at `site`, if there is one, by a jump; `None` if the system
    /// refuses.
    ///
    /// # Safety
    /// `site` is a multiple of eight in text.
    unsafe fn replace(&mut self, site: usize) -> Option<()> {
        // SAFETY: text is readable.
        let found = Instruction::decode_x86(unsafe { read_slot(site) });
        // Another thread patched it, or a list names one of the supervisor's, which is to fault.
        let Some(instruction) = found.filter(|found| found.function.is_user()) else {
            return Some(());
        };
        // SAFETY: the lock is held.
        let stub = unsafe { stub::create(instruction, site, &mut self.stubs) }?;
        let jump = stub::jump(site, stub)?;
        Window::move_to(&mut self.text, site)?;
        // SAFETY: aligned, and writable while the window is open.
        let slot = unsafe { AtomicU64::from_ptr(core::ptr::with_exposed_provenance_mut(site)) };
        // Release pairs with the Acquire in `read_slot`; instruction fetch sees the stub's bytes
        // before the jump, since x86 keeps stores in order.
        slot.store(u64::from_le_bytes(jump), Ordering::Release);
        PATCHED.fetch_add(1, Ordering::Relaxed);
        Some(())
    }
}
