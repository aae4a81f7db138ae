//! `libmemento-emu.so`: the emulated hardware behind malloc and `operator new`.
//!
//! What the emulator counts lands in the report file, beside what the program asked for.
#![no_std]

use memento_alloc::Memento;
use memento_alloc::conf::{self, Outcome};
use memento_alloc::report::{CountingObserver, writer};
use memento_hal::ProcessHal;
use memento_hal::emulator::{CounterSource, Emu, Params};
use memento_shim_abi::Prepared;

memento_shim_abi::export!(
    Prepared<Memento<Emu, CountingObserver>> =
        Prepared::new(Memento::with_observer(CountingObserver::new("emu")), prepare)
);
memento_shim_abi::at_load!(HEAP.observer().start());

/// Where the emulator counts.
static SOURCE: CounterSource =
    CounterSource { block: writer::current_block, totals: writer::totals };

/// Gives the emulator its parameters, from `MEMENTO_CONF`, and its counters.
fn prepare() {
    let emulator = Emu::instance();
    emulator.set_counter_source(&SOURCE);
    let mut params = Params::DEFAULT;
    let print = conf::apply_environment(|key, value| {
        if params.get(key).is_none() {
            return Outcome::UnknownKey;
        }
        match value.parse().map(|number| params.set(key, number)) {
            Ok(Ok(())) => Outcome::Set,
            _ => Outcome::BadValue,
        }
    });
    // Values that are fine each and impossible together leave the defaults in force.
    if emulator.configure(params).is_err() {
        let line =
            b"memento: MEMENTO_CONF: values that contradict each other; using the defaults\n";
        memento_shim_abi::runtime::write_stderr(line);
        params = Params::DEFAULT;
    }
    if print {
        conf::print_effective(params.iter().map(|(field, value)| (field.name, value)));
    }
}
