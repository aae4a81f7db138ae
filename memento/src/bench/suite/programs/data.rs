//! Data processing: servers under a client that is in no sample, and a database.

use super::{Language, Size, Suite, installed, words};
use crate::bench::workload::Workload;
use crate::engine::client::Driver;
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::process::{Command, Stdio};

/// Where servers listen.
const SOCKET: &str = "{tmp}/socket";

/// How many times a load is that of the smallest size.
fn scale(size: Size) -> u32 {
    match size {
        Size::Tiny => 1,
        Size::Small => 20,
        Size::Full => 100,
    }
}

/// A server, and what its client does once it listens.
fn server(command: Vec<OsString>, commands: Vec<Vec<OsString>>) -> Workload {
    let client = Some(Driver { ready: SOCKET.into(), commands });
    Workload { command, client, ..Workload::default() }
}

impl Suite {
    pub(super) fn sqlite_shop(&self, size: Size) -> Result<Workload> {
        let version = Command::new("sqlite3").arg("--version").stdin(Stdio::null()).output();
        version.context("sqlite3 is not installed")?;
        let read = format!(".read {}", self.input("shop", size)?.display());
        Ok(Workload { command: words(&["sqlite3", ":memory:", &read]), ..Workload::default() })
    }

    pub(super) fn redis(size: Size) -> Result<Workload> {
        installed("redis-server")?;
        installed("redis-benchmark")?;
        let count = (scale(size) * 600).to_string();
        let mut load = words(&["redis-benchmark", "-s", SOCKET, "-n", &count, "-q", "-P", "16"]);
        load.extend(words(&["-r", "20000", "-d", "100", "-t", "set,get,lpush,sadd,hset,zadd"]));
        let end = words(&["redis-cli", "-s", SOCKET, "shutdown", "nosave"]);
        let mut command = words(&["redis-server", "--port", "0", "--unixsocket", SOCKET]);
        command.extend(words(&["--save", "", "--dir", "{tmp}"]));
        // Debian's is linked with jemalloc.
        Ok(Workload { links_allocator: true, ..server(command, vec![load, end]) })
    }

    pub(super) fn memcached(&self, size: Size) -> Result<Workload> {
        installed("memcached")?;
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid())?;
        let user = user.context("the user has no name, which memcached wants")?.name;
        let mut command = words(&["memcached", "-u", &user, "-t", "2", "-m", "64", "-A"]);
        command.extend(words(&["-s", SOCKET]));
        Ok(server(command, vec![self.python_client("memcached_load.py", scale(size) * 300)?]))
    }

    pub(super) fn store(&self, size: Size) -> Result<Workload> {
        let source = self.script("store.cpp");
        let program = self.compiled(&Language::Cpp.interpreter()?, &source, "store")?;
        let command = vec![program.into(), SOCKET.into()];
        Ok(server(command, vec![self.python_client("store_load.py", scale(size) * 300)?]))
    }

    /// A client in Python, which ends its server too.
    fn python_client(&self, script: &str, count: u32) -> Result<Vec<OsString>> {
        let python = Language::Python.interpreter()?;
        let script = self.script(script);
        Ok(vec![python.into(), script.into(), SOCKET.into(), count.to_string().into()])
    }
}
