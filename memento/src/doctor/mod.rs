//! `memento doctor`: does memento serve this command, whom in it, and what stands in the way?
//!
//! Three sources, each for what it alone knows: the files say in advance what the command is
//! ([`identity`], [`program`]); the processes, run for real with the counting shared object, leave counters
//! and say who serves their language runtime; the dynamic loader records who serves each caller
//! ([`bindings`]). [`findings`] puts them together, [`page`] shows them.

pub mod bindings;
pub mod findings;
pub mod identity;
mod page;

use crate::counters::{Collector, Image};
use crate::engine::child;
use crate::engine::{Exit, Job};
use crate::hal::HalName;
use crate::preload::{self, Instrument};
use crate::program;
use anyhow::{Context, Result};
use bindings::{Bindings, Elsewhere};
use findings::Finding;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

pub use page::page;

/// Name of the document.
pub const SCHEMA: &str = "memento.doctor/1";
/// Start of the names of the loader's records.
const RECORD: &str = "bindings";

/// The settings of this system, and of whoever started us, that matter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Surroundings {
    /// When the kernel uses huge pages.
    pub huge_pages: String,
    /// `vm.overcommit_memory`.
    pub overcommit_memory: Option<u32>,
    /// The soft limit of address space, in bytes.
    pub address_space: Option<u64>,
    /// What is preloaded besides: `LD_PRELOAD` and `/etc/ld.so.preload`.
    pub preloaded: Vec<String>,
}

/// One process image that was seen.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Patient {
    /// Its id.
    pub pid: u32,
    /// Its program's name.
    pub argv0: String,
    /// How many objects it allocated through memento; `None` if that is not known.
    pub allocations: Option<u64>,
    /// Who serves the domains of its language runtime, as it said at its end.
    pub python: Option<Value>,
    /// The same of V8.
    pub node: Option<Value>,
    /// Whose memory comes from elsewhere: caller and server.
    pub elsewhere: Vec<(String, String)>,
}

/// The document.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Diagnosis {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The command.
    pub command: Vec<String>,
    /// How it ended.
    pub exit: Exit,
    /// Whether every process that was seen is served, and nothing is a problem.
    pub served: bool,
    /// The shared object.
    pub object: PathBuf,
    /// The command's programs, as its files tell.
    pub way: Vec<PathBuf>,
    /// Its language, as its files tell: `c`, `python`, `node`.
    pub runtime: Option<&'static str>,
    /// The system.
    pub surroundings: Surroundings,
    /// The processes that proved that they had loaded it.
    pub processes: Vec<Patient>,
    /// What was found, problems first.
    pub findings: Vec<Finding>,
}

/// Runs the command and examines it.
///
/// # Errors
/// If it could not be run.
pub fn run(command: Vec<OsString>) -> Result<Diagnosis> {
    let object = preload::find(HalName::Soft, Instrument::Count)?;
    let collector = Collector::new()?;
    let identity = identity::identify(&command, &|name| program::find(name).ok());
    let obstacle = command.first().and_then(|name| program::obstacle(name));
    let surroundings = surroundings();
    let ended = child::run(&job(&command, &object, collector.path()))?;

    let images = collector.images(ended.pid)?;
    let mut records = bindings::read(collector.path(), RECORD, &object);
    let mut documents = documents(&collector)?;
    // What a process says at its end, and what the loader wrote of it, go to its last image: the one that
    // was executed last.
    let patients: Vec<_> = images
        .iter()
        .enumerate()
        .map(|(at, image)| {
            let is_last = images[at + 1..].iter().all(|later| later.pid != image.pid);
            let said = if is_last { documents.remove(&image.pid) } else { None };
            let record = if is_last { records.remove(&image.pid) } else { None };
            patient(image, record.unwrap_or_default(), &said.unwrap_or_default())
        })
        .collect();
    let root = patients.iter().any(|patient| patient.pid == ended.pid);
    let mut findings =
        findings::of(&surroundings, &identity, obstacle.filter(|_| !root), &patients, root);
    findings
        .extend(findings::of_object(&fs::read(&object).context("cannot read the shared object")?));
    findings.sort_by_key(|finding| finding.level);
    Ok(Diagnosis {
        schema: SCHEMA,
        command: command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        exit: ended.sample.exit,
        served: !findings.iter().any(Finding::is_problem),
        object,
        runtime: identity.runtime.map(findings::name),
        way: identity.way,
        surroundings,
        processes: patients,
        findings,
    })
}

fn job(command: &[OsString], object: &Path, directory: &Path) -> Job {
    let mut environment = preload::variables(object, HalName::Soft);
    environment.extend([
        ("MEMENTO_REPORT".into(), directory.into()),
        ("MEMENTO_DOCTOR".into(), "1".into()),
        ("LD_DEBUG".into(), "bindings".into()),
        ("LD_DEBUG_OUTPUT".into(), directory.join(RECORD).into()),
    ]);
    Job { command: command.to_vec(), environment }
}

/// What each process said of its domains at its end.
fn documents(collector: &Collector) -> Result<BTreeMap<u32, Vec<Value>>> {
    let parse = |path: &Path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    Ok(collector.files(".domains")?.iter().map(|file| (file.pid, parse(&file.path))).collect())
}

fn patient(image: &Image, record: Bindings, said: &[Value]) -> Patient {
    let of = |schema: &str, part: &str| {
        let told = |d: &&Value| d[part].as_object().is_some_and(|o| !o.is_empty());
        said.iter()
            .find(|d| d["schema"] == schema && (told(d) || !d["left_alone"].is_null()))
            .cloned()
    };
    let counted = image.counters.as_ref().ok();
    let pair = |Elsewhere { caller, server }| (caller, server);
    Patient {
        pid: image.pid,
        argv0: image.argv0.clone(),
        allocations: counted.map(|c| c.allocs.iter().sum::<u64>() + c.software_allocs),
        python: of("memento.python/1", "domains"),
        node: of("memento.node/1", "heap_pages"),
        elsewhere: record.elsewhere.into_iter().map(pair).collect(),
    }
}

fn surroundings() -> Surroundings {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let listed =
        std::env::var("LD_PRELOAD").unwrap_or_default() + "\n" + &read("/etc/ld.so.preload");
    let names = listed.split([' ', ':', '\n', '\t']).filter(|name| !name.is_empty());
    Surroundings {
        huge_pages: crate::engine::host::Host::this().huge_pages,
        overcommit_memory: read("/proc/sys/vm/overcommit_memory").trim().parse().ok(),
        address_space: rustix::process::getrlimit(rustix::process::Resource::As).current,
        preloaded: names.map(str::to_owned).collect(),
    }
}
