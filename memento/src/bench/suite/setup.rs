//! `memento bench --setup`: packages of others, pinned, into the cache directory.

use super::{Language, Suite};
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::process::{Command, Stdio};

impl Suite {
    /// Installs what some functions need, and fetches what `platform/install_*` installs.
    ///
    /// # Errors
    /// If an installer is missing or fails. What one has done before the other failed is kept.
    pub fn set_up(&self) -> Result<()> {
        let python = self.set_up_python();
        let node = self.set_up_node();
        python.and(node)
    }

    fn set_up_python(&self) -> Result<()> {
        let root = self.functions();
        let python = Language::Python.interpreter()?;
        let pip = |words: &[&str]| {
            let mut pip = Command::new(&python);
            pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]).args(words);
            pip
        };
        let mut install = pip(&["install", "--upgrade", "--target"]);
        install.arg(self.packages(Language::Python)).arg("-r");
        run(install.arg(root.join("python/requirements.txt")), "python3 -m pip")?;
        let mut download = pip(&["download", "--no-deps", "--only-binary=:all:", "--dest"]);
        download.arg(self.archives("wheels")).arg("-r").arg(root.join("suites/wheels.txt"));
        run(&mut download, "python3 -m pip")
    }

    fn set_up_node(&self) -> Result<()> {
        let root = self.functions();
        let directory = self.packages(Language::Node);
        std::fs::create_dir_all(&directory)?;
        std::fs::copy(root.join("node/package.json"), directory.join("package.json"))?;
        let mut install = Command::new("npm");
        install.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]);
        run(install.arg(&directory), "npm")?;
        let archives = self.archives("tarballs");
        std::fs::create_dir_all(&archives)?;
        let mut pack = Command::new("npm");
        pack.args(["pack", "--silent"]).args(super::programs::TARBALLS.lines());
        run(pack.current_dir(archives).stdout(Stdio::null()), "npm")
    }

    /// Where packages lie that are not installed yet.
    pub(super) fn archives(&self, kind: &str) -> PathBuf {
        self.cache.join("packages").join(kind)
    }
}

fn run(command: &mut Command, name: &str) -> Result<()> {
    eprintln!("memento: {name} is fetching the suite's packages");
    let status = command.stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("{name} is not installed"))?;
    ensure!(status.success(), "{name} could not fetch the suite's packages: {status}");
    Ok(())
}
