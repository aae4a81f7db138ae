//! The functions that come with the command: found wherever it is installed, because it carries them.
//!
//! They are unpacked to a cache directory, one for each version of their text. Their results are known:
//! a run that answers anything else is a failure. Packages of others are installed beside them by
//! [`Suite::set_up`]; without these, the functions that need none still run.

use super::workload::Workload;
use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

mod files;
mod programs;
mod setup;

use files::{FILES, GOLDENS};

/// How much a function has to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Size {
    /// A few milliseconds, for tests
    Tiny,
    /// Some tens of milliseconds
    #[default]
    Small,
    /// Some hundred milliseconds: inputs of realistic size
    Full,
}

impl Size {
    fn name(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::Small => "small",
            Self::Full => "full",
        }
    }
}

/// A language of the functions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Language {
    Python,
    Node,
    Cpp,
    Rust,
}

impl Language {
    const ALL: [Self; 4] = [Self::Python, Self::Node, Self::Cpp, Self::Rust];

    /// Its directory, and the first part of a function's name.
    fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
            Self::Cpp => "cpp",
            Self::Rust => "rust",
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Python => "py",
            Self::Node => "js",
            Self::Cpp => "cpp",
            Self::Rust => "rs",
        }
    }

    /// The interpreter itself: what is in `PATH` may be a script that looks for it. Of C++ the compiler; of Rust,
    /// whose functions are built with this command, this command.
    fn interpreter(self) -> Result<PathBuf> {
        let (program, ask): (_, &[&str]) = match self {
            Self::Python => ("python3", &["-c", "import sys; print(sys.executable)"]),
            Self::Node => ("node", &["-p", "process.execPath"]),
            Self::Cpp => return Ok("c++".into()),
            Self::Rust => return std::env::current_exe().context("no name of this program"),
        };
        crate::warm::handler::interpreter(program, ask)
    }

    /// Functions that need packages of others, and a file that is there if they are.
    fn third_party(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Python => &[("mako_page", "mako/__init__.py")],
            Self::Node => &[("markdown_page", "node_modules/marked/package.json")],
            Self::Cpp | Self::Rust => &[],
        }
    }
}

/// A function of the suite.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Function {
    language: Language,
    name: String,
}

/// What a selection came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// It can be run.
    Ready(Workload),
    /// It cannot: its name, and why.
    Skipped(String, String),
}

/// What is run if nothing is named: some functions of each language, of different ways with memory, so that two
/// minutes are enough for rounds from which intervals can be told.
const QUICK: [&str; 11] = [
    "python/aes_ctr",
    "python/graph_bfs",
    "python/html_page",
    "python/json_loads",
    "python/sqlite_orders",
    "node/crypto_tokens",
    "node/html_page",
    "node/json_orders",
    "cpp/movie_id",
    "cpp/user_mention",
    "rust/cart_quotes",
];

/// The suite in its cache directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Suite {
    cache: PathBuf,
}

impl Suite {
    /// The suite in `MEMENTO_CACHE_DIR`, or in the user's cache directory.
    ///
    /// # Errors
    /// If there is no such directory and none can be made.
    pub fn open() -> Result<Self> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let cache = set("MEMENTO_CACHE_DIR")
            .map(PathBuf::from)
            .or_else(|| set("XDG_CACHE_HOME").map(|dir| Path::new(&dir).join("memento")))
            .or_else(|| set("HOME").map(|dir| Path::new(&dir).join(".cache/memento")))
            .context("no cache directory: set MEMENTO_CACHE_DIR")?;
        Self::open_in(&cache)
    }

    fn open_in(cache: &Path) -> Result<Self> {
        let cache = std::path::absolute(cache)?;
        let suite = Self { cache };
        let root = suite.functions();
        if !root.is_dir() {
            suite.unpack(&root).with_context(|| {
                format!("cannot unpack the suite to {}; set MEMENTO_CACHE_DIR", root.display())
            })?;
        }
        Ok(suite)
    }

    /// Where the functions of this very text are.
    fn functions(&self) -> PathBuf {
        let mut hasher = crc32fast::Hasher::new();
        for (path, text) in FILES {
            hasher.update(path.as_bytes());
            hasher.update(text.as_bytes());
        }
        self.cache.join(format!("functions-{:08x}", hasher.finalize()))
    }

    /// Unpacks under another name first: another process may be doing the same.
    fn unpack(&self, root: &Path) -> Result<()> {
        std::fs::create_dir_all(&self.cache)?;
        let partial = tempfile::Builder::new().prefix("functions-").tempdir_in(&self.cache)?;
        for (path, text) in FILES {
            let file = partial.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap_or(partial.path()))?;
            std::fs::write(file, text)?;
        }
        match std::fs::rename(partial.path(), root) {
            Err(error) if !root.is_dir() => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn packages(&self, language: Language) -> PathBuf {
        self.cache.join("packages").join(language.name())
    }

    /// What `words` choose: a language, `LANGUAGE/FUNCTION`, a function's name, `functions` for all of them; some of
    /// each language if nothing is named. `data` and `platform` are suites of installed programs, which are run if they are named. What has to be compiled is compiled now.
    ///
    /// # Errors
    /// If a word chooses nothing.
    pub fn select(&self, words: &[String], size: Size) -> Result<Vec<Entry>> {
        let programs: Vec<_> = words.iter().flat_map(|word| programs::named(word)).collect();
        let rest: Vec<String> =
            words.iter().filter(|word| programs::named(word).is_empty()).cloned().collect();
        let chosen =
            if rest.is_empty() && !programs.is_empty() { Vec::new() } else { chosen(&rest)? };
        let mut entries = Vec::new();
        for language in Language::ALL {
            let functions = || chosen.iter().filter(|function| function.language == language);
            if functions().next().is_none() {
                continue;
            }
            let interpreter = language.interpreter();
            for function in functions() {
                let ready = match &interpreter {
                    Ok(interpreter) => self.workload(function, interpreter, size),
                    Err(error) => Err(anyhow::anyhow!("{error:#}")),
                };
                entries.push(match ready {
                    Ok(workload) => Entry::Ready(workload),
                    Err(error) => Entry::Skipped(function.full_name(), format!("{error:#}")),
                });
            }
        }
        entries.extend(programs.into_iter().map(|program| self.program(program, size)));
        Ok(entries)
    }

    fn workload(&self, function: &Function, interpreter: &Path, size: Size) -> Result<Workload> {
        let Function { language, name } = function;
        let packages = self.packages(*language);
        let needs = language.third_party().iter().find(|(needy, _)| needy == name);
        if let Some((_, proof)) = needs {
            let why = "it needs packages of others: `memento bench --setup` installs them";
            ensure!(packages.join(proof).is_file(), why);
        }
        let file = self.functions().join(language.name()).join(name);
        let file = file.with_extension(language.extension());
        let mut on_memento = None;
        let command = match language {
            Language::Cpp => vec![self.compiled(interpreter, &file, name)?.into()],
            Language::Python | Language::Node => vec![interpreter.into(), file.into()],
            Language::Rust => {
                on_memento = Some(beside(interpreter, name, "-on-memento")?.into());
                vec![beside(interpreter, name, "")?.into()]
            }
        };
        let mut environment: Vec<(OsString, OsString)> = match language {
            Language::Python => vec![("PYTHONHASHSEED".into(), "0".into())],
            _ => vec![],
        };
        if needs.is_some() {
            let (variable, path) = match language {
                Language::Python => ("PYTHONPATH", packages),
                _ => ("NODE_PATH", packages.join("node_modules")),
            };
            environment.push((variable.into(), path.into()));
        }
        Ok(Workload {
            name: function.full_name(),
            command: command.into_iter().chain([size.name().into()]).collect(),
            environment,
            expected: golden(*language, name, size),
            on_memento,
            ..Workload::default()
        })
    }

    /// The program of a C++ function, compiled once.
    fn compiled(&self, compiler: &Path, source: &Path, name: &str) -> Result<PathBuf> {
        let directory = self.functions().join("bin");
        let program = directory.join(name);
        if program.is_file() {
            return Ok(program);
        }
        std::fs::create_dir_all(&directory)?;
        // Under a name of its own until it is whole: another process may be doing the same.
        let partial = tempfile::Builder::new().prefix(name).tempdir_in(&directory)?;
        let output = partial.path().join(name);
        let mut command = Command::new(compiler);
        command.args(["-std=c++17", "-O2", "-o"]).arg(&output).arg(source).stdin(Stdio::null());
        let out = command.output().context("no C++ compiler, c++, is installed")?;
        let said = String::from_utf8_lossy(&out.stderr);
        let first = said.lines().next().unwrap_or_default();
        ensure!(out.status.success(), "it cannot be compiled: {first}");
        std::fs::rename(&output, &program)?;
        Ok(program)
    }
}

impl Function {
    fn full_name(&self) -> String {
        format!("{}/{}", self.language.name(), self.name)
    }
}

/// A Rust function, which is built with this command and lies beside it.
fn beside(memento: &Path, name: &str, ending: &str) -> Result<PathBuf> {
    let program = memento.with_file_name(format!("memento-{}{ending}", name.replace('_', "-")));
    ensure!(
        program.is_file(),
        "there is no {}, which is built with this command",
        program.display()
    );
    Ok(program)
}

/// The functions that words choose.
fn chosen(words: &[String]) -> Result<Vec<Function>> {
    let all = all();
    let is_meant = |function: &Function, word: &str| {
        let names = ["functions", function.language.name(), &function.name];
        names.contains(&word) || word == function.full_name()
    };
    for word in words {
        if !all.iter().any(|function| is_meant(function, word)) {
            let names: Vec<_> = all.iter().map(Function::full_name).collect();
            bail!(
                "no suite and no function is called {word}; there are functions, python, node, cpp, rust, {} and {}. \
                 A program of your own goes behind `--`",
                programs::SUITES.join(", "),
                names.join(", ")
            );
        }
    }
    let mut all = all;
    all.retain(|f| match words {
        [] => QUICK.contains(&&*f.full_name()),
        words => words.iter().any(|word| is_meant(f, word)),
    });
    Ok(all)
}

/// All functions, in the order of their names.
fn all() -> Vec<Function> {
    let function = |path: &str| {
        let (directory, file) = path.split_once('/')?;
        let language = Language::ALL.into_iter().find(|l| l.name() == directory)?;
        let name = file.strip_suffix(language.extension())?.strip_suffix('.')?;
        (name != "function").then(|| Function { language, name: name.into() })
    };
    FILES.iter().filter_map(|(path, _)| function(path)).collect()
}

/// What a function writes.
fn golden(language: Language, name: &str, size: Size) -> Option<String> {
    let prefix = format!("{}/{name} {} ", language.name(), size.name());
    let answer = GOLDENS.lines().find_map(|line| line.strip_prefix(&prefix))?;
    Some(format!("{name} {} {answer}\n", size.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite() -> (tempfile::TempDir, Suite) {
        let directory = tempfile::tempdir().unwrap();
        let suite = Suite::open_in(directory.path()).unwrap();
        (directory, suite)
    }

    #[test]
    fn everything_in_the_sources_is_carried() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/functions");
        for language in Language::ALL {
            for entry in std::fs::read_dir(sources.join(language.name())).unwrap() {
                let file = entry.unwrap().file_name().into_string().unwrap();
                if !file.ends_with(&format!(".{}", language.extension())) {
                    continue;
                }
                let path = format!("{}/{file}", language.name());
                assert!(FILES.iter().any(|(carried, _)| *carried == path), "{path} is not carried");
            }
        }
    }

    #[test]
    fn every_function_has_a_known_answer_for_every_size() {
        assert_eq!(all().len(), 24);
        for Function { language, name } in all() {
            for size in [Size::Tiny, Size::Small, Size::Full] {
                assert!(golden(language, &name, size).is_some(), "{name} {}", size.name());
            }
        }
    }

    #[test]
    fn selections() {
        let count = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            chosen(&words).map(|functions| functions.len()).map_err(|e| e.to_string())
        };
        assert_eq!(count(&[]), Ok(QUICK.len()));
        assert_eq!(
            ["python", "node", "cpp", "rust", "functions"].map(|w| count(&[w])),
            [Ok(12), Ok(7), Ok(4), Ok(1), Ok(24)]
        );
        assert_eq!(count(&["html_page"]), Ok(2), "in both languages");
        assert_eq!(count(&["node/html_page", "json_loads"]), Ok(2));
        let error = count(&["jsno"]).unwrap_err();
        assert!(error.contains("called jsno") && error.contains("python/json_loads"), "{error}");
    }

    #[test]
    fn what_cannot_be_compiled_is_said() {
        let (_directory, suite) = suite();
        let source = suite.functions().join("cpp/movie_id.cpp");
        std::fs::write(&source, "no program").unwrap();
        let entries = suite.select(&["movie_id".into()], Size::Tiny).unwrap();
        let [Entry::Skipped(name, why)] = &entries[..] else { panic!("{entries:?}") };
        assert!(name == "cpp/movie_id" && why.contains("it cannot be compiled"), "{why}");
    }

    #[test]
    fn what_needs_packages_says_how_to_get_them() {
        let (_directory, suite) = suite();
        let entries = suite.select(&["mako_page".into()], Size::Tiny).unwrap();
        let [Entry::Skipped(name, why)] = &entries[..] else { panic!("{entries:?}") };
        assert!(name == "python/mako_page" && why.contains("--setup"), "{why}");
    }

    #[test]
    fn unpacked_twice_is_unpacked_once() {
        let (directory, suite) = suite();
        assert_eq!(Suite::open_in(directory.path()).unwrap(), suite);
        suite.unpack(&suite.functions()).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left");
    }
}
