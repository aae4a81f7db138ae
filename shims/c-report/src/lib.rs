//! `libmemento-report.so`: the software backend, counting for `memento run --report`.
#![no_std]

use memento_alloc::Memento;
use memento_alloc::report::CountingObserver;
use memento_hal::soft::Soft;

memento_shim_abi::export!(
    Memento<Soft, CountingObserver> = Memento::with_observer(CountingObserver::new("soft"))
);
memento_shim_abi::at_load!(HEAP.observer().start());
