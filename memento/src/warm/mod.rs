//! `memento bench --handler`: many invocations in one process, as a platform's instance serves them.
//!
//! - [`handler`] — finds what is to be served: a Python or Node handler, or a program that speaks the
//!   Lambda Runtime API itself
//! - [`api`] — the other end of that interface: hands events out, takes responses, and measures
//! - [`document`] — latencies, and the platform's REPORT lines: `memento.warm/1`
//! - [`page`] — the same as a page with plots
//!
//! Python and Node handlers are served by a small client of the same interface that the command carries,
//! so that all languages are measured the same way.

pub mod api;
pub mod document;
pub mod handler;
pub mod page;
