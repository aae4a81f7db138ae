//! Frees between heaps, and heaps whose threads end. One test thread plays the parts of several: what
//! happens at the same time is the business of the models in `mailbox` and `orphans`.
extern crate std;
use super::*;
use crate::hal::Hal;
use crate::object::FreeFault;
use crate::os::Fake;
use crate::soft::layout::GRANULE_BYTES;
use crate::soft::outbox::{BYTES_MAX, PARCELS};
use core::ptr::NonNull;
use std::vec::Vec;

type Core = NonNull<Heap<Fake>>;

/// A backend with four slots, one of which is no thread's.
fn soft() -> Soft<Fake> {
    let os = Fake::new();
    os.limit_reservations(4 << layout::SLOT_SHIFT_MIN);
    Soft::new(os)
}

fn bin(size: usize) -> Bin {
    Bin::for_request(size, 8).unwrap()
}

fn alloc(core: Core, size: usize) -> NonNull<u8> {
    // SAFETY: attached to this test, which keeps no reference.
    unsafe { (*core.as_ptr()).alloc(bin(size)).unwrap() }
}

fn alloc_all(core: Core, size: usize, bytes: usize) -> Vec<NonNull<u8>> {
    (0..bytes / size).map(|_| alloc(core, size)).collect()
}

/// Frees as a thread does that has `core`: the ways of `Memento::deallocate`, in their order.
fn free(soft: &Soft<Fake>, core: Core, object: NonNull<u8>) -> Result<(), FreeFault> {
    // SAFETY: the core is this test's; what the tests free twice is what they are about.
    unsafe {
        let heap = core.as_ptr();
        if Heap::give(heap, object.as_ptr()) {
            return Ok(());
        }
        if Heap::has(heap, object.as_ptr())
            && let Some(result) = Heap::give_noticed(heap, object.as_ptr())
        {
            return result;
        }
        match Heap::give_away(heap, object.as_ptr()) {
            Added::Beside => return Ok(()),
            Added::Last => {
                Heap::send_away(heap, object.as_ptr());
                return Ok(());
            }
            Added::Not => {}
        }
        soft.free_slow(heap, object)
    }
}

fn live(soft: &Soft<Fake>, core: Core) -> u64 {
    // SAFETY: attached to this test.
    unsafe { soft.sort(core) };
    soft.usage().live.iter().sum()
}

#[cfg(not(miri))]
const LARGEST: usize = HEAP_MAX;
#[cfg(miri)]
const LARGEST: usize = 4096;

#[test]
fn remote_frees_of_every_size_arrive() {
    let soft = soft();
    let (owner, other) = (soft.attach().unwrap(), soft.attach().unwrap());
    // Miri takes its time: some sizes only.
    for bin in
        Bin::all().filter(|bin| bin.size() <= LARGEST).step_by(if cfg!(miri) { 13 } else { 1 })
    {
        let all: Vec<_> = (0..40).map(|_| alloc(owner, bin.size())).collect();
        for object in all {
            // SAFETY: an object of this many bytes; whatever it holds must not be taken for a letter.
            unsafe { object.write_bytes(0xff, bin.size()) };
            free(&soft, other, object).unwrap();
        }
        // SAFETY: attached to this test.
        unsafe { soft.sort(other) };
        assert_eq!(live(&soft, owner), 0, "{bin:?}");
    }
}

#[test]
fn mixed_sizes_share_letters() {
    let soft = soft();
    let (owner, other) = (soft.attach().unwrap(), soft.attach().unwrap());
    let sizes = [8, 16, 512, 24, 8, 8, 64, 40, 1000, 2000, 8, 128];
    let all: Vec<_> = (0..300).map(|i| alloc(owner, sizes[i * 7 % sizes.len()])).collect();
    for object in all {
        free(&soft, other, object).unwrap();
    }
    // SAFETY: attached to this test.
    unsafe { soft.detach(other) };
    assert_eq!(live(&soft, owner), 0);
    assert_eq!(soft.usage().remote_frees, 300);
}

#[test]
fn little_waits_in_an_outbox() {
    let soft = soft();
    let (owner, other) = (soft.attach().unwrap(), soft.attach().unwrap());
    let total = if cfg!(miri) { 4 * 1024 } else { 64 * 1024 };
    let sizes: &[usize] = &[64, 1000, 8, 200, 512, 4096, 20_000];
    for &size in if cfg!(miri) { &sizes[..2] } else { sizes } {
        let all = alloc_all(owner, size, total);
        let before = live(&soft, owner);
        let mut freed = 0;
        for object in all {
            free(&soft, other, object).unwrap();
            freed += 1;
            let arrived = before - live(&soft, owner);
            assert!((freed - arrived) as usize * size < BYTES_MAX, "{size}");
        }
        // SAFETY: attached to this test.
        unsafe { soft.sort(other) };
        const { assert!(PARCELS * BYTES_MAX <= 16 * 1024) };
    }
}

#[test]
fn one_allocates_and_another_frees_for_ever() {
    let soft = soft();
    let (owner, other) = (soft.attach().unwrap(), soft.attach().unwrap());
    let rounds = if cfg!(miri) { 3 } else { 200 };
    let mut waiting: Vec<NonNull<u8>> = Vec::new();
    let mut resident = 0;
    for round in 0..rounds {
        for i in 0..400 {
            waiting.push(alloc(owner, 16 + (i * 37 + round * 101) % 1200));
        }
        while waiting.len() > 200 {
            let at = (round * 7919 + waiting.len() * 31) % waiting.len();
            free(&soft, other, waiting.swap_remove(at)).unwrap();
        }
        if round == rounds / 2 {
            resident = soft.usage().resident_bytes;
        }
    }
    assert!(soft.usage().resident_bytes <= resident + (256 << 10), "{resident}");
}

#[test]
fn misuse_that_a_remote_free_sees() {
    let soft = soft();
    let (owner, other) = (soft.attach().unwrap(), soft.attach().unwrap());
    let all: Vec<_> = (0..100).map(|_| alloc(owner, 48)).collect();
    let at = |object: NonNull<u8>, bytes| object.map_addr(|a| a.checked_add(bytes).unwrap());
    for (i, object) in all.into_iter().enumerate() {
        // Whether it is the first of a parcel, one of many, or the one that makes it a letter.
        assert_eq!(free(&soft, other, at(object, 4)), Err(FreeFault::Misaligned), "{i}");
        assert_eq!(free(&soft, other, at(object, 16)), Err(FreeFault::Misaligned), "{i}");
        assert_eq!(free(&soft, other, object), Ok(()), "{i}");
        assert_eq!(free(&soft, other, object), Err(FreeFault::NotAllocated), "{i}");
    }
    let unused = at(alloc(owner, 48), 1 << 30);
    assert_eq!(free(&soft, other, unused), Err(FreeFault::Outside));
}

#[test]
fn an_object_that_came_back_may_be_freed_again() {
    let soft = soft();
    let (owner, other) = (soft.attach().unwrap(), soft.attach().unwrap());
    for _ in 0..200 {
        let object = alloc(owner, 3000);
        free(&soft, other, object).unwrap();
        // SAFETY: attached to this test.
        unsafe { soft.sort(owner) };
    }
    assert_eq!(live(&soft, owner), 0);
}

#[test]
#[should_panic(expected = "double free")]
fn a_double_free_within_a_letter_is_found() {
    let soft = soft();
    let (owner, other) = (soft.attach().unwrap(), soft.attach().unwrap());
    let (a, b) = (alloc(owner, 48), alloc(owner, 48));
    for object in [a, b, a] {
        free(&soft, other, object).unwrap();
    }
    // SAFETY: attached to this test.
    unsafe { soft.sort(other) };
    live(&soft, owner);
    for _ in 0..2 * bin(48).span_objects() {
        alloc(owner, 48);
    }
}

#[test]
#[should_panic(expected = "write to freed memory")]
fn a_letter_that_was_written_to_leads_nowhere() {
    let soft = soft();
    let (owner, other) = (soft.attach().unwrap(), soft.attach().unwrap());
    let all: Vec<_> = (0..10).map(|_| alloc(owner, 48)).collect();
    for object in &all {
        free(&soft, other, *object).unwrap();
    }
    // SAFETY: attached to this test; the write is the misuse.
    unsafe {
        soft.sort(other);
        all[9].write_bytes(0x41, 48);
        soft.sort(owner);
    }
}

#[test]
fn a_fork_child_does_not_post_what_other_threads_had_in_their_outboxes() {
    let soft = soft();
    let (mine, other) = (soft.attach().unwrap(), soft.attach().unwrap());
    let (a, b) = (alloc(mine, 48), alloc(other, 48));
    free(&soft, other, a).unwrap();
    free(&soft, mine, b).unwrap();
    // SAFETY: `other` is a thread that the child does not have.
    unsafe { soft.fork_child(Some(mine)) };
    let heir = soft.attach().unwrap();
    assert_eq!(heir, other);
    // SAFETY: attached to this test.
    unsafe {
        soft.sort(heir);
        soft.sort(mine);
        soft.sort(heir);
    }
    let usage = soft.usage();
    assert_eq!((usage.live[bin(48).index()], usage.remote_frees), (1, 1), "a is lost, b arrived");
}

#[test]
fn a_free_that_a_fork_cuts_in_two_loses_its_object_and_nothing_else() {
    let soft = soft();
    let (mine, other) = (soft.attach().unwrap(), soft.attach().unwrap());
    for (size, freed_before) in [(1000, 0), (1200, 1), (20_000, 0), (24_000, 1), (40_000, 0)] {
        let count = GRANULE_BYTES * 4 / size;
        let mut all: Vec<_> = (0..2 * count).map(|_| alloc(other, size)).collect();
        for object in all.drain(..freed_before) {
            free(&soft, other, object).unwrap();
        }
        let lost = all.remove(0);
        // The other thread has counted its free and done no more.
        // SAFETY: attached to this test, and a granule of it.
        unsafe {
            let heap = &*other.as_ptr();
            let granule = heap.granule_of(lost.as_ptr().cast());
            *heap.countdown_of(granule) -= 1;
            soft.fork_child(Some(mine));
        }
        // Some of them by the child's thread, the rest by the one that adopts the heap.
        let rest = all.split_off(all.len() / 2);
        all.into_iter().for_each(|object| free(&soft, mine, object).unwrap());
        // SAFETY: attached to this test.
        unsafe { soft.sort(mine) };
        assert_eq!(soft.attach(), Some(other));
        rest.into_iter().for_each(|object| free(&soft, other, object).unwrap());
        // SAFETY: as above.
        unsafe { soft.sort(other) };
        assert_eq!(soft.usage().live[bin(size).index()], 1, "{size}: what is free is known to be");
        let again: Vec<_> = (0..4 * count).map(|_| alloc(other, size)).collect();
        assert!(!again.contains(&lost), "it is not free");
        again.into_iter().for_each(|object| free(&soft, other, object).unwrap());
    }
}

/// A thread that allocates `bytes`, frees them, and ends.
#[cfg(not(miri))]
fn burst(soft: &Soft<Fake>, core: Core, bytes: usize) {
    for object in alloc_all(core, 1000, bytes) {
        free(soft, core, object).unwrap();
    }
}

/// Three threads at once, with 4 MiB each; bytes resident when all had begun.
#[cfg(not(miri))]
fn wave(soft: &Soft<Fake>) -> u64 {
    let cores: Vec<_> = (0..3).map(|_| soft.attach().unwrap()).collect();
    let before = soft.usage().resident_bytes;
    for core in &cores {
        burst(soft, *core, 4 << 20);
    }
    for core in cores {
        // SAFETY: attached above, not used afterwards.
        unsafe { soft.detach(core) };
    }
    before
}

#[test]
#[cfg(not(miri))]
fn threads_that_end_once_leave_little() {
    let soft = soft();
    wave(&soft);
    assert!(soft.usage().resident_bytes <= 2 << 20, "{}", soft.usage().resident_bytes);
}

#[test]
#[cfg(not(miri))]
fn waves_of_threads_pay_for_one_wave_and_purge_takes_it_back() {
    let soft = soft();
    for number in 0..6 {
        let before = wave(&soft);
        assert!(number < 3 || before >= 10 << 20, "wave {number} begins with {before}");
    }
    assert_eq!(soft.usage().resident_bytes, soft.purge_orphans() as u64);
    assert_eq!(soft.usage().resident_bytes, 0);
}

#[test]
#[cfg(not(miri))]
fn what_others_free_of_dead_threads_is_kept_once_it_was_given_back_in_vain() {
    let soft = soft();
    let other = soft.attach().unwrap();
    let mut left = Vec::new();
    // One object stays: a heap that is free altogether keeps nothing of what was earned.
    let core = soft.attach().unwrap();
    alloc(core, 64_000);
    // SAFETY: attached above, not used until attached again.
    unsafe { soft.detach(core) };
    for _ in 0..4 {
        let core = soft.attach().unwrap();
        let all = alloc_all(core, 64_000, 6 << 20);
        // SAFETY: attached above, not used until attached again.
        unsafe { soft.detach(core) };
        for object in all {
            free(&soft, other, object).unwrap();
        }
        // SAFETY: attached to this test.
        unsafe { soft.sort(other) };
        left.push(soft.usage().resident_bytes);
    }
    assert!(left[0] <= 3 << 20 && left[3] >= 5 << 20, "{left:?}");
}

#[test]
fn the_next_thread_goes_on_with_the_lists_and_who_frees_into_an_orphan_counts_them() {
    let soft = soft();
    let other = soft.attach().unwrap();
    let core = soft.attach().unwrap();
    let [first, second, third] = [(); 3].map(|()| alloc(core, 100));
    free(&soft, core, second).unwrap();
    // SAFETY: attached above, not used until attached again.
    unsafe { soft.detach(core) };
    assert_eq!(soft.attach(), Some(core));
    let place = Bin::for_request(100, 8).unwrap().place();
    // SAFETY: attached just now.
    let object = unsafe { Heap::take(core.as_ptr(), place) };
    assert_eq!(object.cast(), second.as_ptr());
    free(&soft, core, second).unwrap();
    // SAFETY: as above.
    unsafe { soft.detach(core) };
    for object in [first, third] {
        free(&soft, other, object).unwrap();
    }
    // SAFETY: attached to this test.
    unsafe { soft.sort(other) };
    assert_eq!(soft.usage().live.iter().sum::<u64>(), 0);
    // SAFETY: an orphan, which nobody else has.
    assert_eq!(unsafe { (*core.as_ptr()).spans }, 0, "all of it is known to be free");
}

#[test]
#[cfg(not(miri))]
fn what_is_empty_altogether_keeps_a_little_and_nothing_of_what_was_earned() {
    let soft = soft();
    let other = soft.attach().unwrap();
    let mut left = Vec::new();
    for kib in [1 << 10, 6 << 10, 6 << 10, 6 << 10, 1 << 10] {
        let core = soft.attach().unwrap();
        let all = alloc_all(core, 64_000, kib << 10);
        // SAFETY: attached above, not used until attached again.
        unsafe { soft.detach(core) };
        for object in all {
            free(&soft, other, object).unwrap();
        }
        // SAFETY: attached to this test.
        unsafe { soft.sort(other) };
        left.push(soft.usage().resident_bytes >> 10);
    }
    assert!((900..=2048).contains(&left[0]) && (900..=2048).contains(&left[4]), "{left:?}");
    assert!(left[1..4].iter().all(|kib| *kib < 300), "{left:?}");
}

#[test]
#[cfg(not(miri))]
fn waves_of_threads_leave_no_more_than_the_policy_allows() {
    let soft = soft();
    soft.set_page_policy(PagePolicy { kept: 5 << 20, ..PagePolicy::DEFAULT });
    for number in 0..6 {
        wave(&soft);
        let left = soft.usage().resident_bytes;
        assert!(left <= 5 << 20, "wave {number} leaves {left}");
        assert!(number < 3 || left >= 3 << 20, "one heap is kept, but {left}");
    }
}

#[test]
fn small_threads_get_the_heap_that_was_left_last_as_it_is() {
    let soft = soft();
    let (first, second) = (soft.attach().unwrap(), soft.attach().unwrap());
    let object = alloc(second, 48);
    free(&soft, second, object).unwrap();
    // SAFETY: attached above, not used until attached again.
    unsafe {
        soft.detach(first);
        soft.detach(second);
    }
    assert_eq!(soft.attach(), Some(second));
    assert_eq!(alloc(second, 48), object);
    assert_eq!(soft.attach(), Some(first));
}

#[test]
fn a_thread_gets_the_heap_in_which_most_is_free() {
    let soft = soft();
    let heaps = [(); 3].map(|()| soft.attach().unwrap());
    let [roomy, last, other] = heaps;
    let objects = heaps.map(|core| alloc_all(core, 8000, 800_000));
    for object in &objects[0][..50] {
        free(&soft, roomy, *object).unwrap();
    }
    // SAFETY: attached above, not used until attached again.
    unsafe {
        soft.detach(roomy);
        soft.detach(last);
    }
    assert_eq!(soft.attach(), Some(roomy));
    // SAFETY: as above.
    unsafe { soft.detach(roomy) };
    // What others free counts once it has arrived.
    objects[1][..90].iter().for_each(|object| free(&soft, other, *object).unwrap());
    // SAFETY: as above.
    unsafe { soft.detach(other) };
    assert_eq!(soft.attach(), Some(last));
}

#[test]
#[cfg(not(miri))]
fn threads_that_sleep_do_not_gather_what_others_left() {
    let soft = soft();
    let mut sleepers = Vec::new();
    for _ in 0..3 {
        let worker = soft.attach().unwrap();
        let objects = alloc_all(worker, 2000, 3 << 19);
        objects.iter().for_each(|object| free(&soft, worker, *object).unwrap());
        // SAFETY: attached above, not used until attached again.
        unsafe { soft.detach(worker) };
        let sleeper = soft.attach().unwrap();
        alloc(sleeper, 48);
        sleepers.push(sleeper);
    }
    let held = soft.usage().resident_bytes;
    assert!(held < 5 << 19, "{held}");
    // SAFETY: attached above, not used afterwards.
    sleepers.into_iter().for_each(|sleeper| unsafe { soft.detach(sleeper) });
}

#[test]
fn what_an_orphan_kept_is_charged_until_it_is_used() {
    let soft = soft();
    let held = || soft.region().kept.held();
    let work = |core: Core| {
        let objects = alloc_all(core, 2000, 1 << 20);
        let charged = held();
        objects.iter().for_each(|object| free(&soft, core, *object).unwrap());
        charged
    };
    let core = soft.attach().unwrap();
    // SAFETY: attached, and not used until attached again.
    let detach = || unsafe { soft.detach(core) };
    work(core);
    assert_eq!(held(), 0);
    detach();
    let all = held();
    assert!(all >= 64, "{all} granules of 16 KiB");
    assert_eq!(soft.attach(), Some(core));
    assert!((64..=all).contains(&held()), "{} of {all} while it sleeps", held());
    detach();
    assert_eq!(held(), all, "once");
    assert_eq!(soft.attach(), Some(core));
    assert_eq!((work(core), held()), (0, 0));
    detach();
    assert_eq!(held(), all);
    // A child has only its own heap, which is charged when its thread ends.
    assert_eq!(soft.attach(), Some(core));
    soft.region().after_fork(core.as_ptr());
    assert_eq!(held(), 0);
    detach();
    assert_eq!(held(), all);
    soft.purge_orphans();
    assert_eq!(held(), 0);
}

#[test]
fn what_orphans_keep_is_counted_as_free() {
    let soft = soft();
    let (reader, core) = (soft.attach().unwrap(), soft.attach().unwrap());
    let all = alloc_all(core, 100, 20_000);
    for object in &all[1..] {
        free(&soft, core, *object).unwrap();
    }
    // SAFETY: attached above, not used afterwards.
    unsafe { soft.detach(core) };
    assert_eq!(live(&soft, reader), 1);
    assert_eq!(soft.attach(), Some(core), "counting takes no heap away");
}

#[test]
#[cfg(not(miri))]
fn counting_an_orphan_may_give_back_what_was_not_needed_for_a_while() {
    let soft = soft();
    let (other, core) = (soft.attach().unwrap(), soft.attach().unwrap());
    soft.region().os().wait(1);
    let last = alloc(core, 2000);
    let cycle = |count: usize| {
        let all: Vec<_> = (0..count).map(|_| alloc(core, 16_000)).collect();
        all.into_iter().for_each(|object| free(&soft, core, object).unwrap());
    };
    cycle(130);
    soft.region().os().wait(1500);
    cycle(20);
    // Each bin is served from a granule of which all is free.
    for sixteenths in 1..=15 {
        let object = alloc(core, 16 * sixteenths);
        free(&soft, core, object).unwrap();
    }
    // SAFETY: attached above, not used afterwards.
    unsafe { soft.detach(core) };
    soft.region().os().wait(1500);
    // SAFETY: an orphan, which nobody else has.
    let free_dirty = || unsafe { (*core.as_ptr()).free_dirty };
    let before = free_dirty();
    free(&soft, other, last).unwrap();
    assert!(free_dirty() < before, "{before} {}", free_dirty());
    // SAFETY: as above.
    assert!(unsafe { (*core.as_ptr()).stuck } <= free_dirty());
}

#[test]
fn no_more_is_found_free_than_was_charged() {
    for bin in Bin::all().filter(|bin| !bin.is_big()) {
        let soft = soft();
        let core = soft.attach().unwrap();
        let all: Vec<_> = (0..bin.span_objects()).map(|_| alloc(core, bin.size())).collect();
        all.into_iter().for_each(|object| free(&soft, core, object).unwrap());
        // SAFETY: attached above; no other reference exists.
        let heap = unsafe { &mut *core.as_ptr() };
        let most = heap.free_dirty + heap.unsettled();
        heap.change(Heap::settle_down);
        assert!(heap.free_dirty <= most, "{}: {} of {most}", bin.size(), heap.free_dirty);
    }
}
