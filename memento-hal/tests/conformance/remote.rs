//! Frees by threads that did not allocate.

use super::backend::{Attached, Object, assert_disjoint, classes, rounds};
use memento_hal::Hal;
use memento_hal::geometry::SizeClass;
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::mpsc::sync_channel;

/// One thread allocates, another frees: memory does not grow without bound.
pub fn come_back<H: Hal>(hal: &H) {
    for class in classes().step_by(3) {
        let count = rounds(700);
        let mut seen = HashSet::new();
        std::thread::scope(|scope| {
            let (give, take) = sync_channel::<Vec<Object>>(0);
            let (done, wait) = sync_channel::<()>(0);
            scope.spawn(move || {
                let mut core = Attached::new(hal);
                for objects in take {
                    for object in objects {
                        object.check(3);
                        core.free(object).unwrap();
                    }
                    done.send(()).unwrap();
                }
            });
            let mut core = Attached::new(hal);
            for _ in 0..10 {
                let objects: Vec<_> = (0..count).map(|_| core.alloc(class).unwrap()).collect();
                objects.iter().for_each(|object| object.fill(3));
                seen.extend(objects.iter().map(|object| object.address()));
                give.send(objects).unwrap();
                wait.recv().unwrap();
            }
            drop(give);
        });
        // What is pending and what a backend keeps back may double the need, not multiply it by ten.
        let most = 3 * count + 1024;
        assert!(seen.len() <= most, "{class:?}: {} places for {count}", seen.len());
    }
}

/// All threads allocate and free what any of them has allocated.
pub fn pass_around<H: Hal>(hal: &H) {
    let pot: Mutex<Vec<Object>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..3u64 {
            let pot = &pot;
            scope.spawn(move || {
                let mut core = Attached::new(hal);
                let mut random = thread + 1;
                for _ in 0..rounds(4000) {
                    // Marsaglia's xorshift: any sequence will do.
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let class = SizeClass::new((random >> 20) as usize % 4).unwrap();
                    if random % 5 < 3 {
                        let object = core.alloc(class).unwrap();
                        object.fill(5);
                        pot.lock().unwrap().push(object);
                    } else {
                        let taken = {
                            let mut pot = pot.lock().unwrap();
                            let all = pot.len();
                            (all > 0).then(|| pot.swap_remove((random >> 30) as usize % all))
                        };
                        if let Some(object) = taken {
                            object.check(5);
                            core.free(object).unwrap();
                        }
                    }
                }
            });
        }
    });
    let mut core = Attached::new(hal);
    let pot = pot.into_inner().unwrap();
    assert_disjoint(&pot);
    for object in pot {
        object.check(5);
        core.free(object).unwrap();
    }
}

pub fn free_detached<H: Hal>(hal: &H) {
    let mut core = Attached::new(hal);
    let class = SizeClass::new(6).unwrap();
    let count = rounds(600);
    let mut seen = HashSet::new();
    for _ in 0..10 {
        let objects: Vec<_> = (0..count).map(|_| core.alloc(class).unwrap()).collect();
        seen.extend(objects.iter().map(|object| object.address()));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for object in objects {
                    // SAFETY: the object is not used again.
                    unsafe { hal.free_detached(object.at) }.unwrap();
                }
            });
        });
    }
    let most = 3 * count + 1024;
    assert!(seen.len() <= most, "{} places for {count}", seen.len());
}
