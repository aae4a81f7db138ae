//! Performs operations of several threads in one, safely: what `memento replay` stands on.
//!
//! Each [`Thread`] owns a core of the backend, and the one whose operation it is becomes the calling
//! thread's for as long as that takes. So the interleaving is the caller's, a free by another
//! [`Thread`] is a true remote free, and nothing else differs from a program of many threads.
//!
//! Objects are values that can be freed once: whoever owns an [`Object`] may give it up, and nobody
//! else can.

use crate::Memento;
use core::marker::PhantomData;
use core::ptr::{NonNull, null_mut};
use memento_hal::ProcessHal;

/// The calling thread, lent to a replay. Gets its own core back (none) at the end.
pub struct Replayer<H: ProcessHal> {
    memento: &'static Memento<H>,
    /// The core that is current now.
    current: *mut H::Core,
}

/// One replayed thread.
pub struct Thread<H: ProcessHal> {
    core: NonNull<H::Core>,
}

/// An allocated object. Dropping it leaks the memory.
#[must_use = "an object that is dropped can never be freed"]
pub struct Object<H: ProcessHal> {
    address: NonNull<u8>,
    /// What was asked for, at most what the object holds.
    size: usize,
    align: usize,
    backend: PhantomData<*mut H::Core>,
}

impl<H: ProcessHal> Replayer<H> {
    /// Lends the calling thread. `None` if it has a core already: then it uses this backend itself.
    pub fn new(memento: &'static Memento<H>) -> Option<Self> {
        H::current().is_null().then_some(Self { memento, current: null_mut() })
    }

    /// A new thread; `None` if the backend has no core or memory left.
    pub fn thread(&self) -> Option<Thread<H>> {
        H::instance().attach().map(|core| Thread { core })
    }

    /// Makes `thread` the one that acts.
    fn switch_to(&mut self, thread: &Thread<H>) {
        if self.current != thread.core.as_ptr() {
            self.current = thread.core.as_ptr();
            // SAFETY: attached in `thread` by this very thread (neither type is `Send`), and
            // detached only by `end`, which takes the `Thread`.
            unsafe { H::set_current(self.current) };
        }
    }

    /// Allocates. `align` must be a power of two. `None` if there is no memory.
    pub fn alloc(&mut self, thread: &Thread<H>, size: usize, align: usize) -> Option<Object<H>> {
        self.switch_to(thread);
        let address = self.memento.allocate(size, align)?;
        Some(Object { address, size, align, backend: PhantomData })
    }

    /// Frees.
    pub fn free(&mut self, thread: &Thread<H>, object: Object<H>) {
        self.switch_to(thread);
        // SAFETY: an `Object` comes from `alloc` or `realloc` of the same backend, whose `Memento` is
        // the process's one, and is consumed here.
        unsafe { self.memento.deallocate(object.address) };
    }

    /// Changes the size; the alignment stays.
    ///
    /// # Errors
    /// The object, unchanged, if there is no memory.
    pub fn realloc(
        &mut self,
        thread: &Thread<H>,
        object: Object<H>,
        size: usize,
    ) -> Result<Object<H>, Object<H>> {
        self.switch_to(thread);
        // SAFETY: as in `free`; on `None` the old object is as it was, and is handed back.
        match unsafe { self.memento.reallocate(object.address, size, object.align) } {
            Some(address) => Ok(Object { address, size, ..object }),
            None => Err(object),
        }
    }

    /// Ends a thread: its core goes back as it does when a thread exits.
    pub fn end(&mut self, thread: Thread<H>) {
        if self.current == thread.core.as_ptr() {
            self.rest();
        }
        // SAFETY: attached in `thread`, not current any more, and nobody has it after this.
        unsafe { H::instance().detach(thread.core) };
    }

    /// Leaves the calling thread without a core.
    fn rest(&mut self) {
        self.current = null_mut();
        // SAFETY: null is always allowed.
        unsafe { H::set_current(null_mut()) };
    }
}

impl<H: ProcessHal> Drop for Replayer<H> {
    fn drop(&mut self) {
        self.rest();
    }
}

impl<H: ProcessHal> Object<H> {
    /// Writes to every page of the object, as a program does sooner or later.
    pub fn touch(&mut self) {
        /// Of the smallest page there is.
        const STEP: usize = 4096;
        for offset in (0..self.size).step_by(STEP) {
            // SAFETY: the object holds at least `size` bytes and is this value's alone. Volatile,
            // because nobody reads them.
            unsafe { self.address.add(offset).write_volatile(1) };
        }
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use crate::hal::soft::Soft;

    static MEMENTO: Memento<Soft> = Memento::new();

    #[test]
    fn threads_take_turns_in_one() {
        let mut replayer = Replayer::new(&MEMENTO).unwrap();
        let (a, b) = (replayer.thread().unwrap(), replayer.thread().unwrap());
        let before = MEMENTO.stats();
        let mut objects = std::vec::Vec::new();
        for n in 0..2000 {
            let mut object = replayer.alloc(&a, n * 7 % 900, 8).unwrap();
            object.touch();
            objects.push(object);
        }
        for (n, object) in objects.drain(..).enumerate() {
            let object = replayer.realloc(&b, object, n % 3000).ok().unwrap();
            replayer.free(if n % 2 == 0 { &a } else { &b }, object);
        }
        let refused = replayer.alloc(&a, usize::MAX / 2, 8);
        assert!(refused.is_none());
        replayer.end(a);
        replayer.end(b);
        let after = MEMENTO.stats();
        assert!(after.remote_frees > before.remote_frees);
        drop(replayer);
        assert!(Replayer::new(&MEMENTO).is_some(), "the thread is as it was before");
    }
}
