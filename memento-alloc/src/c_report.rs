//! What C programs can ask about the heap: `mallinfo`, `mallinfo2`, `malloc_stats`, `malloc_info`.
//!
//! All are views of one [`Footprint`]. Text is made in a buffer on the stack: nothing here
//! allocates.

use crate::c::Heap;
use core::ffi::c_int;

/// Totals of a heap in bytes and objects.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Footprint {
    /// Bytes that the system has been asked for and not given back.
    pub committed: usize,
    /// Largest value of `committed` so far.
    pub peak: usize,
    /// Bytes in live objects, rounded up as they were served.
    pub live: usize,
    /// Number of objects that have mappings of their own.
    pub mapped_objects: usize,
    /// Bytes in those mappings.
    pub mapped: usize,
}

/// glibc's `struct mallinfo2`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Mallinfo2 {
    /// Bytes held, mappings of single objects not included.
    pub arena: usize,
    /// Number of free chunks; here 1, as glibc reports for one top chunk.
    pub ordblks: usize,
    /// Fast-bin chunks: none.
    pub smblks: usize,
    /// Objects with mappings of their own.
    pub hblks: usize,
    /// Bytes in those mappings.
    pub hblkhd: usize,
    /// Most bytes ever held.
    pub usmblks: usize,
    /// Bytes in fast bins: none.
    pub fsmblks: usize,
    /// Bytes in live objects.
    pub uordblks: usize,
    /// Bytes held and free.
    pub fordblks: usize,
    /// Bytes that `malloc_trim` could give back, at most.
    pub keepcost: usize,
}

/// glibc's older `struct mallinfo`: the same in `int`, saturated here where glibc wraps.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Mallinfo(
    /// The ten fields in the order of [`Mallinfo2`].
    pub [c_int; 10],
);

/// `mallinfo2`.
pub fn mallinfo2<A: Heap>(heap: &A) -> Mallinfo2 {
    let all = heap.footprint();
    let arena = all.committed.saturating_sub(all.mapped);
    let in_arena = all.live.saturating_sub(all.mapped);
    let free = arena.saturating_sub(in_arena);
    Mallinfo2 {
        arena,
        ordblks: 1,
        hblks: all.mapped_objects,
        hblkhd: all.mapped,
        usmblks: all.peak,
        uordblks: in_arena,
        fordblks: free,
        keepcost: free,
        ..Mallinfo2::default()
    }
}

/// `mallinfo`.
pub fn mallinfo<A: Heap>(heap: &A) -> Mallinfo {
    let m = mallinfo2(heap);
    Mallinfo(
        [
            m.arena, m.ordblks, m.smblks, m.hblks, m.hblkhd, m.usmblks, m.fsmblks, m.uordblks,
            m.fordblks, m.keepcost,
        ]
        .map(|field| c_int::try_from(field).unwrap_or(c_int::MAX)),
    )
}

/// Text on the stack; what does not fit is cut off. `core::fmt` would do, at the price of several
/// kilobytes and dozens of relocations in every preloaded process.
#[derive(Debug)]
pub struct Text {
    bytes: [u8; 512],
    len: usize,
}

impl Text {
    const fn new() -> Self {
        Self { bytes: [0; 512], len: 0 }
    }

    /// The text so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Appends `text`.
    #[must_use]
    fn text(mut self, text: &str) -> Self {
        for byte in text.bytes() {
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = byte;
                self.len += 1;
            }
        }
        self
    }

    /// Appends `number` in decimal.
    #[must_use]
    fn number(self, number: usize) -> Self {
        // 20 digits hold any 64-bit number.
        let mut digits = [b'0'; 20];
        let mut first = digits.len() - 1;
        let mut rest = number;
        loop {
            digits[first] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
            first -= 1;
        }
        self.text(core::str::from_utf8(&digits[first..]).unwrap_or_default())
    }
}

/// What `malloc_stats` writes to stderr.
pub fn malloc_stats<A: Heap>(heap: &A) -> Text {
    let all = heap.footprint();
    Text::new()
        .text("memento: bytes held ")
        .number(all.committed)
        .text("\nmemento: bytes in use ")
        .number(all.live)
        .text("\nmemento: peak held ")
        .number(all.peak)
        .text("\nmemento: mapped objects ")
        .number(all.mapped_objects)
        .text("\n")
}

/// What `malloc_info` writes to its stream.
pub fn malloc_info<A: Heap>(heap: &A) -> Text {
    let all = heap.footprint();
    Text::new()
        .text("<malloc version=\"1\">\n<total type=\"mmap\" count=\"")
        .number(all.mapped_objects)
        .text("\" size=\"")
        .number(all.mapped)
        .text("\"/>\n<system type=\"current\" size=\"")
        .number(all.committed)
        .text("\"/>\n<system type=\"max\" size=\"")
        .number(all.peak)
        .text("\"/>\n<inuse size=\"")
        .number(all.live)
        .text("\"/>\n</malloc>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_are_written_in_decimal() {
        let mut number = 0usize;
        for _ in 0..=20 {
            let text = Text::new().number(number);
            assert_eq!(core::str::from_utf8(text.as_bytes()), Ok(&*std::format!("{number}")));
            number = number.saturating_mul(10).saturating_add(7);
        }
        let text = Text::new().number(usize::MAX);
        assert_eq!(text.as_bytes(), std::format!("{}", usize::MAX).as_bytes());
    }

    #[test]
    fn text_that_does_not_fit_is_cut_off() {
        let mut text = Text::new();
        for _ in 0..100 {
            text = text.text("0123456789");
        }
        assert_eq!(text.as_bytes().len(), 512);
    }
}
