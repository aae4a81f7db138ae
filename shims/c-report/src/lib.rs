//! `libmemento-report.so`: what `libmemento_all.so` is, counting for `memento run --report`.
#![no_std]

#[path = "../../python/src/arenas.rs"]
mod arenas;
#[path = "../../python/src/domains.rs"]
mod domains;
#[path = "../../python/src/environment.rs"]
mod environment;
#[path = "../../python/src/install.rs"]
mod install;
#[path = "../../python/src/interpreter.rs"]
mod interpreter;
#[path = "../../python/src/launch.rs"]
mod launch;
#[path = "../../node/src/node_stats.rs"]
mod node_stats;
#[path = "../../python/src/stats.rs"]
mod stats;

use memento_alloc::Memento;
use memento_alloc::report::{CountingObserver, doctor};
use memento_hal::soft::Soft;

memento_shim_abi::export!(
    Memento<Soft, CountingObserver> = Memento::with_observer(CountingObserver::new("soft")),
    at_invocation_end: || {
        V8_PAGES.purge();
        arenas::purge();
    }
);
memento_shim_v8::export_mapping_calls!(V8_PAGES);
memento_shim_abi::at_load!(HEAP.observer().start());
memento_shim_abi::at_end!(doctor::leave(&[stats::write, node_stats::write]));
