//! The compact form, version 1: compressed, with times.
//!
//! | part | bytes |
//! | --- | --- |
//! | magic | [`MAGIC`], 8 bytes |
//! | version | 2 bytes; this one is 1 |
//! | header | its length in 4 bytes, then so many bytes of JSON: `{"program": NAME, "pid": N}`; unknown fields are allowed |
//! | blocks | each: number of operations, bytes unpacked, bytes packed, CRC-32 of what follows, 4 bytes each; then the packed bytes: raw deflate |
//! | end | a block of no operations, not packed: 8 bytes with the number of all operations |
//!
//! Numbers of fixed length are little-endian; *varints* have seven bits a byte, the lowest first, and the
//! eighth bit set in all bytes but the last. A block can be read without the others but for the number of
//! allocations before it. An operation is
//!
//! | | |
//! | --- | --- |
//! | head, 1 byte | bits 0–1: 0 allocation, 1 free, 2 reallocation; bit 2: a thread follows; bit 3: an alignment follows |
//! | thread | varint; without it the thread of the operation before, in a block's first 0 |
//! | time | varint: nanoseconds since the operation before; a block's first: since the recording began |
//! | object | varint, of a free or reallocation: 1 for the object allocated last, 2 for the one before it, … |
//! | size | varint, of an allocation or reallocation |
//! | alignment | 1 byte, of an allocation: its logarithm; without it 8 bytes, from a size of 16 on 16 bytes |
//!
//! Objects are numbered by allocation: a reallocation is counted as one too, and makes a new object of the
//! old one. So an ID is never used again.

use super::{Event, EventAction, Place, Problem, Sink, TraceError, Writer};
use memento_hal::geometry::c_alignment;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::{self, Read, Write};

/// The first bytes.
pub const MAGIC: [u8; 8] = *b"MEMTRACE";
/// The version that is read and written.
pub const VERSION: u16 = 1;

/// Bytes of a block after which the next one begins.
const BLOCK_BYTES: usize = 1 << 18;
/// More than a block ever has: what claims to be larger is damaged.
const LARGEST_BLOCK: usize = BLOCK_BYTES + 64;
/// Longest header.
const LARGEST_HEADER: usize = 1 << 16;
/// Effort of the compression: little more is gained by higher ones.
const LEVEL: u8 = 6;

const ALLOC: u8 = 0;
const FREE: u8 = 1;
const REALLOC: u8 = 2;
const WITH_THREAD: u8 = 4;
const WITH_ALIGN: u8 = 8;

/// What is known of the program.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Header {
    /// Its name, as executed.
    pub program: String,
    /// Its process id.
    pub pid: u32,
}

/// The alignment that is not written down.
fn usual_alignment(size: u64) -> u64 {
    usize::try_from(size).map_or(16, |size| c_alignment(size) as u64)
}

/// Writes the form.
pub struct CompactWriter<W: Write> {
    output: W,
    block: Vec<u8>,
    in_block: u32,
    total: u64,
    thread: u64,
    time_ns: u64,
    /// Allocations so far, and the number of each live ID.
    allocated: u64,
    numbers: HashMap<u64, u64>,
}

impl<W: Write> CompactWriter<W> {
    /// Begins a trace.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn new(mut output: W, header: &Header) -> io::Result<Self> {
        let header = serde_json::to_vec(header)?;
        let length = u32::try_from(header.len()).map_err(io::Error::other)?;
        output.write_all(&MAGIC)?;
        output.write_all(&VERSION.to_le_bytes())?;
        output.write_all(&length.to_le_bytes())?;
        output.write_all(&header)?;
        Ok(Self {
            output,
            block: Vec::with_capacity(LARGEST_BLOCK),
            in_block: 0,
            total: 0,
            thread: 0,
            time_ns: 0,
            allocated: 0,
            numbers: HashMap::new(),
        })
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.block.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.block.push(number as u8);
    }

    /// Head, thread and time.
    fn begin(&mut self, event: &Event, head: u8) {
        let other = event.thread != self.thread;
        self.block.push(head | if other { WITH_THREAD } else { 0 });
        if other {
            self.varint(event.thread);
            self.thread = event.thread;
        }
        self.varint(event.time_ns.saturating_sub(self.time_ns));
        self.time_ns = self.time_ns.max(event.time_ns);
    }

    /// How far back an object was allocated; it is forgotten.
    fn object(&mut self, id: u64) -> io::Result<()> {
        let unknown = || io::Error::other(format!("the object {id} was never allocated"));
        let number = self.numbers.remove(&id).ok_or_else(unknown)?;
        self.varint(self.allocated - number);
        Ok(())
    }

    fn allocate(&mut self, id: u64) {
        self.numbers.insert(id, self.allocated);
        self.allocated += 1;
    }

    fn flush_block(&mut self) -> io::Result<()> {
        if self.in_block == 0 {
            return Ok(());
        }
        let packed = miniz_oxide::deflate::compress_to_vec(&self.block, LEVEL);
        put_block(&mut self.output, self.in_block, self.block.len(), &packed)?;
        self.block.clear();
        (self.in_block, self.thread, self.time_ns) = (0, 0, 0);
        Ok(())
    }
}

fn put_block(
    out: &mut impl Write,
    operations: u32,
    unpacked: usize,
    bytes: &[u8],
) -> io::Result<()> {
    let small = |length: usize| u32::try_from(length).map_err(io::Error::other);
    for number in [operations, small(unpacked)?, small(bytes.len())?, crc32fast::hash(bytes)] {
        out.write_all(&number.to_le_bytes())?;
    }
    out.write_all(bytes)
}

impl<W: Write> Writer for CompactWriter<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        match event.action {
            EventAction::Alloc { id, size, align } => {
                let usual = align == usual_alignment(size);
                self.begin(event, ALLOC | if usual { 0 } else { WITH_ALIGN });
                self.varint(size);
                if !usual {
                    self.block.push(align.trailing_zeros() as u8);
                }
                self.allocate(id);
            }
            EventAction::Free { id } => {
                self.begin(event, FREE);
                self.object(id)?;
            }
            EventAction::Realloc { id, new, size } => {
                self.begin(event, REALLOC);
                self.object(id)?;
                self.varint(size);
                self.allocate(new);
            }
        }
        self.in_block += 1;
        self.total += 1;
        if self.block.len() >= BLOCK_BYTES { self.flush_block() } else { Ok(()) }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.flush_block()?;
        put_block(&mut self.output, 0, 8, &self.total.to_le_bytes())?;
        self.output.flush()
    }
}

/// Reads a trace to its end.
///
/// # Errors
/// The first problem, with the offset of the part that has it.
pub fn read(input: impl Read, sink: &mut Sink<'_>) -> Result<(), TraceError> {
    let mut source = Source { input, offset: 0 };
    header(&mut source)?;
    let (mut total, mut allocated) = (0, 0);
    loop {
        let at = source.offset;
        let fail = |problem| TraceError { place: Place::Offset(at), problem };
        let mut fields = [0; 4];
        for field in &mut fields {
            *field =
                u32::from_le_bytes(source.bytes("the beginning of a block, or the end block")?);
        }
        let [operations, unpacked, packed, stored] = fields;
        let (unpacked, packed) = (unpacked as usize, packed as usize);
        if unpacked > LARGEST_BLOCK || packed > 2 * LARGEST_BLOCK {
            return Err(fail(Problem::Impossible("it is larger than a block may be")));
        }
        let bytes = source.take(packed, "a part of a block")?;
        let found = crc32fast::hash(&bytes);
        if found != stored {
            return Err(fail(Problem::Damaged { found, stored }));
        }
        if operations == 0 {
            let stored = bytes.try_into().map(u64::from_le_bytes);
            let stored = stored.map_err(|_| fail(Problem::Impossible("an end has 8 bytes")))?;
            if stored != total {
                return Err(fail(Problem::Count { found: total, stored }));
            }
            return source.end();
        }
        let bytes = miniz_oxide::inflate::decompress_to_vec_with_limit(&bytes, LARGEST_BLOCK)
            .map_err(|_| fail(Problem::Impossible("it cannot be unpacked")))?;
        if bytes.len() != unpacked {
            return Err(fail(Problem::Impossible("its length is not what was stored")));
        }
        let mut block = Block { bytes: &bytes, thread: 0, time_ns: 0, allocated: &mut allocated };
        for number in 1..=u64::from(operations) {
            let place = Place::Operation(at, number);
            let event = block.event().and_then(&mut *sink);
            event.map_err(|problem| TraceError { place, problem })?;
        }
        if !block.bytes.is_empty() {
            return Err(fail(Problem::Impossible("bytes follow its last operation")));
        }
        total += u64::from(operations);
    }
}

fn header(source: &mut Source<impl Read>) -> Result<Header, TraceError> {
    let fail = |at, problem| TraceError { place: Place::Offset(at), problem };
    if source.bytes("the magic number")? != MAGIC {
        return Err(fail(0, Problem::NotCompact));
    }
    let at = source.offset;
    let version = u16::from_le_bytes(source.bytes("the version")?);
    if version != VERSION {
        return Err(fail(at, Problem::UnknownVersion(version)));
    }
    let at = source.offset;
    let length = u32::from_le_bytes(source.bytes("the length of the header")?) as usize;
    if length > LARGEST_HEADER {
        return Err(fail(at, Problem::Impossible("the header is too long")));
    }
    let at = source.offset;
    let json = source.take(length, "a part of the header")?;
    serde_json::from_slice(&json)
        .map_err(|_| fail(at, Problem::Impossible("the header is no JSON")))
}

/// The input, with what was read of it.
struct Source<R> {
    input: R,
    offset: u64,
}

impl<R: Read> Source<R> {
    fn take(&mut self, length: usize, what: &'static str) -> Result<Vec<u8>, TraceError> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    fn bytes<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], TraceError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    fn fill(&mut self, mut bytes: &mut [u8], what: &'static str) -> Result<(), TraceError> {
        while !bytes.is_empty() {
            let fail = |problem| TraceError { place: Place::Offset(self.offset), problem };
            match self.input.read(bytes) {
                Ok(0) => return Err(fail(Problem::CutOff(what))),
                Ok(count) => {
                    self.offset += count as u64;
                    bytes = &mut bytes[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(fail(error.into())),
            }
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), TraceError> {
        let mut byte = [0];
        match self.input.read(&mut byte) {
            Ok(0) => Ok(()),
            Ok(_) => {
                Err(TraceError { place: Place::Offset(self.offset), problem: Problem::Trailing })
            }
            Err(error) => {
                Err(TraceError { place: Place::Offset(self.offset), problem: error.into() })
            }
        }
    }
}

/// What is left of a block.
struct Block<'a> {
    bytes: &'a [u8],
    thread: u64,
    time_ns: u64,
    allocated: &'a mut u64,
}

impl Block<'_> {
    fn event(&mut self) -> Result<Event, Problem> {
        let head = self.byte()?;
        if head & WITH_THREAD != 0 {
            self.thread = self.varint()?;
        }
        let time = self.varint()?;
        self.time_ns =
            self.time_ns.checked_add(time).ok_or(Problem::Impossible("time overflows"))?;
        let action = match head & !WITH_THREAD {
            head @ (ALLOC | 8) => {
                let size = self.varint()?;
                let align = match head & WITH_ALIGN {
                    0 => usual_alignment(size),
                    _ => {
                        let log2 = u32::from(self.byte()?);
                        1u64.checked_shl(log2)
                            .ok_or(Problem::Impossible("an alignment overflows"))?
                    }
                };
                EventAction::Alloc { id: self.allocate(), size, align }
            }
            FREE => EventAction::Free { id: self.object()? },
            REALLOC => {
                let id = self.object()?;
                let size = self.varint()?;
                EventAction::Realloc { id, new: self.allocate(), size }
            }
            _ => return Err(Problem::Impossible("an operation is unknown")),
        };
        Ok(Event { thread: self.thread, time_ns: self.time_ns, action })
    }

    fn allocate(&mut self) -> u64 {
        *self.allocated += 1;
        *self.allocated - 1
    }

    fn object(&mut self) -> Result<u64, Problem> {
        let back = self.varint()?;
        let number = self.allocated.checked_sub(back).filter(|_| back > 0);
        number.ok_or(Problem::Impossible("it names an object that was never allocated"))
    }

    fn byte(&mut self) -> Result<u8, Problem> {
        let (first, rest) =
            self.bytes.split_first().ok_or(Problem::Impossible("it is too short"))?;
        self.bytes = rest;
        Ok(*first)
    }

    fn varint(&mut self) -> Result<u64, Problem> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Problem::Impossible("a number is longer than 64 bits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(thread: u64, time_ns: u64, action: EventAction) -> Event {
        Event { thread, time_ns, action }
    }

    fn packed(events: &[Event]) -> Vec<u8> {
        let mut out = Vec::new();
        let header = Header { program: "prog".into(), pid: 7 };
        let mut writer = CompactWriter::new(&mut out, &header).unwrap();
        events.iter().for_each(|event| writer.event(event).unwrap());
        writer.finish().unwrap();
        out
    }

    fn unpacked(bytes: &[u8]) -> Result<Vec<Event>, TraceError> {
        let mut events = Vec::new();
        read(bytes, &mut |event| {
            events.push(event);
            Ok(())
        })?;
        Ok(events)
    }

    fn sample() -> Vec<Event> {
        vec![
            event(0, 5, EventAction::Alloc { id: 0, size: 24, align: 16 }),
            event(3, 5, EventAction::Alloc { id: 1, size: 8, align: 8 }),
            event(3, 900, EventAction::Alloc { id: 2, size: 8, align: 4096 }),
            event(0, 1 << 40, EventAction::Free { id: 0 }),
            event(0, 1 << 40, EventAction::Realloc { id: 1, new: 3, size: u64::MAX }),
            event(1, 1 << 41, EventAction::Free { id: 3 }),
        ]
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(unpacked(&packed(&sample())).unwrap(), sample());
        assert_eq!(unpacked(&packed(&[])).unwrap(), []);
    }

    #[test]
    fn the_form_is_what_is_documented() {
        let bytes = packed(&sample()[..1]);
        let header = br#"{"program":"prog","pid":7}"#;
        let start = [&b"MEMTRACE\x01\0"[..], &(header.len() as u32).to_le_bytes(), header].concat();
        assert_eq!(bytes[..start.len()], start);
        let block = &bytes[start.len()..];
        // One operation of three bytes: an allocation, 5 ns after the beginning, of 24 bytes.
        assert_eq!(block[..8], [1, 0, 0, 0, 3, 0, 0, 0]);
        let length = u32::from_le_bytes(block[8..12].try_into().unwrap()) as usize;
        let inner = miniz_oxide::inflate::decompress_to_vec(&block[16..16 + length]).unwrap();
        assert_eq!(inner, [0, 5, 24]);
        let end = &block[16 + length..];
        assert_eq!((end.len(), &end[..12]), (24, &[0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0, 0][..]));
        assert_eq!(end[16..], 1u64.to_le_bytes());
    }

    #[test]
    fn it_is_compact() {
        let events: Vec<Event> = (0..100_000)
            .flat_map(|n| {
                let size = [24, 32, 56, 100][n as usize % 4];
                let alloc = EventAction::Alloc { id: n, size, align: 16 };
                let free = EventAction::Free { id: n };
                [event(0, n * 100, alloc), event(0, n * 100 + 40, free)]
            })
            .collect();
        let bytes = packed(&events).len();
        assert!(bytes < events.len(), "{bytes} bytes for {} operations", events.len());
        assert_eq!(unpacked(&packed(&events)).unwrap(), events, "over several blocks");
    }

    fn error(bytes: &[u8]) -> String {
        unpacked(bytes).unwrap_err().to_string()
    }

    #[test]
    fn every_cut_is_found_at_its_offset() {
        let whole = packed(&sample());
        for length in 0..whole.len() {
            let text = error(&whole[..length]);
            assert_eq!(text.split(':').next().unwrap(), format!("offset {length}"), "{text}");
            assert!(text.contains("cut off"), "{text}");
        }
        let trailing = [&whole[..], b"x"].concat();
        assert_eq!(
            error(&trailing),
            format!("offset {}: something follows the end of the trace", whole.len())
        );
    }

    #[test]
    fn damage_is_found_with_its_offset() {
        let whole = packed(&sample());
        let blocks = 14 + u32::from_le_bytes(whole[10..14].try_into().unwrap()) as usize;
        let mut damaged = whole.clone();
        damaged[blocks + 18] ^= 1;
        assert!(
            error(&damaged)
                .starts_with(&format!("offset {blocks}: the block is damaged: its checksum"))
        );
        let mut other = whole.clone();
        other[8] = 2;
        assert_eq!(
            error(&other),
            "offset 8: version 2 of the form is not known; this command reads version 1"
        );
        assert!(error(b"# a text trace").contains("offset 0: this is no compact trace"));
        let mut huge = whole.clone();
        huge[blocks + 4..blocks + 8].fill(0xff);
        assert!(error(&huge).contains("larger than a block may be"));
        let mut end = whole.clone();
        let at = whole.len() - 8;
        end[at] = 9;
        let crc = crc32fast::hash(&end[at..]).to_le_bytes();
        end[at - 4..at].copy_from_slice(&crc);
        let want = format!("offset {}: the trace has 6 operations, but 9 were stored", at - 16);
        assert_eq!(error(&end), want);
    }

    #[test]
    fn what_the_taker_refuses_has_its_place() {
        let whole = packed(&sample());
        let mut count = 0;
        let refused = read(&whole[..], &mut |_| {
            count += 1;
            if count == 3 { Err(Problem::Live(1)) } else { Ok(()) }
        });
        let text = refused.unwrap_err().to_string();
        assert!(
            text.ends_with("operation 3 of the block there: the ID 1 is live already"),
            "{text}"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..150) {
            let _ = unpacked(&bytes);
            let mut whole = packed(&sample());
            let at = at.min(whole.len());
            whole.truncate(at);
            whole.extend(&bytes);
            let _ = unpacked(&whole);
            // The same behind a valid checksum.
            let mut out = packed(&[]);
            out.truncate(out.len() - 24);
            put_block(&mut out, 3, bytes.len(), &miniz_oxide::deflate::compress_to_vec(&bytes, 1)).unwrap();
            let _ = unpacked(&out);
        }
    }
}
