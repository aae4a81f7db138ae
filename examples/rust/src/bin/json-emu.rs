//! The function on the emulated hardware; what it cost goes to stderr.

use memento_alloc::Memento;
use memento_hal::counters::Counters;
use memento_hal::emulator::Emu;
use memento_hal::{Hal, ProcessHal};

#[global_allocator]
static ALLOCATOR: Memento<Emu> = Memento::new();

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let result = memento_examples::run();
    let mut counted = Counters::ZERO;
    Emu::instance().counters(&mut counted);
    let cycles =
        counted.cycles_obj_alloc + counted.cycles_obj_free + counted.cycles_page_management;
    let allocs = counted.hot_alloc_hits + counted.hot_alloc_misses;
    eprintln!("{cycles} hardware cycles, {allocs} obj-allocs");
    result
}
