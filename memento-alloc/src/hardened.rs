//! Whether the process runs in hardened mode, and what the allocator does then.
//!
//! | request | served by |
//! | --- | --- |
//! | up to 512 bytes, with a hardware backend | the backend, which checks every free itself |
//! | up to 32 KiB | [`Hardened`]: slots that are checked |
//! | more, and what finds no room there | [`Guarded`](crate::guarded::Guarded): mappings between guards |
//!
//! The mode is decided by the first request that no fast path could serve, which is the first of the
//! process, and stays. Only slow paths ask for it.

use crate::memento::Memento;
use crate::observer::Observer;
use crate::startup;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, Ordering};
use memento_hal::ProcessHal;
use memento_hal::fatal::corruption;
use memento_hal::soft::{Hardened, Misuse};

/// The mode of a process.
#[derive(Debug)]
pub(crate) struct Mode(AtomicU8);

const UNDECIDED: u8 = 0;
const ORDINARY: u8 = 1;
const HARDENED: u8 = 2;
/// Hardened whatever the environment says, and nothing was allocated yet.
const DEMANDED: u8 = 3;

impl Mode {
    /// As the environment says.
    pub(crate) const fn undecided() -> Self {
        Self(AtomicU8::new(UNDECIDED))
    }

    /// Hardened.
    pub(crate) const fn demanded() -> Self {
        Self(AtomicU8::new(DEMANDED))
    }

    /// Whether it is hardened mode. Decides it, so this is for allocations.
    #[inline]
    pub(crate) fn decide(&self) -> bool {
        // Relaxed: it is decided before there is a second thread; and who would decide it again would
        // come to the same, from the same environment.
        match self.0.load(Ordering::Relaxed) {
            ORDINARY => false,
            HARDENED => true,
            demand => self.decide_first(demand == DEMANDED),
        }
    }

    /// Whether it has been decided that it is hardened mode. Before the first allocation nothing was.
    #[inline]
    pub(crate) fn is_hardened(&self) -> bool {
        // Relaxed: as above.
        self.0.load(Ordering::Relaxed) == HARDENED
    }

    #[cold]
    fn decide_first(&self, demanded: bool) -> bool {
        let hardened = demanded || asked_for();
        if hardened {
            Hardened::instance().set_secret(secret());
        }
        // Relaxed: as above.
        self.0.store(if hardened { HARDENED } else { ORDINARY }, Ordering::Relaxed);
        hardened
    }
}

/// Whether `MEMENTO_HARDENED` is set to anything but nothing or `0`. Ignored in setuid programs.
fn asked_for() -> bool {
    let mut value = [0; 64];
    let length = startup::variable(b"MEMENTO_HARDENED", &mut value);
    length.is_some_and(|length| !matches!(&value[..length], b"" | b"0"))
}

/// What nobody outside knows. Where the system has no random numbers yet, the address of a variable is
/// all that is unknown.
fn secret() -> u64 {
    let mut bytes = [0u8; 8];
    // SAFETY: the kernel writes at most 8 bytes to the array.
    unsafe {
        libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), bytes.len(), libc::GRND_NONBLOCK);
    }
    u64::from_ne_bytes(bytes) ^ (&raw const bytes).addr() as u64
}

impl<H: ProcessHal, O: Observer> Memento<H, O> {
    /// Memory in hardened mode; reads as zero. `None` if there is none.
    #[cold]
    pub(crate) fn hardened(&self, size: usize, align: usize) -> Option<NonNull<u8>> {
        self.prepare_process();
        let slot = Hardened::instance().alloc(size, align);
        slot.or_else(|| self.guarded.allocate(size, align))
    }

    /// Frees an object of hardened mode; `false` if it is none.
    ///
    /// # Safety
    /// As [`Memento::deallocate`].
    pub(crate) unsafe fn free_hardened(&self, object: NonNull<u8>, known: Option<usize>) -> bool {
        // SAFETY: the caller gives the object up.
        let result = unsafe {
            if Hardened::instance().contains(object.addr().get()) {
                Hardened::instance().free(object, known)
            } else {
                match self.guarded.free(object, known) {
                    Some(result) => result,
                    None => return false,
                }
            }
        };
        checked(object, result);
        true
    }

    /// Bytes that were asked for, if it is an object of hardened mode.
    pub(crate) fn hardened_size(&self, object: NonNull<u8>) -> Option<usize> {
        if Hardened::instance().contains(object.addr().get()) {
            return Some(checked(object, Hardened::instance().size_of(object)));
        }
        self.guarded.size_of(object)
    }

    /// Whether the object, if it is one of hardened mode, has been made one of `size` bytes where it
    /// is.
    pub(crate) fn resize_hardened(
        &self,
        object: NonNull<u8>,
        size: usize,
        align: usize,
    ) -> Option<bool> {
        if Hardened::instance().contains(object.addr().get()) {
            return Some(checked(object, Hardened::instance().resize(object, size, align)));
        }
        let old = self.guarded.size_of(object)?;
        Some(old == size && object.addr().get().is_multiple_of(align))
    }
}

/// What a check gave; a finding ends the process.
fn checked<R>(object: NonNull<u8>, result: Result<R, Misuse>) -> R {
    match result {
        Ok(value) => value,
        Err(misuse) => corruption(misuse.message(), object.addr().get()),
    }
}
