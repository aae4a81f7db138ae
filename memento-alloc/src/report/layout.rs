//! Layout of a `.counters` file, and a reader that believes nothing.
//!
//! ```text
//! 0              Header, in the first HEADER_BYTES
//! HEADER_BYTES   CounterBlock 0, 1, 2, … one per thread, BLOCK_BYTES apart
//! ```
//! Numbers are in the byte order of the machine that wrote them; another order shows as a wrong
//! version. A file may be longer than its blocks need.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, AtomicU64};
use memento_hal::counters::{CounterBlock, Counters};

/// First bytes of every file. Written last, so a file that has them has a whole header.
pub const MAGIC: u64 = u64::from_ne_bytes(*b"memento\n");
/// Version of this layout.
pub const VERSION: u32 = 1;
/// Bytes before the first block: the largest page size Linux has, so that blocks can be mapped
/// without the header on every machine. The file is sparse; only the first page exists.
pub const HEADER_BYTES: usize = 1 << 16;
/// Bytes from one block to the next: whole cache lines, so that threads do not share one.
pub const BLOCK_BYTES: usize = size_of::<CounterBlock>().next_multiple_of(64);
/// Blocks that are mapped at a time: a multiple of every page size.
pub const CHUNK_BLOCKS: usize = 1024;
/// Most blocks of one file; threads beyond share the first one.
pub const MAX_BLOCKS: usize = 64 * CHUNK_BLOCKS;
/// Longest program name that is kept.
pub const ARGV0_BYTES: usize = 1024;

/// Flag: more than [`MAX_BLOCKS`] threads, or no memory for another block. Some threads shared a
/// block without locking, and counts are a lower bound.
pub const FLAG_SHARED_BLOCK: u64 = 1;
/// Flag: the process began as a fork of one that was being counted.
pub const FLAG_FORK_CHILD: u64 = 2;

/// The head of a file, as the writer sees it.
#[derive(Debug)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: AtomicU64,
    /// [`VERSION`].
    pub version: AtomicU32,
    /// Words of one block: [`Counters::WORDS`] of the build that wrote it.
    pub block_words: AtomicU32,
    /// The process.
    pub pid: AtomicU32,
    /// Its parent when the file was made.
    pub ppid: AtomicU32,
    /// Blocks in use.
    pub blocks: AtomicU64,
    /// `FLAG_…` bits.
    pub flags: AtomicU64,
    /// Name of the backend, filled up with zeros.
    pub hal: [AtomicU64; 2],
    /// The program's name, filled up with zeros; not necessarily UTF-8.
    pub argv0: [AtomicU64; ARGV0_BYTES / 8],
}

const _: () = {
    assert!(size_of::<Header>() <= 4096, "one page of every machine");
    assert!((CHUNK_BLOCKS * BLOCK_BYTES).is_multiple_of(1 << 16), "chunks are whole pages");
};

/// Why a file could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParseError {
    /// Not a report file, or one whose process ended before the header was complete.
    NoHeader,
    /// Written by another version of the shared object.
    Version {
        /// The layout version found.
        version: u32,
        /// The number of counters found.
        words: u32,
    },
    /// The file ends before its blocks do.
    Truncated {
        /// Bytes that the header promises.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The header holds values that no writer writes.
    Corrupt,
}

impl core::fmt::Display for ParseError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoHeader => f.write_str("not a memento report file, or its header is incomplete"),
            Self::Version { version, words } => write!(
                f,
                "written by another memento: layout {version} with {words} counters, expected \
                 layout {VERSION} with {}",
                Counters::WORDS
            ),
            Self::Truncated { expected, found } => {
                write!(f, "truncated: {found} bytes of {expected}")
            }
            Self::Corrupt => f.write_str("corrupt header"),
        }
    }
}

impl core::error::Error for ParseError {}

/// What a file says about one process image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image<'f> {
    /// The process.
    pub pid: u32,
    /// Its parent when counting began.
    pub ppid: u32,
    /// Name of the backend; empty if it was not told.
    pub hal: &'f str,
    /// The program's name, as it was executed.
    pub argv0: &'f [u8],
    /// `FLAG_…` bits.
    pub flags: u64,
    /// Threads that counted.
    pub threads: u64,
    /// Sum over the threads.
    pub counters: Counters,
}

/// Reads the bytes of a file.
///
/// # Errors
/// A [`ParseError`] if the bytes are not what a writer of this version leaves behind.
pub fn parse(file: &[u8]) -> Result<Image<'_>, ParseError> {
    if file.len() < size_of::<Header>() || word(file, offset_of!(Header, magic)) != MAGIC {
        return Err(ParseError::NoHeader);
    }
    let version = half_word(file, offset_of!(Header, version));
    let words = half_word(file, offset_of!(Header, block_words));
    if version != VERSION || words as usize != Counters::WORDS {
        return Err(ParseError::Version { version, words });
    }
    let blocks = word(file, offset_of!(Header, blocks));
    if blocks > MAX_BLOCKS as u64 {
        return Err(ParseError::Corrupt);
    }
    // At most 2^16 blocks: cannot overflow.
    let expected = HEADER_BYTES + blocks as usize * BLOCK_BYTES;
    let Some(body) = file.get(HEADER_BYTES.min(file.len())..expected) else {
        return Err(ParseError::Truncated { expected: expected as u64, found: file.len() as u64 });
    };
    let hal = core::str::from_utf8(string(file, offset_of!(Header, hal), 16))
        .map_err(|_| ParseError::Corrupt)?;
    Ok(Image {
        pid: half_word(file, offset_of!(Header, pid)),
        ppid: half_word(file, offset_of!(Header, ppid)),
        hal,
        argv0: string(file, offset_of!(Header, argv0), ARGV0_BYTES),
        flags: word(file, offset_of!(Header, flags)),
        threads: blocks,
        counters: sum(body),
    })
}

fn sum(body: &[u8]) -> Counters {
    let mut total = Counters::ZERO;
    for block in body.chunks_exact(BLOCK_BYTES) {
        let words: [u64; Counters::WORDS] = core::array::from_fn(|w| word(block, 8 * w));
        if let Some(counters) = Counters::from_words(&words) {
            total.add(&counters);
        }
    }
    total
}

/// The 64-bit word at `offset`; the caller has checked that it is there.
fn word(bytes: &[u8], offset: usize) -> u64 {
    u64::from_ne_bytes(core::array::from_fn(|i| bytes[offset + i]))
}

/// The 32-bit word at `offset`; the caller has checked that it is there.
fn half_word(bytes: &[u8], offset: usize) -> u32 {
    u32::from_ne_bytes(core::array::from_fn(|i| bytes[offset + i]))
}

/// The bytes of a field of `length` bytes up to its first zero.
fn string(bytes: &[u8], offset: usize, length: usize) -> &[u8] {
    let field = &bytes[offset..offset + length];
    &field[..field.iter().position(|b| *b == 0).unwrap_or(length)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// A file of `blocks` blocks; every word of block *b* holds *b* + 1.
    fn file(blocks: u64) -> Vec<u8> {
        let mut bytes = std::vec![0u8; HEADER_BYTES + blocks as usize * BLOCK_BYTES];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(offset_of!(Header, magic), &MAGIC.to_ne_bytes());
        put(offset_of!(Header, version), &VERSION.to_ne_bytes());
        put(offset_of!(Header, block_words), &(Counters::WORDS as u32).to_ne_bytes());
        put(offset_of!(Header, pid), &7u32.to_ne_bytes());
        put(offset_of!(Header, blocks), &blocks.to_ne_bytes());
        put(offset_of!(Header, hal), b"emu");
        put(offset_of!(Header, argv0), b"/bin/true");
        for b in 0..blocks as usize {
            for w in 0..Counters::WORDS {
                put(HEADER_BYTES + b * BLOCK_BYTES + 8 * w, &(b as u64 + 1).to_ne_bytes());
            }
        }
        bytes
    }

    #[test]
    fn blocks_are_summed() {
        let bytes = file(3);
        let image = parse(&bytes).unwrap();
        assert_eq!((image.pid, image.hal, image.argv0), (7, "emu", b"/bin/true".as_slice()));
        assert_eq!(image.counters.allocs, [6; 64]);
        assert_eq!(image.counters.cycles_bypass_saved, 6);
        assert_eq!(image.threads, 3);
    }

    #[test]
    fn what_no_writer_writes_is_an_error() {
        let good = file(2);
        assert_eq!(parse(&[]), Err(ParseError::NoHeader));
        assert_eq!(parse(&good[1..]), Err(ParseError::NoHeader));
        let found = good.len() as u64 - 1;
        assert_eq!(
            parse(&good[..found as usize]),
            Err(ParseError::Truncated { expected: found + 1, found })
        );
        let mut bad = good.clone();
        bad[offset_of!(Header, version)] = 9;
        assert!(matches!(parse(&bad), Err(ParseError::Version { version: 9, .. })));
        let mut bad = good.clone();
        bad[offset_of!(Header, blocks)..][..8].fill(0xff);
        assert_eq!(parse(&bad), Err(ParseError::Corrupt));
        let mut bad = good.clone();
        bad[offset_of!(Header, hal)] = 0xff;
        assert_eq!(parse(&bad), Err(ParseError::Corrupt));
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(at in 0usize..HEADER_BYTES + 2 * BLOCK_BYTES, to: u8, cut: usize) {
            let mut bytes = file(2);
            let early = at % size_of::<Header>();
            bytes[at] = to;
            bytes[early] = to;
            let cut = cut % (bytes.len() + 1);
            let _ = parse(&bytes);
            let _ = parse(&bytes[..cut]);
        }
    }
}
