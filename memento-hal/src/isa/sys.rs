//! The kernel's signal calls without libc's wrappers, which the shim replaces with
//! [`super::signals`]: what is set here is what the kernel has.

/// Number of signals, and the number of the last one.
pub(super) const SIGNALS: i32 = 64;
/// All signals. The kernel itself leaves `SIGKILL` and `SIGSTOP` out.
pub(super) const ALL: u64 = !0;
/// The mask bit of `SIGILL`.
pub(super) const SIGILL: u64 = bit(libc::SIGILL);

const SA_RESTORER: u64 = 0x0400_0000;

/// The mask bit of a signal from 1 to 64.
pub(super) const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// `struct kernel_sigaction` of x86-64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Action {
    pub handler: usize,
    pub flags: u64,
    pub restorer: usize,
    pub mask: u64,
}

impl Action {
    pub const DEFAULT: Self = Self { handler: libc::SIG_DFL, flags: 0, restorer: 0, mask: 0 };
}

/// Returns from a signal handler. The bytes are those that debuggers and unwinders look for.
#[unsafe(naked)]
unsafe extern "C" fn restorer() {
    core::arch::naked_asm!(".byte 0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0", "syscall")
}

/// `rt_sigaction`. `Err` after the kernel refused, with `errno` set.
///
/// # Safety
/// `new`'s handler may be called at any time from here on.
pub(super) unsafe fn sigaction(signal: i32, new: Option<&Action>) -> Result<Action, ()> {
    let mut old = Action::DEFAULT;
    let new = new.map(|action| Action {
        flags: action.flags | SA_RESTORER,
        restorer: restorer as *const () as usize,
        ..*action
    });
    let new = new.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
    // SAFETY: both pointers are null or point to live structures of the kernel's layout.
    let done = unsafe {
        libc::syscall(libc::SYS_rt_sigaction, signal, new, &raw mut old, size_of::<u64>())
    };
    old.flags &= !SA_RESTORER;
    if done == 0 { Ok(old) } else { Err(()) }
}

/// `rt_sigprocmask`; with `None` only reads. `Err` after the kernel refused, with `errno` set.
pub(super) fn sigmask(how: i32, set: Option<u64>) -> Result<u64, ()> {
    let mut old = 0u64;
    let set = set.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
    // SAFETY: both pointers are null or point to live 64-bit masks.
    let done = unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, how, set, &raw mut old, size_of::<u64>())
    };
    if done == 0 { Ok(old) } else { Err(()) }
}

/// Sends `signal` to the calling thread.
pub(super) fn raise(signal: i32) {
    // SAFETY: the three calls have no memory effects.
    unsafe {
        let (process, thread) = (libc::getpid(), libc::syscall(libc::SYS_gettid));
        libc::syscall(libc::SYS_tgkill, process, thread, signal);
    }
}

/// Sets `errno` of the calling thread.
pub(super) fn set_errno(value: i32) {
    // SAFETY: libc returns the address of the calling thread's `errno`, valid while it lives.
    unsafe { libc::__errno_location().write(value) };
}

/// `errno` of the calling thread.
pub(super) fn errno() -> i32 {
    // SAFETY: as in `set_errno`.
    unsafe { libc::__errno_location().read() }
}
