//! The `isa` backend: it keeps what every backend promises, and counts what `emu` counts.
//!
//! There is one hardware in a process, so the tests of the conformance suite that need a backend
//! of their own (without memory, without address space) are the emulator's, and the others run one
//! at a time.
#![cfg(all(target_arch = "x86_64", target_os = "linux", not(miri), not(loom)))]

#[path = "conformance/adoption.rs"]
mod adoption;
#[path = "conformance/backend.rs"]
#[allow(dead_code, reason = "what the tests of exhaustion need")]
mod backend;
#[path = "conformance/faults.rs"]
mod faults;
#[path = "conformance/fork.rs"]
mod fork;
#[path = "conformance/objects.rs"]
mod objects;
#[path = "conformance/remote.rs"]
mod remote;

use backend::Attached;
use memento_hal::ProcessHal;
use memento_hal::geometry::SizeClass;
use memento_hal::isa::Isa;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The backend, for one test at a time.
fn alone() -> (&'static Isa, MutexGuard<'static, ()>) {
    static ONE: Mutex<()> = Mutex::new(());
    (Isa::instance(), ONE.lock().unwrap_or_else(PoisonError::into_inner))
}

#[test]
fn objects_are_aligned_disjoint_and_keep_their_contents() {
    objects::aligned_disjoint_and_kept(alone().0);
}

#[test]
fn freed_memory_is_used_again() {
    objects::used_again(alone().0);
}

#[test]
fn an_address_tells_its_class() {
    objects::class_of_address(alone().0);
}

#[test]
fn wrong_frees_are_refused_and_change_nothing() {
    faults::refused(alone().0, true);
}

#[test]
fn objects_freed_by_other_threads_come_back_to_the_owner() {
    remote::come_back(alone().0);
}

#[test]
fn threads_that_pass_objects_around_never_share_one() {
    remote::pass_around(alone().0);
}

#[test]
fn a_thread_without_a_core_can_free() {
    remote::free_detached(alone().0);
}

#[test]
fn a_thread_takes_over_what_a_dead_one_left() {
    adoption::takes_over(alone().0);
}

#[test]
fn a_fork_child_goes_on_with_what_its_parent_had() {
    fork::child_goes_on(alone().0);
}

#[test]
fn a_core_that_is_not_current_leaves_the_current_one_alone() {
    let (isa, _alone) = alone();
    let (mut mine, mut other) = (Attached::new(isa), Attached::new(isa));
    // SAFETY: attached by this thread; null again before it is detached.
    unsafe { Isa::set_current(mine.core().as_ptr()) };
    let class = SizeClass::new(3).unwrap();
    for _ in 0..300 {
        let object = other.alloc(class).unwrap();
        assert_eq!(Isa::current(), mine.core().as_ptr());
        mine.free(object).unwrap();
    }
    // SAFETY: null is always allowed.
    unsafe { Isa::set_current(std::ptr::null_mut()) };
}
