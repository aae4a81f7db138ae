//! Where memento serves.

use memento_alloc::c::Heap;
use std::alloc::{GlobalAlloc, Layout};

/// The allocator; see the crate's documentation. A process has one, in a static.
#[derive(Default)]
pub struct Memento(memento_alloc::Memento);

impl Memento {
    /// The allocator. Costs nothing until the first allocation.
    pub const fn new() -> Self {
        Self(memento_alloc::Memento::new())
    }

    /// Whether memento serves, not the system's allocator.
    pub const fn serves(&self) -> bool {
        true
    }

    /// Gives back to the system what an invocation left behind. For after the response; any thread may call
    /// it at any time.
    pub fn invocation_end(&self) {
        Heap::invocation_end(&self.0);
    }

    /// What the allocator holds, as JSON (`memento.stats/1`); `None` where memento does not serve.
    pub fn stats_json(&self) -> Option<String> {
        let mut text = vec![0; 4096];
        loop {
            let length = self.0.stats().to_json(&mut text);
            if length <= text.len() {
                text.truncate(length);
                return String::from_utf8(text).ok();
            }
            text.resize(length * 2, 0);
        }
    }
}

// SAFETY: every method is the inner allocator's, which keeps the contract.
unsafe impl GlobalAlloc for Memento {
    #[inline(always)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.0.alloc(layout) }
    }

    #[inline(always)]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    #[inline(always)]
    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { self.0.dealloc(object, layout) }
    }

    #[inline(always)]
    unsafe fn realloc(&self, object: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.0.realloc(object, layout, size) }
    }
}
