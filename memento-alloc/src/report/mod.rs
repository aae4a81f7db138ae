//! The report file: counts that outlive the program.
//!
//! `memento run` names a directory in `MEMENTO_REPORT`. Every process image that loads an
//! instrumented shared object makes one file there and keeps its counters in it, mapped shared:
//! they survive `_exit` and `SIGKILL`, and the file's existence proves that the object was loaded.
//!
//! [`layout`] is the file's format and the safe reader; [`writer`] makes and maps the file;
//! [`CountingObserver`] counts into it. [`doctor`] leaves a note beside it. Nothing here knows who reads the numbers.

mod counting;
pub mod doctor;
pub mod layout;
pub mod writer;

pub use counting::CountingObserver;
pub use writer::current_block;
