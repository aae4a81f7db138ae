//! `memento profile`: what a program asks of its allocator, and what that costs it.
//!
//! - [`count`] — sizes and lifetimes, from the events of a recording
//! - [`paths`] — the way of each through the system's `malloc`, by a model
//! - [`document`] — the results: `memento.profile/1`
//! - [`time`] — what they cost, with the kernel's part
//! - [`show`] — the results for people, as text and as a page

pub mod count;
pub mod document;
pub mod paths;
pub mod show;
pub mod time;
