//! Remote frees, and who may touch a heap: the one lock-free structure of the soft backend.
//!
//! Every heap has a mailbox. A thread that frees objects of somebody else's heap posts them; the
//! owner takes all that was posted at its next slow path. The list runs through the freed objects
//! themselves, so it needs no memory and cannot hold more than the owner allocated.
//!
//! A heap whose thread has ended is an *orphan*. Whoever posts to an orphan also empties the
//! mailbox, so that memory of dead threads does not wait for a thread that may never come. The
//! states are
//!
//! ```text
//! Owned ⇄ Orphan ⇄ Busy        Owned, Busy → Frozen (in a fork child only)
//! ```
//! Owned and Busy give exclusive use of the heap; in Frozen nobody has it, since a fork caught its
//! user in the middle of a change. The state lies in the low bits of the list's head, so that posting
//! finds it out, and every transition happens, with one exchange of one word.

use crate::sync::{AtomicPtr, Ordering};
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

/// States, in the low bits of the head. A slot's fresh memory is owned by whoever hands it out.
const OWNED: usize = 0;
const ORPHAN: usize = 1;
const BUSY: usize = 2;
const FROZEN: usize = 3;
const STATES: usize = 3;

/// Posted objects and the state of the heap they belong to. All zeros is an empty mailbox whose heap
/// is owned.
#[derive(Debug)]
#[repr(C)]
pub struct Mailbox<N> {
    /// The first posted object, with the state in its low bits, which are zero by alignment.
    word: AtomicPtr<N>,
}

fn list<N>(word: *mut N) -> *mut N {
    word.map_addr(|a| a & !STATES)
}

fn state<N>(word: *mut N) -> usize {
    word.addr() & STATES
}

fn word<N>(list: *mut N, state: usize) -> *mut N {
    list.map_addr(|a| a | state)
}

impl<N: Link> Mailbox<N> {
    /// The mailbox of a heap that is owned.
    #[cfg(any(test, loom))]
    pub fn new() -> Self {
        Self { word: AtomicPtr::new(null_mut()) }
    }

    /// Posts freed objects, which are linked from `first` to `last`. `false` if `first` was the last
    /// one posted already: a double free, and nothing was posted.
    ///
    /// If the heap is an orphan, `empty` is called with all that was posted, while the caller has the
    /// heap.
    ///
    /// # Safety
    /// The objects are valid, were allocated from this mailbox's heap, and nobody uses them any more.
    pub unsafe fn post(&self, first: *mut N, last: *mut N, mut empty: impl FnMut(*mut N)) -> bool {
        let mut seen = self.word.load(Ordering::Relaxed);
        loop {
            if list(seen) == first {
                return false;
            }
            // SAFETY: the caller gave us the objects.
            unsafe { N::set_next(last, list(seen)) };
            let orphan = state(seen) == ORPHAN;
            let new = if orphan { word(null_mut(), BUSY) } else { word(first, state(seen)) };
            // Release: pairs with the Acquire in `take`, which then sees the links and all that the
            // freeing thread did to the objects. Acquire, for an orphan: pairs with the Release of
            // whoever left it, so that we see the heap as it was left.
            match self.word.compare_exchange_weak(seen, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if orphan => break,
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        empty(first);
        self.leave(BUSY, empty);
        true
    }

    /// The object posted last, if nobody has taken it yet.
    pub fn newest(&self) -> *mut N {
        list(self.word.load(Ordering::Relaxed))
    }

    /// Whether something was posted; may be out of date at once.
    #[inline]
    pub fn has_mail(&self) -> bool {
        !self.newest().is_null()
    }

    /// Takes everything that was posted, as a list through [`Link::next`]. For the owner.
    pub fn take(&self) -> *mut N {
        // Acquire: pairs with the Release in `post`.
        list(self.word.swap(word(null_mut(), OWNED), Ordering::Acquire))
    }

    /// Makes an orphan the caller's own. `false` if it is none (any more).
    pub fn adopt(&self) -> bool {
        let mut seen = self.word.load(Ordering::Relaxed);
        while state(seen) == ORPHAN {
            let new = word(list(seen), OWNED);
            // Acquire: pairs with the Release in `leave`, so that we see the heap as it was left.
            match self.word.compare_exchange_weak(seen, new, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Gives up a heap that the caller owns. `empty` is called with what was posted, while the caller
    /// has the heap.
    pub fn abandon(&self, empty: impl FnMut(*mut N)) {
        self.leave(OWNED, empty);
    }

    /// Makes the heap, which the caller has by `state`, an orphan with an empty mailbox.
    fn leave(&self, state: usize, mut empty: impl FnMut(*mut N)) {
        let (mine, orphan) = (word(null_mut(), state), word(null_mut(), ORPHAN));
        // Release: pairs with the Acquire of whoever has the heap next.
        let order = (Ordering::Release, Ordering::Relaxed);
        while self.word.compare_exchange(mine, orphan, order.0, order.1).is_err() {
            // Acquire: pairs with the Release in `post`.
            empty(list(self.word.swap(mine, Ordering::Acquire)));
        }
    }

    /// In a fork child, for a heap that is not the calling thread's: `consistent` says whether no
    /// change was under way. The child has one thread, so nobody races.
    /// Tells whether the heap is an orphan now.
    pub fn after_fork(&self, consistent: bool) -> bool {
        // Relaxed, as nobody races.
        let seen = self.word.load(Ordering::Relaxed);
        let now = match state(seen) {
            OWNED if consistent => ORPHAN,
            OWNED | BUSY => FROZEN,
            same => same,
        };
        self.word.store(word(list(seen), now), Ordering::Relaxed);
        now == ORPHAN
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
            Arc::new(Self { mailbox: Mailbox::new(), nodes, seen: Cell::new(0) })
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
            let new = unsafe { self.mailbox.post(self.node(id), self.node(id), |m| self.empty(m)) };
            assert!(new);
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
    fn loom_a_chain_arrives_whole_while_its_heap_is_left_and_adopted() {
        model(|| {
            let heap = Heap::owned();
            let poster = {
                let heap = heap.clone();
                thread::spawn(move || {
                    // SAFETY: the nodes are valid, and posted once.
                    unsafe {
                        Node::set_next(heap.node(0), heap.node(1));
                        heap.mailbox.post(heap.node(0), heap.node(1), |list| heap.empty(list));
                    }
                })
            };
            heap.mailbox.abandon(|list| heap.empty(list));
            let adopted = heap.mailbox.adopt();
            poster.join().unwrap();
            assert!(adopted || heap.mailbox.adopt());
            heap.empty(heap.mailbox.take());
            assert_eq!(heap.seen.get(), 0x101);
        });
    }

    #[test]
    fn the_immediate_repeat_is_refused() {
        let heap = Heap::owned();
        // SAFETY: the node is valid; the second post is the misuse under test.
        unsafe {
            assert!(heap.mailbox.post(heap.node(0), heap.node(0), |_| panic!("nobody's heap")));
            assert!(!heap.mailbox.post(heap.node(0), heap.node(0), |_| panic!("nobody's heap")));
        }
        heap.empty(heap.mailbox.take());
        assert_eq!(heap.seen.get(), 1);
    }

    #[test]
    fn after_fork_a_heap_in_change_is_frozen() {
        let whole = Heap::owned();
        whole.post(0);
        assert!(whole.mailbox.after_fork(true));
        assert!(whole.mailbox.after_fork(true), "an orphan stays one");
        assert!(whole.mailbox.adopt());
        whole.empty(whole.mailbox.take());
        assert_eq!(whole.seen.get(), 1);
        let torn = Heap::owned();
        assert!(!torn.mailbox.after_fork(false));
        assert!(!torn.mailbox.adopt());
    }
}
