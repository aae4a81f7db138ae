//! The quantities that are measured, by the names that documents and tables use.

use crate::engine::Sample;
use serde::{Deserialize, Serialize};

/// One quantity of an execution.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// From start to end, in nanoseconds.
    WallNs,
    /// CPU time, program and kernel.
    CpuNs,
    /// CPU time in user mode.
    UserNs,
    /// CPU time in the kernel.
    SystemNs,
    /// Page faults without input.
    MinorFaults,
    /// Page faults with input.
    MajorFaults,
    /// Peak resident set.
    PeakRssBytes,
    /// Resident set averaged over time, from executions of their own.
    MeanRssBytes,
    /// Times the CPU was given up.
    VoluntarySwitches,
    /// Times the CPU was taken away.
    InvoluntarySwitches,
}

/// What a quantity is counted in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Nanoseconds.
    Nanoseconds,
    /// Bytes.
    Bytes,
    /// Events.
    Count,
}

impl Metric {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 10] = [
        Self::WallNs,
        Self::CpuNs,
        Self::UserNs,
        Self::SystemNs,
        Self::MinorFaults,
        Self::MajorFaults,
        Self::PeakRssBytes,
        Self::MeanRssBytes,
        Self::VoluntarySwitches,
        Self::InvoluntarySwitches,
    ];

    /// Its name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::WallNs => "wall_ns",
            Self::CpuNs => "cpu_ns",
            Self::UserNs => "user_ns",
            Self::SystemNs => "system_ns",
            Self::MinorFaults => "minor_faults",
            Self::MajorFaults => "major_faults",
            Self::PeakRssBytes => "peak_rss_bytes",
            Self::MeanRssBytes => "mean_rss_bytes",
            Self::VoluntarySwitches => "voluntary_switches",
            Self::InvoluntarySwitches => "involuntary_switches",
        }
    }

    /// Its name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::WallNs => "wall time",
            Self::CpuNs => "CPU time",
            Self::UserNs => "user time",
            Self::SystemNs => "system time",
            Self::MinorFaults => "page faults",
            Self::MajorFaults => "major page faults",
            Self::PeakRssBytes => "peak memory",
            Self::MeanRssBytes => "mean memory",
            Self::VoluntarySwitches => "voluntary context switches",
            Self::InvoluntarySwitches => "involuntary context switches",
        }
    }

    /// What it is counted in.
    pub fn unit(self) -> Unit {
        match self {
            Self::WallNs | Self::CpuNs | Self::UserNs | Self::SystemNs => Unit::Nanoseconds,
            Self::PeakRssBytes | Self::MeanRssBytes => Unit::Bytes,
            _ => Unit::Count,
        }
    }

    /// Its value in a sample; none for what samples do not have.
    pub fn of(self, sample: &Sample) -> Option<u64> {
        Some(match self {
            Self::WallNs => sample.wall_ns,
            Self::CpuNs => sample.user_ns + sample.system_ns,
            Self::UserNs => sample.user_ns,
            Self::SystemNs => sample.system_ns,
            Self::MinorFaults => sample.minor_faults,
            Self::MajorFaults => sample.major_faults,
            Self::PeakRssBytes => sample.peak_rss_bytes,
            Self::MeanRssBytes => return None,
            Self::VoluntarySwitches => sample.voluntary_switches,
            Self::InvoluntarySwitches => sample.involuntary_switches,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_tables_use_the_same_names() {
        for metric in Metric::ALL {
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.name());
        }
    }
}
