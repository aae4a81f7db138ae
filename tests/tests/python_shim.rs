//! `libmemento_python.so` in every CPython of this machine: it serves, it says where it does not, and
//! programs do what they do without.

use memento_tests::{Language, Outcome, Python, Shim, compile_as, directory, run};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Prints what the shim says of itself, and what CPython says of its own settings.
const ASK: &str = "import ctypes, sys\n\
    ask = ctypes.CDLL(None).memento_python_stats_json\n\
    text = ctypes.create_string_buffer(4096)\n\
    ask(text, ctypes.c_size_t(4096))\n\
    print(text.value.decode())\n\
    print(int(getattr(sys.flags, 'dev_mode', 0)))";

/// An interpreter under the shim, with nothing of the tests' own environment that it would obey.
fn shimmed(python: &Path) -> Command {
    let mut command = Command::new(python);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PYTHON") {
            command.env_remove(name);
        }
    }
    command.env("LD_PRELOAD", Shim::Python.path()).env("LC_ALL", "C.UTF-8");
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// What the shim said of itself.
fn said(outcome: &Outcome) -> Value {
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let line = outcome.stdout.lines().next().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
}

#[test]
fn every_interpreter_is_served() {
    for python in Python::served() {
        let outcome =
            run(shimmed(&python.path).args(["-c", ASK]).env("MEMENTO_CONF", "python_count:1"));
        assert_eq!(outcome.stderr, "", "{python:?}");
        let said = said(&outcome);
        let want = serde_json::json!({"raw": "malloc", "mem": "memento", "obj": "memento"});
        assert_eq!(said["domains"], want, "{python:?}");
        // An interpreter that has imported ctypes has made thousands of objects.
        assert!(said["allocations"].as_u64().is_some_and(|n| n > 5000), "{python:?}: {said}");
    }
}

#[test]
fn older_interpreters_are_left_alone() {
    for python in Python::all().into_iter().filter(|python| python.version < (3, 8)) {
        let outcome = run(shimmed(&python.path).args(["-c", ASK]));
        assert_eq!(said(&outcome)["left_alone"], "this Python is older than 3.8", "{python:?}");
    }
}

/// A command line, an environment, and what of them chooses CPython's own allocators.
type Launch =
    (&'static [&'static str], &'static [(&'static str, &'static str)], Option<&'static str>);

/// Whoever chose CPython's own allocators gets them, by every way in which they can be chosen, and
/// one line says so; whoever did not gets memento. CPython is asked itself what it made of it.
#[test]
fn a_choice_of_allocators_is_obeyed_and_named() {
    let lines: &[Launch] = &[
        (&["-X", "dev"], &[], Some("-X dev")),
        (&["-Xdev"], &[], Some("-X dev")),
        (&["-bX", "dev"], &[], Some("-X dev")),
        (&["-W", "-X", "-X", "dev"], &[], Some("-X dev")),
        (&["-W", "-X", "-I"], &[("PYTHONMALLOC", "debug")], None),
        (&["-X", "faulthandler", "-X", "dev"], &[], Some("-X dev")),
        (&["-X", "importtime=0"], &[], None),
        (&["--check-hash-based-pycs", "always", "-X", "dev"], &[], Some("-X dev")),
        (&[], &[("PYTHONDEVMODE", "1")], Some("PYTHONDEVMODE")),
        (&[], &[("PYTHONDEVMODE", "")], None),
        (&["-E"], &[("PYTHONDEVMODE", "1")], None),
        (&[], &[("PYTHONMALLOC", "debug")], Some("PYTHONMALLOC=debug")),
        (&[], &[("PYTHONMALLOC", "malloc_debug")], Some("PYTHONMALLOC=malloc_debug")),
        (&[], &[("PYTHONMALLOC", "pymalloc_debug")], Some("PYTHONMALLOC=pymalloc_debug")),
        (&[], &[("PYTHONMALLOC", "pymalloc")], Some("PYTHONMALLOC=pymalloc")),
        (&["-X", "dev"], &[("PYTHONMALLOC", "debug")], Some("PYTHONMALLOC=debug")),
        (&["-sI"], &[("PYTHONMALLOC", "debug")], None),
        (&[], &[("PYTHONMALLOC", "")], None),
    ];
    for python in Python::served() {
        for &(arguments, environment, want) in lines {
            let mut command = shimmed(&python.path);
            // After the code, nothing is an option.
            command.args(arguments).args(["-c", ASK, "-X", "dev"]);
            let outcome = run(command.envs(environment.iter().copied()));
            let said = said(&outcome);
            let what = format!("{python:?} {arguments:?} {environment:?}: {outcome:?}");
            assert_eq!(said["left_alone"].as_str(), want, "{what}");
            let server = if want.is_some() { "another" } else { "memento" };
            assert_eq!(said["domains"]["obj"], server, "{what}");
            let ours: Vec<_> =
                outcome.stderr.lines().filter(|line| line.starts_with("memento: ")).collect();
            match want {
                Some(how) => assert!(matches!(ours[..], [line] if line.contains(how)), "{what}"),
                None => assert!(ours.is_empty(), "{what}"),
            }
            let developing = outcome.stdout.lines().nth(1).expect("the flags").starts_with('1');
            let seen = want.is_some_and(|how| how.contains("dev") || how.contains("DEV"));
            // `PYTHONMALLOC` counts more than `-X dev`, which it leaves on.
            let both = arguments.contains(&"dev") && !environment.is_empty();
            assert_eq!(developing, seen || both, "{what}");
        }
        let quiet = run(shimmed(&python.path)
            .args(["-c", ASK])
            .envs([("PYTHONMALLOC", "debug"), ("MEMENTO_CONF", "python_quiet:1")]));
        assert_eq!(quiet.stderr, "", "{python:?}");
    }
}

/// `malloc` for everything is memento's malloc, and needs no line.
#[test]
fn pythonmalloc_malloc_is_served_as_malloc() {
    for python in Python::served() {
        let outcome = run(shimmed(&python.path).args(["-c", ASK]).env("PYTHONMALLOC", "malloc"));
        assert_eq!(outcome.stderr, "", "{python:?}");
        assert_eq!(said(&outcome)["left_alone"], "PYTHONMALLOC", "{python:?}");
    }
}

/// How many mappings are advised to be huge pages, before and after some threads have allocated.
const ADVISED: &str = "import threading\n\
    def advised():\n\
    \x20   with open('/proc/self/smaps') as maps:\n\
    \x20       return sum('hg' in line.split() for line in maps if line.startswith('VmFlags:'))\n\
    first = advised()\n\
    stop = threading.Event()\n\
    def allocate():\n\
    \x20   kept = [str(n) for n in range(2000)]\n\
    \x20   stop.wait()\n\
    threads = [threading.Thread(target=allocate) for _ in range(8)]\n\
    for thread in threads: thread.start()\n\
    print(first, advised())\n\
    stop.set()";

/// The main thread's heap starts on a huge page, which an interpreter fills; other threads' do not.
#[test]
fn the_main_heap_alone_starts_on_a_huge_page() {
    let setting = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    let offered = setting.is_ok_and(|text| !text.contains("[never]"));
    let want = if offered { "1 1\n" } else { "0 0\n" };
    for python in Python::served() {
        // Without what is installed beside the interpreter, which may import much.
        let arguments = ["-S", "-c", ADVISED];
        let outcome = run(shimmed(&python.path).args(arguments));
        assert_eq!(outcome.stdout, want, "{python:?}: {outcome:?}");
        let none = run(shimmed(&python.path).args(arguments).env("MEMENTO_CONF", "huge_waste:0"));
        assert_eq!(none.stdout, "0 0\n", "{python:?}: {none:?}");
    }
}

/// Fills arenas, empties them, ends the invocation, fills them again. Prints who serves, and after each step
/// how many arenas there are and how many MiB are resident.
const ARENAS: &str = "import ctypes, json\n\
    shim = ctypes.CDLL(None)\n\
    text = ctypes.create_string_buffer(4096)\n\
    def ask():\n\
    \x20   shim.memento_python_stats_json(text, ctypes.c_size_t(4096))\n\
    \x20   return json.loads(text.value)\n\
    def now():\n\
    \x20   with open('/proc/self/statm') as statm:\n\
    \x20       return [ask()['arenas'], int(statm.read().split()[1]) * 4 // 1024]\n\
    def fill():\n\
    \x20   return [(str(n), n + 1000) for n in range(400000)]\n\
    steps = [now()]\n\
    kept = fill(); steps.append(now())\n\
    right = all(int(text) == n - 1000 == at for at, (text, n) in enumerate(kept))\n\
    del kept; steps.append(now())\n\
    shim.memento_invocation_end(); steps.append(now())\n\
    kept = fill(); steps.append(now())\n\
    right &= all(int(text) == n - 1000 == at for at, (text, n) in enumerate(kept))\n\
    print(json.dumps({'domains': ask()['domains'], 'steps': steps, 'right': right}))";

/// CPython's own allocator may stay, in memento's arenas: of which those that are free are used again, a
/// bounded part keeps its memory, and none after an invocation.
#[test]
fn arenas_are_used_again_and_given_back() {
    for python in Python::served() {
        let command = &mut shimmed(&python.path);
        let outcome = run(command.args(["-c", ARENAS]).env("MEMENTO_CONF", "python_arenas:1"));
        let said = said(&outcome);
        let by = "pymalloc in memento's arenas";
        let want = serde_json::json!({"raw": "malloc", "mem": by, "obj": by});
        assert_eq!((&said["domains"], &said["right"]), (&want, &Value::from(true)), "{python:?}");
        let step = |at: usize| [0, 1].map(|of| said["steps"][at][of].as_u64().expect("a number"));
        let [start, full, emptied, ended, again] = [0, 1, 2, 3, 4].map(step);
        let what = format!("{python:?}: {said}");
        assert_eq!(outcome.stderr, "", "{what}");
        assert!(start[0] >= 1 && full[0] > start[0] + 20 && emptied[0] < full[0] / 4, "{what}");
        // 8 arenas of 1 MiB, or an eighth of 256 KiB each, may keep their memory.
        assert!(emptied[1] < full[1] - 20 && ended[1] < emptied[1] - 2, "{what}");
        assert!(ended[1] < start[1] + 8, "{what}");
        // The same again, in the same.
        assert!(again[0] <= full[0] + 1 && again[1] <= full[1] + 4, "{what}");
    }
}

#[test]
fn memory_programs_print_the_same_in_arenas() {
    let served = Python::served();
    for python in [served.first(), served.last()].into_iter().flatten() {
        unchanged(&python.path, &[&script("memory.py")], |command| {
            command.env("MEMENTO_CONF", "python_arenas:1");
        });
    }
}

fn script(name: &str) -> String {
    directory("python").join(name).into_os_string().into_string().expect("the path is text")
}

/// The program prints the same without and with the shim.
fn unchanged(python: &Path, arguments: &[&str], configure: impl Fn(&mut Command)) {
    let mut stock = shimmed(python);
    configure(stock.args(arguments).env_remove("LD_PRELOAD"));
    let mut served = shimmed(python);
    configure(served.args(arguments));
    let (stock, served) = (run(&mut stock), run(&mut served));
    assert_eq!(stock.code, Some(0), "{}: {stock:?}", python.display());
    assert_eq!(served, stock, "{}", python.display());
}

#[test]
fn memory_programs_print_the_same() {
    for python in Python::served() {
        unchanged(&python.path, &[&script("memory.py")], |_| {});
    }
}

/// In hardened mode, too, and traced from the first allocation to the last.
#[test]
fn memory_programs_print_the_same_hardened_and_traced() {
    let python = &Python::served()[0];
    unchanged(&python.path, &[&script("memory.py")], |command| {
        command.env("MEMENTO_HARDENED", "1");
    });
    unchanged(
        &python.path,
        &["-X", "tracemalloc=2", "-c", "print([str(n) for n in range(9)])"],
        |_| {},
    );
}

/// The script that installs Debian's packages.
fn needs() -> PathBuf {
    directory("../scripts/need.sh")
}

/// Wheels of the newest versions that pip finds, for one interpreter: the first on the search path.
#[test]
fn extensions_from_wheels_compute_the_same() {
    let python = &Python::served()[0];
    let found = run(Command::new("python3").args(["-c", "import sys; print(sys.executable)"]));
    let first = PathBuf::from(found.stdout.trim_end());
    let python = if first.exists() { &first } else { &python.path };
    let packages = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wheels");
    if !packages.join("cryptography").exists() {
        let pip = |arguments: &[&str]| {
            run(Command::new(python)
                .args(["-m", "pip"])
                .args(arguments)
                .arg("--target")
                .arg(&packages))
        };
        let wanted = ["numpy", "lxml", "pillow", "cryptography"];
        let arguments = [&["install", "--quiet", "--only-binary", ":all:"], &wanted[..]].concat();
        let mut outcome = pip(&arguments);
        if outcome.stderr.contains("No module named pip") {
            run(Command::new("bash")
                .args(["-c", ". \"$0\" && need python3-pip pip3"])
                .arg(needs()));
            outcome = pip(&arguments);
        }
        if outcome.code != Some(0) {
            // Without pip, or without a network, there is nothing to test.
            eprintln!("wheels not run: {outcome:?}");
            return;
        }
    }
    unchanged(python, &[&script("wheels.py")], |command| {
        command.env("PYTHONPATH", &packages);
    });
}

/// What no interpreter here is, stood in for: each kind is told from the others by the names that
/// the loader finds.
#[test]
fn interpreters_that_are_not_served_are_told_apart() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let kinds = [
        (None, None),
        (Some("FREE_THREADED"), Some("a free-threaded Python")),
        (Some("OLD"), Some("older than 3.8")),
        (Some("DEBUG_BUILD"), Some("a debug build")),
    ];
    for (kind, want) in kinds {
        let define = kind.map(|kind| format!("-D{kind}"));
        let mut flags = vec!["-rdynamic"];
        flags.extend(define.as_deref());
        let program = compile_as(Language::C, "python/stand_in.c", scratch.path(), &flags);
        let outcome = run(Command::new(program).env("LD_PRELOAD", Shim::Python.path()));
        let said = said(&outcome);
        match want {
            None => {
                assert_eq!(said["domains"]["obj"], "memento");
                assert_eq!(outcome.stderr, "");
            }
            Some(reason) => {
                let named = said["left_alone"].as_str().unwrap_or_default();
                assert!(named.contains(reason), "{kind:?}: {outcome:?}");
                assert!(outcome.stderr.contains(reason), "{kind:?}: {outcome:?}");
            }
        }
    }
}

/// Blocks that the interpreter handed out before go back to it; memento's go to memento, by whatever
/// name they are freed.
#[test]
fn blocks_from_before_go_back_to_their_own_allocator() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let program = compile_as(Language::C, "python/stand_in.c", scratch.path(), &["-rdynamic"]);
    let outcome = run(Command::new(program).arg("before").env("LD_PRELOAD", Shim::Python.path()));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let lines: Vec<_> = outcome.stdout.lines().skip(1).collect();
    assert_eq!(lines, ["from before from memento", "from before from memento", "2"]);
}

/// A program that starts its interpreter again after its end, which resets the domains from 3.12 on.
#[test]
fn an_embedded_interpreter_may_start_again() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    for python in Python::served() {
        // Where the interpreter is in the executable there is nothing to link with.
        let Some(library) = &python.library else { continue };
        let library_text = library.to_str().expect("the path is text");
        let directory = library.parent().expect("a directory").display();
        let flags = ["-Wl,--no-as-needed", library_text, &format!("-Wl,-rpath,{directory}")];
        let program = compile_as(Language::C, "python/again.c", scratch.path(), &flags);
        let home = python.path.parent().and_then(Path::parent).expect("an installation");
        unchanged(&program, &[], |command| {
            command.env("PYTHONHOME", home);
        });
    }
}
