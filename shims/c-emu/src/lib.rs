//! `libmemento-emu.so`: the emulated hardware behind malloc and `operator new`.
//!
//! What the emulator counts lands in the report file, beside what the program asked for.
#![no_std]

use memento_alloc::Memento;
use memento_alloc::report::CountingObserver;
use memento_hal::emulator::Emu;
use memento_shim_abi::{Prepared, emulator};

memento_shim_abi::export!(
    Prepared<Memento<Emu, CountingObserver>> = Prepared::new(
        Memento::with_observer(CountingObserver::new("emu")),
        emulator::prepare
    )
);
memento_shim_abi::at_load!(HEAP.observer().start());
