//! What stands in the way, and what only costs: each finding with what to do about it.

use super::identity::Identity;
use super::{Patient, Surroundings, bindings};
use crate::env::Runtime;
use crate::program::Obstacle;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};
use serde::Serialize;
use serde_json::Value;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Memento does not serve, or not all.
    Problem,
    /// It serves, at a price.
    Warning,
    /// Worth knowing.
    Note,
}

/// Something found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What it is.
    pub text: String,
    /// What to do; empty if there is nothing.
    pub remedy: String,
}

impl Finding {
    fn new(level: Level, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level, text: text.into(), remedy: remedy.into() }
    }

    /// Whether it keeps memento from serving.
    pub fn is_problem(&self) -> bool {
        self.level == Level::Problem
    }
}

/// A runtime's name in documents.
pub fn name(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::C => "c",
        Runtime::Python => "python",
        Runtime::Node => "node",
    }
}

/// All findings about a command. `proved`: whether its own process loaded the shared object.
pub fn of(
    surroundings: &Surroundings,
    identity: &Identity,
    obstacle: Option<Obstacle>,
    patients: &[Patient],
    proved: bool,
) -> Vec<Finding> {
    let mut found = Vec::new();
    if !proved {
        found.push(not_loaded(obstacle.as_ref()));
    }
    for patient in patients {
        found.extend(of_patient(patient));
    }
    if proved && let Some(missing) = missing_runtime(identity, patients) {
        found.push(missing);
    }
    found.extend(of_surroundings(surroundings));
    found
}

fn not_loaded(obstacle: Option<&Obstacle>) -> Finding {
    let Some(obstacle) = obstacle else {
        let text = "its process left no proof of loading, although it is dynamically linked";
        let remedy = "LD_DEBUG=libs shows what the loader made of LD_PRELOAD; the program may run as another user, who \
                      cannot write the proof, or have cleared its environment";
        return Finding::new(Level::Problem, text, remedy);
    };
    let remedy = match obstacle {
        Obstacle::Static(_) => "link it dynamically, or against libmemento.a",
        Obstacle::Privileged(..) => {
            "run it by a user who has the rights, without setuid, setgid or file capabilities"
        }
        Obstacle::OtherLibc(..) => {
            "use an image with glibc; musl is not supported by the shared objects"
        }
        Obstacle::ThirtyTwoBit(_) | Obstacle::OtherCpu(..) => "use a build for this CPU",
        Obstacle::Missing(_)
        | Obstacle::NotExecutable(_)
        | Obstacle::Unreadable(..)
        | Obstacle::Malformed(..) => "check the path and its permissions",
    };
    Finding::new(Level::Problem, obstacle.to_string(), remedy)
}

fn of_patient(patient: &Patient) -> Vec<Finding> {
    let mut found = Vec::new();
    let who = format!("process {} ({})", patient.pid, patient.argv0);
    if patient.allocations.is_none() {
        let text = format!("{who} loaded memento, but its counters cannot be read");
        found.push(Finding::new(
            Level::Warning,
            text,
            "a full disk, or a limit on file sizes (ulimit -f)",
        ));
    }
    for (caller, server) in &patient.elsewhere {
        let (text, remedy) = if let Some(allocator) = bindings::allocator(server) {
            (
                format!("{who}: {allocator} ({server}) serves {caller}"),
                "only one allocator can serve: take the other out of LD_PRELOAD, /etc/ld.so.preload or the program's libraries",
            )
        } else if bindings::is_libc(server) {
            (
                format!(
                    "{who}: {caller} got the C library's malloc: it was loaded with RTLD_DEEPBIND, or by dlmopen"
                ),
                "load it without RTLD_DEEPBIND; objects that pass between it and the rest cannot be freed there",
            )
        } else {
            (
                format!(
                    "{who}: {caller} has malloc from {server}, which brings an allocator of its own"
                ),
                "build the program without it",
            )
        };
        found.push(Finding::new(Level::Problem, text, remedy));
    }
    for (runtime, said) in [("Python", &patient.python), ("Node", &patient.node)] {
        let reason = said.as_ref().and_then(|said| said["left_alone"].as_str());
        if let Some(reason) = reason {
            let text =
                format!("{who}: {runtime}'s own memory is left alone: {reason}; malloc is served");
            found.push(Finding::new(Level::Problem, text, "run it without that"));
        }
    }
    if let Some(domains) = patient.python.as_ref().map(|said| &said["domains"])
        && [&domains["mem"], &domains["obj"]].contains(&&Value::from("another"))
        && patient.python.as_ref().is_some_and(|said| said["left_alone"].is_null())
    {
        let text = format!(
            "{who}: at its end, something else had put itself before Python's allocators (tracemalloc, debug hooks)"
        );
        found.push(Finding::new(
            Level::Warning,
            text,
            "expected while tracing; memento serves behind it",
        ));
    }
    found
}

/// The command is a Python or Node, and no process said that its memory is memento's.
fn missing_runtime(identity: &Identity, patients: &[Patient]) -> Option<Finding> {
    let said = match identity.runtime? {
        Runtime::C => return None,
        Runtime::Python => patients.iter().any(|patient| patient.python.is_some()),
        Runtime::Node => patients.iter().any(|patient| patient.node.is_some()),
    };
    let text = "malloc is served, but no process told at its end who serves its language runtime";
    let remedy =
        "a process that ends by a signal or _exit tells nothing: try a command that ends by itself";
    (!said).then(|| Finding::new(Level::Warning, text, remedy))
}

fn of_surroundings(surroundings: &Surroundings) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in &surroundings.preloaded {
        if let Some(allocator) = bindings::allocator(file) {
            let text = format!("{allocator} is preloaded as well ({file})");
            found.push(Finding::new(
                Level::Warning,
                text,
                "memento comes first and serves; the other only costs its loading: take it out",
            ));
        }
    }
    match surroundings.huge_pages.as_str() {
        "never" => found.push(Finding::new(
            Level::Warning,
            "the kernel gives no huge pages (transparent_hugepage/enabled is never): large heaps fault in small pages",
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
        )),
        "always" => found.push(Finding::new(
            Level::Note,
            "the kernel uses huge pages wherever it can (transparent_hugepage/enabled is always): resident memory is the kernel's choice",
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled, to leave it to memento's bounds",
        )),
        _ => {}
    }
    if surroundings.overcommit_memory == Some(2) {
        let text = "vm.overcommit_memory is 2: what is committed counts in full against the limit, used or not";
        found.push(Finding::new(
            Level::Note,
            text,
            "memento reserves without committing; no action is needed",
        ));
    }
    if let Some(bytes) = surroundings.address_space {
        let text = format!(
            "address space is limited (ulimit -v) to {} MiB: memento's region is half of it, and V8's pages stay where V8 puts them",
            bytes >> 20
        );
        found.push(Finding::new(
            Level::Warning,
            text,
            "limit resident memory by a control group instead",
        ));
    }
    found
}

/// What the shared object needs of the loader.
pub fn of_object(file: &[u8]) -> Option<Finding> {
    let header = elf::FileHeader64::<object::Endianness>::parse(file).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, file).ok()?;
    let tls = segments.iter().find(|segment| segment.p_type(endian) == elf::PT_TLS)?;
    let text = format!(
        "static TLS: the shared object needs {} bytes, which a preload always gets, and dlopen only while there are some left",
        tls.p_memsz(endian)
    );
    Some(Finding::new(Level::Note, text, "preload it; do not load it with dlopen"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings() -> Surroundings {
        Surroundings {
            huge_pages: "madvise".into(),
            overcommit_memory: Some(0),
            address_space: None,
            preloaded: vec!["libm.so.6".into()],
        }
    }

    fn patient() -> Patient {
        Patient {
            pid: 7,
            argv0: "app".into(),
            allocations: Some(3),
            python: None,
            node: None,
            elsewhere: vec![],
        }
    }

    /// Levels and texts of what is found about one process.
    fn found(surroundings: &Surroundings, patient: Patient) -> Vec<(Level, String)> {
        let all = of(surroundings, &Identity::default(), None, &[patient], true);
        all.into_iter().map(|finding| (finding.level, finding.text)).collect()
    }

    #[test]
    fn nothing_stands_in_the_way_of_an_ordinary_program() {
        assert_eq!(found(&surroundings(), patient()), []);
    }

    #[test]
    fn the_systems_settings_cost_but_do_not_prevent() {
        for (change, level, part) in [
            (
                Surroundings { huge_pages: "never".into(), ..surroundings() },
                Level::Warning,
                "never",
            ),
            (Surroundings { huge_pages: "always".into(), ..surroundings() }, Level::Note, "always"),
            (Surroundings { overcommit_memory: Some(2), ..surroundings() }, Level::Note, "is 2"),
            (
                Surroundings { address_space: Some(1 << 30), ..surroundings() },
                Level::Warning,
                "1024 MiB",
            ),
            (
                Surroundings { preloaded: vec!["/x/libtcmalloc.so".into()], ..surroundings() },
                Level::Warning,
                "tcmalloc is preloaded",
            ),
        ] {
            let got = found(&change, patient());
            assert!(
                matches!(&got[..], [(l, text)] if *l == level && text.contains(part)),
                "{got:?}"
            );
        }
    }

    #[test]
    fn memory_from_elsewhere_is_a_problem_by_its_kind() {
        for (server, part) in [
            ("/usr/lib/libjemalloc.so.2", "jemalloc"),
            ("/lib/x86_64-linux-gnu/libc.so.6", "RTLD_DEEPBIND"),
            ("/opt/app/bin/app", "an allocator of its own"),
        ] {
            let elsewhere = vec![("/opt/plugin.so".into(), server.into())];
            let got = found(&surroundings(), Patient { elsewhere, ..patient() });
            assert!(matches!(&got[..], [(Level::Problem, text)] if text.contains(part)), "{got:?}");
        }
    }

    #[test]
    fn a_runtime_that_says_nothing_is_noticed() {
        let python = Identity { way: vec![], runtime: Some(Runtime::Python) };
        let silent = of(&surroundings(), &python, None, &[patient()], true);
        assert!(silent.len() == 1 && silent[0].level == Level::Warning, "{silent:?}");
        let said = serde_json::json!({"domains": {"obj": "memento", "mem": "memento"}});
        let told = Patient { python: Some(said), ..patient() };
        assert_eq!(of(&surroundings(), &python, None, &[told], true), []);
    }

    #[test]
    fn every_obstacle_has_a_remedy() {
        let path = || std::path::PathBuf::from("/app");
        for obstacle in [
            Obstacle::Static(path()),
            Obstacle::Privileged(path(), "setuid"),
            Obstacle::OtherLibc(path(), "musl".into()),
            Obstacle::ThirtyTwoBit(path()),
        ] {
            let got = of(&surroundings(), &Identity::default(), Some(obstacle.clone()), &[], false);
            assert!(got[0].is_problem() && got[0].text == obstacle.to_string(), "{got:?}");
            assert!(!got[0].remedy.is_empty());
        }
    }
}
