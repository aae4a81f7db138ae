//! The backends against each other and against a shadow map: the same program of operations, the
//! same answers. Addresses differ; what a program may rely on does not.

use super::backend::{Attached, Backend, Emulator, Object, Software, assert_disjoint, fake};
use memento_hal::geometry::SizeClass;
use memento_hal::{FreeFault, Hal};
use proptest::prelude::*;

const CORES: usize = 2;

#[derive(Clone, Debug)]
enum Op {
    Alloc {
        core: usize,
        class: usize,
    },
    /// Frees the object with this number among all that are live.
    Free {
        core: usize,
        which: prop::sample::Index,
    },
    /// Frees it twice in a row on the core that allocated it, which every backend detects.
    FreeTwice {
        which: prop::sample::Index,
    },
    /// Frees an address inside it that is no multiple of eight.
    FreeInside {
        core: usize,
        which: prop::sample::Index,
        offset: usize,
    },
    /// Frees an address that is not in the region.
    FreeOutside {
        core: usize,
    },
    /// The core's thread ends, and another takes over.
    Replace {
        core: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let any = any::<prop::sample::Index>;
    let class = prop_oneof![0usize..4, 0usize..64];
    prop_oneof![
        60 => (0..CORES, class).prop_map(|(core, class)| Op::Alloc { core, class }),
        40 => (0..CORES, any()).prop_map(|(core, which)| Op::Free { core, which }),
        4 => any().prop_map(|which| Op::FreeTwice { which }),
        2 => (0..CORES, any(), 1usize..8)
            .prop_map(|(core, which, offset)| Op::FreeInside { core, which, offset }),
        1 => (0..CORES).prop_map(|core| Op::FreeOutside { core }),
        1 => (0..CORES).prop_map(|core| Op::Replace { core }),
    ]
}

/// A live object of the shadow: who allocated it, its class and what was written to it.
#[derive(Clone, Copy)]
struct Shadow {
    owner: usize,
    class: SizeClass,
    seed: u8,
}

/// A backend and its objects, in the order of the shadow's.
struct Driven<'a, H: Hal> {
    hal: &'a H,
    cores: Vec<Attached<'a, H>>,
    live: Vec<Object>,
}

impl<'a, H: Hal> Driven<'a, H> {
    fn new(hal: &'a H) -> Self {
        let cores = (0..CORES).map(|_| Attached::new(hal)).collect();
        Self { hal, cores, live: Vec::new() }
    }

    fn alloc(&mut self, core: usize, shadow: Shadow) {
        let object = self.cores[core].alloc(shadow.class).unwrap();
        object.fill(shadow.seed);
        self.live.push(object);
    }

    fn free(&mut self, core: usize, n: usize, shadow: Shadow) -> Result<(), FreeFault> {
        let object = self.live.swap_remove(n);
        object.check(shadow.seed);
        self.cores[core].free(object)
    }

    fn replace(&mut self, core: usize) {
        // The dead core first, so that there is one to take over.
        drop(self.cores.swap_remove(core));
        self.cores.push(Attached::new(self.hal));
        let last = self.cores.len() - 1;
        self.cores.swap(core, last);
    }

    fn check(&self, shadows: &[Shadow]) {
        assert_disjoint(&self.live);
        for (object, shadow) in self.live.iter().zip(shadows) {
            object.check(shadow.seed);
        }
    }
}

/// Runs a program; gives what each free that was tried answered.
fn run<H: Hal>(hal: &H, ops: &[Op]) -> Vec<Result<(), FreeFault>> {
    let mut driven = Driven::new(hal);
    let mut shadows: Vec<Shadow> = Vec::new();
    let mut answers = Vec::new();
    for (n, op) in ops.iter().enumerate() {
        match *op {
            Op::Alloc { core, class } => {
                let class = SizeClass::new(class).unwrap();
                let shadow = Shadow { owner: core, class, seed: n as u8 };
                driven.alloc(core, shadow);
                shadows.push(shadow);
            }
            Op::FreeOutside { core } => {
                let mut on_stack = 0u64;
                let at = std::ptr::NonNull::from(&mut on_stack).cast();
                answers.push(driven.cores[core].free_at(at));
            }
            Op::Replace { core } => driven.replace(core),
            _ if shadows.is_empty() => {}
            Op::Free { core, which } => {
                let at = which.index(shadows.len());
                let shadow = shadows.swap_remove(at);
                answers.push(driven.free(core, at, shadow));
            }
            Op::FreeTwice { which } => {
                let at = which.index(shadows.len());
                let (object, shadow) = (driven.live[at], shadows.swap_remove(at));
                answers.push(driven.free(shadow.owner, at, shadow));
                answers.push(driven.cores[shadow.owner].free(object));
            }
            Op::FreeInside { core, which, offset } => {
                let object = driven.live[which.index(shadows.len())];
                // SAFETY: an object has at least 8 bytes.
                let inside = unsafe { object.at.add(offset) };
                answers.push(driven.cores[core].free_at(inside));
            }
        }
        if n % 64 == 0 {
            driven.check(&shadows);
        }
    }
    driven.check(&shadows);
    answers
}

/// What the contracts say each free answers.
fn expected(ops: &[Op]) -> Vec<Result<(), FreeFault>> {
    let mut live = 0usize;
    let mut answers = Vec::new();
    for op in ops {
        match op {
            Op::Alloc { .. } => live += 1,
            Op::FreeOutside { .. } => answers.push(Err(FreeFault::Outside)),
            Op::Replace { .. } => {}
            _ if live == 0 => {}
            Op::Free { .. } => {
                live -= 1;
                answers.push(Ok(()));
            }
            Op::FreeTwice { .. } => {
                live -= 1;
                answers.extend([Ok(()), Err(FreeFault::NotAllocated)]);
            }
            Op::FreeInside { .. } => answers.push(Err(FreeFault::Misaligned)),
        }
    }
    answers
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 64 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn emulator_and_software_answer_as_the_contracts_say(
        ops in prop::collection::vec(op(), 1..if cfg!(miri) { 80 } else { 3000 }),
    ) {
        let want = expected(&ops);
        prop_assert_eq!(run(&Emulator::over(fake()), &ops), want.clone());
        prop_assert_eq!(run(&Software::over(fake()), &ops), want);
    }
}
