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

mod read;
mod write;

pub use read::read;
pub use write::CompactWriter;

use memento_hal::geometry::c_alignment;
use serde::{Deserialize, Serialize};

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

#[cfg(test)]
mod tests {
    use super::write::put_block;
    use super::*;
    use crate::trace::{Event, EventAction, Problem, TraceError, Writer};
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
