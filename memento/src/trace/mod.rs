//! Traces: what a program asked of its allocator, operation by operation.
//!
//! Two forms have the same content: [`text`], one operation a line, to be written by hand; and [`compact`],
//! compressed, with times. [`raw`] is what a recorded program leaves behind. All give [`Event`]s; whoever
//! takes them checks that they make sense ([`crate::replay::trace`]).

pub mod compact;
pub mod raw;
pub mod text;

use std::io::{self, BufRead, Read};

/// One operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// Number of the thread, as the trace has it.
    pub thread: u64,
    /// Nanoseconds since the recording began; 0 in a text.
    pub time_ns: u64,
    /// What is done.
    pub action: EventAction,
}

/// What is done. IDs may be used again after their free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventAction {
    /// A new object.
    Alloc {
        /// Its ID.
        id: u64,
        /// Bytes.
        size: u64,
        /// Alignment in bytes.
        align: u64,
    },
    /// The end of an object.
    Free {
        /// Its ID.
        id: u64,
    },
    /// An object becomes another size; its alignment stays.
    Realloc {
        /// Its ID.
        id: u64,
        /// The ID that it has from now on; perhaps the same.
        new: u64,
        /// Bytes.
        size: u64,
    },
}

/// Why a trace cannot be read.
#[derive(thiserror::Error, Debug)]
#[error("{place}: {problem}")]
pub struct TraceError {
    /// Where.
    pub place: Place,
    /// What is wrong there.
    pub problem: Problem,
}

/// A place in a trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Number of a line, from 1.
    Line(u64),
    /// Bytes before it in the file.
    Offset(u64),
    /// An operation, from 1, of the block at an offset.
    Operation(u64, u64),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line(number) => write!(f, "line {number}"),
            Self::Offset(offset) => write!(f, "offset {offset}"),
            Self::Operation(offset, number) => {
                write!(f, "offset {offset}, operation {number} of the block there")
            }
        }
    }
}

/// What can be wrong.
#[derive(thiserror::Error, Debug)]
pub enum Problem {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// There is nothing in it.
    #[error("the trace is empty")]
    Empty,
    /// The line is not text.
    #[error("is not text")]
    NotText,
    /// No such operation.
    #[error("`{0}` is no operation; there are `a`, `f` and `r`, after an optional thread `tN`")]
    UnknownOperation(String),
    /// Too few words.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Too many words.
    #[error("`{0}` is one word too many")]
    Surplus(String),
    /// A word that should be a number.
    #[error("`{word}` is no {what}: it must be a number of at most 64 bits")]
    BadNumber {
        /// What was expected.
        what: &'static str,
        /// The word.
        word: String,
    },
    /// Alignment that is no power of two.
    #[error("the alignment {0} is not a power of two")]
    BadAlignment(u64),
    /// More bytes than an address space can hold.
    #[error("a size of {0} bytes is more than any object can have")]
    TooLarge(u64),
    /// ID of no live object.
    #[error("the ID {0} is not live: it was never allocated, or is freed already")]
    Unknown(u64),
    /// ID of a live object.
    #[error("the ID {0} is live already")]
    Live(u64),
    /// Not the magic number of the compact form.
    #[error("this is no compact trace: it does not begin with {:?}", String::from_utf8_lossy(&compact::MAGIC))]
    NotCompact,
    /// A version that this command does not know.
    #[error("version {0} of the form is not known; this command reads version {known}", known = compact::VERSION)]
    UnknownVersion(u16),
    /// The file ends too early.
    #[error("the trace is cut off: {0} is missing")]
    CutOff(&'static str),
    /// A block's checksum is wrong.
    #[error("the block is damaged: its checksum is {found:08x}, but {stored:08x} was stored")]
    Damaged {
        /// What its bytes give.
        found: u32,
        /// What was stored.
        stored: u32,
    },
    /// What cannot be.
    #[error("the block is damaged: {0}")]
    Impossible(&'static str),
    /// The end block counts other operations than there are.
    #[error("the trace has {found} operations, but {stored} were stored")]
    Count {
        /// How many there are.
        found: u64,
        /// How many there should be.
        stored: u64,
    },
    /// Bytes behind the end.
    #[error("something follows the end of the trace")]
    Trailing,
    /// More threads or objects than are supported.
    #[error("more than {0} {1}")]
    TooMany(u32, &'static str),
}

/// `--format` of a trace that is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Format {
    /// Whatever it is
    #[default]
    Auto,
    /// One operation a line
    Text,
    /// The compressed form
    Compact,
}

/// What takes the events of a trace.
pub type Sink<'a> = dyn FnMut(Event) -> Result<(), Problem> + 'a;

/// Reads a trace to its end.
///
/// # Errors
/// The first problem, of the trace or of `sink`, with its place.
pub fn read(input: impl BufRead, format: Format, sink: &mut Sink<'_>) -> Result<(), TraceError> {
    let mut start = Vec::new();
    let mut input = input;
    let limit = compact::MAGIC.len() as u64;
    let looked = input.by_ref().take(limit).read_to_end(&mut start);
    looked.map_err(|error| TraceError { place: Place::Offset(0), problem: error.into() })?;
    if start.is_empty() && format != Format::Text {
        return Err(TraceError { place: Place::Offset(0), problem: Problem::Empty });
    }
    let is_compact = match format {
        Format::Auto => start == compact::MAGIC,
        Format::Compact => true,
        Format::Text => false,
    };
    let input = io::Cursor::new(start).chain(input);
    if is_compact { compact::read(input, sink) } else { text::read(input, sink) }
}

/// What makes a file of events.
pub trait Writer {
    /// Adds an event.
    ///
    /// # Errors
    /// If it cannot be written.
    fn event(&mut self, event: &Event) -> io::Result<()>;

    /// Completes the file.
    ///
    /// # Errors
    /// If it cannot be written.
    fn finish(&mut self) -> io::Result<()>;
}
