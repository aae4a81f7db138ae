//! A function that is invoked again and again: prints KiB resident after each response, without and with giving back.
//!
//! ```sh
//! cargo run --release -p memento-functions --example invocations
//! ```

use memento_functions::Memento;
use std::collections::HashMap;

#[global_allocator]
static ALLOCATOR: Memento = Memento::new();

fn invocation(number: usize) -> usize {
    let rows: HashMap<usize, String> =
        (0..100_000).map(|n| (n, format!("row {n} of {number}"))).collect();
    rows.values().map(String::len).sum()
}

/// KiB resident; 0 where the system does not say.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn main() {
    println!("memento serves: {}", ALLOCATOR.serves());
    for number in 0..4 {
        let response = invocation(number);
        let before = resident();
        ALLOCATOR.invocation_end();
        println!("invocation {number}: {response}; {before} KiB, after giving back {}", resident());
    }
}
