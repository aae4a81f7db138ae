//! A global allocator for functions that live for milliseconds.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod c;
pub mod c_report;
pub mod conf;
mod domain;
mod fork;
mod guarded;
mod hardened;
pub mod json;
mod large;
mod learned;
mod memento;
mod memento_c;
mod observer;
pub mod page_conf;
pub mod record;
pub mod replay;
pub mod report;
mod startup;
mod stats;
mod thread;

pub use memento::Memento;
pub use memento_hal as hal;
pub use observer::Observer;
pub use stats::{ClassStats, Stats};
