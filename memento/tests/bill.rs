//! `memento bill`: a bill computed by hand, and a real run.

mod common;

use common::{compile, memento, output, stderr, stdout};
use serde_json::Value;
use std::path::Path;

fn usage(directory: &Path, name: &str, steps: &str) -> String {
    let path = directory.join(name);
    let text = format!(r#"{{"schema": "memento.usage/1", "steps": [{steps}]}}"#);
    std::fs::write(&path, text).unwrap();
    format!("--usage={}", path.display())
}

fn bill(directory: &Path, more: &[&str]) -> Value {
    let path = directory.join("bill.json");
    let export = format!("--export={}", path.display());
    let out = output(&[&["bill", &export], more].concat());
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn costs(document: &Value, index: usize) -> Vec<f64> {
    let costs = document["workloads"][0]["bills"][index]["costs"].as_array().unwrap();
    costs.iter().map(|cost| cost["million"].as_f64().unwrap()).collect()
}

fn close(got: &[f64], want: &[f64]) {
    let near = got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-6);
    assert!(got.len() == want.len() && near, "{got:?}, by hand {want:?}");
}

#[test]
fn a_bill_by_hand() {
    let directory = tempfile::tempdir().unwrap();
    let steps = r#"{"seconds": 2, "cores": 0.5, "gb": 0.25}, {"seconds": 1, "cores": 2, "gb": 1}"#;
    let run = usage(directory.path(), "a.json", steps);
    let half = r#"{"seconds": 1, "cores": 0.5, "gb": 0.25}, {"seconds": 0.5, "cores": 2, "gb": 1}"#;
    let quicker = usage(directory.path(), "b.json", half);
    let rates = ["--core-second=1e-5", "--gb-second=1e-5", "--spot=0.3"];
    let knobs = ["--memory=3538", "--cpu-cap=1.5", "--spot-cores=0.5", "--mem-cap=1"];
    let document = bill(directory.path(), &[&rates[..], &knobs, &[&run, &quicker]].concat());
    assert_eq!(document["schema"], "memento.bill/1");
    common::documented(&document, &["preset"]);
    let request = 0.2;
    let want = [
        // 3538 MB come with two cores: nothing is stretched. 3000 ms of 3538/1024 GB at 16.6667.
        request + 3.0 * 3538.0 / 1024.0 * 16.6667,
        // 3 s of 1.5 cores and 1 GB at 10 each.
        request + 3.0 * 25.0,
        // 3 core-seconds and 1.5 GB-seconds.
        request + 45.0,
        // R = 1: reserved 3, borrowed 1, lent 1; 3 GB-seconds with 1.5 of credit.
        request + 30.0 + 3.0 - 3.0 + 30.0 - 4.5,
        // Nothing reserved: 3 borrowed core-seconds and 1.5 GB-seconds, at 3.
        request + 9.0 + 4.5,
    ];
    close(&costs(&document, 0), &want);
    close(&costs(&document, 1), &want.map(|cost| request + (cost - request) / 2.0));
    let preemptible =
        bill(directory.path(), &[&rates[..], &knobs, &["--preemptible-mem", &run]].concat());
    close(&costs(&preemptible, 0)[3..4], &[request + 30.0 + 4.5]);
    let nobody =
        bill(directory.path(), &[&rates[..], &knobs, &["--lambda=0", "--mu=0", &run]].concat());
    close(&costs(&nobody, 0)[3..4], &[request + 33.0 + 30.0]);
}

#[test]
fn a_real_run_is_sampled_and_priced() {
    // 200 ms of CPU time with 64 MiB, then 100 ms of waiting.
    let source = "#include <stdlib.h>\n#include <string.h>\n#include <time.h>\n#include <unistd.h>\n\
        int main(void) {\nchar *p = malloc(64 << 20); memset(p, 1, 64 << 20);\n\
        while (clock() < CLOCKS_PER_SEC / 5) ;\nusleep(100000);\nreturn p[7] - 1;\n}\n";
    let (directory, program) = compile(source, &[]);
    let document = bill(directory.path(), &["--runs=2", "--", &program]);
    let bills = document["workloads"][0]["bills"].as_array().unwrap();
    assert_eq!(bills.len(), 2);
    assert_eq!(
        (&bills[0]["allocator"], &bills[1]["allocator"]),
        (&"stock".into(), &"memento".into())
    );
    for bill in bills {
        let number = |name: &str| bill[name].as_f64().unwrap();
        assert!(number("core_seconds") >= 0.2 && number("seconds") >= 0.3, "{bill}");
        assert!((0.0625..0.08).contains(&number("peak_gb")), "{bill}");
        assert!(number("mean_gb") <= number("peak_gb"));
        let advice = &bill["recommendation"];
        assert_eq!(advice["smallest"]["mb"], 128, "{advice}");
        assert!(advice["balanced"]["mb"].as_u64().unwrap() >= 128);
    }
}

#[test]
fn a_bill_is_shown_on_a_page() {
    let directory = tempfile::tempdir().unwrap();
    let steps = r#"{"seconds": 2, "cores": 0.5, "gb": 0.25}"#;
    let [one, two] = ["a.json", "b.json"].map(|name| usage(directory.path(), name, steps));
    let page = directory.path().join("bill.html");
    let out = output(&["bill", &format!("--export={}", page.display()), &one, &two]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let dom = common::browser(&page, directory.path());
    let count = |text: &str| dom.matches(text).count();
    // Cost by model, cost by size, duration by size.
    assert_eq!((count("<section class=\"workload\">"), count("<svg ")), (1, 3), "{dom}");
    assert_eq!((count("class=\"row\""), count("<tr class=\"result\">")), (5 * 2, 2));
    assert_eq!((count("class=\"curve "), count("class=\"dot\"")), (4, 4));
    assert!(dom.contains("US dollars for a million invocations. AWS Lambda, x86"), "{dom}");
}

#[test]
fn mistakes_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let negative = usage(directory.path(), "n.json", r#"{"seconds": 1, "cores": -1, "gb": 0}"#);
    for (words, want) in [
        (&["--spot-cores=2"][..], "--spot-cores 2 is more than --cpu-cap 1"),
        (
            &["--provider=ibm"],
            "no provider is called ibm; there are aws, aws-arm, azure, azure-flex, gcp, gcp-1",
        ),
        (&["--lambda=1.5"], "`1.5` is no share from 0 to 1"),
        (&["--usage=/no/such"], "cannot read /no/such"),
        (&[&negative], "step 1 is negative"),
        (
            &["--export=bill.md", "--", "true"],
            "bill.md: a file for a bill ends in .json, .csv or .html",
        ),
    ] {
        let out = output(&[&["bill"][..], words].concat());
        assert_eq!(out.status.code(), Some(125), "{words:?}");
        assert!(stderr(&out).contains(want), "{words:?}: {}", stderr(&out));
    }
}

#[test]
fn what_fails_has_no_bill_and_what_does_not_fit_is_said() {
    let out = memento(&["bill", "--runs=1", "--", "sh", "-c", "exit 4"]).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(stdout(&out).contains("it ended with exit code 4"), "{}", stdout(&out));
    let out = output(&["bill", "--quiet", "--runs=1", "--", "sh", "-c", "exit 4"]);
    assert_eq!((out.status.code(), stdout(&out).as_str()), (Some(1), ""));
    assert!(stderr(&out).contains("it ended with exit code 4"), "{}", stderr(&out));
    let directory = tempfile::tempdir().unwrap();
    let run = usage(directory.path(), "a.json", r#"{"seconds": 1, "cores": 1, "gb": 0.5}"#);
    let out = output(&["bill", "--mem-cap=0.25", &run]);
    assert!(stdout(&out).contains("needs 0.500 GB, more than its 0.250 GB: it would be killed"));
    assert!(stdout(&out).contains("what has too few cores is billed for longer"));
}

#[test]
fn a_bill_that_cannot_be_shown_is_still_exported() {
    let directory = tempfile::tempdir().unwrap();
    let run = usage(directory.path(), "a.json", r#"{"seconds": 1, "cores": 1, "gb": 0.5}"#);
    let path = directory.path().join("bill.csv");
    let full = std::fs::File::create("/dev/full").unwrap();
    let export = format!("--export={}", path.display());
    let out = memento(&["bill", &export, &run]).stdout(full).output().unwrap();
    assert_eq!(out.status.code(), Some(125));
    assert!(stderr(&out).contains("cannot write the bill: No space left"), "{}", stderr(&out));
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 2);
}

#[test]
fn what_a_program_starts_is_priced_with_it() {
    // The shell itself uses next to nothing.
    let work = "import time; held = b'x' * (64 << 20)\nwhile time.process_time() < 0.2: pass";
    let directory = tempfile::tempdir().unwrap();
    let words = ["--runs=1", "--", "sh", "-c", "python3 -c \"$0\"; true", work];
    let document = bill(directory.path(), &words);
    let stock = &document["workloads"][0]["bills"][0];
    assert!(stock["core_seconds"].as_f64().unwrap() >= 0.2, "{stock}");
    assert!(stock["mean_gb"].as_f64().unwrap() > 0.01, "{stock}");
}
