//! `Memento` as the global allocator of a real multi-threaded program: this one.
#![cfg(not(miri))]

use memento_alloc::Memento;
use proptest::prelude::*;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::mpsc;
use std::thread;

#[global_allocator]
static ALLOCATOR: Memento = Memento::new();

/// The bytes of a block that are written and checked: both ends, and some of every page.
fn marks(length: usize) -> impl Iterator<Item = usize> {
    (0..length.min(64)).chain((64..length).step_by(509)).chain(length.saturating_sub(8)..length)
}

fn mark(seed: usize, i: usize) -> u8 {
    seed.wrapping_mul(31).wrapping_add(i.wrapping_mul(7)) as u8
}

/// Fills a block with a pattern of its own, so that overlap shows.
fn fill(block: &mut [u8], seed: usize) {
    marks(block.len()).for_each(|i| block[i] = mark(seed, i));
}

fn check(block: &[u8], seed: usize) {
    let right = marks(block.len()).all(|i| block[i] == mark(seed, i));
    assert!(right, "block {seed} of {} bytes was changed", block.len());
}

#[derive(Clone, Debug)]
enum Action {
    Alloc { size: usize, align_log2: u32, zeroed: bool },
    Realloc { pick: usize, size: usize },
    Free { pick: usize },
    Purge,
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 1usize..=600, 4 => 600usize..40_000, 2 => 40_000usize..300_000, 1 => 300_000usize..2_000_000]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (size(), 0u32..=13, any::<bool>())
            .prop_map(|(size, align_log2, zeroed)| Action::Alloc { size, align_log2, zeroed }),
        3 => (any::<usize>(), size()).prop_map(|(pick, size)| Action::Realloc { pick, size }),
        4 => any::<usize>().prop_map(|pick| Action::Free { pick }),
        1 => Just(Action::Purge),
    ]
}

struct Block {
    at: *mut u8,
    layout: Layout,
    seed: usize,
}

impl Block {
    fn check(&mut self) {
        let seed = self.seed;
        check(self.bytes(), seed);
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: `at` was allocated with `layout` and every byte was filled.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.layout.size()) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn no_overlap_right_alignment_contents_kept(actions in prop::collection::vec(action(), 1..200)) {
        let mut live: Vec<Block> = Vec::new();
        for (step, action) in actions.into_iter().enumerate() {
            match action {
                Action::Alloc { size, align_log2, zeroed } => {
                    let layout = Layout::from_size_align(size, 1 << align_log2).unwrap();
                    // SAFETY: the size is not zero.
                    let at = unsafe {
                        if zeroed { ALLOCATOR.alloc_zeroed(layout) } else { ALLOCATOR.alloc(layout) }
                    };
                    prop_assert!(!at.is_null());
                    prop_assert_eq!(at.addr() % layout.align(), 0);
                    let mut block = Block { at, layout, seed: step };
                    if zeroed {
                        prop_assert!(block.bytes().iter().all(|b| *b == 0));
                    }
                    fill(block.bytes(), step);
                    live.push(block);
                }
                Action::Realloc { pick, size } if !live.is_empty() => {
                    let i = pick % live.len();
                    let block = &mut live[i];
                    block.check();
                    // SAFETY: allocated with this layout; the old address is replaced.
                    let at = unsafe { ALLOCATOR.realloc(block.at, block.layout, size) };
                    prop_assert!(!at.is_null());
                    let (kept, seed) = (block.layout.size().min(size), block.seed);
                    block.at = at;
                    block.layout = Layout::from_size_align(size, block.layout.align()).unwrap();
                    prop_assert_eq!(at.addr() % block.layout.align(), 0);
                    let bytes = block.bytes();
                    prop_assert!(marks(kept).take(64).all(|i| bytes[i] == mark(seed, i)));
                    block.seed = step;
                    fill(block.bytes(), step);
                }
                Action::Free { pick } if !live.is_empty() => {
                    let i = pick % live.len();
                    let mut block = live.swap_remove(i);
                    block.check();
                    // SAFETY: allocated with this layout, not used afterwards.
                    unsafe { ALLOCATOR.dealloc(block.at, block.layout) };
                }
                Action::Purge => {
                    ALLOCATOR.purge();
                }
                _ => {}
            }
        }
        for mut block in live {
            block.check();
            // SAFETY: as above.
            unsafe { ALLOCATOR.dealloc(block.at, block.layout) };
        }
    }
}

#[test]
fn objects_travel_between_threads_and_threads_end() {
    for round in 0..20 {
        let (send, receive) = mpsc::channel::<(usize, Vec<u8>)>();
        let producers: Vec<_> = (0..3)
            .map(|p| {
                let send = send.clone();
                thread::spawn(move || {
                    for i in 0..2000 {
                        let seed = p * 10_000 + i + round;
                        let mut block = vec![0; 1 + (seed * 37) % 1500];
                        fill(&mut block, seed);
                        send.send((seed, block)).unwrap();
                    }
                })
            })
            .collect();
        drop(send);
        let consumer = thread::spawn(move || {
            let mut kept = HashMap::new();
            for (seed, block) in receive {
                check(&block, seed);
                if seed % 5 == 0 {
                    kept.insert(seed, block);
                }
            }
            kept
        });
        producers.into_iter().for_each(|p| p.join().unwrap());
        for (seed, block) in consumer.join().unwrap() {
            check(&block, seed);
        }
    }
}

thread_local! {
    static LAST: RefCell<Option<Late>> = const { RefCell::new(None) };
}

struct Late(Vec<String>);

impl Drop for Late {
    fn drop(&mut self) {
        // Frees what the thread allocated, and allocates more, while the thread is ending.
        self.0.clear();
        let more: Vec<String> = (0..200).map(|i| format!("late {i}")).collect();
        assert_eq!(more[199], "late 199");
    }
}

#[test]
fn thread_local_destructors_allocate_and_free() {
    for _ in 0..50 {
        thread::spawn(|| {
            LAST.with(|l| {
                *l.borrow_mut() = Some(Late((0..300).map(|i| "x".repeat(i)).collect()));
            });
        })
        .join()
        .unwrap();
    }
}

#[test]
fn a_fork_child_allocates_whatever_other_threads_were_doing() {
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let busy: Vec<_> = (0..3)
        .map(|k| {
            let stop = stop.clone();
            thread::spawn(move || {
                let mut held: Vec<Vec<u8>> = Vec::new();
                let mut i = k;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    i += 1;
                    held.push(vec![1; (i * 97) % 400_000]);
                    if held.len() > 50 {
                        held.clear();
                    }
                }
            })
        })
        .collect();
    for _ in 0..100 {
        // SAFETY: the child only allocates, frees and exits.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let work = std::panic::catch_unwind(|| {
                let all: Vec<Vec<u8>> = (0..500).map(|i| vec![2; i * 700 % 300_000]).collect();
                all.iter().map(Vec::len).sum::<usize>()
            });
            // SAFETY: ends the child without running the test harness's exit handlers.
            unsafe { libc::_exit(if work.is_ok() { 7 } else { 1 }) };
        }
        assert!(pid > 0);
        let mut status = 0;
        // SAFETY: our child.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7, "status {status:#x}");
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    busy.into_iter().for_each(|t| t.join().unwrap());
}

#[test]
fn what_grows_by_a_little_moves_seldom_and_what_shrinks_by_a_little_stays() {
    let layout = |size| Layout::from_size_align(size, 8).unwrap();
    // SAFETY: each layout is the one of the last request.
    unsafe {
        // A quarter each time would be 9, and 13.
        for (from, to, step, moves_expected) in [(64, 448, 8, 5..=10), (1024, 16_384, 64, 8..=14)] {
            let mut object = ALLOCATOR.alloc(layout(from));
            let mut moves = 0;
            for size in (from + step..=to).step_by(step) {
                let grown = ALLOCATOR.realloc(object, layout(size - step), size);
                moves += usize::from(grown != object);
                object = grown;
            }
            assert!(moves_expected.contains(&moves), "{moves} moves from {from} to {to}");
            ALLOCATOR.dealloc(object, layout(to));
        }
        // What doubles has its room already.
        let doubled = ALLOCATOR.realloc(ALLOCATOR.alloc(layout(64)), layout(64), 128);
        let beyond = ALLOCATOR.realloc(doubled, layout(128), 136);
        assert_ne!(beyond, doubled);
        ALLOCATOR.dealloc(beyond, layout(136));
        // Wherever it ends up, it stays there for the same size and a little more.
        for size in 1..5000 {
            let object = ALLOCATOR.alloc(layout(size));
            let usable = size.next_multiple_of(8);
            let grown = ALLOCATOR.realloc(object, layout(size), usable + 1);
            let same = ALLOCATOR.realloc(grown, layout(usable + 1), usable + 1);
            assert_eq!(same, grown, "{size}");
            let more = ALLOCATOR.realloc(same, layout(usable + 1), usable + 2);
            assert_eq!(more, same, "{size}");
            ALLOCATOR.dealloc(more, layout(usable + 2));
        }
        for size in [400, 4000] {
            let object = ALLOCATOR.alloc(layout(size));
            let less = size - size / 5;
            assert_eq!(ALLOCATOR.realloc(object, layout(size), less), object);
            let little = ALLOCATOR.realloc(object, layout(less), size / 3);
            assert_ne!(little, object);
            // It takes no memory away from the others that a larger one was asked for before.
            let next = ALLOCATOR.alloc(layout(size));
            assert_eq!(next, object);
            ALLOCATOR.dealloc(next, layout(size));
            ALLOCATOR.dealloc(little, layout(size / 3));
        }
    }
}

#[test]
fn what_cannot_be_had_is_null() {
    for size in [isize::MAX as usize - 8, 1 << 46, 1 << 60] {
        let layout = Layout::from_size_align(size & !7, 8).unwrap();
        // SAFETY: the size is not zero.
        assert!(unsafe { ALLOCATOR.alloc(layout) }.is_null());
    }
}

#[test]
fn statistics_count_what_is_live() {
    thread::spawn(|| {
        let class = |size: usize| ALLOCATOR.stats().classes[size / 8 - 1].live;
        let before = class(448);
        let some: Vec<Box<[u64; 56]>> = (0..1000).map(|_| Box::new([1; 56])).collect();
        // Other threads may hold free objects of this class, which count as live; these were added.
        assert!(class(448) >= before + 1000);
        drop(some);
        assert!(class(448) <= before + 32);
        let mut json = vec![0; 1 << 16];
        let length = ALLOCATOR.stats().to_json(&mut json);
        let text = std::str::from_utf8(&json[..length]).unwrap();
        assert!(text.starts_with("{\"schema\":\"memento.stats/1\",\"hal\":\"soft\""), "{text}");
        assert!(text.ends_with('}'));
        let mut short = [0; 10];
        assert!(ALLOCATOR.stats().to_json(&mut short) > 10);
        assert_eq!(&short, b"{\"schema\":");
    })
    .join()
    .unwrap();
}
