//! `libmemento-isa.so`: the Memento instructions behind malloc and `operator new`.
//!
//! On a CPU without them every instruction traps once, is patched, and runs on the emulator. The
//! program keeps its own `SIGILL`: this object takes the place of the functions that would change
//! how that signal is handled or blocked.
#![no_std]

use core::ffi::c_int;
use libc::{sighandler_t, sigset_t};
use memento_alloc::Memento;
use memento_alloc::report::CountingObserver;
use memento_hal::isa::{Isa, signals};
use memento_shim_abi::{Prepared, emulator};

memento_shim_abi::export!(
    Prepared<Memento<Isa, CountingObserver>> = Prepared::new(
        Memento::with_observer(CountingObserver::new("isa")),
        emulator::prepare
    )
);
memento_shim_abi::at_load!(HEAP.observer().start());

#[unsafe(no_mangle)]
unsafe extern "C" fn sigaction(
    signal: c_int,
    action: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    // SAFETY: POSIX's contract of `sigaction`.
    unsafe { signals::sigaction(signal, action, old) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn signal(signal: c_int, handler: sighandler_t) -> sighandler_t {
    // SAFETY: POSIX's contract of `signal`.
    unsafe { signals::signal(signal, handler) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sigprocmask(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
    // SAFETY: POSIX's contract of `sigprocmask`.
    unsafe { signals::sigprocmask(how, set, old) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_sigmask(
    how: c_int,
    set: *const sigset_t,
    old: *mut sigset_t,
) -> c_int {
    // SAFETY: POSIX's contract of `pthread_sigmask`.
    unsafe { signals::pthread_sigmask(how, set, old) }
}
