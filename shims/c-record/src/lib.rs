//! `libmemento-record.so`: the software backend, writing the trace of `memento record`.
#![no_std]

use memento_alloc::Memento;
use memento_alloc::record::RecordingObserver;
use memento_hal::soft::Soft;

memento_shim_abi::export!(
    Memento<Soft, RecordingObserver> = Memento::with_observer(RecordingObserver::new())
);
memento_shim_abi::at_load!(HEAP.observer().start());
