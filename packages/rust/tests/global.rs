//! A program on the allocator, on whatever system this is.

use memento_functions::Memento;
use std::collections::BTreeMap;

#[global_allocator]
static ALLOCATOR: Memento = Memento::new();

#[test]
fn a_program_computes_and_gives_back() {
    let words: BTreeMap<String, Vec<usize>> =
        (0..20_000).map(|n| (format!("word {n}"), vec![n; n % 9])).collect();
    assert_eq!(words.values().map(Vec::len).sum::<usize>(), (0..20_000).map(|n| n % 9).sum());
    let zeroed = vec![0u8; 3 << 20];
    assert!(zeroed.iter().all(|byte| *byte == 0));
    drop(words);
    ALLOCATOR.invocation_end();
}

#[test]
fn it_says_whether_it_serves() {
    let expected = cfg!(all(target_os = "linux", target_arch = "x86_64", not(memento_forward)));
    assert_eq!(ALLOCATOR.serves(), expected);
    let held = Box::new([1u8; 100]);
    let stats = ALLOCATOR.stats_json();
    assert_eq!(stats.is_some(), expected);
    assert!(stats.is_none_or(
        |text| text.starts_with("{\"schema\":\"memento.stats/1\"") && text.ends_with('}')
    ));
    assert_eq!(held[99], 1);
}
