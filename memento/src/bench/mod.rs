//! `memento bench`: functions under several allocators, in turns, and what they cost.
//!
//! One way through, each step a module that knows only those before it:
//!
//! - [`metric`] — the quantities
//! - [`workload`] — what is run; [`suite`] has the functions that come with the command
//! - [`document`] — the results, as other tools read them: `memento.bench/1`
//! - [`budget`] — the time there is, and whether it is enough for more
//! - [`measure`] — workloads × allocators, by the engine's schedule
//! - [`launch`] — one execution
//! - [`table`], [`export`], [`page`] — the results for people

pub mod budget;
pub mod document;
pub mod export;
pub mod launch;
pub mod measure;
pub mod metric;
pub mod page;
pub mod suite;
pub mod table;
pub mod workload;
