//! The raw file that a recorded image leaves behind: records of 24 bytes, in one order that all threads
//! agree with.
//!
//! It is made for being written fast and read once, by the command of the same version, which turns it
//! into a trace. A header of [`HEADER_BYTES`] has [`MAGIC`], then the program's name, filled up with zero
//! bytes. Records follow, until one whose first word is zero or whose check is wrong: then the image
//! was killed while it wrote. All words are little-endian.
//!
//! | bits of the first word | |
//! | --- | --- |
//! | 0–2 | [`Kind`] |
//! | 3–8 | logarithm of the alignment |
//! | 9–15 | a check of everything else |
//! | 16–31 | thread; the last number stands for all further ones |
//! | 32–63 | nanoseconds since the record before |
//!
//! The second word is an address, the third a size or, in a [`Kind::Clock`], the nanoseconds themselves.

/// The first bytes of a file.
pub const MAGIC: [u8; 8] = *b"MMTRAW03";
/// Bytes of the header.
pub const HEADER_BYTES: usize = 520;
/// Bytes of a record.
pub const RECORD_BYTES: usize = 24;
/// The number of all threads from this one on.
pub const LAST_THREAD: u16 = u16::MAX;

/// What a record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An allocation.
    Alloc = 1,
    /// A free.
    Free = 2,
    /// A reallocation; the address is the new one, and the next record is its [`Kind::From`].
    Realloc = 3,
    /// The old address of the reallocation before.
    From = 4,
    /// Much time has passed; it concerns the next record.
    Clock = 5,
}

/// One record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// What it says.
    pub kind: Kind,
    /// Number of the thread.
    pub thread: u16,
    /// Logarithm of the alignment, below 64.
    pub align_log2: u8,
    /// Nanoseconds since the record before.
    pub delta_ns: u32,
    /// Address of the object.
    pub address: u64,
    /// Bytes asked for.
    pub size: u64,
}

impl Record {
    /// Its bytes.
    pub fn to_bytes(self) -> [u8; RECORD_BYTES] {
        let head = self.kind as u64
            | u64::from(self.align_log2 & 63) << 3
            | u64::from(self.thread) << 16
            | u64::from(self.delta_ns) << 32;
        let head = head | check(head, self.address, self.size) << 9;
        let mut bytes = [0; RECORD_BYTES];
        bytes[..8].copy_from_slice(&head.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.address.to_le_bytes());
        bytes[16..].copy_from_slice(&self.size.to_le_bytes());
        bytes
    }

    /// The record of these bytes; none if they are not a whole one.
    pub fn from_bytes(bytes: &[u8; RECORD_BYTES]) -> Option<Self> {
        let word = |at: usize| {
            let part: [u8; 8] = bytes[at..at + 8].try_into().ok()?;
            Some(u64::from_le_bytes(part))
        };
        let (head, address, size) = (word(0)?, word(8)?, word(16)?);
        let kind = match head & 7 {
            1 => Kind::Alloc,
            2 => Kind::Free,
            3 => Kind::Realloc,
            4 => Kind::From,
            5 => Kind::Clock,
            _ => return None,
        };
        let bare = head & !(127 << 9);
        (head >> 9 & 127 == check(bare, address, size)).then_some(Self {
            kind,
            thread: (head >> 16) as u16,
            align_log2: (head >> 3 & 63) as u8,
            delta_ns: (head >> 32) as u32,
            address,
            size,
        })
    }
}

/// Seven bits that depend on every bit; never those of a record that is zero from some byte on.
fn check(head: u64, address: u64, size: u64) -> u64 {
    let mixed =
        (head ^ address.rotate_left(21) ^ size.rotate_left(42)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed >> 57
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Record = Record {
        kind: Kind::Realloc,
        thread: 7,
        align_log2: 12,
        delta_ns: u32::MAX,
        address: 0x7f12_3456_7890,
        size: u64::MAX,
    };

    #[test]
    fn records_come_back() {
        for kind in [Kind::Alloc, Kind::Free, Kind::Realloc, Kind::From, Kind::Clock] {
            let record = Record { kind, ..RECORD };
            assert_eq!(Record::from_bytes(&record.to_bytes()), Some(record));
        }
        assert_eq!(Record::from_bytes(&[0; RECORD_BYTES]), None);
    }

    #[test]
    fn a_torn_record_is_none() {
        let whole = RECORD.to_bytes();
        for cut in [1, 8, 12, 16, 20] {
            let mut torn = whole;
            torn[cut..].fill(0);
            assert_eq!(Record::from_bytes(&torn), None, "cut at {cut}");
        }
    }
}
