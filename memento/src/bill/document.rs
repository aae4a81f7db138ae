//! The document `memento.bill/1`. Money is in US dollars for a million invocations.

use super::models::{Knobs, Rates, npfu, sim, spfu};
use super::presets::Preset;
use super::recommend::{GRAIN, Recommendation, at_size, recommend};
use super::usage::Usage;
use crate::engine::estimate::{Estimate, estimate};
use crate::engine::stats::{median, median_interval};
use serde::Serialize;

/// Name and version of the document.
pub const SCHEMA: &str = "memento.bill/1";

/// How runs are priced.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Terms {
    /// The provider, for SLIM.
    pub preset: Preset,
    /// Configured memory in MB; if none is, the one recommended for the baseline.
    pub memory_mb: Option<u32>,
    /// Room over the peak, as a fraction.
    pub head_room: f64,
    /// Seconds of each run that are initialisation: not billed by SLIM where the provider does not.
    pub init_s: f64,
    /// Prices of CPU and memory, for the other models.
    pub rates: Rates,
    /// The most CPU of an invocation, in cores.
    pub cpu_cap: f64,
    /// Its part that may be lent.
    pub spot_cores: f64,
    /// The most memory, in GB; the configured one if none is given.
    pub mem_cap_gb: Option<f64>,
    /// Whether it may be killed for its memory.
    pub preemptible_mem: bool,
    /// Runs that were preempted and queued again: not charged, but counted.
    pub requeued: u32,
}

/// A run of `memento bill`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// How runs were priced.
    pub terms: Terms,
    /// Time between two looks at a program, in seconds; absent if usages were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_s: Option<f64>,
    /// What was priced.
    pub workloads: Vec<Priced>,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// One workload.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Priced {
    /// Its name.
    pub name: String,
    /// Why it has no bill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// Configured memory, in MB, that SLIM is priced at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u32>,
    /// One for each allocator; the first is the baseline.
    pub bills: Vec<Bill>,
}

/// One workload under one allocator: medians over its runs.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Bill {
    /// The allocator.
    pub allocator: String,
    /// Runs that were priced.
    pub runs: usize,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// CPU time, in core-seconds.
    pub core_seconds: f64,
    /// Most memory, in GB.
    pub peak_gb: f64,
    /// Memory averaged over time, in GB.
    pub mean_gb: f64,
    /// Each model's cost.
    pub costs: Vec<Cost>,
    /// The memory to configure; none if no size of the provider's is large enough.
    pub recommendation: Option<Recommendation>,
}

/// What a model charges.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Cost {
    /// The model.
    pub model: Model,
    /// Dollars for a million invocations, the median of the runs.
    pub million: f64,
    /// Its 95 % interval.
    pub interval: Option<(f64, f64)>,
    /// Against the baseline, paired by round; absent for the baseline itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Estimate>,
}

/// A way of billing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Model {
    /// Duration × configured memory.
    Slim,
    /// CPU and memory configured apart.
    Sim,
    /// Strictly what was used.
    Spfu,
    /// Nearly what was used, by the knobs that were given.
    Npfu,
    /// The same with nothing reserved and preemptible memory.
    NpfuBatch,
}

impl Model {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Slim, Self::Sim, Self::Spfu, Self::Npfu, Self::NpfuBatch];

    /// Its name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Slim => "SLIM",
            Self::Sim => "SIM",
            Self::Spfu => "SPFU",
            Self::Npfu => "NPFU",
            Self::NpfuBatch => "NPFU, all spot",
        }
    }
}

/// Prices a workload's runs: `runs[a]` are those of allocator *a*, round by round.
pub fn price(name: &str, allocators: &[String], runs: &[Vec<Usage>], terms: &Terms) -> Priced {
    let recommended = |usages: &[Usage]| {
        typical(usages).and_then(|usage| recommend(usage, &terms.preset, terms.head_room))
    };
    let own = runs.first().and_then(|usages| recommended(usages)).map(|r| r.balanced.mb);
    let Some(mb) = terms.memory_mb.or(own) else {
        let why = format!("no memory size of {} holds it", terms.preset.title);
        return Priced {
            name: name.into(),
            skipped: Some(why),
            memory_mb: None,
            bills: Vec::new(),
        };
    };
    let mut bills: Vec<Bill> = Vec::new();
    let costs = |usages: &[Usage], model| -> Vec<f64> {
        usages.iter().map(|usage| million(usage, model, mb, terms)).collect()
    };
    for (allocator, usages) in allocators.iter().zip(runs) {
        let cost = |model: Model| {
            let values = costs(usages, model);
            let is_baseline = bills.is_empty();
            Cost {
                model,
                million: median(&values).unwrap_or(0.0),
                interval: median_interval(&values),
                ratio: (!is_baseline).then(|| estimate(&values, &costs(&runs[0], model))).flatten(),
            }
        };
        let costs = Model::ALL.map(cost).to_vec();
        let middle = |value: &dyn Fn(&Usage) -> f64| {
            median(&usages.iter().map(value).collect::<Vec<_>>()).unwrap_or(0.0)
        };
        bills.push(Bill {
            allocator: allocator.clone(),
            runs: usages.len(),
            seconds: middle(&Usage::seconds),
            core_seconds: middle(&Usage::core_seconds),
            peak_gb: middle(&Usage::peak_gb),
            mean_gb: middle(&|usage| usage.gb_seconds() / usage.seconds()),
            costs,
            recommendation: recommended(usages),
        });
    }
    Priced { name: name.into(), skipped: None, memory_mb: Some(mb), bills }
}

/// The run of middle duration.
fn typical(usages: &[Usage]) -> Option<&Usage> {
    let mut sorted: Vec<&Usage> = usages.iter().collect();
    sorted.sort_by(|a, b| a.seconds().total_cmp(&b.seconds()));
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

/// What a model charges for a million such runs.
fn million(usage: &Usage, model: Model, mb: u32, terms: &Terms) -> f64 {
    let gb = terms.mem_cap_gb.unwrap_or(f64::from(mb) / 1024.0);
    let knobs = Knobs {
        cpu_cap: terms.cpu_cap,
        spot_cores: terms.spot_cores,
        mem_cap: gb,
        preemptible_mem: terms.preemptible_mem,
    };
    let batch = Knobs { spot_cores: terms.cpu_cap, preemptible_mem: true, ..knobs };
    let request = terms.preset.million_requests;
    let rates = &terms.rates;
    match model {
        Model::Slim => {
            let unbilled = if terms.preset.init_billed { 0.0 } else { terms.init_s };
            let seconds =
                (at_size(&usage.coarse(GRAIN), &terms.preset, mb).seconds - unbilled).max(0.0);
            terms.preset.invocation(seconds, mb) * 1e6
        }
        Model::Sim => request + sim(usage, &knobs, rates) * 1e6,
        Model::Spfu => request + spfu(usage, rates) * 1e6,
        Model::Npfu => request + npfu(usage, &knobs, rates).total() * 1e6,
        Model::NpfuBatch => request + npfu(usage, &batch, rates).total() * 1e6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bill::usage::Step;

    fn terms() -> Terms {
        Terms {
            preset: Preset::named("aws").unwrap(),
            memory_mb: Some(1024),
            head_room: 0.0,
            init_s: 0.0,
            rates: Rates { core_second: 2e-5, gb_second: 1e-5, spot: 0.3, lambda: 1.0, mu: 1.0 },
            cpu_cap: 1.0,
            spot_cores: 0.0,
            mem_cap_gb: None,
            preemptible_mem: false,
            requeued: 0,
        }
    }

    fn usage(seconds: f64, cores: f64, gb: f64) -> Usage {
        Usage::new(vec![Step { seconds, cores, gb }])
    }

    fn costs(bill: &Bill) -> [f64; 5] {
        Model::ALL.map(|model| bill.costs.iter().find(|c| c.model == model).unwrap().million)
    }

    #[test]
    fn a_bill_by_hand() {
        // 2 s with half a core and half a GB, configured with 1 GB, which has 1024/1769 of a core.
        let priced = price("x", &["stock".into()], &[vec![usage(2.0, 0.5, 0.5)]], &terms());
        let got = costs(&priced.bills[0]);
        let want = [
            // 2000 ms of 1 GB.
            0.2 + 2.0 * 16.6667,
            // 2 s of a core and a GB.
            0.2 + 2.0 * (20.0 + 10.0),
            // 1 core-second and 1 GB-second.
            0.2 + 20.0 + 10.0,
            // Reserved 2, lent 1 at 6; 2 GB-seconds, 1 of them credited at 3.
            0.2 + 40.0 - 6.0 + 20.0 - 3.0,
            // 1 core-second and 1 GB-second at spot prices.
            0.2 + 6.0 + 3.0,
        ];
        for (model, (got, want)) in Model::ALL.into_iter().zip(got.into_iter().zip(want)) {
            assert!((got - want).abs() < 1e-9, "{model:?}: {got}, by hand {want}");
        }
    }

    #[test]
    fn ratios_are_paired_by_round() {
        let runs = |scale: f64| (1..=6).map(|n| usage(f64::from(n) * scale, 0.5, 0.5)).collect();
        let names = ["stock".to_owned(), "memento".to_owned()];
        let terms = Terms { preset: Preset { million_requests: 0.0, ..terms().preset }, ..terms() };
        let priced = price("x", &names, &[runs(1.0), runs(0.5)], &terms);
        assert!(priced.bills[0].costs[0].ratio.is_none());
        for cost in &priced.bills[1].costs {
            assert!((cost.ratio.unwrap().ratio - 0.5).abs() < 1e-9, "{cost:?}");
        }
    }

    #[test]
    fn initialisation_is_billed_where_the_provider_does() {
        let slim = |name: &str, mb| {
            let preset = Preset::named(name).unwrap();
            let terms = Terms { preset, memory_mb: Some(mb), init_s: 0.5, ..terms() };
            costs(&price("x", &["stock".into()], &[vec![usage(1.0, 0.1, 0.1)]], &terms).bills[0])[0]
        };
        assert!((slim("aws", 1024) - (0.2 + 16.6667)).abs() < 1e-9);
        assert!((slim("azure", 128) - (0.2 + 0.5 * 0.125 * 16.0)).abs() < 1e-9);
    }

    #[test]
    fn what_no_size_holds_has_no_bill() {
        let terms = Terms { memory_mb: None, ..terms() };
        let priced = price("x", &["stock".into()], &[vec![usage(1.0, 1.0, 11.0)]], &terms);
        assert!(priced.skipped.unwrap().contains("no memory size of AWS Lambda, x86 holds it"));
    }
}
