//! The handler of `SIGILL`: executes our instructions on the device, and passes on what is not
//! ours.
//!
//! All signals are blocked while it runs, so a trapped instruction is as atomic as the hardware's
//! towards its own thread. It does not allocate, and it preserves `errno`.

use super::device::{self, Device};
use super::encoding::{Instruction, X86_BYTES};
use super::{patch, signals, stub, trampoline};
use core::sync::atomic::{AtomicU64, Ordering};
use libc::{c_int, c_void, siginfo_t, ucontext_t};

/// Instructions that trapped since the process started.
static TRAPS: AtomicU64 = AtomicU64::new(0);

/// Index in a context's `gregs` of each register, by register number.
const GREGS: [usize; 16] = {
    use libc::*;
    [
        REG_RAX as usize,
        REG_RCX as usize,
        REG_RDX as usize,
        REG_RBX as usize,
        REG_RSP as usize,
        REG_RBP as usize,
        REG_RSI as usize,
        REG_RDI as usize,
        REG_R8 as usize,
        REG_R9 as usize,
        REG_R10 as usize,
        REG_R11 as usize,
        REG_R12 as usize,
        REG_R13 as usize,
        REG_R14 as usize,
        REG_R15 as usize,
    ]
};

/// General registers in a context.
const NGREG: usize = 23;

/// Number of instructions that trapped since the process started; patched sites trap no more.
pub fn traps() -> u64 {
    TRAPS.load(Ordering::Relaxed)
}

/// Puts `device` behind the instructions and our handler in front of `SIGILL`. `false` if the
/// kernel refuses. From here on the instructions may be executed in this process.
pub fn install(device: &'static Device) -> bool {
    device::set(device);
    signals::install(on_sigill as *const () as usize)
}

/// The handler.
///
/// # Safety
/// Called by the kernel for `SIGILL`.
unsafe extern "C" fn on_sigill(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the arguments are the kernel's.
    if unsafe { emulate(info, context.cast()) }.is_none() {
        // SAFETY: as above; the handler was installed with all signals blocked.
        unsafe { signals::pass_on(signal, info, context) };
    }
}

/// Executes the instruction that trapped; `None` if it is none of ours.
///
/// # Safety
/// As [`on_sigill`].
unsafe fn emulate(info: *mut siginfo_t, context: *mut ucontext_t) -> Option<()> {
    // Sent by a process, or raised: there is no instruction.
    // SAFETY: the kernel passes a valid siginfo.
    if unsafe { (*info).si_code } <= 0 {
        return None;
    }
    // SAFETY: the kernel passes a valid context, which belongs to this handler until it returns.
    let machine = unsafe { &mut (*context).uc_mcontext };
    let site = machine.gregs[libc::REG_RIP as usize] as usize;
    if !site.is_multiple_of(X86_BYTES) {
        return None;
    }
    // SAFETY: the CPU fetched an instruction at this address, and the eight bytes do not leave
    // its page.
    let slot = unsafe { patch::read_slot(site) };
    let Some(instruction) = Instruction::decode_x86(slot) else {
        // Another thread patched the site while this one trapped: execute the jump.
        return stub::is_jump(site, slot).then_some(());
    };
    let operand = machine.gregs[GREGS[instruction.rs as usize & 15]] as usize;
    // SAFETY: the instruction's own contract: who executes `obj-free` gives the object up.
    let result = unsafe { device::execute(instruction, operand)? };
    machine.gregs[GREGS[instruction.rd as usize & 15]] = result as i64;
    machine.gregs[libc::REG_RIP as usize] = (site + X86_BYTES) as i64;
    TRAPS.fetch_add(1, Ordering::Relaxed);
    let errno = super::sys::errno();
    // musl has no name for `fpregs`; in the kernel's structure it follows the general registers.
    // SAFETY: the whole structure is the kernel's, and so is the pointer.
    unsafe {
        let machine = (&raw const (*context).uc_mcontext).cast::<[i64; NGREG]>();
        trampoline::learn_vectors(machine.add(1).cast::<*const u8>().read());
    }
    // SAFETY: aligned, as checked, and executed just now.
    unsafe { patch::patch(site) };
    super::sys::set_errno(errno);
    Some(())
}
