//! Who serves whom, by the dynamic loader's own record (`LD_DEBUG=bindings`): which object's `malloc` each
//! caller in a process got.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The functions that hand memory out and take it back.
const FUNCTIONS: [&str; 9] = [
    "malloc",
    "calloc",
    "realloc",
    "free",
    "posix_memalign",
    "aligned_alloc",
    "memalign",
    "_Znwm",
    "_ZdlPv",
];
/// Parts of the names of files that other allocators come in.
const ALLOCATORS: [&str; 9] = [
    "jemalloc",
    "tcmalloc",
    "mimalloc",
    "snmalloc",
    "rpmalloc",
    "hoard",
    "mesh",
    "scudo",
    "hardened_malloc",
];

/// The name of the allocator that a file is, if it is a known one.
pub fn allocator(file: &str) -> Option<&'static str> {
    let name = Path::new(file).file_name()?.to_str()?;
    ALLOCATORS.into_iter().find(|allocator| name.contains(allocator))
}

/// A caller that gets memory from elsewhere than memento.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Elsewhere {
    /// The file that calls.
    pub caller: String,
    /// The file that serves.
    pub server: String,
}

/// What one process's record says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bindings {
    /// Whether memento serves anybody.
    pub served: bool,
    /// Who is served by others.
    pub elsewhere: BTreeSet<Elsewhere>,
}

/// Reads the records `<prefix>.<pid>` in a directory.
pub fn read(directory: &Path, prefix: &str, shim: &Path) -> BTreeMap<u32, Bindings> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let records = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let pid = name.strip_prefix(prefix)?.strip_prefix('.')?.parse().ok()?;
        Some((pid, parse(&String::from_utf8_lossy(&fs::read(entry.path()).ok()?), shim)))
    });
    records.collect()
}

/// Whether a file is the C library.
pub fn is_libc(file: &str) -> bool {
    file.contains("/libc.so") || file.contains("/libc-2")
}

/// Reads one record.
pub fn parse(text: &str, shim: &Path) -> Bindings {
    let shim = shim.to_string_lossy();
    let all: Vec<_> = text.lines().filter_map(line).collect();
    let mut bindings = Bindings::default();
    for (caller, server, symbol) in all.iter().filter(|(_, _, symbol)| FUNCTIONS.contains(symbol)) {
        if *server == shim {
            bindings.served |= *caller != shim;
            continue;
        }
        // The C library's own calls go to memento, and its malloc is one nonetheless. But a program that takes the address of `malloc`, or has an `operator new` of its own, is bound to
        // itself, and from there on.
        let leads_on = !is_libc(server)
            && all.iter().any(|(from, to, other)| {
                from == server
                    && *to == shim
                    && (other == symbol || symbol.starts_with("_Z") && *other == "malloc")
            });
        if !leads_on {
            let (caller, server) = ((*caller).to_owned(), (*server).to_owned());
            bindings.elsewhere.insert(Elsewhere { caller, server });
        }
    }
    bindings
}

/// `binding file CALLER [0] to SERVER [0]: normal symbol `NAME'`.
fn line(line: &str) -> Option<(&str, &str, &str)> {
    let (_, rest) = line.split_once("binding file ")?;
    let (caller, rest) = rest.split_once(" [")?;
    let (_, rest) = rest.split_once("] to ")?;
    let (server, rest) = rest.split_once(" [")?;
    let (_, rest) = rest.split_once("symbol `")?;
    Some((caller, server, rest.split_once('\'')?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(bindings: &[(&str, &str, &str)]) -> Bindings {
        let lines = bindings.iter().map(|(caller, server, symbol)| {
            format!(
                " 7:\tbinding file {caller} [0] to {server} [0]: normal symbol `{symbol}' [V]\n"
            )
        });
        parse(&lines.collect::<String>(), Path::new("/m.so"))
    }

    #[test]
    fn callers_that_others_serve_are_named() {
        let got = record(&[
            ("app", "/m.so", "malloc"),
            ("/lib/plugin.so", "/lib/libc.so.6", "free"),
            ("/lib/plugin.so", "/lib/libc.so.6", "malloc"),
            ("/lib/libc.so.6", "/m.so", "malloc"),
            ("app", "/lib/libc.so.6", "puts"),
        ]);
        let want = Elsewhere { caller: "/lib/plugin.so".into(), server: "/lib/libc.so.6".into() };
        assert_eq!((got.served, got.elsewhere), (true, BTreeSet::from([want])));
    }

    #[test]
    fn what_leads_on_to_memento_is_memento() {
        let got =
            record(&[("libc", "app", "malloc"), ("app", "/m.so", "malloc"), ("x", "app", "_Znwm")]);
        assert!(got.served && got.elsewhere.is_empty(), "{got:?}");
        assert!(!record(&[("/m.so", "/m.so", "_Znwm")]).served, "it serves only itself");
    }

    #[test]
    fn allocators_are_known_by_their_files() {
        assert_eq!(allocator("/usr/lib/libjemalloc.so.2"), Some("jemalloc"));
        assert_eq!(allocator("/opt/mimalloc/libc.so.6"), None, "the file's name counts");
    }
}
