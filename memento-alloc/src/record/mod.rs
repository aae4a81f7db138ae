//! Writes what `memento record` turns into a trace, from inside the program.
//!
//! `memento record` names a directory in `MEMENTO_TRACE`; each process image that loads the
//! recording shared object writes `<pid>-<n>.trace` there, in the form of [`raw`]. An object's ID is its
//! address.
//!
//! Records are in one order that all threads agree with: an address appears as allocated after the
//! free that made it available. A free is recorded before it takes effect and an allocation after,
//! and one lock covers each record.
//!
//! `window` is the file; [`RecordingObserver`] writes records into it.

mod observer;
pub mod raw;
mod window;

pub use observer::RecordingObserver;
