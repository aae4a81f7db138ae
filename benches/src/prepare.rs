//! Makes what rows need and what is no package: generated inputs, and our own programs.
//!
//! Inputs are made by `inputs/NAME.py` on its standard output, and are the same every time; a file that is
//! older than its generator is made again.

use crate::rows::{Places, Row};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where everything is: sources in `benches`, what is made in `target`.
pub struct Workshop {
    benches: PathBuf,
    target: PathBuf,
}

impl Workshop {
    /// `benches` is this crate's directory, `target` one for what is made.
    pub fn new(benches: &Path, target: &Path) -> Result<Self> {
        std::fs::create_dir_all(target)?;
        Ok(Self {
            benches: std::fs::canonicalize(benches)?,
            target: std::fs::canonicalize(target)?,
        })
    }

    /// The directories that rows name.
    pub fn places(&self) -> Places {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        Places {
            data: text(self.target.join("data")),
            programs: text(self.target.join("programs")),
            benches: text(self.benches.clone()),
            python: interpreter().unwrap_or_else(|| "python3".into()),
        }
    }

    /// Makes what `rows` need.
    ///
    /// # Errors
    /// If a generator or the compiler fails.
    pub fn make(&self, rows: &[Row]) -> Result<()> {
        let data = self.target.join("data");
        std::fs::create_dir_all(&data)?;
        let inputs: BTreeSet<_> = rows.iter().flat_map(|row| &row.inputs).collect();
        for input in inputs {
            let generator = self.benches.join("inputs").join(format!("{input}.py"));
            generate(&generator, &data.join(input))?;
        }
        if rows.iter().any(|row| row.command.iter().any(|word| word.contains("{programs}"))) {
            let build = self.benches.join("programs/build");
            let status = Command::new(&build).arg(self.target.join("programs")).status();
            let status = status.with_context(|| format!("cannot run {}", build.display()))?;
            ensure!(status.success(), "{} failed", build.display());
        }
        Ok(())
    }
}

/// The Python interpreter that `python3` starts in the end.
fn interpreter() -> Option<String> {
    let asked = ["-c", "import sys; print(sys.executable)"];
    let out = Command::new("python3").args(asked).output().ok()?;
    let path = String::from_utf8(out.stdout).ok()?.trim().to_owned();
    (!path.is_empty()).then_some(path)
}

fn generate(generator: &Path, file: &Path) -> Result<()> {
    let made = generator.metadata().with_context(|| format!("no {}", generator.display()))?;
    let is_newer =
        |file: &Path| Ok::<_, std::io::Error>(file.metadata()?.modified()? >= made.modified()?);
    if is_newer(file).unwrap_or(false) {
        return Ok(());
    }
    // Under a name of its own until it is whole: another run may be making the same file.
    let directory = file.parent().unwrap_or(Path::new("."));
    let partial = tempfile::NamedTempFile::new_in(directory)?;
    let status = Command::new("python3")
        .arg(generator)
        .env("PYTHONHASHSEED", "0")
        .stdout(partial.reopen()?)
        .stdin(Stdio::null())
        .status()
        .context("cannot run python3")?;
    if !status.success() {
        bail!("{} failed", generator.display());
    }
    partial.persist(file)?;
    Ok(())
}

/// The rows whose program is not installed, with what would provide it. Our own are built when they are run.
pub fn missing<'a>(rows: &'a [Row], places: &Places) -> Vec<(&'a Row, String)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |program: &str| match program.contains('/') {
        true => Path::new(program).is_file(),
        false => std::env::split_paths(&path).any(|d| d.join(program).is_file()),
    };
    let lacks = |row: &'a Row| {
        let client = row.client.iter().flat_map(|client| &client.commands);
        let programs = std::iter::once(&row.command).chain(client).map(|words| &words[0]);
        let is_ours = |program: &&String| program.contains("{programs}");
        let mut programs = programs.filter(|p| !is_ours(p)).map(|p| places.fill(p, ""));
        let program = programs.find(|p| !found(p))?;
        let packages = row.packages.join(" ");
        Some((row, format!("{program} is not there: install {packages}")))
    };
    rows.iter().filter_map(lacks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::parse;

    fn workshop() -> (tempfile::TempDir, Workshop) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("benches/inputs")).unwrap();
        let workshop =
            Workshop::new(&directory.path().join("benches"), &directory.path().join("target"));
        (directory, workshop.unwrap())
    }

    fn rows() -> Vec<Row> {
        parse(
            "[[row]]\nname = 'a'\ngroup = 'little'\ncommand = ['cat', '{data}/x']\ninputs = ['x']",
        )
        .unwrap()
    }

    #[test]
    fn inputs_are_made_once() {
        let (directory, workshop) = workshop();
        let generator = directory.path().join("benches/inputs/x.py");
        std::fs::write(&generator, "import os\nprint(os.getpid())").unwrap();
        let file = directory.path().join("target/data/x");
        workshop.make(&rows()).unwrap();
        let first = std::fs::read(&file).unwrap();
        workshop.make(&rows()).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), first);
        let future = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
        std::fs::File::options()
            .write(true)
            .open(&generator)
            .unwrap()
            .set_modified(future)
            .unwrap();
        workshop.make(&rows()).unwrap();
        assert_ne!(std::fs::read(&file).unwrap(), first, "made again for a newer generator");
    }

    #[test]
    fn a_generator_that_fails_leaves_no_input() {
        let (directory, workshop) = workshop();
        let generator = directory.path().join("benches/inputs/x.py");
        assert!(workshop.make(&rows()).is_err(), "no generator");
        std::fs::write(&generator, "print('half')\nraise SystemExit(1)").unwrap();
        assert!(workshop.make(&rows()).is_err());
        assert!(!directory.path().join("target/data/x").exists());
    }

    #[test]
    fn what_is_not_installed_is_named() {
        let (_directory, workshop) = workshop();
        let mut rows = rows();
        assert!(missing(&rows, &workshop.places()).is_empty());
        rows[0].command[0] = "no-such-program".into();
        rows[0].packages = vec!["some-package".into()];
        let (_, text) = &missing(&rows, &workshop.places())[0];
        assert_eq!(text, "no-such-program is not there: install some-package");
        rows[0].command[0] = "{programs}/x".into();
        assert!(missing(&rows, &workshop.places()).is_empty(), "ours are built");
    }
}
