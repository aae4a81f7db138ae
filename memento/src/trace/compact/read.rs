//! The reader. Nothing that it reads makes it panic, or take more memory than a block may have.

use super::{
    ALLOC, FREE, Header, LARGEST_BLOCK, LARGEST_HEADER, MAGIC, REALLOC, VERSION, WITH_ALIGN,
    WITH_THREAD, usual_alignment,
};
use crate::trace::{Event, EventAction, Place, Problem, Sink, TraceError};
use std::io::{self, Read};

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
