//! The document `memento.bench/1`. Fields may be added; those that are here stay.
//!
//! Times are in nanoseconds, memory in bytes. What is not known is absent, never zero.

use super::metric::Metric;
use crate::allocators::Allocator;
use crate::engine::Sample;
use crate::engine::estimate::{Estimate, geometric_mean};
use crate::engine::host::Host;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Name and version of the document.
pub const SCHEMA: &str = "memento.bench/1";

/// A run of `memento bench`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: String,
    /// Version of the command.
    pub memento: String,
    /// When it began, in seconds since 1970.
    pub began: u64,
    /// The machine.
    pub host: Host,
    /// What ratios are to.
    pub baseline: String,
    /// How it was measured.
    pub settings: Settings,
    /// What programs were run under.
    pub allocators: Vec<Allocator>,
    /// What was run, in order.
    pub workloads: Vec<Measured>,
    /// Geometric means over the workloads that every allocator finished.
    pub means: Vec<Mean>,
    /// What the reader should know about the numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// How it was measured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// Rounds that were thrown away.
    pub warmup: usize,
    /// Rounds in which programs were watched instead of timed.
    pub watched: usize,
    /// Fewest and most rounds.
    pub rounds: (usize, usize),
    /// Width of the intervals at which it was enough, as a fraction.
    pub precision: f64,
    /// Time for all workloads, in seconds.
    pub budget_s: f64,
    /// Time limit of one execution, in seconds.
    pub timeout_s: f64,
}

/// One workload.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Its name.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// What it answered every time, if that was checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<String>,
    /// Why it was not run at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// Each allocator, in the document's order.
    pub cells: Vec<Cell>,
}

/// One workload under one allocator.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Cell {
    /// The allocator's name.
    pub allocator: String,
    /// Why it failed; what was measured before that is kept, but compared with nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Whether the program was seen to have the allocator's object in its memory. Absent if it was too
    /// short to look, or there is nothing to load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded: Option<bool>,
    /// The quantities.
    pub metrics: BTreeMap<Metric, Spread>,
    /// Ratios to the baseline; absent for the baseline itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ratios: BTreeMap<Metric, Estimate>,
    /// Executions whose wall time lies far from the others'.
    pub outliers: usize,
    /// Every execution whose time counts, in order.
    pub samples: Vec<Sample>,
}

/// Where the values of a quantity lie.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// 95 % interval of the median; there is none below six values.
    pub interval: Option<(f64, f64)>,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

/// One allocator over all workloads.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Mean {
    /// The allocator's name.
    pub allocator: String,
    /// How many workloads are in it.
    pub workloads: usize,
    /// Ratios to the baseline.
    pub ratios: BTreeMap<Metric, Estimate>,
}

impl Document {
    /// Sums the workloads up: means of those that have a ratio for every allocator.
    pub fn sum_up(&mut self) {
        let others = || self.allocators.iter().filter(|a| a.name != self.baseline);
        let whole = |workload: &&Measured| {
            let cells = &workload.cells;
            !cells.is_empty() && cells.iter().all(|cell| cell.failed.is_none())
        };
        let whole: Vec<&Measured> = self.workloads.iter().filter(whole).collect();
        let mean = |name: &str| {
            let cells: Vec<&Cell> = whole.iter().filter_map(|w| w.cell(name)).collect();
            let of = |metric: &Metric| {
                let ratios: Option<Vec<Estimate>> =
                    cells.iter().map(|cell| cell.ratios.get(metric).copied()).collect();
                let ratios = ratios?;
                let mut mean = geometric_mean(&ratios)?;
                // Where one has no interval, how far the mean may be off is not known either.
                if ratios.iter().any(|ratio| ratio.interval.is_none()) {
                    mean.interval = None;
                }
                Some((*metric, mean))
            };
            let ratios = Metric::ALL.iter().filter_map(of).collect();
            Mean { allocator: name.to_owned(), workloads: cells.len(), ratios }
        };
        self.means = others().map(|allocator| mean(&allocator.name)).collect();
    }

    /// Whether any workload failed somewhere.
    pub fn has_failures(&self) -> bool {
        self.workloads.iter().flat_map(|w| &w.cells).any(|cell| cell.failed.is_some())
    }
}

impl Measured {
    /// The line of an allocator.
    pub fn cell(&self, allocator: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.allocator == allocator)
    }

    /// Rounds that every allocator finished.
    pub fn rounds(&self) -> usize {
        self.cells.iter().map(|cell| cell.samples.len()).max().unwrap_or(0)
    }
}
