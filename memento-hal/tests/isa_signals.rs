//! The program's own signals while the instructions are emulated. Each case runs in a process of
//! its own: this binary, started again for one test.
#![cfg(all(target_arch = "x86_64", target_os = "linux", not(miri), not(loom)))]

#[path = "isa/code.rs"]
mod code;

use code::Page;
use memento_hal::isa::{self, Device, Execution, signals};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

static DEVICE: Device =
    Device { obj_alloc: |size| size + 1, obj_free: |_| Ok(()), region: || (0, 0) };

/// How often a handler of the test ran, and the address it was told.
static CALLS: AtomicUsize = AtomicUsize::new(0);
static ADDRESS: AtomicUsize = AtomicUsize::new(0);

/// Exit status of a child that came to the end of its case.
const SURVIVED: i32 = 42;
const IN_CHILD: &str = "MEMENTO_TEST_ISA_CHILD";

/// Runs `case` in a child: this test of this binary once more. The child exits with `SURVIVED`
/// unless a signal or a panic ends it.
fn in_child(test: &str, case: impl FnOnce()) -> ExitStatus {
    if std::env::var_os(IN_CHILD).is_some() {
        case();
        std::process::exit(SURVIVED);
    }
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--test-threads=1", "--nocapture"])
        .env(IN_CHILD, "1")
        .stdout(Stdio::null())
        .status()
        .unwrap()
}

#[track_caller]
fn assert_survived(status: ExitStatus) {
    assert_eq!(status.code(), Some(SURVIVED), "{status}");
}

#[track_caller]
fn assert_killed(status: ExitStatus) {
    assert_eq!(status.signal(), Some(libc::SIGILL), "{status}");
}

fn start() {
    assert_eq!(isa::start(&DEVICE), Some(Execution::Emulated));
}

/// An instruction at a site that nobody has executed before: it traps.
fn execute_unpatched() {
    assert_eq!(Page::text().call(0, 40), 41);
}

/// Executes `ud2`, which is not ours, and returns its address.
#[inline(never)]
fn foreign() -> usize {
    let address: usize;
    // SAFETY: the tests' handlers step over the two bytes, or the process dies as it should.
    unsafe {
        std::arch::asm!("lea {0}, [rip + 2f]", "2: ud2", out(reg) address);
    }
    address
}

extern "C" fn with_info(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    assert_eq!(signal, libc::SIGILL);
    // A handler may execute instructions, patched or not.
    execute_unpatched();
    CALLS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: a handler with SA_SIGINFO gets both from the kernel.
    unsafe {
        ADDRESS.store((*info).si_addr() as usize, Ordering::Relaxed);
        let context: *mut libc::ucontext_t = context.cast();
        (*context).uc_mcontext.gregs[libc::REG_RIP as usize] += 2;
    }
}

extern "C" fn plain(signal: i32) {
    assert_eq!(signal, libc::SIGILL);
    CALLS.fetch_add(1, Ordering::Relaxed);
}

fn action(handler: usize, flags: i32) -> libc::sigaction {
    // SAFETY: all zeros is a valid action: default, empty mask, no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    action
}

/// Sets an action through the replacement that the shim exports; returns the one before.
fn set(signal: i32, new: &libc::sigaction) -> libc::sigaction {
    let mut old = action(0, 0);
    // SAFETY: both pointers are to live actions, and the handler has the signature of its flags.
    assert_eq!(unsafe { signals::sigaction(signal, new, &mut old) }, 0);
    old
}

fn set_of(members: &[i32]) -> libc::sigset_t {
    // SAFETY: an empty set is made first.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for &signal in members {
            libc::sigaddset(&mut set, signal);
        }
        set
    }
}

fn has(set: &libc::sigset_t, signal: i32) -> bool {
    // SAFETY: the set is initialised.
    unsafe { libc::sigismember(set, signal) == 1 }
}

/// Changes the mask through the replacement; returns the set before.
fn mask(how: i32, members: &[i32]) -> libc::sigset_t {
    let mut old = set_of(&[]);
    // SAFETY: both pointers are to live sets.
    assert_eq!(unsafe { signals::sigprocmask(how, &set_of(members), &mut old) }, 0);
    old
}

fn info_handler() -> usize {
    with_info as *const () as usize
}

#[test]
fn a_foreign_fault_reaches_a_handler_with_siginfo() {
    assert_survived(in_child("a_foreign_fault_reaches_a_handler_with_siginfo", || {
        start();
        set(libc::SIGILL, &action(info_handler(), libc::SA_SIGINFO));
        for count in 1..=3 {
            let address = foreign();
            assert_eq!(CALLS.load(Ordering::Relaxed), count);
            assert_eq!(ADDRESS.load(Ordering::Relaxed), address);
            execute_unpatched();
        }
    }));
}

#[test]
fn a_handler_set_before_the_start_is_kept() {
    assert_survived(in_child("a_handler_set_before_the_start_is_kept", || {
        let new = action(info_handler(), libc::SA_SIGINFO);
        // SAFETY: libc's own sigaction; the handler has the signature of its flags.
        assert_eq!(unsafe { libc::sigaction(libc::SIGILL, &new, std::ptr::null_mut()) }, 0);
        start();
        foreign();
        assert_eq!(CALLS.load(Ordering::Relaxed), 1);
        let reported = set(libc::SIGILL, &action(libc::SIG_DFL, 0));
        assert_eq!(reported.sa_sigaction, info_handler());
        assert_ne!(reported.sa_flags & libc::SA_SIGINFO, 0);
    }));
}

#[test]
fn a_plain_handler_gets_a_signal_that_was_raised() {
    assert_survived(in_child("a_plain_handler_gets_a_signal_that_was_raised", || {
        start();
        let handler = plain as *const () as usize;
        // SAFETY: the handler has the right signature.
        unsafe {
            assert_eq!(signals::signal(libc::SIGILL, handler), libc::SIG_DFL);
            libc::raise(libc::SIGILL);
            libc::raise(libc::SIGILL);
            assert_eq!(CALLS.load(Ordering::Relaxed), 2);
            assert_eq!(signals::signal(libc::SIGILL, libc::SIG_IGN), handler);
            libc::raise(libc::SIGILL);
        }
        assert_eq!(CALLS.load(Ordering::Relaxed), 2);
        execute_unpatched();
    }));
}

/// The signal arrives when the next instruction to execute is one of ours: it was sent all the
/// same, and is not taken for the instruction's.
#[test]
fn a_signal_that_was_sent_in_front_of_an_instruction_is_the_programs() {
    assert_survived(in_child(
        "a_signal_that_was_sent_in_front_of_an_instruction_is_the_programs",
        || {
            start();
            // SAFETY: the handler has the right signature; `tgkill` sends to this thread.
            unsafe {
                signals::signal(libc::SIGILL, plain as *const () as usize);
                let process = libc::getpid();
                let result: usize;
                std::arch::asm!(
                    ".p2align 3",
                    ".rept 6",
                    "nop",
                    ".endr",
                    "syscall",
                    ".byte 0x48, 0x0f, 0xb9, 0x87, 0x01, 0x4d, 0x45, 0x4d",
                    inlateout("rax") libc::SYS_tgkill as usize => result,
                    in("rdi") process as usize,
                    in("rsi") libc::gettid() as usize,
                    in("rdx") libc::SIGILL as usize,
                    out("rcx") _, out("r11") _,
                );
                assert_eq!(result, process as usize + 1);
            }
            assert_eq!(CALLS.load(Ordering::Relaxed), 1);
        },
    ));
}

#[test]
fn a_handler_that_resets_is_called_once() {
    assert_killed(in_child("a_handler_that_resets_is_called_once", || {
        start();
        set(libc::SIGILL, &action(info_handler(), libc::SA_SIGINFO | libc::SA_RESETHAND));
        foreign();
        assert_eq!(CALLS.load(Ordering::Relaxed), 1);
        foreign();
    }));
}

#[test]
fn the_handlers_own_mask_holds_while_it_runs() {
    extern "C" fn look(_: i32) {
        let now = mask(libc::SIG_BLOCK, &[]);
        assert!(has(&now, libc::SIGUSR1) && !has(&now, libc::SIGUSR2));
        CALLS.fetch_add(1, Ordering::Relaxed);
    }
    assert_survived(in_child("the_handlers_own_mask_holds_while_it_runs", || {
        start();
        let mut new = action(look as *const () as usize, 0);
        new.sa_mask = set_of(&[libc::SIGUSR1]);
        set(libc::SIGILL, &new);
        // SAFETY: no preconditions.
        unsafe { libc::raise(libc::SIGILL) };
        assert_eq!(CALLS.load(Ordering::Relaxed), 1);
        assert!(!has(&mask(libc::SIG_BLOCK, &[]), libc::SIGUSR1), "restored afterwards");
    }));
}

#[test]
fn a_foreign_fault_kills_by_default() {
    assert_killed(in_child("a_foreign_fault_kills_by_default", || {
        start();
        execute_unpatched();
        foreign();
    }));
}

#[test]
fn a_raised_signal_kills_by_default() {
    assert_killed(in_child("a_raised_signal_kills_by_default", || {
        start();
        // SAFETY: no preconditions.
        unsafe { libc::raise(libc::SIGILL) };
    }));
}

#[test]
fn a_fault_cannot_be_ignored() {
    assert_killed(in_child("a_fault_cannot_be_ignored", || {
        start();
        set(libc::SIGILL, &action(libc::SIG_IGN, 0));
        foreign();
    }));
}

#[test]
fn a_fault_while_blocked_kills() {
    assert_killed(in_child("a_fault_while_blocked_kills", || {
        start();
        set(libc::SIGILL, &action(info_handler(), libc::SA_SIGINFO));
        mask(libc::SIG_BLOCK, &[libc::SIGILL]);
        foreign();
    }));
}

#[test]
fn an_instruction_of_the_supervisor_is_foreign() {
    assert_killed(in_child("an_instruction_of_the_supervisor_is_foreign", || {
        start();
        // SAFETY: `write-mrs`; the process dies as it should.
        unsafe { std::arch::asm!(".p2align 3", ".byte 0x48,0x0f,0xb9,0x87,12,0x4d,0x45,0x4d") };
    }));
}

#[test]
fn an_instruction_off_its_alignment_is_foreign() {
    assert_killed(in_child("an_instruction_off_its_alignment_is_foreign", || {
        start();
        let text = libc::PROT_READ | libc::PROT_EXEC;
        Page::new(0, libc::MAP_PRIVATE, text, 4).call(0, 8);
    }));
}

#[test]
fn instructions_run_while_the_program_believes_sigill_blocked() {
    assert_survived(in_child("instructions_run_while_the_program_believes_sigill_blocked", || {
        start();
        let both = [libc::SIGILL, libc::SIGUSR1];
        assert!(!has(&mask(libc::SIG_BLOCK, &both), libc::SIGILL));
        execute_unpatched();
        let now = mask(libc::SIG_UNBLOCK, &[libc::SIGUSR1]);
        assert!(has(&now, libc::SIGILL) && has(&now, libc::SIGUSR1));
        let now = mask(libc::SIG_SETMASK, &[]);
        assert!(has(&now, libc::SIGILL) && !has(&now, libc::SIGUSR1));
        assert!(!has(&mask(libc::SIG_SETMASK, &both), libc::SIGILL));
        execute_unpatched();
        assert!(has(&mask(libc::SIG_UNBLOCK, &both), libc::SIGILL));
        assert!(!has(&mask(libc::SIG_BLOCK, &[]), libc::SIGILL));
    }));
}

#[test]
fn a_process_that_starts_with_sigill_blocked() {
    assert_survived(in_child("a_process_that_starts_with_sigill_blocked", || {
        let ill = set_of(&[libc::SIGILL]);
        // SAFETY: libc's own function with a live set.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &ill, std::ptr::null_mut()) };
        start();
        execute_unpatched();
        assert!(has(&mask(libc::SIG_BLOCK, &[]), libc::SIGILL), "reported as it was");
    }));
}

#[test]
fn a_handler_that_masks_everything_may_execute_instructions() {
    extern "C" fn other(_: i32) {
        execute_unpatched();
        CALLS.fetch_add(1, Ordering::Relaxed);
    }
    assert_survived(in_child("a_handler_that_masks_everything_may_execute_instructions", || {
        start();
        let mut new = action(other as *const () as usize, 0);
        // SAFETY: fills the set of a live action.
        unsafe { libc::sigfillset(&mut new.sa_mask) };
        set(libc::SIGUSR1, &new);
        // SAFETY: no preconditions.
        unsafe { libc::raise(libc::SIGUSR1) };
        assert_eq!(CALLS.load(Ordering::Relaxed), 1);
        let reported = set(libc::SIGUSR1, &action(libc::SIG_DFL, 0));
        assert!(has(&reported.sa_mask, libc::SIGILL), "reported as it was set");
        assert!(!has(&set(libc::SIGUSR1, &action(0, 0)).sa_mask, libc::SIGILL));
    }));
}

#[test]
fn a_site_for_which_there_is_no_room_keeps_trapping() {
    assert_survived(in_child("a_site_for_which_there_is_no_room_keeps_trapping", || {
        start();
        let text = libc::PROT_READ | libc::PROT_EXEC;
        let page = Page::new(0x1000_0000_0000, libc::MAP_PRIVATE, text, 0);
        let none = libc::rlimit { rlim_cur: 0, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: a live limit.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &none) }, 0);
        for size in [8, 16, 24] {
            assert_eq!(page.call(0, size), size + 1);
            assert_eq!(page.first_byte(0), 0x48);
        }
    }));
}

#[test]
fn bad_arguments_are_refused_as_libc_refuses_them() {
    assert_survived(in_child("bad_arguments_are_refused_as_libc_refuses_them", || {
        start();
        let errno = || std::io::Error::last_os_error().raw_os_error();
        let default = action(libc::SIG_DFL, 0);
        for signal in [-1, 0, 32, 33, 65, libc::SIGKILL] {
            // SAFETY: live pointers, or null where it is allowed.
            unsafe {
                assert_eq!(signals::sigaction(signal, &default, std::ptr::null_mut()), -1);
                assert_eq!(errno(), Some(libc::EINVAL));
                assert_eq!(signals::signal(signal, libc::SIG_IGN), libc::SIG_ERR);
            }
        }
        let set = set_of(&[libc::SIGUSR1]);
        // SAFETY: as above.
        unsafe {
            assert_eq!(signals::pthread_sigmask(77, &set, std::ptr::null_mut()), libc::EINVAL);
            assert_eq!(signals::sigprocmask(77, &set, std::ptr::null_mut()), -1);
            assert_eq!(errno(), Some(libc::EINVAL));
        }
    }));
}
