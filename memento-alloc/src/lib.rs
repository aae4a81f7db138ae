//! A global allocator for functions that live for milliseconds.
#![no_std]

mod observer;
pub use observer::Observer;
