//! What stands behind the instructions when the CPU does not: a table of plain functions.
//!
//! A table and not a trait object, so that the signal handler finds it with one atomic load of a
//! thin pointer.

use super::encoding::{Function, Instruction, fault_code, identification};
use crate::object::FreeFault;
use core::sync::atomic::{AtomicPtr, Ordering};

/// Executes the user instructions for the calling thread's core.
///
/// The functions are called in a signal handler or from a patched site, in the middle of any
/// code: they must not allocate through `malloc`, unwind, or take a lock that the interrupted
/// code of the same thread may hold.
#[derive(Debug)]
pub struct Device {
    /// `obj-alloc`: an object of this many bytes, or 0 when memory is exhausted or the size is
    /// above 512.
    pub obj_alloc: fn(usize) -> usize,
    /// `obj-free`.
    ///
    /// # Safety
    /// Nobody uses the object afterwards.
    pub obj_free: unsafe fn(usize) -> Result<(), FreeFault>,
    /// First address of the region and first address after it.
    pub region: fn() -> (usize, usize),
}

/// The device behind the instructions of this process; null until installed.
static DEVICE: AtomicPtr<Device> = AtomicPtr::new(core::ptr::null_mut());

/// Puts `device` behind the instructions; the device that was there before, if any, is replaced.
pub(super) fn set(device: &'static Device) {
    // Release pairs with the Acquire in `get`: whoever sees the pointer sees the table.
    DEVICE.store(core::ptr::from_ref(device).cast_mut(), Ordering::Release);
}

/// The installed device.
fn get() -> Option<&'static Device> {
    // SAFETY: only `set` stores here, and what it stores is a `&'static Device`. Acquire pairs
    // with its Release.
    unsafe { DEVICE.load(Ordering::Acquire).as_ref() }
}

/// The value that `instruction` writes to its destination when its source register holds
/// `operand`; `None` if the device cannot execute it (none is installed, or the instruction is the
/// supervisor's).
///
/// Preserves `errno`: the instruction has none, and the device may make system calls.
///
/// # Safety
/// If the instruction is `obj-free`, nobody uses the object at `operand` afterwards.
pub(super) unsafe fn execute(instruction: Instruction, operand: usize) -> Option<usize> {
    let device = get()?;
    // SAFETY: libc returns the address of the calling thread's `errno`, valid while it lives.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let saved = unsafe { errno.read() };
    let result = match instruction.function {
        Function::Identify => identification(true) as usize,
        Function::ObjAlloc => (device.obj_alloc)(operand),
        // SAFETY: the caller vouches that nobody uses the object afterwards.
        Function::ObjFree => fault_code(unsafe { (device.obj_free)(operand) }),
        Function::ReadRegionStart => (device.region)().0,
        Function::ReadRegionEnd => (device.region)().1,
        Function::HotFlush
        | Function::ReadPageTable
        | Function::WriteRegionStart
        | Function::WriteRegionEnd
        | Function::WritePageTable => return None,
    };
    // SAFETY: as above.
    unsafe { errno.write(saved) };
    Some(result)
}
