//! All cores of one process and their page allocator, driven by one thread.
//!
//! A trace replay maps the trace's threads to cores and runs on this; a simulator does so with its
//! own cost port. The binding to real memory does not: its cores run at the same time.

extern crate std;

use super::bus::Bus;
use super::core::Core;
use super::layout::{CORE_AREA_BYTES, Layout};
use super::memory::{CoreId, Cycles, Memory, Store};
use super::pages::Pages;
use super::params::{ParamError, Params};
use crate::counters::{CounterBlock, Counters};
use crate::geometry::SizeClass;
use crate::object::FreeFault;
use crate::page::PageCount;
use core::cell::RefCell;
use std::vec::Vec;

/// Cores, page allocator, words and costs.
///
/// ```
/// use memento_hal::emulator::{FixedCosts, Machine, Params, SimMemory};
/// use memento_hal::geometry::SizeClass;
///
/// let params = Params::DEFAULT;
/// let mut machine = Machine::new(params, SimMemory::new(), FixedCosts::new(&params)).unwrap();
/// let core = machine.add_core().unwrap();
/// let class = SizeClass::for_request(24, 8).unwrap();
/// let object = machine.obj_alloc(core, class).unwrap();
/// assert!(machine.obj_free(core, object).is_ok());
/// assert!(machine.obj_free(core, object).is_err());
/// assert_eq!(machine.counters().faults, 1);
/// ```
#[derive(Debug)]
pub struct Machine<S, M> {
    params: Params,
    layout: Layout,
    store: S,
    memory: M,
    pages: RefCell<Pages>,
    cores: Vec<(Core, CounterBlock)>,
}

/// Cores that a machine has room for.
pub const MACHINE_CORES: u32 = 1 << 20;

impl<S: Store, M: Memory> Machine<S, M> {
    /// A machine without cores, at simulated addresses.
    ///
    /// # Errors
    /// What [`Params::validate`] finds, or [`ParamError::Conflict`] if the store has no room for the
    /// root of the page table.
    pub fn new(params: Params, store: S, memory: M) -> Result<Self, ParamError> {
        params.validate()?;
        let layout = Layout::simulated(&params, MACHINE_CORES);
        let pages = Pages::new(&params, &layout, &store)
            .ok_or(ParamError::Conflict("no memory for the root of the page table"))?;
        Ok(Self { params, layout, store, memory, pages: RefCell::new(pages), cores: Vec::new() })
    }

    /// Adds a core; `None` if there is no room or memory for one more.
    pub fn add_core(&mut self) -> Option<CoreId> {
        let id = CoreId(u32::try_from(self.cores.len()).ok()?);
        if id.0 >= self.layout.core_count
            || !self.store.commit(self.layout.core_area(id), CORE_AREA_BYTES)
        {
            return None;
        }
        self.cores.push((Core::new(), CounterBlock::new()));
        Some(id)
    }

    /// The core with its wires.
    ///
    /// # Panics
    /// If `id` did not come from [`Machine::add_core`] of this machine.
    fn wired(&mut self, id: CoreId) -> (&mut Core, Bus<'_, S, M, RefCell<Pages>>) {
        let (core, counters) = &mut self.cores[id.0 as usize];
        let bus = Bus {
            core: id,
            params: &self.params,
            layout: &self.layout,
            store: &self.store,
            memory: &self.memory,
            pages: &self.pages,
            counters,
        };
        (core, bus)
    }

    /// `obj-alloc` on `core`: see [`Core::obj_alloc`].
    ///
    /// # Panics
    /// If this machine has no such core.
    pub fn obj_alloc(&mut self, core: CoreId, class: SizeClass) -> Option<u64> {
        let (core, bus) = self.wired(core);
        core.obj_alloc(&bus, class)
    }

    /// `obj-free` on `core`: see [`Core::obj_free`].
    ///
    /// # Errors
    /// As [`Core::obj_free`].
    ///
    /// # Panics
    /// If this machine has no such core.
    pub fn obj_free(&mut self, core: CoreId, va: u64) -> Result<(), FreeFault> {
        let (core, bus) = self.wired(core);
        core.obj_free(&bus, va)
    }

    /// Flushes the HOT of `core`: see [`Core::flush`].
    ///
    /// # Panics
    /// If this machine has no such core.
    pub fn flush(&mut self, core: CoreId) -> Cycles {
        let (core, bus) = self.wired(core);
        core.flush(&bus)
    }

    /// The counters of `core`, for reading and for adding what the machine does not see.
    ///
    /// # Panics
    /// If this machine has no such core.
    pub fn core_counters(&self, core: CoreId) -> &CounterBlock {
        &self.cores[core.0 as usize].1
    }

    /// The sum of the counters of all cores.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::ZERO;
        for (_, counters) in &self.cores {
            sum.add(&counters.snapshot());
        }
        sum
    }

    /// Data pages that are backed.
    pub fn backed(&self) -> PageCount {
        self.pages.borrow().backed()
    }

    /// Number of cores.
    pub fn core_count(&self) -> usize {
        self.cores.len()
    }

    /// The parameters that it runs with.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Where its words lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Its cost port.
    pub fn memory(&self) -> &M {
        &self.memory
    }
}
