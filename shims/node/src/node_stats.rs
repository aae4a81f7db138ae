//! What V8's heap is served by, for `memento doctor` and for a program that asks.

use crate::V8_PAGES;
use memento_shim_abi::memento_alloc::{c, json::Json};
use memento_shim_v8::v8_is_here;

/// `memento.h` says what it writes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memento_node_stats_json(buffer: *mut u8, bytes: usize) -> usize {
    // SAFETY: `memento.h`: the buffer holds that many bytes, or is null with 0.
    unsafe { c::stats_json(buffer, bytes, write) }
}

/// The document.
pub(crate) fn write(into: &mut [u8]) -> usize {
    let mut json = Json::new(into);
    json.open("{");
    json.text("schema", "memento.node/1");
    if v8_is_here() {
        let (used, kept) = V8_PAGES.usage();
        json.key("heap_pages");
        json.open("{");
        json.number("used", used as u64);
        json.number("kept", kept as u64);
        json.number("peak", V8_PAGES.peak() as u64);
        json.close("}");
        if V8_PAGES.is_refused() {
            json.text("left_alone", "the address space is limited, or no range could be had");
        }
    }
    json.close("}");
    json.written()
}
