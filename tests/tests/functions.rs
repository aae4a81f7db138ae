//! The workload functions (`benches/functions`) compute what they always computed: on the stock
//! allocator, on `libmemento.so`, and Python's also with every object through malloc.

use memento_tests::{Bindings, Outcome, Shim, directory, run};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

/// A language of the functions.
struct Language {
    /// Its directory; the start of each name in the goldens.
    name: &'static str,
    /// What its files end in.
    extension: &'static str,
    /// The interpreter itself, not a wrapper script around it.
    interpreter: PathBuf,
    /// Functions that need packages, and the file that pins them.
    third_party: &'static [&'static str],
    pins: &'static str,
}

impl Language {
    fn python() -> Self {
        Self {
            name: "python",
            extension: "py",
            interpreter: answer("python3", &["-c", "import sys; print(sys.executable)"]),
            third_party: &["mako_page"],
            pins: "requirements.txt",
        }
    }

    fn node() -> Self {
        Self {
            name: "node",
            extension: "js",
            interpreter: answer("node", &["-p", "process.execPath"]),
            third_party: &["markdown_page"],
            pins: "package.json",
        }
    }

    fn directory(&self) -> PathBuf {
        directory("../benches/functions").join(self.name)
    }

    /// The functions' names: every file but the one that they share.
    fn functions(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.directory()).expect("the functions are there");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths
            .filter(|path| path.extension().is_some_and(|e| e == self.extension))
            .map(|path| path.file_stem().expect("a name").to_str().expect("text").to_owned())
            .filter(|name| name != "function")
            .collect()
    }

    fn command(&self, function: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.interpreter);
        command.arg(self.directory().join(function).with_extension(self.extension));
        command.args(arguments).env_remove("LD_PRELOAD").env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// Asserts that the function said its golden line, or, if it needs packages that are not there,
    /// what to install.
    fn good(&self, function: &str, golden: &str, outcome: &Outcome) {
        if self.third_party.contains(&function) && outcome.code == Some(1) {
            let lines: Vec<_> = outcome.stderr.lines().collect();
            assert!(matches!(lines[..], [line] if line.contains(self.pins)), "{outcome:?}");
            assert_eq!(outcome.stdout, "");
            eprintln!("{function} not run: {}", lines[0]);
            return;
        }
        assert_eq!((outcome.code, &*outcome.stderr), (Some(0), ""), "{function}: {outcome:?}");
        assert_eq!(outcome.stdout, format!("{function} tiny {golden}\n"));
    }
}

/// The first line that a command prints, as a path.
fn answer(program: &str, arguments: &[&str]) -> PathBuf {
    let outcome = run(Command::new(program).args(arguments).env_remove("LD_PRELOAD"));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    outcome.stdout.trim_end().into()
}

/// Checksum and length of every function of a language at its `tiny` size.
fn goldens(language: &Language) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(directory("../benches/functions/goldens.txt"))
        .expect("the goldens are there");
    let prefix = format!("{}/", language.name);
    let mut found = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix(&prefix)) {
        let (function, rest) = line.split_once(' ').expect("FUNCTION SIZE CHECKSUM BYTES");
        if let Some(golden) = rest.strip_prefix("tiny ") {
            found.insert(function.to_owned(), golden.to_owned());
        }
    }
    found
}

/// Runs every function at its `tiny` size with the environment, with and without the preload.
fn computed(language: &Language, environment: &[(&str, &str)], shim: Shim) {
    let goldens = goldens(language);
    assert_eq!(goldens.keys().cloned().collect::<BTreeSet<_>>(), language.functions());
    let shim = shim.path();
    for (function, golden) in &goldens {
        let mut command = language.command(function, &["tiny"]);
        let stock = run(command.envs(environment.iter().copied()));
        language.good(function, golden, &stock);

        let mut command = language.command(function, &["tiny", "--repeat", "3"]);
        command.envs(environment.iter().copied()).env("LD_PRELOAD", &shim);
        let bindings = Bindings::of(&mut command);
        language.good(function, golden, &run(&mut command));
        assert!(bindings.served_by(&shim) >= 1, "{function} was not served");
    }
}

#[test]
fn python() {
    computed(&Language::python(), &[], Shim::Soft);
}

#[test]
fn python_with_every_object_through_malloc() {
    computed(&Language::python(), &[("PYTHONMALLOC", "malloc")], Shim::Soft);
}

#[test]
fn node() {
    computed(&Language::node(), &[], Shim::Soft);
}

#[test]
fn node_with_its_own_pages_too() {
    computed(&Language::node(), &[], Shim::Node);
}

#[test]
fn unknown_arguments_are_refused() {
    for language in [Language::python(), Language::node()] {
        for function in language.functions() {
            for arguments in [&["huge"][..], &["--repeat"], &["tiny", "--repeat", "0"]] {
                let outcome = run(&mut language.command(&function, arguments));
                assert_eq!((outcome.code, &*outcome.stdout), (Some(1), ""), "{outcome:?}");
                assert!(outcome.stderr.contains("usage: "), "{outcome:?}");
            }
        }
    }
}
