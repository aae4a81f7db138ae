//! The calls that V8 makes, on the kernel that is there.

use super::backing::wants_huge_pages;
use super::*;
use core::cell::Cell;
use core::ptr;
use std::boxed::Box;
use std::fs;
use std::string::String;
use std::vec::Vec;

/// What V8 wants of a mapping: its random addresses.
const WISHES: [usize; 3] = [0x0b02_aad8_0000, 0x340c_4430_0000, 0x2dfd_0e58_0000];

fn pages() -> Box<V8Pages> {
    Box::new(V8Pages::new())
}

fn map(pages: &V8Pages, wish: usize, bytes: usize) -> *mut c_void {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let wish = ptr::with_exposed_provenance_mut(wish);
    // SAFETY: a fresh mapping.
    let at = unsafe { pages.mmap(wish, bytes, libc::PROT_NONE, flags, -1, 0) };
    assert_ne!(at, libc::MAP_FAILED);
    at
}

fn unmap(pages: &V8Pages, at: *mut c_void, bytes: usize) {
    // SAFETY: a mapping of the test's.
    assert_eq!(unsafe { pages.munmap(at, bytes) }, 0);
}

fn protect(pages: &V8Pages, at: *mut c_void, bytes: usize, prot: c_int) {
    // SAFETY: a mapping of the test's.
    assert_eq!(unsafe { pages.mprotect(at, bytes, prot) }, 0);
}

/// A page as V8 gets it: mapped, kept from children, its slack cut off, opened.
fn page(pages: &V8Pages, wish: usize) -> *mut u8 {
    let at = map(pages, wish, UNIT_BYTES + shape::SLACK);
    // SAFETY: mapped just now.
    assert_eq!(unsafe { pages.madvise(at, UNIT_BYTES + shape::SLACK, libc::MADV_DONTFORK) }, 0);
    unmap(pages, at.wrapping_byte_add(UNIT_BYTES), shape::SLACK);
    protect(pages, at, UNIT_BYTES, OPEN);
    at.cast()
}

/// What V8 does with a page that it does not need for now.
fn close(pages: &V8Pages, at: *mut u8) {
    protect(pages, at.cast(), UNIT_BYTES, libc::PROT_NONE);
    // SAFETY: a page of the test's.
    assert_eq!(unsafe { pages.madvise(at.cast(), UNIT_BYTES, libc::MADV_DONTNEED) }, 0);
}

fn fill(at: *mut u8, byte: u8) {
    // SAFETY: an open page of the test's.
    unsafe { at.write_bytes(byte, UNIT_BYTES) };
}

fn contents(at: *mut u8) -> Vec<u8> {
    // SAFETY: an open page of the test's.
    unsafe { core::slice::from_raw_parts(at, UNIT_BYTES) }.to_vec()
}

/// How many of a page's small pages have memory.
fn backed(at: *mut u8) -> usize {
    let mut backed = [0; UNIT_BYTES / PART_BYTES];
    // SAFETY: a page of the range.
    assert!(unsafe { calls::mincore(at.cast(), UNIT_BYTES, &mut backed) });
    backed.iter().filter(|backed| **backed & 1 != 0).count()
}

/// The kernel's protection at an address, as in `/proc/self/maps`.
fn protection(at: *mut c_void) -> String {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| {
        let (range, _) = line.split_once(' ').unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        (number(from)..number(to)).contains(&at.addr())
    });
    line.unwrap().split_whitespace().nth(1).unwrap().into()
}

#[test]
fn pages_lie_side_by_side_and_read_as_zero() {
    let pages = pages();
    let [a, b, c] = WISHES.map(|wish| page(&pages, wish));
    assert!(a.addr().is_multiple_of(UNIT_BYTES));
    assert_eq!([b, c], [a.wrapping_add(UNIT_BYTES), a.wrapping_add(2 * UNIT_BYTES)]);
    for (byte, at) in [a, b, c].into_iter().enumerate() {
        assert!(contents(at).iter().all(|b| *b == 0));
        fill(at, byte as u8 + 1);
    }
    assert!([a, b, c].map(|at| contents(at)[UNIT_BYTES - 1]) == [1, 2, 3]);
    assert_eq!(pages.usage(), (3, 0));
}

#[test]
fn a_page_that_comes_back_is_the_same_memory_and_zero() {
    let pages = pages();
    let at = page(&pages, WISHES[0]);
    fill(at, 7);
    close(&pages, at);
    assert!(backed(at) > 0, "its memory is kept");
    protect(&pages, at.cast(), UNIT_BYTES, OPEN);
    assert!(contents(at).iter().all(|b| *b == 0));
    fill(at, 8);
    unmap(&pages, at.cast(), UNIT_BYTES);
    assert_eq!(page(&pages, WISHES[1]), at, "the lowest free page");
    assert!(contents(at).iter().all(|b| *b == 0));
}

#[test]
fn what_is_kept_is_bounded_and_goes_back_at_an_invocations_end() {
    let pages = pages();
    let all: Vec<_> = (0..KEPT_LEAST + 8).map(|_| page(&pages, WISHES[0])).collect();
    all.iter().for_each(|at| fill(*at, 1));
    all.iter().for_each(|at| unmap(&pages, at.cast(), UNIT_BYTES));
    assert_eq!(pages.usage(), (0, KEPT_LEAST));
    assert!(all.iter().filter(|at| backed(**at) > 0).count() <= KEPT_LEAST);
    pages.purge();
    assert_eq!(pages.usage(), (0, 0));
    assert!(all.iter().all(|at| backed(*at) == 0));
}

thread_local! {
    /// What a test's clock shows, and how often it was looked at.
    static CLOCK: Cell<(u64, usize)> = const { Cell::new((1, 0)) };
}

fn clock() -> u64 {
    let (now, looks) = CLOCK.get();
    CLOCK.set((now, looks + 1));
    now
}

fn wait(milliseconds: u64) {
    CLOCK.set((CLOCK.get().0 + milliseconds, CLOCK.get().1));
}

#[test]
fn a_process_that_lives_for_long_keeps_little() {
    let pages = Box::new(V8Pages::with_clock(Some(clock)));
    let map = |count: usize| -> Vec<_> { (0..count).map(|_| page(&pages, WISHES[0])).collect() };
    let unmap = |all: &[*mut u8]| all.iter().for_each(|at| unmap(&pages, at.cast(), UNIT_BYTES));
    unmap(&map(KEPT_ANYWAY));
    assert_eq!(CLOCK.get().1, 0, "nobody looks at the clock because of so few");
    let all = map(12);
    all.iter().for_each(|at| fill(*at, 1));
    unmap(&all);
    assert_eq!(pages.usage(), (0, 12), "the first second begins");
    wait(999);
    unmap(&map(12));
    assert_eq!(pages.usage(), (0, 12));
    wait(1);
    unmap(&map(1));
    assert_eq!(pages.usage(), (0, KEPT_ANYWAY));
    let (kept, given): (Vec<_>, Vec<_>) = all.iter().partition(|at| backed(**at) > 0);
    assert_eq!((kept.as_slice(), given.len()), (&all[..KEPT_ANYWAY], 12 - KEPT_ANYWAY));
    // What is closed is needed no more than what is unmapped.
    wait(1000);
    let all = map(12);
    assert!(contents(all[0]).iter().chain(&contents(all[11])).all(|b| *b == 0));
    all.iter().for_each(|at| fill(*at, 1));
    all.iter().for_each(|at| close(&pages, *at));
    assert_eq!(pages.usage(), (0, KEPT_ANYWAY));
    assert_eq!(all.iter().filter(|at| backed(**at) > 0).count(), KEPT_ANYWAY);
}

#[test]
fn what_was_given_back_of_a_huge_page_stays_away() {
    if !wants_huge_pages() {
        return;
    }
    let pages = pages();
    let first: Vec<_> = (0..UNITS_PER_HUGE).map(|_| page(&pages, WISHES[0])).collect();
    first.iter().for_each(|at| fill(*at, 1));
    let all: Vec<_> = (0..4).map(|_| page(&pages, WISHES[0])).collect();
    fill(all[0], 1);
    let rest = all[0].wrapping_add(UNIT_BYTES * (UNITS_PER_HUGE - 1));
    assert_eq!(backed(rest), UNIT_BYTES / PART_BYTES, "it is huge");
    unmap(&pages, all[2].cast(), UNIT_BYTES);
    pages.purge();
    assert_eq!((backed(all[2]), backed(all[3])), (0, UNIT_BYTES / PART_BYTES));
    unmap(&pages, all[3].cast(), UNIT_BYTES);
    pages.purge();
    assert_eq!(backed(rest), 0, "nobody has used it");
    assert_eq!(page(&pages, WISHES[0]), all[2]);
    fill(all[2], 1);
    assert_eq!((backed(all[3]), backed(rest)), (0, 0));
    // All of it was given back: it may be huge again.
    all[..3].iter().for_each(|at| unmap(&pages, at.cast(), UNIT_BYTES));
    pages.purge();
    assert_eq!(page(&pages, WISHES[0]), all[0]);
    fill(all[0], 1);
    assert_eq!(backed(rest), UNIT_BYTES / PART_BYTES);
    // But not in a burst.
    unmap(&pages, all[0].cast(), UNIT_BYTES);
    pages.purge();
    let more: Vec<_> = (0..3 * UNITS_PER_HUGE).map(|_| page(&pages, WISHES[0])).collect();
    unmap(&pages, more[0].cast(), UNIT_BYTES);
    more[..UNITS_PER_HUGE].iter().skip(1).for_each(|at| unmap(&pages, at.cast(), UNIT_BYTES));
    pages.purge();
    assert_eq!(page(&pages, WISHES[0]), all[0]);
    fill(all[0], 1);
    assert_eq!((backed(all[1]), backed(rest)), (0, 0));
}

#[test]
fn discarding_a_page_in_use_gives_its_memory_back() {
    let pages = pages();
    let at = page(&pages, WISHES[0]);
    fill(at, 1);
    let part = UNIT_BYTES / 2;
    // SAFETY: a page of the test's.
    assert_eq!(unsafe { pages.madvise(at.cast(), part, libc::MADV_DONTNEED) }, 0);
    let now = contents(at);
    assert!(now[..part].iter().all(|b| *b == 0) && now[part..].iter().all(|b| *b == 1));
}

#[test]
fn other_protections_are_the_kernels_until_the_page_is_given_up() {
    let pages = pages();
    let at = page(&pages, WISHES[0]);
    fill(at, 1);
    // The heap that is only read: its end is unmapped, the rest protected.
    let used = 13 * PART_BYTES;
    unmap(&pages, at.wrapping_add(used).cast(), UNIT_BYTES - used);
    protect(&pages, at.cast(), used, libc::PROT_READ);
    assert_eq!(protection(at.cast()), "r--p");
    assert_eq!(protection(at.wrapping_add(used).cast()), "rw-p");
    // SAFETY: readable still.
    assert_eq!(unsafe { *at }, 1);
    let other = page(&pages, WISHES[1]);
    assert_ne!(other, at, "it is not free yet");
    unmap(&pages, at.cast(), used);
    assert_eq!(page(&pages, WISHES[2]), at);
    assert_eq!(protection(at.cast()), "rw-p");
    assert!(contents(at).iter().all(|b| *b == 0));
}

#[test]
fn large_objects_start_at_a_huge_page() {
    let pages = pages();
    let size = 5 << 20;
    let at = map(&pages, WISHES[0], size + shape::SLACK);
    assert!(at.addr().is_multiple_of(HUGE_BYTES), "{at:?}");
    unmap(&pages, at.wrapping_byte_add(size), shape::SLACK);
    protect(&pages, at, size, OPEN);
    // SAFETY: opened just now.
    unsafe { at.cast::<u8>().write_bytes(1, size) };
    let small = map(&pages, WISHES[1], UNIT_BYTES + PART_BYTES + shape::SLACK);
    assert_eq!(small.addr(), WISHES[1], "smaller ones are left where V8 wants them");
    unmap(&pages, small, UNIT_BYTES + PART_BYTES + shape::SLACK);
    unmap(&pages, at, size);
    assert_eq!(pages.usage(), (0, 0));
}

#[test]
fn what_is_not_v8s_is_passed_on() {
    let pages = pages();
    let in_range = page(&pages, WISHES[0]);
    let at = map(&pages, 0, 1 << 20);
    protect(&pages, at, 1 << 20, OPEN);
    assert_eq!(protection(at), "rw-p");
    // SAFETY: mapped above.
    unsafe {
        at.cast::<u8>().write_bytes(1, 1 << 20);
        assert_eq!(pages.madvise(at, 1 << 20, libc::MADV_DONTNEED), 0);
        assert_eq!(*at.cast::<u8>(), 0);
        assert_eq!(pages.munmap(at.wrapping_byte_add(1), 1), -1, "the kernel's errors too");
        assert_eq!(pages.mprotect(in_range.wrapping_add(1).cast(), 1, OPEN), -1);
    }
    unmap(&pages, at, 1 << 20);
}

#[test]
fn threads_get_pages_of_their_own() {
    let pages = &*pages();
    std::thread::scope(|scope| {
        for thread in 1..=4u8 {
            scope.spawn(move || {
                for _ in 0..50 {
                    let mine = [page(pages, WISHES[0]), page(pages, WISHES[1])];
                    for at in mine {
                        assert!(contents(at).iter().all(|b| *b == 0));
                        fill(at, thread);
                    }
                    close(pages, mine[0]);
                    assert!(contents(mine[1]).iter().all(|b| *b == thread));
                    mine.iter().for_each(|at| unmap(pages, at.cast(), UNIT_BYTES));
                }
            });
        }
    });
    assert_eq!(pages.usage().0, 0);
}

#[test]
fn a_burst_of_pages_is_not_made_huge() {
    let pages = pages();
    let first: Vec<_> = (0..UNITS_PER_HUGE).map(|_| page(&pages, WISHES[0])).collect();
    first.iter().for_each(|at| fill(*at, 1));
    let burst: Vec<_> = (0..3 * UNITS_PER_HUGE).map(|_| page(&pages, WISHES[0])).collect();
    // SAFETY: V8 writes a header to each.
    burst.iter().for_each(|at| unsafe { at.write(1) });
    // The first chunk of the burst was not known to be one.
    let late = &burst[UNITS_PER_HUGE..];
    assert!(late.iter().all(|at| backed(*at) <= 1), "{:?}", late.iter().map(|at| backed(*at)));
    late.iter().for_each(|at| fill(*at, 1));
    let next: Vec<_> = (0..UNITS_PER_HUGE).map(|_| page(&pages, WISHES[0])).collect();
    fill(next[0], 1);
    if wants_huge_pages() {
        assert_eq!(backed(next[7]), UNIT_BYTES / PART_BYTES, "what was mapped last was used");
    }
}
