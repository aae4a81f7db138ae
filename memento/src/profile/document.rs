//! The document `memento.profile/1`.

use super::count::Counts;
use crate::calibrate::Costs;
use crate::engine::Exit;
use serde::{Deserialize, Serialize};

/// Name and version of the document.
pub const SCHEMA: &str = "memento.profile/1";

/// Bytes from which on glibc maps an object by itself, until it has learned otherwise.
const MAPPED: u64 = 128 << 10;

/// A program's memory management.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// How it ended.
    pub exit: Exit,
    /// Sizes and lifetimes.
    pub counts: Counts,
    /// Shares of them, beside the published ones.
    pub shares: Vec<Share>,
    /// What it costs; absent if the program could not be run a second time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// A share of objects.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Share {
    /// Of which objects.
    pub what: String,
    /// Of all; absent if there are none.
    pub share: Option<f64>,
    /// As published for functions.
    pub published: String,
}

/// An estimate of the time that memory management takes: counts × what each costs on this machine.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Time {
    /// CPU time of the whole program, run as it is, in nanoseconds.
    pub cpu_ns: f64,
    /// Page faults of the program.
    pub minor_faults: u64,
    /// Pages of anonymous memory that it held at most: that many were faulted in for it.
    pub heap_pages: u64,
    /// Objects that are likely to have been mapped one by one.
    pub mappings: u64,
    /// Time in `malloc`, in nanoseconds.
    pub alloc_ns: f64,
    /// Time in `free`.
    pub free_ns: f64,
    /// Time in page faults of the heap, `mmap` and `munmap`.
    pub kernel_ns: f64,
    /// What each operation costs.
    pub costs: Costs,
}

impl Time {
    /// Estimates it from counts and costs.
    pub fn estimate(
        counts: &Counts,
        costs: Costs,
        cpu_ns: f64,
        minor_faults: u64,
        heap_bytes: u64,
    ) -> Self {
        let sum = |of: &std::collections::BTreeMap<u64, u64>, cost: &dyn Fn(u64) -> f64| -> f64 {
            of.iter().map(|(size, count)| *count as f64 * cost(*size)).sum()
        };
        let alloc_ns = sum(&counts.classes, &|size| costs.object(size).alloc_ns);
        let free_ns = sum(&counts.class_frees, &|size| costs.object(size).free_ns);
        let heap_pages = heap_bytes.div_ceil(4096);
        let large = |of: &std::collections::BTreeMap<u64, u64>| -> u64 {
            of.range(MAPPED..).map(|(_, count)| count).sum()
        };
        let (mappings, unmappings) = (large(&counts.classes), large(&counts.class_frees));
        let kernel_ns = heap_pages as f64 * costs.fault_ns
            + mappings as f64 * costs.map_ns
            + unmappings as f64 * costs.unmap_ns;
        Self { cpu_ns, minor_faults, heap_pages, mappings, alloc_ns, free_ns, kernel_ns, costs }
    }

    /// All of it, in nanoseconds.
    pub fn total_ns(&self) -> f64 {
        self.alloc_ns + self.free_ns + self.kernel_ns
    }
}

/// The shares that the paper publishes, of these counts.
pub fn shares(counts: &Counts) -> Vec<Share> {
    let all = counts.allocations;
    let share = |what: &str, part: u64, published: &str| Share {
        what: what.into(),
        share: (all > 0).then(|| part as f64 / all as f64),
        published: published.into(),
    };
    vec![
        share("at most 512 bytes", counts.small, "93 %"),
        share("freed within 16 allocations of their class", counts.short, "71 %"),
        share("alive at exit", counts.alive, "27 %"),
        share("small and short-lived", counts.small_short, "61 %"),
        share("small and not short-lived", counts.small - counts.small_short, "32 %"),
        share("freed by another thread", counts.remote_frees, "not published"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::ObjectCost;

    #[test]
    fn time_by_hand() {
        let objects = vec![
            ObjectCost { size: 64, alloc_ns: 10.0, free_ns: 5.0 },
            ObjectCost { size: 4096, alloc_ns: 100.0, free_ns: 50.0 },
        ];
        let costs =
            Costs { objects, fault_ns: 1000.0, map_ns: 300.0, unmap_ns: 200.0, mhz: 2000.0 };
        let counts = Counts {
            classes: [(24, 3), (640, 1), (1 << 20, 2)].into(),
            class_frees: [(24, 2), (1 << 20, 1)].into(),
            ..Counts::default()
        };
        let time = Time::estimate(&counts, costs, 1e9, 77, 2 * 4096 + 1);
        // 3·10 + 1·100 + 2·100, and 2·5 + 1·50.
        assert_eq!((time.alloc_ns, time.free_ns), (330.0, 60.0));
        // Three pages, two mappings, one of them unmapped.
        assert_eq!((time.heap_pages, time.mappings, time.kernel_ns), (3, 2, 3800.0));
        assert_eq!(time.total_ns(), 4190.0);
    }

    #[test]
    fn shares_of_nothing_are_absent() {
        assert!(shares(&Counts::default()).iter().all(|share| share.share.is_none()));
        let counts = Counts { allocations: 4, small: 3, small_short: 1, ..Counts::default() };
        let got: Vec<_> = shares(&counts).iter().map(|share| share.share.unwrap()).collect();
        assert_eq!(got, [0.75, 0.0, 0.0, 0.25, 0.5, 0.0]);
    }
}
