//! Pages that a large object left and that the program does not come back to. A program of its own, so that nothing of
//! other tests' is resident from before.
#![cfg(not(miri))]

mod common;

use common::resident;
use memento_alloc::Memento;

#[global_allocator]
static ALLOCATOR: Memento = Memento::new();

#[test]
fn small_objects_take_the_place_of_a_large_one() {
    const MIB: usize = 1 << 20;
    let before = resident();
    drop(vec![1u8; 20 * MIB]);
    let kept = resident();
    assert!(kept > before + 16 * MIB, "{before} → {kept}");
    let small: Vec<Box<[u8; 1000]>> = (0..30_000).map(|_| Box::new([1; 1000])).collect();
    let after = resident();
    assert!(after < before + 38 * MIB, "{before} → {kept} → {after}, {}", small.len());
}
