//! Over the fake system, so that Miri sees every access.

extern crate std;
use super::*;
use crate::os::Fake;
use std::vec::Vec;

fn hardened() -> Hardened<Fake> {
    let os = Fake::new();
    os.limit_reservations(1 << (RANGE_SHIFT_MIN + RANGES_LOG2));
    let hardened = Hardened::new(os);
    hardened.set_secret(0x5eed);
    hardened
}

fn bytes<'a>(object: NonNull<u8>, size: usize) -> &'a mut [u8] {
    // SAFETY: the tests pass live objects of at least this size, and use them one at a time.
    unsafe { core::slice::from_raw_parts_mut(object.as_ptr(), size) }
}

fn free(hardened: &Hardened<Fake>, object: NonNull<u8>) -> Result<(), Misuse> {
    // SAFETY: the tests do not use objects that they freed.
    unsafe { hardened.free(object, None) }
}

fn inside(object: NonNull<u8>, offset: usize) -> NonNull<u8> {
    object.map_addr(|a| a.checked_add(offset).unwrap())
}

#[test]
fn objects_are_zero_aligned_and_apart() {
    let hardened = hardened();
    let mut all = Vec::new();
    for round in 0..3u8 {
        for (size, align) in [
            (0, 8),
            (1, 1),
            (15, 16),
            (16, 16),
            (100, 64),
            (500, 4096),
            (5000, 16),
            (16_000, 16_384),
        ] {
            let object = hardened.alloc(size, align).unwrap();
            assert!(object.addr().get().is_multiple_of(align));
            assert!(bytes(object, size).iter().all(|b| *b == 0));
            bytes(object, size).fill(round + 1);
            assert_eq!(hardened.size_of(object), Ok(size));
            all.push((object, size, round + 1));
        }
        let (object, ..) = all.swap_remove(usize::from(round));
        free(&hardened, object).unwrap();
    }
    for (object, size, mark) in all {
        assert!(bytes(object, size).iter().all(|b| *b == mark));
        free(&hardened, object).unwrap();
    }
}

#[test]
fn what_is_too_large_must_come_from_elsewhere() {
    let hardened = hardened();
    assert!(hardened.alloc(SLOT_MAX - 1, 8).is_some());
    assert_eq!(hardened.alloc(SLOT_MAX, 8), None);
    assert_eq!(hardened.alloc(8, 2 * SLOT_MAX), None);
    assert_eq!(hardened.alloc(usize::MAX, 8), None);
}

#[test]
fn every_wrong_free_is_refused_at_once_and_changes_nothing() {
    let hardened = hardened();
    let fault = |f| Err(Misuse::Free(f));
    let other = hardened.alloc(48, 16).unwrap();
    assert_eq!(free(&hardened, NonNull::from(&7u8)), fault(FreeFault::Outside));
    for size in [1, 24, 511, 3000, SLOT_MAX - 1] {
        let object = hardened.alloc(size, 8).unwrap();
        for offset in [1, 2, 4, 8].into_iter().filter(|offset| *offset < size.max(2)) {
            assert_eq!(free(&hardened, inside(object, offset)), fault(FreeFault::Misaligned));
        }
        assert_eq!(free(&hardened, inside(object, 1 << 18)), fault(FreeFault::Outside));
        // SAFETY: not used afterwards; the first one is refused.
        unsafe {
            assert_eq!(hardened.free(object, Some(size + 1)), Err(Misuse::WrongSize));
            assert_eq!(hardened.free(object, Some(size)), Ok(()));
        }
        assert_eq!(free(&hardened, object), fault(FreeFault::NotAllocated));
        assert_eq!(hardened.size_of(object), fault(FreeFault::NotAllocated).map(|()| 0));
        assert_eq!(hardened.resize(object, 1, 8), fault(FreeFault::NotAllocated).map(|()| true));
    }
    free(&hardened, other).unwrap();
}

#[test]
fn a_write_past_the_end_is_found_wherever_it_falls_in_the_slot() {
    let hardened = hardened();
    for (size, past) in [(1, 1), (24, 24), (100, 103), (2600, 2700), (2600, 2815)] {
        let object = hardened.alloc(size, 8).unwrap();
        let slot = bytes(object, past + 1);
        let kept = slot[past];
        slot[past] = !kept;
        assert_eq!(free(&hardened, object), Err(Misuse::PastEnd), "{size} {past}");
        assert_eq!(hardened.resize(object, size + 1, 8), Err(Misuse::PastEnd));
        bytes(object, past + 1)[past] = kept;
        free(&hardened, object).unwrap();
    }
}

#[test]
fn a_resize_in_place_moves_the_canary() {
    let hardened = hardened();
    let object = hardened.alloc(2600, 8).unwrap();
    bytes(object, 2600).fill(9);
    for size in [2700, 2800, 2561, 2799] {
        let before = hardened.size_of(object).unwrap();
        assert_eq!(hardened.resize(object, size, 8), Ok(true));
        let kept = before.min(size).min(2561);
        assert!(bytes(object, size)[..kept].iter().all(|b| *b == 9));
        assert!(bytes(object, size)[before.min(size)..].iter().all(|b| *b == 0));
        assert_eq!(hardened.size_of(object), Ok(size));
    }
    assert_eq!(hardened.resize(object, 100, 8), Ok(false));
    assert_eq!(hardened.resize(object, 2700, 4096), Ok(false));
    free(&hardened, object).unwrap();
}

/// Frees enough other objects of a size that the quarantine lets go of those before. Returns how many.
fn push_out(hardened: &Hardened<Fake>, size: usize) -> usize {
    let count = 2 * (64 * 1024 / size).min(300);
    let all: Vec<_> = (0..count).map(|_| hardened.alloc(size, 8).unwrap()).collect();
    all.into_iter().for_each(|object| free(hardened, object).unwrap());
    count
}

#[test]
fn freed_slots_come_back_late_and_in_no_order() {
    let hardened = hardened();
    let first = hardened.alloc(40, 8).unwrap();
    free(&hardened, first).unwrap();
    let next: Vec<_> = (0..200).map(|_| hardened.alloc(40, 8).unwrap()).collect();
    assert!(!next.contains(&first));
    let sorted = next.windows(2).filter(|w| w[0] < w[1]).count();
    assert!((50..150).contains(&sorted), "{sorted} of 200 neighbours in order");
    next.into_iter().for_each(|object| free(&hardened, object).unwrap());
    push_out(&hardened, 40);
    assert!((0..2000).any(|_| hardened.alloc(40, 8) == Some(first)));
}

/// Allocates until the slot of `object` comes up again.
fn use_up(hardened: &Hardened<Fake>, object: NonNull<u8>, size: usize) {
    push_out(hardened, size);
    while hardened.alloc(size, 8).unwrap() != object {}
}

#[test]
#[should_panic(expected = "write to a freed object")]
fn a_write_to_a_freed_object_is_found_before_it_is_handed_out() {
    let hardened = hardened();
    let object = hardened.alloc(100, 8).unwrap();
    free(&hardened, object).unwrap();
    bytes(object, 100)[77] = 1;
    use_up(&hardened, object, 100);
}

#[test]
#[should_panic(expected = "write to a freed object")]
fn a_purge_finds_writes_to_freed_objects() {
    let hardened = hardened();
    let object = hardened.alloc(100, 8).unwrap();
    free(&hardened, object).unwrap();
    bytes(object, 100)[0] = 1;
    hardened.purge();
}

#[test]
fn a_purge_gives_whole_pages_back_and_slots_stay_good() {
    let hardened = hardened();
    let live = hardened.alloc(1000, 8).unwrap();
    bytes(live, 1000).fill(5);
    let freed = push_out(&hardened, 1000);
    let mut before = Usage::ZERO;
    hardened.add_usage(&mut before);
    assert!(hardened.purge() > freed * 900);
    let mut after = Usage::ZERO;
    hardened.add_usage(&mut after);
    assert_eq!(after.live.iter().sum::<u64>(), 1);
    // What is in quarantine still counts.
    assert!(after.resident_bytes < before.resident_bytes * 3 / 4);
    assert!(bytes(live, 1000).iter().all(|b| *b == 5));
    push_out(&hardened, 1000);
    free(&hardened, live).unwrap();
}

#[test]
fn full_ranges_pass_requests_on_and_quarantine_yields() {
    let hardened = hardened();
    // The smallest region has one slot of the largest size, and few of the next smaller ones.
    let most: Vec<_> = core::iter::from_fn(|| hardened.alloc(20_000, 8)).collect();
    assert!(most.len() > 5, "{}", most.len());
    assert_eq!(hardened.size_of(*most.last().unwrap()), Ok(20_000));
    let last = *most.last().unwrap();
    free(&hardened, last).unwrap();
    assert_eq!(hardened.alloc(20_000, 8), Some(last), "nothing else is left");
    for object in most {
        bytes(object, 20_000).fill(1);
        free(&hardened, object).unwrap();
    }
}

#[test]
fn without_memory_there_is_none() {
    let os = Fake::new();
    os.limit_reservations(1 << (RANGE_SHIFT_MIN + RANGES_LOG2));
    os.fail_commits_after(3);
    let hardened = Hardened::new(os);
    let object = hardened.alloc(100, 8).unwrap();
    assert_eq!(hardened.alloc(200, 8), None);
    free(&hardened, object).unwrap();
    let os = Fake::new();
    os.limit_reservations(1 << 20);
    assert_eq!(Hardened::new(os).alloc(8, 8), None);
}

struct Parcel(NonNull<u8>, usize);
// SAFETY: an object is its holder's alone.
unsafe impl Send for Parcel {}

#[test]
fn threads_free_each_others_objects() {
    let hardened = hardened();
    let (send, receive) = std::sync::mpsc::sync_channel::<Parcel>(64);
    let rounds = if cfg!(miri) { 50 } else { 5000 };
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let (hardened, send) = (&hardened, send.clone());
            scope.spawn(move || {
                for i in 0..rounds {
                    let size = 1 + (i * 37 + seed) % 2000;
                    let object = hardened.alloc(size, 8).unwrap();
                    bytes(object, size).fill(seed as u8);
                    send.send(Parcel(object, size)).unwrap();
                }
            });
        }
        drop(send);
        for Parcel(object, size) in receive {
            let first = bytes(object, size)[0];
            assert!(bytes(object, size).iter().all(|b| *b == first));
            // SAFETY: not used afterwards.
            unsafe { hardened.free(object, Some(size)).unwrap() };
        }
    });
    let mut usage = Usage::ZERO;
    hardened.add_usage(&mut usage);
    assert_eq!(usage.live.iter().sum::<u64>(), 0);
}

#[test]
fn who_holds_the_locks_for_a_fork_may_still_enter() {
    let hardened = hardened();
    let object = hardened.alloc(10, 8).unwrap();
    hardened.acquire();
    assert!(hardened.alloc(10, 8).is_some());
    free(&hardened, object).unwrap();
    hardened.release();
}
