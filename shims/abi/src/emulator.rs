//! The emulator's set-up in a preloaded process.

use memento_alloc::conf::{self, Outcome};
use memento_alloc::page_conf;
use memento_alloc::report::writer;
use memento_hal::ProcessHal;
use memento_hal::emulator::{CounterSource, Emu, Params};
use memento_hal::soft::{PagePolicy, Soft};

/// Where the emulator counts.
static SOURCE: CounterSource =
    CounterSource { block: writer::current_block, totals: writer::totals };

/// Gives the emulator its parameters, from `MEMENTO_CONF`, and its counters.
///
/// For [`Prepared`](crate::Prepared): it must come before the first thread gets a core.
pub fn prepare() {
    let emulator = Emu::instance();
    emulator.set_counter_source(&SOURCE);
    let mut params = Params::DEFAULT;
    let mut pages = PagePolicy::DEFAULT;
    let print = conf::apply_environment(|key, value| {
        if params.get(key).is_none() {
            return page_conf::set(&mut pages, key, value);
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
        crate::runtime::write_stderr(line);
        params = Params::DEFAULT;
    }
    Soft::instance().set_page_policy(pages);
    if print {
        let params = params.iter().map(|(field, value)| (field.name, value));
        conf::print_effective(&mut params.chain(page_conf::values(pages)));
    }
}
