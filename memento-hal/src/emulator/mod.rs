//! The Memento hardware in software, counting its cycles.
//!
//! Everything here but the binding is safe code over simulated addresses: state is of fixed size or
//! reached through [`Store`], and what an access costs is asked of [`Memory`]. So the same code
//! serves a trace replay (`Machine`), a simulator with caches of its own, and a real process.
//!
//! | part | file |
//! | --- | --- |
//! | parameters | `params` |
//! | words and costs; words for a replay | `memory`, `sim_memory` |
//! | region and address arithmetic; where the other words lie | `region`, `layout` |
//! | arena headers, HOT, lists | `arena`, `hot`, `lists` |
//! | page allocator: AAC, pool, page table, bypass | `pages`, `aac`, `pool`, `table`, `bypass` |
//! | a core and its wires; frees by other cores | `core`, `bus`, `remote` |
//! | all cores together: in one thread, in a process | `machine`, `bound` |
//!
//! # What is charged
//! | event | account | cycles |
//! | --- | --- | --- |
//! | alloc or free that hits | its own | `hot_cycles` |
//! | alloc miss | obj-alloc | `hot_cycles`, storing the evicted header if dirty, then loading the new one or creating an arena |
//! | creating an arena | obj-alloc | `aac_cycles`, loading the bump pointer on an AAC miss, storing the new header |
//! | free miss | obj-free | `hot_cycles`, loading the header, storing it |
//! | backing a page | page management | four loads of page-table entries, `table_fill_cycles` for each level filled, `dry_stall_cycles` each time the pool is dry |
//! | first touch of a line | bypass saved | `dram_cycles` − `llc_cycles` |
//! | remote free, its taking effect, flush, fault, failed alloc | none | the model defines no account for them |
//!
//! # What happens when
//! - Pending remote frees of a class take effect at the owner's next miss of that class: on an alloc
//!   after the full arena has left the HOT for the full list, on a free before the slot is cleared.
//!   They change lists in the order in which their arenas got the first of them.
//! - That alloc is a miss even if remote frees bring back the very arena that had left.

#![deny(unsafe_code)]

mod aac;
mod arena;
#[allow(unsafe_code)]
mod bound;
mod bus;
mod bypass;
mod core;
mod hot;
mod layout;
mod lists;
#[cfg(all(test, loom))]
mod loom_words;
#[cfg(any(test, feature = "std"))]
mod machine;
mod memory;
mod pages;
mod params;
mod pool;
mod region;
mod remote;
#[cfg(any(test, feature = "std"))]
mod sim_memory;
mod table;

pub use self::core::{Core, free_without_core};
pub use arena::ArenaAddr;
#[cfg(not(loom))]
pub use bound::{CounterSource, Emu, EmuCore};
pub use bus::Bus;
pub use hot::Hot;
pub use layout::{CORE_AREA_BYTES, Layout, table_frames_for};
#[cfg(any(test, feature = "std"))]
pub use machine::{MACHINE_CORES, Machine};
pub use memory::{Access, CoreId, Cycles, FixedCosts, Memory, Store};
pub use pages::{Pages, SharedPages, WiredPages};
pub use params::{Field, ParamError, Params, Provenance};
pub use region::{Region, slot_at};
#[cfg(any(test, feature = "std"))]
pub use sim_memory::SimMemory;
