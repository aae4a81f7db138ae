//! `memento project`: what the hardware would do for a function, to first order.
//!
//! The time that the program spends on small objects now is counts × costs measured on this machine
//! ([`crate::calibrate`]); the time that the hardware would spend is the cycles that the emulator counts
//! for the same operations. What is saved is the difference, by kind:
//!
//! | | now | with the hardware |
//! | --- | --- | --- |
//! | allocations up to 512 bytes | measured ways of `malloc`, each as often as a model of glibc's says | cycles of `obj-alloc` |
//! | their frees | the same of `free` | cycles of `obj-free` |
//! | the pages that hold them | measured page fault for each | cycles of page management |
//!
//! Nothing is claimed of the bypass of main memory, of caches or of traffic: that is a simulator's job.

use crate::calibrate::Costs;
use crate::engine::estimate::{Estimate, geometric_mean};
use crate::profile::count::{Counts, SMALL};
use crate::profile::time::Time;
use memento_hal::counters::Counters;
use serde::Serialize;
use std::collections::BTreeMap;

/// Name and version of the document.
pub const SCHEMA: &str = "memento.project/1";

/// What stands behind the numbers; printed with them.
pub const ASSUMPTIONS: [&str; 10] = [
    "first order: CPU time now, less software time on small objects, plus the emulated cycles for the same operations",
    "which way an operation takes is said by a model of glibc's malloc: 7 objects of a size in a thread's cache, all others through the arena; mapped from 128 KiB on, or from the largest that was unmapped",
    "each way is priced by short bursts on this machine, everything in the processor's caches: what a cold object costs is left out",
    "memory management now: malloc and free as above (user), page faults of the heap, mmap, brk and munmap (kernel); the heap's faults are the pages of the most anonymous memory seen, huge where there are fewer faults than pages; what was given back and faulted in again is left out, and so are pages of files",
    "brk is called for every 132 KiB of the heap and costs as much as mmap; madvise is calibrated, but glibc calls it only when it trims the heap of a thread, which is not counted",
    "every page that the hardware took for small objects is one page fault saved; page faults are priced by a first touch on this machine",
    "emulated cycles are turned to time at this machine's frequency; they come from the emulator's fixed costs",
    "objects above 512 bytes, and everything else in the program, stay as they are",
    "Python's functions are taken with PYTHONMALLOC=malloc, without and with the hardware, so that its small objects are seen",
    "no claim on the bypass of main memory, on caches or on traffic: these need a simulator",
];

/// What the paper publishes, to stand beside the projection.
pub const PUBLISHED: [(&str, &str); 4] = [
    ("speed-up of functions", "8–28 %, mean 16 %; Python html 28 %, bfs 25 %; C++ mean 16 %"),
    ("data processing", "5–11 %"),
    ("platform operations", "4–7 %"),
    ("split of the gain", "obj-alloc 33 %, obj-free 32 %, page management 33 %, bypass 2 %"),
];

/// A run of `memento project`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Always: this is an estimate.
    pub kind: &'static str,
    /// What operations cost on this machine.
    pub costs: Costs,
    /// The emulator's parameters.
    pub parameters: BTreeMap<String, u64>,
    /// [`ASSUMPTIONS`].
    pub assumptions: Vec<&'static str>,
    /// [`PUBLISHED`].
    pub published: BTreeMap<&'static str, &'static str>,
    /// What was projected.
    pub workloads: Vec<Projected>,
    /// Geometric mean of the speed-ups.
    pub mean_speedup: Option<f64>,
}

/// One workload.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Projected {
    /// Its name.
    pub name: String,
    /// Why there is no projection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// The projection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projection: Option<Projection>,
    /// Memory management now, with how often each operation is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<Time>,
}

/// A projection.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Projection {
    /// CPU time now, in nanoseconds.
    pub cpu_ns: f64,
    /// Time in `malloc` and `free` now, all sizes.
    pub user_ns: f64,
    /// Time in the kernel for memory now: page faults of the heap, `mmap`, `brk`, `munmap`.
    pub kernel_ns: f64,
    /// Allocations up to 512 bytes.
    pub alloc: Part,
    /// Frees of them.
    pub free: Part,
    /// Pages that hold them.
    pub pages: Part,
    /// CPU time now ÷ CPU time with the hardware.
    pub speedup: f64,
}

/// One kind of operation.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Part {
    /// How many there are.
    pub count: u64,
    /// Time that they take now, in nanoseconds.
    pub software_ns: f64,
    /// Cycles that the hardware takes for them.
    pub hardware_cycles: u64,
    /// The same in nanoseconds.
    pub hardware_ns: f64,
}

impl Part {
    fn new(count: u64, software_ns: f64, hardware_cycles: u64, costs: &Costs) -> Self {
        let hardware_ns = costs.ns(hardware_cycles as f64);
        Self { count, software_ns, hardware_cycles, hardware_ns }
    }

    /// What is saved; less than nothing if the hardware takes longer.
    pub fn saved_ns(&self) -> f64 {
        self.software_ns - self.hardware_ns
    }
}

impl Projection {
    /// Projects a program: `counts` of its operations, `hardware`'s counters of the same, and the time that they
    /// take now. None if more would be saved than there is.
    pub fn new(counts: &Counts, hardware: &Counters, now: &Time) -> Option<Self> {
        let (costs, cpu_ns) = (&now.costs, now.cpu_ns);
        let small = |of: &BTreeMap<u64, u64>| of.range(..=SMALL).map(|(_, count)| count).sum();
        let (allocs, frees) = (small(&counts.classes), small(&counts.class_frees));
        let (alloc_ns, free_ns) = costs.price(&counts.paths, ..=SMALL);
        let pages = hardware.pages_taken;
        let pages_ns = pages as f64 * costs.fault_ns;
        let alloc = Part::new(allocs, alloc_ns, hardware.cycles_obj_alloc, costs);
        let free = Part::new(frees, free_ns, hardware.cycles_obj_free, costs);
        let pages = Part::new(pages, pages_ns, hardware.cycles_page_management, costs);
        let saved = alloc.saved_ns() + free.saved_ns() + pages.saved_ns();
        (saved < cpu_ns).then(|| Self {
            cpu_ns,
            user_ns: now.user_ns(),
            kernel_ns: now.kernel_ns,
            alloc,
            free,
            pages,
            speedup: cpu_ns / (cpu_ns - saved),
        })
    }

    /// All that is saved.
    pub fn saved_ns(&self) -> f64 {
        self.alloc.saved_ns() + self.free.saved_ns() + self.pages.saved_ns()
    }

    /// The shares of what is saved, of allocations, frees and pages; none if nothing is.
    pub fn split(&self) -> Option<[f64; 3]> {
        let saved = self.saved_ns();
        let parts = [self.alloc, self.free, self.pages];
        (saved > 0.0).then(|| parts.map(|part| part.saved_ns() / saved))
    }
}

/// The geometric mean of the speed-ups.
pub fn mean(workloads: &[Projected]) -> Option<f64> {
    let speedups = workloads.iter().filter_map(|w| w.projection);
    let ratios: Vec<Estimate> =
        speedups.map(|p| Estimate { ratio: p.speedup, interval: None }).collect();
    geometric_mean(&ratios).map(|mean| mean.ratio)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::{ObjectCost, round_costs};
    use crate::profile::paths::Paths;
    use crate::profile::time::Seen;

    fn now(cpu_ns: f64) -> Time {
        let object =
            ObjectCost { size: 512, alloc_ns: 15.0, refill_ns: 70.0, free_ns: 10.0, last_ns: 30.0 };
        let costs = Costs { objects: vec![object], ..round_costs() };
        let seen = Seen { cpu_ns, system_ns: 0.0, minor_faults: 9, heap_bytes: 2 * 4096 };
        Time::estimate(&counts(), costs, &seen)
    }

    fn counts() -> Counts {
        let hot = |alloc_hot, free_hot| Paths { alloc_hot, free_hot, ..Paths::default() };
        let mixed = Paths { alloc_hot: 30, alloc_refill: 10, free_last: 0, ..Paths::default() };
        Counts {
            paths: [(24, hot(60, 50)), (512, mixed), (1024, hot(1000, 0)), (2048, hot(0, 9))]
                .into(),
            classes: [(24, 60), (512, 40), (1024, 1000)].into(),
            class_frees: [(24, 50), (2048, 9)].into(),
            ..Counts::default()
        }
    }

    fn hardware() -> Counters {
        let mut counters = Counters::ZERO;
        counters.cycles_obj_alloc = 400;
        counters.cycles_obj_free = 200;
        counters.cycles_page_management = 1000;
        counters.pages_taken = 3;
        counters
    }

    #[test]
    fn a_projection_by_hand() {
        let got = Projection::new(&counts(), &hardware(), &now(20_000.0)).unwrap();
        // 90 small allocations at 15 ns and 10 at 70 against 400 cycles at 2 GHz; 50 frees at 10 against 200.
        assert_eq!(
            (got.alloc.count, got.alloc.software_ns, got.alloc.hardware_ns),
            (100, 2050.0, 200.0)
        );
        // With the large ones 1000·15 and 9·10 more; two pages, and nothing that lives.
        assert_eq!((got.user_ns, got.kernel_ns), (2050.0 + 15_000.0 + 500.0 + 90.0, 2000.0));
        assert_eq!(
            (got.free.count, got.free.software_ns, got.free.hardware_ns),
            (50, 500.0, 100.0)
        );
        assert_eq!(
            (got.pages.count, got.pages.software_ns, got.pages.hardware_ns),
            (3, 3000.0, 500.0)
        );
        // 1850 + 400 + 2500 of 20000.
        assert!((got.saved_ns() - 4750.0).abs() < 1e-9);
        assert!((got.speedup - 20_000.0 / 15_250.0).abs() < 1e-12);
        let split = got.split().unwrap();
        assert!(
            (split[0] - 185.0 / 475.0).abs() < 1e-12
                && (split.iter().sum::<f64>() - 1.0).abs() < 1e-12
        );
    }

    #[test]
    fn more_than_there_is_cannot_be_saved() {
        assert_eq!(Projection::new(&counts(), &hardware(), &now(4000.0)), None);
    }

    #[test]
    fn what_saves_nothing_has_no_split() {
        let mut slow = hardware();
        slow.cycles_obj_alloc = 1_000_000;
        let got = Projection::new(&counts(), &slow, &now(1e9)).unwrap();
        assert!(got.speedup < 1.0 && got.split().is_none());
    }
}
