//! A global allocator for functions that live for milliseconds.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod c;
pub mod c_report;
pub mod conf;
mod observer;
pub mod record;
pub mod report;
mod startup;

pub use observer::Observer;
