//! The same program on `isa` and on `emu` is counted the same, whoever executes: the instructions
//! reach the same hardware.
//!
//! One test in this binary: the process's emulator must not have counted anything before.
#![cfg(all(target_arch = "x86_64", target_os = "linux", not(miri), not(loom)))]

use memento_hal::counters::Counters;
use memento_hal::emulator::Emu;
use memento_hal::geometry::SizeClass;
use memento_hal::isa::{Isa, patch, trap};
use memento_hal::os::Linux;
use memento_hal::{FreeFault, Hal, ObjectAllocator, ProcessHal};
use std::ptr::NonNull;

/// An object on its way to another thread.
struct Sent(NonNull<u8>);

// SAFETY: whoever has it may free it.
unsafe impl Send for Sent {}

/// A program with two threads, one after the other, the second freeing what the first left; what
/// it was told, as offsets from its first object.
fn run<H: Hal>(hal: &H) -> Vec<isize> {
    let mut told = Vec::new();
    let mut core = hal.attach().unwrap();
    let mut random = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = move |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % below
    };
    let mut live: Vec<NonNull<u8>> = Vec::new();
    let mut first = None;
    for _ in 0..30_000 {
        if next(100) < 55 || live.is_empty() {
            let size = if next(8) > 0 { next(40) } else { next(513) };
            let class = SizeClass::for_request(size as usize, 8).unwrap();
            // SAFETY: this thread's core.
            let object = unsafe { core.as_mut() }.obj_alloc(class).unwrap();
            // SAFETY: `class.size()` bytes of an object.
            unsafe { object.as_ptr().write_bytes(1, class.size()) };
            let first = *first.get_or_insert(object.addr().get());
            told.push(object.addr().get().wrapping_sub(first) as isize);
            live.push(object);
        } else {
            let object = live.swap_remove(next(live.len() as u64) as usize);
            // SAFETY: this thread's core; the object is given up.
            unsafe { core.as_mut().obj_free(object, None) }.unwrap();
        }
    }
    let last = live[0];
    let mut local = 0u64;
    for (wrong, fault) in [
        // SAFETY: the smallest object has eight bytes.
        (unsafe { last.add(4) }, FreeFault::Misaligned),
        (NonNull::from(&mut local).cast(), FreeFault::Outside),
    ] {
        // SAFETY: no object is freed by it.
        assert_eq!(unsafe { core.as_mut().obj_free(wrong, None) }, Err(fault));
    }
    let sent: Vec<Sent> = live.into_iter().map(Sent).collect();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut core = hal.attach().unwrap();
            for Sent(object) in sent {
                // SAFETY: this thread's core; the object is given up.
                unsafe { core.as_mut().obj_free(object, None) }.unwrap();
            }
            // SAFETY: this thread's core, not used afterwards.
            unsafe { hal.detach(core) };
        });
    });
    for class in SizeClass::all() {
        for _ in 0..300 {
            // SAFETY: this thread's core.
            assert!(unsafe { core.as_mut() }.obj_alloc(class).is_some());
        }
    }
    // SAFETY: this thread's core, not used afterwards.
    unsafe { hal.detach(core) };
    told
}

fn counters(hal: &impl Hal) -> Counters {
    let mut sum = Counters::ZERO;
    hal.counters(&mut sum);
    sum
}

#[test]
fn isa_counts_what_emu_counts() {
    let isa = Isa::instance();
    let on_isa = run(isa);
    // The probe's only: the sites in this image are listed, and were patched at the start.
    assert_eq!(trap::traps(), 1);
    assert!(patch::patched_sites() >= 3);
    let emu = Emu::new(Linux);
    assert_eq!(on_isa, run(&emu));
    let (on_isa, on_emu) = (counters(isa), counters(&emu));
    for (name, value) in [
        ("hits", on_isa.hot_alloc_hits),
        ("remote frees", on_isa.remote_frees),
        ("faults", on_isa.faults),
        ("flushes", on_isa.hot_flushes),
    ] {
        assert_ne!(value, 0, "{name}");
    }
    assert_eq!(on_isa, on_emu);
}
