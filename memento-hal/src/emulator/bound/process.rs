//! The backend of a process, and its cores.

use super::reservation::Wiring;
use super::words::Words;
use crate::counters::{CounterBlock, Counters};
use crate::emulator::layout::{CORE_AREA_BYTES, Layout};
use crate::emulator::memory::{CoreId, FixedCosts, Store};
use crate::emulator::pages::{Pages, SharedPages};
use crate::emulator::params::{ParamError, Params};
use crate::emulator::region::slot_at;
use crate::emulator::{Bus, Core, free_without_core};
use crate::geometry::{CLASSES, SizeClass};
use crate::hal::{Hal, ProcessHal};
use crate::lock::{ForkLock, this_thread};
use crate::object::{FreeFault, ObjectAllocator};
use crate::os::{Linux, Os};
use core::fmt;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, Ordering};

crate::os::tls::tls_pointer!(mod current, "memento_emu_core", super::EmuCore);

static PROCESS: Emu = Emu::new(Linux);

/// Who provides the counters that cores write, if they are not to stay in the cores.
#[derive(Clone, Copy, Debug)]
pub struct CounterSource {
    /// The block of the calling thread. Asked each time a thread gets a core, and for each free by a
    /// thread that has none. Must not allocate.
    pub block: fn() -> &'static CounterBlock,
    /// The sum over all blocks.
    pub totals: fn() -> Counters,
}

/// The emulator as a backend over an operating system.
pub struct Emu<O: Os = Linux> {
    os: O,
    lock: ForkLock<Shared>,
    /// The reservation; null until the first thread attaches. Written once, under the lock.
    wiring: AtomicPtr<Wiring>,
    source: AtomicPtr<CounterSource>,
}

/// What cores share.
struct Shared {
    params: Params,
    pages: Option<Pages>,
    /// Cores that were ever made.
    cores: u32,
    /// Core of the thread that ended last, and so on through [`EmuCore::next_dead`].
    dead: Option<CoreId>,
    /// Counters of threads without a core.
    detached: CounterBlock,
}

/// A thread's core.
///
/// Valid as long as the [`Emu`] that it came from is neither moved nor dropped.
pub struct EmuCore<O: Os = Linux> {
    core: Core,
    id: CoreId,
    emu: NonNull<Emu<O>>,
    wiring: NonNull<Wiring>,
    counters: NonNull<CounterBlock>,
    next_dead: Option<CoreId>,
}

impl<O: Os> fmt::Debug for Emu<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emu").field("wiring", &self.wiring()).finish_non_exhaustive()
    }
}

impl<O: Os> fmt::Debug for EmuCore<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmuCore").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The page allocator behind the lock.
struct LockedPages<'a>(&'a ForkLock<Shared>);

impl SharedPages for LockedPages<'_> {
    fn with<R>(&self, f: impl FnOnce(&mut Pages) -> R) -> Option<R> {
        self.0.with(this_thread(), |shared| shared.pages.as_mut().map(f))?
    }
}

impl<O: Os> Emu<O> {
    /// A backend with the default parameters that reserves its region at first use.
    pub const fn new(os: O) -> Self {
        Self::with_params(os, Params::DEFAULT)
    }

    /// A backend with these parameters, which [`Params::validate`] accepted.
    pub const fn with_params(os: O, params: Params) -> Self {
        let detached = CounterBlock::new();
        let shared = Shared { params, pages: None, cores: 0, dead: None, detached };
        Self {
            os,
            lock: ForkLock::new(shared),
            wiring: AtomicPtr::new(null_mut()),
            source: AtomicPtr::new(null_mut()),
        }
    }

    /// Sets the parameters.
    ///
    /// # Errors
    /// What [`Params::validate`] finds, or [`ParamError::Conflict`] once a thread has attached.
    pub fn configure(&self, params: Params) -> Result<(), ParamError> {
        params.validate()?;
        let late = Err(ParamError::Conflict("the emulator runs already"));
        let set = self.lock.with(this_thread(), |shared| {
            if shared.pages.is_some() {
                return late;
            }
            shared.params = params;
            Ok(())
        });
        set.unwrap_or(late)
    }

    /// Makes cores that are attached from now on write to blocks of `source`.
    pub fn set_counter_source(&self, source: &'static CounterSource) {
        // Release pairs with the acquire in `source`.
        self.source.store(core::ptr::from_ref(source).cast_mut(), Ordering::Release);
    }

    /// The parameters that it runs with: those configured, with lanes and chunks that fit into the
    /// address space there is. `None` until a thread has attached.
    pub fn params(&self) -> Option<Params> {
        self.wiring().map(|wiring| wiring.params)
    }

    /// The registers `MRS`, `MRE` and `MPTR` and where all else lies. `None` until a thread has
    /// attached.
    pub fn layout(&self) -> Option<Layout> {
        self.wiring().map(|wiring| wiring.layout)
    }

    /// Sets the counters that lie in cores to zero. Blocks of a [`CounterSource`] are its owner's.
    pub fn reset_counters(&self) {
        self.for_own_counters(|block| {
            // SAFETY: a block consists of atomic words, so it may be written through a shared
            // reference; the memory is committed.
            let words = unsafe {
                core::slice::from_raw_parts(
                    core::ptr::from_ref(block).cast::<crate::counters::Counter>(),
                    Counters::WORDS,
                )
            };
            words.iter().for_each(|word| word.set(0));
        });
    }

    #[inline]
    fn wiring(&self) -> Option<&Wiring> {
        // Acquire pairs with the release in `start`: the wiring is written.
        let wiring = NonNull::new(self.wiring.load(Ordering::Acquire))?;
        // SAFETY: it lies in the reservation, which is never released, and never changes.
        Some(unsafe { wiring.as_ref() })
    }

    fn source(&self) -> Option<&'static CounterSource> {
        // Acquire pairs with the release in `set_counter_source`.
        let source = self.source.load(Ordering::Acquire);
        // SAFETY: null, or what `set_counter_source` was given.
        unsafe { source.as_ref() }
    }

    fn words(&self, wiring: &Wiring) -> Words<'_, O> {
        // SAFETY: the reservation is never released. The emulator's addresses are those of the
        // layout, or come from `locate`, which found them in an arena: its header and the rounding
        // behind its body hold no object.
        unsafe { Words::new(&self.os, wiring.base, wiring.page_bytes) }
    }

    /// Reserves the region if nobody has yet, and makes the page allocator.
    fn start(&self, shared: &mut Shared) -> Option<NonNull<Wiring>> {
        // Relaxed: written under the lock, which the caller holds.
        if let Some(wiring) = NonNull::new(self.wiring.load(Ordering::Relaxed)) {
            return Some(wiring);
        }
        let wiring = Wiring::reserve(&self.os, &shared.params)?;
        // SAFETY: just written, and it never changes.
        let known = unsafe { wiring.as_ref() };
        let Some(pages) = Pages::new(&known.params, &known.layout, &self.words(known)) else {
            // SAFETY: nobody else knows the reservation, and the wiring in it is not used again.
            unsafe { self.os.release(known.base, known.bytes) };
            return None;
        };
        shared.pages = Some(pages);
        // Release pairs with the acquire in `wiring`.
        self.wiring.store(wiring.as_ptr(), Ordering::Release);
        Some(wiring)
    }

    /// A core for the calling thread: a dead one, or else a new one.
    fn take_core(&self, shared: &mut Shared) -> Option<NonNull<EmuCore<O>>> {
        let wiring = self.start(shared)?;
        // SAFETY: `start` gives the wiring, which never changes.
        let known = unsafe { wiring.as_ref() };
        if let Some(id) = shared.dead {
            let core = known.core::<O>(id);
            // SAFETY: a dead core was made and is nobody's.
            shared.dead = unsafe { (*core.as_ptr()).next_dead.take() };
            return Some(core);
        }
        let id = CoreId(shared.cores);
        let words = self.words(known);
        let (slot, slot_bytes) = known.slot::<O>(id);
        if id.0 >= known.layout.core_count
            || !words.commit(known.layout.core_area(id), CORE_AREA_BYTES)
            || !words.commit(slot, slot_bytes)
        {
            return None;
        }
        let (core, counters) = (known.core::<O>(id), known.own_counters::<O>(id));
        // SAFETY: the slot was just committed and belongs to nobody: the number is new.
        unsafe {
            counters.write(CounterBlock::new());
            core.write(EmuCore {
                core: Core::new(),
                id,
                emu: NonNull::from(self),
                wiring,
                counters,
                next_dead: None,
            });
        }
        shared.cores += 1;
        Some(core)
    }

    /// Runs `f` on every block of counters that lies in a core, or in `self`.
    fn for_own_counters(&self, mut f: impl FnMut(&CounterBlock)) {
        self.lock.with(this_thread(), |shared| {
            f(&shared.detached);
            let Some(wiring) = self.wiring() else { return };
            for id in (0..shared.cores).map(CoreId) {
                // SAFETY: the core was made, so its block is committed and written; its words are
                // atomic, so its core may go on counting.
                f(unsafe { wiring.own_counters::<O>(id).as_ref() });
            }
        });
    }

    /// Frees `object` for a thread that has no core and counts in `counters`.
    fn free_counted(
        &self,
        wiring: &Wiring,
        object: NonNull<u8>,
        counters: &CounterBlock,
    ) -> Result<(), FreeFault> {
        let bus = Bus {
            core: CoreId(u32::MAX),
            params: &wiring.params,
            layout: &wiring.layout,
            store: &self.words(wiring),
            memory: &wiring.memory,
            pages: &LockedPages(&self.lock),
            counters,
        };
        free_without_core(&bus, object.addr().get() as u64)
    }
}

impl<O: Os> EmuCore<O> {
    /// The core's number.
    pub fn id(&self) -> CoreId {
        self.id
    }

    /// Runs an instruction of this core.
    #[inline(always)]
    fn wired<R>(
        &mut self,
        f: impl FnOnce(&mut Core, &Bus<'_, Words<'_, O>, FixedCosts, LockedPages<'_>>) -> R,
    ) -> R {
        // SAFETY: whoever holds a core keeps its backend where it is; the wiring lies in the
        // reservation; the counters are this core's own or were given as `'static`.
        let (emu, wiring, counters) =
            unsafe { (self.emu.as_ref(), self.wiring.as_ref(), self.counters.as_ref()) };
        let bus = Bus {
            core: self.id,
            params: &wiring.params,
            layout: &wiring.layout,
            store: &emu.words(wiring),
            memory: &wiring.memory,
            pages: &LockedPages(&emu.lock),
            counters,
        };
        f(&mut self.core, &bus)
    }
}

// SAFETY: objects are slots of arenas. Arenas are disjoint strides of the region, committed before
// they are used; slots are disjoint, `size` bytes long, 64 bytes and a multiple of the size behind
// a page's start; and a slot whose bit is set is not given out.
unsafe impl<O: Os> ObjectAllocator for EmuCore<O> {
    #[inline]
    fn obj_alloc(&mut self, class: SizeClass) -> Option<NonNull<u8>> {
        let va = self.wired(|core, bus| core.obj_alloc(bus, class))?;
        // SAFETY: the wiring lies in the reservation, which holds all addresses of objects.
        NonNull::new(unsafe { self.wiring.as_ref() }.base.as_ptr().with_addr(va as usize))
    }

    #[inline]
    unsafe fn obj_free(
        &mut self,
        object: NonNull<u8>,
        _known: Option<SizeClass>,
    ) -> Result<(), FreeFault> {
        self.wired(|core, bus| core.obj_free(bus, object.addr().get() as u64))
    }
}

// SAFETY: all cores share one page allocator, so their arenas are disjoint; the lock sees to it
// that a core is handed to one thread at a time.
unsafe impl<O: Os> Hal for Emu<O> {
    type Core = EmuCore<O>;
    const NAME: &'static str = "emu";

    fn attach(&self) -> Option<NonNull<Self::Core>> {
        let core = self.lock.with(this_thread(), |shared| self.take_core(shared))??;
        if let Some(source) = self.source() {
            // SAFETY: the core is the calling thread's from now on.
            unsafe { (*core.as_ptr()).counters = NonNull::from((source.block)()) };
        }
        Some(core)
    }

    unsafe fn detach(&self, core: NonNull<Self::Core>) {
        // SAFETY: the caller gives up the core, so nobody else uses it.
        let core = unsafe { &mut *core.as_ptr() };
        core.wired(|core, bus| core.flush(bus));
        self.lock.with(this_thread(), |shared| {
            core.next_dead = shared.dead.replace(core.id);
        });
    }

    #[inline]
    fn contains(&self, address: *const u8) -> bool {
        let va = address.addr() as u64;
        self.wiring().is_some_and(|wiring| wiring.layout.region.class_at(va).is_some())
    }

    fn class_of(&self, object: NonNull<u8>) -> Result<SizeClass, FreeFault> {
        let va = object.addr().get() as u64;
        let region = &self.wiring().ok_or(FreeFault::Outside)?.layout.region;
        let class = region.class_at(va).ok_or(FreeFault::Outside)?;
        slot_at(class, va - region.arena_at(class, va).get())?;
        Ok(class)
    }

    unsafe fn free_detached(&self, object: NonNull<u8>) -> Result<(), FreeFault> {
        let wiring = self.wiring().ok_or(FreeFault::Outside)?;
        if let Some(source) = self.source() {
            return self.free_counted(wiring, object, (source.block)());
        }
        let free = |counters: &CounterBlock| self.free_counted(wiring, object, counters);
        // In a signal handler inside the lock the count is lost, the free is not.
        self.lock
            .with(this_thread(), |shared| free(&shared.detached))
            .unwrap_or_else(|| free(&CounterBlock::new()))
    }

    fn fork_prepare(&self) {
        self.lock.hold(this_thread());
    }

    unsafe fn fork_parent(&self) {
        self.lock.release();
    }

    unsafe fn fork_child(&self, core: Option<NonNull<Self::Core>>) {
        self.lock.release();
        self.reset_counters();
        if let Some(core) = core {
            // SAFETY: the core is the calling thread's, which is the only one.
            unsafe { &mut *core.as_ptr() }.wired(|core, bus| core.flush(bus));
        }
    }

    fn counters(&self, into: &mut Counters) {
        let mut sum = Counters::ZERO;
        self.for_own_counters(|block| sum.add(&block.snapshot()));
        if let Some(source) = self.source() {
            sum.add(&(source.totals)());
        }
        // What the program asked for is counted by others, perhaps in the same blocks.
        (sum.allocs, sum.frees) = ([0; CLASSES], [0; CLASSES]);
        (sum.software_allocs, sum.software_frees, sum.bytes_requested) = (0, 0, 0);
        into.add(&sum);
    }
}

// SAFETY: `current` reads what `set_current` wrote to this thread's pointer, which starts as null.
unsafe impl ProcessHal for Emu<Linux> {
    fn instance() -> &'static Self {
        &PROCESS
    }

    #[inline]
    fn current() -> *mut Self::Core {
        current::get()
    }

    unsafe fn set_current(core: *mut Self::Core) {
        current::set(core);
    }
}
