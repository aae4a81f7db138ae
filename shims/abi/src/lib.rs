//! The names under which a shared object offers memento to C and C++ programs.
//!
//! [`export!`] defines them all for one heap; each `shims/c*` crate expands it once and is nothing
//! else. No policy lives here: every name forwards to `memento_alloc::c`.
//!
//! The crate also holds what every `no_std` shared object must bring: a panic handler, and the
//! hidden `__dso_handle` that the start files would have defined.
#![no_std]

mod cxx;
pub mod emulator;
mod exports;
mod prepared;
#[doc(hidden)]
pub mod runtime;
mod thread_keys;

pub use prepared::Prepared;

#[doc(hidden)]
pub use memento_alloc;
