//! `memento project`: every number of it, checked against the document's own parts.

mod common;

use common::{compile, output, stderr, stdout};
use serde_json::Value;

#[test]
fn a_program_is_projected() {
    // It computes besides, so that what is saved is a small part whatever the machine is busy with.
    let source = "#include <stdlib.h>\n#include <time.h>\n\
        int main(void) { while (clock() < CLOCKS_PER_SEC / 2) ;\nfor (int i = 0; i < 200000; i++) {\n\
        void *p = malloc(432); if (!p) return 1; if (i % 4) free(p); } return 0; }";
    let (directory, program) = compile(source, &[]);
    let path = directory.path().join("p.json");
    let out = output(&["project", "--runs=1", "--export", path.to_str().unwrap(), "--", &program]);
    assert_eq!(out.status.code(), Some(0), "{}{}", stdout(&out), stderr(&out));
    let document: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(
        (&document["schema"], &document["kind"]),
        (&"memento.project/1".into(), &"first-order estimate".into())
    );
    common::documented(&document, &["parameters", "published"]);
    let projection = &document["workloads"][0]["projection"];
    let number = |part: &str, name: &str| projection[part][name].as_f64().unwrap();
    // The loop's objects, and the few of starting and ending.
    assert!((200_000.0..200_100.0).contains(&number("alloc", "count")), "{projection}");
    assert!((150_000.0..150_100.0).contains(&number("free", "count")), "{projection}");
    // 50000 objects of 432 bytes stay: over 5200 pages.
    assert!(number("pages", "count") >= 5200.0, "{projection}");
    let mhz = document["costs"]["mhz"].as_f64().unwrap();
    let mut saved = 0.0;
    for part in ["alloc", "free", "pages"] {
        let cycles = number(part, "hardware_cycles");
        assert!(cycles > 0.0 && (number(part, "hardware_ns") - cycles * 1e3 / mhz).abs() < 1.0);
        saved += number(part, "software_ns") - number(part, "hardware_ns");
    }
    let cpu = projection["cpu_ns"].as_f64().unwrap();
    let speedup = projection["speedup"].as_f64().unwrap();
    assert!((speedup - cpu / (cpu - saved)).abs() < 1e-9, "{projection}");
    assert!((document["mean_speedup"].as_f64().unwrap() / speedup - 1.0).abs() < 1e-9);
    // Memory management now: every allocation has its way, and the parts add up.
    let now = &document["workloads"][0]["now"];
    let operations = now["operations"].as_array().unwrap();
    let count = |index: usize| operations[index]["count"].as_u64().unwrap();
    assert!((200_000..200_200).contains(&(count(0) + count(1) + count(2))), "{now}");
    // Of four, three are freed before the next: only the fourth comes from the arena.
    assert!((50_000..50_200).contains(&count(1)), "{now}");
    let sum = |from: usize, to: usize| -> f64 {
        operations[from..to].iter().map(|o| o["total_ns"].as_f64().unwrap()).sum()
    };
    let (user, kernel) = (&projection["user_ns"], &projection["kernel_ns"]);
    assert!((sum(0, 7) / user.as_f64().unwrap() - 1.0).abs() < 1e-9, "{projection}");
    assert!((sum(7, 13) / kernel.as_f64().unwrap() - 1.0).abs() < 1e-9, "{projection}");
    assert!(count(7) + count(8) >= 1 && count(9) >= 100, "the heap grew by 21 MB: {now}");
    let text = stdout(&out);
    for part in [
        "first-order estimate",
        "malloc, refill",
        "free, remote",
        "madvise",
        "memory management now",
        "page fault",
        "published",
        "mean 16 %",
        "assumptions",
        "no claim on the bypass",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn what_cannot_be_projected_is_said() {
    let out = output(&["project", "--runs=1", "--", "sh", "-c", "exit 3"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(stdout(&out).contains("not projected: it ended with exit code 3"), "{}", stdout(&out));
    let (_directory, program) = compile("int main(void) { return 0; }", &["-static"]);
    let out = output(&["project", "--runs=1", "--", &program]);
    assert!(stdout(&out).contains("statically linked"), "{}", stdout(&out));
}
