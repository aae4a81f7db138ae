//! The allocators that programs are compared under: the system's, memento's, and others that are found
//! or named.
//!
//! An allocator is a name and a shared object to preload; nothing else is known of it here. That an
//! object can be preloaded at all is tried out ([`Allocator::probe`]), because the dynamic loader
//! only warns when it cannot, and what is then measured is the system's allocator.

use crate::hal::HalName;
use crate::preload::{self, Instrument};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The system's allocator: the program as it is.
pub const STOCK: &str = "stock";
/// memento's software backend.
pub const MEMENTO: &str = "memento";
/// memento's emulated hardware.
pub const MEMENTO_EMU: &str = "memento-emu";

/// An allocator that programs are run with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Allocator {
    /// Its name in tables.
    pub name: String,
    /// The version that it says it is; empty if that is not known.
    pub version: String,
    /// Which package or crate it comes from, or where it was found.
    pub origin: String,
    /// The shared object that programs load before all others; none for the system's.
    #[serde(skip)]
    pub preload: Option<PathBuf>,
    /// A variable that it needs to work as it is meant to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variable: Option<(String, String)>,
}

impl Allocator {
    /// The program as it is.
    pub fn stock() -> Self {
        let version = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
        let version = version.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
        let version = version.unwrap_or_default();
        let (name, origin) = (STOCK.into(), "the system".into());
        Self { name, version, origin, preload: None, variable: None }
    }

    /// memento's own.
    ///
    /// # Errors
    /// If its shared object is not found.
    pub fn memento(hal: HalName) -> Result<Self> {
        let object = preload::find(hal, Instrument::None)?;
        let name = match hal {
            HalName::Soft => MEMENTO.into(),
            other => format!("{MEMENTO}-{other}"),
        };
        Ok(Self {
            name,
            version: env!("CARGO_PKG_VERSION").into(),
            origin: "memento".into(),
            preload: Some(object),
            variable: Some(("MEMENTO_HAL".into(), hal.name().into())),
        })
    }

    /// One that somebody names as `NAME=FILE`.
    ///
    /// # Errors
    /// If it is not of that form, or there is no such file.
    pub fn named(text: &str) -> Result<Self> {
        let (name, file) = text
            .split_once('=')
            .filter(|(name, file)| !name.is_empty() && !file.is_empty())
            .with_context(|| format!("`{text}` is not of the form NAME=FILE"))?;
        let object = std::fs::canonicalize(file).with_context(|| {
            format!("allocator {name}: {file} cannot be read; name the shared object to preload")
        })?;
        preload::check_path(&object)?;
        Ok(Self::found(name, object, String::new()))
    }

    fn found(name: &str, object: PathBuf, version: String) -> Self {
        let origin = object.display().to_string();
        Self { name: name.into(), version, origin, preload: Some(object), variable: None }
    }

    /// The variables that make a program use it.
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        let existing = std::env::var_os("LD_PRELOAD");
        let preload =
            self.preload.as_deref().map(|object| preload::chain(object, existing.as_deref()));
        let mut all: Vec<_> =
            preload.map(|chain| ("LD_PRELOAD".into(), chain)).into_iter().collect();
        all.extend(self.variable.iter().map(|(name, value)| (name.into(), value.into())));
        all
    }

    /// Tries whether the dynamic loader accepts the object.
    ///
    /// # Errors
    /// If it does not; the message is the loader's.
    pub fn probe(&self) -> Result<()> {
        let Some(object) = &self.preload else { return Ok(()) };
        // The loader lists what it would load, without running the program.
        let mut command = Command::new(std::env::current_exe().context("no name of this program")?);
        command
            .env("LD_TRACE_LOADED_OBJECTS", "1")
            .env("LD_PRELOAD", object)
            .env("LD_BIND_NOW", "1");
        let out = command.stdin(Stdio::null()).output().context("cannot try the allocator")?;
        let name = object.to_string_lossy();
        let listed = String::from_utf8_lossy(&out.stdout).lines().any(|line| line.contains(&*name));
        let complaint = String::from_utf8_lossy(&out.stderr).trim().to_owned();
        ensure!(
            listed && !complaint.contains("cannot be preloaded"),
            "allocator {}: {} cannot be preloaded: {}",
            self.name,
            object.display(),
            if complaint.is_empty() { "the dynamic loader did not load it" } else { &complaint }
        );
        Ok(())
    }
}

/// File names that allocators are installed under, the best first.
const KNOWN: [(&str, &[&str]); 7] = [
    ("jemalloc", &["libjemalloc.so.2", "libjemalloc.so"]),
    ("tcmalloc", &["libtcmalloc_minimal.so.4", "libtcmalloc.so.4", "libtcmalloc_minimal.so"]),
    ("mimalloc2", &["libmimalloc.so.2"]),
    ("mimalloc3", &["libmimalloc.so.3"]),
    ("snmalloc", &["libsnmallocshim.so"]),
    ("rpmalloc", &["librpmallocwrap.so", "librpmalloc.so"]),
    ("mesh", &["libmesh.so"]),
];

/// Peers that are installed on this machine: what `MEMENTO_PEERS`, a directory, has in a list of the
/// suite's form, then what is found where the dynamic loader looks. Those that cannot be preloaded are
/// left out.
pub fn installed() -> Vec<Allocator> {
    let mut all = Vec::new();
    if let Some(directory) = std::env::var_os("MEMENTO_PEERS").filter(|d| !d.is_empty()) {
        all.extend(listed(Path::new(&directory)).unwrap_or_default());
    }
    all.extend(search(&library_directories()));
    let mut names = BTreeSet::new();
    all.retain(|peer| names.insert(peer.name.clone()) && peer.probe().is_ok());
    all
}

fn library_directories() -> Vec<PathBuf> {
    let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
    let mut all = vec![PathBuf::from("/usr/local/lib")];
    for root in ["/usr/local/lib", "/usr/lib", "/lib"] {
        all.push(Path::new(root).join(&triple));
    }
    all.extend(["/usr/lib64", "/usr/lib"].map(PathBuf::from));
    all
}

fn search(directories: &[PathBuf]) -> Vec<Allocator> {
    let find = |(name, files): &(&str, &[&str])| {
        let mut paths = files.iter().flat_map(|file| directories.iter().map(move |d| d.join(file)));
        let object = std::fs::canonicalize(paths.find(|path| path.is_file())?).ok()?;
        preload::check_path(&object).ok()?;
        Some(Allocator::found(name, object, String::new()))
    };
    KNOWN.iter().filter_map(find).collect()
}

/// The peers that `benches/peers/build` left in `directory`.
///
/// # Errors
/// If it has not run, or an object of its list is gone.
pub fn listed(directory: &Path) -> Result<Vec<Allocator>> {
    let list = directory.join("peers.tsv");
    let text = std::fs::read_to_string(&list).with_context(|| {
        format!("{} is not there: build the peers with benches/peers/build", list.display())
    })?;
    let peers = parse(&text).with_context(|| format!("{} is damaged", list.display()))?;
    for peer in &peers {
        let object = peer.preload.as_deref().unwrap_or(Path::new(""));
        ensure!(object.is_file(), "{}: {} is gone", peer.name, object.display());
    }
    Ok(peers)
}

fn parse(text: &str) -> Result<Vec<Allocator>> {
    let peer = |line: &str| match line.split('\t').collect::<Vec<_>>()[..] {
        [name, version, file, origin, variable] => Ok(Allocator {
            name: name.into(),
            version: version.into(),
            origin: origin.into(),
            preload: Some(file.into()),
            variable: variable.split_once('=').map(|(name, value)| (name.into(), value.into())),
        }),
        _ => bail!("not five columns: {line}"),
    };
    let mut peers = text.lines().map(peer).collect::<Result<Vec<_>>>()?;
    // The order of the table, not of building.
    peers.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(peers)
}

/// Those of `all` that are named, in the order of `all`; everything if nothing is named.
///
/// # Errors
/// If a name is nobody's.
pub fn select(all: Vec<Allocator>, names: &[String]) -> Result<Vec<Allocator>> {
    for name in names {
        if !all.iter().any(|allocator| allocator.name == *name) {
            let known: Vec<_> = all.iter().map(|a| a.name.as_str()).collect();
            bail!("no allocator is called {name}; there are {}", known.join(", "));
        }
    }
    Ok(all.into_iter().filter(|a| names.is_empty() || names.contains(&a.name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str =
        "snmalloc\t0.7\t/x/sn.so\tcrate a\t\njemalloc\t5.3\t/x/je.so\tcrate b\tA=b=c\n";

    #[test]
    fn the_list_of_peers_is_read_and_sorted() {
        let peers = parse(LIST).unwrap();
        assert_eq!(peers[0].name, "jemalloc");
        assert_eq!(peers[1].preload, Some("/x/sn.so".into()));
        assert_eq!(peers[0].variable, Some(("A".into(), "b=c".into())));
        assert_eq!(peers[1].variable, None);
        assert!(parse("a\tb\n").is_err());
    }

    #[test]
    fn an_object_that_is_gone_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let error = listed(directory.path()).unwrap_err();
        assert!(error.to_string().contains("benches/peers/build"), "{error}");
        std::fs::write(directory.path().join("peers.tsv"), LIST).unwrap();
        let error = listed(directory.path()).unwrap_err();
        assert!(error.to_string().contains("je.so is gone"), "{error}");
    }

    #[test]
    fn unknown_names_are_refused() {
        let all = || parse(LIST).unwrap();
        assert_eq!(select(all(), &[]).unwrap().len(), 2);
        assert_eq!(select(all(), &["snmalloc".into()]).unwrap()[0].name, "snmalloc");
        let error = select(all(), &["malloc".into()]).unwrap_err().to_string();
        assert!(error.contains("there are jemalloc, snmalloc"), "{error}");
    }

    #[test]
    fn peers_are_found_by_their_files() {
        let directory = tempfile::tempdir().unwrap();
        for file in ["libjemalloc.so", "libmimalloc.so.3", "libother.so"] {
            std::fs::write(directory.path().join(file), "").unwrap();
        }
        let found = search(&[directory.path().into()]);
        let names: Vec<_> = found.iter().map(|a| a.name.as_str()).collect();
        assert_eq!(names, ["jemalloc", "mimalloc3"]);
    }

    #[test]
    fn what_is_named_must_be_there_and_loadable() {
        let error = |text: &str| format!("{:#}", Allocator::named(text).unwrap_err());
        assert!(error("jemalloc").contains("NAME=FILE"), "{}", error("jemalloc"));
        assert!(error("x=/no/such.so").contains("/no/such.so cannot be read"));
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("x.so");
        std::fs::write(&file, "not an object").unwrap();
        let named = Allocator::named(&format!("x={}", file.display())).unwrap();
        let error = named.probe().unwrap_err().to_string();
        assert!(error.contains("allocator x") && error.contains("cannot be preloaded"), "{error}");
        Allocator::stock().probe().unwrap();
    }
}
