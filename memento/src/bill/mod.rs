//! `memento bill`: what a run costs under several ways of billing.
//!
//! - [`usage`] — CPU and memory over a run, step by step
//! - [`models`] — SLIM, SIM, SPFU and NPFU: pure arithmetic over a usage
//! - [`presets`] — what providers charge, with date and source
//! - [`recommend`] — duration and cost at every memory size, and which to take
//! - [`document`] — the results: `memento.bill/1`
//! - [`table`], [`page`] — the results for people
//!
//! The definitions are of *Making Serverless Pay-For-Use a Reality with Leopard* (NSDI 2025) as far as it
//! publishes them; what it leaves open is fixed where it is used, marked \[D\].

pub mod document;
pub mod models;
pub mod page;
pub mod presets;
pub mod recommend;
pub mod table;
pub mod usage;
