//! The machine that something was measured on.

use serde::{Deserialize, Serialize};

/// Operating system and processor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Host {
    /// Kernel release.
    pub kernel: String,
    /// The processor's name.
    pub processor: String,
    /// How many there are.
    pub processors: usize,
    /// When the kernel uses huge pages.
    pub huge_pages: String,
}

impl Host {
    /// This machine; what cannot be found out is "unknown".
    pub fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let huge = read("/sys/kernel/mm/transparent_hugepage/enabled");
        let in_brackets = huge.split(['[', ']']).nth(1).unwrap_or("unknown").to_owned();
        let cpu = read("/proc/cpuinfo");
        let processor = cpu.lines().find_map(|line| line.strip_prefix("model name"));
        let processor = processor.map_or("unknown", |p| p.trim_start_matches([' ', '\t', ':']));
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processor: processor.to_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            huge_pages: in_brackets,
        }
    }
}
