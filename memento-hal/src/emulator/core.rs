//! One core: `obj-alloc`, `obj-free`, the flush, and frees of other cores' objects.
//!
//! The costs booked are those of the model: see the table in [`super`]. An instruction that fails
//! or faults books no cycles and neither a hit nor a miss.

use super::arena::{ArenaAddr, Header};
use super::bus::Bus;
use super::bypass;
use super::hot::Hot;
use super::lists::{List, Lists};
use super::memory::{Access, Cycles, Memory, Store};
use super::pages::SharedPages;
use super::region::slot_at;
use super::{remote, table};
use crate::geometry::SizeClass;
use crate::object::FreeFault;
use crate::page::PageAllocator;

/// What one core keeps to itself: its HOT and the heads of its lists.
#[derive(Clone, Debug)]
pub struct Core {
    hot: Hot,
    lists: Lists,
}

/// An object, taken apart.
#[derive(Clone, Copy)]
struct Object {
    class: SizeClass,
    arena: ArenaAddr,
    slot: usize,
}

impl Core {
    /// A core that owns nothing.
    pub const fn new() -> Self {
        Self { hot: Hot::new(), lists: Lists::new() }
    }

    /// `obj-alloc`: the address of a free object of `class`, allocated from now on. `None` when
    /// the lane or memory is exhausted.
    #[inline]
    pub fn obj_alloc<S: Store, M: Memory, P: SharedPages>(
        &mut self,
        bus: &Bus<'_, S, M, P>,
        class: SizeClass,
    ) -> Option<u64> {
        if let Some(arena) = self.hot.arena(class)
            && let Some(slot) = Header::new(bus.store, arena).first_free()
        {
            let object = self.claim(bus, Object { class, arena, slot })?;
            bus.counters.hot_alloc_hits.add(1);
            bus.counters.cycles_obj_alloc.add(bus.params.hot_cycles);
            return Some(object);
        }
        self.alloc_miss(bus, class)
    }

    /// Allocates `object`, which is free and whose arena is in the HOT.
    #[inline]
    fn claim<S: Store, M: Memory, P: SharedPages>(
        &mut self,
        bus: &Bus<'_, S, M, P>,
        object: Object,
    ) -> Option<u64> {
        let Object { class, arena, slot } = object;
        bypass::touch_object(bus, arena, class, slot)?;
        Header::new(bus.store, arena).set(slot);
        self.hot.mark_dirty(class);
        Some(arena.object(class, slot))
    }

    /// An `obj-alloc` that the arena in the HOT cannot serve: another one takes its place.
    #[cold]
    fn alloc_miss<S: Store, M: Memory, P: SharedPages>(
        &mut self,
        bus: &Bus<'_, S, M, P>,
        class: SizeClass,
    ) -> Option<u64> {
        let mut cycles = Cycles(bus.params.hot_cycles);
        let mut list_changed = false;
        if let Some((arena, dirty)) = self.hot.evict(class) {
            if dirty {
                cycles += bus.memory.header(bus.core, arena.get(), Access::Store);
            }
            self.lists.push(bus.store, List::Full, class, arena);
            list_changed = true;
        }
        // If they change a list, an arena is available, and taking it is noted below.
        self.take_remote_frees(bus, class);
        let arena = match self.lists.pop(bus.store, List::Available, class) {
            Some(arena) => {
                cycles += bus.memory.header(bus.core, arena.get(), Access::Load);
                list_changed = true;
                arena
            }
            None => {
                // Books its own cycles. The first object of a new arena lies in the page that is
                // backed with it, so nothing after this fails.
                let extent = bus.pages.with(|pages| pages.wired(bus).acquire(class))??;
                ArenaAddr::new(extent.start)
            }
        };
        self.hot.load(class, arena);
        // An available arena has a free slot, and a new one has nothing else.
        let slot = Header::new(bus.store, arena).first_free()?;
        let object = self.claim(bus, Object { class, arena, slot })?;
        bus.counters.hot_alloc_misses.add(1);
        bus.counters.alloc_list_operations.add(u64::from(list_changed));
        bus.counters.cycles_obj_alloc.add(cycles.0);
        Some(object)
    }

    /// `obj-free`: frees the object at `va`, whichever core allocated it.
    ///
    /// # Errors
    /// A [`FreeFault`] if no allocated object is there; it has been counted, and nothing has
    /// changed.
    #[inline]
    pub fn obj_free<S: Store, M: Memory, P: SharedPages>(
        &mut self,
        bus: &Bus<'_, S, M, P>,
        va: u64,
    ) -> Result<(), FreeFault> {
        let result = self.try_free(bus, va);
        if result.is_err() {
            bus.counters.faults.add(1);
        }
        result
    }

    #[inline]
    fn try_free<S: Store, M: Memory, P: SharedPages>(
        &mut self,
        bus: &Bus<'_, S, M, P>,
        va: u64,
    ) -> Result<(), FreeFault> {
        let class = bus.layout.region.class_at(va).ok_or(FreeFault::Outside)?;
        if let Some(arena) = self.hot.arena(class) {
            // Below the arena the difference wraps and is larger than any stride.
            let offset = va.wrapping_sub(arena.get());
            if offset < class.arena_stride() as u64 {
                let slot = slot_at(class, offset)?;
                release(bus.store, Object { class, arena, slot })?;
                self.hot.mark_dirty(class);
                bus.counters.hot_free_hits.add(1);
                bus.counters.cycles_obj_free.add(bus.params.hot_cycles);
                return Ok(());
            }
        }
        self.free_miss(bus, class, va)
    }

    /// An `obj-free` of an object whose arena is not in the HOT.
    #[cold]
    fn free_miss<S: Store, M: Memory, P: SharedPages>(
        &mut self,
        bus: &Bus<'_, S, M, P>,
        class: SizeClass,
        va: u64,
    ) -> Result<(), FreeFault> {
        let object = find(bus.store, bus.layout, class, va)?;
        let Object { arena, slot, .. } = object;
        let header = Header::new(bus.store, arena);
        if header.owner() != bus.core {
            remote::free(bus.store, bus.layout, arena, class, slot)?;
            bus.counters.remote_frees.add(1);
            return Ok(());
        }
        if !header.is_allocated(slot) || remote::is_pending(bus.store, header, class, slot) {
            return Err(FreeFault::NotAllocated);
        }
        let mut list_changed = self.take_remote_frees(bus, class);
        let was_full = header.is_full();
        header.clear(slot / 64, 1 << (slot % 64));
        if was_full {
            self.make_available(bus.store, class, arena);
            list_changed = true;
        }
        let load = bus.memory.header(bus.core, arena.get(), Access::Load);
        let write_back = bus.memory.header(bus.core, arena.get(), Access::Store);
        bus.counters.hot_free_misses.add(1);
        bus.counters.free_list_operations.add(u64::from(list_changed));
        bus.counters.cycles_obj_free.add(bus.params.hot_cycles + load.0 + write_back.0);
        Ok(())
    }

    /// Lets the remote frees of `class` that are pending take effect, in the order in which their
    /// arenas got the first of them. Tells whether a list changed.
    fn take_remote_frees<S: Store, M: Memory, P>(
        &mut self,
        bus: &Bus<'_, S, M, P>,
        class: SizeClass,
    ) -> bool {
        let mut list_changed = false;
        let mut queued = remote::take_queue(bus.store, bus.layout.remote_queue(bus.core, class));
        while let Some(arena) = queued {
            let header = Header::new(bus.store, arena);
            let was_full = header.is_full();
            let taken = remote::take(bus.store, arena, class);
            queued = taken.next;
            bus.counters.faults.add(u64::from(taken.faults));
            if self.hot.arena(class) == Some(arena) {
                self.hot.mark_dirty(class);
            } else if was_full && !header.is_full() {
                self.make_available(bus.store, class, arena);
                list_changed = true;
            }
        }
        list_changed
    }

    fn make_available<S: Store>(&mut self, store: &S, class: SizeClass, arena: ArenaAddr) {
        self.lists.remove(store, List::Full, class, arena);
        self.lists.push(store, List::Available, class, arena);
    }

    /// Writes every dirty HOT entry back and puts its arena at the head of its list: what happens
    /// on a context switch, and in process at thread exit and in a fork child. Gives the cost,
    /// which belongs to none of the accounts.
    pub fn flush<S: Store, M: Memory, P>(&mut self, bus: &Bus<'_, S, M, P>) -> Cycles {
        let mut cycles = Cycles(0);
        for class in SizeClass::all() {
            let Some((arena, dirty)) = self.hot.evict(class) else { continue };
            if dirty {
                cycles += bus.memory.header(bus.core, arena.get(), Access::Store);
            }
            let full = Header::new(bus.store, arena).is_full();
            let list = if full { List::Full } else { List::Available };
            self.lists.push(bus.store, list, class, arena);
        }
        bus.counters.hot_flushes.add(1);
        cycles
    }
}

impl Default for Core {
    fn default() -> Self {
        Self::new()
    }
}

/// Frees the object at `va` for a thread that has no core: a remote free, whoever owns the arena.
/// The bus's core and page allocator are not used.
///
/// # Errors
/// As [`Core::obj_free`].
pub fn free_without_core<S: Store, M, P>(bus: &Bus<'_, S, M, P>, va: u64) -> Result<(), FreeFault> {
    let class = bus.layout.region.class_at(va).ok_or(FreeFault::Outside);
    let result = class
        .and_then(|class| find(bus.store, bus.layout, class, va))
        .and_then(|o| remote::free(bus.store, bus.layout, o.arena, o.class, o.slot));
    match result {
        Ok(()) => bus.counters.remote_frees.add(1),
        Err(_) => bus.counters.faults.add(1),
    }
    result
}

/// Takes apart an address in the lane of `class`. The page table tells whether an arena is there:
/// the page of every arena's header is mapped.
fn find<S: Store>(
    store: &S,
    layout: &super::layout::Layout,
    class: SizeClass,
    va: u64,
) -> Result<Object, FreeFault> {
    let arena = layout.region.arena_at(class, va);
    if !table::is_mapped(store, layout, arena.get()) {
        return Err(FreeFault::Outside);
    }
    let slot = slot_at(class, va - arena.get())?;
    Ok(Object { class, arena, slot })
}

/// Clears the bit of an object in the HOT.
#[inline]
fn release<S: Store>(store: &S, object: Object) -> Result<(), FreeFault> {
    let Object { class, arena, slot } = object;
    let header = Header::new(store, arena);
    if !header.is_allocated(slot) || remote::is_pending(store, header, class, slot) {
        return Err(FreeFault::NotAllocated);
    }
    header.clear(slot / 64, 1 << (slot % 64));
    Ok(())
}
