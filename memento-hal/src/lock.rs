//! A lock for slow paths that a thread can hold across `fork`.
//!
//! Waiting threads spin, then give way, then sleep: under real-time scheduling a thread that only
//! gives way can keep an owner of lower priority from ever running.
//!
//! Between [`ForkLock::hold`] and [`ForkLock::release`] other fork handlers of the same thread may
//! allocate, so the holder may enter again. It may not enter from inside: a signal handler that
//! interrupts a critical section of its own thread is turned away.

use crate::sync::{AtomicBool, AtomicUsize, Ordering, spin_loop};
use core::cell::UnsafeCell;

/// A value that one thread at a time reaches.
#[derive(Debug)]
pub struct ForkLock<T> {
    /// Number of the thread that holds the lock; 0 if none does.
    owner: AtomicUsize,
    /// A critical section is running. Written by the owner alone.
    inside: AtomicBool,
    /// How many holds have not been released. Written by the owner alone.
    holds: AtomicUsize,
    value: UnsafeCell<T>,
}

// SAFETY: `with` gives the value to one thread at a time.
unsafe impl<T: Send> Sync for ForkLock<T> {}

/// Ends a critical section, also when it panics.
struct Leave<'a, T>(&'a ForkLock<T>);

impl<T> Drop for Leave<'_, T> {
    fn drop(&mut self) {
        // Relaxed: only this thread reads it until the owner word is released.
        self.0.inside.store(false, Ordering::Relaxed);
        self.0.leave();
    }
}

impl<T> ForkLock<T> {
    /// An open lock.
    #[cfg(not(loom))]
    pub const fn new(value: T) -> Self {
        Self {
            owner: AtomicUsize::new(0),
            inside: AtomicBool::new(false),
            holds: AtomicUsize::new(0),
            value: UnsafeCell::new(value),
        }
    }

    /// An open lock; loom's atomics cannot be made at compile time.
    #[cfg(loom)]
    pub fn new(value: T) -> Self {
        Self {
            owner: AtomicUsize::new(0),
            inside: AtomicBool::new(false),
            holds: AtomicUsize::new(0),
            value: UnsafeCell::new(value),
        }
    }

    /// Runs `f` on the value while no other thread does. `None` if thread `me`, a number that no
    /// other thread has and that is not 0, is inside already.
    pub fn with<R>(&self, me: usize, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.enter(me);
        // Relaxed, here and below: only the owner reads and writes it.
        if self.inside.load(Ordering::Relaxed) {
            return None;
        }
        self.inside.store(true, Ordering::Relaxed);
        let leave = Leave(self);
        // SAFETY: this thread owns the lock, and `inside` was false, so no other reference exists.
        let result = f(unsafe { &mut *self.value.get() });
        drop(leave);
        Some(result)
    }

    /// Takes the lock and keeps it, while thread `me` may still enter.
    #[inline(never)]
    pub fn hold(&self, me: usize) {
        self.enter(me);
        // Relaxed: only the owner reads and writes it.
        self.holds.store(self.holds.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Ends a [`ForkLock::hold`] of the calling thread, or in a fork child of the thread that
    /// forked.
    #[inline(never)]
    pub fn release(&self) {
        // Relaxed: only the owner reads and writes it.
        let holds = self.holds.load(Ordering::Relaxed);
        self.holds.store(holds.saturating_sub(1), Ordering::Relaxed);
        self.leave();
    }

    /// Becomes the owner, unless `me` is it already.
    fn enter(&self, me: usize) {
        // Relaxed: that the owner is `me` only `me` can have written.
        if self.owner.load(Ordering::Relaxed) == me {
            return;
        }
        // Acquire pairs with the release in `leave`: the last owner's writes are seen.
        if self.owner.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.wait(me);
        }
    }

    /// Becomes the owner when the owner leaves. Out of line, since there are many callers.
    #[cold]
    #[inline(never)]
    fn wait(&self, me: usize) {
        let mut tries = 0u32;
        // Acquire: as in `enter`.
        while self.owner.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_err() {
            tries = tries.saturating_add(1);
            if tries > SPINS + YIELDS {
                sleep_briefly();
            } else if tries > SPINS {
                give_way();
            }
            spin_loop();
        }
    }

    /// Stops being the owner, unless the lock is held.
    fn leave(&self) {
        // Relaxed: only the owner reads and writes it.
        if self.holds.load(Ordering::Relaxed) == 0 {
            // Release pairs with the acquire in `enter`.
            self.owner.store(0, Ordering::Release);
        }
    }
}

/// Attempts before a waiting thread gives way, and then before it sleeps between attempts.
const SPINS: u32 = 64;
const YIELDS: u32 = 256;

/// A number for the calling thread that a fork keeps: the address of its `errno`.
pub fn this_thread() -> usize {
    // SAFETY: the C library always has a place for errno; only its address is taken.
    unsafe { libc::__errno_location() }.addr()
}

/// Lets even a thread of lower priority run.
#[cold]
fn sleep_briefly() {
    #[cfg(not(loom))]
    // SAFETY: `time` is a valid time, and nobody asks for what is left of it.
    unsafe {
        let time = libc::timespec { tv_sec: 0, tv_nsec: 50_000 };
        libc::nanosleep(&raw const time, core::ptr::null_mut());
    }
}

/// Lets another thread run: the owner may have been preempted.
fn give_way() {
    #[cfg(not(loom))]
    // SAFETY: sched_yield has no preconditions.
    unsafe {
        libc::sched_yield();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn the_holder_enters_again_but_nobody_enters_from_inside() {
        let lock = ForkLock::new(0);
        lock.hold(1);
        assert_eq!(
            lock.with(1, |value| {
                *value += 1;
                lock.with(1, |_| ())
            }),
            Some(None)
        );
        lock.hold(1);
        lock.release();
        assert_eq!(lock.with(1, |value| *value), Some(1));
        lock.release();
        assert_eq!(
            lock.with(2, |value| {
                *value += 1;
                *value
            }),
            Some(2)
        );
    }

    #[test]
    fn a_panic_inside_opens_the_lock() {
        let lock = ForkLock::new(());
        let panics = || lock.with(1, |()| panic!("on purpose"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
        assert_eq!(lock.with(2, |()| ()), Some(()));
    }

    #[test]
    fn threads_take_turns() {
        let (lock, number) = (ForkLock::new(0), AtomicUsize::new(1));
        let rounds = if cfg!(miri) { 50 } else { 5000 };
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let me = number.fetch_add(1, Ordering::Relaxed);
                    for round in 0..rounds {
                        if round % 7 == 0 {
                            lock.hold(me);
                        }
                        lock.with(me, |value| *value += 1).unwrap();
                        if round % 7 == 0 {
                            lock.release();
                        }
                    }
                });
            }
        });
        assert_eq!(lock.with(9, |value| *value), Some(3 * rounds));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    #[test]
    fn loom_one_thread_at_a_time_reaches_the_value() {
        loom::model(|| {
            let lock = Arc::new(ForkLock::new(UnsafeCell::new(0)));
            // SAFETY: what loom is to check: nobody else is inside.
            let add = |lock: &ForkLock<UnsafeCell<i32>>, me| {
                lock.with(me, |cell| cell.with_mut(|value| unsafe { *value += 1 })).unwrap();
            };
            let other = Arc::clone(&lock);
            let thread = loom::thread::spawn(move || {
                other.hold(1);
                add(&other, 1);
                other.release();
            });
            add(&lock, 2);
            thread.join().unwrap();
            let sum = lock.with(3, |cell| cell.with(|value| unsafe { *value }));
            assert_eq!(sum, Some(2));
        });
    }
}
