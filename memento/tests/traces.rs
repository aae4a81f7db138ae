//! `memento record` and `memento replay` together.

mod common;

use common::{compile, memento, output, stderr};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::Stdio;

fn replay(hal: &str, trace: &std::path::Path) -> Value {
    let file = trace.with_extension("json");
    let out = output(&[
        "replay",
        "--hal",
        hal,
        "--report",
        "json",
        "--output",
        file.to_str().unwrap(),
        trace.to_str().unwrap(),
    ]);
    assert!(out.status.success(), "{}", stderr(&out));
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

fn allocs(document: &Value, size: usize) -> Value {
    let classes = document["classes"].as_array().unwrap();
    classes.iter().find(|c| c["size"] == size).unwrap()["allocs"].clone()
}

#[test]
fn a_recorded_program_replays() {
    let source = r#"
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/wait.h>
static void *work(void *object) {
    free(object);
    for (int i = 0; i < 100; i++) free(malloc(320));
    return malloc(352);
}
int main(void) {
    void *kept = malloc(384), *grown = malloc(100), *theirs = malloc(416);
    grown = realloc(grown, 448);
    pthread_t thread;
    pthread_create(&thread, 0, work, theirs);
    pthread_join(thread, &theirs);
    free(theirs);
    if (fork() == 0) { free(kept); free(malloc(480)); _exit(0); }
    wait(0);
    return grown == 0;
}"#;
    let (directory, program) = compile(source, &[]);
    let trace = directory.path().join("run.trace");
    let out = output(&["record", "-o", trace.to_str().unwrap(), "--", &program]);
    assert!(out.status.success(), "{}", stderr(&out));
    let document = replay("emu", &trace);
    for (size, count) in [(320, 100), (352, 1), (384, 1), (416, 1), (448, 1), (480, 0)] {
        assert_eq!(allocs(&document, size), count, "class of {size}");
    }
    assert_eq!(document["emulator"]["faults"], 0);
    assert!(document["emulator"]["remote_frees"].as_u64().unwrap() >= 2, "over threads both ways");

    let child = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_str().unwrap().contains("run.trace."))
        .expect("the fork child's trace lies beside");
    let document = replay("emu", &child);
    assert_eq!(allocs(&document, 480), 1);
    assert_eq!(allocs(&document, 384), 0, "the parent's object is not the child's");
}

#[test]
fn a_killed_program_is_recorded_to_its_end() {
    let source = "#include <stdlib.h>\n#include <signal.h>\nint main(void) {\n\
        for (int i = 0; i < 70000; i++) if (!malloc(496)) return 1;\nraise(9); }";
    let (directory, program) = compile(source, &[]);
    let trace = directory.path().join("run.trace");
    output(&["record", "-o", trace.to_str().unwrap(), "--", &program]);
    assert_eq!(allocs(&replay("emu", &trace), 496), 70000);
}

#[test]
fn record_says_what_it_could_not_record() {
    let (directory, program) = compile("int main(void) { return 0; }", &["-static"]);
    let trace = directory.path().join("run.trace");
    let out = output(&["record", "-o", trace.to_str().unwrap(), "--", &program]);
    assert_eq!(out.status.code(), Some(125));
    assert!(stderr(&out).contains("statically linked"), "{}", stderr(&out));
    assert!(!trace.exists());
    let missing = ["record", "-o", trace.to_str().unwrap(), "--", "/no/such/program"];
    assert_eq!(output(&missing).status.code(), Some(127));
    assert!(!trace.exists());
    fs::write(&trace, "an earlier one").unwrap();
    assert_eq!(output(&missing).status.code(), Some(127));
    assert_eq!(fs::read(&trace).unwrap(), b"an earlier one");
    let out = output(&["record", "-o", "/no/such/file", "--", "true"]);
    assert_eq!(out.status.code(), Some(125));
    let out = output(&["record", "-o", trace.to_str().unwrap(), "--", "sh", "-c", "exit 6"]);
    assert_eq!(out.status.code(), Some(6));
}

#[test]
fn replays_on_the_emulator_are_the_same_every_time() {
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("hand.trace");
    fs::write(&trace, "a 1 24\nt1 a 2 600\nt1 f 1\nr 2 3 40\nf 3\n").unwrap();
    let first = replay("emu", &trace);
    assert_eq!(first, replay("emu", &trace));
    assert_eq!(first["emulator"]["remote_frees"], 1);
    assert!(first.get("wall_ns").is_none(), "nothing was timed");
}

#[test]
fn mistakes_are_named_with_their_line() {
    let mut child = memento(&["replay", "--hal", "emu", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"a 1 8\nf 1\nf 1\n").unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(125));
    let want = "memento: stdin: line 3: the ID 1 is not live: it was never allocated, or is freed";
    assert!(stderr(&out).starts_with(want), "{}", stderr(&out));
}

#[test]
fn every_backend_replays_and_counts_the_same_demand() {
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("mixed.trace");
    let mut text = String::new();
    for id in 0..3000u64 {
        let (thread, size) = (id % 4, id * 37 % 900);
        writeln!(text, "t{thread} a {id} {size} {}", 1 << (id % 9)).unwrap();
        if id % 3 == 2 {
            writeln!(text, "t{} f {}", id % 5, id / 2).unwrap();
        }
        if id % 100 == 99 {
            writeln!(text, "r {id} {id} {}", size * 100).unwrap();
        }
    }
    fs::write(&trace, text).unwrap();
    let emu = replay("emu", &trace);
    for hal in ["soft", "isa"] {
        let other = replay(hal, &trace);
        for field in ["classes", "software", "bytes_requested"] {
            assert_eq!(other[field], emu[field], "{hal} {field}");
        }
        assert!(other["replay"]["wall_ns"].as_u64().unwrap() > 0);
    }
    assert!(replay("soft", &trace).get("emulator").is_none(), "soft has no hardware");
    // The instructions, trapped, reach the same emulator: the events of objects agree.
    let isa = replay("isa", &trace);
    for field in ["alloc_hits", "alloc_misses", "free_hits", "free_misses"] {
        assert_eq!(isa["emulator"]["hot"][field], emu["emulator"]["hot"][field], "{field}");
    }
    assert_eq!(isa["emulator"]["remote_frees"], emu["emulator"]["remote_frees"]);
    assert_eq!(isa["emulator"]["arenas"], emu["emulator"]["arenas"]);
}

#[test]
fn a_request_that_no_memory_can_serve_ends_the_replay_with_its_number() {
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("huge.trace");
    fs::write(&trace, "a 1 8\na 2 9000000000000000000\n").unwrap();
    let out = output(&["replay", "--hal", "soft", trace.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(125));
    assert!(stderr(&out).contains("operation 2: no memory"), "{}", stderr(&out));
}

/// Writes the text of a trace in the compact form.
fn packed(text: &str, path: &std::path::Path) {
    use memento::trace::compact::{CompactWriter, Header};
    use memento::trace::{Format, Writer, read};
    let mut writer =
        CompactWriter::new(fs::File::create(path).unwrap(), &Header::default()).unwrap();
    read(text.as_bytes(), Format::Text, &mut |event| Ok(writer.event(&event)?)).unwrap();
    writer.finish().unwrap();
}

#[test]
fn both_forms_of_a_trace_replay_to_the_same_counts() {
    let directory = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for id in 0..20_000u64 {
        writeln!(text, "t{} a {id} {} {}", id % 3, id * 37 % 700, 8 << (id % 4)).unwrap();
        if id % 2 == 1 {
            writeln!(text, "t{} f {}", id % 5, id / 2).unwrap();
        }
        if id % 50 == 49 {
            writeln!(text, "r {id} {id} {}", id % 300).unwrap();
        }
    }
    let (plain, compact) = (directory.path().join("plain"), directory.path().join("compact"));
    fs::write(&plain, &text).unwrap();
    packed(&text, &compact);
    assert!(fs::metadata(&compact).unwrap().len() * 5 < text.len() as u64, "it is compact");
    let (mut plain, mut compact) = (replay("emu", &plain), replay("emu", &compact));
    assert_eq!(plain["replay"]["operations"], 30_400);
    plain["command"] = Value::Null;
    compact["command"] = Value::Null;
    assert_eq!(plain, compact);
}

#[test]
fn a_hand_made_trace_gives_what_the_emulator_counts() {
    // As `replay::emu` has it by hand: 57 cycles for a class's first object, 2 for its free, one page.
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("one.trace");
    packed("a 1 24\nf 1\n", &trace);
    let emulator = &replay("emu", &trace)["emulator"];
    assert_eq!(
        (&emulator["cycles"]["obj_alloc"], &emulator["cycles"]["obj_free"]),
        (&57.into(), &2.into())
    );
    assert_eq!(emulator["pages"]["taken"], 1);
}

#[test]
fn a_damaged_trace_is_named_with_its_offset() {
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("whole");
    packed("a 1 24\nf 1\n", &trace);
    let whole = fs::read(&trace).unwrap();
    let said = |bytes: &[u8], more: &[&str]| {
        let path = directory.path().join("damaged");
        fs::write(&path, bytes).unwrap();
        let out =
            output(&[&["replay", "--hal", "emu"][..], more, &[path.to_str().unwrap()]].concat());
        assert_eq!(out.status.code(), Some(125));
        stderr(&out)
    };
    let cut = said(&whole[..whole.len() - 3], &[]);
    assert!(cut.contains(&format!("offset {}: the trace is cut off", whole.len() - 3)), "{cut}");
    let mut damaged = whole.clone();
    let at = whole.len() - 25;
    damaged[at] ^= 0x10;
    let damaged = said(&damaged, &[]);
    assert!(damaged.contains("offset 36: the block is damaged: its checksum is"), "{damaged}");
    let foreign = said(b"a 1 8\nf 1\n", &["--format", "compact"]);
    assert!(foreign.contains("offset 0: this is no compact trace"), "{foreign}");
    let empty = said(b"", &[]);
    assert!(empty.contains("offset 0: the trace is empty"), "{empty}");
    packed("a 1 24\n", &trace);
    let mut unknown = fs::read(&trace).unwrap();
    unknown[8] = 9;
    assert!(said(&unknown, &[]).contains("offset 8: version 9 of the form is not known"));
}

#[test]
fn both_forms_can_be_recorded() {
    let source = "#include <stdlib.h>\nint main(void) { for (int i = 0; i < 1000; i++) free(malloc(432)); return 0; }";
    let (directory, program) = compile(source, &[]);
    for (form, start) in
        [("compact", &b"MEMTRACE"[..]), ("text", b"# memento trace, text 1\n# program ")]
    {
        let trace = directory.path().join(form);
        let words = ["record", "--format", form, "-o", trace.to_str().unwrap(), "--", &program];
        assert!(output(&words).status.success());
        assert!(fs::read(&trace).unwrap().starts_with(start), "{form}");
        assert_eq!(allocs(&replay("emu", &trace), 432), 1000, "{form}");
    }
}

/// Replays on an allocator; the document.
fn replay_on(allocator: &str, trace: &std::path::Path) -> Value {
    let file = trace.with_extension("json");
    let words = ["replay", "--allocator", allocator, "--report", "json", "--output"];
    let out = output(&[&words[..], &[file.to_str().unwrap(), trace.to_str().unwrap()]].concat());
    assert!(out.status.success(), "{}", stderr(&out));
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn any_allocator_replays_a_trace() {
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("hand.trace");
    // What is left is 40 + 100 + 16 MiB, and was written to.
    let text =
        "a 1 24\na 2 100 64\nt1 a 3 600\nr 1 4 40\nr 4 4 40\nf 3\na 5 16777216\na 6 9 8192\nf 6\n";
    fs::write(&trace, text).unwrap();
    let object = common::libraries().join("libmemento.so");
    let named = format!("mine={}", object.display());
    for (allocator, name) in [("stock", "stock"), ("memento", "memento"), (&named, "mine")] {
        let document = replay_on(allocator, &trace);
        assert_eq!(document["allocator"]["name"], name);
        assert!(document.get("hal").is_none(), "no backend was asked for");
        let replay = &document["replay"];
        for (field, count) in [
            ("operations", 9),
            ("allocs", 5),
            ("reallocs", 2),
            ("frees", 2),
            ("live_objects", 3),
            ("live_bytes", 40 + 100 + (16 << 20)),
        ] {
            assert_eq!(replay[field], count, "{name} {field}");
        }
        let number = |field: &str| replay[field].as_u64().unwrap();
        assert!(number("wall_ns") > 0);
        let grown = number("peak_rss_bytes") - number("peak_before_bytes");
        assert!(grown >= 12 << 20, "{name}: {replay}");
        let notes = document["notes"].to_string();
        for note in ["2 threads", "to the alignment: 2", "asked for 4096: 1", "not see: 1"] {
            assert!(notes.contains(note), "{notes}");
        }
    }
    let stock = replay_on("stock", &trace);
    for field in ["classes", "software", "bytes_requested"] {
        assert_eq!(stock[field], replay("soft", &trace)[field], "{field}");
    }
}

#[test]
fn what_cannot_be_replayed_on_an_allocator_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("huge.trace");
    fs::write(&trace, "a 1 8\na 2 9000000000000000000\n").unwrap();
    let trace = trace.to_str().unwrap();
    let said = |words: &[&str]| {
        let out = output(words);
        assert_eq!(out.status.code(), Some(125), "{words:?}");
        stderr(&out)
    };
    let unknown = said(&["replay", "--allocator", "nobody", trace]);
    assert!(unknown.starts_with("memento: no allocator is called nobody; there are"), "{unknown}");
    assert_eq!(unknown, said(&["bench", "--only", "nobody", "--", "true"]));
    let missing = said(&["replay", "--allocator", "x=no/such.so", trace]);
    assert_eq!(missing, said(&["bench", "--allocator", "x=no/such.so", "--", "true"]));
    let full = said(&["replay", "--allocator", "stock", trace]);
    assert_eq!(full, "memento: operation 2: no memory for 9000000000000000000 bytes\n");
    let both = said(&["replay", "--allocator", "stock", "--hal", "emu", trace]);
    assert!(both.contains("cannot be used with"), "{both}");

    // What the loader did not load is no allocator's result.
    let object = common::libraries().join("libmemento.so");
    let words = ["__replay", "--object", object.to_str().unwrap(), "--output", "/dev/null", trace];
    assert!(said(&words).contains("was not loaded"), "the child looks for it in its own memory");
}

#[test]
fn an_allocator_sees_every_operation_of_the_trace() {
    let directory = tempfile::tempdir().unwrap();
    let (trace, seen) = (directory.path().join("hand.trace"), directory.path().join("seen.trace"));
    let mut text = String::new();
    for id in 0..1000 {
        writeln!(text, "a {id} 4001\nr {id} {id} 4003\nr {id} {id} 4002").unwrap();
        writeln!(text, "a {} 5001 2048\nf {id}", id + 1_000_000).unwrap();
    }
    fs::write(&trace, text).unwrap();
    // The replaying process, recorded.
    let program = env!("CARGO_BIN_EXE_memento");
    let words = ["record", "--format", "text", "-o", seen.to_str().unwrap(), "--", program];
    let here = ["__replay", "--output", "/dev/null", trace.to_str().unwrap()];
    let out = output(&[&words[..], &here].concat());
    assert!(out.status.success(), "{}", stderr(&out));
    let seen = fs::read_to_string(seen).unwrap();
    let operations: Vec<Vec<&str>> =
        seen.lines().map(|l| l.split(' ').skip_while(|w| w.starts_with('t')).collect()).collect();
    let count = |kind: &str, request: &[&str]| {
        operations.iter().filter(|words| words[0] == kind && words.ends_with(request)).count()
    };
    assert_eq!(count("a", &["4001", "16"]), 1000);
    assert_eq!((count("r", &["4003"]), count("r", &["4002"])), (1000, 1000));
    assert_eq!(count("a", &["6144", "2048"]), 1000, "rounded up to its alignment");
    assert!(count("f", &[]) >= 2000, "what was freed, and what was left at the end");
}
