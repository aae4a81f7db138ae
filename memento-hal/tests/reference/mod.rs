//! The hardware model once more, as plainly as possible: sets and stacks instead of bitmaps and
//! links, nothing shared with the emulator but its parameters. What the two agree on is what the
//! model says, unless both misread it in the same way.

use memento_hal::FreeFault;
use memento_hal::counters::Counters;
use memento_hal::emulator::Params;
use memento_hal::geometry::SizeClass;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

const PAGE: u64 = 4096;
const LINE: u64 = 64;

struct Arena {
    owner: usize,
    allocated: BTreeSet<u64>,
    /// Freed by another core, in effect at the owner's next miss.
    pending: BTreeSet<u64>,
}

impl Arena {
    fn full(&self) -> bool {
        self.allocated.len() == 256
    }
}

/// One core's view of one class.
#[derive(Default)]
struct View {
    hot: Option<u64>,
    dirty: bool,
    /// Stacks: the head is the last element.
    available: Vec<u64>,
    full: Vec<u64>,
    /// Remote frees in the order of arrival: arena and slot.
    remote: Vec<(u64, u64)>,
    /// Bump pointer and end of the chunk.
    bump: Option<(u64, u64)>,
}

pub struct Reference {
    params: Params,
    start: u64,
    arenas: BTreeMap<u64, Arena>,
    views: HashMap<(usize, usize), View>,
    chunks: HashMap<usize, u64>,
    aac: HashMap<usize, (usize, usize)>,
    pool: u64,
    pages: HashSet<u64>,
    table_frames: HashSet<(u32, u64)>,
    lines: HashSet<u64>,
    pub counters: Counters,
}

fn size(class: usize) -> u64 {
    8 * (class as u64 + 1)
}

fn stride(class: usize) -> u64 {
    (64 + 256 * size(class)).div_ceil(PAGE) * PAGE
}

impl Reference {
    pub fn new(params: Params, start: u64) -> Self {
        Self {
            params,
            start,
            arenas: BTreeMap::new(),
            views: HashMap::new(),
            chunks: HashMap::new(),
            aac: HashMap::new(),
            pool: params.pool_initial_frames,
            pages: HashSet::new(),
            table_frames: HashSet::new(),
            lines: HashSet::new(),
            counters: Counters::ZERO,
        }
    }

    fn view(&mut self, core: usize, class: usize) -> &mut View {
        self.views.entry((core, class)).or_default()
    }

    fn take_frame(&mut self) {
        if self.pool == 0 {
            self.counters.pages_dry_stalls += 1;
            self.counters.cycles_page_management += self.params.dry_stall_cycles;
            self.counters.pages_refills += 1;
            self.pool += self.params.pool_refill_batch;
        }
        self.pool -= 1;
        if self.pool < self.params.pool_low_watermark {
            self.counters.pages_refills += 1;
            self.pool += self.params.pool_refill_batch;
        }
    }

    fn touch(&mut self, from: u64, to: u64) {
        for line in from / LINE..to.div_ceil(LINE) {
            let page = line * LINE / PAGE;
            if self.pages.insert(page) {
                self.counters.cycles_page_management += 4 * self.params.page_table_cycles;
                for level in 1..=3u32 {
                    if self.table_frames.insert((level, page >> (9 * (4 - level)))) {
                        self.counters.pages_table_frames += 1;
                        self.counters.cycles_page_management += self.params.table_fill_cycles;
                        self.take_frame();
                    }
                }
                self.counters.pages_taken += 1;
                self.counters.cycles_page_management += self.params.table_fill_cycles;
                self.take_frame();
            }
            if self.lines.insert(line) {
                self.counters.bypass_lines += 1;
                self.counters.cycles_bypass_saved +=
                    self.params.dram_cycles - self.params.llc_cycles;
            }
        }
    }

    /// A new arena and its cost.
    fn create(&mut self, core: usize, class: usize) -> Option<(u64, u64)> {
        let lane = self.start + ((class as u64) << self.params.lane_shift);
        let lane_end = lane + (1 << self.params.lane_shift);
        let stride = stride(class);
        let chunk_bytes = self.params.strides_per_chunk * stride;
        let taken = *self.chunks.get(&class).unwrap_or(&0);
        let (arena, chunk_end) = match self.view(core, class).bump {
            Some((next, end)) if next < end && next + stride <= lane_end => (next, end),
            _ => {
                let chunk = lane + taken * chunk_bytes;
                if chunk + stride > lane_end {
                    return None;
                }
                self.chunks.insert(class, taken + 1);
                (chunk, chunk + chunk_bytes)
            }
        };
        self.view(core, class).bump = Some((arena + stride, chunk_end));
        let mut cycles = self.params.aac_cycles + self.params.header_cycles;
        let entry = class % self.params.aac_entries as usize;
        if self.aac.insert(entry, (core, class)) == Some((core, class)) {
            self.counters.aac_hits += 1;
        } else {
            self.counters.aac_misses += 1;
            cycles += self.params.bump_pointer_cycles;
        }
        self.counters.arenas_created += 1;
        self.touch(arena, arena + LINE);
        let fresh = Arena { owner: core, allocated: BTreeSet::new(), pending: BTreeSet::new() };
        self.arenas.insert(arena, fresh);
        Some((arena, cycles))
    }

    /// Lets remote frees take effect; tells whether a list changed.
    fn apply_remote(&mut self, core: usize, class: usize) -> bool {
        let mut changed = false;
        for (at, slot) in std::mem::take(&mut self.view(core, class).remote) {
            let arena = self.arenas.get_mut(&at).unwrap();
            arena.pending.remove(&slot);
            changed |= self.clear(core, class, at, slot);
        }
        changed
    }

    /// Clears a slot's bit; tells whether a list changed.
    fn clear(&mut self, core: usize, class: usize, at: u64, slot: u64) -> bool {
        let arena = self.arenas.get_mut(&at).unwrap();
        let was_full = arena.full();
        assert!(arena.allocated.remove(&slot));
        let view = self.view(core, class);
        if view.hot == Some(at) {
            view.dirty = true;
            return false;
        }
        if was_full {
            view.full.retain(|other| *other != at);
            view.available.push(at);
        }
        was_full
    }

    fn lowest_free(&self, at: u64) -> Option<u64> {
        (0..256).find(|slot| !self.arenas[&at].allocated.contains(slot))
    }

    pub fn alloc(&mut self, core: usize, class: SizeClass) -> Option<u64> {
        let class = class.index();
        let (mut cycles, mut list, mut hit) = (self.params.hot_cycles, false, true);
        let served_by_hot = self.view(core, class).hot.filter(|at| self.lowest_free(*at).is_some());
        let at = match served_by_hot {
            Some(at) => at,
            None => {
                hit = false;
                let header = self.params.header_cycles;
                let view = self.view(core, class);
                if let Some(full) = view.hot.take() {
                    if std::mem::take(&mut view.dirty) {
                        cycles += header;
                    }
                    view.full.push(full);
                    list = true;
                }
                list |= self.apply_remote(core, class);
                let at = match self.view(core, class).available.pop() {
                    Some(at) => {
                        cycles += header;
                        list = true;
                        at
                    }
                    None => {
                        let (at, cost) = self.create(core, class)?;
                        cycles += cost;
                        at
                    }
                };
                self.view(core, class).hot = Some(at);
                at
            }
        };
        let slot = self.lowest_free(at).unwrap();
        let object = at + 64 + slot * size(class);
        self.touch(object, object + size(class));
        self.arenas.get_mut(&at).unwrap().allocated.insert(slot);
        self.view(core, class).dirty = true;
        if hit {
            self.counters.hot_alloc_hits += 1;
        } else {
            self.counters.hot_alloc_misses += 1;
        }
        self.counters.alloc_list_operations += u64::from(list);
        self.counters.cycles_obj_alloc += cycles;
        Some(object)
    }

    pub fn free(&mut self, core: usize, va: u64) -> Result<(), FreeFault> {
        let result = self.try_free(core, va);
        self.counters.faults += u64::from(result.is_err());
        result
    }

    fn try_free(&mut self, core: usize, va: u64) -> Result<(), FreeFault> {
        let lane_bytes = 1 << self.params.lane_shift;
        if va < self.start || va >= self.start + 64 * lane_bytes {
            return Err(FreeFault::Outside);
        }
        let class = ((va - self.start) / lane_bytes) as usize;
        let lane = self.start + class as u64 * lane_bytes;
        let at = lane + (va - lane) / stride(class) * stride(class);
        let Some(arena) = self.arenas.get_mut(&at) else { return Err(FreeFault::Outside) };
        let body = (va - at).checked_sub(64).ok_or(FreeFault::Misaligned)?;
        let slot = body / size(class);
        if slot >= 256 || body % size(class) != 0 {
            return Err(FreeFault::Misaligned);
        }
        if !arena.allocated.contains(&slot) || arena.pending.contains(&slot) {
            return Err(FreeFault::NotAllocated);
        }
        let owner = arena.owner;
        if owner != core {
            arena.pending.insert(slot);
            self.view(owner, class).remote.push((at, slot));
            self.counters.remote_frees += 1;
            return Ok(());
        }
        self.counters.cycles_obj_free += self.params.hot_cycles;
        if self.view(core, class).hot == Some(at) {
            self.clear(core, class, at, slot);
            self.counters.hot_free_hits += 1;
        } else {
            let mut list = self.apply_remote(core, class);
            list |= self.clear(core, class, at, slot);
            self.counters.hot_free_misses += 1;
            self.counters.free_list_operations += u64::from(list);
            self.counters.cycles_obj_free += 2 * self.params.header_cycles;
        }
        Ok(())
    }

    pub fn flush(&mut self, core: usize) {
        self.counters.hot_flushes += 1;
        for class in 0..64 {
            let view = self.view(core, class);
            view.dirty = false;
            if let Some(at) = view.hot.take() {
                let full = self.arenas[&at].full();
                let view = self.view(core, class);
                if full { &mut view.full } else { &mut view.available }.push(at);
            }
        }
    }
}
