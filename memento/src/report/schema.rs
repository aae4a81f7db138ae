//! The document `memento.report/1`. Fields may be added; those that are here stay.

use super::emulator::Emulator;
use crate::allocators::Allocator;
use crate::engine::{Exit, Sample};
use crate::hal::HalName;
use memento_hal::counters::Counters;
use memento_hal::geometry::SizeClass;
use serde::{Deserialize, Serialize};

/// Name and version of the document.
pub const SCHEMA: &str = "memento.report/1";

/// A run or a replay. What is not known is absent, never zero.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// The backend that was asked for; absent for a replay on an allocator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hal: Option<HalName>,
    /// The allocator that a trace was replayed on, instead of a backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocator: Option<Allocator>,
    /// Program and arguments; for a replay `memento replay` and the trace.
    pub command: Vec<String>,
    /// How it ended.
    pub exit: Exit,
    /// Time and memory; absent where nothing was timed.
    #[serde(flatten)]
    pub sample: Option<Cost>,
    /// What a replay did; absent for a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayCost>,
    /// Operations of each size class that the program asked for, all 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<ClassCount>>,
    /// Operations of the software path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software: Option<Software>,
    /// Sum of the sizes of all allocations, as asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_requested: Option<u64>,
    /// Process images: those that loaded the shared object, and the program itself in any case.
    pub processes: Vec<Process>,
    /// Events and cycles of the hardware, for `emu` and `isa`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emulator: Option<Emulator>,
    /// What the reader should know about the numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What the kernel's books say; see [`Sample`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// Wall time.
    pub wall_ns: u64,
    /// CPU time in user mode.
    pub user_ns: u64,
    /// CPU time in the kernel.
    pub system_ns: u64,
    /// `ru_minflt`.
    pub minor_faults: u64,
    /// `ru_majflt`.
    pub major_faults: u64,
    /// `ru_maxrss` in bytes.
    pub peak_rss_bytes: u64,
    /// `ru_nvcsw`.
    pub voluntary_switches: u64,
    /// `ru_nivcsw`.
    pub involuntary_switches: u64,
}

impl From<&Sample> for Cost {
    fn from(s: &Sample) -> Self {
        Self {
            wall_ns: s.wall_ns,
            user_ns: s.user_ns,
            system_ns: s.system_ns,
            minor_faults: s.minor_faults,
            major_faults: s.major_faults,
            peak_rss_bytes: s.peak_rss_bytes,
            voluntary_switches: s.voluntary_switches,
            involuntary_switches: s.involuntary_switches,
        }
    }
}

/// What performing a trace cost. The emulator's replay over simulated addresses is not timed: it
/// gives the same report every time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ReplayCost {
    /// Operations of the trace.
    pub operations: u64,
    /// Those that allocate.
    pub allocs: u64,
    /// Those that reallocate.
    pub reallocs: u64,
    /// Those that free.
    pub frees: u64,
    /// Objects that the trace leaves.
    pub live_objects: u64,
    /// Their bytes, as asked for.
    pub live_bytes: u64,
    /// Wall time of performing them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_ns: Option<u64>,
    /// CPU time in user mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_ns: Option<u64>,
    /// CPU time in the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_ns: Option<u64>,
    /// `ru_minflt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minor_faults: Option<u64>,
    /// `ru_maxrss` in bytes, of the process that performed it and had read the trace before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_rss_bytes: Option<u64>,
    /// The same before the first operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_before_bytes: Option<u64>,
}

/// One size class.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClassCount {
    /// Bytes of its objects.
    pub size: usize,
    /// Allocations.
    pub allocs: u64,
    /// Frees.
    pub frees: u64,
}

/// The software path: over 512 bytes, or aligned beyond 64.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Software {
    /// Allocations.
    pub allocs: u64,
    /// Frees.
    pub frees: u64,
}

/// One process image.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Process {
    /// Process id. An id appears again when the process executed another program.
    pub pid: u32,
    /// The program's name as executed.
    pub argv0: String,
    /// Whether the shared object proved that it was loaded.
    pub loaded: bool,
    /// Why it was not, or why its numbers are missing.
    pub reason: Option<String>,
}

impl Report {
    /// A report without counts.
    pub fn new(hal: HalName, command: Vec<String>, exit: Exit) -> Self {
        Self {
            schema: SCHEMA.into(),
            hal: Some(hal),
            allocator: None,
            command,
            exit,
            sample: None,
            replay: None,
            classes: None,
            software: None,
            bytes_requested: None,
            processes: Vec::new(),
            emulator: None,
            notes: Vec::new(),
        }
    }

    /// Puts in what was asked for by class. The emulator's part is put in by who knows its
    /// parameters.
    pub fn set_counts(&mut self, counters: &Counters) {
        let class = |class: SizeClass| ClassCount {
            size: class.size(),
            allocs: counters.allocs[class.index()],
            frees: counters.frees[class.index()],
        };
        self.classes = Some(SizeClass::all().map(class).collect());
        self.software =
            Some(Software { allocs: counters.software_allocs, frees: counters.software_frees });
        self.bytes_requested = Some(counters.bytes_requested);
    }
}
