//! What the allocator holds and has done, as a struct and as JSON.

use crate::json::Json;
use crate::large::LargeUsage;
use memento_hal::counters::Counters;
use memento_hal::geometry::{CLASSES, SizeClass};
use memento_hal::soft::{BINS, Bin, Usage};

/// One size class.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct ClassStats {
    /// Bytes of an object.
    pub size: usize,
    /// Objects that are allocated now. Exact for what the calling thread allocated; objects that
    /// other threads freed and keep for themselves count as live.
    pub live: u64,
    /// Objects allocated so far; `None` unless the allocator was built with an observer that counts.
    pub allocated: Option<u64>,
    /// Objects freed so far; likewise.
    pub freed: Option<u64>,
}

/// A moment's numbers. Threads go on while they are read, so they need not add up exactly.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stats {
    /// The backend that serves objects up to 512 bytes.
    pub hal: &'static str,
    /// Whether the process runs in hardened mode.
    pub hardened: bool,
    /// The 64 classes up to 512 bytes.
    pub classes: [ClassStats; CLASSES],
    /// Live objects of more than 512 bytes, up to 256 KiB, that share the heaps.
    pub medium_live: u64,
    /// Live objects with pages of their own: of more than 256 KiB, or grown to 128 KiB and more.
    pub large_live: u64,
    /// Bytes in live objects, as rounded up when served. Small objects of a hardware backend are
    /// counted where an observer counts.
    pub live_bytes: u64,
    /// Bytes that may have memory behind them now.
    pub committed_bytes: u64,
    /// Most bytes that have been in use for objects so far.
    pub peak_bytes: u64,
    /// Objects that were freed by another thread than the one that allocated them.
    pub remote_frees: u64,
    /// What the hardware counted; zero with the soft backend.
    pub hardware: Counters,
}

impl Stats {
    /// Puts together what the parts know. `counted`: the observer's totals, if it counts.
    pub(crate) fn collect(
        hal: &'static str,
        usage: &Usage,
        large: LargeUsage,
        hardware: Counters,
        counted: Option<&Counters>,
        soft: bool,
    ) -> Self {
        let classes = core::array::from_fn(|c| {
            let allocated = counted.map(|n| n.allocs[c]);
            let freed = counted.map(|n| n.frees[c]);
            let live = match (soft, counted) {
                (false, Some(n)) => n.allocs[c].saturating_sub(n.frees[c]),
                _ => usage.live[c + 1],
            };
            let size = SizeClass::new(c).map_or(0, SizeClass::size);
            ClassStats { size, live, allocated, freed }
        });
        let medium = || Bin::all().filter(|b| b.class().is_none());
        let small_bytes: u64 = classes.iter().map(|c| c.live * c.size as u64).sum();
        let medium_bytes: u64 = medium().map(|b| usage.live[b.index()] * b.size() as u64).sum();
        Self {
            hal,
            hardened: false,
            classes,
            medium_live: medium().map(|b| usage.live[b.index()]).sum(),
            large_live: large.objects as u64,
            live_bytes: small_bytes + medium_bytes + large.bytes as u64,
            committed_bytes: usage.resident_bytes + (large.bytes + large.kept_bytes) as u64,
            peak_bytes: usage.peak_bytes + large.peak_bytes as u64,
            remote_frees: usage.remote_frees + hardware.remote_frees,
            hardware,
        }
    }

    /// Writes the numbers as one JSON object into `into`, cut off where it ends, and returns the
    /// length of the whole: if that is more than `into` holds, call again with more. Does not
    /// allocate. Classes that were never used are left out.
    pub fn to_json(&self, into: &mut [u8]) -> usize {
        let mut json = Json::new(into);
        json.open("{");
        json.text("schema", "memento.stats/1");
        json.text("hal", self.hal);
        json.number("hardened", u64::from(self.hardened));
        json.number("live_bytes", self.live_bytes);
        json.number("committed_bytes", self.committed_bytes);
        json.number("peak_bytes", self.peak_bytes);
        json.number("medium_live", self.medium_live);
        json.number("large_live", self.large_live);
        json.number("remote_frees", self.remote_frees);
        json.key("classes");
        json.open("[");
        for class in &self.classes {
            if class.live == 0 && class.allocated.unwrap_or(0) == 0 {
                continue;
            }
            json.separate();
            json.open("{");
            json.number("size", class.size as u64);
            json.number("live", class.live);
            if let Some(n) = class.allocated {
                json.number("allocated", n);
            }
            if let Some(n) = class.freed {
                json.number("freed", n);
            }
            json.close("}");
        }
        json.close("]");
        if self.hardware != Counters::ZERO {
            json.key("hardware");
            json.open("{");
            for (name, value) in self.hardware.fields() {
                json.number(name, value);
            }
            json.close("}");
        }
        json.close("}");
        json.written()
    }
}

const _: () = assert!(BINS > CLASSES);
