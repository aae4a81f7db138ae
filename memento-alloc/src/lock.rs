//! A lock for slow paths that a fork cannot leave behind locked.
//!
//! The thread that forks takes every lock in its prepare handler, and other prepare, parent and
//! child handlers of the program may allocate meanwhile, in the same thread: so the lock may be taken
//! again by the thread that has it. Waiting threads yield; what is done under a lock is short, and
//! never more than a system call.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering};

/// A value behind a lock that its owner may take again.
#[derive(Debug)]
pub struct Lock<T> {
    /// The owner's name, or 0.
    owner: AtomicUsize,
    /// How often the owner has taken it; only the owner uses it.
    depth: UnsafeCell<u32>,
    value: UnsafeCell<T>,
}

// SAFETY: the value and the depth are used by the owner only.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    /// An unlocked value.
    pub const fn new(value: T) -> Self {
        Self {
            owner: AtomicUsize::new(0),
            depth: UnsafeCell::new(0),
            value: UnsafeCell::new(value),
        }
    }

    /// Runs `work` with the value. If this thread is already inside `with` on this lock, as can only
    /// be when `work` itself allocates, `None`.
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.acquire();
        // SAFETY: this thread is the owner.
        let first = unsafe { *self.depth.get() & INSIDE == 0 };
        let result = first.then(|| {
            // SAFETY: as above; `INSIDE` makes sure that there is one reference.
            unsafe {
                *self.depth.get() |= INSIDE;
                let result = work(&mut *self.value.get());
                *self.depth.get() &= !INSIDE;
                result
            }
        });
        self.release();
        result
    }

    /// Takes the lock and keeps it; for the prepare handler of a fork.
    pub fn acquire(&self) {
        let me = this_thread();
        // Relaxed: only this thread can have stored its own name.
        if self.owner.load(Ordering::Relaxed) != me {
            // Acquire: pairs with the Release in `release`.
            while self
                .owner
                .compare_exchange_weak(0, me, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
            {
                yield_now();
            }
        }
        // SAFETY: this thread is the owner.
        unsafe { *self.depth.get() += 1 };
    }

    /// Gives back what one [`Lock::acquire`] took.
    pub fn release(&self) {
        // SAFETY: this thread is the owner.
        let left = unsafe {
            *self.depth.get() -= 1;
            *self.depth.get()
        };
        if left & !INSIDE == 0 {
            // Release: pairs with the Acquire in `acquire`.
            self.owner.store(0, Ordering::Release);
        }
    }
}

/// Set in `depth` while a reference to the value exists.
const INSIDE: u32 = 1 << 31;

/// A name for the calling thread that a fork keeps: the address of its `errno`.
fn this_thread() -> usize {
    // SAFETY: the address of errno is always valid; it is not read.
    unsafe { libc::__errno_location() }.addr()
}

fn yield_now() {
    // SAFETY: no preconditions.
    unsafe { libc::sched_yield() };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn threads_take_turns() {
        let lock = Lock::new(0u64);
        let rounds = if cfg!(miri) { 20 } else { 2_000 };
        let slowly_add_one = |n: &mut u64| {
            let seen = *n;
            thread::yield_now();
            *n = seen + 1;
        };
        thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| (0..rounds).for_each(|_| lock.with(slowly_add_one).unwrap()));
            }
        });
        assert_eq!(lock.with(|n| *n), Some(4 * rounds));
    }

    #[test]
    fn the_owner_may_come_again_but_not_into_the_value_twice() {
        let lock = Lock::new(7);
        lock.acquire();
        assert_eq!(lock.with(|n| *n), Some(7), "between fork handlers");
        lock.release();
        assert_eq!(lock.with(|_| lock.with(|n| *n)), Some(None), "from within");
        thread::scope(|s| assert_eq!(s.spawn(|| lock.with(|n| *n)).join().unwrap(), Some(7)));
    }
}
