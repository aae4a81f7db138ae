//! Threads that end, and those that come after them.

use super::backend::{Attached, Object, assert_disjoint, rounds};
use memento_hal::Hal;
use memento_hal::geometry::SizeClass;
use std::collections::HashSet;

/// Every thread leaves some objects behind; the next one frees them and finds room where the dead
/// one had it.
pub fn takes_over<H: Hal>(hal: &H) {
    let class = SizeClass::new(10).unwrap();
    let (count, threads) = (rounds(500), rounds(40));
    let mut seen = HashSet::new();
    let mut left: Vec<Object> = Vec::new();
    for _ in 0..threads {
        left = std::thread::scope(|scope| {
            let before = std::mem::take(&mut left);
            let thread = scope.spawn(move || {
                let mut core = Attached::new(hal);
                let objects: Vec<_> = (0..count).map(|_| core.alloc(class).unwrap()).collect();
                objects.iter().for_each(|object| object.fill(2));
                assert_disjoint(&[before.as_slice(), &objects].concat());
                for object in before {
                    object.check(2);
                    core.free(object).unwrap();
                }
                let (mine, rest) = objects.split_at(count / 2);
                for object in mine {
                    core.free(*object).unwrap();
                }
                rest.to_vec()
            });
            thread.join().unwrap()
        });
        seen.extend(left.iter().map(|object| object.address()));
    }
    // Two threads' worth is live at a time; with nothing adopted there would be `threads` times that.
    let most = 3 * count + 1024;
    assert!(seen.len() <= most, "{} places for {threads} threads of {count}", seen.len());
    let mut core = Attached::new(hal);
    for object in left {
        object.check(2);
        core.free(object).unwrap();
    }
}
