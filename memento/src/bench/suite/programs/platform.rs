//! Platform operations: what is done around a function, in programs whose memory `malloc` serves.

use super::{Language, Size, Suite, installed, words};
use crate::bench::workload::Workload;
use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

/// The tarballs that `install_tarballs` installs, one a line.
pub(in super::super) const TARBALLS: &str =
    include_str!("../../../../../benches/functions/suites/tarballs.txt");

/// Unpacks, reads everything that came out in a fixed order, and removes it.
const UNPACK: &str = "d=$(mktemp -d) && tar -xzf \"$0\" -C \"$d\" && \
    find \"$d\" -type f | sort | xargs cat | cksum; s=$?; rm -rf \"$d\"; exit $s";

/// A server that listens and is asked nothing.
const PYTHON_SERVER: &str = "import http.server, json, logging\n\
    s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), http.server.BaseHTTPRequestHandler)\n\
    s.server_close(); print('ready')";
const NODE_SERVER: &str = "const s = require('http').createServer(() => {}).listen(0, '127.0.0.1', () => \
    s.close(() => console.log('ready')))";

/// How many containers there are.
pub(super) fn containers(size: Size) -> usize {
    match size {
        Size::Tiny => 1,
        Size::Small => 4,
        Size::Full => 20,
    }
}

/// How many packages are installed.
fn packages(size: Size) -> usize {
    match size {
        Size::Tiny => 2,
        Size::Small => 4,
        Size::Full => 10,
    }
}

/// The start of a server.
pub(super) fn start(language: Language) -> Result<Workload> {
    let (option, text) = match language {
        Language::Python => ("-c", PYTHON_SERVER),
        _ => ("-e", NODE_SERVER),
    };
    let command = vec![language.interpreter()?.into(), option.into(), text.into()];
    Ok(Workload { command, ..Workload::default() })
}

fn command(command: Vec<OsString>) -> Workload {
    Workload { command, ..Workload::default() }
}

impl Suite {
    pub(super) fn unpack_layer(&self, size: Size) -> Result<Workload> {
        let layer = self.input("layer", size)?;
        Ok(command(vec!["sh".into(), "-c".into(), UNPACK.into(), layer.into()]))
    }

    pub(super) fn containers(&self, size: Size) -> Result<Workload> {
        installed("crun")?;
        installed("unshare")?;
        let config = self.input("container", size)?;
        let of = |count: usize| -> Vec<OsString> {
            let script = self.script("containers.sh");
            let config = config.clone();
            vec!["sh".into(), script.into(), config.into(), count.to_string().into()]
        };
        allowed(&of(1))?;
        Ok(command(of(containers(size))))
    }

    pub(super) fn install_wheels(&self, size: Size) -> Result<Workload> {
        self.install("wheels", Language::Python.interpreter()?.as_path(), size)
    }

    pub(super) fn install_tarballs(&self, size: Size) -> Result<Workload> {
        installed("npm")?;
        self.install("tarballs", Path::new("npm"), size)
    }

    fn install(&self, kind: &str, program: &Path, size: Size) -> Result<Workload> {
        let archives = self.archives(kind);
        let count = std::fs::read_dir(&archives).map_or(0, Iterator::count);
        ensure!(
            count >= packages(Size::Full),
            "it needs packages of others: `memento bench --setup` fetches them"
        );
        let list = self.script(kind).with_extension("txt");
        let mut all = words(&["sh"]);
        all.extend([self.script("install.sh").into(), kind.into(), list.into()]);
        all.extend([packages(size).to_string().into(), archives.into(), program.into()]);
        Ok(command(all))
    }
}

/// Whether containers can be made here: kernels, and containers around this one, may refuse.
fn allowed(words: &[OsString]) -> Result<()> {
    let mut command = Command::new(&words[0]);
    let out = command.args(&words[1..]).env("LC_ALL", "C").stdin(Stdio::null()).output();
    let out = out.context("cannot try to make a container")?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        let first = said.lines().next().unwrap_or("for no reason that is said");
        bail!("containers cannot be made here: {first}");
    }
    Ok(())
}
