//! What is served: a handler in a file, by the name that platforms use for it, or a program.

use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The client for each language.
const PYTHON: &str = include_str!("serve.py");
const NODE: &str = include_str!("serve.js");

/// Something that takes events over the Lambda Runtime API.
#[derive(Debug)]
pub struct Served {
    /// Its name in tables.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// The client lies here.
    _directory: Option<tempfile::TempDir>,
}

impl Served {
    /// A program that speaks the interface itself: Rust, C++, …
    pub fn program(command: Vec<OsString>) -> Self {
        let name = crate::bench::workload::Workload::command(command.clone(), Vec::new()).name;
        Self { name, command, _directory: None }
    }

    /// The handler `FILE.FUNCTION`, as in `app.handler` for `app.py` or `app.js`.
    ///
    /// # Errors
    /// If there is no such file, there are two, or its interpreter is missing.
    pub fn handler(name: &str) -> Result<Self> {
        let (stem, function) = name
            .rsplit_once('.')
            .filter(|(stem, function)| !stem.is_empty() && !function.is_empty())
            .with_context(|| {
                format!("--handler {name}: it is not of the form FILE.FUNCTION, as in app.handler")
            })?;
        let files: Vec<PathBuf> = ["py", "js", "mjs", "cjs"]
            .iter()
            .map(|ending| PathBuf::from(format!("{stem}.{ending}")))
            .filter(|path| path.is_file())
            .collect();
        let file = match &files[..] {
            [file] => file.clone(),
            [] => bail!(
                "--handler {name}: there is neither {stem}.py nor {stem}.js, .mjs or .cjs here"
            ),
            [one, two, ..] => {
                bail!("--handler {name}: there are both {} and {}", one.display(), two.display())
            }
        };
        let directory =
            tempfile::tempdir().context("cannot make a directory for the handler's client")?;
        let is_python = file.extension().is_some_and(|ending| ending == "py");
        let (interpreter, client, text) = if is_python {
            (
                interpreter("python3", &["-c", "import sys; print(sys.executable)"])?,
                "serve.py",
                PYTHON,
            )
        } else {
            (interpreter("node", &["-p", "process.execPath"])?, "serve.js", NODE)
        };
        let client = directory.path().join(client);
        std::fs::write(&client, text).context("cannot write the handler's client")?;
        let command = vec![interpreter.into(), client.into(), file.into(), function.into()];
        Ok(Self { name: name.into(), command, _directory: Some(directory) })
    }
}

/// An interpreter by its own path: what is in `PATH` may be a script that looks for it.
pub fn interpreter(program: &str, ask: &[&str]) -> Result<PathBuf> {
    let missing = || format!("{program} is not installed, or does not run");
    let out =
        Command::new(program).args(ask).stdin(Stdio::null()).output().with_context(missing)?;
    let path = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    ensure!(out.status.success() && !path.is_empty(), missing());
    Ok(Path::new(&path).to_owned())
}
