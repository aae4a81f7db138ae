//! Frees that no correct program makes.

use super::backend::{Attached, classes};
use memento_hal::{FreeFault, Hal};
use std::ptr::NonNull;

/// With `exact`, every wrong free is found; otherwise those that the contract names.
pub fn refused<H: Hal>(hal: &H, exact: bool) {
    let mut core = Attached::new(hal);
    let mut on_stack = [0u64; 4];
    let outside = NonNull::from(&mut on_stack).cast::<u8>();
    for class in classes() {
        let objects: Vec<_> = (0..20).map(|_| core.alloc(class).unwrap()).collect();
        objects.iter().for_each(|object| object.fill(1));

        assert_eq!(core.free_at(outside), Err(FreeFault::Outside));
        for offset in [1, 2, 4, 7] {
            // SAFETY: an object has at least 8 bytes.
            let inside = unsafe { objects[3].at.add(offset) };
            assert_eq!(core.free_at(inside), Err(FreeFault::Misaligned));
        }
        core.free(objects[5]).unwrap();
        assert_eq!(core.free(objects[5]), Err(FreeFault::NotAllocated), "{class:?}");
        if exact {
            for offset in (8..class.size()).step_by(8) {
                // SAFETY: `offset` is less than the object's size.
                let inside = unsafe { objects[3].at.add(offset) };
                assert_eq!(core.free_at(inside), Err(FreeFault::Misaligned));
            }
            core.free(objects[6]).unwrap();
            core.free(objects[7]).unwrap();
            for n in [5, 6, 7] {
                assert_eq!(core.free(objects[n]), Err(FreeFault::NotAllocated), "{class:?}");
            }
            std::thread::scope(|scope| {
                let (again, live) = (objects[5], objects[8]);
                scope.spawn(move || {
                    let mut other = Attached::new(hal);
                    assert_eq!(other.free(again), Err(FreeFault::NotAllocated));
                    other.free(live).unwrap();
                    assert_eq!(other.free(live), Err(FreeFault::NotAllocated));
                });
            });
            assert_eq!(core.free(objects[8]), Err(FreeFault::NotAllocated));
        }
        for (n, object) in objects.iter().enumerate() {
            if n != 5 && !(exact && (6..=8).contains(&n)) {
                object.check(1);
                core.free(*object).unwrap();
            }
        }
    }
}
