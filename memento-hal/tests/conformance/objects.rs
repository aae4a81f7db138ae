//! Objects of one thread.

use super::backend::{Attached, Object, assert_disjoint, classes, rounds};
use memento_hal::geometry::SizeClass;
use memento_hal::{FreeFault, Hal};
use std::collections::HashSet;

pub fn aligned_disjoint_and_kept<H: Hal>(hal: &H) {
    let mut core = Attached::new(hal);
    let mut live: Vec<Object> = Vec::new();
    for round in 0..4 {
        for class in classes() {
            for _ in 0..rounds(300) {
                let object = core.alloc(class).unwrap();
                object.fill(7);
                live.push(object);
            }
        }
        assert_disjoint(&live);
        live.iter().for_each(|object| object.check(7));
        // Every second one goes, from the front and from the back in turn.
        if round % 2 == 0 {
            live.reverse();
        }
        let mut keep = false;
        live.retain(|object| {
            keep = !keep;
            if !keep {
                core.free(*object).unwrap();
            }
            keep
        });
        live.iter().for_each(|object| object.check(7));
    }
    for class in SizeClass::all() {
        let object = core.alloc(class).unwrap();
        object.fill(9);
        live.push(object);
    }
    assert_disjoint(&live);
    for object in live {
        core.free(object).unwrap();
    }
}

pub fn used_again<H: Hal>(hal: &H) {
    let mut core = Attached::new(hal);
    for class in classes() {
        let count = rounds(400);
        let mut seen = HashSet::new();
        for _ in 0..10 {
            let objects: Vec<_> = (0..count).map(|_| core.alloc(class).unwrap()).collect();
            seen.extend(objects.iter().map(|object| object.address()));
            for object in objects {
                core.free(object).unwrap();
            }
        }
        assert!(seen.len() <= 2 * count, "{class:?}: {} places for {count}", seen.len());
    }
}

pub fn class_of_address<H: Hal>(hal: &H) {
    let on_stack = 0u64;
    let outside = std::ptr::NonNull::from(&on_stack).cast();
    assert!(!hal.contains(outside.as_ptr()));
    assert_eq!(hal.class_of(outside), Err(FreeFault::Outside));
    let mut core = Attached::new(hal);
    for class in SizeClass::all() {
        let object = core.alloc(class).unwrap();
        assert!(hal.contains(object.at.as_ptr()));
        let found = hal.class_of(object.at).unwrap();
        // A backend may have fewer classes, but never gives less than it is asked for.
        assert!(found.size() >= class.size(), "{class:?} became {found:?}");
        core.free(object).unwrap();
    }
    assert!(!hal.contains(outside.as_ptr()));
    assert_eq!(hal.class_of(outside), Err(FreeFault::Outside));
}
