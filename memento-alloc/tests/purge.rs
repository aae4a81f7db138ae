//! A peak that is given back. A program of its own, so that nothing of other tests' is resident from before.
#![cfg(not(miri))]

mod common;

use common::resident;
use memento_alloc::Memento;

#[global_allocator]
static ALLOCATOR: Memento = Memento::new();

#[test]
fn purge_gives_a_peak_back() {
    let before = resident();
    let peak: Vec<Vec<u8>> = (0..100_000).map(|i| vec![1u8; 100 + i % 900]).collect();
    let large = vec![1u8; 20 << 20];
    let high = resident();
    assert!(high > before + (60 << 20));
    drop((peak, large));
    ALLOCATOR.purge();
    let low = resident();
    assert!(low < before + (4 << 20), "{before} → {high} → {low}");
}
