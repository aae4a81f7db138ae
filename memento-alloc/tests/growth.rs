//! What doubles is not copied again and again. Alone in its process, so that nobody else has what follows an object.
#![cfg(not(miri))]

use memento_alloc::Memento;
use std::alloc::{GlobalAlloc, Layout};

#[global_allocator]
static ALLOCATOR: Memento = Memento::new();

/// Doubles an object from one size to another; the sizes at which it moved.
fn double(from: usize, to: usize) -> Vec<usize> {
    let layout = |size| Layout::from_size_align(size, 8).unwrap();
    let mut moved = Vec::with_capacity(32);
    let mut size = from;
    // SAFETY: each layout is the one of the last request, and no byte beyond it is touched.
    unsafe {
        let mut object = ALLOCATOR.alloc(layout(size));
        object.write(7);
        while size < to {
            let grown = ALLOCATOR.realloc(object, layout(size), 2 * size);
            size *= 2;
            if grown != object {
                moved.push(size);
            }
            object = grown;
            object.add(size - 1).write(1);
        }
        assert_eq!(object.read(), 7);
        ALLOCATOR.dealloc(object, layout(size));
    }
    moved
}

#[test]
fn an_object_grows_where_it_is_in_its_block_and_from_128_kib_on() {
    for _ in 0..3 {
        let moved = double(1 << 10, 64 << 20);
        assert_eq!(*moved.last().unwrap(), 128 << 10, "{moved:?}");
    }
    assert_eq!(double(16 << 10, 64 << 10), []);
    // What was asked for at once lies in the heap up to 256 KiB.
    assert_eq!(double(64 << 10, 1 << 20), [128 << 10]);
    assert_eq!(double(256 << 10, 4 << 20), [512 << 10]);
    assert_eq!(double(512 << 10, 4 << 20), []);
}
