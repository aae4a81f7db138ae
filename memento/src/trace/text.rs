//! The text form: one operation a line.
//!
//! ```text
//! # comment
//! a ID SIZE [ALIGN]      an allocation; ALIGN is 8 if it is not given
//! f ID                   a free
//! r ID NEWID SIZE        a reallocation; ALIGN stays the object's; NEWID may be ID
//! tN a …                 the same, by thread N; without it by thread 0
//! ```
//! Numbers are decimal, or hexadecimal after `0x`. IDs are 64-bit and may be used again after their
//! free. A file may end in zero bytes.

use super::{Event, EventAction, Place, Problem, Sink, TraceError, Writer};
use std::io::{self, BufRead, Write};

/// Reads a text to its end.
///
/// # Errors
/// The first problem, with its line.
pub fn read(mut input: impl BufRead, sink: &mut Sink<'_>) -> Result<(), TraceError> {
    let mut text = Vec::new();
    for number in 1.. {
        text.clear();
        let fail = |problem| TraceError { place: Place::Line(number), problem };
        match input.read_until(b'\n', &mut text) {
            Ok(0) => break,
            Ok(_) if text[0] == 0 => break,
            Ok(_) => {}
            Err(error) => return Err(fail(error.into())),
        }
        if let Some(event) = line(&text).map_err(fail)? {
            sink(event).map_err(fail)?;
        }
    }
    Ok(())
}

/// The operation of a line, if it has one.
fn line(text: &[u8]) -> Result<Option<Event>, Problem> {
    let text = std::str::from_utf8(text).map_err(|_| Problem::NotText)?;
    let text = text.split('#').next().unwrap_or_default();
    let mut words = text.split_ascii_whitespace();
    let Some(mut word) = words.next() else { return Ok(None) };
    let mut thread = 0;
    if let Some(digits) = word.strip_prefix('t') {
        thread = number(digits, "thread")?;
        word = words.next().ok_or(Problem::Missing("the operation"))?;
    }
    let mut next = |what| number(words.next().ok_or(Problem::Missing(what))?, what);
    let action = match word {
        "a" => {
            let (id, size) = (next("ID")?, next("SIZE")?);
            let align = words.next().map_or(Ok(8), |word| number(word, "ALIGN"))?;
            EventAction::Alloc { id, size, align }
        }
        "f" => EventAction::Free { id: next("ID")? },
        "r" => EventAction::Realloc { id: next("ID")?, new: next("NEWID")?, size: next("SIZE")? },
        other => return Err(Problem::UnknownOperation(other.into())),
    };
    match words.next() {
        Some(word) => Err(Problem::Surplus(word.into())),
        None => Ok(Some(Event { thread, time_ns: 0, action })),
    }
}

fn number(word: &str, what: &'static str) -> Result<u64, Problem> {
    // `from_str_radix` takes a sign; a trace has none.
    let (digits, radix) = match word.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (word, 10),
    };
    let digits = if digits.starts_with('+') { "" } else { digits };
    u64::from_str_radix(digits, radix).map_err(|_| Problem::BadNumber { what, word: word.into() })
}

/// Writes lines.
pub struct TextWriter<W: Write>(W);

impl<W: Write> TextWriter<W> {
    /// A text that begins with the program's name.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn new(mut output: W, program: &str) -> io::Result<Self> {
        let name: String = program.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        write!(output, "# memento trace, text 1\n# program {name}\n")?;
        Ok(Self(output))
    }
}

impl<W: Write> Writer for TextWriter<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        let out = &mut self.0;
        if event.thread > 0 {
            write!(out, "t{} ", event.thread)?;
        }
        match event.action {
            EventAction::Alloc { id, size, align: 8 } => writeln!(out, "a {id} {size}"),
            EventAction::Alloc { id, size, align } => writeln!(out, "a {id} {size} {align}"),
            EventAction::Free { id } => writeln!(out, "f {id}"),
            EventAction::Realloc { id, new, size } => writeln!(out, "r {id} {new} {size}"),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
