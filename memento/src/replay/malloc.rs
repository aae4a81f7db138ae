//! Replays a trace through the `malloc` of this process: what is behind it is whatever the dynamic
//! loader bound, so the same code measures every allocator.
//!
//! The standard library's buffers call `malloc`, `realloc`, `posix_memalign` and `free` one to one, with
//! three exceptions that follow from it, and are told with the results ([`super::demand::Tally`]):
//! - an alignment beyond 16 bytes is a type's, so the size is rounded up to it; beyond 4096 it is 4096,
//!   and a reallocation is a new object, a copy and a free;
//! - a reallocation to the size that an object has already is not passed on;
//! - an object of no bytes has one.

use super::cost;
use super::trace::{Action, Request, Trace};
use crate::report::ReplayCost;
use anyhow::{Context, Result, anyhow};
use std::collections::TryReserveError;
use std::hint::black_box;

/// Greatest alignment that `malloc` gives without being asked.
pub const PLAIN_ALIGN: usize = 16;
/// Greatest alignment that is asked for.
pub const MAX_ALIGN: usize = 4096;

/// A page, the smallest there is.
const PAGE: usize = 4096;

/// Performs the operations in the trace's order, in the calling thread.
///
/// # Errors
/// If there is no memory for an object.
pub fn replay(trace: &Trace) -> Result<ReplayCost> {
    let mut blocks: Vec<Option<Block>> = (0..trace.slots).map(|_| None).collect();
    cost::of(trace, || perform(trace, &mut blocks))
}

fn perform(trace: &Trace, blocks: &mut [Option<Block>]) -> Result<()> {
    // The parser has made sure that slots are full and empty when they must be.
    const CHECKED: &str = "a checked trace frees what it has allocated";
    for (number, operation) in (1u64..).zip(&trace.operations) {
        let no_memory = |size| anyhow!("operation {number}: no memory for {size} bytes");
        match operation.action {
            Action::Alloc { slot, request } => {
                let mut block = Block::new(request).map_err(|_| no_memory(request.size))?;
                block.touch();
                blocks[slot as usize] = Some(block);
            }
            Action::Free { slot } => {
                drop(blocks[slot as usize].take().context(CHECKED)?);
            }
            Action::Realloc { old, new, request } => {
                let mut block = blocks[old as usize].take().context(CHECKED)?;
                block.resize(request.size).map_err(|_| no_memory(request.size))?;
                block.touch();
                blocks[new as usize] = Some(block);
            }
        }
    }
    Ok(())
}

/// A block of memory for each alignment: a buffer of things that are so aligned and so large.
macro_rules! blocks {
    ($($name:ident $align:literal),*; $last:ident $greatest:ident) => {
        $(
            #[repr(align($align))]
            struct $name(#[allow(dead_code, reason = "written, so that the page is")] u8);
        )*

        enum Block {
            Plain(Vec<u8>),
            $($name(Vec<$name>),)*
        }

        impl Block {
            fn new(request: Request) -> Result<Self, TryReserveError> {
                let Request { size, align } = request;
                if align <= PLAIN_ALIGN {
                    return reserved(size).map(Self::Plain);
                }
                $(
                    if align <= $align {
                        return reserved(size).map(Self::$name);
                    }
                )*
                const { assert!(align_of::<$last>() == $greatest) };
                reserved(size).map(Self::$last)
            }

            fn resize(&mut self, size: usize) -> Result<(), TryReserveError> {
                match self {
                    Self::Plain(buffer) => resize(buffer, size),
                    $(Self::$name(buffer) => resize(buffer, size),)*
                }
            }

            /// Writes to every page, as a program does sooner or later.
            fn touch(&mut self) {
                match self {
                    Self::Plain(buffer) => touch(buffer, || 1),
                    $(Self::$name(buffer) => touch(buffer, || $name(1)),)*
                }
            }
        }
    };
}

blocks!(
    A32 32, A64 64, A128 128, A256 256, A512 512, A1024 1024, A2048 2048, A4096 4096;
    A4096 MAX_ALIGN
);

/// How many `T` hold `size` bytes.
fn count<T>(size: usize) -> usize {
    size.max(1).div_ceil(size_of::<T>())
}

fn reserved<T>(size: usize) -> Result<Vec<T>, TryReserveError> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(count::<T>(size))?;
    Ok(buffer)
}

/// The buffer is empty, so its capacity is what is moved.
fn resize<T>(buffer: &mut Vec<T>, size: usize) -> Result<(), TryReserveError> {
    let count = count::<T>(size);
    if count > buffer.capacity() {
        return buffer.try_reserve_exact(count);
    }
    buffer.shrink_to(count);
    Ok(())
}

fn touch<T>(buffer: &mut Vec<T>, value: fn() -> T) {
    for item in buffer.spare_capacity_mut().iter_mut().step_by(PAGE.div_ceil(size_of::<T>())) {
        item.write(value());
    }
    // Nobody reads it, which nobody need know.
    black_box(buffer.as_mut_ptr());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::trace::parse;

    #[test]
    fn blocks_are_aligned_and_hold_what_is_asked_for() {
        for shift in 0..14 {
            let align = 1usize << shift;
            let mut block = Block::new(Request { size: 100, align }).unwrap();
            block.touch();
            for size in [100, 9000, 0] {
                block.resize(size).unwrap();
                block.touch();
                let (at, held) = match &block {
                    Block::Plain(b) => (b.as_ptr().addr(), b.capacity()),
                    Block::A32(b) => (b.as_ptr().addr(), b.capacity() * 32),
                    Block::A64(b) => (b.as_ptr().addr(), b.capacity() * 64),
                    Block::A128(b) => (b.as_ptr().addr(), b.capacity() * 128),
                    Block::A256(b) => (b.as_ptr().addr(), b.capacity() * 256),
                    Block::A512(b) => (b.as_ptr().addr(), b.capacity() * 512),
                    Block::A1024(b) => (b.as_ptr().addr(), b.capacity() * 1024),
                    Block::A2048(b) => (b.as_ptr().addr(), b.capacity() * 2048),
                    Block::A4096(b) => (b.as_ptr().addr(), b.capacity() * 4096),
                };
                assert!(at.is_multiple_of(align.min(MAX_ALIGN)), "{align}");
                let step = if align <= PLAIN_ALIGN { 1 } else { align.min(MAX_ALIGN) };
                assert_eq!(held, size.max(1).next_multiple_of(step), "{align}");
            }
        }
    }

    #[test]
    fn what_no_memory_can_serve_is_an_error_with_its_number() {
        for text in ["a 1 8\na 2 9000000000000000000", "a 1 8 64\nr 1 2 9000000000000000000"] {
            let error = replay(&parse(text.as_bytes()).unwrap()).unwrap_err().to_string();
            assert!(error.starts_with("operation 2: no memory"), "{error}");
        }
    }
}
