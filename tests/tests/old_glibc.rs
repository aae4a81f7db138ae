//! The shared objects on an older C library than they were built on, whose threads and loader are libraries of their own:
//! before 2.34 what they import lies elsewhere. That nothing newer than 2.17 is imported is a test of `artefacts`.

use memento_tests::{Shim, directory, run};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Version of the C library, what allocates, and the domains of Python, after threads and a fork.
const PROGRAM: &str = "
import ctypes, json, os, threading
def work():
    global text
    text = json.dumps(json.loads(json.dumps([{'n': i, 't': 'x' * (i % 600)} for i in range(3000)])))
threads = [threading.Thread(target=work) for _ in range(4)]
for t in threads: t.start()
for t in threads: t.join()
child = os.fork()
if child == 0:
    work()
    os._exit(7)
c = ctypes.CDLL(None)
def document(name):
    function, room = getattr(c, name, None), ctypes.create_string_buffer(1 << 16)
    return json.loads(room.value) if function and function(room, len(room)) else {}
c.gnu_get_libc_version.restype = ctypes.c_char_p
print(c.gnu_get_libc_version().decode(), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(text),
      document('memento_stats_json').get('hal'), document('memento_python_stats_json').get('domains', {}).get('obj'))
";

/// The older library's directory; `None`, with the reason, where it cannot be had.
fn libraries() -> Option<PathBuf> {
    let unpacked = Path::new(env!("CARGO_TARGET_TMPDIR")).join("old-glibc");
    let outcome = run(Command::new("bash").arg(directory("c/old_glibc.sh")).arg(unpacked));
    if outcome.code != Some(0) {
        eprintln!("not run: an older C library cannot be had: {}", outcome.stderr);
        return None;
    }
    Some(outcome.stdout.trim_end().into())
}

#[test]
fn the_shared_objects_serve_on_an_older_glibc() {
    let Some(libraries) = libraries() else { return };
    let root = libraries.ancestors().nth(2).expect("a root").to_owned();
    let said = |preload: Option<Shim>| {
        let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
        let more = root.join("usr/lib/x86_64-linux-gnu");
        command.arg("--library-path").arg(format!("{}:{}", libraries.display(), more.display()));
        command.arg(root.join("usr/bin/python3.9")).args(["-S", "-c", PROGRAM]);
        command.env_remove("LD_PRELOAD").env_remove("LD_LIBRARY_PATH");
        command.env("PYTHONHOME", root.join("usr"));
        if let Some(shim) = preload {
            command.env("LD_PRELOAD", shim.path());
        }
        let outcome = run(&mut command);
        assert_eq!(outcome.code, Some(0), "{preload:?}: {outcome:?}");
        assert_eq!(outcome.stderr, "", "{preload:?}");
        let words: Vec<_> = outcome.stdout.split_whitespace().map(str::to_owned).collect();
        assert_eq!(words.len(), 5, "{preload:?}: {outcome:?}");
        words
    };
    let stock = said(None);
    let minor: u32 =
        stock[0].strip_prefix("2.").and_then(|minor| minor.parse().ok()).expect("a version");
    assert!(minor < 34, "{stock:?}");
    assert_eq!(stock[1..], ["7", &stock[2], "None", "None"]);
    for &shim in Shim::FILES {
        let object = if matches!(shim, Shim::Python | Shim::All | Shim::Report) {
            "memento"
        } else {
            "None"
        };
        assert_eq!(said(Some(shim)), [&stock[0], "7", &stock[2], shim.hal(), object], "{shim:?}");
    }
}
