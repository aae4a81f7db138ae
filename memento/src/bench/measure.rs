//! Workloads × allocators, by the engine's schedule.
//!
//! A round runs a workload once under every allocator. Watched rounds come first, and warm up. How many
//! timed rounds follow is decided by how wide the intervals of the CPU-time ratios are, and by the time
//! there is. An allocator under which a workload fails drops out of it; the others go on.

use super::budget::Pace;
use super::document::{Cell, Measured, Spread};
use super::metric::Metric;
use super::workload::Workload;
use crate::allocators::Allocator;
use crate::engine::Sample;
use crate::engine::estimate::{Estimate, estimate};
use crate::engine::rounds::{Next, Plan, Turn, in_turns};
use crate::engine::stats::{median, median_interval, outliers};
use crate::engine::watch::Watched;
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// Executes workloads. The only way to the outside, so that the rest can be tested.
pub trait Runner {
    /// Runs `workload` once under `allocator`, timed.
    ///
    /// # Errors
    /// If it failed, took too long or answered wrongly: then its cost says nothing.
    fn run(&mut self, workload: &Workload, allocator: &Allocator) -> Result<Sample>;

    /// Runs it once, watched.
    ///
    /// # Errors
    /// As [`Runner::run`].
    fn watch(&mut self, workload: &Workload, allocator: &Allocator) -> Result<Watched>;

    /// Whether the user wants it to end.
    fn is_interrupted(&self) -> bool {
        false
    }
}

/// What is told to whoever waits.
pub trait Progress {
    /// `done` of this workload, from 0 to 1, and what comes next.
    fn step(&mut self, done: f64, next: &str);
}

/// How to measure a workload.
#[derive(Clone, PartialEq, Debug)]
pub struct Effort {
    /// Warm-up, rounds and precision.
    pub plan: Plan,
    /// Watched rounds.
    pub watched: usize,
    /// No round is begun that would not end within this time, unless there is none yet.
    pub share: Duration,
}

/// Measures one workload under all allocators; ratios are to the one numbered `baseline`.
pub fn measure(
    workload: &Workload,
    allocators: &[Allocator],
    baseline: usize,
    effort: &Effort,
    runner: &mut dyn Runner,
    progress: &mut dyn Progress,
) -> Measured {
    let begin = Instant::now();
    let cell = |a: &Allocator| Cell { allocator: a.name.clone(), ..Cell::default() };
    let mut cells: Vec<Cell> = allocators.iter().map(cell).collect();
    let mut means: Vec<Vec<f64>> = vec![Vec::new(); allocators.len()];
    for number in 0..effort.watched {
        for (index, allocator) in allocators.iter().enumerate() {
            if cells[index].failed.is_some() || runner.is_interrupted() {
                continue;
            }
            progress.step(0.0, &format!("{}, watched, {}", workload.name, allocator.name));
            match runner.watch(workload, allocator) {
                Ok(watched) => {
                    means[index].extend(watched.curve.mean_rss());
                    let seen = allocator.preload.is_some() && watched.mapped;
                    cells[index].loaded = cells[index].loaded.or(seen.then_some(true));
                }
                Err(error) => cells[index].failed = Some(format!("{error:#}")),
            }
        }
        if number + 1 == effort.watched && begin.elapsed() > effort.share {
            break;
        }
    }

    let mut rounds: Vec<Vec<Option<Sample>>> = Vec::new();
    let mut failed: Vec<Option<String>> = cells.iter().map(|cell| cell.failed.clone()).collect();
    let plan = &effort.plan;
    let fraction = |done: usize| {
        let by_time = begin.elapsed().as_secs_f64() / effort.share.as_secs_f64().max(1e-9);
        let by_count = done as f64 / plan.max_rounds.max(1) as f64;
        by_time.max(by_count).min(1.0)
    };
    let done = std::cell::Cell::new(0);
    let (mut pace, begun) = (Pace::new(effort.share), std::cell::Cell::new(begin));
    // The only error is an interruption: then complete rounds are what there is.
    let _ = in_turns(
        allocators.len(),
        plan,
        &mut |turn: Turn| {
            if runner.is_interrupted() {
                bail!("interrupted");
            }
            if turn.turn == 0 {
                begun.set(Instant::now());
            }
            if failed[turn.job].is_some() {
                return Ok(None);
            }
            let allocator = &allocators[turn.job];
            let next = format!("{}, round {}, {}", workload.name, turn.round + 1, allocator.name);
            progress.step(fraction(done.get()), &next);
            Ok(match runner.run(workload, allocator) {
                Ok(sample) => Some(sample),
                Err(error) => {
                    failed[turn.job] = Some(format!("{error:#}"));
                    None
                }
            })
        },
        &mut |round| {
            let is_empty = round.iter().all(Option::is_none);
            rounds.push(round);
            done.set(rounds.len());
            pace.took(begun.get().elapsed());
            let out_of_time = !pace.allows_another(begin.elapsed());
            let enough = is_empty
                || rounds.len() >= plan.min_rounds && is_precise(&rounds, baseline, plan.precision)
                || out_of_time && plan.max_rounds != plan.min_rounds;
            Ok(if enough { Next::Enough } else { Next::More })
        },
    );
    for (index, cell) in cells.iter_mut().enumerate() {
        cell.failed = failed[index].take();
        fill(cell, index, baseline, &rounds, &means);
    }
    Measured {
        name: workload.name.clone(),
        command: workload.words(),
        checked: workload.expected.as_ref().map(|text| text.trim_end().to_owned()),
        skipped: None,
        cells,
    }
}

/// Fewer runs have no outliers and no intervals.
const FEW: usize = 6;

/// Turns samples into what is shown.
fn fill(
    cell: &mut Cell,
    index: usize,
    baseline: usize,
    rounds: &[Vec<Option<Sample>>],
    means: &[Vec<f64>],
) {
    let samples = |job: usize| rounds.iter().filter_map(move |round| round[job]);
    cell.samples = samples(index).collect();
    for metric in Metric::ALL {
        let values = match metric {
            Metric::MeanRssBytes => means[index].clone(),
            _ => samples(index).filter_map(|s| metric.of(&s)).map(|v| v as f64).collect(),
        };
        cell.metrics.extend(spread(&values).map(|spread| (metric, spread)));
    }
    let walls: Vec<f64> = samples(index).map(|s| s.wall_ns as f64).collect();
    // Of few, none can be told from the others.
    cell.outliers = if walls.len() < FEW { 0 } else { outliers(&walls) };
    if index == baseline || cell.failed.is_some() {
        return;
    }
    for metric in Metric::ALL {
        let ratio = match metric {
            Metric::MeanRssBytes => {
                let pair = median(&means[index]).zip(median(&means[baseline]));
                pair.map(|(ours, base)| Estimate { ratio: ours / base, interval: None })
            }
            _ => ratio(rounds, index, baseline, metric),
        };
        cell.ratios.extend(ratio.map(|ratio| (metric, ratio)));
    }
}

/// The ratio of a quantity, over the rounds that both finished.
fn ratio(
    rounds: &[Vec<Option<Sample>>],
    index: usize,
    baseline: usize,
    metric: Metric,
) -> Option<Estimate> {
    let both = rounds.iter().filter_map(|round| Some((round[index]?, round[baseline]?)));
    let pairs = both.filter_map(|(a, b)| Some((metric.of(&a)? as f64, metric.of(&b)? as f64)));
    let (ours, base): (Vec<f64>, Vec<f64>) = pairs.unzip();
    estimate(&ours, &base)
}

fn is_precise(rounds: &[Vec<Option<Sample>>], baseline: usize, precision: f64) -> bool {
    let last = rounds.last().map_or(&[][..], Vec::as_slice);
    let alive = (0..last.len()).filter(|&job| job != baseline && last[job].is_some());
    alive.into_iter().all(|job| {
        matches!(ratio(rounds, job, baseline, Metric::CpuNs),
            Some(Estimate { ratio, interval: Some((lower, upper)) }) if (upper - lower) / ratio <= precision)
    })
}

fn spread(values: &[f64]) -> Option<Spread> {
    Some(Spread {
        median: median(values)?,
        interval: median_interval(values),
        min: values.iter().copied().reduce(f64::min)?,
        max: values.iter().copied().reduce(f64::max)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Exit;
    use crate::engine::watch::{Curve, Look};

    struct Silent;

    impl Progress for Silent {
        fn step(&mut self, _: f64, _: &str) {}
    }

    /// Says what each execution costs, in ms of CPU and wall time.
    struct Fake<F>(F, Vec<String>, Option<usize>);

    impl<F: FnMut(&str, usize) -> Result<u64>> Runner for Fake<F> {
        fn run(&mut self, _: &Workload, allocator: &Allocator) -> Result<Sample> {
            let before = self.1.iter().filter(|name| **name == allocator.name).count();
            self.1.push(allocator.name.clone());
            let cost = (self.0)(&allocator.name, before)? * 1_000_000;
            Ok(Sample {
                exit: Exit { code: Some(0), signal: None },
                wall_ns: cost,
                user_ns: cost / 2,
                system_ns: cost / 2,
                minor_faults: 100,
                major_faults: 0,
                peak_rss_bytes: cost,
                voluntary_switches: 1,
                involuntary_switches: 2,
            })
        }

        fn watch(&mut self, _: &Workload, allocator: &Allocator) -> Result<Watched> {
            let rss_bytes = if allocator.name == "b" { 4096 } else { 8192 };
            let look = Look { at_ns: 0, cpu_ns: 0, rss_bytes, anonymous_bytes: 0 };
            Ok(Watched {
                exit: Exit { code: Some(0), signal: None },
                curve: Curve { looks: vec![look], wall_ns: 1 << 30, cpu_ns: 0 },
                timed_out: false,
                mapped: allocator.name == "b",
            })
        }

        fn is_interrupted(&self) -> bool {
            self.2.is_some_and(|after| self.1.len() >= after)
        }
    }

    fn run(
        rounds: (usize, usize),
        stop: Option<usize>,
        cost: impl FnMut(&str, usize) -> Result<u64>,
    ) -> (Measured, String) {
        let allocator = |name: &str| Allocator {
            name: name.into(),
            version: String::new(),
            origin: String::new(),
            preload: (name != "a").then(|| "/x.so".into()),
            variable: None,
        };
        let plan = Plan { warmup: 0, min_rounds: rounds.0, max_rounds: rounds.1, precision: 0.01 };
        let effort = Effort { plan, watched: 1, share: Duration::from_secs(1000) };
        let mut runner = Fake(cost, Vec::new(), stop);
        let workload = Workload::command(vec!["x".into()], vec![]);
        let allocators = ["a", "b", "c"].map(allocator);
        let measured = measure(&workload, &allocators, 0, &effort, &mut runner, &mut Silent);
        (measured, runner.1.concat())
    }

    #[test]
    fn medians_ratios_and_memory() {
        let (got, order) = run((8, 30), None, |name, _| Ok(if name == "b" { 50 } else { 100 }));
        assert_eq!(&order[..9], "abcbcacab", "in turns");
        assert_eq!(got.cells[0].samples.len(), 8, "precise after the fewest rounds");
        let b = &got.cells[1];
        assert_eq!(b.metrics[&Metric::WallNs].median, 5e7);
        assert_eq!(b.metrics[&Metric::WallNs].interval, Some((5e7, 5e7)));
        assert!((b.ratios[&Metric::CpuNs].ratio - 0.5).abs() < 1e-9);
        assert!((b.ratios[&Metric::MeanRssBytes].ratio - 0.5).abs() < 1e-9);
        assert!(!b.ratios.contains_key(&Metric::MajorFaults), "nothing has no ratio");
        assert_eq!((b.loaded, got.cells[2].loaded, got.cells[0].loaded), (Some(true), None, None));
        assert!(got.cells[0].ratios.is_empty(), "the baseline has none");
    }

    #[test]
    fn wide_intervals_get_more_rounds() {
        let (got, _) = run((6, 9), None, |name, n| {
            Ok(if name == "b" { 100 + (n as u64 * 31) % 97 } else { 100 })
        });
        assert_eq!(got.cells[0].samples.len(), 9);
    }

    #[test]
    fn one_failure_leaves_the_others() {
        let (got, order) =
            run(
                (6, 6),
                None,
                |name, n| {
                    if name == "b" && n == 2 { bail!("it crashed") } else { Ok(10) }
                },
            );
        assert_eq!(got.cells[1].failed.as_deref(), Some("it crashed"));
        assert!(got.cells[1].ratios.is_empty(), "not compared");
        assert_eq!(got.cells[1].samples.len(), 2, "kept");
        assert_eq!(order.matches('b').count(), 3, "not run again");
        assert_eq!(got.cells[2].ratios[&Metric::CpuNs].ratio, 1.0);
        assert_eq!(got.cells[0].samples.len(), 6);
    }

    #[test]
    fn where_all_fail_it_ends() {
        let (got, order) = run((6, 60), None, |_, _| bail!("no"));
        assert_eq!(order, "abc");
        assert!(got.cells.iter().all(|cell| cell.failed.is_some() && cell.metrics.len() <= 1));
    }

    #[test]
    fn an_interruption_leaves_whole_rounds() {
        let (got, _) = run((6, 60), Some(7), |_, _| Ok(10));
        assert_eq!(got.cells.iter().map(|c| c.samples.len()).collect::<Vec<_>>(), [2, 2, 2]);
        assert!(got.cells[1].ratios[&Metric::WallNs].interval.is_none());
    }
}
