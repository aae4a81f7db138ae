//! Where the emulator's words lie: the region, the page table's frames and the cores' areas.
//!
//! The region belongs to the program's objects and the arenas' headers. Page-table frames and
//! cores' areas lie elsewhere, where no overflow of an object reaches them.

use super::memory::CoreId;
use super::params::Params;
use super::region::Region;
use crate::geometry::{CLASSES, PAGE_BYTES, SizeClass};

/// Bytes of the area of one core: bump pointers and queues of remote frees, by class.
pub const CORE_AREA_BYTES: u64 = (8 * 3 * CLASSES as u64).next_power_of_two();

/// The address of everything that the emulator keeps in its store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// The region, from `MRS` to `MRE`.
    pub region: Region,
    /// First page-table frame, which is the root: register `MPTR`. A multiple of [`PAGE_BYTES`].
    pub tables: u64,
    /// Number of page-table frames there is room for.
    pub table_frames: u64,
    /// Area of core 0; the others follow.
    pub cores: u64,
    /// Number of cores there is room for.
    pub core_count: u32,
}

/// Page-table frames that a region of `bytes` can need at most, wherever it lies: at each level
/// one for every started unit, and the root.
pub const fn table_frames_for(bytes: u64) -> u64 {
    (bytes >> 21) + (bytes >> 30) + (bytes >> 39) + 3 * 2 + 1
}

impl Layout {
    /// A layout of simulated addresses for `core_count` cores.
    pub const fn simulated(params: &Params, core_count: u32) -> Self {
        let region = Region::new(0x2000_0000_0000, params.lane_shift as u32);
        Self {
            region,
            tables: 0x1000_0000_0000,
            table_frames: table_frames_for(region.bytes()),
            cores: 0x0800_0000_0000,
            core_count,
        }
    }

    /// First address of the area of `core`.
    #[inline]
    pub const fn core_area(&self, core: CoreId) -> u64 {
        self.cores + core.0 as u64 * CORE_AREA_BYTES
    }

    /// Address of the head of the queue of arenas of `class` of `core` that have remote frees.
    #[inline]
    pub const fn remote_queue(&self, core: CoreId, class: SizeClass) -> u64 {
        self.core_area(core) + 8 * class.index() as u64
    }

    /// Address of the bump pointer of `class` of `core`.
    #[inline]
    pub const fn bump_pointer(&self, core: CoreId, class: SizeClass) -> u64 {
        self.core_area(core) + 8 * (CLASSES + class.index()) as u64
    }

    /// Address of the word that says up to where the lane of `class` is usable for `core`.
    #[inline]
    pub const fn committed(&self, core: CoreId, class: SizeClass) -> u64 {
        self.core_area(core) + 8 * (2 * CLASSES + class.index()) as u64
    }

    /// First address behind the page-table frames.
    #[inline]
    pub const fn tables_end(&self) -> u64 {
        self.tables + self.table_frames * PAGE_BYTES as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_overlaps_and_every_word_lies_in_its_core_area() {
        let layout = Layout::simulated(&Params::DEFAULT, 1 << 16);
        let cores_end = layout.core_area(CoreId(layout.core_count));
        assert!(cores_end <= layout.tables && layout.tables_end() <= layout.region.start());
        let core = CoreId(5);
        let mut words = Vec::new();
        for class in SizeClass::all() {
            words.push(layout.remote_queue(core, class));
            words.push(layout.bump_pointer(core, class));
            words.push(layout.committed(core, class));
        }
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 3 * CLASSES);
        let area = layout.core_area(core)..layout.core_area(CoreId(6));
        assert!(words.iter().all(|at| area.contains(at) && at.is_multiple_of(8)));
    }
}
