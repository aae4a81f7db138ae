//! `libmemento_node.so`: the software backend behind malloc and `operator new`, and memento's page policy
//! for the pages that V8 maps for its heap.
//!
//! In a process without V8, such as a child of a Node program, it is what `libmemento.so` is.
#![no_std]

mod node_stats;

use memento_alloc::Memento;

memento_shim_abi::export!(Memento = Memento::new(), at_invocation_end: || V8_PAGES.purge());
memento_shim_v8::export_mapping_calls!(V8_PAGES);
