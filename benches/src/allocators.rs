//! What is preloaded: the system's allocator (nothing), memento, and the peers.

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The name of the system's allocator: the program as it is.
pub const SYSTEM: &str = "glibc";
/// The name of the allocator that the others are peers of.
pub const MEMENTO: &str = "memento";

/// An allocator that programs are run with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Allocator {
    /// Its name in tables.
    pub name: String,
    /// The version that it says it is.
    pub version: String,
    /// Which package or crate it comes from.
    pub origin: String,
    /// The shared object that programs load before all others; none for the system's.
    #[serde(skip)]
    pub preload: Option<PathBuf>,
    /// A variable that it needs to work as it is meant to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variable: Option<(String, String)>,
}

/// The system's allocator.
pub fn system() -> Allocator {
    let version = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let version = version.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
    let version = version.unwrap_or_default().trim_start_matches("glibc ").to_owned();
    let (name, origin) = (SYSTEM.into(), "the system".into());
    Allocator { name, version, origin, preload: None, variable: None }
}

/// memento's shared object; the version is that of this workspace.
///
/// # Errors
/// If it is not there.
pub fn memento(object: &Path) -> Result<Allocator> {
    let preload = std::fs::canonicalize(object).with_context(|| {
        format!("{} is not there: build it with scripts/build-shims", object.display())
    })?;
    Ok(Allocator {
        name: MEMENTO.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        origin: "this workspace".into(),
        preload: Some(preload),
        variable: None,
    })
}

/// The peers that `benches/peers/build` left in `directory`.
///
/// # Errors
/// If it has not run, or an object of its list is gone.
pub fn peers(directory: &Path) -> Result<Vec<Allocator>> {
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
        let error = peers(directory.path()).unwrap_err();
        assert!(error.to_string().contains("benches/peers/build"), "{error}");
        std::fs::write(directory.path().join("peers.tsv"), LIST).unwrap();
        let error = peers(directory.path()).unwrap_err();
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
}
