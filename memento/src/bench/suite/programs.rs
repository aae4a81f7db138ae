//! The suites of data processing and platform operations: programs that are installed, on inputs that are
//! made once. What they answer is known.

use super::{Entry, Language, Size, Suite};
use crate::bench::workload::Workload;
use crate::engine::client::Driver;
use anyhow::{Context, Result, ensure};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The names of the suites.
pub(super) const SUITES: [&str; 2] = ["data", "platform"];

/// A program of a suite.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Program {
    /// SQLite: a shop's tables filled, indexed, changed and asked.
    SqliteShop,
    /// Redis under redis-benchmark: strings, lists, sets, hashes, sorted sets.
    Redis,
    /// Memcached under a client that sets, gets and deletes.
    Memcached,
    /// A container image's layer unpacked, read and removed.
    UnpackLayer,
    /// A Python server's start.
    StartPython,
    /// A Node server's start.
    StartNode,
}

impl Program {
    const ALL: [Self; 6] = [
        Self::SqliteShop,
        Self::Redis,
        Self::Memcached,
        Self::UnpackLayer,
        Self::StartPython,
        Self::StartNode,
    ];

    pub(super) fn full_name(self) -> &'static str {
        match self {
            Self::SqliteShop => "data/sqlite_shop",
            Self::Redis => "data/redis",
            Self::Memcached => "data/memcached",
            Self::UnpackLayer => "platform/unpack_layer",
            Self::StartPython => "platform/start_python",
            Self::StartNode => "platform/start_node",
        }
    }

    /// What it writes to its standard output; a server's answers are checked by its client.
    fn answer(self, size: Size) -> Option<&'static str> {
        Some(match (self, size) {
            (Self::Redis | Self::Memcached, _) => return None,
            (Self::SqliteShop, Size::Tiny) => {
                "56|536753|1748\nCity 0|68428\nCity 30|65313\nCity 1|61133\nP-0|2\nP-474|2\nP-498|2\n"
            }
            (Self::SqliteShop, Size::Small) => {
                "2823|28476899|84713\nCity 8|1115813\nCity 30|1103056\nCity 19|984679\nP-179|16\nP-126|13\nP-263|13\n"
            }
            (Self::SqliteShop, Size::Full) => {
                "18823|187700369|561937\nCity 11|6107354\nCity 26|5611550\nCity 39|5608251\nP-353|57\nP-249|54\nP-232|53\n"
            }
            (Self::UnpackLayer, Size::Tiny) => "4256678975 46968\n",
            (Self::UnpackLayer, Size::Small) => "2448342201 1535224\n",
            (Self::UnpackLayer, Size::Full) => "1217927989 9805945\n",
            (Self::StartPython | Self::StartNode, _) => "ready\n",
        })
    }
}

/// Unpacks, reads everything that came out in a fixed order, and removes it.
const UNPACK: &str = "d=$(mktemp -d) && tar -xzf \"$0\" -C \"$d\" && \
    find \"$d\" -type f | sort | xargs cat | cksum; s=$?; rm -rf \"$d\"; exit $s";

/// A server that listens and is asked nothing.
const PYTHON_SERVER: &str = "import http.server, json, logging\n\
    s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), http.server.BaseHTTPRequestHandler)\n\
    s.server_close(); print('ready')";
const NODE_SERVER: &str = "const s = require('http').createServer(() => {}).listen(0, '127.0.0.1', () => \
    s.close(() => console.log('ready')))";

/// The programs that a word names; none if it names no program.
pub(super) fn named(word: &str) -> Vec<Program> {
    let is_meant = |program: &Program| {
        let full = program.full_name();
        word == full || full.split('/').any(|part| part == word)
    };
    Program::ALL.into_iter().filter(is_meant).collect()
}

/// Whether a program is there to be run.
fn installed(program: &str) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    ensure!(found, "{program} is not installed");
    Ok(())
}

impl Suite {
    /// A program, ready to be run.
    pub(super) fn program(&self, program: Program, size: Size) -> Entry {
        match self.program_workload(program, size) {
            Ok(workload) => Entry::Ready(workload),
            Err(error) => Entry::Skipped(program.full_name().into(), format!("{error:#}")),
        }
    }

    fn program_workload(&self, program: Program, size: Size) -> Result<Workload> {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let scale = match size {
            Size::Tiny => 1,
            Size::Small => 20,
            Size::Full => 100,
        };
        let mut client = None;
        let command: Vec<OsString> = match program {
            Program::Redis => {
                installed("redis-server")?;
                installed("redis-benchmark")?;
                let load = [
                    "-q",
                    "-P",
                    "16",
                    "-r",
                    "20000",
                    "-d",
                    "100",
                    "-t",
                    "set,get,lpush,sadd,hset,zadd",
                ];
                let count = (scale * 600).to_string();
                let socket = ["-s", "{tmp}/socket"];
                client = Some(Driver {
                    ready: "{tmp}/socket".into(),
                    commands: vec![
                        words(
                            &[&["redis-benchmark"][..], &socket, &["-n", &count], &load].concat(),
                        ),
                        words(&[&["redis-cli"][..], &socket, &["shutdown", "nosave"]].concat()),
                    ],
                });
                words(&[
                    "redis-server",
                    "--port",
                    "0",
                    "--unixsocket",
                    "{tmp}/socket",
                    "--save",
                    "",
                    "--dir",
                    "{tmp}",
                ])
            }
            Program::Memcached => {
                installed("memcached")?;
                let python = Language::Python.interpreter()?;
                let script = self.functions().join("suites/memcached_load.py");
                let count = (scale * 300).to_string();
                let load: Vec<OsString> =
                    vec![python.into(), script.into(), "{tmp}/socket".into(), count.into()];
                client = Some(Driver { ready: "{tmp}/socket".into(), commands: vec![load] });
                let user = nix::unistd::User::from_uid(nix::unistd::geteuid())?;
                let user = user.context("the user has no name, which memcached wants")?.name;
                words(&[
                    "memcached",
                    "-u",
                    &user,
                    "-t",
                    "2",
                    "-m",
                    "64",
                    "-A",
                    "-s",
                    "{tmp}/socket",
                ])
            }
            Program::SqliteShop => {
                let version =
                    Command::new("sqlite3").arg("--version").stdin(Stdio::null()).output();
                version.context("sqlite3 is not installed")?;
                let input = self.input("shop", size)?;
                vec![
                    "sqlite3".into(),
                    ":memory:".into(),
                    format!(".read {}", input.display()).into(),
                ]
            }
            Program::UnpackLayer => {
                vec!["sh".into(), "-c".into(), UNPACK.into(), self.input("layer", size)?.into()]
            }
            Program::StartPython => {
                vec![Language::Python.interpreter()?.into(), "-c".into(), PYTHON_SERVER.into()]
            }
            Program::StartNode => {
                vec![Language::Node.interpreter()?.into(), "-e".into(), NODE_SERVER.into()]
            }
        };
        Ok(Workload {
            name: program.full_name().into(),
            command,
            environment: vec![("LC_ALL".into(), "C".into())],
            expected: program.answer(size).map(str::to_owned),
            client,
            // Debian's redis is linked with jemalloc.
            links_allocator: program == Program::Redis,
        })
    }

    /// An input, made once.
    fn input(&self, kind: &str, size: Size) -> Result<PathBuf> {
        let directory = self.functions().join("inputs");
        let file = directory.join(format!("{kind}-{}", size.name()));
        if file.is_file() {
            return Ok(file);
        }
        std::fs::create_dir_all(&directory)?;
        // Under a name of its own until it is whole: another process may be doing the same.
        let partial = tempfile::NamedTempFile::new_in(&directory)?;
        let mut command = Command::new(Language::Python.interpreter()?);
        command.arg(self.functions().join("suites/make.py")).args([kind, size.name()]);
        let status = command.arg(partial.path()).stdin(Stdio::null()).status()?;
        ensure!(status.success(), "its input cannot be made");
        partial.persist(&file)?;
        Ok(file)
    }
}
