//! The measuring engine: runs programs and says what they cost.
//!
//! Written once, for `memento run` and for every comparison. It knows nothing of allocators.
//!
//! - [`child`] runs one program in the foreground of this process and accounts for it alone.
//! - [`isolated`] does so from a tiny process of its own, so that what the measuring process holds
//!   in memory shows up nowhere.
//! - [`free_memory`] sees to it that no program finds memory that is dearer than another's.
//! - [`rounds`] runs several programs in turns, until the comparison is precise enough.
//! - [`client`] talks to a program that is a server, while it is measured.
//! - [`watch`] runs one program and looks at its CPU time and memory all the while.
//! - [`stats`] turns samples into medians, ratios with their spread, and verdicts; [`estimate`] sums
//!   ratios up.
//! - [`host`] says what machine this is.

pub mod child;
pub mod client;
mod deadline;
pub mod estimate;
pub mod free_memory;
pub mod host;
pub mod isolated;
pub mod rounds;
mod sample;
pub mod stats;
mod tree;
pub mod watch;

pub use sample::{Exit, Job, Sample};
