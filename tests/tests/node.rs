//! Node.js on `libmemento_node.so`: the pages of V8's heap are served, and nothing changes for the
//! program.

use memento_tests::{Bindings, Outcome, Shim, directory, run};
use std::path::PathBuf;
use std::process::Command;

/// A script of `tests/node`, with options for Node in front; on the shim if there is one.
fn node(options: &[&str], script: &str, shim: Option<Shim>) -> Command {
    let mut command = Command::new("node");
    command.args(options).arg(directory("node").join(script));
    command.env_remove("LD_PRELOAD").env_remove("NODE_OPTIONS").env_remove("MEMENTO_CONF");
    if let Some(shim) = shim {
        command.env("LD_PRELOAD", shim.path());
    }
    command
}

/// Asserts that the script says and returns the same with and without, and that all its processes, at
/// least so many, were served.
fn unchanged(options: &[&str], script: &str, processes: usize) -> Outcome {
    let stock = run(&mut node(options, script, None));
    assert!(!stock.stdout.is_empty(), "{stock:?}");
    let mut command = node(options, script, Some(Shim::Node));
    let bindings = Bindings::of(&mut command);
    let got = run(&mut command);
    assert!(got == stock, "{options:?} {script}: {got:?}\nwithout: {stock:?}");
    let served = bindings.served_by(&Shim::Node.path());
    assert!(served >= processes, "{served} processes were served");
    stock
}

/// A JavaScript expression that counts V8's pages: mappings of 256 KiB at addresses of V8's choice, and
/// bytes that are committed in the range, the only reservation of more than 8 GiB and less than 17.
const COUNT: &str = "
    const maps = require('fs').readFileSync('/proc/self/maps', 'latin1').trim().split('\\n')
      .map((line) => /^(\\w+)-(\\w+) (\\S+)/.exec(line))
      .map(([, from, to, access]) => ({ from: parseInt(from, 16), to: parseInt(to, 16), access }));
    const own = maps.filter((m) => m.access === 'rw-p' && m.to - m.from === 262144 && m.from < 0x700000000000);
    const rest = maps.findIndex((m) => m.access === '---p' && m.to - m.from > 8 * 2 ** 30 && m.to - m.from < 17 * 2 ** 30);
    const range = rest > 0 ? maps[rest].from - maps[rest - 1].from : 0;";

/// Mappings of V8's own making, and bytes in the range, in a Node that has filled some heap.
fn counts(command: &mut Command) -> (usize, usize) {
    let fill = "const rows = Array.from({ length: 50000 }, (_, i) => ({ i, text: `row ${i}` }));";
    let end = "console.log(own.length, range, rows.length);";
    let outcome = run(command.args(["-e", &format!("{fill}{COUNT}{end}")]));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let numbers: Vec<usize> =
        outcome.stdout.split_whitespace().map(|n| n.parse().unwrap()).collect();
    assert_eq!(numbers[2], 50000);
    (numbers[0], numbers[1])
}

/// A Node without a script.
fn bare(shim: Option<Shim>) -> Command {
    let mut command = Command::new("node");
    command.env_remove("LD_PRELOAD").env_remove("NODE_OPTIONS").env_remove("MEMENTO_CONF");
    if let Some(shim) = shim {
        command.env("LD_PRELOAD", shim.path());
    }
    command
}

#[test]
fn the_heaps_pages_come_from_the_range() {
    let (own, range) = counts(&mut bare(None));
    assert!(own > 20 && range == 0, "the test recognises V8's pages: {own} {range}");
    let (own, range) = counts(&mut bare(Some(Shim::Soft)));
    assert!(own > 20 && range == 0, "the shared object for C leaves them alone: {own} {range}");
    let (own, range) = counts(&mut bare(Some(Shim::Node)));
    assert!(own == 0 && range >= 2 << 20, "{own} mappings beside the range of {range} bytes");
}

#[test]
fn under_a_limit_of_address_space_the_pages_are_v8s_own() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v 40000000 && exec node \"$@\"", "sh"]);
    command.env_remove("LD_PRELOAD").env("LD_PRELOAD", Shim::Node.path());
    let (own, range) = counts(&mut command);
    assert!(own > 20 && range == 0, "{own} {range}");
}

#[test]
fn heaps_workers_wasm_and_snapshots() {
    let stock = unchanged(&["--expose-gc"], "heap.js", 1);
    assert!(stock.stdout.contains("error ERR_WORKER_OUT_OF_MEMORY"), "{stock:?}");
    assert!(stock.stdout.contains("snapshot true"), "{stock:?}");
}

#[test]
fn without_huge_pages_or_compiled_code() {
    unchanged(&["--jitless", "--no-expose-wasm"], "churn.js", 1);
    let mut command = node(&[], "churn.js", Some(Shim::Node));
    let got = run(command.env("MEMENTO_CONF", "huge_waste:0"));
    assert!(got == run(&mut node(&[], "churn.js", None)), "{got:?}");
}

#[test]
fn a_cluster_and_forked_children() {
    let stock = unchanged(&[], "cluster.js", 4);
    assert!(stock.stdout.contains("child ended 3"), "{stock:?}");
}

#[test]
fn a_heap_that_must_stay_small() {
    unchanged(&["--max-old-space-size=24", "--max-semi-space-size=1"], "churn.js", 1);
}

#[test]
fn a_heap_that_is_too_small_ends_as_ever() {
    let ending = |shim| {
        let outcome = run(&mut node(&["--max-old-space-size=12"], "grow.js", shim));
        let reason = outcome.stderr.lines().find(|line| line.contains("FATAL ERROR"));
        (outcome.code, outcome.signal, reason.expect("V8 says why").to_owned())
    };
    assert_eq!(ending(Some(Shim::Node)), ending(None));
}

/// Resident KiB of `retention.js` at the heap's largest, and after it was collected.
fn resident(shim: Option<Shim>) -> [u64; 2] {
    let outcome = run(&mut node(&["--expose-gc"], "retention.js", shim));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let numbers: Vec<u64> = outcome.stdout.split_whitespace().map(|n| n.parse().unwrap()).collect();
    [numbers[0], numbers[1]]
}

#[test]
fn what_the_heap_gives_back_goes_back() {
    let [full, collected] = resident(Some(Shim::Node));
    let [stock_full, stock_collected] = resident(None);
    println!("KiB: {full} then {collected}; stock: {stock_full} then {stock_collected}");
    assert!(full * 100 <= stock_full * 115, "{full} KiB, stock {stock_full}");
    assert!(collected * 100 <= stock_collected * 120, "{collected} KiB, stock {stock_collected}");
}

#[test]
fn a_child_without_v8_is_served_as_by_the_c_object() {
    let mut command = Command::new("sh");
    command
        .args(["-c", "sort < \"$0\" | head -2"])
        .arg(PathBuf::from(file!()).file_name().unwrap());
    command.current_dir(directory("tests")).env("LD_PRELOAD", Shim::Node.path()).env("LC_ALL", "C");
    let bindings = Bindings::of(&mut command);
    let outcome = run(&mut command);
    assert_eq!((outcome.code, &*outcome.stderr), (Some(0), ""), "{outcome:?}");
    assert!(bindings.served_by(&Shim::Node.path()) >= 3);
}
