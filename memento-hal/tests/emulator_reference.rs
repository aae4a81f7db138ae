//! The emulator against the reference model: for random programs over several cores the same
//! addresses, the same faults and, after every operation, the same counters.

mod reference;

use memento_hal::counters::Counters;
use memento_hal::emulator::{CoreId, FixedCosts, Machine, Params, SimMemory};
use memento_hal::geometry::SizeClass;
use proptest::prelude::*;
use reference::Reference;

const CORES: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    /// Allocates `count` objects.
    Alloc { core: usize, class: usize, count: usize },
    /// Frees every `step`-th address that was ever given out, from `from` on; some are free already.
    Free { core: usize, from: prop::sample::Index, step: usize, count: usize },
    /// Frees an address near one that was given out.
    Near { core: usize, which: prop::sample::Index, offset: i64 },
    /// Frees any address.
    Wild { core: usize, va: u64 },
    /// Flushes the HOT.
    Flush { core: usize },
}

fn class() -> impl Strategy<Value = usize> {
    // Few classes, so that arenas fill; classes 32 apart share an entry of the AAC.
    prop_oneof![Just(0), Just(1), Just(2), Just(32), Just(33), Just(63), 0usize..64]
}

fn count() -> impl Strategy<Value = usize> {
    // 256 fills a fresh arena to the last slot and no further.
    prop_oneof![1usize..10, 200usize..600, Just(256)]
}

fn op() -> impl Strategy<Value = Op> {
    let any = any::<prop::sample::Index>;
    prop_oneof![
        5 => (0..CORES, class(), count())
            .prop_map(|(core, class, count)| Op::Alloc { core, class, count }),
        5 => (0..CORES, any(), 1usize..5, count())
            .prop_map(|(core, from, step, count)| Op::Free { core, from, step, count }),
        1 => (0..CORES, any(), -5000i64..5000)
            .prop_map(|(core, which, offset)| Op::Near { core, which, offset }),
        1 => (0..CORES, 0x1fff_ffff_f000u64..0x2100_0000_1000)
            .prop_map(|(core, va)| Op::Wild { core, va }),
        1 => (0..CORES).prop_map(|core| Op::Flush { core }),
    ]
}

fn params() -> impl Strategy<Value = Params> {
    (18u64..=34, 1u64..=64, 1u64..=32, 0u64..40, 0u64..20, 20u64..40).prop_map(
        |(lane_shift, strides_per_chunk, aac_entries, initial, watermark, batch)| Params {
            lane_shift,
            strides_per_chunk,
            aac_entries,
            pool_initial_frames: initial,
            pool_low_watermark: watermark,
            pool_refill_batch: batch,
            // All different, so that no two costs can be confused.
            hot_cycles: 2,
            aac_cycles: 3,
            header_cycles: 10_007,
            bump_pointer_cycles: 301,
            page_table_cycles: 53,
            table_fill_cycles: 5,
            dry_stall_cycles: 100_003,
            llc_cycles: 41,
            dram_cycles: 230,
            ..Params::DEFAULT
        },
    )
}

/// Both models, driven together.
struct Pair {
    emulator: Machine<SimMemory, FixedCosts>,
    reference: Reference,
    /// Every address that was ever given out.
    addresses: Vec<u64>,
}

impl Pair {
    fn new(params: Params) -> Self {
        let mut emulator =
            Machine::new(params, SimMemory::new(), FixedCosts::new(&params)).unwrap();
        for _ in 0..CORES {
            emulator.add_core().unwrap();
        }
        let reference = Reference::new(params, emulator.layout().region.start());
        Self { emulator, reference, addresses: Vec::new() }
    }

    fn free(&mut self, core: usize, va: u64) {
        let got = self.emulator.obj_free(CoreId(core as u32), va);
        assert_eq!(got, self.reference.free(core, va), "free of {va:#x} by core {core}");
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Alloc { core, class, count } => {
                let class = SizeClass::new(class).unwrap();
                for _ in 0..count {
                    let got = self.emulator.obj_alloc(CoreId(core as u32), class);
                    assert_eq!(got, self.reference.alloc(core, class), "{class:?} by core {core}");
                    self.addresses.extend(got);
                }
            }
            Op::Free { core, from, step, count } => {
                if self.addresses.is_empty() {
                    return;
                }
                let from = from.index(self.addresses.len());
                let chosen: Vec<_> =
                    self.addresses[from..].iter().step_by(step).take(count).copied().collect();
                for va in chosen {
                    self.free(core, va);
                }
            }
            Op::Near { core, which, offset } => {
                if !self.addresses.is_empty() {
                    let va = *which.get(&self.addresses);
                    self.free(core, va.wrapping_add_signed(offset));
                }
            }
            Op::Wild { core, va } => self.free(core, va),
            Op::Flush { core } => {
                self.emulator.flush(CoreId(core as u32));
                self.reference.flush(core);
            }
        }
    }
}

fn readable(counters: &Counters) -> Vec<String> {
    let words: Vec<u64> = vec![
        counters.hot_alloc_hits,
        counters.hot_alloc_misses,
        counters.hot_free_hits,
        counters.hot_free_misses,
        counters.hot_flushes,
        counters.arenas_created,
        counters.alloc_list_operations,
        counters.free_list_operations,
        counters.aac_hits,
        counters.aac_misses,
        counters.pages_taken,
        counters.pages_table_frames,
        counters.pages_refills,
        counters.pages_dry_stalls,
        counters.bypass_lines,
        counters.remote_frees,
        counters.faults,
        counters.cycles_obj_alloc,
        counters.cycles_obj_free,
        counters.cycles_page_management,
        counters.cycles_bypass_saved,
    ];
    let names = &Counters::FIELDS[Counters::FIELDS.len() - words.len()..];
    names.iter().zip(words).map(|(name, word)| format!("{name} {word}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 40 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_programs_give_the_same_addresses_faults_and_counters(
        params in params(),
        ops in prop::collection::vec(op(), 1..if cfg!(miri) { 6 } else { 50 }),
    ) {
        let mut pair = Pair::new(params);
        for op in &ops {
            pair.run(op);
            let (got, want) = (pair.emulator.counters(), &pair.reference.counters);
            prop_assert_eq!(readable(&got), readable(want), "after {:?}", op);
            prop_assert_eq!(pair.emulator.backed().0, got.pages_taken);
        }
    }
}
