//! `libmemento.so`: the software backend behind malloc and `operator new`.
#![no_std]

use memento_alloc::Memento;

memento_shim_abi::export!(Memento = Memento::new());
