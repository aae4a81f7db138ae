//! The suites of data processing and platform operations: programs that are installed, on inputs that are
//! made once. What they answer is known.
//!
//! [`data`] has what keeps and asks for data, [`platform`] what a platform does around a function.

use super::{Entry, Language, Size, Suite};
use crate::bench::workload::Workload;
use anyhow::{Result, ensure};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

mod data;
mod platform;

pub(super) use platform::TARBALLS;

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
    /// A C++ store under a client with a shop's load.
    Store,
    /// A container image's layer unpacked, read and removed.
    UnpackLayer,
    /// Containers created, started and deleted.
    Containers,
    /// Python packages installed from local wheels.
    InstallWheels,
    /// Node packages installed from local tarballs.
    InstallTarballs,
    /// A Python server's start.
    StartPython,
    /// A Node server's start.
    StartNode,
}

impl Program {
    const ALL: [Self; 10] = [
        Self::SqliteShop,
        Self::Redis,
        Self::Memcached,
        Self::Store,
        Self::UnpackLayer,
        Self::Containers,
        Self::InstallWheels,
        Self::InstallTarballs,
        Self::StartPython,
        Self::StartNode,
    ];

    pub(super) fn full_name(self) -> &'static str {
        match self {
            Self::SqliteShop => "data/sqlite_shop",
            Self::Redis => "data/redis",
            Self::Memcached => "data/memcached",
            Self::Store => "data/store",
            Self::UnpackLayer => "platform/unpack_layer",
            Self::Containers => "platform/containers",
            Self::InstallWheels => "platform/install_wheels",
            Self::InstallTarballs => "platform/install_tarballs",
            Self::StartPython => "platform/start_python",
            Self::StartNode => "platform/start_node",
        }
    }

    /// What it writes to its standard output. None of servers of others, whose answers their clients check.
    fn answer(self, size: Size) -> Option<String> {
        let [tiny, small, full] = match self {
            Self::Redis | Self::Memcached => return None,
            Self::SqliteShop => [
                "56|536753|1748\nCity 0|68428\nCity 30|65313\nCity 1|61133\nP-0|2\nP-474|2\nP-498|2\n",
                "2823|28476899|84713\nCity 8|1115813\nCity 30|1103056\nCity 19|984679\nP-179|16\nP-126|13\nP-263|13\n",
                "18823|187700369|561937\nCity 11|6107354\nCity 26|5611550\nCity 39|5608251\nP-353|57\nP-249|54\nP-232|53\n",
            ],
            Self::Store => {
                ["262 61c52e03 16043\n", "5184 b0a4a3c6 333717\n", "25875 d50a7678 1841104\n"]
            }
            Self::UnpackLayer => {
                ["4256678975 46968\n", "2448342201 1535224\n", "1217927989 9805945\n"]
            }
            Self::Containers => return Some("852505425 8893\n".repeat(platform::containers(size))),
            Self::InstallWheels => {
                ["2963262181 304809\n", "1697466535 820035\n", "3989402506 6041856\n"]
            }
            Self::InstallTarballs => {
                ["1536163817 5978\n", "3582978556 114706\n", "29090091 3082035\n"]
            }
            Self::StartPython | Self::StartNode => ["ready\n"; 3],
        };
        let answer = match size {
            Size::Tiny => tiny,
            Size::Small => small,
            Size::Full => full,
        };
        Some(answer.to_owned())
    }
}

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

/// Words of a command line.
fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

impl Suite {
    /// A program, ready to be run.
    pub(super) fn program(&self, program: Program, size: Size) -> Entry {
        match self.program_workload(program, size) {
            Ok(workload) => Entry::Ready(Workload {
                name: program.full_name().into(),
                environment: vec![("LC_ALL".into(), "C".into())],
                expected: program.answer(size),
                ..workload
            }),
            Err(error) => Entry::Skipped(program.full_name().into(), format!("{error:#}")),
        }
    }

    fn program_workload(&self, program: Program, size: Size) -> Result<Workload> {
        match program {
            Program::SqliteShop => self.sqlite_shop(size),
            Program::Redis => Self::redis(size),
            Program::Memcached => self.memcached(size),
            Program::Store => self.store(size),
            Program::UnpackLayer => self.unpack_layer(size),
            Program::Containers => self.containers(size),
            Program::InstallWheels => self.install_wheels(size),
            Program::InstallTarballs => self.install_tarballs(size),
            Program::StartPython => platform::start(Language::Python),
            Program::StartNode => platform::start(Language::Node),
        }
    }

    /// A file of the suites.
    fn script(&self, name: &str) -> PathBuf {
        self.functions().join("suites").join(name)
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
        command.arg(self.script("make.py")).args([kind, size.name()]);
        let status = command.arg(partial.path()).stdin(Stdio::null()).status()?;
        ensure!(status.success(), "its input cannot be made");
        partial.persist(&file)?;
        Ok(file)
    }
}
