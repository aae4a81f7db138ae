//! Finds out whether the CPU has the extension, by executing `memento-id`.
//!
//! No CPUID (5 µs on a virtual machine, and no leaf is assigned). Our own handler serves as the
//! probe's: if the instruction traps, the handler answers, and the identification says that it
//! was emulated. On a CPU without the extension that costs one trap (about 10 µs) and four system
//! calls, once; on one with it, seven system calls. Nothing runs before the first use of the `isa`
//! backend. (A CPU with AVX-512 is asked one CPUID question after the trap, about its mask
//! registers.)

use super::device::Device;
use super::encoding::{ID_EMULATED, ID_SIGNATURE};
use super::{arch, patch, signals, trap};

/// Who executes the instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Execution {
    /// The CPU.
    Hardware,
    /// The device that was given.
    Emulated,
}

/// What an identification word says; `None` if it is none.
pub const fn execution_of(identification: u64) -> Option<Execution> {
    if identification >> 32 != ID_SIGNATURE {
        None
    } else if identification & ID_EMULATED != 0 {
        Some(Execution::Emulated)
    } else {
        Some(Execution::Hardware)
    }
}

/// Makes the instructions executable in this process, by `device` if the CPU lacks them; the
/// listed sites of this image are patched then. `None` if the kernel refuses the handler, or the
/// CPU does something else with the encoding.
pub fn start(device: &'static Device) -> Option<Execution> {
    if !trap::install(device) {
        return None;
    }
    // The probe's own site is patched with all listed ones, not by its trap, which would have to
    // look up what kind of memory it lies in.
    // SAFETY: the handler is in place.
    let found = execution_of(patch::held_back(|| unsafe { arch::identify() }));
    match found {
        Some(Execution::Emulated) => patch::patch_listed(arch::listed_sites()),
        _ => signals::uninstall(),
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::encoding::identification;

    #[test]
    fn the_word_tells_who_executes() {
        assert_eq!(execution_of(identification(true)), Some(Execution::Emulated));
        assert_eq!(execution_of(identification(false)), Some(Execution::Hardware));
        assert_eq!(execution_of(0), None);
    }
}
