//! The emulator bound to this process: real objects, real headers, a core for each thread.
//!
//! The only part of the emulator with unsafe code. Simulated addresses are real ones; the words of
//! headers, page table and cores' areas lie where the layout says, in one reservation of which only
//! what is used is ever committed. Memory of objects is committed when their arena is created.
//!
//! - A core belongs to one thread at a time. The core of a thread that ends is flushed and waits,
//!   with all its arenas, for the next thread. Until then remote frees collect in its arenas.
//! - All cores share one page allocator behind a spin lock, which only new arenas and first touches
//!   of pages take.
//! - In a fork child the cores of other threads may have stopped in the middle of an instruction.
//!   They are abandoned: their objects stay allocated and can be freed (remotely, with every check),
//!   but nobody adopts them.
//!
//! It must not know where threads come from, nor what a request larger than 512 bytes is.

#[cfg(not(loom))]
mod reservation;
#[cfg(all(test, not(loom)))]
mod tests;
#[cfg(not(loom))]
mod words;

#[cfg(not(loom))]
pub use process::{CounterSource, Emu, EmuCore};
#[cfg(not(loom))]
mod process;
