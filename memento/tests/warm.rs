//! `memento bench --handler` and `--runtime-api`: invocations in one process, on real interpreters.

mod common;

use common::{memento, stderr, stdout};
use serde_json::Value;
use std::path::Path;
use std::process::Output;

/// A handler that counts its invocations and its event's items, and holds 32 MiB once it is warm.
const PYTHON: &str = "
held = []
count = 0
def handler(event, context):
    global count
    count += 1
    assert event['items'] == [1, 2, 3] and context.aws_request_id.endswith('%012d' % (count - 1))
    if count == 2:
        held.append(bytearray(32 << 20))
    return {'count': count}
def fails(event, context):
    raise ValueError('no such item')
def hangs(event, context):
    import time
    time.sleep(1000)
";

const NODE: &str = "
let count = 0;
exports.handler = async (event) => {
  count += 1;
  if (event.items.length !== 3) throw new Error('wrong event');
  // Where memento serves, what is free is given back after each response, by its addon.
  const isServed = (process.env.LD_PRELOAD || '').includes('libmemento');
  const hasAddon = Object.keys(require.cache).some((name) => name.endsWith('memento.node'));
  if (isServed !== hasAddon) throw new Error(`served: ${isServed}, addon: ${hasAddon}`);
  return { count };
};
";

fn bench(directory: &Path, more: &[&str]) -> Output {
    std::fs::write(directory.join("app.py"), PYTHON).unwrap();
    std::fs::write(directory.join("web.js"), NODE).unwrap();
    std::fs::write(directory.join("e.json"), "{\"items\": [1, 2, 3]}").unwrap();
    let mut words = vec!["bench", "--only=stock,memento", "--runs=1"];
    for (name, word) in [("--invocations", "--invocations=5"), ("--event", "--event=e.json")] {
        if !more.iter().any(|word| word.starts_with(name)) {
            words.push(word);
        }
    }
    memento(&[&words[..], more].concat()).current_dir(directory).output().unwrap()
}

fn served(directory: &Path, more: &[&str]) -> (Value, String) {
    let out = bench(directory, &[&["--export=w.json", "--export=w.csv"][..], more].concat());
    assert_eq!(out.status.code(), Some(0), "{}{}", stdout(&out), stderr(&out));
    let text = std::fs::read_to_string(directory.join("w.json")).unwrap();
    let csv = std::fs::read_to_string(directory.join("w.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 2 * 5, "a line for each invocation");
    (serde_json::from_str(&text).unwrap(), stdout(&out))
}

#[test]
fn python_handlers_are_served() {
    let directory = tempfile::tempdir().unwrap();
    let (document, text) = served(directory.path(), &["--handler=app.handler", "--memory=512"]);
    common::documented(&document, &[]);
    assert_eq!(
        (&document["schema"], &document["invocations"]),
        (&"memento.warm/1".into(), &5.into())
    );
    for row in document["allocators"].as_array().unwrap() {
        let figures = &row["figures"];
        let number = |name: &str| figures[name].as_f64().unwrap();
        assert!(number("p50_ns") > 0.0 && number("p50_ns") <= number("p95_ns"), "{figures}");
        assert!(number("p95_ns") <= number("p99_ns") && number("init_ns") > 0.0, "{figures}");
        assert!(
            number("peak_rss_bytes") >= f64::from(32 << 20),
            "what it holds is seen: {figures}"
        );
        assert_eq!(row["instances"][0]["invocations"].as_array().unwrap().len(), 5);
    }
    let reports: Vec<&str> = text.lines().filter(|line| line.starts_with("REPORT ")).collect();
    assert_eq!(reports.len(), 4, "the first and the last of each: {text}");
    assert!(
        reports[0].contains("\tMemory Size: 512 MB\t") && reports[0].contains("\tInit Duration: ")
    );
    assert!(
        reports[1].contains("RequestId: 00000000-0000-4000-8000-000000000004\t"),
        "{}",
        reports[1]
    );
    assert!(!reports[1].contains("Init Duration"), "{}", reports[1]);
}

#[test]
fn latencies_are_shown_on_a_page() {
    let directory = tempfile::tempdir().unwrap();
    let (_, text) = served(directory.path(), &["--handler=app.handler", "--export=w.html"]);
    let page = directory.path().join("w.html");
    let html = std::fs::read_to_string(&page).unwrap();
    let own = html.replace("http://www.w3.org/2000/svg", "");
    assert!(!own.contains("http:") && !own.contains("https:"), "self-contained");
    let dom = common::browser(&page, directory.path());
    let count = |text: &str| dom.matches(text).count();
    assert_eq!((count("<svg "), count("<tr class=\"result\">")), (4, 2), "{dom}");
    // Two allocators: three quantiles of each, four warm invocations, and a curve.
    assert_eq!((count("class=\"mark\""), count("class=\"curve ")), (6, 2));
    assert_eq!(count("class=\"point c"), 2 * 4);
    for line in text.lines().filter(|line| line.starts_with("REPORT ")) {
        assert!(dom.contains(line), "{line}");
    }
}

#[test]
fn node_handlers_are_served() {
    let directory = tempfile::tempdir().unwrap();
    let (document, _) = served(directory.path(), &["--handler=web.handler"]);
    assert!(document["allocators"][1]["figures"]["p50_ns"].as_f64().unwrap() > 0.0);
}

#[test]
fn programs_that_speak_the_interface_are_served() {
    let directory = tempfile::tempdir().unwrap();
    let source = "
import http.client, os
connection = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])
while True:
    connection.request('GET', '/2018-06-01/runtime/invocation/next')
    response = connection.getresponse()
    name = response.getheader('Lambda-Runtime-Aws-Request-Id')
    body = response.read()
    connection.request('POST', '/2018-06-01/runtime/invocation/%s/response' % name, body)
    connection.getresponse().read()
";
    std::fs::write(directory.path().join("bootstrap.py"), source).unwrap();
    let (document, _) =
        served(directory.path(), &["--runtime-api", "--", "python3", "bootstrap.py"]);
    assert_eq!(document["handler"], "python3 bootstrap.py");
}

#[test]
fn functions_that_fail_or_hang_are_named() {
    let directory = tempfile::tempdir().unwrap();
    for (words, want) in [
        (&["--handler=app.fails"][..], "memento: it failed: no such item"),
        (
            &["--handler=app.missing"],
            "it could not be initialised: module 'app' has no attribute 'missing'",
        ),
        (&["--handler=web.missing"], "it could not be initialised: web.js has no function missing"),
        (&["--timeout=0.5", "--handler=app.hangs"], "stopped after 0.5 s without an answer"),
        (
            &["--runtime-api", "--", "sh", "-c", "echo broken >&2; exit 3"],
            "before it had answered: broken",
        ),
    ] {
        let out = bench(directory.path(), words);
        assert_eq!(out.status.code(), Some(1), "{words:?}: {}", stderr(&out));
        assert!(stdout(&out).contains(want), "{words:?}: {}", stdout(&out));
    }
    for (words, want) in [
        (&["--handler=app"][..], "it is not of the form FILE.FUNCTION"),
        (&["--handler=nowhere.handler"], "there is neither nowhere.py nor nowhere.js"),
        (&["--handler=app.handler", "--event=app.py"], "app.py is no JSON"),
        (
            &["--handler=app.handler", "--export=w.pdf"],
            "w.pdf: a file for warm invocations ends in .json, .csv, .md or .html",
        ),
        (&["--handler=app.handler", "--invocations=0"], "`0` is no number of invocations"),
    ] {
        let out = bench(directory.path(), words);
        assert_eq!(out.status.code(), Some(125), "{words:?}: {}", stdout(&out));
        assert!(stderr(&out).contains(want), "{words:?}: {}", stderr(&out));
    }
}
