//! The numbers in reports of real programs.

mod common;

use common::{compile, libraries, memento, output, report, stderr, stdout};
use memento::counters::Collector;
use memento::report::Report;
use serde_json::Value;

/// 1000 objects of 100 bytes, half of them freed; 10 of 1000 bytes, all freed.
const KNOWN: &str = r#"
#include <stdlib.h>
int main(void) {
    void *small[1000], *large[10];
    for (int i = 0; i < 1000; i++) small[i] = malloc(100);
    for (int i = 0; i < 500; i++) free(small[i]);
    for (int i = 0; i < 10; i++) large[i] = malloc(1000);
    for (int i = 0; i < 10; i++) free(large[i]);
    for (int i = 0; i < 7; i++) if (!calloc(3, 100)) return 1;
    return 0;
}"#;

fn class(document: &Value, size: usize) -> (u64, u64) {
    let classes = document["classes"].as_array().unwrap();
    assert_eq!(classes.len(), 64);
    let class = classes.iter().find(|c| c["size"] == size).unwrap();
    (class["allocs"].as_u64().unwrap(), class["frees"].as_u64().unwrap())
}

#[test]
fn operations_are_counted_exactly() {
    let (_directory, program) = compile(KNOWN, &[]);
    for hal in ["soft", "emu", "isa"] {
        let (_, document) = report(&["--hal", hal], &[&program]);
        // C aligns to 16: 100 bytes come from the class of 112, 300 from that of 304.
        assert_eq!(class(&document, 112), (1000, 500), "{hal}");
        assert_eq!(class(&document, 304).0, 7, "{hal}");
        assert_eq!(document["software"]["allocs"], 10, "{hal}");
        assert_eq!(document["software"]["frees"], 10, "{hal}");
        assert_eq!(document["bytes_requested"], 1000 * 100 + 10 * 1000 + 7 * 300, "{hal}");
    }
}

#[test]
fn the_document_keeps_its_schema() {
    let (_, document) = report(&["--hal", "emu"], &["sh", "-c", "exit 3"]);
    let typed: Report = serde_json::from_value(document.clone()).unwrap();
    assert_eq!((typed.schema.as_str(), typed.exit.code), ("memento.report/1", Some(3)));
    assert_eq!(document["command"], serde_json::json!(["sh", "-c", "exit 3"]));
    for (path, kind) in [
        ("/wall_ns", "number"),
        ("/user_ns", "number"),
        ("/system_ns", "number"),
        ("/minor_faults", "number"),
        ("/major_faults", "number"),
        ("/peak_rss_bytes", "number"),
        ("/classes/0/size", "number"),
        ("/classes/0/allocs", "number"),
        ("/classes/0/frees", "number"),
        ("/processes/0/pid", "number"),
        ("/processes/0/argv0", "string"),
        ("/processes/0/loaded", "bool"),
        ("/processes/0/reason", "null"),
        ("/emulator/hot/alloc_hits", "number"),
        ("/emulator/hot/alloc_misses", "number"),
        ("/emulator/hot/free_hits", "number"),
        ("/emulator/hot/free_misses", "number"),
        ("/emulator/hot/flushes", "number"),
        ("/emulator/arenas/created", "number"),
        ("/emulator/arenas/alloc_list_operations", "number"),
        ("/emulator/arenas/free_list_operations", "number"),
        ("/emulator/aac/hits", "number"),
        ("/emulator/aac/misses", "number"),
        ("/emulator/pages/taken", "number"),
        ("/emulator/pages/table_frames", "number"),
        ("/emulator/pages/refills", "number"),
        ("/emulator/pages/dry_stalls", "number"),
        ("/emulator/bypass/lines", "number"),
        ("/emulator/remote_frees", "number"),
        ("/emulator/faults", "number"),
        ("/emulator/cycles/obj_alloc", "number"),
        ("/emulator/cycles/obj_free", "number"),
        ("/emulator/cycles/page_management", "number"),
        ("/emulator/cycles/bypass_saved", "number"),
        ("/emulator/parameters/hot_cycles", "number"),
    ] {
        let found = match document.pointer(path) {
            Some(Value::Number(_)) => "number",
            Some(Value::String(_)) => "string",
            Some(Value::Bool(_)) => "bool",
            Some(Value::Null) => "null",
            _ => "nothing of the kind",
        };
        assert_eq!(found, kind, "{path}");
    }
}

#[test]
fn the_emulator_sees_what_the_program_asked_for() {
    let (_directory, program) = compile(KNOWN, &[]);
    let (_, document) = report(&["--hal", "emu"], &[&program]);
    let sum = |field: &str| -> u64 {
        let classes = document["classes"].as_array().unwrap();
        classes.iter().map(|c| c[field].as_u64().unwrap()).sum()
    };
    let hot = |field: &str| document["emulator"]["hot"][field].as_u64().unwrap();
    assert_eq!(hot("alloc_hits") + hot("alloc_misses"), sum("allocs"));
    assert_eq!(hot("free_hits") + hot("free_misses"), sum("frees"));
    let cycles = document["emulator"]["cycles"]["obj_alloc"].as_u64().unwrap();
    assert!(cycles >= 2 * sum("allocs"));
    assert_eq!(document["emulator"]["faults"], 0);
}

#[test]
fn fork_children_count_for_themselves_and_the_top_level_sums() {
    let source = r#"
#include <stdlib.h>
#include <unistd.h>
#include <sys/wait.h>
int main(void) {
    for (int i = 0; i < 100; i++) if (!malloc(400)) return 1;
    if (fork() == 0) {
        for (int i = 0; i < 10; i++) if (!malloc(400)) _exit(1);
        _exit(0);
    }
    int status;
    wait(&status);
    return status;
}"#;
    let (_directory, program) = compile(source, &[]);
    let (out, document) = report(&[], &[&program]);
    assert_eq!(out.status.code(), Some(0));
    assert_eq!(class(&document, 400).0, 110);
    let processes = document["processes"].as_array().unwrap();
    assert_eq!(processes.len(), 2);
    assert!(processes.iter().all(|p| p["loaded"] == true && p["argv0"] == program.as_str()));
}

#[test]
fn what_the_hardware_does_in_a_fork_child_is_counted_there() {
    let source = r#"
#include <stdlib.h>
#include <unistd.h>
#include <sys/wait.h>
int main(void) {
    if (!malloc(400)) return 1;
    if (fork() == 0) _exit(0);
    return wait(0) < 0;
}"#;
    let (_directory, program) = compile(source, &[]);
    let collector = Collector::new().unwrap();
    let status = std::process::Command::new(&program)
        .env("LD_PRELOAD", libraries().join("libmemento-emu.so"))
        .env("MEMENTO_REPORT", collector.path())
        .status()
        .unwrap();
    assert!(status.success());
    let images = collector.images(0).unwrap();
    assert_eq!(images.len(), 2);
    for image in &images {
        let is_child = images.iter().any(|other| other.pid == image.ppid);
        let counters = image.counters.as_ref().unwrap();
        // The child's copy of the HOT is flushed, and nothing else happens in it.
        assert_eq!(counters.hot_flushes, u64::from(is_child), "child: {is_child}");
        assert_eq!(counters.hot_alloc_misses > 0, !is_child, "child: {is_child}");
    }
}

#[test]
fn threads_are_summed() {
    let source = r#"
#include <pthread.h>
#include <stdlib.h>
static void *work(void *unused) {
    for (int i = 0; i < 1000; i++) free(malloc(200));
    return unused;
}
int main(void) {
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) pthread_create(&threads[i], 0, work, 0);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], 0);
    return 0;
}"#;
    let (_directory, program) = compile(source, &[]);
    for hal in ["soft", "emu", "isa"] {
        let (_, document) = report(&["--hal", hal], &[&program]);
        assert_eq!(class(&document, 208), (8000, 8000), "{hal}");
    }
}

#[test]
fn counts_survive_sudden_ends() {
    for end in ["_exit(0)", "raise(9)", "abort()"] {
        let source = format!(
            "#include <stdlib.h>\n#include <unistd.h>\n#include <signal.h>\n\
             int main(void) {{ for (int i = 0; i < 50; i++) if (!malloc(480)) return 1; {end}; }}"
        );
        let (_directory, program) = compile(&source, &[]);
        let (_, document) = report(&[], &[&program]);
        assert_eq!(class(&document, 480).0, 50, "{end}");
    }
}

#[test]
fn an_image_is_proved_even_after_exec_and_without_allocations() {
    let (_, document) = report(&[], &["env", "sh", "-c", "exec true"]);
    let processes = document["processes"].as_array().unwrap();
    let names: Vec<&str> = processes.iter().map(|p| p["argv0"].as_str().unwrap()).collect();
    assert_eq!(names, ["env", "sh", "true"], "one image after the other in one process");
    assert!(processes.iter().all(|p| p["pid"] == processes[0]["pid"]));
}

#[test]
fn parameters_reach_the_program_and_the_report() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("conf.toml");
    std::fs::write(&file, "[emulator]\nhot_cycles = 11\n").unwrap();
    let conf = ["--hal", "emu", "--conf", file.to_str().unwrap()];
    let (_program_directory, program) = compile(KNOWN, &[]);
    let (_, document) = report(&conf, &[&program]);
    assert_eq!(document["emulator"]["parameters"]["hot_cycles"], 11);
    let hot = |field: &str| document["emulator"]["hot"][field].as_u64().unwrap();
    let frees = hot("free_hits") + hot("free_misses");
    assert!(document["emulator"]["cycles"]["obj_free"].as_u64().unwrap() >= 11 * frees);
}

#[test]
fn unknown_keys_are_named_once_and_are_not_fatal() {
    let out = memento(&["run", "--hal", "emu", "--report", "none", "--", "true"])
        .env("MEMENTO_CONF", "no_such_key:1,hot_cycles:3,no_such_key:2")
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(0));
    assert_eq!(stderr(&out).matches("no_such_key").count(), 1, "{}", stderr(&out));
}

#[test]
fn the_page_has_the_tables() {
    let out = output(&["run", "--hal", "emu", "--", "sh", "-c", ":"]);
    let page = stderr(&out);
    for part in [
        "allocations by size class",
        "hardware cycles",
        "HOT hits, obj-alloc",
        "99.8 %",
        "hot_cycles",
        "[P]",
        "[D]",
        "peak resident",
    ] {
        assert!(page.contains(part), "{part} is missing in:\n{page}");
    }
}

#[test]
fn env_prints_variables_that_work() {
    for runtime in ["c", "python", "node"] {
        let out = output(&["env", runtime]);
        assert_eq!(out.status.code(), Some(0));
        let lines = stdout(&out);
        assert!(lines.lines().all(|l| l.split_once('=').is_some()), "{lines}");
        let under = std::process::Command::new("env")
            .args(lines.lines())
            .args(["grep", "-c", "libmemento", "/proc/self/maps"])
            .output()
            .unwrap();
        assert!(under.status.success(), "the shared object is not mapped under {lines}");
    }
    let on_hardware = stdout(&output(&["env", "python", "--hal", "emu"]));
    assert!(on_hardware.contains("PYTHONMALLOC=malloc\n"), "{on_hardware}");
}
