//! `libmemento_all.so`: what `libmemento.so`, `libmemento_python.so` and `libmemento_node.so` are, each in the
//! processes that it is for. `memento run` preloads it, so that every process of a tree gets what fits it,
//! whoever started it and how; see DESIGN.md, "Which shared object".
//!
//! The parts are the same files as in those objects, compiled for this object's heap.
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

memento_shim_abi::export!(Memento = Memento::new(), at_invocation_end: || {
    V8_PAGES.purge();
    arenas::purge();
});
memento_shim_v8::export_mapping_calls!(V8_PAGES);
