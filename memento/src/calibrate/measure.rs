//! The measuring: small batches, the middle of many, and everything net of the loop around it.

use super::{Costs, ObjectCost};
use crate::engine::stats::median;
use crate::profile::paths::{Model, Paths};
use anyhow::{Context, Result};
use memmap2::{Advice, MmapMut};
use nix::sys::resource::{UsageWho, getrusage};
use std::hint::black_box;
use std::time::Instant;

/// Sizes of which objects are measured; every size costs as much as the next one here.
const SIZES: [usize; 8] = [16, 32, 64, 128, 256, 512, 2048, 16_384];
/// Objects that the caches hold: of these the hot paths are measured.
const FEW: usize = 7;
/// Objects that no cache holds.
const MANY: usize = 256;
/// Always mapped, whatever was mapped and freed before.
const LARGE: usize = 33 << 20;
/// Bytes of a page, and of a huge page.
const PAGE: usize = 4096;
const HUGE: usize = 2 << 20;
/// Bytes of the mappings that are measured.
const MAPPING: usize = 1 << 20;

impl Costs {
    /// Measures in this process.
    ///
    /// # Errors
    /// If no memory can be mapped.
    pub fn measure() -> Result<Self> {
        let (map_ns, unmap_ns, touched_ns, advise_ns) = mappings()?;
        let fault_ns = fault()?;
        let (large_alloc, large_free) = large();
        let net = |with: f64, without: f64| (with - without).max(0.0);
        Ok(Self {
            objects: SIZES.map(object).to_vec(),
            remote_free_ns: remote_free(),
            // What is allocated is mapped, and its header is written.
            large_alloc_ns: net(large_alloc, map_ns + fault_ns),
            large_free_ns: net(large_free, unmap_ns),
            fault_ns,
            huge_fault_ns: huge_fault()?,
            map_ns,
            unmap_ns,
            give_back_ns: net(touched_ns, unmap_ns) / (MAPPING / PAGE) as f64,
            advise_ns,
            mhz: super::mhz(),
        })
    }
}

/// Time of `count` allocations and of freeing them, in nanoseconds. Of size 0 there is only the loop.
fn burst(objects: &mut Vec<Vec<u8>>, count: usize, size: usize) -> (f64, f64) {
    let begin = Instant::now();
    for _ in 0..count {
        objects.push(black_box(Vec::with_capacity(black_box(size))));
    }
    let alloc = begin.elapsed().as_nanos() as f64;
    let begin = Instant::now();
    while let Some(object) = objects.pop() {
        drop(black_box(object));
    }
    (alloc, begin.elapsed().as_nanos() as f64)
}

/// The middle of many bursts, net of the loop.
fn bursts(count: usize, size: usize, rounds: usize) -> (f64, f64) {
    let mut objects: Vec<Vec<u8>> = (0..count).map(|_| Vec::with_capacity(size)).collect();
    // The heap is as large now as it gets; what lies behind all others keeps its end from being given back.
    let _end = black_box(vec![0u8; size.max(1)]);
    objects.clear();
    burst(&mut objects, count, size);
    let mut middle = |size: usize| {
        let (allocs, frees): (Vec<f64>, Vec<f64>) =
            (0..rounds).map(|_| burst(&mut objects, count, size)).unzip();
        (middle_half(&allocs), middle_half(&frees))
    };
    let (idle, with) = (middle(0), middle(size));
    ((with.0 - idle.0).max(0.0), (with.1 - idle.1).max(0.0))
}

/// The mean of the values but the lowest and the highest quarter: as hard to move as a median, and finer than the
/// clock's steps.
fn middle_half(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let quarter = sorted.len() / 4;
    let half = &sorted[quarter..sorted.len() - quarter];
    half.iter().sum::<f64>() / half.len().max(1) as f64
}

/// One size: the hot paths by few objects, the slow ones by what many cost beyond the hot ones among them.
fn object(size: usize) -> ObjectCost {
    let (alloc, free) = bursts(FEW, size, 1000);
    let (alloc_ns, free_ns) = (alloc / FEW as f64, free / FEW as f64);
    let (alloc, free) = bursts(MANY, size, 60);
    let paths = paths_of_bursts(size as u64);
    let beyond = |all: f64, hot: u64, hot_ns: f64, slow: u64| {
        ((all - hot as f64 * hot_ns) / slow.max(1) as f64).max(hot_ns)
    };
    ObjectCost {
        size,
        alloc_ns,
        free_ns,
        refill_ns: beyond(alloc, paths.alloc_hot, alloc_ns, paths.alloc_refill),
        last_ns: beyond(free, paths.free_hot, free_ns, paths.free_last),
    }
}

/// The ways that the model says a burst of many takes when it is repeated, so that what is priced by it is
/// priced by its own rules.
fn paths_of_bursts(size: u64) -> Paths {
    let mut model = Model::default();
    let mut burst = || {
        let mut paths = Paths::default();
        (0..MANY).for_each(|_| paths.alloc(model.alloc(0, size, 8)));
        (0..MANY).for_each(|_| paths.free(model.free(0, size, false, false)));
        paths
    };
    burst();
    burst()
}

/// The free of an object that another thread allocated.
fn remote_free() -> f64 {
    let rounds = |size: usize| {
        let mut times = Vec::new();
        for _ in 0..40 {
            let objects: Vec<Vec<u8>> =
                (0..MANY).map(|_| black_box(Vec::with_capacity(black_box(size)))).collect();
            let freed = std::thread::spawn(move || {
                let begin = Instant::now();
                objects.into_iter().for_each(|object| drop(black_box(object)));
                begin.elapsed().as_nanos() as f64
            });
            times.extend(freed.join());
        }
        middle_half(&times) / MANY as f64
    };
    let idle = rounds(0);
    (rounds(64) - idle).max(0.0)
}

fn large() -> (f64, f64) {
    let (mut allocs, mut frees) = (Vec::new(), Vec::new());
    for _ in 0..50 {
        let begin = Instant::now();
        let object: Vec<u8> = black_box(Vec::with_capacity(LARGE));
        allocs.push(begin.elapsed().as_nanos() as f64);
        let begin = Instant::now();
        drop(object);
        frees.push(begin.elapsed().as_nanos() as f64);
    }
    (median(&allocs).unwrap_or(0.0), median(&frees).unwrap_or(0.0))
}

fn fault() -> Result<f64> {
    const PAGES: usize = 64;
    let mut times = Vec::new();
    for _ in 0..32 {
        let mut map = small_pages(PAGES * PAGE)?;
        let begin = Instant::now();
        touch(&mut map);
        times.push(begin.elapsed().as_nanos() as f64 / PAGES as f64);
    }
    Ok(median(&times).unwrap_or(0.0))
}

/// The first touch of a huge page; none where the kernel gives none.
fn huge_fault() -> Result<Option<f64>> {
    let faults = || getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.minor_page_faults());
    let mut times = Vec::new();
    for _ in 0..8 {
        let mut map = MmapMut::map_anon(2 * HUGE).context("cannot map memory")?;
        if map.advise(Advice::HugePage).is_err() {
            return Ok(None);
        }
        let start = map.as_ptr().align_offset(HUGE);
        let Some(page) = map.get_mut(start..start + HUGE) else { return Ok(None) };
        let (begin, before) = (Instant::now(), faults());
        page[0] = 1;
        let time = begin.elapsed().as_nanos() as f64;
        page.iter_mut().step_by(PAGE).for_each(|byte| *byte = 2);
        // Were they small, there would be one for each of the others.
        if faults() - before < 64 {
            times.push(time);
        }
    }
    Ok(median(&times))
}

/// `mmap`, `munmap` untouched, `munmap` touched, and a `madvise` that changes nothing.
fn mappings() -> Result<(f64, f64, f64, f64)> {
    let mut times: [Vec<f64>; 4] = Default::default();
    for _ in 0..100 {
        let begin = Instant::now();
        let map = MmapMut::map_anon(MAPPING).context("cannot map memory")?;
        times[0].push(begin.elapsed().as_nanos() as f64);
        let begin = Instant::now();
        drop(black_box(map));
        times[1].push(begin.elapsed().as_nanos() as f64);
    }
    for _ in 0..20 {
        let mut map = small_pages(MAPPING)?;
        touch(&mut map);
        let begin = Instant::now();
        map.advise(Advice::Normal).context("cannot advise on memory")?;
        times[3].push(begin.elapsed().as_nanos() as f64);
        let begin = Instant::now();
        drop(black_box(map));
        times[2].push(begin.elapsed().as_nanos() as f64);
    }
    let [map, unmap, touched, advise] = times.map(|times| median(&times).unwrap_or(0.0));
    Ok((map, unmap, touched, advise))
}

fn small_pages(bytes: usize) -> Result<MmapMut> {
    let map = MmapMut::map_anon(bytes).context("cannot map memory")?;
    // Fails where the kernel has no huge pages: then there are only small ones.
    let _ = map.advise(Advice::NoHugePage);
    Ok(map)
}

fn touch(map: &mut MmapMut) {
    map.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_costs_something() {
        let costs = Costs::measure().unwrap();
        assert!(costs.fault_ns > 10.0 && costs.map_ns > 10.0 && costs.unmap_ns > 10.0, "{costs:?}");
        assert!(costs.mhz > 100.0 && costs.advise_ns > 10.0);
        assert!(costs.objects.iter().any(|cost| cost.alloc_ns > 0.0), "{costs:?}");
        for cost in &costs.objects {
            assert!(cost.refill_ns >= cost.alloc_ns && cost.last_ns >= cost.free_ns, "{cost:?}");
        }
    }

    #[test]
    fn the_middle_half_is_moved_by_no_outlier() {
        assert_eq!(middle_half(&[1000.0, 10.0, 20.0, -7.0]), 15.0);
        assert_eq!((middle_half(&[3.0]), middle_half(&[])), (3.0, 0.0));
    }

    #[test]
    fn a_burst_is_priced_by_the_models_rules() {
        // 256 objects of which 7 wait in the cache; 249 come from the arena, eight at a time.
        let paths = paths_of_bursts(64);
        assert_eq!((paths.alloc_refill, paths.alloc_hot), (32, 224));
        assert_eq!((paths.free_hot, paths.free_last), (7, 249));
        assert_eq!(paths_of_bursts(2048).alloc_refill, 256, "too large for the cache");
    }
}
