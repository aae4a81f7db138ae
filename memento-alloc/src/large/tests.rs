//! Large objects as a whole.

use super::*;
use std::vec::Vec;

/// Smaller under Miri, which looks at every byte.
const MIB: usize = if cfg!(miri) { 1 << 14 } else { 1 << 20 };

/// Miri sees every access to memory of the fake system, and knows no partial `munmap`.
#[cfg(miri)]
pub(super) fn test_os() -> impl Os {
    memento_hal::os::Fake::new()
}
#[cfg(not(miri))]
pub(super) fn test_os() -> impl Os {
    memento_hal::os::Linux
}

fn large() -> Large<impl Os> {
    Large::new(test_os())
}

#[test]
fn kept_mappings_are_used_again_and_zeroed_on_demand() {
    let large = large();
    let a = large.allocate(MIB, 16, false).unwrap();
    // SAFETY: `a` has a mebibyte, and is not used after its free.
    unsafe {
        a.write_bytes(7, MIB);
        assert!(large.free(a));
        assert!(!large.free(a), "free twice");
    }
    assert_eq!(large.usage().kept_bytes, MIB);
    let less = MIB - MIB / 8;
    let b = large.allocate(less, 16, true).unwrap();
    assert_eq!(a, b);
    // SAFETY: as above.
    unsafe {
        let bytes = core::slice::from_raw_parts(b.as_ptr(), less);
        assert!(bytes.iter().all(|x| *x == 0));
        assert!(large.free(b));
    }
    large.purge();
    assert_eq!(large.usage(), LargeUsage { peak_bytes: MIB, ..LargeUsage::default() });
}

#[test]
fn heaps_that_grow_by_what_is_kept_take_its_place() {
    let large = large();
    let use_once = || {
        let object = large.allocate(4 * MIB, 16, false).unwrap();
        // SAFETY: allocated here, and not used afterwards.
        assert!(unsafe { large.free(object) });
    };
    use_once();
    large.heaps_grew(3 * MIB);
    assert_eq!(large.usage().kept_bytes, 4 * MIB);
    use_once();
    large.heaps_grew(3 * MIB);
    assert_eq!(large.usage().kept_bytes, 4 * MIB, "it was used meanwhile");
    large.heaps_grew(MIB);
    assert_eq!(large.usage().kept_bytes, 0);
}

#[test]
#[cfg(not(miri))]
fn what_is_kept_never_lifts_the_peak_by_much() {
    let large = large();
    let (mut all, mut between, mut live) = (Vec::new(), Vec::new(), 0);
    // Each longer than what was freed before it, and apart from that by what stays.
    for size in 1..=12 {
        for _ in 0..6 {
            all.push(large.allocate(size * MIB, 16, false).unwrap());
            between.push(large.allocate(MIB / 8, 16, false).unwrap());
            let usage = large.usage();
            live = live.max(usage.bytes);
            let slack = live / 8 + live.saturating_sub(8 * MIB).min(48 * MIB);
            // Of pieces of huge pages twice the slack.
            assert!(usage.bytes + usage.kept_bytes <= live + 2 * slack, "{usage:?}");
            assert!(usage.peak_bytes <= live + slack, "{usage:?}");
        }
        // SAFETY: allocated here, and not used afterwards.
        all.drain(..).for_each(|a| assert!(unsafe { large.free(a) }));
    }
    // SAFETY: as above.
    between.into_iter().for_each(|a| assert!(unsafe { large.free(a) }));
    assert!(large.usage().kept_bytes <= 128 * MIB);
    let kept = large.usage().kept_bytes;
    assert!(kept > 0);
    assert_eq!(large.purge(), kept);
    assert_eq!(large.usage().kept_bytes, 0);
}

#[test]
#[cfg(not(miri))]
fn a_longer_object_lies_across_what_a_shorter_one_left() {
    let large = large();
    let a = large.allocate(8 * MIB, 16, false).unwrap();
    // SAFETY: both objects are as long as they are used, and not used after their frees.
    unsafe {
        a.write_bytes(7, 8 * MIB);
        large.free(a);
        let before = large.usage();
        let b = large.allocate(9 * MIB, 16, true).unwrap();
        assert!(large.usage().kept_bytes < before.kept_bytes);
        let mut backed = [0u8; 2048];
        assert!(test_os().backing(b, &mut backed));
        assert!(backed.iter().all(|b| b & 1 == 1), "the front is there already");
        assert!(core::slice::from_raw_parts(b.as_ptr(), 9 * MIB).iter().all(|x| *x == 0));
        large.free(b);
    }
    large.purge();
}

#[test]
#[cfg(not(miri))]
fn zeros_that_are_hardly_touched_stay_without_memory() {
    let large = large();
    for round in 0..50 {
        let size = 16 * MIB - round * 4096;
        let a = large.allocate(size, 16, true).unwrap();
        let mut backed = [0u8; 4096];
        // SAFETY: the object has `size` bytes, and is not used after its free.
        unsafe {
            for at in (round * 4096..size).step_by(MIB) {
                assert_eq!(a.add(at).read(), 0);
                a.add(at).write(1);
            }
            assert!(test_os().backing(a, &mut backed[..size / 4096]));
            large.free(a);
        }
        let count = backed.iter().filter(|b| **b & 1 == 1).count();
        assert!(count <= 4096 / 16, "round {round}: {count} pages of 4096");
    }
    large.purge();
}

#[test]
#[cfg(not(miri))]
fn zeros_over_what_was_hardly_touched_stay_without_memory() {
    let large = large();
    let mut all = Vec::new();
    for size in [MIB / 2, 2 * MIB] {
        for _ in 0..20 {
            let a = large.allocate(size, 16, false).unwrap();
            // SAFETY: the object has `size` bytes, and is not used after its free.
            unsafe {
                a.write(1);
                large.free(a);
            }
            let a = large.allocate(size, 16, true).unwrap();
            let mut backed = std::vec![0u8; size / 4096];
            // SAFETY: as above.
            unsafe {
                assert_eq!(a.read(), 0);
                assert!(test_os().backing(a, &mut backed));
            }
            let count = backed.iter().filter(|b| **b & 1 == 1).count();
            assert!(count <= 8, "{count} pages of {}", size / 4096);
            all.push(a);
        }
    }
    // SAFETY: allocated here, and not used afterwards.
    all.into_iter().for_each(|a| assert!(unsafe { large.free(a) }));
    large.purge();
}

#[test]
#[cfg(not(miri))]
fn what_is_known_to_be_touched_is_not_asked_about() {
    let os = memento_hal::os::Fake::new();
    os.limit_reservations(256 << 20);
    let large = Large::new(os);
    let asked = || {
        let before = large.os.questions();
        let a = large.allocate(MIB, 16, true).unwrap();
        let asked = large.os.questions() - before;
        // SAFETY: the object has as many bytes, and is not used after its free.
        unsafe {
            assert!((0..MIB).step_by(512).all(|at| a.add(at).read() == 0));
            a.write_bytes(1, MIB);
            large.free(a);
        }
        asked
    };
    // Fresh pages, then those of which it is not known, then those of which it is.
    assert_eq!([asked(), asked(), asked(), asked()], [0, 1, 0, 0]);
    // What it grows by is fresh.
    let a = large.allocate(MIB, 16, true).unwrap();
    // SAFETY: as above.
    unsafe {
        assert_eq!(large.resize(a, 2 * MIB, 16, Copying::Possible), Some(a));
        large.free(a);
    }
    assert_eq!(asked(), 1);
}

#[test]
#[cfg(not(miri))]
fn what_cannot_be_copied_is_moved_however_short() {
    let large = large();
    let size = MIB / 2;
    let a = large.allocate(size, 16, false).unwrap();
    let behind = large.allocate(size, 16, false).unwrap();
    // SAFETY: the objects are as long as they are used; none is used after its free.
    unsafe {
        a.write_bytes(7, size);
        assert_eq!(large.resize(a, MIB, 16, Copying::Possible), None);
        let moved = large.resize(a, MIB, 16, Copying::Failed).unwrap();
        assert!((0..size).step_by(64).all(|at| moved.add(at).read() == 7));
        assert!(large.free(moved) && !large.free(a) && large.free(behind));
    }
    large.purge();
}

#[test]
#[cfg(not(miri))]
fn nothing_stays_resident_after_a_purge() {
    let beyond: usize = (20..26).map(resident_beyond_dense_objects).sum();
    assert!(beyond > 0 || test_os().huge_pages() == memento_hal::os::HugePages::Never);
}

/// Fills so many objects, of which the later ones are on huge pages, and has them purged. Pages that were
/// resident besides them: the last huge page reaches beyond.
#[cfg(not(miri))]
fn resident_beyond_dense_objects(count: usize) -> usize {
    let large = large();
    let all: Vec<_> = (0..count)
        .map(|_| {
            let a = large.allocate(3 * MIB, 16, false).unwrap();
            // SAFETY: as long as that.
            unsafe { a.write_bytes(1, 3 * MIB) };
            a
        })
        .collect();
    let first = all[0];
    let last = first.addr().get() + (count - 1) * 3 * MIB;
    assert_eq!(all[count - 1].addr().get(), last, "side by side");
    let resident = || {
        let mut backed = std::vec![0u8; (count * 3 + 2) * MIB / 4096];
        // SAFETY: of the area, which is committed in steps of 4 MiB.
        assert!(unsafe { test_os().backing(first, &mut backed) });
        backed.iter().filter(|b| **b & 1 == 1).count()
    };
    let before = resident();
    for a in all {
        // SAFETY: allocated above, not used afterwards.
        assert!(unsafe { large.free(a) });
    }
    assert!(large.purge() > 0);
    assert_eq!(resident(), 0);
    before - count * 3 * MIB / 4096
}

/// Huge pages that are asked for once an object of a known kind ends so far before the end of its last one that what is
/// missing is to what is used as three to five, or a page more; and what the area reaches to then, beyond its top.
#[cfg(not(miri))]
fn huge_pages_reached(os: memento_hal::os::Fake, more: usize) -> (usize, bool) {
    os.limit_reservations(64 << 20);
    let large = Large::new(os);
    let known = HUGE_BYTES / 8;
    let first = large.allocate(known, 16, false).unwrap();
    let address = first.addr().get();
    let rest = (address + known + 4096).next_multiple_of(HUGE_BYTES) - address;
    // Zeros are never sure to be used.
    let filler = large.allocate(rest - known, 16, true).unwrap();
    let ahead = (rest + HUGE_BYTES) * 3 / 8 / 4096 * 4096 + more;
    // What the first object was used for is not known here, and so it counts as used in full.
    let second = large.allocate(HUGE_BYTES - ahead, 16, false).unwrap();
    assert_eq!(second.addr().get(), address + rest, "side by side");
    let pages = large.os.huge_ranges().len();
    let decommits = large.os.decommits();
    // SAFETY: allocated above, not used afterwards.
    unsafe { assert!(large.free(first) && large.free(filler) && large.free(second)) };
    // What was freed, and what lies beyond.
    large.purge();
    (pages, large.os.decommits() - decommits > 1)
}

#[test]
#[cfg(not(miri))]
fn the_last_huge_page_reaches_beyond_by_what_is_little_for_the_process() {
    let reached = |resident: usize, more: usize, offered: bool| {
        let os = memento_hal::os::Fake::new();
        os.tell_resident(resident);
        if offered {
            os.offer_huge_pages();
        }
        huge_pages_reached(os, more)
    };
    assert_eq!(reached(64 << 20, 0, true), (1, true));
    assert_eq!(reached(64 << 20, 4096, true), (0, false), "more than three fifths of what is used");
    // It is between three and thirteen sixteenths of a huge page.
    assert_eq!(reached(HUGE_BYTES * 13 / 4, 0, true), (1, true));
    assert_eq!(reached(HUGE_BYTES * 3 / 4, 0, true), (0, false), "more than a quarter of it");
    assert_eq!(reached(0, 0, true), (0, false), "not known");
    assert_eq!(reached(64 << 20, 0, false), (0, false), "there are none");
}

#[test]
#[cfg(not(miri))]
fn an_object_grows_where_it_is_while_what_follows_is_free() {
    // Another test may be given the addresses that an object is moved from, though hardly every time.
    assert!((0..20).any(|_| grow_in_place_and_move()), "the hole is never mapped again");
}

/// Whether the addresses that an object was moved from served again.
#[cfg(not(miri))]
fn grow_in_place_and_move() -> bool {
    let large = large();
    let a = large.allocate(MIB, 16, false).unwrap();
    // SAFETY: all are used as long as they are, and not after their frees.
    unsafe {
        a.write_bytes(9, MIB);
        assert_eq!(large.resize(a, 5 * MIB, 16, Copying::Possible), Some(a), "at the top");
        a.write_bytes(9, 5 * MIB);
        let b = large.allocate(MIB, 16, false).unwrap();
        assert_eq!(b, a.add(5 * MIB), "side by side");
        assert!(large.free(b));
        assert_eq!(large.resize(a, 6 * MIB, 16, Copying::Possible), Some(a), "over what was freed");
        let b = large.allocate(MIB, 16, false).unwrap();
        let moved = large.resize(a, 7 * MIB, 16, Copying::Possible).unwrap();
        let contents = core::slice::from_raw_parts(moved.as_ptr(), MIB);
        assert!(moved != a && contents.iter().all(|x| *x == 9));
        let c = large.allocate(6 * MIB, 16, true).unwrap();
        assert!(core::slice::from_raw_parts(c.as_ptr(), 6 * MIB).iter().all(|x| *x == 0));
        for each in [moved, b, c] {
            assert!(large.free(each));
        }
        large.purge();
        c == a
    }
}

#[test]
#[cfg(not(miri))]
fn giving_back_parts_of_many_runs_makes_room_for_what_is_left_of_them() {
    let large = Large::new(memento_hal::os::Linux);
    const RUNS: usize = 28;
    let base = large.os.map(RUNS * 4 * HUGE_BYTES, HUGE_BYTES).unwrap();
    large.locked(|os, state, surplus| {
        state.huge_from = 0;
        for i in 0..RUNS {
            assert!(state.free.reserve(os));
            // SAFETY: in the mapping. Nothing is huge in the first and the last part.
            let start = unsafe { base.add((4 * i + 1) * HUGE_BYTES - 4096) };
            let bytes = HUGE_BYTES + 2 * 4096;
            state.free.add(
                Pages { start, bytes, mapping: i as u32 + 2, allocated: 0, full: false },
                true,
            );
        }
        state.trim(os, surplus);
        Some(())
    });
    assert!(large.usage().kept_bytes <= 2 * RUNS * 4096 + HUGE_BYTES);
    // The rest, which the kernel may have unmapped already.
    large.purge();
    // SAFETY: mapped above, and in nobody's use.
    unsafe { large.os.release(base, RUNS * 4 * HUGE_BYTES) };
}

#[test]
fn growth_over_pages_that_are_there_asks_nothing() {
    let os = memento_hal::os::Fake::new();
    os.limit_reservations(if cfg!(miri) { 1 << 20 } else { 1 << 26 });
    let large = Large::new(os);
    // Doubles up to so much; how often the system was asked what was touched.
    let double = |to: usize| {
        let before = large.os.questions();
        let mut size = MIB / 8;
        let object = large.allocate(size, 16, false).unwrap();
        while size < to {
            size *= 2;
            // SAFETY: allocated above.
            assert_eq!(unsafe { large.resize(object, size, 16, Copying::Possible) }, Some(object));
        }
        let asked = large.os.questions() - before;
        // SAFETY: not used afterwards.
        assert!(unsafe { large.free(object) });
        asked
    };
    assert!(double(MIB) > 0);
    assert_eq!(double(MIB), 0);
    assert!(double(2 * MIB) > 0, "the last part of it is fresh");
}

#[test]
#[cfg(not(miri))]
fn growth_by_little_asks_seldom() {
    let os = memento_hal::os::Fake::new();
    os.limit_reservations(1 << 26);
    let large = Large::new(os);
    let page = large.os.page_bytes();
    let (from, to) = (MIB / 8, 8 * MIB);
    let object = large.allocate(from, 16, false).unwrap();
    for size in (from..=to).step_by(page) {
        // SAFETY: allocated above.
        assert_eq!(unsafe { large.resize(object, size, 16, Copying::Possible) }, Some(object));
    }
    // Of eight pages each time: at each quarter of a doubling, and at each of a huge page.
    let looks = large.os.questions() / 8;
    assert!((16..=32).contains(&looks), "{looks}");
    // SAFETY: not used afterwards.
    assert!(unsafe { large.free(object) });
}

/// What a program does.
#[derive(Clone, Debug)]
enum Action {
    Allocate { size: usize, shift: u32, zeroed: bool },
    Free(usize),
    Resize { which: usize, size: usize },
    Purge,
}

fn actions() -> impl proptest::strategy::Strategy<Value = Vec<Action>> {
    use proptest::prelude::*;
    let size = || prop_oneof![1usize..MIB, 1usize..6 * MIB];
    let one = prop_oneof![
        4 => (size(), 4u32..18, any::<bool>())
            .prop_map(|(size, shift, zeroed)| Action::Allocate { size, shift, zeroed }),
        3 => any::<usize>().prop_map(Action::Free),
        3 => (any::<usize>(), size()).prop_map(|(which, size)| Action::Resize { which, size }),
        1 => Just(Action::Purge),
    ];
    prop::collection::vec(one, 1..if cfg!(miri) { 30 } else { 120 })
}

/// A live object with its request, and a stamp at the start of every page.
struct Held {
    start: NonNull<u8>,
    size: usize,
    stamp: u8,
}

impl Held {
    fn offsets(size: usize) -> impl Iterator<Item = usize> {
        (0..size).step_by(4096).chain([size - 1])
    }

    fn write(&self) {
        for at in Self::offsets(self.size) {
            // SAFETY: within the object.
            unsafe { self.start.add(at).write(self.stamp) };
        }
    }

    fn reads(&self, want: u8, size: usize) -> bool {
        // SAFETY: within the object.
        (0..size).step_by(4096).all(|at| unsafe { self.start.add(at).read() } == want)
    }
}

/// Runs a program; every object keeps its contents, zeros are zeros, and the totals are right.
fn run(large: &Large<impl Os>, actions: Vec<Action>) {
    let mut held: Vec<Held> = Vec::new();
    for (step, action) in actions.into_iter().enumerate() {
        let stamp = step as u8 | 1;
        match action {
            Action::Allocate { size, shift, zeroed } => {
                let Some(start) = large.allocate(size, 1 << shift, zeroed) else { continue };
                assert!(start.addr().get().is_multiple_of(1 << shift));
                let new = Held { start, size, stamp };
                assert!(!zeroed || new.reads(0, size), "other than zero");
                new.write();
                held.push(new);
            }
            Action::Free(which) if !held.is_empty() => {
                let old = held.swap_remove(which % held.len());
                assert!(old.reads(old.stamp, old.size), "lost contents");
                // SAFETY: a live object that is not used any more.
                unsafe {
                    assert!(large.free(old.start));
                    assert!(!large.free(old.start), "free twice");
                }
            }
            Action::Resize { which, size } if !held.is_empty() => {
                let index = which % held.len();
                let old = &mut held[index];
                // SAFETY: a live object; if it moves, the old address is forgotten.
                if let Some(start) = unsafe { large.resize(old.start, size, 16, Copying::Possible) }
                {
                    old.start = start;
                    assert!(old.reads(old.stamp, size.min(old.size)), "lost contents");
                    (old.size, old.stamp) = (size, stamp);
                    old.write();
                }
            }
            Action::Purge => {
                large.purge();
                assert_eq!(large.usage().kept_bytes, 0);
            }
            _ => {}
        }
        let usage = large.usage();
        let bytes = |held: &Held| large.size_of(held.start).unwrap();
        assert_eq!(usage.objects, held.len());
        assert_eq!(usage.bytes, held.iter().map(bytes).sum::<usize>());
        assert!(held.iter().all(|held| bytes(held) >= held.size));
    }
    for old in held {
        assert!(old.reads(old.stamp, old.size), "lost contents");
        // SAFETY: as above.
        assert!(unsafe { large.free(old.start) });
    }
    large.purge();
    assert_eq!((large.usage().objects, large.usage().bytes), (0, 0));
}

/// Whether zeros would go past the caches, for each of a program's objects of 5 MiB, of which so many live at a time.
#[cfg(not(miri))]
fn cold_zeros(live: usize) -> Vec<bool> {
    let large = large();
    let mut cold = Vec::new();
    let mut all: Vec<NonNull<u8>> = Vec::new();
    for _ in 0..2 * live {
        if all.len() == live {
            // SAFETY: allocated below, not used afterwards.
            assert!(unsafe { large.free(all.remove(0)) });
        }
        let served = large.locked(|os, state, surplus| {
            let served = state.allocate(os, 5 * MIB, os.page_bytes(), true, surplus)?;
            cold.push(served.cold && served.used > 0);
            Some(served.pages.start)
        });
        all.push(served.unwrap());
    }
    // SAFETY: as above.
    all.into_iter().for_each(|each| assert!(unsafe { large.free(each) }));
    large.purge();
    cold
}

#[test]
#[cfg(not(miri))]
fn zeros_go_past_the_caches_where_an_object_was_allocated_long_ago() {
    assert_eq!(cold_zeros(1), [false; 2]);
    // 10 MiB were allocated since then, or 15.
    assert_eq!(cold_zeros(3), [false; 6]);
    assert_eq!(cold_zeros(4), [[false; 4], [true; 4]].concat());
}

#[test]
fn any_program_finds_its_objects_as_it_left_them() {
    use proptest::prelude::*;
    let cases = if cfg!(miri) { 3 } else { 60 };
    proptest!(ProptestConfig::with_cases(cases), |(actions in actions())| run(&large(), actions));
}

#[test]
fn nor_does_it_matter_what_the_system_refuses() {
    use proptest::prelude::*;
    let cases = if cfg!(miri) { 2 } else { 30 };
    proptest!(ProptestConfig::with_cases(cases), |(actions in actions(), commits in 2usize..40)| {
        let os = memento_hal::os::Fake::new();
        os.fail_commits_after(commits);
        os.refuse_decommits();
        run(&Large::new(os), actions);
    });
}

#[test]
#[cfg(not(miri))]
fn resizing_keeps_contents() {
    let large = large();
    let mut a = large.allocate(MIB, 16, false).unwrap();
    // SAFETY: `a` has as many bytes as was last asked for.
    unsafe {
        a.write_bytes(9, MIB);
        for size in [MIB + 1, 5 * MIB, 64 * MIB, 2 * MIB] {
            a = large.resize(a, size, 16, Copying::Possible).unwrap();
            assert!(large.size_of(a).unwrap() >= size);
            assert!(core::slice::from_raw_parts(a.as_ptr(), MIB).iter().all(|x| *x == 9));
            a.add(size - 1).write(1);
        }
        assert!(large.free(a));
    }
    large.purge();
}

#[test]
fn alignment_of_any_size() {
    let large = large();
    let shifts: &[u32] = if cfg!(miri) { &[4, 12, 14] } else { &[4, 12, 16, 21, 24] };
    for shift in shifts {
        let a = large.allocate(MIB / 3, 1 << shift, false).unwrap();
        assert!(a.addr().get().is_multiple_of(1 << shift));
        // SAFETY: not used afterwards.
        unsafe { assert!(large.free(a)) };
    }
    assert!(large.allocate(usize::MAX - 100, 16, false).is_none());
    assert!(large.allocate(1 << 60, 16, false).is_none());
    large.purge();
}
