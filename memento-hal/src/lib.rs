//! What the Memento hardware is: contracts, geometry, and the backends that fulfil them.
//!
//! A *core* is one thread's view of the hardware. The contracts are [`ObjectAllocator`] (one
//! core), [`PageAllocator`] (arenas and the pages behind them) and [`Hal`] (all cores of a
//! process). Backends: [`soft`], [`emulator`], [`isa`].
//!
//! This crate knows nothing of `malloc`, of large objects or of thread lifetime; those belong to
//! `memento-alloc`.
#![cfg_attr(not(any(test, loom, feature = "fake-os", feature = "std")), no_std)]
// Loom sees the lock-free parts alone; who uses them is not built.
#![cfg_attr(loom, allow(dead_code))]

pub mod counters;
pub mod emulator;
pub mod fatal;
pub mod geometry;
mod hal;
pub mod isa;
pub mod lock;
mod object;
pub mod os;
mod page;
pub mod soft;
pub mod sync;

pub use hal::{Hal, ProcessHal};
pub use object::{FreeFault, ObjectAllocator};
pub use page::{Extent, PageAllocator, PageCount};
