//! Remote frees, and who may touch a heap: the one lock-free structure of the soft backend.
//!
//! Every heap has a mailbox. A thread that frees an object of somebody else's heap posts it; the
//! owner takes all that was posted at its next slow path. The list runs through the freed objects
//! themselves, so it needs no memory and cannot hold more than the owner allocated.
//!
//! A heap whose thread has ended is an *orphan*. Whoever posts to an orphan also empties the
//! mailbox, so that memory of dead threads does not wait for a thread that may never come. The
//! states are
//!
//! ```text
//! Unused → Owned ⇄ Orphan ⇄ Busy        Owned, Busy → Frozen (in a fork child only)
//! ```
//! Owned and Busy give exclusive use of the heap; in Frozen nobody has it, since a fork caught its
//! user in the middle of a change.

use crate::sync::{AtomicPtr, AtomicU32, Ordering, fence};
use core::ptr::null_mut;

/// What a mailbox strings together: something with room for one link.
pub trait Link {
    /// Stores the link.
    ///
    /// # Safety
    /// `this` is valid, and nobody else uses it.
    unsafe fn set_next(this: *mut Self, next: *mut Self);
    /// Loads the link.
    ///
    /// # Safety
    /// As for [`Link::set_next`], which was called before.
    unsafe fn next(this: *mut Self) -> *mut Self;
}

/// What a slot's fresh memory says.
#[cfg(any(test, loom))]
const UNUSED: u32 = 0;
const OWNED: u32 = 1;
const ORPHAN: u32 = 2;
const BUSY: u32 = 3;
const FROZEN: u32 = 4;

/// Posted objects and the state of the heap they belong to. All zeros is a valid, unused mailbox.
#[derive(Debug)]
#[repr(C)]
pub struct Mailbox<N> {
    head: AtomicPtr<N>,
    state: AtomicU32,
}

/// What [`Mailbox::post`] asks of the caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Posted {
    /// Nothing: the owner will find it.
    ForOwner,
    /// The heap is an orphan: call [`Mailbox::reclaim`].
    ForOrphan,
    /// Nothing was posted: the object was the last one posted already. A double free.
    Repeated,
}

impl<N: Link> Mailbox<N> {
    /// An unused mailbox.
    #[cfg(any(test, loom))]
    pub fn new() -> Self {
        Self { head: AtomicPtr::new(null_mut()), state: AtomicU32::new(UNUSED) }
    }

    /// Takes an unused mailbox, whose heap nobody else knows yet.
    pub fn claim(&self) {
        // Relaxed: the slot's index is published by whoever hands out its objects.
        self.state.store(OWNED, Ordering::Relaxed);
    }

    /// Posts a freed object.
    ///
    /// # Safety
    /// `node` is valid, was allocated from this mailbox's heap, and nobody uses it any more.
    pub unsafe fn post(&self, node: *mut N) -> Posted {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head == node {
                return Posted::Repeated;
            }
            // SAFETY: the caller gave us the node.
            unsafe { N::set_next(node, head) };
            // Release: pairs with the Acquire in `take`, which then sees the link and all that the
            // freeing thread did to the object.
            match self.head.compare_exchange_weak(head, node, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        // SeqCst: pairs with the fence in `release`. Either that thread sees our node, or we see
        // its ORPHAN; so a node posted to an orphan is never forgotten.
        fence(Ordering::SeqCst);
        if self.state.load(Ordering::Relaxed) == ORPHAN {
            Posted::ForOrphan
        } else {
            Posted::ForOwner
        }
    }

    /// Whether something was posted; may be out of date at once.
    #[inline]
    pub fn has_mail(&self) -> bool {
        !self.head.load(Ordering::Relaxed).is_null()
    }

    /// Takes everything that was posted, as a list through [`Link::next`]. For whoever has the heap.
    pub fn take(&self) -> *mut N {
        // Acquire: pairs with the Release in `post`.
        self.head.swap(null_mut(), Ordering::Acquire)
    }

    /// Makes an orphan the caller's own. `false` if it is none (any more).
    pub fn adopt(&self) -> bool {
        self.change(ORPHAN, OWNED)
    }

    /// Gives up a heap that the caller owns. `empty` is called while the caller has the heap, with
    /// what was posted.
    pub fn abandon(&self, mut empty: impl FnMut(*mut N)) {
        empty(self.take());
        self.release();
        self.reclaim_again(&mut empty);
    }

    /// Empties the mailbox of an orphan: `empty` is called with what was posted while the caller has
    /// the heap. Does nothing if somebody else has it: then they see the mail.
    pub fn reclaim(&self, mut empty: impl FnMut(*mut N)) {
        if self.change(ORPHAN, BUSY) {
            empty(self.take());
            self.release();
            self.reclaim_again(&mut empty);
        }
    }

    /// Mail that came while we had the heap was posted by a thread that saw it taken.
    fn reclaim_again(&self, empty: &mut impl FnMut(*mut N)) {
        while self.has_mail() && self.change(ORPHAN, BUSY) {
            empty(self.take());
            self.release();
        }
    }

    /// In a fork child, for a heap that is not the calling thread's: `consistent` says whether no
    /// change was under way. The child has one thread, so nobody races.
    /// Tells whether the heap is an orphan now.
    pub fn after_fork(&self, consistent: bool) -> bool {
        // Relaxed, as nobody races.
        let state = self.state.load(Ordering::Relaxed);
        if state == OWNED || state == BUSY {
            let orphaned = consistent && state == OWNED;
            self.state.store(if orphaned { ORPHAN } else { FROZEN }, Ordering::Relaxed);
            return orphaned;
        }
        state == ORPHAN
    }

    fn change(&self, from: u32, to: u32) -> bool {
        // Relaxed: looking first leaves the cache line where it is if there is nothing to be had.
        if self.state.load(Ordering::Relaxed) != from {
            return false;
        }
        // Acquire: pairs with the Release in `release`, so that we see the heap as it was left.
        self.state.compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    fn release(&self) {
        // Release: pairs with the Acquire in `change`.
        self.state.store(ORPHAN, Ordering::Release);
        // SeqCst: pairs with the fence in `post`.
        fence(Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(loom)]
    use loom::{cell::Cell, sync::Arc, thread};
    #[cfg(not(loom))]
    use std::{cell::Cell, sync::Arc, thread};

    struct Node {
        next: Cell<*mut Node>,
        id: usize,
    }

    impl Link for Node {
        unsafe fn set_next(this: *mut Self, next: *mut Self) {
            // SAFETY: the caller vouches for `this`.
            unsafe { (*this).next.set(next) }
        }
        unsafe fn next(this: *mut Self) -> *mut Self {
            // SAFETY: the caller vouches for `this`.
            unsafe { (*this).next.get() }
        }
    }

    /// A heap that only counts what reached it; plain memory, so loom sees unsynchronised use.
    struct Heap {
        mailbox: Mailbox<Node>,
        /// What is allocated from it. Not from `Box`: loom does not know that an allocator orders
        /// the free of a block before its next allocation.
        nodes: [Node; 2],
        seen: Cell<usize>,
    }
    // SAFETY: `seen` and the nodes are used by whoever has them, which is what the models check.
    unsafe impl Send for Heap {}
    // SAFETY: as above.
    unsafe impl Sync for Heap {}

    impl Heap {
        fn owned() -> Arc<Self> {
            let nodes = [0, 1].map(|id| Node { next: Cell::new(null_mut()), id });
            let heap = Self { mailbox: Mailbox::new(), nodes, seen: Cell::new(0) };
            heap.mailbox.claim();
            Arc::new(heap)
        }
        fn empty(&self, mut list: *mut Node) {
            while !list.is_null() {
                // SAFETY: `take` gave the list to us, and it consists of our nodes.
                unsafe {
                    self.seen.set(self.seen.get() + (1 << (8 * (*list).id)));
                    list = Node::next(list);
                }
            }
        }
        fn node(&self, id: usize) -> *mut Node {
            (&raw const self.nodes[id]).cast_mut()
        }
        fn post(&self, id: usize) {
            // SAFETY: each test posts each node once.
            if unsafe { self.mailbox.post(self.node(id)) } == Posted::ForOrphan {
                self.mailbox.reclaim(|list| self.empty(list));
            }
        }
    }

    fn model(body: impl Fn() + Send + Sync + 'static) {
        #[cfg(loom)]
        {
            // Three preemptions reach every order of the few steps that matter here.
            let mut builder = loom::model::Builder::new();
            builder.preemption_bound = Some(3);
            builder.check(body);
        }
        #[cfg(not(loom))]
        for _ in 0..if cfg!(miri) { 3 } else { 200 } {
            body();
        }
    }

    #[test]
    fn loom_every_posted_node_arrives_once() {
        model(|| {
            let heap = Heap::owned();
            let threads = [0, 1].map(|id| {
                let heap = heap.clone();
                thread::spawn(move || heap.post(id))
            });
            heap.empty(heap.mailbox.take());
            threads.into_iter().for_each(|t| t.join().unwrap());
            heap.empty(heap.mailbox.take());
            assert_eq!(heap.seen.get(), 0x101);
        });
    }

    #[test]
    fn loom_mail_to_a_heap_that_is_being_abandoned_is_not_forgotten() {
        model(|| {
            let heap = Heap::owned();
            let threads = [0, 1].map(|id| {
                let heap = heap.clone();
                thread::spawn(move || heap.post(id))
            });
            heap.mailbox.abandon(|list| heap.empty(list));
            threads.into_iter().for_each(|t| t.join().unwrap());
            assert!(!heap.mailbox.has_mail());
            assert!(heap.mailbox.adopt());
            assert_eq!(heap.seen.get(), 0x101);
        });
    }

    #[test]
    fn loom_an_orphan_is_adopted_by_one_thread_while_mail_arrives() {
        model(|| {
            let heap = Heap::owned();
            heap.mailbox.abandon(|list| heap.empty(list));
            let adopters = [0, 1].map(|_| {
                let heap = heap.clone();
                thread::spawn(move || {
                    let mine = heap.mailbox.adopt();
                    if mine {
                        heap.empty(heap.mailbox.take());
                    }
                    mine
                })
            });
            heap.post(0);
            let owners = adopters.map(|t| t.join().unwrap()).iter().filter(|mine| **mine).count();
            assert!(owners <= 1);
            if owners == 0 {
                // A thread that found the heap busy goes on with another; later it can be had.
                assert!(heap.mailbox.adopt());
            }
            heap.empty(heap.mailbox.take());
            assert_eq!(heap.seen.get(), 1);
        });
    }

    #[test]
    fn the_immediate_repeat_is_refused() {
        let heap = Heap::owned();
        // SAFETY: the node is valid; the second post is the misuse under test.
        unsafe {
            assert_eq!(heap.mailbox.post(heap.node(0)), Posted::ForOwner);
            assert_eq!(heap.mailbox.post(heap.node(0)), Posted::Repeated);
        }
        heap.empty(heap.mailbox.take());
        assert_eq!(heap.seen.get(), 1);
    }

    #[test]
    fn after_fork_a_heap_in_change_is_frozen() {
        let whole = Heap::owned();
        assert!(whole.mailbox.after_fork(true));
        assert!(whole.mailbox.adopt());
        let torn = Heap::owned();
        assert!(!torn.mailbox.after_fork(false));
        assert!(!torn.mailbox.adopt());
    }
}
