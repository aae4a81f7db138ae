//! Which slots wait for a thread: two stacks of slot numbers, of which a slot is in one at most.
//!
//! Last in, first out, since the heap that a thread left last is the one whose memory is still in the
//! caches. *Warm* slots kept their free memory, *cold* ones gave it back; see `keep`.
//!
//! Treiber stacks: the links lie in one array beside the heads, so nothing is dereferenced, and a tag
//! that every change of a head advances tells a head that came back from one that stayed. Being in a
//! stack gives no right to a heap, whoever takes a number out still has to adopt it (see `mailbox`).

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// The slots that wait, of `N` slots.
#[derive(Debug)]
pub struct Orphans<const N: usize> {
    heads: [AtomicU64; 2],
    /// The next slot of the same stack plus one, or 0.
    links: [AtomicU32; N],
}

/// One of the two stacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stack {
    /// Heaps that kept their memory.
    Warm = 0,
    /// Heaps that gave theirs back.
    Cold = 1,
}

/// A head: the top slot plus one (0: none) below the tag.
const TAG_ONE: u64 = 1 << 32;

fn with_top(head: u64, top: u32) -> u64 {
    (head & !(TAG_ONE - 1)).wrapping_add(TAG_ONE) | u64::from(top)
}

impl<const N: usize> Orphans<N> {
    /// Empty stacks.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self { heads: [const { AtomicU64::new(0) }; 2], links: [const { AtomicU32::new(0) }; N] }
    }

    /// Empty stacks; loom's atomics are not const.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self {
            heads: core::array::from_fn(|_| AtomicU64::new(0)),
            links: core::array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    /// Puts a slot on top; it is in no stack.
    pub fn push(&self, stack: Stack, slot: u32) {
        let head = &self.heads[stack as usize];
        let mut seen = head.load(Ordering::Relaxed);
        loop {
            // Relaxed: published by the head.
            self.links[slot as usize].store(seen as u32, Ordering::Relaxed);
            // Release: pairs with the Acquire in `pop`, which then sees the link.
            let new = with_top(seen, slot + 1);
            match head.compare_exchange_weak(seen, new, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Takes the top slot.
    pub fn pop(&self, stack: Stack) -> Option<u32> {
        let head = &self.heads[stack as usize];
        let mut seen = head.load(Ordering::Acquire);
        loop {
            let top = (seen as u32).checked_sub(1)?;
            // Relaxed: seen since the head was loaded with Acquire. A newer value is of no harm, as
            // the tag has advanced then and the exchange fails.
            let next = self.links[top as usize].load(Ordering::Relaxed);
            let new = with_top(seen, next);
            // Acquire, both: as above. Release: the slots below were published by the head that this
            // one replaces.
            match head.compare_exchange_weak(seen, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(top),
                Err(now) => seen = now,
            }
        }
    }

    /// Empties both stacks. In a fork child, whose one thread then fills them anew: other threads may
    /// have been in the middle of anything.
    pub fn clear(&self) {
        for head in &self.heads {
            head.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(loom)]
    use loom::{sync::Arc, thread};
    #[cfg(not(loom))]
    use std::{sync::Arc, thread};

    fn model(body: impl Fn() + Send + Sync + 'static) {
        #[cfg(loom)]
        {
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
    fn loom_every_slot_is_in_one_place() {
        // The classic mistake: one thread stops between the load of a link and the exchange, while
        // another takes two slots and puts the first one back.
        model(|| {
            let orphans = Arc::new(Orphans::<3>::new());
            for slot in 0..3 {
                orphans.push(Stack::Warm, slot);
            }
            let slow = {
                let orphans = orphans.clone();
                thread::spawn(move || orphans.pop(Stack::Warm))
            };
            let first = orphans.pop(Stack::Warm);
            let second = orphans.pop(Stack::Warm);
            if let Some(slot) = first {
                orphans.push(Stack::Warm, slot);
            }
            let mut seen = [0; 3];
            let mut count = |slot: Option<u32>| {
                if let Some(slot) = slot {
                    seen[slot as usize] += 1;
                }
            };
            count(second);
            count(slow.join().unwrap());
            while let Some(slot) = orphans.pop(Stack::Warm) {
                count(Some(slot));
            }
            assert_eq!(seen, [1, 1, 1]);
        });
    }

    #[test]
    fn loom_a_slot_carries_what_was_written_before_its_push() {
        model(|| {
            let shared = Arc::new((Orphans::<2>::new(), [AtomicU32::new(0), AtomicU32::new(0)]));
            let threads = [0, 1].map(|slot| {
                let shared = shared.clone();
                thread::spawn(move || {
                    shared.1[slot as usize].store(1, Ordering::Relaxed);
                    shared.0.push(Stack::Cold, slot);
                })
            });
            while let Some(slot) = shared.0.pop(Stack::Cold) {
                assert_eq!(shared.1[slot as usize].load(Ordering::Relaxed), 1);
            }
            threads.into_iter().for_each(|t| t.join().unwrap());
        });
    }

    #[test]
    fn the_last_one_in_is_the_first_one_out() {
        let orphans = Orphans::<8>::new();
        orphans.push(Stack::Warm, 3);
        orphans.push(Stack::Cold, 7);
        orphans.push(Stack::Warm, 0);
        assert_eq!(orphans.pop(Stack::Warm), Some(0));
        assert_eq!(orphans.pop(Stack::Warm), Some(3));
        assert_eq!(orphans.pop(Stack::Warm), None);
        orphans.clear();
        assert_eq!(orphans.pop(Stack::Cold), None);
    }
}
