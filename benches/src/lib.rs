//! Whole programs under many allocators: what is run, what it cost, who won.
//!
//! One way through, each step a module that knows only those before it:
//!
//! - [`rows`] — the programs, from `rows.toml`
//! - [`allocators`] — what is preloaded: the system's, memento, the peers that `peers/build` made
//! - [`prepare`] — inputs and our own programs, made where they are missing
//! - [`launch`] — one execution of a row under an allocator: the program alone, or a server with its client
//! - [`results`] — samples with their run, round and turn, in a file that only grows
//! - [`fair`] — ratios of interleaved samples; the best peer chosen on other rounds than it is judged on
//! - [`run`] — all of it, interleaved
//! - [`summary`] — rows and groups, and what the targets say
//! - [`plot`] — time against memory, of every allocator or setting
//! - [`render`] — tables and exports
//! - [`share`] — how much of a program is its allocator, by callgrind
//!
//! Running, watching and the arithmetic of samples are [`memento::engine`]'s. It does not know how memento works: to this crate an allocator is a name and a shared object.
#![forbid(unsafe_code)]

pub mod allocators;
pub mod fair;
pub mod launch;
pub mod plot;
pub mod prepare;
pub mod render;
pub mod results;
pub mod rows;
pub mod run;
pub mod share;
pub mod summary;
