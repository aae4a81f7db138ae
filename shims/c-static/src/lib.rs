//! `libmemento.a`: the software backend behind malloc and `operator new`, for programs that link it, also
//! statically.
#![no_std]

use memento_alloc::Memento;

memento_shim_abi::export_static!(Memento = Memento::new());
