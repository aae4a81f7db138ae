//! What every backend promises, written once against the contracts and run over all of them.
//!
//! A backend joins with one line at the end of this file.

#[path = "conformance/adoption.rs"]
mod adoption;
#[path = "conformance/backend.rs"]
mod backend;
#[path = "conformance/equivalence.rs"]
mod equivalence;
#[path = "conformance/exhaustion.rs"]
mod exhaustion;
#[path = "conformance/faults.rs"]
mod faults;
#[path = "conformance/fork.rs"]
mod fork;
#[path = "conformance/objects.rs"]
mod objects;
#[path = "conformance/remote.rs"]
mod remote;

/// Runs the suite over one backend on one operating system.
macro_rules! conformance {
    ($name:ident, $backend:ty, $os:expr) => {
        mod $name {
            use super::backend::{Backend, Starved};

            #[test]
            fn objects_are_aligned_disjoint_and_keep_their_contents() {
                super::objects::aligned_disjoint_and_kept(&<$backend>::over($os));
            }

            #[test]
            fn freed_memory_is_used_again() {
                super::objects::used_again(&<$backend>::over($os));
            }

            #[test]
            fn an_address_tells_its_class() {
                super::objects::class_of_address(&<$backend>::over($os));
            }

            #[test]
            fn wrong_frees_are_refused_and_change_nothing() {
                super::faults::refused(&<$backend>::over($os), <$backend>::EXACT);
            }

            #[test]
            fn objects_freed_by_other_threads_come_back_to_the_owner() {
                super::remote::come_back(&<$backend>::over($os));
            }

            #[test]
            fn threads_that_pass_objects_around_never_share_one() {
                super::remote::pass_around(&<$backend>::over($os));
            }

            #[test]
            fn a_thread_without_a_core_can_free() {
                super::remote::free_detached(&<$backend>::over($os));
            }

            #[test]
            fn a_thread_takes_over_what_a_dead_one_left() {
                super::adoption::takes_over(&<$backend>::over($os));
            }

            #[test]
            fn without_memory_there_is_nothing_and_no_harm() {
                super::exhaustion::nothing_and_no_harm(|commits| {
                    <$backend>::over(Starved::new($os, commits))
                });
            }

            #[test]
            fn without_address_space_no_core_is_attached() {
                super::exhaustion::no_core(&<$backend>::over(Starved::without_address_space($os)));
            }

            #[test]
            fn a_fork_child_goes_on_with_what_its_parent_had() {
                super::fork::child_goes_on(&<$backend>::over($os));
            }
        }
    };
}

conformance!(emu_fake, super::backend::Emulator, super::backend::fake());
#[cfg(not(miri))]
conformance!(emu_linux, super::backend::Emulator, memento_hal::os::Linux);
conformance!(soft_fake, super::backend::Software, super::backend::fake());
#[cfg(not(miri))]
conformance!(soft_linux, super::backend::Software, memento_hal::os::Linux);
