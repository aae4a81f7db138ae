//! Threads that come in waves. A program of its own: what it learns of its waves, that memory is better kept for the
//! next, would hold for other tests' threads too.
#![cfg(not(miri))]

use memento_alloc::Memento;
use std::thread;

#[global_allocator]
static ALLOCATOR: Memento = Memento::new();

#[test]
fn threads_that_end_leave_room_for_those_that_come() {
    let run = || {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                thread::spawn(|| (0..2000).map(|i| vec![1u8; i]).map(|v| v.len()).sum::<usize>())
            })
            .collect();
        threads.into_iter().for_each(|t| assert_eq!(t.join().unwrap(), 1999 * 1000));
    };
    run();
    let before = ALLOCATOR.stats().peak_bytes;
    // More threads than there are slots. Each touches 1.4 MiB; how many of the first eight lived at the
    // same time nobody knows.
    (0..200).for_each(|_| run());
    let after = ALLOCATOR.stats().peak_bytes;
    assert!(after < before + (16 << 20), "{before} → {after}");
}
