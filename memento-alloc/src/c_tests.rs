//! C semantics over a heap whose answers the test decides.

use super::*;
use std::cell::Cell;
use std::sync::Mutex;
use std::vec::Vec;

/// Counts, and hands out addresses of its own buffer, or refuses.
struct Scripted {
    refuse: bool,
    calls: Mutex<Vec<Call>>,
    memory: Box<[Cell<u8>]>,
}

use std::boxed::Box;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Call {
    Allocate(usize, usize),
    Zeroed(usize, usize),
    Free,
    FreeSized(usize, usize),
    Reallocate(usize, usize),
}

// SAFETY: for the tests' single thread only; `memory` is never written through.
unsafe impl Sync for Scripted {}

impl Scripted {
    fn new(refuse: bool) -> Self {
        let memory = (0..64).map(|_| Cell::new(0)).collect();
        Self { refuse, calls: Mutex::new(Vec::new()), memory }
    }

    fn answer(&self, call: Call) -> Option<NonNull<u8>> {
        self.calls.lock().unwrap().push(call);
        if self.refuse { None } else { Some(self.object()) }
    }

    fn object(&self) -> NonNull<u8> {
        NonNull::from(&self.memory[0]).cast()
    }

    fn raw(&self) -> *mut c_void {
        self.object().as_ptr().cast()
    }

    fn calls(&self) -> Vec<Call> {
        core::mem::take(&mut self.calls.lock().unwrap())
    }
}

// SAFETY: no test writes to what it gets, so that overlaps do no harm; nothing here panics.
unsafe impl Heap for Scripted {
    fn allocate(&self, size: usize, align: usize) -> Option<NonNull<u8>> {
        self.answer(Call::Allocate(size, align))
    }
    fn allocate_zeroed(&self, size: usize, align: usize) -> Option<NonNull<u8>> {
        self.answer(Call::Zeroed(size, align))
    }
    unsafe fn deallocate(&self, _: NonNull<u8>) {
        self.answer(Call::Free);
    }
    unsafe fn deallocate_sized(&self, _: NonNull<u8>, size: usize, align: usize) {
        self.answer(Call::FreeSized(size, align));
    }
    unsafe fn reallocate(&self, _: NonNull<u8>, size: usize, align: usize) -> Option<NonNull<u8>> {
        self.answer(Call::Reallocate(size, align))
    }
    unsafe fn usable_size(&self, _: NonNull<u8>) -> usize {
        self.memory.len()
    }
    fn purge(&self) {}
    fn footprint(&self) -> Footprint {
        Footprint { committed: 100, peak: 120, live: 60, mapped_objects: 1, mapped: 40 }
    }
}

fn errno() -> c_int {
    // SAFETY: libc returns the address of this thread's errno.
    unsafe { *libc::__errno_location() }
}

#[test]
fn alignment_follows_the_size() {
    let heap = Scripted::new(false);
    malloc(&heap, 0);
    malloc(&heap, 15);
    malloc(&heap, 16);
    calloc(&heap, 3, 5);
    calloc(&heap, 4, 4);
    assert_eq!(
        heap.calls(),
        [
            Call::Allocate(0, 8),
            Call::Allocate(15, 8),
            Call::Allocate(16, 16),
            Call::Zeroed(15, 8),
            Call::Zeroed(16, 16)
        ]
    );
}

#[test]
fn overflow_and_requests_beyond_half_the_address_space_never_reach_the_heap() {
    let heap = Scripted::new(false);
    let object = heap.raw();
    let null = null_mut();
    for attempt in [
        &(|| malloc(&heap, usize::MAX)) as &dyn Fn() -> *mut c_void,
        &|| malloc(&heap, SIZE_LIMIT + 1),
        &|| calloc(&heap, usize::MAX / 2, 3),
        &|| calloc(&heap, 1, SIZE_LIMIT + 1),
        // SAFETY: the object is this heap's, which never frees.
        &|| unsafe { realloc(&heap, object, usize::MAX) },
        // SAFETY: as above.
        &|| reallocarray(usize::MAX, 2, |bytes| unsafe { realloc(&heap, object, bytes) }),
        &|| aligned_alloc(&heap, 64, SIZE_LIMIT + 1),
        &|| memalign(&heap, 64, usize::MAX),
        &|| valloc(&heap, usize::MAX),
        &|| pvalloc(&heap, usize::MAX),
    ] {
        set_errno(0);
        assert_eq!((attempt(), errno()), (null, libc::ENOMEM));
    }
    assert_eq!(operator_new(&heap, usize::MAX), null);
    assert_eq!(operator_new_aligned(&heap, usize::MAX, 64), null);
    assert_eq!(heap.calls(), []);
}

#[test]
fn a_refusal_is_null_and_enomem() {
    let heap = Scripted::new(true);
    set_errno(0);
    assert_eq!((malloc(&heap, 1), errno()), (null_mut(), libc::ENOMEM));
    set_errno(0);
    assert_eq!((calloc(&heap, 1, 1), errno()), (null_mut(), libc::ENOMEM));
    set_errno(0);
    // SAFETY: the object is this heap's, which never frees.
    let moved = unsafe { realloc(&heap, heap.raw(), 1) };
    assert_eq!((moved, errno()), (null_mut(), libc::ENOMEM));
    set_errno(7);
    assert_eq!((operator_new(&heap, 1), errno()), (null_mut(), 7));
}

#[test]
fn realloc_to_zero_frees_and_is_no_error() {
    let heap = Scripted::new(false);
    set_errno(7);
    // SAFETY: the object is this heap's, which never frees.
    let moved = unsafe { realloc(&heap, heap.raw(), 0) };
    assert_eq!((moved, errno(), heap.calls()), (null_mut(), 7, [Call::Free].to_vec()));
    // SAFETY: null is allowed.
    unsafe { realloc(&heap, null_mut(), 0) };
    // SAFETY: null is allowed.
    unsafe { realloc(&heap, null_mut(), 24) };
    // SAFETY: the object is this heap's, which never frees.
    reallocarray(3, 8, |bytes| unsafe { realloc(&heap, heap.raw(), bytes) });
    assert_eq!(
        heap.calls(),
        [Call::Allocate(0, 8), Call::Allocate(24, 16), Call::Reallocate(24, 16)]
    );
}

#[test]
fn posix_memalign_returns_its_errors_and_touches_nothing_else() {
    let heap = Scripted::new(false);
    let refusing = Scripted::new(true);
    let mut out = heap.raw();
    let kept = out;
    set_errno(7);
    for align in [0, 1, 2, 4, 12, 24, usize::MAX] {
        // SAFETY: `out` is a local.
        assert_eq!(unsafe { posix_memalign(&heap, &mut out, align, 8) }, libc::EINVAL);
    }
    // SAFETY: `out` is a local.
    assert_eq!(unsafe { posix_memalign(&refusing, &mut out, 8, 8) }, libc::ENOMEM);
    assert_eq!((out, errno(), heap.calls()), (kept, 7, [].to_vec()));
    // SAFETY: `out` is a local.
    assert_eq!(unsafe { posix_memalign(&heap, &mut out, 8, 40) }, 0);
    // SAFETY: `out` is a local.
    assert_eq!(unsafe { posix_memalign(&heap, &mut out, 4096, 1) }, 0);
    assert_eq!(heap.calls(), [Call::Allocate(40, 16), Call::Allocate(1, 4096)]);
}

#[test]
fn odd_alignments_are_einval_or_rounded_up() {
    let heap = Scripted::new(false);
    for align in [0, 3, 24] {
        set_errno(0);
        assert_eq!((aligned_alloc(&heap, align, 8), errno()), (null_mut(), libc::EINVAL));
        assert_eq!(operator_new_aligned(&heap, 8, align), null_mut());
    }
    set_errno(0);
    assert_eq!((memalign(&heap, usize::MAX, 8), errno()), (null_mut(), libc::EINVAL));
    assert_eq!(heap.calls(), []);
    memalign(&heap, 0, 8);
    memalign(&heap, 24, 8);
    aligned_alloc(&heap, 1, 100);
    assert_eq!(
        heap.calls(),
        [Call::Allocate(8, 8), Call::Allocate(8, 32), Call::Allocate(100, 16)]
    );
}

#[test]
fn pages_for_valloc_and_pvalloc() {
    let heap = Scripted::new(false);
    let page = page_bytes();
    valloc(&heap, 1);
    pvalloc(&heap, 0);
    pvalloc(&heap, page + 1);
    assert_eq!(
        heap.calls(),
        [Call::Allocate(1, page), Call::Allocate(page, page), Call::Allocate(2 * page, page)]
    );
}

#[test]
fn sized_frees_name_the_alignment_that_was_asked_for() {
    let heap = Scripted::new(false);
    // SAFETY: null is allowed; the object is this heap's, which never frees.
    unsafe {
        free(&heap, null_mut());
        free_sized(&heap, null_mut(), 8);
        free_aligned_sized(&heap, null_mut(), 8, 8);
        assert_eq!(heap.calls(), []);
        free(&heap, heap.raw());
        free_sized(&heap, heap.raw(), 24);
        free_aligned_sized(&heap, heap.raw(), 8, 24);
        free_aligned_sized(&heap, heap.raw(), 64, 24);
        assert_eq!(malloc_usable_size(&heap, null_mut()), 0);
        assert_eq!(malloc_usable_size(&heap, heap.raw()), 64);
    }
    assert_eq!(
        heap.calls(),
        [Call::Free, Call::FreeSized(24, 16), Call::FreeSized(24, 16), Call::FreeSized(24, 64)]
    );
}

#[test]
fn mallinfo_splits_mapped_objects_from_the_rest() {
    let heap = Scripted::new(false);
    let info = crate::c_report::mallinfo2(&heap);
    assert_eq!((info.arena, info.hblks, info.hblkhd, info.usmblks), (60, 1, 40, 120));
    assert_eq!((info.uordblks, info.fordblks, info.keepcost), (20, 40, 40));
    assert_eq!(crate::c_report::mallinfo(&heap).0, [60, 1, 0, 1, 40, 120, 0, 20, 40, 40]);
    assert_eq!(malloc_trim(&heap), 0);
}

#[test]
fn json_is_cut_off_and_ended_like_snprintf() {
    let write = |out: &mut [u8]| {
        let text = b"{\"live\":60}";
        let taken = text.len().min(out.len());
        out[..taken].copy_from_slice(&text[..taken]);
        text.len()
    };
    let mut buffer = [b'x'; 16];
    // SAFETY: null with no bytes is allowed; the buffer holds what is said.
    unsafe {
        assert_eq!(stats_json(null_mut(), 0, write), 11);
        assert_eq!(stats_json(buffer.as_mut_ptr(), 1, write), 11);
        assert_eq!(&buffer[..2], b"\0x");
        assert_eq!(stats_json(buffer.as_mut_ptr(), 5, write), 11);
        assert_eq!(&buffer[..6], b"{\"li\0x");
        assert_eq!(stats_json(buffer.as_mut_ptr(), 16, write), 11);
        assert_eq!(&buffer[..12], b"{\"live\":60}\0");
    }
}
