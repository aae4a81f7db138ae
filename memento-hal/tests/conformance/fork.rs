//! `fork` while other threads allocate.

use super::backend::{Attached, Object, assert_disjoint, rounds};
use memento_hal::Hal;
use memento_hal::geometry::SizeClass;

/// The protocol of `fork`, on both sides of it. Under Miri, which has no `fork`, the parent plays the
/// child too.
pub fn child_goes_on<H: Hal>(hal: &H) {
    let class = SizeClass::new(4).unwrap();
    let mut core = Attached::new(hal);
    let mut live: Vec<Object> = (0..rounds(300)).map(|_| core.alloc(class).unwrap()).collect();
    live.iter().for_each(|object| object.fill(1));

    hal.fork_prepare();
    // Other handlers of this thread may allocate now.
    live.push(core.alloc(SizeClass::new(60).unwrap()).unwrap());
    live.last().unwrap().fill(1);
    // SAFETY: this thread called `fork_prepare`, and its core is this one.
    unsafe { hal.fork_child(Some(core.core())) };

    for _ in 0..rounds(300) {
        let object = core.alloc(class).unwrap();
        object.fill(1);
        live.push(object);
    }
    assert_disjoint(&live);
    for object in live {
        object.check(1);
        core.free(object).unwrap();
    }
    drop(core);
    #[cfg(not(miri))]
    real::children_of_a_busy_process(hal);
}

#[cfg(not(miri))]
mod real {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Forks while two threads allocate and free without pause.
    pub fn children_of_a_busy_process<H: Hal>(hal: &H) {
        let class = SizeClass::new(2).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut core = Attached::new(hal);
                    while !stop.load(Ordering::Relaxed) {
                        let objects: Vec<_> =
                            (0..300).map(|_| core.alloc(class).unwrap()).collect();
                        objects.into_iter().for_each(|object| core.free(object).unwrap());
                    }
                });
            }
            let mut core = Attached::new(hal);
            for _ in 0..20 {
                let object = core.alloc(class).unwrap();
                object.fill(8);
                hal.fork_prepare();
                // SAFETY: the child calls nothing that could need another thread.
                match unsafe { libc::fork() } {
                    0 => {
                        let ok = child(hal, &mut core, object, class);
                        // SAFETY: ends the child without destructors of its parent's state.
                        unsafe { libc::_exit(i32::from(!ok)) }
                    }
                    pid => {
                        // SAFETY: this thread called `fork_prepare`.
                        unsafe { hal.fork_parent() };
                        assert!(pid > 0);
                        let mut status = 0;
                        // SAFETY: waits for a child of this process.
                        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
                        assert_eq!(status, 0);
                        object.check(8);
                        core.free(object).unwrap();
                    }
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
    }

    /// What the child does; it must not panic, since the panic handler allocates.
    fn child<H: Hal>(
        hal: &H,
        core: &mut Attached<'_, H>,
        object: Object,
        class: SizeClass,
    ) -> bool {
        // SAFETY: this thread called `fork_prepare` and forked; the core is its own.
        unsafe { hal.fork_child(Some(core.core())) };
        for _ in 0..1000 {
            let Some(a) = core.alloc(class) else { return false };
            let Some(b) = core.alloc(class) else { return false };
            if a == b || a == object || b == object || core.free(a).is_err() {
                return false;
            }
            a.class.size();
            b.fill(9);
        }
        core.free(object).is_ok() && core.alloc(class).is_some()
    }
}
