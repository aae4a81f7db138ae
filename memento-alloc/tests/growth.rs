//! What doubles is not copied again and again. Alone in its process, so that nobody else has what follows an object.
#![cfg(not(miri))]

use memento_alloc::Memento;
use std::alloc::{GlobalAlloc, Layout};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

#[global_allocator]
static ALLOCATOR: Memento = Memento::new();

/// One test after the other.
static ALONE: Mutex<()> = Mutex::new(());

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

/// Has objects grow in turns by a page at a time, so that what follows each is taken; how often each moved.
fn grow_in_turns(objects: usize, from: usize, to: usize) -> Vec<usize> {
    let layout = |size| Layout::from_size_align(size, 8).unwrap();
    // SAFETY: as above.
    unsafe {
        let mut each: Vec<_> = (0..objects).map(|_| (ALLOCATOR.alloc(layout(from)), 0)).collect();
        each.iter().for_each(|(object, _)| object.write_bytes(7, from));
        for size in (from..to).step_by(4096) {
            for (object, moves) in &mut each {
                let grown = ALLOCATOR.realloc(*object, layout(size), size + 4096);
                *moves += usize::from(grown != *object);
                *object = grown;
                object.add(size).write_bytes(7, 4096);
            }
        }
        for (object, _) in &each {
            let bytes = std::slice::from_raw_parts(*object, to);
            assert!(bytes.iter().all(|byte| *byte == 7));
            ALLOCATOR.dealloc(*object, layout(to));
        }
        each.into_iter().map(|(_, moves)| moves).collect()
    }
}

fn page_faults() -> i64 {
    // SAFETY: all zero is a valid value, which the system then writes.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &raw mut usage), 0);
        usage.ru_minflt
    }
}

#[test]
fn objects_that_grow_in_turns_move_seldom_and_onto_pages_that_are_there() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (from, to) = (128 << 10, 1 << 20);
    grow_in_turns(4, from, to);
    let before = page_faults();
    for _ in 0..4 {
        let moves = grow_in_turns(4, from, to);
        // By a quarter each time.
        assert!(moves.iter().all(|moves| *moves <= 11), "{moves:?}");
    }
    let faults = page_faults() - before;
    assert!(faults < 4 * 256, "{faults}, less than the pages that they have in one round");
}

#[test]
fn what_grows_again_gets_room_and_what_grows_once_what_it_asks_for() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let layout = |size| Layout::from_size_align(size, 8).unwrap();
    let size = 600 << 10;
    // SAFETY: objects are used within their sizes, and freed once with their last size.
    unsafe {
        let mut objects: Vec<_> = (0..8).map(|_| ALLOCATOR.alloc(layout(size))).collect();
        for (from, room) in [(size, 0), (size + 4096, size / 5)] {
            let mut moved = 0;
            for object in &mut objects[..7] {
                let new = ALLOCATOR.realloc(*object, layout(from), from + 4096);
                let left = ALLOCATOR.usable_size(NonNull::new(new).unwrap()) - (from + 4096);
                if new != *object {
                    // What is left of kept pages, if it is little, stays with the object.
                    assert!((room..room + (64 << 10)).contains(&left), "{from}: {left}");
                    moved += 1;
                }
                *object = new;
            }
            assert!(moved > 2, "{from}: {moved}");
        }
        objects[..7].iter().for_each(|object| ALLOCATOR.dealloc(*object, layout(size + 8192)));
        ALLOCATOR.dealloc(objects[7], layout(size));
    }
}

#[test]
fn an_object_grows_where_it_is_in_its_block_and_from_128_kib_on() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
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
