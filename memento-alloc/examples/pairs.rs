//! Allocates and frees objects of a constant size with memento as the global allocator, for counting
//! the instructions of each call. The argument says how many pairs.

use memento_alloc::Memento;
use std::alloc::{GlobalAlloc, Layout};

#[global_allocator]
static ALLOCATOR: Memento = Memento::new();

const LAYOUT: Layout = Layout::new::<[u64; 6]>();

/// One allocation, where a profiler finds it by name.
// SAFETY: nothing else in the program has the name.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn allocate_constant() -> *mut u8 {
    // SAFETY: the layout's size is not zero.
    unsafe { ALLOCATOR.alloc(LAYOUT) }
}

/// One free.
///
/// # Safety
/// `object` came from `allocate_constant` and is used no more.
// SAFETY: nothing else in the program has the name.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn free_constant(object: *mut u8) {
    // SAFETY: the caller's; allocated with this layout.
    unsafe { ALLOCATOR.dealloc(object, LAYOUT) }
}

fn main() {
    let pairs = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    for _ in 0..pairs {
        let object = std::hint::black_box(allocate_constant());
        // SAFETY: allocated just now.
        unsafe { free_constant(object) };
    }
}
