//! The writer.

use super::{
    ALLOC, FREE, Header, LEVEL, MAGIC, REALLOC, VERSION, WITH_ALIGN, WITH_THREAD, usual_alignment,
};
use crate::trace::{Event, EventAction, Writer};
use std::collections::HashMap;
use std::io::{self, Write};

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
            block: Vec::with_capacity(super::LARGEST_BLOCK),
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

pub(super) fn put_block(
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
        if self.block.len() >= super::BLOCK_BYTES { self.flush_block() } else { Ok(()) }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.flush_block()?;
        put_block(&mut self.output, 0, 8, &self.total.to_le_bytes())?;
        self.output.flush()
    }
}
