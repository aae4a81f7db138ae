//! What is at hand without the system, and objects that are bits of their span.
extern crate std;
use super::tests::{bin, fake, with_heap};
use super::*;
use crate::hal::Hal;
use crate::object::FreeFault;
use crate::os::Fake;
use crate::soft::layout::GRANULE_BYTES;
use crate::soft::lists::EMPTIED;
use core::ptr::NonNull;
use std::vec::Vec;

#[test]
fn what_is_at_hand_is_of_the_list_then_of_what_waits_then_of_used_memory() {
    let soft = fake();
    with_heap(&soft, |heap| {
        // SAFETY: the heap is this thread's.
        let at_hand = |heap: &mut Heap<Fake>, bin: Bin| unsafe {
            NonNull::new(Heap::take_at_hand(heap, bin))
        };
        for size in [48, 5000] {
            let bin = bin(size);
            assert_eq!(at_hand(heap, bin), None, "nothing was used before");
            let mut objects: Vec<_> = (0..600).map(|_| heap.alloc(bin).unwrap()).collect();
            let listed = *objects.last().unwrap();
            // SAFETY: allocated above, not used afterwards.
            unsafe { heap.give_back(listed).unwrap() };
            assert_eq!(at_hand(heap, bin), Some(listed));
            // Half of each granule, which waits then.
            for object in objects.iter().skip(1).step_by(2) {
                // SAFETY: as above.
                unsafe { heap.give_back(*object).unwrap() };
            }
            objects = objects.into_iter().step_by(2).collect();
            objects.extend(core::iter::from_fn(|| at_hand(heap, bin)).take(200));
            let posted = objects.pop().unwrap();
            // SAFETY: as above.
            unsafe { soft.free_detached(posted).unwrap() };
            // SAFETY: the heap is this thread's.
            while let Some(listed) = NonNull::new(unsafe { Heap::take(heap, bin.place()) }) {
                objects.push(listed.cast());
            }
            assert_eq!(at_hand(heap, bin), None, "there is mail");
            objects.push(heap.alloc(bin).unwrap());
            heap.sort();
            assert_eq!(soft.usage().live[bin.index()], objects.len() as u64);
            let count = objects.len();
            objects.sort();
            objects.dedup();
            assert_eq!(objects.len(), count, "each once");
            for object in objects {
                // SAFETY: as above.
                unsafe { heap.give_back(object).unwrap() };
            }
            heap.sort();
        }
        let big = at_hand(heap, bin(40_000)).expect("memory that was used before");
        // SAFETY: as above.
        unsafe { heap.give_back(big).unwrap() };
        heap.purge();
        assert_eq!(at_hand(heap, bin(40_000)), None);
    });
}

#[test]
fn spans_of_big_objects_that_become_free_are_held_back_for_their_bins() {
    let soft = fake();
    with_heap(&soft, |heap| {
        let give_back = |heap: &mut Heap<Fake>, object: NonNull<u8>| {
            // SAFETY: allocated by the callers, not used afterwards.
            unsafe { heap.give_back(object) }
        };
        let (one, three) = (bin(2 * GRANULE_BYTES), bin(20_000));
        assert!(one.is_alone() && three.span_objects() == 3);
        let alone: Vec<_> = (0..EMPTIED + 3).map(|_| heap.alloc(one).unwrap()).collect();
        assert_eq!(heap.spans as usize, EMPTIED + 3);
        for object in &alone {
            give_back(heap, *object).unwrap();
            assert_eq!(give_back(heap, *object), Err(FreeFault::NotAllocated), "at once");
        }
        assert_eq!(heap.spans as usize, EMPTIED, "so many");
        assert_eq!(give_back(heap, alone[0]), Err(FreeFault::NotAllocated), "given up");
        // In turns, no span is made.
        for _ in 0..3 * EMPTIED {
            let (a, b) = (heap.alloc(one).unwrap(), heap.alloc(one).unwrap());
            give_back(heap, a).unwrap();
            give_back(heap, b).unwrap();
        }
        assert_eq!(heap.spans as usize, EMPTIED);
        // One of which something is in use comes before one that is free altogether.
        let objects: Vec<_> = (0..6).map(|_| heap.alloc(three).unwrap()).collect();
        give_back(heap, objects[4]).unwrap();
        objects[..3].iter().for_each(|object| give_back(heap, *object).unwrap());
        let spans = heap.spans;
        assert_eq!(heap.alloc(three).unwrap(), objects[4]);
        assert_eq!((heap.alloc(three).unwrap(), heap.spans), (objects[0], spans));
        // What is in use again is not given up.
        let left = [objects[0], objects[3], objects[4], objects[5]];
        left.iter().for_each(|object| object_fill(*object, 20_000));
        for size in (1..3 * EMPTIED).map(|n| n % 7 * GRANULE_BYTES + 9000) {
            let object = heap.alloc(bin(size)).unwrap();
            object_fill(object, size);
            give_back(heap, object).unwrap();
        }
        left.iter().for_each(|object| assert!(object_is_full(*object, 20_000)));
        left.iter().for_each(|object| give_back(heap, *object).unwrap());
        heap.sort();
        assert_eq!(heap.spans, 0, "given up");
    });
}

fn object_fill(object: NonNull<u8>, size: usize) {
    // SAFETY: the callers allocated as much.
    unsafe {
        object.write_bytes(object.addr().get() as u8 ^ (object.addr().get() >> 14) as u8, size)
    };
}

fn object_is_full(object: NonNull<u8>, size: usize) -> bool {
    let byte = object.addr().get() as u8 ^ (object.addr().get() >> 14) as u8;
    // SAFETY: as above, and filled.
    unsafe { core::slice::from_raw_parts(object.as_ptr(), size) }.iter().all(|b| *b == byte)
}

#[test]
fn an_object_alone_in_its_span_grows_while_what_follows_is_free() {
    let soft = fake();
    with_heap(&soft, |heap| {
        let granules = |n: usize| bin(n * GRANULE_BYTES);
        // SAFETY: the object is this heap's.
        let lengthen = |heap: &mut Heap<Fake>, object: NonNull<u8>, to: Bin| unsafe {
            Heap::lengthen(heap, object.as_ptr(), to)
        };
        let live = |bin: Bin| soft.usage().live[bin.index()];
        let a = heap.alloc(granules(1)).unwrap();
        // SAFETY: in the object.
        unsafe { a.add(GRANULE_BYTES - 1).write(7) };
        assert!(!lengthen(heap, a, bin(20_000)), "such share their spans");
        assert!(lengthen(heap, a, granules(2)) && lengthen(heap, a, granules(5)));
        assert_eq!((live(granules(1)), live(granules(5))), (0, 1));
        assert_eq!(heap.dirty_bytes(), 5 * GRANULE_BYTES);
        let b = heap.alloc(granules(1)).unwrap();
        assert_eq!(b.addr().get(), a.addr().get() + 5 * GRANULE_BYTES);
        let c = heap.alloc(granules(2)).unwrap();
        // SAFETY: not used afterwards.
        unsafe { heap.give_back(c).unwrap() };
        let spans = heap.spans;
        assert!(!lengthen(heap, a, granules(8)), "the next object lies there");
        assert_eq!(heap.spans, spans, "nothing is given up in vain");
        // SAFETY: not used afterwards.
        unsafe { heap.give_back(b).unwrap() };
        assert!(lengthen(heap, a, granules(16)), "what became free of late is not held back");
        // SAFETY: in the object.
        unsafe {
            a.add(16 * GRANULE_BYTES - 1).write(1);
            assert_eq!(a.add(GRANULE_BYTES - 1).read(), 7);
        }
        let c = heap.alloc(granules(13)).unwrap();
        let d = heap.alloc(granules(1)).unwrap();
        assert!(!lengthen(heap, d, granules(4)), "that would be in two blocks");
        assert!(lengthen(heap, d, granules(3)));
        // SAFETY: not used afterwards.
        unsafe {
            heap.give_back(a).unwrap();
            assert!(!lengthen(heap, a, granules(16)), "it was freed");
            assert_eq!(heap.give_back(a), Err(FreeFault::NotAllocated));
            heap.give_back(c).unwrap();
            heap.give_back(d).unwrap();
        }
        assert_eq!((heap.purge(), heap.dirty_bytes()), (32 * GRANULE_BYTES, 0));
    });
}
