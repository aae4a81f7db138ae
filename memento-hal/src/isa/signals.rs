//! Whose signal is it: what the program set for `SIGILL` while our handler stays in place.
//!
//! The emulated instructions need two things from a process: that the kernel's action for
//! `SIGILL` is [`super::trap`]'s, and that no thread blocks `SIGILL`. The functions here have the
//! signatures of `sigaction`, `signal`, `sigprocmask` and `pthread_sigmask`, for the shim to
//! export in their place. They keep both true and report to the program what it set. Signals that
//! are not ours reach the program's action as if it had been in place.
//!
//! Differences that remain: a `SIGILL` sent by another process to a thread that has "blocked" it
//! is delivered at once, and so is one that is raised inside the program's own handler for it; its
//! handler runs on the interrupted stack even with `SA_ONSTACK`; a thread starts with `SIGILL`
//! reported as not blocked; after `exec`, an ignored `SIGILL` is the default again. Masks that the
//! kernel applies for one call (`sigsuspend`, `ppoll`) are not changed.

use super::sys::{self, Action};
use crate::os::tls::tls_pointer;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use libc::{c_int, c_void, siginfo_t, sigset_t, ucontext_t};

tls_pointer!(
    /// Not null while the program believes that `SIGILL` is blocked in this thread.
    mod blocked, "memento_isa_blocked", u8
);

/// What `blocked` points to: only null or not counts.
static BLOCKED: u8 = 0;

/// The action that the program set for `SIGILL`.
///
/// Whoever holds the lock has every signal blocked, so its holder is never interrupted by code of
/// its own thread that wants it too.
struct ProgramAction {
    locked: AtomicBool,
    /// Whether our handler is the kernel's action, so that `action` is what the program sees.
    /// Written by the holder of `locked` only.
    installed: AtomicBool,
    action: UnsafeCell<Action>,
}

// SAFETY: the cell is only accessed by the holder of `locked`.
unsafe impl Sync for ProgramAction {}

static PROGRAM: ProgramAction = ProgramAction {
    locked: AtomicBool::new(false),
    installed: AtomicBool::new(false),
    action: UnsafeCell::new(Action::DEFAULT),
};

/// Bit *s* − 1: the program's action for signal *s* wants `SIGILL` blocked; it is reported so.
static WANTS_SIGILL_BLOCKED: AtomicU64 = AtomicU64::new(0);

impl ProgramAction {
    /// Runs `f` on the action with every signal blocked.
    fn with<R>(&self, f: impl FnOnce(&mut Action) -> R) -> R {
        let mask = sys::sigmask(libc::SIG_SETMASK, Some(sys::ALL)).unwrap_or(0);
        // Acquire pairs with the Release below: the previous holder's writes are seen.
        while self.locked.swap(true, Ordering::Acquire) {
            core::hint::spin_loop();
        }
        // SAFETY: this thread holds the lock, and `f` gets the only reference.
        let result = f(unsafe { &mut *self.action.get() });
        // Release pairs with the Acquire above.
        self.locked.store(false, Ordering::Release);
        let _ = sys::sigmask(libc::SIG_SETMASK, Some(mask));
        result
    }

    fn is_installed(&self) -> bool {
        // Relaxed: what depends on it is decided again under the lock, or is this thread's own.
        self.installed.load(Ordering::Relaxed)
    }
}

/// Makes `handler` the kernel's action for `SIGILL`, remembers what was there as the program's,
/// and unblocks the signal in this thread. `false` if the kernel refuses.
pub(super) fn install(handler: usize) -> bool {
    // Every signal is blocked meanwhile, as an interrupt cannot fall into a hardware instruction.
    // Not SA_ONSTACK: an alternate stack is made for a crash report and is often 8 KiB, of which
    // the frame of a CPU with AVX-512 takes half; the device may want more than the rest.
    let flags = (libc::SA_SIGINFO | libc::SA_RESTART) as u64;
    let ours = Action { handler, flags, restorer: 0, mask: sys::ALL };
    let done = PROGRAM.with(|action| {
        // SAFETY: `handler` is `trap`'s, which serves every `SIGILL`.
        let Ok(old) = (unsafe { sys::sigaction(libc::SIGILL, Some(&ours)) }) else { return false };
        // Relaxed: under the lock.
        if !PROGRAM.installed.swap(true, Ordering::Relaxed) {
            *action = old;
        }
        true
    });
    done && sys::sigmask(libc::SIG_UNBLOCK, Some(sys::SIGILL)).is_ok_and(|old| {
        if old & sys::SIGILL != 0 {
            blocked::set((&raw const BLOCKED).cast_mut());
        }
        true
    })
}

/// Gives the signal back to the program: the instructions need no handler on this CPU.
pub(super) fn uninstall() {
    PROGRAM.with(|action| {
        // Relaxed: under the lock.
        if PROGRAM.installed.swap(false, Ordering::Relaxed) {
            // SAFETY: this is the action that the program had set.
            let _ = unsafe { sys::sigaction(libc::SIGILL, Some(action)) };
        }
    });
    if !blocked::get().is_null() {
        let _ = sys::sigmask(libc::SIG_BLOCK, Some(sys::SIGILL));
    }
}

/// In a fork child: frees the lock that a thread which no longer exists may have held.
pub(super) fn fork_child() {
    // Relaxed: the child has one thread.
    PROGRAM.locked.store(false, Ordering::Relaxed);
}

/// Delivers a `SIGILL` that is not ours as the kernel would have, had the program's action been
/// in place.
///
/// # Safety
/// Called by the handler of `SIGILL` with its own arguments, on a thread that blocks all signals.
pub(super) unsafe fn pass_on(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let action = PROGRAM.with(|action| {
        let taken = *action;
        if taken.flags & libc::SA_RESETHAND as u64 != 0 && taken.handler > libc::SIG_IGN {
            action.handler = libc::SIG_DFL;
        }
        taken
    });
    // SAFETY: the kernel passes a valid siginfo to a handler with SA_SIGINFO.
    let by_instruction = unsafe { (*info).si_code } > 0;
    // A fault cannot be ignored or put off: the kernel kills then.
    let deadly = by_instruction && !blocked::get().is_null();
    match action.handler {
        libc::SIG_IGN if !by_instruction => {}
        handler if handler <= libc::SIG_IGN || deadly => die(signal, by_instruction),
        // SAFETY: the program gave this handler to the kernel with these flags.
        _ => unsafe { call(&action, signal, info, context) },
    }
}

/// Restores the default action. A faulting instruction then faults again when the handler
/// returns; a signal that was sent is sent again, and waits for that same moment.
fn die(signal: c_int, by_instruction: bool) {
    // SAFETY: the default action runs no code of ours.
    let _ = unsafe { sys::sigaction(signal, Some(&Action::DEFAULT)) };
    if !by_instruction {
        sys::raise(signal);
    }
}

/// Calls the program's handler under the mask that it asked for.
///
/// # Safety
/// `action.handler` is a function with the signature that `action.flags` tell, and the other
/// arguments are the kernel's.
unsafe fn call(action: &Action, signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let ucontext: *mut ucontext_t = context.cast();
    // SAFETY: the kernel passes a valid context; its mask is the first 64 bits of the set.
    let interrupted = unsafe { (&raw const (*ucontext).uc_sigmask).cast::<u64>().read() };
    // The handler may allocate, so SIGILL stays open even without SA_NODEFER. `blocked` is not
    // set for it: a handler that leaves by `siglongjmp` would never reset it.
    let _ = sys::sigmask(libc::SIG_SETMASK, Some((interrupted | action.mask) & !sys::SIGILL));
    if action.flags & libc::SA_SIGINFO as u64 != 0 {
        // SAFETY: with SA_SIGINFO the program gave a function of three arguments.
        let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) =
            unsafe { core::mem::transmute(action.handler) };
        handler(signal, info, context);
    } else {
        // SAFETY: without it, a function of one argument.
        let handler: extern "C" fn(c_int) = unsafe { core::mem::transmute(action.handler) };
        handler(signal);
    }
}

/// The first 64 signals of a libc set: all that exist on x86-64.
///
/// # Safety
/// `set` points to an initialised set.
unsafe fn read_set(set: *const sigset_t) -> u64 {
    // SAFETY: a `sigset_t` is at least 64 bits long and begins with signals 1 to 64.
    unsafe { set.cast::<u64>().read_unaligned() }
}

/// Writes a libc set; signals above 64 do not exist and are left out.
///
/// # Safety
/// `set` points to a set.
unsafe fn write_set(set: *mut sigset_t, mask: u64) {
    // SAFETY: the caller vouches for `set`.
    unsafe {
        set.write_bytes(0, 1);
        set.cast::<u64>().write_unaligned(mask);
    }
}

/// Whether libc keeps this signal to itself.
fn is_internal(signal: c_int) -> bool {
    (32..=if cfg!(target_env = "musl") { 34 } else { 33 }).contains(&signal)
}

/// `sigaction`, with the program's view of `SIGILL`.
///
/// # Safety
/// As POSIX's `sigaction`.
pub unsafe fn sigaction(
    signal: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    if is_internal(signal) || !(1..=sys::SIGNALS).contains(&signal) {
        sys::set_errno(libc::EINVAL);
        return -1;
    }
    let new = (!new.is_null()).then(|| {
        // SAFETY: the caller vouches that a pointer that is not null points to an action.
        unsafe {
            Action {
                handler: (*new).sa_sigaction,
                flags: (*new).sa_flags as u32 as u64,
                restorer: 0,
                mask: read_set(&raw const (*new).sa_mask),
            }
        }
    });
    // SAFETY: the caller vouches for the handler.
    let Ok(previous) = (unsafe { exchange(signal, new) }) else { return -1 };
    if !old.is_null() {
        // SAFETY: the caller vouches that a pointer that is not null points to an action.
        unsafe {
            (*old).sa_sigaction = previous.handler;
            (*old).sa_flags = previous.flags as c_int;
            (*old).sa_restorer = None;
            write_set(&raw mut (*old).sa_mask, previous.mask);
        }
    }
    0
}

/// Sets the program's action for `signal` and returns the one before.
///
/// # Safety
/// `new`'s handler may be called at any time from here on.
unsafe fn exchange(signal: c_int, new: Option<Action>) -> Result<Action, ()> {
    if signal == libc::SIGILL {
        return PROGRAM.with(|action| {
            if !PROGRAM.is_installed() {
                // SAFETY: the caller vouches for the handler.
                return unsafe { sys::sigaction(signal, new.as_ref()) };
            }
            Ok(new.map_or(*action, |new| core::mem::replace(action, new)))
        });
    }
    // A handler that ran with SIGILL blocked could not execute an instruction.
    let open = new.map(|action| Action { mask: action.mask & !sys::SIGILL, ..action });
    // SAFETY: the caller vouches for the handler.
    let mut old = unsafe { sys::sigaction(signal, open.as_ref()) }?;
    let bit = sys::bit(signal);
    // Relaxed: the word only remembers what to report.
    let wanted = match new {
        Some(action) if action.mask & sys::SIGILL != 0 => {
            WANTS_SIGILL_BLOCKED.fetch_or(bit, Ordering::Relaxed)
        }
        Some(_) => WANTS_SIGILL_BLOCKED.fetch_and(!bit, Ordering::Relaxed),
        None => WANTS_SIGILL_BLOCKED.load(Ordering::Relaxed),
    };
    if wanted & bit != 0 {
        old.mask |= sys::SIGILL;
    }
    Ok(old)
}

/// `signal`, with BSD semantics as glibc and musl have them.
///
/// # Safety
/// As POSIX's `signal`.
pub unsafe fn signal(signal: c_int, handler: libc::sighandler_t) -> libc::sighandler_t {
    if handler == libc::SIG_ERR || is_internal(signal) || !(1..=sys::SIGNALS).contains(&signal) {
        sys::set_errno(libc::EINVAL);
        return libc::SIG_ERR;
    }
    let flags = libc::SA_RESTART as u64;
    let new = Action { handler, flags, restorer: 0, mask: sys::bit(signal) };
    // SAFETY: the caller vouches for the handler.
    unsafe { exchange(signal, Some(new)) }.map_or(libc::SIG_ERR, |old| old.handler)
}

/// `pthread_sigmask`, with the program's view of `SIGILL`: it is never really blocked.
///
/// # Safety
/// As POSIX's `pthread_sigmask`.
pub unsafe fn pthread_sigmask(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
    let errno = sys::errno();
    let internal: u64 = (1..=sys::SIGNALS).filter(|&s| is_internal(s)).map(sys::bit).sum();
    // SAFETY: the caller vouches that a pointer that is not null points to a set.
    let wanted = (!set.is_null()).then(|| unsafe { read_set(set) });
    // Before our handler is in place, or after it was given up, SIGILL is like any other.
    let ours = PROGRAM.is_installed();
    let hidden = if ours && how != libc::SIG_UNBLOCK { sys::SIGILL | internal } else { internal };
    let Ok(mut before) = sys::sigmask(how, wanted.map(|mask| mask & !hidden)) else {
        let error = sys::errno();
        sys::set_errno(errno);
        return error;
    };
    if ours && !blocked::get().is_null() {
        before |= sys::SIGILL;
    }
    if let Some(mask) = wanted.filter(|_| ours) {
        let names_it = mask & sys::SIGILL != 0;
        if names_it || how == libc::SIG_SETMASK {
            let block = names_it && how != libc::SIG_UNBLOCK;
            let mark = (&raw const BLOCKED).cast_mut();
            blocked::set(if block { mark } else { core::ptr::null_mut() });
        }
    }
    if !old.is_null() {
        // SAFETY: the caller vouches that a pointer that is not null points to a set.
        unsafe { write_set(old, before) };
    }
    0
}

/// `sigprocmask`: [`pthread_sigmask`] that reports its error in `errno`.
///
/// # Safety
/// As POSIX's `sigprocmask`.
pub unsafe fn sigprocmask(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
    // SAFETY: the contract is the same.
    match unsafe { pthread_sigmask(how, set, old) } {
        0 => 0,
        error => {
            sys::set_errno(error);
            -1
        }
    }
}
