//! `memento bench` on real, tiny programs: what is run, checked, written and said.

mod common;

use common::{memento, output, stderr, stdout};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;

/// Only the allocators that are there on every machine, and few rounds.
const FEW: [&str; 4] = ["bench", "--only=stock,memento,memento-emu", "--runs=2", "--watched=1"];

fn bench(directory: &Path, more: &[&str]) -> Output {
    let arguments = [&FEW[..], more].concat();
    memento(&arguments).env("MEMENTO_CACHE_DIR", directory.join("cache")).output().unwrap()
}

fn export(directory: &Path, name: &str) -> (String, PathBuf) {
    let path = directory.join(name);
    (format!("--export={}", path.display()), path)
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn functions_are_run_checked_and_exported() {
    let directory = tempfile::tempdir().unwrap();
    let exports = ["r.json", "r.csv", "r.md", "r.html"].map(|name| export(directory.path(), name));
    let mut words = vec!["--size=tiny", "python/json_loads", "node/json_orders"];
    words.extend(exports.iter().map(|(word, _)| word.as_str()));
    let out = bench(directory.path(), &words);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    assert!(!stdout(&out).contains('\x1b') && stderr(&out).is_empty(), "{}", stderr(&out));

    let document = read(&exports[0].1);
    assert_eq!(document["schema"], "memento.bench/1");
    common::documented(&document, &["host", "exit"]);
    let workloads = document["workloads"].as_array().unwrap();
    assert_eq!(workloads[0]["checked"], "json_loads tiny 0a368917 2353");
    for workload in workloads {
        let cells = workload["cells"].as_array().unwrap();
        assert_eq!(cells.len(), 3);
        for cell in cells {
            assert_eq!(cell["samples"].as_array().unwrap().len(), 2, "{cell}");
            for metric in ["wall_ns", "cpu_ns", "minor_faults", "peak_rss_bytes"] {
                assert!(
                    cell["metrics"][metric]["median"].as_f64().unwrap() > 0.0,
                    "{metric}: {cell}"
                );
            }
        }
        assert_ne!(cells[1]["loaded"], false);
        assert!(cells[1]["ratios"]["peak_rss_bytes"]["ratio"].as_f64().unwrap() > 0.5);
        assert!(cells[0].get("ratios").is_none(), "the baseline is compared with nothing");
    }
    let seen = |cell: &Value| cell["loaded"] == true;
    let mut cells = workloads.iter().flat_map(|workload| workload["cells"].as_array().unwrap());
    assert!(cells.any(seen), "an object was seen in a program's memory");
    assert_eq!(document["means"][0]["workloads"], 2);

    let csv = std::fs::read_to_string(&exports[1].1).unwrap();
    assert_eq!(csv.lines().count(), 1 + 2 * 3);
    let median = |line: &str| line.split(',').nth(4).unwrap().parse::<f64>().unwrap();
    let wall = &workloads[0]["cells"][0]["metrics"]["wall_ns"]["median"];
    assert_eq!(median(csv.lines().nth(1).unwrap()), wall.as_f64().unwrap(), "the same numbers");
    let markdown = std::fs::read_to_string(&exports[2].1).unwrap();
    assert_eq!(markdown.lines().filter(|l| l.starts_with("| node/json_orders |")).count(), 3);
    opened_in_a_browser(&exports[3].1, directory.path());
}

#[test]
fn every_function_gives_its_known_answer() {
    let directory = tempfile::tempdir().unwrap();
    let (word, path) = export(directory.path(), "r.json");
    // One allocator, one round, nothing watched: only the answers matter here.
    let words =
        ["bench", "--only=stock", "--runs=1", "--watched=0", "--size=tiny", "functions", &word];
    let mut command = memento(&words);
    let out = command.env("MEMENTO_CACHE_DIR", directory.path().join("cache")).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", stdout(&out));
    let document = read(&path);
    let workloads = document["workloads"].as_array().unwrap();
    assert_eq!(workloads.len(), 24);
    let skipped: Vec<&str> = workloads
        .iter()
        .filter(|workload| workload.get("skipped").is_some())
        .map(|workload| workload["name"].as_str().unwrap())
        .collect();
    // These need packages of others.
    assert_eq!(skipped, ["python/mako_page", "node/markdown_page"]);
}

/// Has Chromium lay the page out, and counts what is in it.
fn opened_in_a_browser(page: &Path, directory: &Path) {
    let html = std::fs::read_to_string(page).unwrap();
    let own = html.replace("http://www.w3.org/2000/svg", "");
    assert!(!own.contains("http:") && !own.contains("https:"), "self-contained");
    let dom = common::browser(page, directory);
    let count = |text: &str| dom.matches(text).count();
    assert_eq!(count("<section class=\"workload\">"), 2, "{dom}");
    // Time and memory for each workload, and the means.
    assert_eq!((count("<svg "), count("</svg>")), (5, 5));
    assert_eq!(count("<tr class=\"result\">"), 6, "a row for each workload and allocator");
    // Each plot of a workload has a bar and two runs for each of three allocators; the means have
    // two bars for each of two.
    assert_eq!(count("class=\"row\""), 2 * 2 * 3 + 4);
    assert_eq!(count("class=\"point\""), 2 * 2 * 3 * 2);
}

#[test]
fn a_program_that_fails_under_one_allocator_leaves_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let (word, path) = export(directory.path(), "r.json");
    let script = "case $LD_PRELOAD in *libmemento_all.so) echo oh no >&2; exit 7;; *emu*) kill -SEGV $$;; esac";
    let out = bench(directory.path(), &[&word, "--", "sh", "-c", script]);
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    let document = read(&path);
    let cells = &document["workloads"][0]["cells"];
    assert_eq!(cells[1]["failed"], "it ended with exit code 7: oh no");
    assert_eq!(cells[2]["failed"], "it was ended by SIGSEGV");
    assert_eq!(cells[0]["samples"].as_array().unwrap().len(), 2, "stock is measured");
    assert!(stdout(&out).contains("warning: memento: it ended with exit code 7: oh no"));
}

#[test]
fn a_program_that_hangs_is_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let words = ["--timeout=0.3", "--only=stock", "--", "sleep", "1000"];
    let arguments = [&["bench", "--runs=2"][..], &words].concat();
    let out = memento(&arguments).env("MEMENTO_CACHE_DIR", directory.path()).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(stdout(&out).contains("stopped after 0.3 s, the time limit"), "{}", stdout(&out));
}

#[test]
fn the_time_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (word, path) = export(directory.path(), "r.json");
    // Not enough for a second function, whatever the machine.
    let words = ["bench", "--only=stock,memento", "--time=0.001", "--size=tiny", &word];
    let functions = ["python/json_loads", "python/json_dumps", "python/aes_ctr"];
    let mut command = memento(&[&words[..], &functions].concat());
    let out = command.env("MEMENTO_CACHE_DIR", directory.path().join("cache")).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let document = read(&path);
    let workloads = document["workloads"].as_array().unwrap();
    for cell in workloads[0]["cells"].as_array().unwrap() {
        assert_eq!(cell["samples"].as_array().unwrap().len(), 1, "the first is run in any case");
    }
    for workload in &workloads[1..] {
        assert_eq!(workload["skipped"], "the time was up");
    }
    let note = "note: 0.001 s were not enough for 2 of the workloads: give it more --time";
    assert!(stdout(&out).contains(note), "{}", stdout(&out));
}

#[test]
fn mistakes_are_named_before_the_time_is_spent() {
    let directory = tempfile::tempdir().unwrap();
    let broken = directory.path().join("broken.so");
    std::fs::write(&broken, "no object").unwrap();
    let broken = format!("--allocator=mine={}", broken.display());
    for (words, want) in [
        (
            &["--only=jemallok"][..],
            "no allocator is called jemallok; there are stock, memento, memento-emu",
        ),
        (
            &["--baseline=nobody"],
            "--baseline nobody: no such allocator is measured; there are stock",
        ),
        (&["--allocator=mine=/no/such.so"], "allocator mine: /no/such.so cannot be read"),
        (&["--allocator=mine"], "`mine` is not of the form NAME=FILE"),
        (&["--allocator=memento=/x.so"], "/x.so cannot be read"),
        (&[&broken], "cannot be preloaded"),
        (&["--export=/no/such/r.json"], "cannot write /no/such/r.json"),
        (&["--export=r.pdf"], "r.pdf: a file for results ends in .json, .csv, .md or .html"),
        (&["--env=X"], "a variable is set as NAME=value"),
        (&["--timeout=0"], "it must be more than nothing"),
        (&["pyhton"], "no suite and no function is called pyhton"),
    ] {
        let arguments = [&["bench"][..], words].concat();
        let out = memento(&arguments).env("MEMENTO_CACHE_DIR", directory.path()).output().unwrap();
        assert_eq!(out.status.code(), Some(125), "{words:?}");
        assert!(stderr(&out).contains(want), "{words:?}: {}", stderr(&out));
    }
}

#[test]
fn what_cannot_be_written_is_named_and_the_rest_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let full = directory.path().join("full.json");
    std::os::unix::fs::symlink("/dev/full", &full).unwrap();
    let (first, (second, path)) =
        (format!("--export={}", full.display()), export(directory.path(), "r.csv"));
    let out = output(&["bench", "--only=stock", "--runs=2", &first, &second, "--", "true"]);
    assert_eq!(out.status.code(), Some(125));
    assert!(
        stderr(&out).contains("cannot write all of ") && stderr(&out).contains("No space left"),
        "{}",
        stderr(&out)
    );
    assert_eq!(
        std::fs::read_to_string(path).unwrap().lines().count(),
        2,
        "the other file is whole"
    );
    assert!(stdout(&out).starts_with("true\n"), "and so is the table");
}

#[test]
fn a_missing_interpreter_or_program_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = [&FEW[..], &["--quiet", "python/json_loads"]].concat();
    let out = memento(&arguments)
        .env("MEMENTO_CACHE_DIR", directory.path())
        .env("PATH", "/no/such")
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    assert_eq!((out.status.code(), stdout(&out).as_str()), (Some(0), ""), "quiet is quiet");
    let arguments = [&FEW[..], &["python/json_loads"]].concat();
    let out = memento(&arguments)
        .env("MEMENTO_CACHE_DIR", directory.path())
        .env("PATH", "/no/such")
        .output()
        .unwrap();
    assert!(stdout(&out).contains("python3 is not installed"), "{}", stdout(&out));
    let out = output(&["bench", "--only=stock", "--runs=1", "--", "no-such-program"]);
    assert_eq!(
        (out.status.code(), stdout(&out).as_str()),
        (Some(127), ""),
        "before anything is measured"
    );
    assert_eq!(stderr(&out), "memento: no-such-program: no such program\n");
    let script = directory.path().join("script");
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode;
    std::fs::set_permissions(&script, mode(0o755)).unwrap();
    let script = script.to_str().unwrap();
    for command in ["bench", "bill", "project"] {
        let out = output(&[command, "--", script]);
        assert_eq!(out.status.code(), Some(127), "{command}: {}", stderr(&out));
        assert!(stderr(&out).contains("/no/such/interpreter is needed: "), "{}", stderr(&out));
    }
    std::fs::set_permissions(script, mode(0o644)).unwrap();
    let out = output(&["bench", "--", script]);
    assert_eq!(out.status.code(), Some(126), "{}", stderr(&out));
}

#[test]
fn a_program_that_loads_nothing_is_not_taken_for_measured() {
    let (_directory, program) = common::compile("int main(void) { return 0; }", &["-static"]);
    let arguments = [&FEW[..], &["--", &program]].concat();
    let out = output(&arguments);
    assert_eq!(out.status.code(), Some(1));
    assert!(stdout(&out).contains("memento cannot be loaded:"), "{}", stdout(&out));
    assert!(stdout(&out).contains("statically linked"), "{}", stdout(&out));
}
