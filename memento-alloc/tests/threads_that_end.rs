//! Threads that end and are followed by none. A program of its own, so that no heap is left from before.
#![cfg(not(miri))]

mod common;

use common::resident;
use memento_alloc::Memento;
use std::sync::Barrier;
use std::thread;

#[global_allocator]
static ALLOCATOR: Memento = Memento::new();

/// The threads of the test.
static ALL_WORK: Barrier = Barrier::new(8);

#[test]
fn threads_that_end_give_their_memory_back() {
    let before = resident();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            thread::spawn(|| {
                let all: Vec<_> = (0..20_000).map(|i| vec![1u8; i % 1000]).collect();
                // Who comes when others have ended takes over their heaps, and shows that they had better been kept.
                ALL_WORK.wait();
                all.len()
            })
        })
        .collect();
    threads.into_iter().for_each(|t| assert_eq!(t.join().unwrap(), 20_000));
    let after = resident();
    // 80 MiB were written to. 2 MiB may be kept for the next threads; each slot has its tables.
    assert!(after < before + (6 << 20), "{before} → {after}");
}
