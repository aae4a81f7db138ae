//! What threads do to the memory that is held. A program of its own, and its tests take turns, so that
//! nobody else's allocations are in the numbers.
#![cfg(not(miri))]

mod common;

use common::resident;
use memento_alloc::Memento;
use std::sync::{Mutex, mpsc};
use std::thread;

#[global_allocator]
static ALLOCATOR: Memento = Memento::new();

static TURN: Mutex<()> = Mutex::new(());

#[test]
fn memory_is_bounded_when_one_thread_allocates_and_another_frees() {
    let _turn = TURN.lock().unwrap();
    let (send, receive) = mpsc::sync_channel::<Vec<u8>>(64);
    let consumer = thread::spawn(move || receive.into_iter().map(|b| b.len()).sum::<usize>());
    let before = ALLOCATOR.stats().committed_bytes;
    for i in 0..400_000usize {
        send.send(vec![i as u8; 200 + i % 700]).unwrap();
    }
    let after = ALLOCATOR.stats().committed_bytes;
    drop(send);
    assert!(consumer.join().unwrap() > 200 << 20);
    // 200 MiB went through.
    assert!(after < before + (8 << 20), "{before} → {after}");
}

#[test]
fn zeroed_memory_does_not_touch_fresh_pages() {
    let _turn = TURN.lock().unwrap();
    let before = resident();
    let large = vec![0u8; 128 << 20];
    let medium: Vec<Vec<u8>> = (0..300).map(|_| vec![0u8; 200_000]).collect();
    let after = resident();
    // 188 MiB were asked for.
    assert!(after < before + (4 << 20), "{before} → {after}");
    assert!(large.iter().step_by(4096).all(|b| *b == 0));
    assert!(medium.iter().flatten().step_by(4096).all(|b| *b == 0));
}
