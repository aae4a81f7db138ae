//! The one range of addresses that a bound emulator lives in.
//!
//! ```text
//! region: 64 lanes | gap | wiring | page-table frames | cores' areas | cores
//! ```
//! The gap is never committed, so that nothing that runs off the region's end reaches the rest.
//! Every part starts on a multiple of the largest host page.

use super::process::EmuCore;
use crate::counters::CounterBlock;
use crate::emulator::layout::{CORE_AREA_BYTES, Layout, table_frames_for};
use crate::emulator::memory::{CoreId, FixedCosts};
use crate::emulator::params::{LANE_SHIFT_MIN, Params};
use crate::emulator::region::Region;
use crate::geometry::{CLASSES, PAGE_BYTES, SizeClass};
use crate::os::Os;
use core::ptr::NonNull;

/// Largest page of a host.
const HOST_PAGE_MAX: u64 = 1 << 16;
/// Most cores of a process, and fewest.
const CORES: core::ops::RangeInclusive<u64> = 64..=8192;
/// Bytes of lane for which there is a core: fewer cores in a process with little address space.
const LANE_BYTES_PER_CORE: u64 = 1 << 18;
/// Chunks that a lane has at least if it is smaller than was asked for, so that one core does not
/// get all of it.
const CHUNKS_PER_LANE: u64 = 16;
/// The largest stride of any class.
const STRIDE_MAX: u64 = match SizeClass::new(CLASSES - 1) {
    Some(class) => class.arena_stride() as u64,
    None => unreachable!(),
};
/// Largest alignment of the region. An entry of the page table's root covers as much, so the number
/// of table frames does not depend on where the region lies.
const ALIGN_MAX: u64 = 1 << 39;

/// A reservation and what never changes about it.
#[derive(Debug)]
pub(super) struct Wiring {
    pub params: Params,
    pub layout: Layout,
    pub memory: FixedCosts,
    /// Start of the reservation, with provenance for all of it.
    pub base: NonNull<u8>,
    /// Bytes of the reservation.
    pub bytes: usize,
    /// Bytes of a page of this host.
    pub page_bytes: usize,
    /// Address of the first core.
    cores: u64,
}

/// Where the parts lie, from the start of the reservation.
struct Plan {
    region: u64,
    wiring: u64,
    tables: u64,
    table_frames: u64,
    areas: u64,
    cores: u64,
    core_count: u64,
    bytes: u64,
}

impl Plan {
    fn new<O: Os>(lane_shift: u32) -> Self {
        let up = |bytes: u64| bytes.next_multiple_of(HOST_PAGE_MAX);
        let region = Region::new(0, lane_shift).bytes();
        let wiring = region + HOST_PAGE_MAX;
        let tables = wiring + up(size_of::<Wiring>() as u64);
        let table_frames = table_frames_for(region);
        let areas = tables + up(table_frames * PAGE_BYTES as u64);
        let core_count =
            ((1 << lane_shift) / LANE_BYTES_PER_CORE).clamp(*CORES.start(), *CORES.end());
        let cores = areas + up(core_count * CORE_AREA_BYTES);
        let bytes = cores + up(core_count * CoreSlot::<O>::BYTES);
        Self { region, wiring, tables, table_frames, areas, cores, core_count, bytes }
    }
}

/// A core and the counters that it writes if nobody provides others. Two objects beside each other:
/// the counters are read while the core is borrowed.
pub(super) struct CoreSlot<O: Os>(core::marker::PhantomData<O>);

impl<O: Os> CoreSlot<O> {
    const COUNTERS: u64 = (size_of::<EmuCore<O>>() as u64).next_multiple_of(64);
    /// Bytes from one slot to the next.
    pub const BYTES: u64 = (Self::COUNTERS + size_of::<CounterBlock>() as u64).next_multiple_of(64);
}

impl Wiring {
    /// Reserves a range for `params`; halves the lanes until it fits, and under a limit on address
    /// space asks for at most a quarter of it. `None` if not even the smallest region fits.
    pub fn reserve<O: Os>(os: &O, params: &Params) -> Option<NonNull<Self>> {
        let most = os.address_limit().map_or(u64::MAX, |limit| limit as u64 / 4);
        for lane_shift in (LANE_SHIFT_MIN..=params.lane_shift as u32).rev() {
            let plan = Plan::new::<O>(lane_shift);
            let align = plan.region.min(ALIGN_MAX);
            if plan.bytes > most {
                continue;
            }
            let (Ok(bytes), Ok(align)) = (plan.bytes.try_into(), align.try_into()) else {
                continue;
            };
            if let Some(base) = os.reserve(bytes, align) {
                return Self::lay_out(os, base, lane_shift, &plan, params);
            }
        }
        None
    }

    fn lay_out<O: Os>(
        os: &O,
        base: NonNull<u8>,
        lane_shift: u32,
        plan: &Plan,
        params: &Params,
    ) -> Option<NonNull<Self>> {
        let start = base.addr().get() as u64;
        let bytes = (size_of::<Self>() as u64).next_multiple_of(HOST_PAGE_MAX) as usize;
        let mut params = *params;
        if params.lane_shift != u64::from(lane_shift) {
            params.lane_shift = u64::from(lane_shift);
            let share = (1 << lane_shift) / CHUNKS_PER_LANE / STRIDE_MAX;
            params.strides_per_chunk = params.strides_per_chunk.min(share).max(1);
        }
        // SAFETY: the plan's parts lie in the reservation that was just made for them.
        let wiring = unsafe {
            let wiring = base.add(plan.wiring as usize);
            if !os.commit(wiring, bytes) {
                os.release(base, plan.bytes as usize);
                return None;
            }
            wiring.cast::<Self>()
        };
        let value = Self {
            params,
            layout: Layout {
                region: Region::new(start, lane_shift),
                tables: start + plan.tables,
                table_frames: plan.table_frames,
                cores: start + plan.areas,
                core_count: plan.core_count as u32,
            },
            memory: FixedCosts::new(&params),
            base,
            bytes: plan.bytes as usize,
            page_bytes: os.page_bytes(),
            cores: start + plan.cores,
        };
        // SAFETY: committed above, aligned to a page, and nobody else knows it yet.
        unsafe { wiring.write(value) };
        Some(wiring)
    }

    /// Address and bytes of the slot of a core.
    pub fn slot<O: Os>(&self, id: CoreId) -> (u64, u64) {
        (self.cores + u64::from(id.0) * CoreSlot::<O>::BYTES, CoreSlot::<O>::BYTES)
    }

    /// Where a core is. Its memory may not be committed.
    pub fn core<O: Os>(&self, id: CoreId) -> NonNull<EmuCore<O>> {
        let at = self.slot::<O>(id).0 - self.layout.region.start();
        // SAFETY: `id` is below `core_count`, so its slot lies in the reservation.
        unsafe { self.base.add(at as usize).cast() }
    }

    /// Where a core's own counters are. Their memory may not be committed.
    pub fn own_counters<O: Os>(&self, id: CoreId) -> NonNull<CounterBlock> {
        // SAFETY: as in `core`: the counters lie in the same slot.
        unsafe { self.core::<O>(id).byte_add(CoreSlot::<O>::COUNTERS as usize).cast() }
    }
}
