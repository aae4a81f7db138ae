//! What the samples say: a line for every row and allocator, means of groups, and the targets.

use crate::allocators::{MEMENTO, SYSTEM};
use crate::fair::{AgainstBest, against_best, ratio};
use crate::results::{Measured, Results, Timed, Watched};
use crate::rows::{GROUPS, Group};
use anyhow::{Context, Result, ensure};
use memento::engine::estimate::{Estimate, geometric_mean};
use memento::engine::stats::median;
use serde::Serialize;

/// Anonymous memory under glibc from which on a row's page faults are a target.
const HEAP_OF_FAULTS_KIB: f64 = 8.0 * 1024.0;

/// One allocator on one row. Values are medians over the rounds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Cell {
    /// The allocator.
    pub allocator: String,
    /// CPU time.
    pub cpu_ms: f64,
    /// Of it the kernel's.
    pub kernel_ms: f64,
    /// From start to end.
    pub wall_ms: f64,
    /// Page faults without input.
    pub faults: f64,
    /// Peak resident set.
    pub peak_kib: f64,
    /// Resident set averaged over time.
    pub mean_kib: Option<f64>,
    /// Largest anonymous memory seen.
    pub anonymous_kib: Option<f64>,
    /// CPU time ÷ glibc's.
    pub cpu: Option<Estimate>,
    /// Time from start to end ÷ glibc's.
    pub wall: Option<Estimate>,
    /// Page faults ÷ glibc's.
    pub fault_ratio: Option<f64>,
    /// Peak ÷ glibc's.
    pub peak_ratio: Option<f64>,
    /// Average ÷ glibc's.
    pub mean_ratio: Option<f64>,
}

/// One row.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RowSummary {
    /// What was measured.
    #[serde(flatten)]
    pub row: Measured,
    /// In how many rounds.
    pub rounds: usize,
    /// Every allocator.
    pub cells: Vec<Cell>,
    /// The best of all but memento, against glibc.
    pub oracle: Option<AgainstBest>,
    /// memento against the best of all others.
    pub against_best: Option<AgainstBest>,
}

impl RowSummary {
    /// The line of an allocator.
    pub fn cell(&self, allocator: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.allocator == allocator)
    }
}

/// One group.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct GroupSummary {
    /// Which one.
    pub group: Group,
    /// How many rows it has.
    pub rows: usize,
    /// How many of them this project wrote.
    pub ours: usize,
    /// For every allocator the geometric mean of CPU time and of peak memory against glibc.
    pub means: Vec<(String, Option<Estimate>, Option<f64>)>,
    /// That of the best of each row, memento left out.
    pub oracle: Option<Estimate>,
    /// memento against the best of each row.
    pub against_best: Option<Estimate>,
}

/// Something to be reached.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Target {
    /// What.
    pub what: String,
    /// How far it is, and where.
    pub value: String,
    /// How far it is to be.
    pub bound: f64,
    /// Whether it is reached.
    pub is_met: bool,
}

/// Everything.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Summary {
    /// All allocators.
    pub allocators: Vec<String>,
    /// Rows by group.
    pub rows: Vec<RowSummary>,
    /// Groups that have rows.
    pub groups: Vec<GroupSummary>,
    /// Targets for which there are rows; none if memento was not measured.
    pub targets: Vec<Target>,
}

/// Sums up results.
///
/// # Errors
/// If there is nothing, or something was not measured in turns.
pub fn summarise(results: &Results) -> Result<Summary> {
    let mut rows: Vec<_> =
        results.rows.iter().map(|row| row_summary(results, row)).collect::<Result<_>>()?;
    rows.retain(|row| row.rounds > 0);
    ensure!(!rows.is_empty(), "there is no complete round of any row");
    rows.sort_by_key(|row| row.row.group);
    let mut allocators: Vec<String> = Vec::new();
    for cell in rows.iter().flat_map(|row| &row.cells) {
        if !allocators.contains(&cell.allocator) {
            allocators.push(cell.allocator.clone());
        }
    }
    let groups = GROUPS.into_iter().filter_map(|group| group_summary(&rows, group, &allocators));
    Ok(Summary { groups: groups.collect(), targets: targets(&rows), allocators, rows })
}

fn row_summary(results: &Results, row: &Measured) -> Result<RowSummary> {
    let grid = results.grid(&row.name)?;
    let baseline = grid.position(SYSTEM);
    let middle = |allocator, quantity: fn(&Timed) -> u64| {
        median(&grid.column(allocator, quantity)).unwrap_or(0.0)
    };
    let watched = |allocator: &str, quantity: fn(&Watched) -> u64| {
        let of = |w: &&Watched| w.row == row.name && w.by == allocator;
        let values = results.watched.iter().filter(of).map(|w| quantity(w) as f64);
        median(&values.collect::<Vec<_>>())
    };
    let mean = |allocator: &str| watched(allocator, |w| w.mean_kib);
    let cells = grid.allocators.iter().enumerate().map(|(allocator, name)| {
        let to_baseline = |quantity: fn(&Timed) -> u64| {
            let base = middle(baseline?, quantity);
            (base > 0.0).then(|| middle(allocator, quantity) / base)
        };
        Cell {
            allocator: name.clone(),
            cpu_ms: middle(allocator, Timed::cpu_us) / 1e3,
            kernel_ms: middle(allocator, |t| t.kernel_us) / 1e3,
            wall_ms: middle(allocator, |t| t.wall_us) / 1e3,
            faults: middle(allocator, |t| t.faults),
            peak_kib: middle(allocator, |t| t.peak_kib),
            mean_kib: mean(name),
            anonymous_kib: watched(name, |w| w.anonymous_kib),
            cpu: baseline.and_then(|b| ratio(&grid, allocator, b, Timed::cpu_us)),
            wall: baseline.and_then(|b| ratio(&grid, allocator, b, |t| t.wall_us)),
            fault_ratio: to_baseline(|t| t.faults),
            peak_ratio: to_baseline(|t| t.peak_kib),
            mean_ratio: mean(name).zip(mean(SYSTEM)).map(|(a, b)| a / b),
        }
    });
    let others: Vec<usize> =
        (0..grid.allocators.len()).filter(|&a| grid.allocators[a] != MEMENTO).collect();
    let against = |subject: Option<usize>| against_best(&grid, subject?, &others);
    let inverted = |best: AgainstBest| AgainstBest {
        cpu: Estimate {
            ratio: 1.0 / best.cpu.ratio,
            interval: best.cpu.interval.map(|(lower, upper)| (1.0 / upper, 1.0 / lower)),
        },
        ..best
    };
    Ok(RowSummary {
        row: row.clone(),
        rounds: grid.rounds.len(),
        cells: cells.collect(),
        oracle: against(baseline).map(inverted),
        against_best: against(grid.position(MEMENTO)),
    })
}

fn group_summary(rows: &[RowSummary], group: Group, allocators: &[String]) -> Option<GroupSummary> {
    let rows: Vec<&RowSummary> = rows.iter().filter(|row| row.row.group == group).collect();
    // A mean over some of the rows could not be compared with that of another allocator.
    let all = |value: &dyn Fn(&RowSummary) -> Option<Estimate>| {
        let values: Option<Vec<_>> = rows.iter().map(|row| value(row)).collect();
        geometric_mean(&values?)
    };
    let exact = |ratio: f64| Estimate { ratio, interval: None };
    let mean = |name: &String| {
        let cpu = all(&|row| row.cell(name)?.cpu);
        let peak = all(&|row| row.cell(name)?.peak_ratio.map(exact));
        (name.clone(), cpu, peak.map(|mean| mean.ratio))
    };
    (!rows.is_empty()).then(|| GroupSummary {
        group,
        rows: rows.len(),
        ours: rows.iter().filter(|row| row.row.ours).count(),
        means: allocators.iter().map(mean).collect(),
        oracle: all(&|row| Some(row.oracle.as_ref()?.cpu)),
        against_best: all(&|row| Some(row.against_best.as_ref()?.cpu)),
    })
}

/// The targets that can be told from `rows`.
fn targets(rows: &[RowSummary]) -> Vec<Target> {
    let in_group = |group: Group| rows.iter().filter(move |row| row.row.group == group);
    let best = |row: &RowSummary| row.against_best.as_ref().map(|best| best.cpu);
    let cell = |row: &RowSummary| row.cell(MEMENTO).cloned();
    let exact = |ratio: f64| Estimate { ratio, interval: None };
    let peaks = || named(rows.iter(), |row| cell(row)?.peak_ratio.map(exact));
    let mut targets = vec![
        mean(
            "throughput: CPU time ÷ the best peer's, mean",
            0.95,
            named(in_group(Group::Throughput), best),
        ),
        worst(
            "throughput: CPU time ÷ the best peer's, every row",
            1.10,
            named(in_group(Group::Throughput), best),
        ),
        mean(
            "little: CPU time ÷ the best peer's, mean",
            1.01,
            named(in_group(Group::Little), best),
        ),
    ];
    for row in in_group(Group::StartUp) {
        let bound = if row.row.name == "true" { 1.12 } else { 1.02 };
        let what = format!("start-up: {}: CPU time ÷ glibc's", row.row.name);
        targets.push(worst(&what, bound, named(std::iter::once(row), |row| cell(row)?.cpu)));
    }
    let faults = named(rows.iter(), |row| {
        let heap = row.cell(SYSTEM)?.anonymous_kib?;
        (heap > HEAP_OF_FAULTS_KIB).then_some(())?;
        cell(row)?.fault_ratio.map(exact)
    });
    targets.push(mean("peak memory ÷ glibc's, mean", 1.10, peaks()));
    targets.push(worst("peak memory ÷ glibc's, every row", 1.25, peaks()));
    targets.push(worst("page faults ÷ glibc's, every row with a heap over 8 MiB", 0.5, faults));
    targets.into_iter().flatten().collect()
}

type Named<'a> = Vec<(&'a str, Estimate)>;

fn named<'a>(
    rows: impl Iterator<Item = &'a RowSummary>,
    value: impl Fn(&RowSummary) -> Option<Estimate>,
) -> Named<'a> {
    rows.filter_map(|row| Some((row.row.name.as_str(), value(row)?))).collect()
}

fn mean(what: &str, bound: f64, rows: Named<'_>) -> Option<Target> {
    let values: Vec<Estimate> = rows.into_iter().map(|(_, value)| value).collect();
    let mean = geometric_mean(&values)?;
    let value = format!("{mean}, {} rows", values.len());
    Some(Target { what: what.into(), value, bound, is_met: mean.ratio <= bound })
}

fn worst(what: &str, bound: f64, rows: Named<'_>) -> Option<Target> {
    let over = rows.iter().filter(|(_, value)| value.ratio > bound).count();
    let (name, value) = rows.iter().max_by(|a, b| a.1.ratio.total_cmp(&b.1.ratio))?;
    let value = format!("{value} in {name}, {over} of {} rows over", rows.len());
    Some(Target { what: what.into(), value, bound, is_met: over == 0 })
}

/// The names of allocators with what they are, for a table.
///
/// # Errors
/// If an allocator was another version in another run.
pub fn versions(results: &Results) -> Result<Vec<[String; 3]>> {
    let mut all: Vec<[String; 3]> = Vec::new();
    for allocator in results.runs.iter().flat_map(|run| &run.allocators) {
        let line = [&allocator.name, &allocator.version, &allocator.origin].map(Clone::clone);
        match all.iter().find(|known| known[0] == line[0]) {
            Some(known) => {
                ensure!(*known == line, "{} was another version in another run", line[0])
            }
            None => all.push(line),
        }
    }
    all.first().context("no run is named")?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Line;
    use crate::results::tests::timed;

    /// An allocator and its CPU time.
    type Cost = (&'static str, u64);

    /// Rows of a group each: allocators with their CPU times, the same in every one of eight rounds.
    fn results(rows: &[(&str, Group, &[Cost])]) -> Results {
        let mut results = Results::default();
        for (name, group, costs) in rows {
            let row = Measured {
                name: (*name).into(),
                group: *group,
                ours: false,
                threads: 1,
                share: None,
                at_once: false,
            };
            results.add(Line::Row(row)).unwrap();
            for round in 0..8 {
                for (turn, (by, cost)) in costs.iter().enumerate() {
                    results.timed.push(Timed {
                        row: (*name).into(),
                        user_us: *cost,
                        kernel_us: 0,
                        peak_kib: *cost,
                        faults: *cost,
                        ..timed("1", by, round, turn)
                    });
                }
            }
        }
        results
    }

    fn watched(row: &str, by: &str, anonymous_kib: u64) -> Watched {
        Watched { run: "1".into(), row: row.into(), by: by.into(), mean_kib: 10, anonymous_kib }
    }

    #[test]
    fn the_best_peer_is_another_for_every_row() {
        let results = results(&[
            ("a", Group::Throughput, &[("glibc", 1000), ("x", 500), ("y", 800), ("memento", 450)]),
            ("b", Group::Throughput, &[("glibc", 1000), ("x", 800), ("y", 500), ("memento", 450)]),
            ("c", Group::Little, &[("glibc", 1000), ("x", 1200), ("y", 1100), ("memento", 1005)]),
        ]);
        let got = summarise(&results).unwrap();
        let chosen = |row: usize| got.rows[row].against_best.clone().unwrap().chosen;
        assert_eq!(chosen(0), ["x", "x"]);
        assert_eq!(chosen(1), ["y", "y"]);
        assert_eq!(chosen(2), ["glibc", "glibc"], "glibc is a peer, too");
        let throughput = &got.groups[0];
        assert!((throughput.against_best.unwrap().ratio - 0.9).abs() < 1e-9);
        assert!((throughput.oracle.unwrap().ratio - 0.5).abs() < 1e-9);
        let (name, cpu, peak) = &throughput.means[1];
        assert_eq!(name, "x");
        assert!((cpu.unwrap().ratio - 0.4f64.sqrt()).abs() < 1e-9);
        assert!((peak.unwrap() - 0.4f64.sqrt()).abs() < 1e-9);
        assert!(got.targets[0].is_met && got.targets[1].is_met && got.targets[2].is_met);
    }

    #[test]
    fn a_target_that_one_row_misses_is_missed() {
        let results = results(&[
            ("a", Group::Throughput, &[("glibc", 1000), ("memento", 500)]),
            ("b", Group::Throughput, &[("glibc", 1000), ("memento", 1200)]),
        ]);
        let targets = summarise(&results).unwrap().targets;
        let (mean, worst) = (&targets[0], &targets[1]);
        assert!(mean.is_met, "{mean:?}");
        assert!(!worst.is_met && worst.value.contains("in b, 1 of 2 rows over"), "{worst:?}");
    }

    #[test]
    fn faults_count_where_the_heap_is_large() {
        let mut results = results(&[
            ("large", Group::Throughput, &[("glibc", 1000), ("memento", 400)]),
            ("small", Group::Throughput, &[("glibc", 1000), ("memento", 2000)]),
        ]);
        results.watched = vec![
            watched("large", "glibc", 9 * 1024),
            watched("large", "memento", 1),
            watched("small", "glibc", 7 * 1024),
        ];
        let targets = summarise(&results).unwrap().targets;
        let faults = targets.iter().find(|t| t.what.starts_with("page faults")).unwrap();
        assert!(faults.is_met && faults.value.contains("of 1 rows"), "{faults:?}");
    }

    #[test]
    fn without_memento_there_are_peers_but_no_targets() {
        let results = results(&[("a", Group::Throughput, &[("glibc", 1000), ("x", 500)])]);
        let got = summarise(&results).unwrap();
        assert!(got.targets.is_empty());
        assert!((got.groups[0].oracle.unwrap().ratio - 0.5).abs() < 1e-9);
    }

    #[test]
    fn what_was_not_interleaved_has_no_summary() {
        let mut results =
            results(&[("a", Group::Throughput, &[("glibc", 1000), ("memento", 500)])]);
        for timed in results.timed.iter_mut().filter(|timed| timed.by == "memento") {
            timed.run = "2".into();
        }
        let error = summarise(&results).unwrap_err().to_string();
        assert!(error.contains("not taken in turns"), "{error}");
    }
}
