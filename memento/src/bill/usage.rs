//! CPU and memory over a run, step by step: `memento.usage/1`.

use crate::engine::watch::Curve;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Name and version of the document.
pub const SCHEMA: &str = "memento.usage/1";

/// Bytes of a GB, as providers count.
pub const GB: f64 = (1u64 << 30) as f64;

/// A time in which use was constant.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// How long, in seconds.
    pub seconds: f64,
    /// CPU in use, in cores.
    pub cores: f64,
    /// Memory in use, in GB of 2^30 bytes.
    pub gb: f64,
}

/// A run.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Usage {
    /// [`SCHEMA`].
    pub schema: String,
    /// Its steps, in order.
    pub steps: Vec<Step>,
}

impl Usage {
    /// A run of these steps.
    pub fn new(steps: Vec<Step>) -> Self {
        Self { schema: SCHEMA.into(), steps }
    }

    /// What was seen of a program. CPU between two looks is constant; memory holds from each look to the
    /// next, and before the first one is what that saw.
    pub fn from_curve(curve: &Curve) -> Self {
        let mut steps = Vec::with_capacity(curve.looks.len() + 1);
        let (mut at, mut cpu) = (0, 0);
        let mut rss = curve.looks.first().map_or(0, |look| look.rss_bytes);
        let ends = curve.looks.iter().map(|look| (look.at_ns, look.cpu_ns, look.rss_bytes));
        for (end, used, then) in ends.chain([(curve.wall_ns, curve.cpu_ns, 0)]) {
            let time = end.saturating_sub(at) as f64;
            if time > 0.0 {
                let cores = used.saturating_sub(cpu) as f64 / time;
                steps.push(Step { seconds: time / 1e9, cores, gb: rss as f64 / GB });
                (at, cpu) = (end, used);
            }
            rss = then;
        }
        Self::new(steps)
    }

    /// The same with a peak that looks may have missed. Where a run was too short to be looked at, memory is taken for
    /// its peak all the while.
    #[must_use]
    pub fn with_peak(mut self, gb: f64, was_seen: bool) -> Self {
        if !was_seen {
            self.steps.iter_mut().for_each(|step| step.gb = gb);
        } else if let Some(most) = self.steps.iter_mut().max_by(|a, b| a.gb.total_cmp(&b.gb)) {
            most.gb = most.gb.max(gb);
        }
        self
    }

    /// Reads a document.
    ///
    /// # Errors
    /// If it is none, or a step makes no sense.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        let usage: Self =
            serde_json::from_str(&text).with_context(|| format!("{name} is no usage"))?;
        ensure!(usage.schema == SCHEMA, "{name}: its schema is {:?}, not {SCHEMA}", usage.schema);
        ensure!(!usage.steps.is_empty(), "{name} has no steps");
        for (index, step) in usage.steps.iter().enumerate() {
            let number = index + 1;
            let is_sound = |value: f64| value.is_finite() && value >= 0.0;
            ensure!(
                step.seconds.is_finite() && step.seconds > 0.0,
                "{name}: step {number} takes no time"
            );
            ensure!(is_sound(step.cores) && is_sound(step.gb), "{name}: step {number} is negative");
        }
        Ok(usage)
    }

    /// The same with steps of at least `grain` seconds, whose use is the average of what they replace.
    /// Duration and integrals stay.
    #[must_use]
    pub fn coarse(&self, grain: f64) -> Self {
        let mut steps: Vec<Step> = Vec::new();
        for step in &self.steps {
            match steps.last_mut().filter(|last| last.seconds < grain) {
                Some(last) => {
                    let seconds = last.seconds + step.seconds;
                    let average = |a: f64, b: f64| (a * last.seconds + b * step.seconds) / seconds;
                    let (cores, gb) = (average(last.cores, step.cores), average(last.gb, step.gb));
                    *last = Step { seconds, cores, gb };
                }
                None => steps.push(*step),
            }
        }
        Self::new(steps)
    }

    /// How long it took, in seconds.
    pub fn seconds(&self) -> f64 {
        self.steps.iter().map(|step| step.seconds).sum()
    }

    /// CPU time, in core-seconds.
    pub fn core_seconds(&self) -> f64 {
        self.sum(|step| step.cores)
    }

    /// Memory over time, in GB-seconds.
    pub fn gb_seconds(&self) -> f64 {
        self.sum(|step| step.gb)
    }

    /// The most memory in use, in GB.
    pub fn peak_gb(&self) -> f64 {
        self.steps.iter().map(|step| step.gb).fold(0.0, f64::max)
    }

    /// The integral of a value over the run.
    pub fn sum(&self, value: impl Fn(&Step) -> f64) -> f64 {
        self.steps.iter().map(|step| value(step) * step.seconds).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::watch::Look;

    #[test]
    fn the_peak_is_the_kernels() {
        let step = |gb| Step { seconds: 1.0, cores: 1.0, gb };
        let usage = || Usage::new(vec![step(0.1), step(0.3), step(0.2)]);
        let gb = |usage: Usage| usage.steps.iter().map(|step| step.gb).collect::<Vec<_>>();
        assert_eq!(gb(usage().with_peak(0.5, true)), [0.1, 0.5, 0.2]);
        assert_eq!(gb(usage().with_peak(0.2, true)), [0.1, 0.3, 0.2]);
        assert_eq!(gb(usage().with_peak(0.5, false)), [0.5; 3]);
    }

    #[test]
    fn a_curve_becomes_steps() {
        let look = |at_ms: u64, cpu_ms: u64, mib: u64| Look {
            at_ns: at_ms * 1_000_000,
            cpu_ns: cpu_ms * 1_000_000,
            rss_bytes: mib << 20,
            anonymous_bytes: 0,
        };
        let curve = Curve {
            looks: vec![look(10, 5, 256), look(30, 45, 512)],
            wall_ns: 40_000_000,
            cpu_ns: 45_000_000,
        };
        let usage = Usage::from_curve(&curve);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
        let want = [(0.010, 0.5, 0.25), (0.020, 2.0, 0.25), (0.010, 0.0, 0.5)];
        assert_eq!(usage.steps.len(), 3);
        for (step, (seconds, cores, gb)) in usage.steps.iter().zip(want) {
            assert!(
                close(step.seconds, seconds) && close(step.cores, cores) && close(step.gb, gb),
                "{step:?}"
            );
        }
        assert!(close(usage.seconds(), 0.04) && close(usage.core_seconds(), 0.045));
        assert!(close(usage.gb_seconds(), 0.0125) && usage.peak_gb() == 0.5);
    }

    #[test]
    fn coarse_steps_keep_the_sums() {
        let step = |seconds, cores, gb| Step { seconds, cores, gb };
        let fine = Usage::new(vec![step(1.0, 2.0, 1.0), step(1.0, 0.0, 3.0), step(5.0, 1.0, 1.0)]);
        assert_eq!(fine.coarse(2.0).steps, [step(2.0, 1.0, 2.0), step(5.0, 1.0, 1.0)]);
        assert_eq!(fine.coarse(1.0), fine);
    }

    #[test]
    fn what_is_no_usage_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("u.json");
        for (text, want) in [
            ("{}", "is no usage"),
            (r#"{"schema": "x", "steps": []}"#, "its schema is \"x\""),
            (r#"{"schema": "memento.usage/1", "steps": []}"#, "has no steps"),
            (
                r#"{"schema": "memento.usage/1", "steps": [{"seconds": 0, "cores": 1, "gb": 1}]}"#,
                "step 1 takes no time",
            ),
            (
                r#"{"schema": "memento.usage/1", "steps": [{"seconds": 1, "cores": -1, "gb": 1}]}"#,
                "step 1 is negative",
            ),
            (
                r#"{"schema": "memento.usage/1", "steps": [{"seconds": 1, "cpu": 1, "gb": 1}]}"#,
                "unknown field `cpu`",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = format!("{:#}", Usage::read(&path).unwrap_err());
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
