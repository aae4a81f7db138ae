//! `memento profile` of a program whose operations are known.

mod common;

use common::{compile, output, stderr, stdout};
use serde_json::Value;

/// 600 short-lived objects of 432 bytes, 100 of 2000 that stay, and one that another thread frees.
const PROGRAM: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
static void *take(void *object) { free(object); return 0; }
int main(void) {
    for (int i = 0; i < 600; i++) free(malloc(432));
    for (int i = 0; i < 100; i++) if (!malloc(2000)) return 1;
    pthread_t thread;
    pthread_create(&thread, 0, take, malloc(440));
    pthread_join(thread, 0);
    puts("out");
    return 5;
}"#;

#[test]
fn what_a_program_does_is_counted() {
    let (directory, program) = compile(PROGRAM, &[]);
    let files = ["p.json", "p.html"].map(|name| directory.path().join(name));
    let exports = files.clone().map(|path| format!("--export={}", path.display()));
    let out = output(&["profile", &exports[0], &exports[1], "--", &program]);
    assert_eq!(
        (out.status.code(), stdout(&out).as_str()),
        (Some(5), "out\n"),
        "as the program's own"
    );
    assert!(stderr(&out).contains("no times: run a second time, it ended with exit code 5"));
    let document: Value =
        serde_json::from_str(&std::fs::read_to_string(&files[0]).unwrap()).unwrap();
    assert_eq!(document["schema"], "memento.profile/1");
    let counts = &document["counts"];
    assert_eq!(
        (&counts["classes"]["432"], &counts["class_frees"]["432"]),
        (&600.into(), &600.into())
    );
    assert_eq!(counts["classes"]["2048"], 100);
    assert!(counts["class_frees"].get("2048").is_none(), "they stay");
    assert_eq!((&counts["threads"], &counts["remote_frees"]), (&2.into(), &1.into()));
    assert!(counts["short"].as_u64().unwrap() >= 601 && counts["alive"].as_u64().unwrap() >= 100);
    let dom = common::browser(&files[1], directory.path());
    assert_eq!((dom.matches("<svg ").count(), dom.matches("<tr class=\"share\">").count()), (3, 6));
}

#[test]
fn times_are_of_a_second_run() {
    let source = "#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n\
        int main(void) { char *p = malloc(32 << 20);\n\
        memset(p, 1, 32 << 20); for (int i = 0; i < 100000; i++) free(malloc(64));\n\
        usleep(400000); return p[5] - 1; }";
    let (directory, program) = compile(source, &[]);
    let path = directory.path().join("p.json");
    let export = format!("--export={}", path.display());
    let out = output(&["profile", "--quiet", &export, "--", &program]);
    assert_eq!((out.status.code(), stderr(&out).as_str()), (Some(0), ""));
    let document: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    common::documented(&document, &["exit"]);
    let time = &document["time"];
    let number = |name: &str| time[name].as_f64().unwrap();
    assert!(
        number("alloc_ns") > 0.0 && number("free_ns") > 0.0 && number("kernel_ns") > 0.0,
        "{time}"
    );
    let operations = time["operations"].as_array().unwrap();
    let count = |index: usize| operations[index]["count"].as_u64().unwrap();
    assert_eq!(count(2), 1, "one object is mapped: {time}");
    assert!(count(0) >= 99_999 && count(3) >= 99_999, "the loop's are hot: {time}");
    assert!(number("kernel_most_ns") >= number("kernel_ns"));
    assert!(number("mappings") >= 1.0 && time["heap_pages"].is_u64(), "{time}");
    assert!(number("cpu_ns") > 0.0 && number("minor_faults") > 0.0, "{time}");
    assert!(time["costs"]["fault_ns"].as_f64().unwrap() > 0.0);
}

#[test]
fn what_cannot_be_written_is_named_and_the_rest_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let [full, other] = ["full.json", "other.html"].map(|name| directory.path().join(name));
    std::os::unix::fs::symlink("/dev/full", &full).unwrap();
    let [one, two] = [&full, &other].map(|path| format!("--export={}", path.display()));
    let out = output(&["profile", "--once", "--quiet", &one, &two, "--", "true"]);
    assert_eq!(out.status.code(), Some(125));
    assert!(stderr(&out).contains("cannot write all of "), "{}", stderr(&out));
    assert!(std::fs::read_to_string(other).unwrap().ends_with("</html>"), "the other is whole");
}

#[test]
fn what_cannot_be_profiled_is_said() {
    let (_directory, program) = compile("int main(void) { return 0; }", &["-static"]);
    let out = output(&["profile", "--once", "--", &program]);
    assert_eq!(out.status.code(), Some(125));
    assert!(stderr(&out).contains("statically linked"), "{}", stderr(&out));
    let out = output(&["profile", "--", "no-such-program-here"]);
    assert_eq!(out.status.code(), Some(127));
    let out = output(&["profile", "--export=p.md", "--", "true"]);
    assert!(stderr(&out).contains("p.md: a file for a profile ends in .json or .html"));
}
