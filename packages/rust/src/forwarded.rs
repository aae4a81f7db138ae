//! Where memento does not serve.

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, under the name of the one that serves on supported systems.
#[derive(Debug, Default)]
pub struct Memento(());

impl Memento {
    /// The allocator.
    pub const fn new() -> Self {
        Self(())
    }

    /// Whether memento serves, not the system's allocator.
    pub const fn serves(&self) -> bool {
        false
    }

    /// Nothing, here.
    pub fn invocation_end(&self) {}

    /// What the allocator holds, as JSON; `None` where memento does not serve.
    pub fn stats_json(&self) -> Option<String> {
        None
    }
}

// SAFETY: every method is the system allocator's, which keeps the contract.
unsafe impl GlobalAlloc for Memento {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(object, layout) }
    }

    unsafe fn realloc(&self, object: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { System.realloc(object, layout, size) }
    }
}
