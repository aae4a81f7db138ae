//! A global allocator for functions that live for milliseconds.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod c;
pub mod c_report;
mod observer;
pub use observer::Observer;
