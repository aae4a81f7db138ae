//! The whole way: rows are run in turns, written down, read again, summed up, exported; and samples that were
//! not taken in turns are refused.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Rows, a peer and a place for results. The peer and the object in memento's place define nothing: what
/// is tested is the way, not who is faster.
struct Bench {
    directory: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { directory: tempfile::tempdir().unwrap() };
        let rows = "[[row]]\nname = 'shell'\ngroup = 'little'\ncommand = ['sh', '-c', 'echo {tmp}']\n\
                    [[row]]\nname = 'true'\ngroup = 'start-up'\ncommand = ['true']\n";
        std::fs::write(bench.path("rows.toml"), rows).unwrap();
        let object = bench.path("empty.so");
        let mut compiler = Command::new("gcc");
        compiler.args(["-shared", "-nostdlib", "-x", "c", "/dev/null", "-o"]).arg(&object);
        assert!(compiler.status().unwrap().success());
        let peer = format!("peer\t1\t{}\tnowhere\t\n", object.display());
        std::fs::write(bench.path("peers.tsv"), peer).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn suite(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_suite"));
        command.args(words).current_dir(self.directory.path()).output().unwrap()
    }

    fn run(&self, raw: &str, more: &[&str]) -> Output {
        let memento = memento();
        let mut words = vec!["run", "--list", "rows.toml", "--peers", ".", "--shim", "empty.so"];
        words.extend(["--memento", memento.to_str().unwrap(), "--raw", raw, "--rounds", "2"]);
        words.extend(["--warmup", "0", "--watched", "1"]);
        words.extend(more);
        self.suite(&words)
    }
}

/// The command, built if it is not: it is another package's.
fn memento() -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_suite")).with_file_name("memento");
    if !beside.exists() {
        let target = beside.ancestors().nth(2).unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "-p", "memento", "--target-dir"]).arg(target);
        assert!(cargo.status().unwrap().success());
    }
    beside
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn rows_are_measured_and_exported() {
    let bench = Bench::new();
    let exports = ["--export", "t.md", "--export", "t.csv", "--export", "t.json"];
    let out = bench.run("raw.jsonl", &exports);
    assert!(out.status.success(), "{}", text(&out.stderr));

    let table = text(&out.stdout);
    for part in ["| glibc ", "| peer ", "memento ÷ best", "start-up: true: CPU time", "Page faults"]
    {
        assert!(table.contains(part), "no {part} in {table}");
    }
    assert_eq!(text(&std::fs::read(bench.path("t.md")).unwrap()), table);
    let lines = text(&std::fs::read(bench.path("t.csv")).unwrap());
    assert_eq!(lines.lines().count(), 1 + 2 * 3, "a line for each row and allocator");
    let json = std::fs::read(bench.path("t.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let timed = json["timed"].as_array().unwrap();
    assert_eq!(timed.len(), 2 * 3 * 2);
    for sample in timed {
        assert!(sample["round"].is_u64() && sample["turn"].is_u64(), "{sample}");
        assert!(sample["peak_kib"].as_u64().unwrap() > 0, "{sample}");
    }
    let first = |round| {
        let is_first = |s: &&serde_json::Value| s["round"] == round && s["turn"] == 0;
        timed.iter().find(is_first).unwrap()["by"].clone()
    };
    assert_ne!(first(0), first(1), "another allocator begins each round");

    let again = bench.suite(&["table", "raw.jsonl"]);
    assert_eq!(text(&again.stdout), table);
}

#[test]
fn runs_that_were_not_interleaved_are_refused() {
    let bench = Bench::new();
    let one = bench.run("one.jsonl", &["--allocators", "glibc,peer"]);
    let two = bench.run("two.jsonl", &["--allocators", "glibc,memento"]);
    assert!(one.status.success() && two.status.success(), "{}", text(&two.stderr));
    let both = bench.suite(&["table", "one.jsonl", "two.jsonl"]);
    assert!(!both.status.success());
    let error = text(&both.stderr);
    assert!(error.contains("not taken in turns are not compared"), "{error}");
    assert!(both.stdout.is_empty(), "no table: {}", text(&both.stdout));
}

#[test]
fn more_rounds_of_the_same_allocators_are_put_together() {
    let bench = Bench::new();
    for raw in ["one.jsonl", "two.jsonl"] {
        let out = bench.run(raw, &["--allocators", "glibc,peer"]);
        assert!(out.status.success(), "{}", text(&out.stderr));
    }
    let both = bench.suite(&["table", "one.jsonl", "two.jsonl", "--export", "t.csv"]);
    assert!(both.status.success(), "{}", text(&both.stderr));
    let lines = text(&std::fs::read(bench.path("t.csv")).unwrap());
    assert!(lines.contains("shell,little,false,1,,4,glibc"), "four rounds in {lines}");
}

#[test]
fn a_failing_program_stops_the_run_and_leaves_what_was_measured() {
    let bench = Bench::new();
    let rows = std::fs::read_to_string(bench.path("rows.toml")).unwrap();
    std::fs::write(bench.path("rows.toml"), rows.replace("['true']", "['false']")).unwrap();
    let out = bench.run("raw.jsonl", &[]);
    assert!(!out.status.success());
    let error = text(&out.stderr);
    assert!(error.contains("true under glibc"), "{error}");
    let table = bench.suite(&["table", "raw.jsonl"]);
    assert!(
        table.status.success() && text(&table.stdout).contains("| shell "),
        "the first row is there"
    );
}

#[test]
fn a_server_is_measured_while_its_client_talks_to_it() {
    let bench = Bench::new();
    // It says that it is there, waits to be told to end, and takes its time in between.
    let rows = "[[row]]\nname = 'server'\ngroup = 'little'\n\
        command = ['sh', '-c', 'touch {tmp}/ready; until [ -e {tmp}/end ]; do :; done']\n\
        [row.client]\nready = '{tmp}/ready'\n\
        commands = [['sleep', '0.05'], ['touch', '{tmp}/end']]\n";
    std::fs::write(bench.path("rows.toml"), rows).unwrap();
    let out = bench.run("raw.jsonl", &["--export", "t.csv"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let lines = text(&std::fs::read(bench.path("t.csv")).unwrap());
    assert!(lines.lines().nth(1).unwrap().starts_with("server,little"), "{lines}");
}
