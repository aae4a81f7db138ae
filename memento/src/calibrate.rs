//! What the operations of memory management cost on this machine, measured.
//!
//! The measuring (`calibrate/measure.rs`) happens in a process of its own (`memento __calibrate`), so that it can be done
//! under any allocator. Each figure is a median over many small batches, so that what others do on the machine
//! matters little. Which way an operation takes is said by [`crate::profile::paths`].

mod measure;

use crate::allocators::Allocator;
use crate::profile::paths::Paths;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::process::{Command, Stdio};

/// Name of the hidden subcommand.
pub const SUBCOMMAND: &str = "__calibrate";

/// What the operations cost, in nanoseconds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Costs {
    /// Objects up to a size.
    pub objects: Vec<ObjectCost>,
    /// A free by another thread than the one that allocated.
    pub remote_free_ns: f64,
    /// An allocation that is mapped, without the kernel's part.
    pub large_alloc_ns: f64,
    /// Its free, without the kernel's part.
    pub large_free_ns: f64,
    /// The first touch of a page of 4 KiB.
    pub fault_ns: f64,
    /// The first touch of a huge page of 2 MiB; absent where the kernel gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub huge_fault_ns: Option<f64>,
    /// `mmap` of 1 MiB.
    pub map_ns: f64,
    /// `munmap` of it, untouched.
    pub unmap_ns: f64,
    /// A touched page that is given back, beyond the call that does it.
    pub give_back_ns: f64,
    /// `madvise`, the call alone.
    pub advise_ns: f64,
    /// The processor's frequency, as the kernel says it.
    pub mhz: f64,
}

/// One size.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ObjectCost {
    /// Bytes.
    pub size: usize,
    /// An allocation, hot.
    pub alloc_ns: f64,
    /// A free, hot.
    pub free_ns: f64,
    /// An allocation when the thread's cache is empty.
    pub refill_ns: f64,
    /// A free that the thread's cache does not take.
    pub last_ns: f64,
}

impl Costs {
    /// Measures under an allocator.
    ///
    /// # Errors
    /// If the process that measures fails.
    pub fn under(allocator: &Allocator) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe().context("no name of this program")?);
        command.arg(SUBCOMMAND).envs(allocator.environment()).stdin(Stdio::null());
        let out = command.output().context("cannot start the calibration")?;
        ensure!(
            out.status.success(),
            "the calibration under {} failed: {}",
            allocator.name,
            String::from_utf8_lossy(&out.stderr).trim()
        );
        serde_json::from_slice(&out.stdout).context("the calibration cannot be read")
    }

    /// The cost of an object of a size: that of the next larger one measured.
    pub fn object(&self, size: u64) -> ObjectCost {
        let found = self.objects.iter().find(|cost| cost.size as u64 >= size);
        found.or(self.objects.last()).copied().unwrap_or_default()
    }

    /// What allocations and frees cost that took these ways, by their class; only those of classes in `range`.
    /// Nanoseconds of the program, without the kernel.
    pub fn price(&self, paths: &BTreeMap<u64, Paths>, range: impl RangeBounds<u64>) -> (f64, f64) {
        let (mut allocs, mut frees) = (0.0, 0.0);
        for (class, paths) in paths.range(range) {
            let cost = self.object(*class);
            allocs += paths.alloc_hot as f64 * cost.alloc_ns
                + paths.alloc_refill as f64 * cost.refill_ns
                + paths.alloc_large as f64 * self.large_alloc_ns;
            frees += paths.free_hot as f64 * cost.free_ns
                + paths.free_last as f64 * cost.last_ns
                + paths.free_remote as f64 * self.remote_free_ns
                + paths.free_large as f64 * self.large_free_ns;
        }
        (allocs, frees)
    }

    /// Nanoseconds as cycles.
    pub fn cycles(&self, ns: f64) -> f64 {
        ns * self.mhz / 1e3
    }

    /// Cycles as nanoseconds.
    pub fn ns(&self, cycles: f64) -> f64 {
        cycles / self.mhz * 1e3
    }
}

/// The processor's frequency in MHz; where the kernel does not say it, that of the published system.
fn mhz() -> f64 {
    const PUBLISHED: f64 = 3000.0;
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("cpu MHz"));
    let value = line.and_then(|line| line.trim_start_matches([' ', '\t', ':']).parse().ok());
    value.filter(|mhz: &f64| *mhz > 0.0).unwrap_or(PUBLISHED)
}

/// Round costs, for tests that compute by hand.
#[cfg(test)]
pub(crate) fn round_costs() -> Costs {
    let object = |size, alloc_ns| ObjectCost {
        size,
        alloc_ns,
        free_ns: alloc_ns / 2.0,
        refill_ns: alloc_ns * 10.0,
        last_ns: alloc_ns * 5.0,
    };
    Costs {
        objects: vec![object(64, 10.0), object(4096, 100.0)],
        remote_free_ns: 70.0,
        large_alloc_ns: 400.0,
        large_free_ns: 200.0,
        fault_ns: 1000.0,
        huge_fault_ns: Some(100_000.0),
        map_ns: 300.0,
        unmap_ns: 200.0,
        give_back_ns: 50.0,
        advise_ns: 250.0,
        mhz: 2000.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_between_cost_what_the_next_one_does() {
        let costs = round_costs();
        assert_eq!(
            [0, 64, 65, 4096, 9999].map(|size| costs.object(size).size),
            [64, 64, 4096, 4096, 4096]
        );
        assert_eq!((costs.cycles(10.0), costs.ns(20.0)), (20.0, 10.0));
    }

    #[test]
    fn a_price_by_hand() {
        let small = Paths {
            alloc_hot: 3,
            alloc_refill: 1,
            free_hot: 2,
            free_last: 1,
            free_remote: 1,
            ..Paths::default()
        };
        let large = Paths { alloc_large: 2, free_large: 1, ..Paths::default() };
        let paths = [(24, small), (1 << 20, large)].into();
        // 3·10 + 1·100; 2·5 + 1·50 + 1·70.
        assert_eq!(round_costs().price(&paths, ..=512), (130.0, 130.0));
        // … and 2·400; 1·200.
        assert_eq!(round_costs().price(&paths, ..), (930.0, 330.0));
    }
}
