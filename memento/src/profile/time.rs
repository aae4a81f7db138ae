//! The time that memory management takes: how often each operation is done × what it costs on this machine.

use super::count::Counts;
use super::paths::Paths;
use crate::calibrate::Costs;
use serde::{Deserialize, Serialize};

/// By how much glibc makes its heap larger at a time.
const GROWTH: u64 = 132 << 10;
/// Pages of a huge page.
const HUGE: u64 = 512;

/// What the kernel says of an execution.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Seen {
    /// CPU time of the whole program, in nanoseconds.
    pub cpu_ns: f64,
    /// Of it in the kernel.
    pub system_ns: f64,
    /// Page faults without input.
    pub minor_faults: u64,
    /// Most anonymous memory.
    pub heap_bytes: u64,
}

/// An estimate of the time that memory management takes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Time {
    /// CPU time of the whole program, run as it is, in nanoseconds.
    pub cpu_ns: f64,
    /// Of it in the kernel, for whatever.
    pub system_ns: f64,
    /// Page faults of the program, for whatever.
    pub minor_faults: u64,
    /// Pages of anonymous memory that it held at most: that many were faulted in for it.
    pub heap_pages: u64,
    /// Faults that brought them, of small pages.
    pub small_faults: u64,
    /// Faults that brought huge pages.
    pub huge_faults: u64,
    /// Calls of `mmap` for objects, and of `brk` for the heap.
    pub mappings: u64,
    /// Calls of `munmap` for objects.
    pub unmappings: u64,
    /// Time in `malloc`, in nanoseconds, without the kernel.
    pub alloc_ns: f64,
    /// Time in `free`, without the kernel.
    pub free_ns: f64,
    /// Time in the kernel: page faults of the heap, `mmap`, `brk` and `munmap`.
    pub kernel_ns: f64,
    /// The same if every page fault of the program is taken for one of the heap: the most that it can be.
    pub kernel_most_ns: f64,
    /// Each kind of operation.
    pub operations: Vec<Operation>,
    /// What each operation costs.
    pub costs: Costs,
}

/// A kind of operation.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Operation {
    /// Its name.
    pub name: String,
    /// How often it was done.
    pub count: u64,
    /// What one costs here, in nanoseconds: of objects of 64 bytes, where sizes differ.
    pub each_ns: f64,
    /// All together: by the sizes that there were.
    pub total_ns: f64,
}

/// The kinds of operations, with what one costs. `malloc` and `free` are of 64 bytes where sizes differ.
pub fn calibrated(costs: &Costs) -> Vec<(&'static str, Option<f64>)> {
    let small = costs.object(64);
    vec![
        ("malloc, hot", Some(small.alloc_ns)),
        ("malloc, refill", Some(small.refill_ns)),
        ("malloc, large", Some(costs.large_alloc_ns)),
        ("free, hot", Some(small.free_ns)),
        ("free, last", Some(small.last_ns)),
        ("free, remote", Some(costs.remote_free_ns)),
        ("free, large", Some(costs.large_free_ns)),
        ("page fault, 4 KiB", Some(costs.fault_ns)),
        ("page fault, 2 MiB", costs.huge_fault_ns),
        ("mmap or brk", Some(costs.map_ns)),
        ("munmap", Some(costs.unmap_ns)),
        ("… each page of it", Some(costs.give_back_ns)),
        ("madvise", Some(costs.advise_ns)),
    ]
}

impl Time {
    /// Estimates it from counts and costs.
    pub fn estimate(counts: &Counts, costs: Costs, seen: &Seen) -> Self {
        let mut all = Paths::default();
        counts.paths.values().for_each(|paths| all += *paths);
        let (alloc_ns, free_ns) = costs.price(&counts.paths, ..);
        let heap_pages = seen.heap_bytes.div_ceil(4096);
        let (small_faults, huge_faults) = faults(heap_pages, seen.minor_faults);
        let grown = seen.heap_bytes.min(counts.peak_live_bytes).div_ceil(GROWTH);
        let (mappings, unmappings) = (all.alloc_large + grown, all.free_large);
        let huge_ns = costs.huge_fault_ns.unwrap_or(costs.fault_ns * HUGE as f64);
        let given_back = unmappings * mean_large(counts).div_ceil(4096);
        let calls = mappings as f64 * costs.map_ns
            + unmappings as f64 * costs.unmap_ns
            + given_back.min(heap_pages) as f64 * costs.give_back_ns;
        let heap_faults = small_faults as f64 * costs.fault_ns + huge_faults as f64 * huge_ns;
        let other_faults = seen.minor_faults.saturating_sub(small_faults + huge_faults);
        let kernel_ns = heap_faults + calls;
        let kernel_most_ns = kernel_ns + other_faults as f64 * costs.fault_ns;
        let counted = [
            all.alloc_hot,
            all.alloc_refill,
            all.alloc_large,
            all.free_hot,
            all.free_last,
            all.free_remote,
            all.free_large,
            small_faults,
            huge_faults,
            mappings,
            unmappings,
            given_back.min(heap_pages),
            0,
        ];
        let operations = operations(counts, &costs, &counted, huge_ns);
        let &Seen { cpu_ns, system_ns, minor_faults, .. } = seen;
        Self {
            cpu_ns,
            system_ns,
            minor_faults,
            heap_pages,
            small_faults,
            huge_faults,
            mappings,
            unmappings,
            alloc_ns,
            free_ns,
            kernel_ns,
            kernel_most_ns,
            operations,
            costs,
        }
    }

    /// Of it outside the kernel, in nanoseconds.
    pub fn user_ns(&self) -> f64 {
        self.alloc_ns + self.free_ns
    }

    /// All of it, in nanoseconds.
    pub fn total_ns(&self) -> f64 {
        self.user_ns() + self.kernel_ns
    }

    /// The kernel's share; none of nothing.
    pub fn kernel_share(&self) -> Option<f64> {
        (self.total_ns() > 0.0).then(|| self.kernel_ns / self.total_ns())
    }
}

/// Faults of small and of huge pages that bring so many pages: huge ones only where there are fewer faults than
/// pages.
fn faults(pages: u64, faults: u64) -> (u64, u64) {
    let huge = pages.saturating_sub(faults).div_ceil(HUGE - 1);
    (pages.saturating_sub(huge * HUGE), huge)
}

/// Bytes of a mapped object, in the mean over all that were unmapped.
fn mean_large(counts: &Counts) -> u64 {
    let large = counts.paths.iter().map(|(class, paths)| (*class, paths.free_large));
    let (bytes, count) = large.fold((0u64, 0u64), |(bytes, count), (class, many)| {
        (bytes.saturating_add(class.saturating_mul(many)), count + many)
    });
    bytes / count.max(1)
}

fn operations(counts: &Counts, costs: &Costs, counted: &[u64], huge_ns: f64) -> Vec<Operation> {
    // By the sizes that there were: one way at a time.
    let only = |keep: &dyn Fn(&Paths) -> Paths| {
        let kept = counts.paths.iter().map(|(class, paths)| (*class, keep(paths))).collect();
        let (allocs, frees) = costs.price(&kept, ..);
        allocs + frees
    };
    let none = Paths::default();
    let totals = [
        only(&|p| Paths { alloc_hot: p.alloc_hot, ..none }),
        only(&|p| Paths { alloc_refill: p.alloc_refill, ..none }),
        only(&|p| Paths { alloc_large: p.alloc_large, ..none }),
        only(&|p| Paths { free_hot: p.free_hot, ..none }),
        only(&|p| Paths { free_last: p.free_last, ..none }),
        only(&|p| Paths { free_remote: p.free_remote, ..none }),
        only(&|p| Paths { free_large: p.free_large, ..none }),
    ];
    let calibrated = calibrated(costs).into_iter().zip(counted).enumerate();
    let operation = |(index, ((name, each), count)): (usize, ((&str, Option<f64>), &u64))| {
        let each_ns = each.unwrap_or(huge_ns);
        let total_ns = totals.get(index).copied().unwrap_or(*count as f64 * each_ns);
        Operation { name: name.into(), count: *count, each_ns, total_ns }
    };
    calibrated.map(operation).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::round_costs;

    fn counts() -> Counts {
        let small = Paths { alloc_hot: 2, alloc_refill: 1, free_hot: 2, ..Paths::default() };
        let large = Paths { alloc_large: 2, free_large: 1, ..Paths::default() };
        let paths =
            [(24, small), (640, Paths { alloc_refill: 1, ..Paths::default() }), (1 << 20, large)];
        Counts { paths: paths.into(), peak_live_bytes: 4096, ..Counts::default() }
    }

    #[test]
    fn time_by_hand() {
        let seen = Seen { cpu_ns: 1e9, system_ns: 1e8, minor_faults: 77, heap_bytes: 2 * 4096 + 1 };
        let time = Time::estimate(&counts(), round_costs(), &seen);
        // 2·10 + 1·100 + 1·1000 + 2·400; 2·5 + 1·200.
        assert_eq!((time.alloc_ns, time.free_ns), (1920.0, 210.0));
        // Three pages by a fault each; two mapped and one time grown; one unmapped, with the three pages at most.
        assert_eq!((time.small_faults, time.huge_faults, time.mappings), (3, 0, 3));
        assert_eq!(time.kernel_ns, 3.0 * 1000.0 + 3.0 * 300.0 + 200.0 + 3.0 * 50.0);
        assert_eq!(time.kernel_most_ns, time.kernel_ns + 74.0 * 1000.0);
        let sum: f64 = time.operations.iter().map(|operation| operation.total_ns).sum();
        assert!((sum - time.total_ns()).abs() < 1e-6, "the operations are all of it: {time:?}");
        assert_eq!(time.operations[1].count, 2);
        assert_eq!(time.operations[1].total_ns, 1100.0, "by their sizes");
    }

    #[test]
    fn fewer_faults_than_pages_are_huge_pages() {
        assert_eq!(faults(3, 77), (3, 0));
        // 1024 pages by 513 faults: one huge page and 512 small ones.
        assert_eq!(faults(1024, 513), (512, 1));
        assert_eq!(faults(1024, 2), (0, 2));
    }

    #[test]
    fn nothing_has_no_share() {
        let seen = Seen { cpu_ns: 1e9, system_ns: 0.0, minor_faults: 0, heap_bytes: 0 };
        let time = Time::estimate(&Counts::default(), round_costs(), &seen);
        assert_eq!((time.total_ns(), time.kernel_share()), (0.0, None));
    }
}
