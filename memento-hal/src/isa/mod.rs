//! The Memento instructions: encodings, emission, and execution on a CPU that has none of them.
//!
//! `memento-hal/ISA.md` is the specification. The same instruction bytes run on hardware and
//! without it: where the CPU does not know them they raise `SIGILL`, [`trap`] executes them on a
//! [`Device`], and [`patch`] turns the site into a jump, so that it traps once. Encodings are
//! known on every host; emission exists for x86-64 and RISC-V; trap and patch for x86-64 Linux.
//! On any other architecture the backend does not exist, and using it is an error at compile
//! time.
//!
//! Nothing here knows how objects are allocated: that is the device's. Only the backend, [`Isa`],
//! knows which device there is: the emulator of this process.

mod encoding;
pub use encoding::{
    Function, ID_EMULATED, ID_SIGNATURE, ISA_VERSION, Instruction, RISCV_CUSTOM_0, X86_BYTES,
    X86_SIGNATURE, fault_code, fault_of, identification,
};

#[cfg(target_arch = "riscv64")]
#[path = "riscv64.rs"]
pub mod arch;
#[cfg(target_arch = "x86_64")]
#[path = "x86_64.rs"]
pub mod arch;

cfg_if::cfg_if! {
    if #[cfg(all(target_arch = "x86_64", target_os = "linux"))] {
        #[cfg(not(loom))]
        mod backend;
        mod device;
        mod maps;
        pub mod patch;
        pub mod probe;
        pub mod signals;
        mod stub;
        mod sys;
        mod trampoline;
        pub mod trap;

        #[cfg(not(loom))]
        pub use backend::{Isa, IsaCore};
        pub use device::Device;
        pub use probe::{Execution, start};
    }
}
