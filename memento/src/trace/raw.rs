//! What a recorded image left behind, as events that make sense.
//!
//! A raw file (see [`memento_alloc::record::raw`]) can hold what no trace may have: a fork child frees what
//! its parent allocated, and a killed program leaves half a record.

use super::{Event, EventAction};
use anyhow::{Context, Result, bail, ensure};
use memento_alloc::record::raw::{HEADER_BYTES, Kind, MAGIC, RECORD_BYTES, Record};
use memento_hal::geometry::c_alignment;
use std::collections::HashSet;
use std::io::{ErrorKind, Read};

/// What became of a raw file's records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Operations kept.
    pub kept: u64,
    /// Frees of objects that the trace does not know, left out.
    pub foreign_frees: u64,
    /// Reallocations of such objects, which become allocations.
    pub foreign_reallocs: u64,
    /// Objects that were freed unseen, because their address came again.
    pub unseen_frees: u64,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} operations", self.kept)?;
        let foreign = self.foreign_frees + self.foreign_reallocs;
        if foreign > 0 {
            write!(f, "; {foreign} on objects from before the fork left out or turned into `a`")?;
        }
        if self.unseen_frees > 0 {
            write!(f, "; {} frees that were not seen put in", self.unseen_frees)?;
        }
        Ok(())
    }
}

/// Reads the header: the program's name, which is empty if there was no space even for that.
///
/// # Errors
/// If this is no raw file of this version.
pub fn program(input: &mut impl Read) -> Result<String> {
    let mut header = Vec::new();
    input.take(HEADER_BYTES as u64).read_to_end(&mut header)?;
    if header.iter().all(|byte| *byte == 0) {
        return Ok(String::new());
    }
    let name = header.strip_prefix(&MAGIC);
    let name = name.context("the recording object is of another version than this command")?;
    let length = name.iter().position(|b| *b == 0).unwrap_or(name.len());
    Ok(String::from_utf8_lossy(&name[..length]).into_owned())
}

/// Reads what follows the header, up to its end or the first record that is not whole, and gives events
/// every one of which refers to what was allocated before.
///
/// # Errors
/// If reading fails, or `sink` does.
pub fn read(mut input: impl Read, sink: &mut dyn FnMut(&Event) -> Result<()>) -> Result<Tally> {
    let mut cleaner = Cleaner { sink, tally: Tally::default(), live: HashSet::new() };
    let (mut time_ns, mut began) = (0u64, None);
    let mut realloc: Option<Record> = None;
    while let Some(record) = next(&mut input)? {
        let passed = if record.kind == Kind::Clock { record.size } else { record.delta_ns.into() };
        time_ns = time_ns.saturating_add(passed);
        let began = *began.get_or_insert(time_ns);
        let at = |record: &Record, action| Event {
            thread: record.thread.into(),
            time_ns: time_ns - began,
            action,
        };
        let Record { address: id, size, .. } = record;
        match (record.kind, realloc.take()) {
            (Kind::Alloc, None) => {
                let align = 1 << record.align_log2;
                cleaner.alloc(&at(&record, EventAction::Alloc { id, size, align }), id)?;
            }
            (Kind::Free, None) => cleaner.free(&at(&record, EventAction::Free { id }), id)?,
            (Kind::Realloc, None) => realloc = Some(record),
            (Kind::From, Some(to)) => {
                cleaner.realloc(&at(&to, EventAction::Free { id }), id, &to)?
            }
            (Kind::Clock, None) => {}
            _ => bail!("the recording is damaged: records are out of order"),
        }
    }
    Ok(cleaner.tally)
}

/// The next record; none at the end, or where one is not whole.
fn next(input: &mut impl Read) -> Result<Option<Record>> {
    let mut bytes = [0; RECORD_BYTES];
    match input.read_exact(&mut bytes) {
        Ok(()) => Ok(Record::from_bytes(&bytes)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error.into()),
    }
}

struct Cleaner<'a> {
    sink: &'a mut dyn FnMut(&Event) -> Result<()>,
    tally: Tally,
    live: HashSet<u64>,
}

impl Cleaner<'_> {
    fn keep(&mut self, event: &Event) -> Result<()> {
        self.tally.kept += 1;
        (self.sink)(event)
    }

    /// Takes an address; if it is taken already, whoever had it was freed unseen.
    fn take(&mut self, event: &Event, id: u64) -> Result<()> {
        if !self.live.insert(id) {
            self.tally.unseen_frees += 1;
            (self.sink)(&Event { action: EventAction::Free { id }, ..*event })?;
        }
        Ok(())
    }

    fn alloc(&mut self, event: &Event, id: u64) -> Result<()> {
        self.take(event, id)?;
        self.keep(event)
    }

    fn free(&mut self, event: &Event, id: u64) -> Result<()> {
        if self.live.remove(&id) {
            return self.keep(event);
        }
        self.tally.foreign_frees += 1;
        Ok(())
    }

    fn realloc(&mut self, event: &Event, id: u64, to: &Record) -> Result<()> {
        let (new, size) = (to.address, to.size);
        let known = self.live.remove(&id);
        self.take(event, new)?;
        if known {
            return self.keep(&Event { action: EventAction::Realloc { id, new, size }, ..*event });
        }
        self.tally.foreign_reallocs += 1;
        ensure!(usize::try_from(size).is_ok(), "the recording is damaged: a size overflows");
        let align = c_alignment(size as usize) as u64;
        self.keep(&Event { action: EventAction::Alloc { id: new, size, align }, ..*event })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::trace::parse;
    use crate::trace::Writer;
    use crate::trace::text::TextWriter;

    const ALLOC: fn(u64, u64) -> Record = |address, size| record(Kind::Alloc, address, size);
    const FREE: fn(u64) -> Record = |address| record(Kind::Free, address, 0);

    fn record(kind: Kind, address: u64, size: u64) -> Record {
        let align_log2 = if kind == Kind::Alloc { 3 } else { 0 };
        Record { kind, thread: 0, align_log2, delta_ns: 10, address, size }
    }

    fn realloc(old: u64, new: u64, size: u64) -> [Record; 2] {
        [record(Kind::Realloc, new, size), record(Kind::From, old, 0)]
    }

    fn bytes(records: &[Record]) -> Vec<u8> {
        records.iter().flat_map(|record| record.to_bytes()).collect()
    }

    fn cleaned(bytes: &[u8]) -> (String, Tally) {
        let mut out = Vec::new();
        let mut writer = TextWriter::new(&mut out, "x").unwrap();
        let tally = read(bytes, &mut |event| Ok(writer.event(event)?)).unwrap();
        let text = String::from_utf8(out).unwrap();
        parse(text.as_bytes()).expect("it must replay");
        (text.split_once("# program x\n").unwrap().1.to_owned(), tally)
    }

    #[test]
    fn what_a_fork_child_inherited_is_left_out() {
        let other = Record { thread: 1, ..ALLOC(32, 5) };
        let [to, from] = realloc(16, 24, 100);
        let (text, tally) = cleaned(&bytes(&[FREE(8), to, from, other, FREE(24), FREE(32)]));
        assert_eq!(text, "a 24 100 16\nt1 a 32 5\nf 24\nf 32\n");
        assert_eq!((tally.kept, tally.foreign_frees, tally.foreign_reallocs), (4, 1, 1));
    }

    #[test]
    fn a_killed_program_leaves_whole_records() {
        let two = bytes(&[ALLOC(8, 5), ALLOC(16, u64::MAX >> 2)]);
        for cut in [24, 25, 40, 47] {
            assert_eq!(cleaned(&two[..cut]).0, "a 8 5\n");
            let mut zeros = two.clone();
            zeros[cut..].fill(0);
            zeros.resize(4096, 0);
            assert_eq!(cleaned(&zeros).0, "a 8 5\n");
        }
        let [to, _] = realloc(8, 16, 9);
        assert_eq!(cleaned(&bytes(&[ALLOC(8, 5), to])).0, "a 8 5\n", "half a reallocation");
    }

    #[test]
    fn an_address_that_comes_again_was_freed() {
        let [to, from] = realloc(8, 16, 9);
        let (text, tally) = cleaned(&bytes(&[ALLOC(8, 5), ALLOC(8, 6), ALLOC(16, 1), to, from]));
        assert_eq!(text, "a 8 5\nf 8\na 8 6\na 16 1\nf 16\nr 8 16 9\n");
        assert_eq!(tally.unseen_frees, 2);
    }

    #[test]
    fn times_add_up() {
        let long = Record { kind: Kind::Clock, size: 1 << 40, delta_ns: 0, ..FREE(0) };
        let after = Record { delta_ns: 0, ..ALLOC(16, 1) };
        let mut times = Vec::new();
        let records = bytes(&[long, ALLOC(8, 5), FREE(8), long, after]);
        read(&records[..], &mut |event| {
            times.push(event.time_ns);
            Ok(())
        })
        .unwrap();
        // The first record's time is the beginning.
        assert_eq!(times, [10, 20, 20 + (1 << 40)]);
    }

    #[test]
    fn disorder_and_other_versions_are_refused() {
        let [to, from] = realloc(8, 16, 9);
        for records in [&[from][..], &[to, to], &[to, FREE(8)]] {
            assert!(read(&bytes(records)[..], &mut |_| Ok(())).is_err(), "{records:?}");
        }
        let error = program(&mut &[b'x'; HEADER_BYTES][..]).unwrap_err().to_string();
        assert!(error.contains("another version"), "{error}");
        assert_eq!(program(&mut &b""[..]).unwrap(), "", "there was no space");
    }
}
