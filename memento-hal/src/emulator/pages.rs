//! The page allocator: it places new arenas and backs their pages.
//!
//! One for all cores. A core takes a chunk of strides from a lane and bumps a pointer through it;
//! the pointer lies in the core's area and is cached in the AAC. Nothing is ever given back: empty
//! arenas are kept.

use super::aac::Aac;
use super::arena::{ArenaAddr, Header};
use super::bus::Bus;
use super::bypass;
use super::layout::Layout;
use super::memory::{Access, Cycles, Memory, Store};
use super::params::Params;
use super::pool::Pool;
use super::table::Table;
use crate::geometry::{CLASSES, SizeClass};
use crate::page::{Extent, PageAllocator, PageCount};
use core::cell::RefCell;

/// The page allocator's state.
#[derive(Clone, Debug)]
pub struct Pages {
    aac: Aac,
    pool: Pool,
    table: Table,
    /// Chunks taken from each lane.
    chunks: [u64; CLASSES],
    /// Data pages that are backed.
    backed: u64,
}

/// The page allocator while it serves an instruction of the bus's core: what it does counts there.
#[derive(Debug)]
pub struct WiredPages<'a, 'b, S, M, P> {
    pages: &'a mut Pages,
    bus: &'a Bus<'b, S, M, P>,
}

/// How cores reach the one page allocator.
pub trait SharedPages {
    /// Runs `f` on it while nobody else does. `None` if the caller is already inside.
    fn with<R>(&self, f: impl FnOnce(&mut Pages) -> R) -> Option<R>;
}

/// For cores that one thread drives.
impl SharedPages for RefCell<Pages> {
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut Pages) -> R) -> Option<R> {
        Some(f(&mut *self.try_borrow_mut().ok()?))
    }
}

/// Where the next arena goes.
struct Place {
    arena: u64,
    /// Whether it is the first of a chunk that has yet to be taken.
    opens_chunk: bool,
    /// Behind the last arena of its chunk.
    chunk_end: u64,
}

impl Pages {
    /// The page allocator of a fresh process; `None` if there is no memory for the root of the page
    /// table.
    pub fn new<S: Store>(params: &Params, layout: &Layout, store: &S) -> Option<Self> {
        Some(Self {
            aac: Aac::new(params.aac_entries),
            pool: Pool::new(params),
            table: Table::new(store, layout)?,
            chunks: [0; CLASSES],
            backed: 0,
        })
    }

    /// The allocator, serving `bus`.
    pub fn wired<'a, 'b, S, M, P>(
        &'a mut self,
        bus: &'a Bus<'b, S, M, P>,
    ) -> WiredPages<'a, 'b, S, M, P> {
        WiredPages { pages: self, bus }
    }

    /// Data pages that are backed.
    pub fn backed(&self) -> PageCount {
        PageCount(self.backed)
    }

    /// Where a core's next arena goes when its bump pointer is `bump` (0: no chunk yet).
    fn place(
        &self,
        params: &Params,
        layout: &Layout,
        class: SizeClass,
        bump: u64,
    ) -> Option<Place> {
        let lane = layout.region.lane(class);
        let stride = class.arena_stride() as u64;
        // The last chunk of a lane may be cut short; an arena is not.
        let lane_end = lane + layout.region.lane_bytes() / stride * stride;
        let chunk_bytes = params.strides_per_chunk * stride;
        let in_chunk = bump != 0 && bump != lane_end && !(bump - lane).is_multiple_of(chunk_bytes);
        let (arena, chunk) = if in_chunk {
            (bump, lane + (bump - lane) / chunk_bytes * chunk_bytes)
        } else {
            let chunk = lane + self.chunks[class.index()] * chunk_bytes;
            (chunk, chunk)
        };
        let chunk_end = (chunk + chunk_bytes).min(lane_end);
        (arena < lane_end).then_some(Place { arena, opens_chunk: !in_chunk, chunk_end })
    }

    /// Makes the arena at `place` usable, and as many of its successors as belong to a batch.
    fn commit<S: Store, M: Memory, P>(
        bus: &Bus<'_, S, M, P>,
        class: SizeClass,
        place: &Place,
        stride: u64,
    ) -> Option<()> {
        let committed_at = bus.layout.committed(bus.core, class);
        let end = place.arena + stride;
        // A core's chunks of a class follow each other upwards, so the word never lies ahead of
        // a chunk that the core has yet to enter.
        if bus.store.load(committed_at) >= end {
            return Some(());
        }
        let batch = bus.params.commit_batch_bytes / stride * stride;
        let batch_end = (place.arena + batch.max(stride)).min(place.chunk_end);
        for end in [batch_end, end] {
            if bus.store.commit(place.arena, end - place.arena) {
                bus.store.store(committed_at, end);
                return Some(());
            }
        }
        None
    }
}

impl<S: Store, M: Memory, P> PageAllocator for WiredPages<'_, '_, S, M, P> {
    /// Creates an arena for the bus's core: its header page is backed, its header written.
    fn acquire(&mut self, class: SizeClass) -> Option<Extent> {
        let bus = self.bus;
        let bump_at = bus.layout.bump_pointer(bus.core, class);
        let cached = self.pages.aac.get(bus.core, class);
        let bump = cached.unwrap_or_else(|| bus.store.load(bump_at));
        let place = self.pages.place(bus.params, bus.layout, class, bump)?;
        let stride = class.arena_stride() as u64;
        Pages::commit(bus, class, &place, stride)?;

        let arena = ArenaAddr::new(place.arena);
        let mut cycles = Cycles(bus.params.aac_cycles);
        if cached.is_none() {
            cycles += bus.memory.bump_pointer(bus.core, bump_at);
        }
        Header::new(bus.store, arena).create(bus.core);
        bypass::touch_header(bus, self, arena)?;
        cycles += bus.memory.header(bus.core, place.arena, Access::Store);

        // Nothing below can fail.
        self.pages.chunks[class.index()] += u64::from(place.opens_chunk);
        bus.store.store(bump_at, place.arena + stride);
        self.pages.aac.put(bus.core, class, place.arena + stride);
        let counters = bus.counters;
        if cached.is_some() { &counters.aac_hits } else { &counters.aac_misses }.add(1);
        counters.arenas_created.add(1);
        counters.cycles_obj_alloc.add(cycles.0);
        Some(Extent { start: place.arena, bytes: stride })
    }

    fn back(&mut self, page: u64) -> Option<()> {
        let bus = self.bus;
        let (mut refills, mut stalls) = (0, 0);
        let Pages { pool, table, .. } = &mut *self.pages;
        let walk = table.map(bus.store, bus.memory, bus.layout, bus.core, page, || {
            let taken = pool.take();
            refills += taken.refills;
            stalls += u64::from(taken.stalled);
            taken.frame
        })?;
        self.pages.backed += 1;
        let counters = bus.counters;
        counters.pages_taken.add(1);
        counters.pages_table_frames.add(walk.filled - 1);
        counters.pages_refills.add(refills);
        counters.pages_dry_stalls.add(stalls);
        counters.cycles_page_management.add(
            walk.cycles.0
                + walk.filled * bus.params.table_fill_cycles
                + stalls * bus.params.dry_stall_cycles,
        );
        Some(())
    }

    fn backed(&self) -> PageCount {
        self.pages.backed()
    }
}
