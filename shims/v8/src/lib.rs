//! Memento's page policy for the pages that V8 maps for its heap.
//!
//! JavaScript's objects never see `malloc`: V8 maps pages of 256 KiB and allocates in them by itself.
//! A shared object that [exports](export_mapping_calls) `mmap`, `munmap`, `mprotect` and `madvise`
//! sees these mappings, and only these are treated specially; see [`pages`](V8Pages) for how.
//!
//! Whether V8 is in the process is decided when the loader binds [`v8_is_here`]'s weak reference to
//! V8's public interface, which every Node offers its addons. So one shared object serves every process of a
//! tree, and in a process without V8 each of the four costs a test and a jump.
//!
//! Must not know: malloc.
#![cfg_attr(not(test), no_std)]

mod budget;
mod calls;
mod interpose;
mod pages;
mod shape;
mod units;

pub use interpose::v8_is_here;
pub use pages::V8Pages;

#[doc(hidden)]
pub use interpose::{madvise, mmap, mprotect, munmap};
