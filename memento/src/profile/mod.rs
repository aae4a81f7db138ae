//! `memento profile`: what a program asks of its allocator, and what that costs it.
//!
//! - [`count`] — sizes and lifetimes, from the events of a recording
//! - [`document`] — the results: `memento.profile/1`
//! - [`show`] — the results for people, as text and as a page

pub mod count;
pub mod document;
pub mod show;
