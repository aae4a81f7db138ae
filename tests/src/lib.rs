//! Whole programs, run as their users run them: started with a shared object preloaded, and held
//! against the same program on the stock allocator.
//!
//! The crate is a harness (build the shared objects, compile a test program, run it, compare) and
//! its integration tests, one file per subject. Nothing in here allocates through memento: the
//! test processes themselves stay on the stock allocator.

mod command;
mod compile;
mod outcome;
mod proof;
mod python;
mod shim;

pub use command::{Reported, memento};
pub use compile::{Language, compile, compile_as, directory};
pub use outcome::{Outcome, run};
pub use proof::Bindings;
pub use python::Python;
pub use shim::{Shim, built};
