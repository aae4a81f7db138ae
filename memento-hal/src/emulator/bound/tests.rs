//! What the binding adds to the emulator: the same counts at real addresses, small address spaces,
//! counters that others provide.

use super::{CounterSource, Emu, EmuCore};
use crate::counters::{CounterBlock, Counters};
use crate::emulator::{CoreId, FixedCosts, Machine, Params, SimMemory};
use crate::geometry::SizeClass;
use crate::hal::Hal;
use crate::object::ObjectAllocator;
use crate::os::{Fake, Os};
use core::ptr::NonNull;
use std::vec::Vec;

const SMALL: Params = Params { lane_shift: 18, strides_per_chunk: 1, ..Params::DEFAULT };

fn class(size: usize) -> SizeClass {
    SizeClass::for_request(size, 8).unwrap()
}

/// A core of `emu` for this test, and the closure's result.
fn with_core<O: Os, R>(emu: &Emu<O>, f: impl FnOnce(&mut EmuCore<O>) -> R) -> R {
    let core = emu.attach().unwrap();
    // SAFETY: attached just now, and detached below.
    let result = f(unsafe { &mut *core.as_ptr() });
    // SAFETY: the reference has ended.
    unsafe { emu.detach(core) };
    result
}

fn counters<O: Os>(emu: &Emu<O>) -> Counters {
    let mut sum = Counters::ZERO;
    emu.counters(&mut sum);
    sum
}

#[test]
fn real_addresses_count_as_simulated_ones() {
    let mut machine = Machine::new(SMALL, SimMemory::new(), FixedCosts::new(&SMALL)).unwrap();
    let id: CoreId = machine.add_core().unwrap();
    let emu = Emu::with_params(Fake::new(), SMALL);
    let sizes = [8, 24, 512, 64, 64, 8];
    with_core(&emu, |core| {
        let mut live = Vec::new();
        for round in 0..if cfg!(miri) { 60 } else { 1500 } {
            let class = class(sizes[round % sizes.len()]);
            let real = core.obj_alloc(class);
            let simulated = machine.obj_alloc(id, class);
            assert_eq!(real.is_some(), simulated.is_some());
            live.extend(real.zip(simulated));
            if round % 3 == 0 {
                let (real, simulated) = live.swap_remove(round * 7 % live.len());
                // SAFETY: not used again.
                unsafe { core.obj_free(real, None) }.unwrap();
                machine.obj_free(id, simulated).unwrap();
            }
        }
        let (real, simulated) =
            (emu.layout().unwrap().region.start(), machine.layout().region.start());
        for (at, va) in live {
            assert_eq!(at.addr().get() as u64 - real, va - simulated);
        }
    });
    machine.flush(id);
    assert_eq!(counters(&emu), machine.counters());
    assert!(counters(&emu).arenas_created > 3);
}

#[test]
fn lanes_shrink_until_the_region_fits() {
    let os = Fake::new();
    os.limit_reservations(40 << 20);
    let emu = Emu::new(os);
    with_core(&emu, |core| {
        // 64 lanes of 512 KiB and what belongs to them are 33 MiB.
        let params = emu.params().unwrap();
        assert_eq!((params.lane_shift, params.strides_per_chunk), (19, 1));
        assert!(core.obj_alloc(class(512)).is_some());
        // Another core gets its share of the lane.
        with_core(&emu, |other| assert!(other.obj_alloc(class(512)).is_some()));
    });
    let os = Fake::new();
    os.limit_reservations(16 << 20);
    assert!(Emu::new(os).attach().is_none());
}

#[test]
fn a_full_lane_gives_nothing_and_other_lanes_go_on() {
    let emu = Emu::with_params(Fake::new(), SMALL);
    with_core(&emu, |core| {
        // A lane of 256 KiB holds one arena of 132 KiB.
        let objects: Vec<_> = std::iter::from_fn(|| core.obj_alloc(class(512))).collect();
        assert_eq!(objects.len(), 256);
        assert!(core.obj_alloc(class(504)).is_some());
        // SAFETY: not used again.
        unsafe { core.obj_free(objects[9], None) }.unwrap();
        assert_eq!(core.obj_alloc(class(512)), Some(objects[9]));
    });
}

#[test]
fn memory_is_committed_inside_the_reservation_only() {
    /// Asserts that every commit lies in the one reservation.
    struct Bounded(Fake, core::sync::atomic::AtomicUsize, core::sync::atomic::AtomicUsize);
    use core::sync::atomic::Ordering::Relaxed;
    // SAFETY: forwards to `Fake`.
    unsafe impl Os for Bounded {
        fn page_bytes(&self) -> usize {
            // Larger than the model's.
            65536
        }
        fn reserve(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
            let at = self.0.reserve(bytes, align.max(65536))?;
            self.1.store(at.addr().get(), Relaxed);
            self.2.store(at.addr().get() + bytes, Relaxed);
            Some(at)
        }
        unsafe fn commit(&self, start: NonNull<u8>, bytes: usize) -> bool {
            let (from, to) = (start.addr().get(), start.addr().get() + bytes);
            assert!(from.is_multiple_of(65536) && to.is_multiple_of(65536));
            assert!(self.1.load(Relaxed) <= from && to <= self.2.load(Relaxed));
            // SAFETY: forwarded.
            unsafe { self.0.commit(start, bytes) }
        }
        unsafe fn populate(&self, _: NonNull<u8>, _: usize) {}
        unsafe fn decommit(&self, _: NonNull<u8>, _: usize) -> bool {
            true
        }
        unsafe fn release(&self, start: NonNull<u8>, bytes: usize) {
            // SAFETY: forwarded.
            unsafe { self.0.release(start, bytes) }
        }
    }
    let os = Bounded(Fake::new(), 0.into(), 0.into());
    let params = Params { commit_batch_bytes: 1 << 30, strides_per_chunk: 64, ..SMALL };
    let emu = Emu::with_params(os, params);
    with_core(&emu, |core| {
        for class in SizeClass::all() {
            let object = core.obj_alloc(class).unwrap();
            // SAFETY: allocated, and this test's alone.
            unsafe { object.as_ptr().write_bytes(1, class.size()) };
        }
        let region = emu.layout().unwrap().region;
        assert!(!emu.contains(NonNull::<u8>::dangling().as_ptr()));
        assert!(emu.contains(core::ptr::without_provenance(region.start() as usize)));
        assert!(!emu.contains(core::ptr::without_provenance(region.end() as usize)));
    });
}

#[test]
fn counters_go_to_whoever_provides_blocks_and_start_at_zero_in_a_child() {
    static BLOCK: CounterBlock = CounterBlock::new();
    static SOURCE: CounterSource = CounterSource { block: || &BLOCK, totals: || BLOCK.snapshot() };
    let emu = Emu::with_params(Fake::new(), SMALL);
    with_core(&emu, |core| assert!(core.obj_alloc(class(8)).is_some()));
    assert_eq!((counters(&emu).hot_alloc_misses, counters(&emu).hot_flushes), (1, 1));

    emu.fork_prepare();
    // SAFETY: prepared above; no core is attached.
    unsafe { emu.fork_child(None) };
    assert_eq!(counters(&emu), Counters::ZERO);

    emu.set_counter_source(&SOURCE);
    BLOCK.allocs[0].add(3);
    let object = with_core(&emu, |core| core.obj_alloc(class(8)).unwrap());
    // SAFETY: not used again.
    unsafe { emu.free_detached(object) }.unwrap();
    // SAFETY: refused.
    assert!(unsafe { emu.free_detached(object) }.is_err());
    let seen = BLOCK.snapshot();
    assert_eq!((seen.hot_alloc_misses, seen.remote_frees, seen.faults), (1, 1, 1));
    // What the program asked for is not the backend's to report.
    let mut want = seen;
    want.allocs[0] = 0;
    assert_eq!(counters(&emu), want);
}

#[test]
fn parameters_are_set_before_the_first_thread_or_not_at_all() {
    let emu = Emu::new(Fake::new());
    assert!(emu.configure(Params { lane_shift: 99, ..SMALL }).is_err());
    emu.configure(SMALL).unwrap();
    assert_eq!((emu.params(), emu.layout()), (None, None));
    with_core(&emu, |_| ());
    assert_eq!(emu.params(), Some(SMALL));
    assert!(emu.configure(Params::DEFAULT).is_err());
}
