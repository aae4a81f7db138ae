//! Proof that a shared object served a program: the loader's own record of what it bound to what.
//!
//! A preload that silently did not load would pass every comparison. `LD_DEBUG=bindings` makes the
//! loader of every process, in the program's whole tree, write which object's `malloc` it bound
//! each caller to.

use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Records the bindings of a command's whole process tree.
#[derive(Debug)]
pub struct Bindings {
    record: TempDir,
}

impl Bindings {
    /// Asks the loader, through `command`'s environment, for its record.
    ///
    /// # Panics
    /// If there is no temporary directory.
    pub fn of(command: &mut Command) -> Self {
        let record = tempfile::tempdir().expect("a temporary directory");
        command.env("LD_DEBUG", "bindings").env("LD_DEBUG_OUTPUT", record.path().join("process"));
        Self { record }
    }

    /// Number of processes whose program got all its allocation functions from `shim`.
    ///
    /// # Panics
    /// With the loader's line if any caller in any process got one from elsewhere.
    pub fn served_by(&self, shim: &Path) -> usize {
        let shim = shim.to_str().expect("the path is text");
        let mut processes = 0;
        for entry in std::fs::read_dir(self.record.path()).expect("the directory is there") {
            let bytes = std::fs::read(entry.expect("an entry").path()).expect("a record");
            let text = String::from_utf8_lossy(&bytes);
            let mut served = false;
            // A program linked at a fixed address that takes malloc's address has an entry of its
            // own for it, which only jumps on to what the program itself is bound to. And a program
            // may have an `operator new` of its own, over the shim's malloc.
            let bindings: Vec<_> = text.lines().filter_map(Binding::parse).collect();
            let entry = |b: &Binding| {
                let leads_on = |symbol| symbol == b.symbol || b.is_operator() && symbol == "malloc";
                bindings.iter().any(|p| p.from == b.to && p.to == shim && leads_on(p.symbol))
            };
            for binding in bindings.iter().filter(|binding| binding.allocates()) {
                let good = binding.to == shim || entry(binding);
                assert!(good, "another allocator was bound: {binding:?}");
                served = true;
            }
            processes += usize::from(served);
        }
        processes
    }
}

/// One line of the loader's record: the object that needs `symbol`, and the one that has it.
#[derive(Debug)]
struct Binding<'a> {
    from: &'a str,
    to: &'a str,
    symbol: &'a str,
}

impl<'a> Binding<'a> {
    /// `binding file FROM [0] to TO [0]: normal symbol `NAME' [VERSION]`.
    fn parse(line: &'a str) -> Option<Self> {
        let (_, rest) = line.split_once("binding file ")?;
        let (from, rest) = rest.split_once(" [")?;
        let (_, rest) = rest.split_once("] to ")?;
        let (to, rest) = rest.split_once(" [")?;
        let (_, rest) = rest.split_once("symbol `")?;
        let (symbol, _) = rest.split_once('\'')?;
        Some(Self { from, to, symbol })
    }

    /// Whether the symbol is C++'s, which a program may replace.
    fn is_operator(&self) -> bool {
        self.symbol.starts_with("_Zn")
    }

    /// Whether the symbol hands out memory.
    fn allocates(&self) -> bool {
        ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc", "_Znwm", "_Znam"]
            .contains(&self.symbol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> Bindings {
        let record = tempfile::tempdir().unwrap();
        std::fs::write(record.path().join("process.1"), text).unwrap();
        Bindings { record }
    }

    #[test]
    fn only_allocations_from_the_shim_count() {
        let good = " 1:\tbinding file a [0] to /x/lib.so [0]: normal symbol `malloc' [GLIBC_2.2.5]\n\
                    1:\tbinding file a [0] to /lib/libc.so.6 [0]: normal symbol `puts' [GLIBC_2.2.5]";
        assert_eq!(record(good).served_by(Path::new("/x/lib.so")), 1);
        assert_eq!(record("nothing").served_by(Path::new("/x/lib.so")), 0);
    }

    #[test]
    fn a_programs_own_entry_counts_if_it_leads_to_the_shim() {
        let entry = " 1:\tbinding file c [0] to a [0]: normal symbol `malloc' [GLIBC_2.2.5]\n\
                     1:\tbinding file a [0] to /x/lib.so [0]: normal symbol `malloc' [GLIBC_2.2.5]";
        assert_eq!(record(entry).served_by(Path::new("/x/lib.so")), 1);
    }

    #[test]
    fn a_programs_own_operator_new_counts_over_the_shims_malloc() {
        let own = " 1:\tbinding file c [0] to a [0]: normal symbol `_Znwm' [GLIBCXX_3.4]\n\
                   1:\tbinding file a [0] to /x/lib.so [0]: normal symbol `malloc' [GLIBC_2.2.5]";
        assert_eq!(record(own).served_by(Path::new("/x/lib.so")), 1);
    }

    #[test]
    #[should_panic(expected = "another allocator")]
    fn an_allocation_from_elsewhere_is_named() {
        record(
            "1:\tbinding file a [0] to /lib/libc.so.6 [0]: normal symbol `calloc' [GLIBC_2.2.5]",
        )
        .served_by(Path::new("/x/lib.so"));
    }
}
