//! What the operations of memory management cost on this machine, measured.
//!
//! The measuring happens in a process of its own (`memento __calibrate`), so that it can be done under any
//! allocator. Each figure is a median over many small batches, so that what others do on the machine
//! matters little. Batches are of 16 objects: most objects of functions live no longer.

use crate::allocators::Allocator;
use crate::engine::stats::median;
use anyhow::{Context, Result, ensure};
use memmap2::{Advice, MmapMut};
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Name of the hidden subcommand.
pub const SUBCOMMAND: &str = "__calibrate";

/// Sizes of which objects are measured; every size costs as much as the next one here.
const SIZES: [usize; 8] = [16, 32, 64, 128, 256, 512, 2048, 16_384];
/// Objects of a batch.
const BATCH: usize = 16;
/// Batches.
const BATCHES: usize = 1000;
/// Bytes of a page.
const PAGE: usize = 4096;

/// What the operations cost, in nanoseconds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Costs {
    /// Objects up to a size.
    pub objects: Vec<ObjectCost>,
    /// The first touch of a page of 4 KiB.
    pub fault_ns: f64,
    /// `mmap` of 1 MiB.
    pub map_ns: f64,
    /// `munmap` of it, untouched.
    pub unmap_ns: f64,
    /// The processor's frequency, as the kernel says it.
    pub mhz: f64,
}

/// One size.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct ObjectCost {
    /// Bytes.
    pub size: usize,
    /// An allocation.
    pub alloc_ns: f64,
    /// A free.
    pub free_ns: f64,
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

    /// Measures in this process.
    ///
    /// # Errors
    /// If no memory can be mapped.
    pub fn measure() -> Result<Self> {
        let idle = object(0);
        let cost = |size| {
            let ObjectCost { alloc_ns, free_ns, .. } = object(size);
            let net = |with: f64, without: f64| (with - without).max(0.0);
            ObjectCost {
                size,
                alloc_ns: net(alloc_ns, idle.alloc_ns),
                free_ns: net(free_ns, idle.free_ns),
            }
        };
        let (map_ns, unmap_ns) = mapping()?;
        Ok(Self {
            objects: SIZES.map(cost).to_vec(),
            fault_ns: fault()?,
            map_ns,
            unmap_ns,
            mhz: mhz(),
        })
    }

    /// The cost of an object of a size: that of the next larger one measured.
    pub fn object(&self, size: u64) -> ObjectCost {
        let found = self.objects.iter().find(|cost| cost.size as u64 >= size);
        found.or(self.objects.last()).copied().unwrap_or(ObjectCost {
            size: 0,
            alloc_ns: 0.0,
            free_ns: 0.0,
        })
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

/// Times allocations and frees of one size, with the loop around them; of size 0 there is only the loop.
fn object(size: usize) -> ObjectCost {
    let mut objects: Vec<Vec<u8>> = Vec::with_capacity(BATCH);
    let (mut allocs, mut frees) = (Vec::with_capacity(BATCHES), Vec::with_capacity(BATCHES));
    for _ in 0..BATCHES {
        let begin = Instant::now();
        for _ in 0..BATCH {
            objects.push(black_box(Vec::with_capacity(black_box(size))));
        }
        allocs.push(begin.elapsed().as_nanos() as f64 / BATCH as f64);
        let begin = Instant::now();
        while let Some(object) = objects.pop() {
            drop(black_box(object));
        }
        frees.push(begin.elapsed().as_nanos() as f64 / BATCH as f64);
    }
    let middle = |values: &[f64]| median(values).unwrap_or(0.0);
    ObjectCost { size, alloc_ns: middle(&allocs), free_ns: middle(&frees) }
}

fn fault() -> Result<f64> {
    const PAGES: usize = 64;
    let mut times = Vec::new();
    for _ in 0..32 {
        let mut map = MmapMut::map_anon(PAGES * PAGE).context("cannot map memory")?;
        map.advise(Advice::NoHugePage).context("cannot advise on memory")?;
        let begin = Instant::now();
        map.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
        times.push(begin.elapsed().as_nanos() as f64 / PAGES as f64);
    }
    Ok(median(&times).unwrap_or(0.0))
}

fn mapping() -> Result<(f64, f64)> {
    let (mut maps, mut unmaps) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let begin = Instant::now();
        let map = MmapMut::map_anon(1 << 20).context("cannot map memory")?;
        maps.push(begin.elapsed().as_nanos() as f64);
        let begin = Instant::now();
        drop(black_box(map));
        unmaps.push(begin.elapsed().as_nanos() as f64);
    }
    Ok((median(&maps).unwrap_or(0.0), median(&unmaps).unwrap_or(0.0)))
}

/// The processor's frequency in MHz; where the kernel does not say it, that of the published system.
fn mhz() -> f64 {
    const PUBLISHED: f64 = 3000.0;
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("cpu MHz"));
    let value = line.and_then(|line| line.trim_start_matches([' ', '\t', ':']).parse().ok());
    value.filter(|mhz: &f64| *mhz > 0.0).unwrap_or(PUBLISHED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_costs_something() {
        let costs = Costs::measure().unwrap();
        assert!(costs.fault_ns > 10.0 && costs.map_ns > 10.0 && costs.unmap_ns > 10.0, "{costs:?}");
        assert!(costs.mhz > 100.0);
        assert!(costs.objects.iter().any(|cost| cost.alloc_ns > 0.0), "{costs:?}");
    }

    #[test]
    fn sizes_between_cost_what_the_next_one_does() {
        let object = |size| ObjectCost { size, alloc_ns: size as f64, free_ns: 1.0 };
        let objects = vec![object(16), object(32)];
        let costs = Costs { objects, fault_ns: 0.0, map_ns: 0.0, unmap_ns: 0.0, mhz: 2000.0 };
        assert_eq!([0, 16, 17, 32, 99].map(|size| costs.object(size).size), [16, 16, 32, 32, 32]);
        assert_eq!((costs.cycles(10.0), costs.ns(20.0)), (20.0, 10.0));
    }
}
