//! What a run did and cost, as a document for machines and a page for people.
//!
//! [`Report`] is the document, `memento.report/1`; [`text`] is the page. Both show the same numbers.

mod emulator;
mod published;
mod schema;
mod text;
mod write;

pub use emulator::{Aac, Arenas, Bypass, Cycles, Emulator, Hot, Pages};
pub use schema::{ClassCount, Process, ReplayCost, Report, SCHEMA, Software};
pub use text::{Style, text};
pub use write::{Destination, Format, colour_wanted};
