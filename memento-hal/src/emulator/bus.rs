//! What a core is wired to: parameters, registers, memory, the page allocator, its counters.

use super::layout::Layout;
use super::memory::CoreId;
use super::params::Params;
use crate::counters::CounterBlock;

/// A core's wires, put together anew for each instruction.
///
/// The emulator writes the counters from `hot_alloc_hits` on. Allocations and frees by class, bytes
/// and the software path are counted by whoever sees the program's requests.
#[derive(Debug)]
pub struct Bus<'a, S, M, P> {
    /// The core that issues the instruction.
    pub core: CoreId,
    /// Latencies and sizes.
    pub params: &'a Params,
    /// `MRS`, `MRE`, `MPTR` and the cores' areas.
    pub layout: &'a Layout,
    /// What words hold.
    pub store: &'a S,
    /// What accesses cost.
    pub memory: &'a M,
    /// The page allocator of all cores.
    pub pages: &'a P,
    /// The counters that the core writes.
    pub counters: &'a CounterBlock,
}
