//! The hardware's part of a report.

use memento_hal::counters::Counters;
use memento_hal::emulator::Params;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Events and cycles of the (emulated) hardware.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Emulator {
    /// Hardware object table.
    pub hot: Hot,
    /// Arenas and their lists.
    pub arenas: Arenas,
    /// Arena allocation cache.
    pub aac: Aac,
    /// Page pool.
    pub pages: Pages,
    /// Main-memory bypass.
    pub bypass: Bypass,
    /// Frees by a core other than the owner.
    pub remote_frees: u64,
    /// Memento faults.
    pub faults: u64,
    /// Cycles by category.
    pub cycles: Cycles,
    /// Every parameter's value by name.
    pub parameters: BTreeMap<String, u64>,
}

/// Hardware object table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hot {
    /// Allocations served by the arena that was in the table.
    pub alloc_hits: u64,
    /// All others.
    pub alloc_misses: u64,
    /// Frees whose arena was in the table.
    pub free_hits: u64,
    /// All others by the owner.
    pub free_misses: u64,
    /// Flushes of the whole table.
    pub flushes: u64,
}

/// Arenas and their lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Arenas {
    /// Arenas created.
    pub created: u64,
    /// Allocations that changed a list.
    pub alloc_list_operations: u64,
    /// Frees that changed a list.
    pub free_list_operations: u64,
}

/// Arena allocation cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Aac {
    /// New arenas whose bump pointer was there.
    pub hits: u64,
    /// All others.
    pub misses: u64,
}

/// Page pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pages {
    /// Data frames taken.
    pub taken: u64,
    /// Page-table frames taken.
    pub table_frames: u64,
    /// Refills by the operating system.
    pub refills: u64,
    /// Times it was dry.
    pub dry_stalls: u64,
}

/// Main-memory bypass.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bypass {
    /// Lines not fetched.
    pub lines: u64,
}

/// Cycles by category.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cycles {
    /// `obj-alloc`.
    pub obj_alloc: u64,
    /// `obj-free`.
    pub obj_free: u64,
    /// Backing pages.
    pub page_management: u64,
    /// What bypassed lines would have cost; not part of the others.
    pub bypass_saved: u64,
}

impl Emulator {
    /// The part for these counts, made under these parameters.
    pub fn new(c: &Counters, params: &Params) -> Self {
        let value = |name: &str| (name.to_owned(), params.get(name).unwrap_or_default());
        Self {
            hot: Hot {
                alloc_hits: c.hot_alloc_hits,
                alloc_misses: c.hot_alloc_misses,
                free_hits: c.hot_free_hits,
                free_misses: c.hot_free_misses,
                flushes: c.hot_flushes,
            },
            arenas: Arenas {
                created: c.arenas_created,
                alloc_list_operations: c.alloc_list_operations,
                free_list_operations: c.free_list_operations,
            },
            aac: Aac { hits: c.aac_hits, misses: c.aac_misses },
            pages: Pages {
                taken: c.pages_taken,
                table_frames: c.pages_table_frames,
                refills: c.pages_refills,
                dry_stalls: c.pages_dry_stalls,
            },
            bypass: Bypass { lines: c.bypass_lines },
            remote_frees: c.remote_frees,
            faults: c.faults,
            cycles: Cycles {
                obj_alloc: c.cycles_obj_alloc,
                obj_free: c.cycles_obj_free,
                page_management: c.cycles_page_management,
                bypass_saved: c.cycles_bypass_saved,
            },
            parameters: Params::FIELDS.iter().map(|field| value(field.name)).collect(),
        }
    }

    /// Allocations of the object allocator.
    pub fn allocs(&self) -> u64 {
        self.hot.alloc_hits + self.hot.alloc_misses
    }

    /// Frees by owners.
    pub fn frees(&self) -> u64 {
        self.hot.free_hits + self.hot.free_misses
    }
}
