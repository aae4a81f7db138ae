//! Writes the text trace that `memento replay` reads, from inside the program.
//!
//! `memento record` names a directory in `MEMENTO_TRACE`; each process image that loads the
//! recording shared object writes `<pid>-<n>.trace` there. The format is one operation a line,
//! `tN a ID SIZE ALIGN`, `tN f ID`, `tN r ID NEWID SIZE`, where an object's ID is its address, and
//! `tN ` is left out for the first thread and ALIGN if it is 8.
//!
//! Lines are in one order that all threads agree with: an address appears as allocated after the
//! free that made it available. A free is recorded before it takes effect and an allocation after,
//! and one lock covers each line.
//!
//! `window` is the file; [`RecordingObserver`] writes lines into it.

mod observer;
mod window;

pub use observer::RecordingObserver;
