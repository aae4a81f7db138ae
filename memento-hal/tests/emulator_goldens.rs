//! Events and cycles of every path of the emulator, compared word for word with a text that people
//! can check against the model.
//!
//! `MEMENTO_UPDATE_GOLDENS=1 cargo test -p memento-hal --test emulator_goldens` writes the text anew.

use memento_hal::counters::Counters;
use memento_hal::emulator::{CoreId, FixedCosts, Machine, Params, SimMemory};
use memento_hal::geometry::{OBJECTS_PER_ARENA, SizeClass};
use std::fmt::Write;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/emulator-cycles.txt");

/// One machine and the text that describes what it does.
struct Story {
    machine: Machine<SimMemory, FixedCosts>,
    text: String,
}

impl Story {
    fn new(title: &str, params: Params, cores: usize) -> Self {
        let mut machine = Machine::new(params, SimMemory::new(), FixedCosts::new(&params)).unwrap();
        for _ in 0..cores {
            machine.add_core().unwrap();
        }
        Self { machine, text: format!("== {title}\n") }
    }

    /// Runs `f` and tells which counters it changed.
    fn step<R>(
        &mut self,
        what: &str,
        f: impl FnOnce(&mut Machine<SimMemory, FixedCosts>) -> R,
    ) -> R {
        let before = words(&self.machine.counters());
        let result = f(&mut self.machine);
        let after = words(&self.machine.counters());
        writeln!(self.text, "{what}").unwrap();
        for ((name, before), (_, after)) in before.into_iter().zip(after) {
            if after != before {
                writeln!(self.text, "    {name} +{}", after - before).unwrap();
            }
        }
        result
    }

    fn alloc(&mut self, what: &str, core: u32, size: usize) -> u64 {
        self.step(what, |m| m.obj_alloc(CoreId(core), class(size)).unwrap())
    }

    fn free(&mut self, what: &str, core: u32, va: u64) {
        self.step(what, |m| m.obj_free(CoreId(core), va).unwrap());
    }

    /// Allocates `count` objects without a word.
    fn quietly(&mut self, core: u32, size: usize, count: usize) -> Vec<u64> {
        (0..count).map(|_| self.machine.obj_alloc(CoreId(core), class(size)).unwrap()).collect()
    }
}

fn class(size: usize) -> SizeClass {
    SizeClass::for_request(size, 8).unwrap()
}

/// The counters by name, but for those that the emulator does not write.
fn words(c: &Counters) -> Vec<(&'static str, u64)> {
    vec![
        ("hot_alloc_hits", c.hot_alloc_hits),
        ("hot_alloc_misses", c.hot_alloc_misses),
        ("hot_free_hits", c.hot_free_hits),
        ("hot_free_misses", c.hot_free_misses),
        ("hot_flushes", c.hot_flushes),
        ("arenas_created", c.arenas_created),
        ("alloc_list_operations", c.alloc_list_operations),
        ("free_list_operations", c.free_list_operations),
        ("aac_hits", c.aac_hits),
        ("aac_misses", c.aac_misses),
        ("pages_taken", c.pages_taken),
        ("pages_table_frames", c.pages_table_frames),
        ("pages_refills", c.pages_refills),
        ("pages_dry_stalls", c.pages_dry_stalls),
        ("bypass_lines", c.bypass_lines),
        ("remote_frees", c.remote_frees),
        ("faults", c.faults),
        ("cycles_obj_alloc", c.cycles_obj_alloc),
        ("cycles_obj_free", c.cycles_obj_free),
        ("cycles_page_management", c.cycles_page_management),
        ("cycles_bypass_saved", c.cycles_bypass_saved),
    ]
}

fn hits() -> String {
    let mut s = Story::new("hits, 64-byte objects", Params::DEFAULT, 1);
    let first = s.alloc("first alloc of the process: new arena, AAC miss, cold walk", 0, 64);
    let second = s.alloc("alloc hit, a line never touched before", 0, 64);
    s.free("free hit", 0, second);
    s.alloc("alloc hit, the same object again", 0, 64);
    s.free("free hit, the first object", 0, first);
    s.quietly(0, 64, 61);
    s.alloc("alloc hit, the object fills the line that ends the first page", 0, 64);
    s.alloc("alloc hit, the first line of the second page", 0, 64);
    s.text
}

fn arenas() -> String {
    let mut s = Story::new("full arenas, 64-byte objects", Params::DEFAULT, 1);
    let a = s.quietly(0, 64, OBJECTS_PER_ARENA);
    let b = s.alloc("the arena is full, none is available: new arena, AAC hit", 0, 64);
    s.free("free miss, full arena becomes available", 0, a[10]);
    s.free("free miss, available arena stays where it is", 0, a[11]);
    s.free("free hit in the other arena", 0, b);
    s.quietly(0, 64, OBJECTS_PER_ARENA);
    s.alloc("the arena is full, one is available: its lowest free slot", 0, 64);
    s.alloc("alloc hit in it", 0, 64);
    s.text
}

fn aac() -> String {
    let mut s =
        Story::new("arena allocation cache, classes 8 and 264 share an entry", Params::DEFAULT, 2);
    s.alloc("class 8: AAC miss", 0, 8);
    s.quietly(0, 8, OBJECTS_PER_ARENA - 1);
    s.alloc("class 8 again: AAC hit", 0, 8);
    s.alloc("class 264: AAC miss, displaces class 8", 0, 264);
    s.quietly(0, 8, OBJECTS_PER_ARENA - 1);
    s.alloc("class 8 again: AAC miss", 0, 8);
    s.alloc("class 8 of another core: AAC miss", 1, 8);
    s.text
}

fn pages() -> String {
    let mut s = Story::new("page walks, 512-byte objects", Params::DEFAULT, 1);
    s.alloc("cold walk to the header's page", 0, 512);
    s.quietly(0, 512, 6);
    s.alloc("an object on two pages, the second one new: warm walk", 0, 512);
    s.alloc("another class: its lane has its own table frames", 0, 8);
    s.text
}

fn pool() -> String {
    let dry = Params {
        pool_initial_frames: 4,
        pool_low_watermark: 0,
        pool_refill_batch: 4,
        ..Params::DEFAULT
    };
    let mut s = Story::new("page pool of 4 frames, refilled by 4 only when dry", dry, 1);
    s.alloc("cold walk takes all four frames", 0, 512);
    s.quietly(0, 512, 6);
    s.alloc("the pool is dry: stall and refill", 0, 512);
    s.quietly(0, 512, 31);
    s.alloc("four pages later it is dry again", 0, 512);
    let kept = Params { pool_low_watermark: 2, ..dry };
    let mut t = Story::new("the same with a low watermark of 2: refills, no stall", kept, 1);
    t.alloc("cold walk: refilled on the way, off the critical path", 0, 512);
    s.text + &t.text
}

fn remote() -> String {
    let mut s = Story::new("remote frees, 64-byte objects of core 0", Params::DEFAULT, 2);
    let a = s.quietly(0, 64, OBJECTS_PER_ARENA + 1);
    s.free("core 1 frees one in a full arena", 1, a[0]);
    s.free("core 1 frees one in the arena in the HOT of core 0", 1, a[OBJECTS_PER_ARENA]);
    s.alloc("core 0 allocates: a hit, the remote frees wait", 0, 64);
    s.free("free miss of core 0: they take effect, an arena becomes available", 0, a[1]);
    s.quietly(0, 64, OBJECTS_PER_ARENA - 1);
    s.free(
        "core 1 frees another in the HOT of core 0, whose arena is full",
        1,
        a[OBJECTS_PER_ARENA] + 64,
    );
    let next = s.alloc("core 0 allocates: a miss, that arena returns to the HOT", 0, 64);
    assert_eq!(next, a[OBJECTS_PER_ARENA] + 64);
    s.text
}

fn faults() -> String {
    let mut s = Story::new("faults, 64-byte objects", Params::DEFAULT, 2);
    let a = s.quietly(0, 64, 2);
    let outside = s.machine.layout().region.end();
    let mut fault = |what: &str, core: u32, va: u64| {
        let fault = s.step(what, |m| m.obj_free(CoreId(core), va).unwrap_err());
        writeln!(s.text, "    {fault:?}").unwrap();
    };
    fault("free behind the region", 0, outside);
    fault("free of a place where an arena could be", 0, a[0] + (1 << 20));
    fault("free inside an object", 0, a[0] + 8);
    fault("free of a header", 0, a[0] - 64);
    fault("free of a slot that was never allocated", 0, a[1] + 64);
    s.free("a free by core 1 is pending", 1, a[0]);
    for core in [0, 1] {
        let fault = s.step("the same object is freed again", |m| {
            m.obj_free(CoreId(core), a[0]).unwrap_err()
        });
        writeln!(s.text, "    {fault:?}").unwrap();
    }
    s.text
}

fn flush() -> String {
    let mut s = Story::new("flush", Params::DEFAULT, 1);
    s.quietly(0, 64, OBJECTS_PER_ARENA);
    let b = s.quietly(0, 128, 2);
    let cycles = s.step("two dirty entries, one of a full arena", |m| m.flush(CoreId(0)));
    writeln!(s.text, "    cycles of the flush, in no account: {}", cycles.0).unwrap();
    let cycles = s.step("nothing is left to flush", |m| m.flush(CoreId(0)));
    writeln!(s.text, "    cycles of the flush, in no account: {}", cycles.0).unwrap();
    s.free("a free is a miss now", 0, b[1]);
    s.alloc("an alloc is a miss and finds the available arena", 0, 128);
    s.alloc("the other arena is on the full list: new arena", 0, 64);
    s.text
}

#[test]
fn events_and_cycles_of_every_path() {
    let stories =
        [hits(), arenas(), aac(), pages(), pool(), remote(), faults(), flush()].join("\n");
    let text = format!(
        "Events and cycles of every path of the emulator with its default parameters, unless a\n\
         heading names others. An indented line is a counter and by how much the step raised it.\n\n\
         {stories}"
    );
    if std::env::var_os("MEMENTO_UPDATE_GOLDENS").is_some() {
        std::fs::write(GOLDEN, &text).unwrap();
    }
    let golden = include_str!("goldens/emulator-cycles.txt");
    for (n, (got, want)) in text.lines().zip(golden.lines()).enumerate() {
        assert_eq!(got, want, "line {} of {GOLDEN}", n + 1);
    }
    assert_eq!(text.len(), golden.len());
}
