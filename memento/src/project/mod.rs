//! `memento project`: what the hardware would do for a function, to first order.
//!
//! The time that the program spends on small objects now is counts × costs measured on this machine
//! ([`crate::calibrate`]); the time that the hardware would spend is the cycles that the emulator counts
//! for the same operations. What is saved is the difference, by kind:
//!
//! | | now | with the hardware |
//! | --- | --- | --- |
//! | allocations up to 512 bytes | measured hot path of `malloc` | cycles of `obj-alloc` |
//! | their frees | measured hot path of `free` | cycles of `obj-free` |
//! | the pages that hold them | measured page fault for each | cycles of page management |
//!
//! Nothing is claimed of the bypass of main memory, of caches or of traffic: that is a simulator's job.

use crate::calibrate::Costs;
use crate::engine::estimate::{Estimate, geometric_mean};
use crate::profile::count::{Counts, SMALL};
use memento_hal::counters::Counters;
use serde::Serialize;
use std::collections::BTreeMap;

/// Name and version of the document.
pub const SCHEMA: &str = "memento.project/1";

/// What stands behind the numbers; printed with them.
pub const ASSUMPTIONS: [&str; 7] = [
    "first order: CPU time now, less software time on small objects, plus the emulated cycles for the same operations",
    "malloc and free are priced by their hot paths on this machine, everything in the caches: a lower bound of what is saved",
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
}

/// A projection.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Projection {
    /// CPU time now, in nanoseconds.
    pub cpu_ns: f64,
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
    /// Projects a program: `counts` of its operations, `hardware`'s counters of the same, its CPU time
    /// now, and what operations cost here. None if more would be saved than there is.
    pub fn new(counts: &Counts, hardware: &Counters, cpu_ns: f64, costs: &Costs) -> Option<Self> {
        let sum = |of: &BTreeMap<u64, u64>, cost: &dyn Fn(u64) -> f64| {
            let small = of.range(..=SMALL);
            small.fold((0, 0.0), |(count, ns), (size, many)| {
                (count + many, ns + *many as f64 * cost(*size))
            })
        };
        let (allocs, alloc_ns) = sum(&counts.classes, &|size| costs.object(size).alloc_ns);
        let (frees, free_ns) = sum(&counts.class_frees, &|size| costs.object(size).free_ns);
        let pages = hardware.pages_taken;
        let pages_ns = pages as f64 * costs.fault_ns;
        let alloc = Part::new(allocs, alloc_ns, hardware.cycles_obj_alloc, costs);
        let free = Part::new(frees, free_ns, hardware.cycles_obj_free, costs);
        let pages = Part::new(pages, pages_ns, hardware.cycles_page_management, costs);
        let saved = alloc.saved_ns() + free.saved_ns() + pages.saved_ns();
        (saved < cpu_ns).then(|| Self {
            cpu_ns,
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
    use crate::calibrate::ObjectCost;

    fn costs() -> Costs {
        let objects = vec![ObjectCost { size: 512, alloc_ns: 20.0, free_ns: 10.0 }];
        Costs { objects, fault_ns: 1000.0, map_ns: 0.0, unmap_ns: 0.0, mhz: 2000.0 }
    }

    fn counts() -> Counts {
        Counts {
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
        let got = Projection::new(&counts(), &hardware(), 20_000.0, &costs()).unwrap();
        // 100 small allocations at 20 ns against 400 cycles at 2 GHz; 50 frees at 10 against 200.
        assert_eq!(
            (got.alloc.count, got.alloc.software_ns, got.alloc.hardware_ns),
            (100, 2000.0, 200.0)
        );
        assert_eq!(
            (got.free.count, got.free.software_ns, got.free.hardware_ns),
            (50, 500.0, 100.0)
        );
        assert_eq!(
            (got.pages.count, got.pages.software_ns, got.pages.hardware_ns),
            (3, 3000.0, 500.0)
        );
        // 1800 + 400 + 2500 of 20000.
        assert!((got.saved_ns() - 4700.0).abs() < 1e-9);
        assert!((got.speedup - 20_000.0 / 15_300.0).abs() < 1e-12);
        let split = got.split().unwrap();
        assert!(
            (split[0] - 18.0 / 47.0).abs() < 1e-12
                && (split.iter().sum::<f64>() - 1.0).abs() < 1e-12
        );
    }

    #[test]
    fn more_than_there_is_cannot_be_saved() {
        assert_eq!(Projection::new(&counts(), &hardware(), 4000.0, &costs()), None);
    }

    #[test]
    fn what_saves_nothing_has_no_split() {
        let mut slow = hardware();
        slow.cycles_obj_alloc = 1_000_000;
        let got = Projection::new(&counts(), &slow, 1e9, &costs()).unwrap();
        assert!(got.speedup < 1.0 && got.split().is_none());
    }
}
