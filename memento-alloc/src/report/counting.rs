//! The observer that counts: what `memento run --report` loads into the program.

use super::writer;
use crate::Observer;
use core::ptr::NonNull;
use memento_hal::counters::{CounterBlock, Counters};
use memento_hal::geometry::{CLASS_STEP, SizeClass, c_alignment};

/// Counts operations by size class, in the calling thread's block of the report file.
///
/// An allocation is counted in the class of what was asked for, a free in the class of what the
/// object could hold; for the object allocator these are the same. Reallocation within one class
/// (or within the software path) is no operation of the hardware and is not counted; any other is
/// an allocation and a free.
#[derive(Debug)]
pub struct CountingObserver {
    hal: &'static str,
}

impl CountingObserver {
    /// An observer for the backend of this name: `soft`, `emu` or `isa`.
    pub const fn new(hal: &'static str) -> Self {
        Self { hal }
    }

    /// Makes the report file, if one is asked for. For a shared object's constructor: it proves
    /// that the object was loaded, even by a program that never allocates.
    pub fn start(&self) {
        writer::start(self.hal);
    }

    /// What the process has counted so far.
    pub fn totals(&self) -> Counters {
        writer::totals()
    }
}

/// Class of an object that can hold `usable` bytes; `None` on the software path.
fn class_of(usable: usize) -> Option<SizeClass> {
    SizeClass::for_request(usable, CLASS_STEP)
}

fn count_alloc(block: &CounterBlock, class: Option<SizeClass>, size: usize) {
    match class {
        Some(class) => block.allocs[class.index()].add(1),
        None => block.software_allocs.add(1),
    }
    block.bytes_requested.add(size as u64);
}

fn count_free(block: &CounterBlock, class: Option<SizeClass>) {
    match class {
        Some(class) => block.frees[class.index()].add(1),
        None => block.software_frees.add(1),
    }
}

impl Observer for CountingObserver {
    #[inline]
    fn alloc(&self, _: NonNull<u8>, size: usize, align: usize) {
        count_alloc(writer::current_block(), SizeClass::for_request(size, align), size);
    }

    #[inline]
    fn free(&self, _: NonNull<u8>, usable: usize) {
        count_free(writer::current_block(), class_of(usable));
    }

    fn realloc(&self, old: NonNull<u8>, old_usable: usize, new: NonNull<u8>, size: usize) {
        let was = class_of(old_usable);
        let is = SizeClass::for_request(size, c_alignment(size));
        // An object that was not moved keeps its class, whatever was asked for.
        if old == new || was == is {
            return;
        }
        let block = writer::current_block();
        count_alloc(block, is, size);
        count_free(block, was);
    }

    fn fork_child(&self) {
        writer::fork_child();
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    /// What `work` counts in the calling thread.
    fn counted(work: impl FnOnce(&CountingObserver)) -> (Counters, Counters) {
        let block = writer::current_block();
        let before = block.snapshot();
        work(&CountingObserver::new("soft"));
        (before, block.snapshot())
    }

    fn at(address: usize) -> NonNull<u8> {
        NonNull::new(core::ptr::without_provenance_mut(address)).unwrap()
    }

    #[test]
    fn requests_and_frees_meet_in_one_class() {
        let (was, is) = counted(|observer| {
            observer.alloc(at(64), 20, 16);
            observer.free(at(64), 32);
            observer.alloc(at(4096), 600, 16);
            observer.free(at(4096), 640);
        });
        assert_eq!(is.allocs[3] - was.allocs[3], 1);
        assert_eq!(is.frees[3] - was.frees[3], 1);
        assert_eq!(is.software_allocs - was.software_allocs, 1);
        assert_eq!(is.software_frees - was.software_frees, 1);
        assert_eq!(is.bytes_requested - was.bytes_requested, 620);
    }

    #[test]
    fn reallocation_counts_when_the_class_changes() {
        let (was, is) = counted(|observer| {
            observer.realloc(at(64), 32, at(64), 30);
            observer.realloc(at(64), 32, at(64), 4);
            observer.realloc(at(1 << 20), 1 << 20, at(2 << 20), 2 << 20);
        });
        assert_eq!(was, is, "same class, in place, or software to software");
        let (was, is) = counted(|observer| {
            observer.realloc(at(64), 32, at(128), 100);
            observer.realloc(at(128), 112, at(8192), 1000);
        });
        assert_eq!(is.allocs[13] - was.allocs[13], 1);
        assert_eq!(is.frees[3] - was.frees[3], 1);
        assert_eq!(is.frees[13] - was.frees[13], 1);
        assert_eq!(is.software_allocs - was.software_allocs, 1);
    }
}
