//! What the domains are served by, for `memento doctor` and for a program that asks.

use crate::arenas::ARENAS;
use crate::domains::{ALLOCATIONS, COUNTED, SERVED};
use crate::install::outcome;
use crate::interpreter::{Allocator, Domain};
use core::sync::atomic::Ordering;
use memento_shim_abi::memento_alloc::{c, json::Json};

/// `memento.h` says what it writes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memento_python_stats_json(buffer: *mut u8, bytes: usize) -> usize {
    // SAFETY: `memento.h`: the buffer holds that many bytes, or is null with 0.
    unsafe { c::stats_json(buffer, bytes, write) }
}

/// The document.
pub(crate) fn write(into: &mut [u8]) -> usize {
    let outcome = outcome();
    let mut json = Json::new(into);
    json.open("{");
    json.text("schema", "memento.python/1");
    json.key("domains");
    json.open("{");
    if let Some(interpreter) = outcome.interpreter {
        for (name, domain) in [("raw", Domain::Raw), ("mem", Domain::Mem), ("obj", Domain::Obj)] {
            json.text(name, server(domain, interpreter.allocator(domain)));
        }
    }
    json.close("}");
    if let Some(reason) = outcome.reason {
        json.text("left_alone", reason);
    }
    if outcome.arenas_before.is_some() {
        json.number("arenas", ARENAS.in_use() as u64);
    }
    if outcome.counted {
        json.number("allocations", ALLOCATIONS.load(Ordering::Relaxed));
    }
    json.close("}");
    json.written()
}

/// Who serves a domain.
fn server(domain: Domain, now: Allocator) -> &'static str {
    if now == SERVED || now == COUNTED {
        "memento"
    } else if domain == Domain::Raw && now.context.is_null() {
        // CPython's own raw allocator calls `malloc`.
        "malloc"
    } else if domain != Domain::Raw && now == outcome().before && outcome().arenas_before.is_some()
    {
        "pymalloc in memento's arenas"
    } else {
        "another"
    }
}
