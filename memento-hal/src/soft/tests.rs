//! The soft backend by itself: what only it promises. What every backend promises is in the
//! conformance suite.
extern crate std;
use super::*;
use crate::hal::Hal;
use crate::object::FreeFault;
use crate::os::{Fake, Linux, Os};
use crate::soft::layout::{BLOCK_BYTES, GRANULE_BYTES};
use crate::soft::process::Soft;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::boxed::Box;
use std::vec::Vec;

pub(super) fn fake() -> Soft<Fake> {
    fake_within(1 << layout::SLOT_SHIFT_MIN)
}

/// With room for peaks.
#[cfg(not(miri))]
fn roomy() -> Soft<Fake> {
    fake_within(1 << 30)
}

fn fake_within(bytes: usize) -> Soft<Fake> {
    let os = Fake::new();
    os.limit_reservations(bytes);
    Soft::new(os)
}

pub(super) fn bin(size: usize) -> Bin {
    Bin::for_request(size, 8).unwrap()
}

/// A heap of `soft` for this test, and the closure's result.
pub(super) fn with_heap<O: Os, R>(soft: &Soft<O>, f: impl FnOnce(&mut Heap<O>) -> R) -> R {
    let core = soft.attach().unwrap();
    // SAFETY: attached just now, and detached below.
    let result = f(unsafe { &mut *core.as_ptr() });
    // SAFETY: the reference has ended.
    unsafe { soft.detach(core) };
    result
}

#[test]
fn objects_of_a_bin_are_dense_and_freed_ones_come_back_first() {
    let soft = fake();
    with_heap(&soft, |heap| {
        let a = heap.alloc(bin(48)).unwrap();
        let b = heap.alloc(bin(48)).unwrap();
        assert_eq!(b.addr().get() - a.addr().get(), 48);
        // SAFETY: `a` is not used afterwards.
        unsafe { heap.give_back(a).unwrap() };
        assert_eq!(heap.alloc(bin(48)), Some(a));
        // SAFETY: as above.
        unsafe {
            heap.give_back(a).unwrap();
            heap.give_back(b).unwrap();
        }
    });
}

#[test]
fn a_heap_that_is_free_again_serves_other_bins_from_the_same_blocks() {
    let soft = fake();
    with_heap(&soft, |heap| {
        let fill = |heap: &mut Heap<Fake>, size: usize, bytes: usize| {
            let all: Vec<_> = (0..bytes / size).map(|_| heap.alloc(bin(size)).unwrap()).collect();
            for object in all {
                // SAFETY: allocated above, not used afterwards.
                unsafe { heap.give_back(object).unwrap() };
            }
        };
        let total = if cfg!(miri) { 1 << 18 } else { 6 << 20 };
        fill(heap, 512, total);
        let before = heap.dirty_bytes();
        for size in [64, 640, 4096, 20_000, 200_000] {
            fill(heap, size, total);
        }
        assert!(heap.dirty_bytes() <= before * 3 / 2 + (1 << 20), "{}", heap.dirty_bytes());
    });
}

#[test]
fn a_span_takes_memory_that_was_used_before_wherever_it_lies() {
    let soft = fake();
    with_heap(&soft, |heap| {
        // Of each block five times three granules, which leaves one that nobody ever used.
        let objects: Vec<_> =
            (0..10).map(|_| heap.alloc(bin(3 * GRANULE_BYTES)).unwrap()).collect();
        let before = heap.dirty_bytes();
        for object in &objects[5..] {
            // SAFETY: allocated above, not used afterwards.
            unsafe { heap.give_back(*object).unwrap() };
        }
        // The heap holds them back until granules are needed.
        for size in (1..=12).map(|n| 16 * n) {
            heap.alloc(bin(size)).unwrap();
        }
        assert_eq!(heap.dirty_bytes(), before);
    });
}

#[test]
fn a_heap_does_not_grow_while_its_bins_hold_what_is_free() {
    let soft = fake();
    with_heap(&soft, |heap| {
        // One size after the other, a granule's worth of each: only what is served from hides it.
        for round in 0..3 {
            for bin in Bin::all().take_while(|bin| bin.size() <= 1024) {
                let all: Vec<_> = (0..8).map(|_| heap.alloc(bin).unwrap()).collect();
                for object in all {
                    // SAFETY: allocated above, not used afterwards.
                    unsafe { heap.give_back(object).unwrap() };
                }
            }
            assert!(heap.dirty_bytes() <= 2 * BLOCK_BYTES, "round {round}");
        }
    });
}

#[test]
fn a_bin_takes_what_a_larger_one_has_free_before_it_touches_a_page() {
    let soft = fake();
    with_heap(&soft, |heap| {
        let free = |heap: &mut Heap<Fake>, object: NonNull<u8>| {
            // SAFETY: allocated by the test, which does not use it afterwards.
            unsafe { heap.give_back(object).unwrap() };
        };
        for (small, large) in [(1000, 1200), (9000, 12_000)] {
            let lent = heap.alloc(bin(large)).unwrap();
            let live = heap.alloc(bin(large)).unwrap();
            free(heap, lent);
            let touched = heap.touched;
            assert_eq!(heap.alloc_for(bin(small), 16, false), Some(lent), "{small}");
            // SAFETY: a live object.
            let found = unsafe { Heap::bin_of(heap, lent.as_ptr()) };
            assert_eq!(found, Some(bin(large)), "it stays the larger bin's");
            free(heap, lent);
            assert_eq!(heap.alloc(bin(large)), Some(lent), "and goes back there");
            free(heap, lent);
            assert_eq!(heap.touched, touched);

            let aligned = heap.alloc_for(bin(1024), 1024, false).unwrap();
            assert!(aligned != lent && aligned.addr().get().is_multiple_of(1024));
            free(heap, aligned);
            let far = heap.alloc_for(bin(large * 3 / 5), 16, false).unwrap();
            assert!(far != lent, "too large by far");
            free(heap, far);
            free(heap, live);
        }
    });
}

#[test]
fn a_bin_that_has_borrowed_for_long_makes_objects_of_its_own() {
    let soft = fake();
    with_heap(&soft, |heap| {
        let mut last = heap.alloc(bin(1200)).unwrap();
        let live = heap.alloc(bin(1200)).unwrap();
        let mut borrowed = 0;
        for _ in 0..300 {
            // SAFETY: allocated by this test, which does not use it afterwards.
            unsafe { heap.give_back(last).unwrap() };
            let again = heap.alloc_for(bin(1000), 16, false).unwrap();
            let same = again == last;
            last = again;
            if !same {
                break;
            }
            borrowed += 1;
        }
        assert_eq!(borrowed, 128);
        for object in [last, live] {
            // SAFETY: as above.
            unsafe { heap.give_back(object).unwrap() };
        }
    });
}

#[test]
fn a_span_that_became_free_before_it_was_used_up_is_handed_out_once() {
    let soft = fake();
    with_heap(&soft, |heap| {
        // Two objects a span; the first goes before the second was made.
        let a = heap.alloc(bin(16_000)).unwrap();
        // SAFETY: not used afterwards.
        unsafe { heap.give_back(a).unwrap() };
        let all = [heap.alloc(bin(16_000)).unwrap()];
        // Another bin wants granules, and must not get theirs.
        let other: Vec<_> = (0..32).map(|_| heap.alloc(bin(32_000)).unwrap()).collect();
        let mut ranges: Vec<_> = all.iter().map(|o| (o.addr().get(), 16_000)).collect();
        ranges.extend(other.iter().map(|o| (o.addr().get(), 32_000)));
        ranges.sort_unstable();
        assert!(ranges.windows(2).all(|w| w[0].0 + w[0].1 <= w[1].0), "{ranges:x?}");
        for object in all.into_iter().chain(other) {
            // SAFETY: allocated above, not used afterwards.
            unsafe { heap.give_back(object).unwrap() };
        }
    });
}

#[test]
fn zeroed_objects_are_zero_after_any_use() {
    let soft = fake();
    with_heap(&soft, |heap| {
        let sizes: &[usize] = if cfg!(miri) { &[24, 3000] } else { &[24, 512, 3000, 40_000] };
        for &size in sizes {
            for _ in 0..3 {
                let object = heap.alloc_for(bin(size), 8, true).unwrap();
                // SAFETY: the object has `size` bytes, all initialised.
                unsafe {
                    let bytes = core::slice::from_raw_parts_mut(object.as_ptr(), size);
                    assert!(bytes.iter().all(|b| *b == 0));
                    bytes.fill(0xa5);
                    heap.give_back(object).unwrap();
                }
                heap.purge();
            }
        }
    });
}

#[test]
fn zeroed_objects_are_zero_where_other_bins_were() {
    let soft = fake();
    with_heap(&soft, |heap| {
        // Under Miri, which looks at every byte, little is much.
        let total = if cfg!(miri) { 32 << 10 } else { 256 << 10 };
        let all = [(512, 1024), (100_000, 20_000), (5000, 100_000)];
        for (first, then) in all.into_iter().take(if cfg!(miri) { 1 } else { 3 }) {
            let objects = total / first;
            let all: Vec<_> = (0..objects).map(|_| heap.alloc(bin(first)).unwrap()).collect();
            for object in all {
                // SAFETY: the object has this many bytes, and is not used afterwards.
                unsafe {
                    object.write_bytes(0xa5, first);
                    heap.give_back(object).unwrap();
                }
            }
            // The granules are free for other bins, and still hold what was written.
            heap.change(Heap::sort);
            let objects = total / then;
            let all: Vec<_> =
                (0..objects).map(|_| heap.alloc_for(bin(then), 8, true).unwrap()).collect();
            for object in all {
                // SAFETY: as above; all bytes are initialised.
                unsafe {
                    let bytes = core::slice::from_raw_parts(object.as_ptr(), then);
                    assert!(bytes.iter().all(|b| *b == 0), "{first} then {then}");
                    heap.give_back(object).unwrap();
                }
            }
        }
    });
}

#[test]
fn purge_gives_free_granules_back() {
    let soft = fake();
    with_heap(&soft, |heap| {
        let all: Vec<_> = (0..64).map(|_| heap.alloc(bin(16_000)).unwrap()).collect();
        let peak = heap.dirty_bytes();
        for object in all {
            // SAFETY: allocated above, not used afterwards.
            unsafe { heap.give_back(object).unwrap() };
        }
        assert!(heap.purge() >= peak / 2);
        assert_eq!(heap.dirty_bytes(), 0);
        assert!(heap.spans == 0);
    });
}

/// So many bytes of objects of about a granule each.
fn fill(heap: &mut Heap<Fake>, bytes: usize) -> Vec<NonNull<u8>> {
    (0..bytes / 16_000).map(|_| heap.alloc(bin(16_000)).unwrap()).collect()
}

/// # Safety
/// Nobody uses the objects any more.
unsafe fn free(heap: &mut Heap<Fake>, objects: Vec<NonNull<u8>>) {
    for object in objects {
        // SAFETY: the caller's.
        unsafe { heap.give_back(object).unwrap() };
    }
}

const MIB: usize = 1 << 20;

#[test]
#[cfg(not(miri))]
fn what_was_not_needed_for_a_while_is_given_back() {
    let soft = roomy();
    // SAFETY: no object is used after it was freed.
    with_heap(&soft, |heap| unsafe {
        heap.region().os().wait(1);
        let peak = fill(heap, 20 * MIB);
        free(heap, peak);
        assert!(heap.dirty_bytes() >= 20 * MIB, "the first period has begun");
        // A second in which it became so much, and one of which it is known.
        for _ in 0..6 {
            let some = fill(heap, 6 * MIB);
            heap.region().os().wait(400);
            free(heap, some);
        }
        let left = heap.dirty_bytes();
        assert!(
            (6 * MIB..7 * MIB).contains(&left),
            "6 MiB were needed, a quarter may stay: {left}"
        );
        heap.region().os().wait(5000);
        assert_eq!(heap.dirty_bytes(), left, "nothing becomes free, nothing is done");
    });
}

#[test]
#[cfg(not(miri))]
fn what_spans_of_big_objects_do_not_need_is_given_back() {
    for kinds in [1, 3, 6] {
        let soft = roomy();
        // SAFETY: no object is used after it was freed.
        with_heap(&soft, |heap| unsafe {
            heap.region().os().wait(1);
            let peak = fill(heap, 20 * MIB);
            free(heap, peak);
            // They become free and are taken again, always the same.
            for round in 0..60 {
                heap.region().os().wait(100);
                let size = 12_000 + round % kinds * 16_384;
                let object = heap.alloc(bin(size)).unwrap();
                heap.give_back(object).unwrap();
            }
            let left = heap.dirty_bytes();
            assert!(left < 2 * MIB, "{kinds}: {left}");
        });
    }
}

#[test]
#[cfg(not(miri))]
fn giving_back_what_was_not_needed_keeps_errno() {
    let soft = roomy();
    // SAFETY: no object is used after it was freed; the C library returns the address of this thread's errno.
    with_heap(&soft, |heap| unsafe {
        let os = soft.region().os();
        os.refuse_decommits();
        os.wait(1);
        *libc::__errno_location() = 12345;
        for mib in [20, 1, 1, 1, 1] {
            let objects = fill(heap, mib * MIB);
            os.wait(2000);
            free(heap, objects);
        }
        assert!(os.refused() > 0);
        assert_eq!(*libc::__errno_location(), 12345);
    });
}

#[test]
#[cfg(not(miri))]
fn a_thread_that_works_now_and_then_keeps_what_that_takes() {
    let soft = roomy();
    // SAFETY: no object is used after it was freed.
    with_heap(&soft, |heap| unsafe {
        heap.region().os().wait(1);
        for bytes in [2 * MIB, 2 * MIB, 3 * MIB / 2] {
            let objects = fill(heap, bytes);
            free(heap, objects);
            heap.region().os().wait(700);
        }
        let left = heap.dirty_bytes();
        assert!((2 * MIB..5 * MIB / 2).contains(&left), "a second needed all: {left}");
        for _ in 0..3 {
            let objects = fill(heap, 3 * MIB / 2);
            free(heap, objects);
            heap.region().os().wait(700);
        }
        let left = heap.dirty_bytes();
        assert!((3 * MIB / 2..2 * MIB).contains(&left), "none needed more: {left}");
    });
}

#[test]
fn with_little_free_nobody_looks_at_the_clock() {
    let soft = fake();
    soft.region().os().wait(1);
    // SAFETY: no object is used after it was freed.
    with_heap(&soft, |heap| unsafe {
        let objects = fill(heap, MIB / 4);
        free(heap, objects);
        assert_eq!(heap.region().os().looks(), 0);
        let objects = fill(heap, MIB);
        free(heap, objects);
        assert!((1..8).contains(&heap.region().os().looks()), "and with more, not at each span");
    });
}

#[test]
fn misuse_that_the_fast_path_sees() {
    let soft = fake();
    with_heap(&soft, |heap| {
        let a = heap.alloc(bin(48)).unwrap();
        let inside = a.map_addr(|x| x.checked_add(4).unwrap());
        let slot = a.map_addr(|x| x.checked_add(1 << 20).unwrap());
        let outside = NonNull::from(Box::leak(Box::new(0u64))).cast::<u8>();
        // SAFETY: misuse under test; none of these objects is used afterwards.
        unsafe {
            assert_eq!(heap.give_back(inside), Err(FreeFault::Misaligned));
            assert_eq!(heap.give_back(slot), Err(FreeFault::Outside));
            assert_eq!(heap.give_back(outside), Err(FreeFault::Outside));
            assert_eq!(heap.give_back(a), Ok(()));
            assert_eq!(heap.give_back(a), Err(FreeFault::NotAllocated));
            drop(Box::from_raw(outside.cast::<u64>().as_ptr()));
        }
    });
}

/// Frees `objects` and sorts; the test expects a panic, which stands for the abort.
fn sort_after_freeing(pick: impl Fn(NonNull<u8>, NonNull<u8>) -> Vec<NonNull<u8>>) {
    let soft = fake();
    let core = soft.attach().unwrap();
    // SAFETY: attached just now; the test ends in a panic.
    let heap = unsafe { &mut *core.as_ptr() };
    let a = heap.alloc(bin(48)).unwrap();
    let b = heap.alloc(bin(48)).unwrap();
    for object in pick(a, b) {
        // SAFETY: misuse under test.
        unsafe { heap.give_back(object).unwrap() };
    }
    heap.purge();
    for _ in 0..2 * bin(48).span_objects() {
        heap.alloc(bin(48)).unwrap();
    }
}

#[test]
#[should_panic(expected = "double free")]
fn sorting_finds_a_double_free() {
    // Three frees of two objects, with a third live object that keeps the count below the span's.
    sort_after_freeing(|a, b| std::vec![a, b, a]);
}

#[test]
#[should_panic(expected = "inside an object")]
fn sorting_finds_a_wrong_slot() {
    sort_after_freeing(|a, _| std::vec![a.map_addr(|x| x.checked_add(16).unwrap())]);
}

#[test]
fn exhaustion_is_none_and_memory_is_still_served_after_frees() {
    let os = Fake::new();
    os.limit_reservations(1 << layout::SLOT_SHIFT_MIN);
    // The slot's head, one step of spans and one of objects; then nothing more.
    os.fail_commits_after(3);
    let soft = Soft::new(os);
    with_heap(&soft, |heap| {
        let mut all = Vec::new();
        while let Some(object) = heap.alloc(bin(4096)) {
            all.push(object);
        }
        assert!(all.len() >= 200, "{}", all.len());
        for object in all.drain(..) {
            // SAFETY: allocated above, not used afterwards.
            unsafe { heap.give_back(object).unwrap() };
        }
        let object = heap.alloc(bin(200_000)).unwrap();
        // SAFETY: as above.
        unsafe { heap.give_back(object).unwrap() };
    });
}

#[test]
fn without_address_space_there_is_no_heap() {
    let os = Fake::new();
    os.limit_reservations(1 << 20);
    assert!(Soft::new(os).attach().is_none());
}

#[test]
fn an_exhausted_granule_gathers_what_is_freed_of_it_until_its_turn() {
    let soft = fake();
    let core = soft.attach().unwrap();
    let bin = bin(512);
    let per_granule = bin.span_objects();
    // SAFETY: attached just now; the heap is this test's.
    let alloc = || unsafe { (*core.as_ptr()).alloc(bin).unwrap() };
    // SAFETY: as above; each object is freed once.
    let gives = |object: NonNull<u8>| unsafe { Heap::give(core.as_ptr(), object.as_ptr()) };
    let all: Vec<_> = (0..2 * per_granule + 1).map(|_| alloc()).collect();
    let (first, second) = (all[0], all[per_granule]);
    // The second one waits since the third was begun; the first had its turn before, and nothing for it.
    assert!(gives(second));
    assert!(!gives(first));
    // SAFETY: the heap has the object, and the free was refused just now.
    let noticed = unsafe { Heap::give_noticed(core.as_ptr(), first.as_ptr()) };
    assert_eq!(noticed, Some(Ok(())));
    // What was begun comes first.
    let page = 4096 / bin.size();
    (1..page).for_each(|_| assert!(![first, second].contains(&alloc())));
    assert_eq!([alloc(), alloc()], [second, first]);
    // SAFETY: attached above, not used afterwards.
    unsafe { soft.detach(core) };
}

#[test]
fn a_dead_threads_heap_is_emptied_by_those_who_free_into_it_and_then_adopted() {
    let soft = fake();
    let (first, objects) = {
        let core = soft.attach().unwrap();
        // SAFETY: attached just now.
        let heap = unsafe { &mut *core.as_ptr() };
        let objects: Vec<_> = (0..300).map(|_| heap.alloc(bin(1024)).unwrap()).collect();
        // SAFETY: the reference has ended.
        unsafe { soft.detach(core) };
        (core, objects)
    };
    let before = soft.usage();
    assert_eq!(before.live[bin(1024).index()], 300);
    for object in objects {
        // SAFETY: allocated above, not used afterwards.
        unsafe { soft.free_detached(object).unwrap() };
    }
    let after = soft.usage();
    assert_eq!(after.live.iter().sum::<u64>(), 0);
    assert_eq!(after.remote_frees, 300);
    // As little as that may be kept.
    assert_eq!(after.resident_bytes, soft.purge_orphans() as u64);
    assert_eq!(soft.usage().resident_bytes, 0);
    assert_eq!(soft.attach(), Some(first));
}

#[test]
#[cfg(not(miri))]
fn a_thread_may_have_several_slots() {
    let soft = Soft::new(Linux);
    let core = soft.attach().unwrap();
    // SAFETY: attached just now; no other reference is alive while this one is used.
    let heap = unsafe { &mut *core.as_ptr() };
    let more = soft.extend(heap).unwrap();
    // SAFETY: as above.
    let object = unsafe { (*more.as_ptr()).alloc(bin(64)).unwrap() };
    // SAFETY: the object is not used afterwards.
    unsafe {
        heap.give_back(object).unwrap();
        assert_eq!((*more.as_ptr()).alloc(bin(64)), Some(object), "freed locally, not posted");
        soft.detach(core);
    }
    let again = [soft.attach().unwrap(), soft.attach().unwrap()];
    assert!(again.contains(&core) && again.contains(&more));
}

#[test]
#[cfg(not(miri))]
fn between_metadata_and_objects_nothing_is_readable_however_large_the_heap() {
    let readable = |at: *mut u8| {
        // Whether the kernel can read it, without a signal if not.
        // SAFETY: the kernel checks the address.
        unsafe {
            let pipe = &mut [0; 2];
            assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
            let read = libc::write(pipe[1], at.cast(), 1) == 1;
            pipe.iter().for_each(|end| assert_eq!(libc::close(*end), 0));
            read
        }
    };
    with_heap(&Soft::new(Linux), |heap| {
        let guard = heap.slot().wrapping_add(layout::OBJECTS_OFFSET - 1);
        // Nobody writes to the objects, so that only metadata takes memory: 12 MiB.
        for step in 1..=13 {
            for _ in 0..1000 {
                heap.alloc(bin(BLOCK_BYTES)).unwrap();
            }
            assert!(readable(guard.wrapping_add(1)) && !readable(guard), "{step}");
        }
    });
}

/// Linux, until it is told to refuse commits of some size and more.
#[cfg_attr(miri, expect(dead_code, reason = "its tests need the real system"))]
#[derive(Debug)]
struct Refusing {
    os: Linux,
    commits_from: AtomicUsize,
}

#[cfg_attr(miri, expect(dead_code, reason = "as above"))]
impl Refusing {
    fn soft() -> Soft<Self> {
        Soft::new(Self { os: Linux, commits_from: AtomicUsize::new(usize::MAX) })
    }
}

// SAFETY: forwards to Linux.
unsafe impl Os for Refusing {
    fn page_bytes(&self) -> usize {
        self.os.page_bytes()
    }
    fn reserve(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        self.os.reserve(bytes, align)
    }
    unsafe fn commit(&self, start: NonNull<u8>, bytes: usize) -> bool {
        // SAFETY: forwarded.
        bytes < self.commits_from.load(Ordering::Relaxed) && unsafe { self.os.commit(start, bytes) }
    }
    unsafe fn populate(&self, _: NonNull<u8>, _: usize) {}
    unsafe fn decommit(&self, start: NonNull<u8>, bytes: usize) -> bool {
        // SAFETY: forwarded.
        unsafe { self.os.decommit(start, bytes) }
    }
    unsafe fn release(&self, start: NonNull<u8>, bytes: usize) {
        // SAFETY: forwarded.
        unsafe { self.os.release(start, bytes) }
    }
}

#[test]
#[cfg(not(miri))]
fn a_time_without_memory_costs_no_slots() {
    let soft = Refusing::soft();
    soft.region().os().commits_from.store(1, Ordering::Relaxed);
    for _ in 0..2 * layout::SLOTS_MAX {
        assert!(soft.attach().is_none());
    }
    soft.region().os().commits_from.store(usize::MAX, Ordering::Relaxed);
    assert!(soft.attach().is_some());
}

#[test]
#[cfg(not(miri))]
fn exhaustion_takes_one_slot_at_most() {
    let soft = Refusing::soft();
    let core = soft.attach().unwrap();
    // SAFETY: attached just now; no reference is kept.
    unsafe {
        (*core.as_ptr()).alloc(bin(64)).unwrap();
        let more = soft.extend(&mut *core.as_ptr()).unwrap();
        (*more.as_ptr()).alloc(bin(64)).unwrap();
        soft.region().os().commits_from.store(256 << 10, Ordering::Relaxed);
        while soft.alloc_slow(core, bin(100_000), 8, false).is_some() {}
        assert!(soft.alloc_slow(core, bin(100_000), 8, false).is_none());
        let mut heaps = 0;
        let mut each = core.as_ptr();
        while !each.is_null() {
            heaps += 1;
            each = (*each).next;
        }
        assert!(heaps <= 3, "{heaps} heaps");
    }
}

#[test]
#[cfg(not(miri))]
fn in_a_fork_child_the_chain_of_a_dead_thread_falls_apart() {
    let soft = Soft::new(Linux);
    let first = soft.attach().unwrap();
    // SAFETY: attached to this test, which plays the parts of several threads in turn.
    unsafe {
        let second = soft.extend(&mut *first.as_ptr()).unwrap();
        let object = (*first.as_ptr()).alloc(bin(64)).unwrap();
        soft.fork_child(None);
        assert_eq!(soft.attach(), Some(second));
        assert!((*first.as_ptr()).next.is_null() && (*second.as_ptr()).next.is_null());
        (*second.as_ptr()).give_back(object).unwrap();
        let granule = (*first.as_ptr()).granule_of(object.as_ptr().cast());
        let given = *(*first.as_ptr()).list_of(granule) == object.as_ptr().cast();
        assert!(!given, "an object of a heap that is nobody's was not posted");
        assert_eq!(soft.attach(), Some(first));
        // Forks of forks count each orphan once.
        soft.fork_child(Some(first));
        soft.fork_child(Some(first));
        assert_eq!(soft.attach(), Some(second));
        assert_ne!(soft.attach(), Some(second));
    }
}

#[test]
fn what_the_system_does_not_take_back_is_not_taken_for_zero() {
    let os = Fake::new();
    os.limit_reservations(1 << layout::SLOT_SHIFT_MIN);
    os.refuse_decommits();
    let soft = Soft::new(os);
    with_heap(&soft, |heap| {
        let object = heap.alloc(bin(100_000)).unwrap();
        // SAFETY: the object has this many bytes, and is not used afterwards.
        unsafe {
            object.write_bytes(0xa5, 100_000);
            heap.give_back(object).unwrap();
        }
        assert_eq!(heap.purge(), 0);
        let object = heap.alloc_for(bin(100_000), 8, true).unwrap();
        // SAFETY: as above; all bytes are initialised.
        unsafe {
            assert!(core::slice::from_raw_parts(object.as_ptr(), 100_000).iter().all(|b| *b == 0));
            heap.give_back(object).unwrap();
        }
    });
}

impl<O: Os> Heap<O> {
    /// Bytes that may have memory behind them.
    pub(super) fn dirty_bytes(&self) -> usize {
        let mut usage = Usage::ZERO;
        self.region().add_usage(&mut usage);
        usage.resident_bytes as usize
    }

    /// `obj_free` without a known class.
    pub(super) unsafe fn give_back(&mut self, object: NonNull<u8>) -> Result<(), FreeFault> {
        use crate::ObjectAllocator;
        // SAFETY: the caller's.
        unsafe { self.obj_free(object, None) }
    }
}
