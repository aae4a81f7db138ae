//! The shared objects under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// One of the shared objects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shim {
    /// The software backend.
    Soft,
    /// The software backend, counting.
    Report,
    /// The software backend, writing a trace.
    Record,
    /// The emulated hardware.
    Emu,
    /// The instructions.
    Isa,
    /// The software backend, serving CPython's memory domains too.
    Python,
    /// The software backend, and the pages of V8's heap.
    Node,
    /// The software backend for every runtime.
    All,
}

impl Shim {
    /// Those that every program must run on unchanged.
    pub const ALL: &[Shim] = &[Shim::Soft, Shim::Emu];
    /// All backends, for programs without signals of their own.
    pub const BACKENDS: &[Shim] = &[Shim::Soft, Shim::Emu, Shim::Isa];
    /// Those that count, for `memento run`.
    pub const COUNTING: &[Shim] = &[Shim::Report, Shim::Emu];
    /// Every file that is built.
    pub const FILES: &[Shim] = &[
        Shim::Soft,
        Shim::Report,
        Shim::Record,
        Shim::Emu,
        Shim::Isa,
        Shim::Python,
        Shim::Node,
        Shim::All,
    ];

    /// The file's name.
    pub fn file_name(self) -> &'static str {
        match self {
            Shim::Soft => "libmemento.so",
            Shim::Report => "libmemento-report.so",
            Shim::Record => "libmemento-record.so",
            Shim::Emu => "libmemento-emu.so",
            Shim::Isa => "libmemento-isa.so",
            Shim::Python => "libmemento_python.so",
            Shim::Node => "libmemento_node.so",
            Shim::All => "libmemento_all.so",
        }
    }

    /// What `memento run --hal` calls it.
    pub fn hal(self) -> &'static str {
        match self {
            Shim::Soft | Shim::Report | Shim::Record | Shim::Python | Shim::Node | Shim::All => {
                "soft"
            }
            Shim::Emu => "emu",
            Shim::Isa => "isa",
        }
    }

    /// Whether each free is checked in full. The software backend checks as much as its budget of
    /// instructions allows; the README says what it can miss.
    pub fn checks_every_free(self) -> bool {
        matches!(self, Shim::Emu | Shim::Isa)
    }

    /// Where the shared object is. Builds all of them first, once per test binary; Cargo makes
    /// that a look at time stamps when they are up to date.
    ///
    /// # Panics
    /// If they do not build.
    pub fn path(self) -> PathBuf {
        built().join(self.file_name())
    }
}

/// The project's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the project's root")
}

/// The directory of the built shared objects. `MEMENTO_SHIMS_TARGET` moves Cargo's directory.
///
/// # Panics
/// If they do not build.
pub fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = std::env::var_os("MEMENTO_SHIMS_TARGET")
            .map_or_else(|| root().join("shims/target"), PathBuf::from);
        let status = Command::new(root().join("scripts/build-shims"))
            .arg(&target)
            .status()
            .expect("the script can be started");
        assert!(status.success(), "the shared objects do not build");
        target.join("release")
    })
}
