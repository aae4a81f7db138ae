//! The `memento` command as a library: its parts are tested, and used by the benchmarks, one by
//! one.
//!
//! [`cli`] reads the command line and hands each subcommand to its module: [`run`], [`mod@env`],
//! [`replay`], [`record`], [`mod@bench`], [`warm`], [`bill`], [`profile`], [`project`], [`doctor`]. Below them: [`engine`] runs
//! and measures programs, [`preload`] finds the
//! shared objects, [`program`] says whether a program can load them, [`counters`] collects what
//! they counted, [`report`] shows it; [`allocators`] are what is compared, [`html`] makes pages, [`calibrate`] measures what operations cost.
//!
//! The allocator never calls into this crate; the two meet in files and environment variables.
#![forbid(unsafe_code)]

pub mod allocators;
pub mod bench;
pub mod bill;
pub mod calibrate;
pub mod cli;
pub mod columns;
pub mod conf;
pub mod counters;
pub mod doctor;
pub mod engine;
pub mod env;
pub mod exit;
pub mod hal;
pub mod html;
pub mod preload;
pub mod profile;
pub mod program;
pub mod project;
pub mod record;
pub mod replay;
pub mod report;
pub mod run;
pub mod trace;
pub mod units;
pub mod warm;
