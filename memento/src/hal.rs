//! The backends by the names that people use.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What `--hal` chooses between.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HalName {
    /// The software allocator: for speed
    #[default]
    Soft,
    /// The emulated hardware: counts its cycles
    Emu,
    /// The Memento instructions; trapped and emulated on a CPU without them
    Isa,
}

impl HalName {
    /// The name on the command line, in the environment and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Soft => "soft",
            Self::Emu => "emu",
            Self::Isa => "isa",
        }
    }

    /// Whether there is hardware whose events are counted.
    pub fn has_hardware(self) -> bool {
        self != Self::Soft
    }
}

impl fmt::Display for HalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
