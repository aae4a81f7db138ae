//! Samples and where they come from, in files that only grow: JSON, one object a line.
//!
//! Each sample names its run, row, round and turn, so that whoever reads it can tell whether two samples
//! were taken in turns; [`Results::grid`] refuses those that were not. A round is written when it is
//! complete: whatever interrupts a run, all that is in the file can be used.

use crate::allocators::Allocator;
use crate::rows::{Group, Row};
use anyhow::{Context, Result, bail, ensure};
use memento::engine::host::Host;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

/// A run of the suite: what was there.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Tells runs apart.
    pub id: String,
    /// When it began, in seconds since 1970.
    pub began: u64,
    /// Operating system and processor.
    pub host: Host,
    /// What programs were run with.
    pub allocators: Vec<Allocator>,
}

/// What a row was when it was measured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Its name.
    pub name: String,
    /// Its group.
    pub group: Group,
    /// Whether this project wrote it.
    pub ours: bool,
    /// Threads that allocate.
    pub threads: u32,
    /// The allocator's share of instructions under glibc.
    pub share: Option<f64>,
    /// Whether all allocators of a round ran at the same time, on one processor.
    #[serde(default)]
    pub at_once: bool,
}

impl From<&Row> for Measured {
    fn from(row: &Row) -> Self {
        let Row { name, group, ours, threads, share, .. } = row;
        Self {
            name: name.clone(),
            group: *group,
            ours: *ours,
            threads: *threads,
            share: *share,
            at_once: false,
        }
    }
}

/// One execution.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Timed {
    /// The run.
    pub run: String,
    /// The row.
    pub row: String,
    /// The allocator.
    pub by: String,
    /// The round, from 0.
    pub round: usize,
    /// The place in the round, from 0.
    pub turn: usize,
    /// From start to end.
    pub wall_us: u64,
    /// CPU time of the program.
    pub user_us: u64,
    /// CPU time of the kernel for it.
    pub kernel_us: u64,
    /// Page faults without input.
    pub faults: u64,
    /// Peak resident set.
    pub peak_kib: u64,
}

impl Timed {
    /// CPU time, program and kernel.
    pub fn cpu_us(&self) -> u64 {
        self.user_us + self.kernel_us
    }
}

/// One execution that was watched.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Watched {
    /// The run.
    pub run: String,
    /// The row.
    pub row: String,
    /// The allocator.
    pub by: String,
    /// Resident set, averaged over time.
    pub mean_kib: u64,
    /// Largest anonymous resident memory seen.
    pub anonymous_kib: u64,
}

/// One line of a file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Line {
    /// A run begins.
    Run(Run),
    /// What a row is. The last line for it holds: its share may be counted after it was timed, and decides on
    /// its group.
    Row(Measured),
    /// An execution.
    Timed(Timed),
    /// An execution that was watched.
    Watched(Watched),
}

/// A file of lines that is appended to.
pub struct Log {
    file: File,
}

impl Log {
    /// Opens `path`, and makes it if need be.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(path);
        Ok(Self { file: file.with_context(|| format!("cannot write {}", path.display()))? })
    }

    /// Appends `lines` in one piece.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn append(&mut self, lines: &[Line]) -> Result<()> {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
        }
        self.file.write_all(&text).context("cannot write the results")
    }
}

/// All lines of some files.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Results {
    /// The runs, in order.
    pub runs: Vec<Run>,
    /// The rows, in order of their first measurement.
    pub rows: Vec<Measured>,
    /// Executions.
    pub timed: Vec<Timed>,
    /// Executions that were watched.
    pub watched: Vec<Watched>,
}

impl Results {
    /// Reads files.
    ///
    /// # Errors
    /// If one cannot be read or is damaged, or two describe a row differently.
    pub fn read<P: AsRef<Path>>(paths: &[P]) -> Result<Self> {
        let mut results = Self::default();
        for path in paths {
            let path = path.as_ref();
            let file = File::open(path).with_context(|| format!("no {}", path.display()))?;
            for (number, line) in BufReader::new(file).lines().enumerate() {
                let place = || format!("{}, line {}", path.display(), number + 1);
                let line = serde_json::from_str(&line?).with_context(place)?;
                results.add(line).with_context(place)?;
            }
        }
        Ok(results)
    }

    /// Adds a line.
    ///
    /// # Errors
    /// If it contradicts an earlier one.
    pub fn add(&mut self, line: Line) -> Result<()> {
        match line {
            Line::Run(run) => {
                ensure!(!self.runs.iter().any(|r| r.id == run.id), "run {} occurs twice", run.id);
                self.runs.push(run);
            }
            Line::Row(row) => match self.rows.iter_mut().find(|known| known.name == row.name) {
                Some(known) => {
                    let is_same = known.ours == row.ours && known.threads == row.threads;
                    ensure!(is_same, "{} was another row before", row.name);
                    // Wall clocks differ: what an allocator does after a while it does at another point.
                    let alike = known.at_once == row.at_once;
                    ensure!(
                        alike,
                        "{} was measured at once in one run and in turns in another",
                        row.name
                    );
                    *known = row;
                }
                None => self.rows.push(row),
            },
            Line::Timed(timed) => self.timed.push(timed),
            Line::Watched(watched) => self.watched.push(watched),
        }
        Ok(())
    }

    /// The samples of a row as rounds, each of which has every allocator once.
    ///
    /// # Errors
    /// If they were not taken in turns: if a round lacks an allocator that another round of the row has, or
    /// has one twice, or two at the same turn.
    pub fn grid(&self, row: &str) -> Result<Grid> {
        let mut rounds: BTreeMap<(&str, usize), BTreeMap<&str, &Timed>> = BTreeMap::new();
        let mut allocators: Vec<&str> = Vec::new();
        for timed in self.timed.iter().filter(|timed| timed.row == row) {
            if !allocators.contains(&timed.by.as_str()) {
                allocators.push(&timed.by);
            }
            let round = rounds.entry((&timed.run, timed.round)).or_default();
            let twice = round.insert(&timed.by, timed).is_some();
            ensure!(
                !twice,
                "{row}: {} is twice in round {} of run {}",
                timed.by,
                timed.round,
                timed.run
            );
        }
        for ((run, number), round) in &rounds {
            if let Some(lacking) = allocators.iter().find(|name| !round.contains_key(*name)) {
                bail!(
                    "{row}: round {number} of run {run} has {} but not {lacking}, which was measured in \
                     another run or round. Samples that were not taken in turns are not compared; \
                     measure all allocators in one run",
                    round.keys().copied().collect::<Vec<_>>().join(", ")
                );
            }
            let turns: BTreeSet<_> = round.values().map(|timed| timed.turn).collect();
            ensure!(
                turns.len() == round.len(),
                "{row}: round {number} of run {run} is out of turn"
            );
        }
        // The order of running says nothing; that of the run's own list does.
        let listed = |name: &str| {
            let mut all = self.runs.iter().flat_map(|run| &run.allocators);
            all.position(|allocator| allocator.name == name)
        };
        allocators.sort_by_key(|name| listed(name));
        let ordered = |round: &BTreeMap<&str, &Timed>| {
            allocators.iter().map(|name| round[name].clone()).collect()
        };
        Ok(Grid {
            rounds: rounds.values().map(ordered).collect(),
            allocators: allocators.iter().map(|&name| name.to_owned()).collect(),
        })
    }
}

/// Samples that were taken in turns.
#[derive(Clone, PartialEq, Debug)]
pub struct Grid {
    /// Names.
    pub allocators: Vec<String>,
    /// `rounds[r][a]` is allocator *a* in round *r*.
    pub rounds: Vec<Vec<Timed>>,
}

impl Grid {
    /// The place of an allocator.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.allocators.iter().position(|allocator| allocator == name)
    }

    /// A quantity of one allocator in all rounds.
    pub fn column(&self, allocator: usize, quantity: impl Fn(&Timed) -> u64) -> Vec<f64> {
        self.rounds.iter().map(|round| quantity(&round[allocator]) as f64).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn timed(run: &str, by: &str, round: usize, turn: usize) -> Timed {
        Timed {
            run: run.into(),
            row: "row".into(),
            by: by.into(),
            round,
            turn,
            wall_us: 4,
            user_us: 2,
            kernel_us: 1,
            faults: 5,
            peak_kib: 6,
        }
    }

    fn results(timed: Vec<Timed>) -> Results {
        Results { timed, ..Results::default() }
    }

    #[test]
    fn rounds_are_put_together_across_runs() {
        let grid = results(vec![
            timed("1", "a", 0, 0),
            timed("1", "b", 0, 1),
            timed("2", "b", 0, 0),
            timed("2", "a", 0, 1),
        ])
        .grid("row")
        .unwrap();
        assert_eq!(grid.rounds.len(), 2);
        assert!(grid.rounds.iter().all(|round| round[0].by == "a" && round[1].by == "b"));
        assert_eq!(grid.column(1, Timed::cpu_us), [3.0, 3.0]);
    }

    #[test]
    fn allocators_of_different_runs_are_refused() {
        let error = results(vec![timed("1", "a", 0, 0), timed("2", "b", 0, 0)]);
        let error = error.grid("row").unwrap_err().to_string();
        assert!(error.contains("run 1 has a but not b"), "{error}");
        assert!(error.contains("not taken in turns"), "{error}");
    }

    #[test]
    fn allocators_of_different_rounds_are_refused() {
        let error = results(vec![timed("1", "a", 0, 0), timed("1", "b", 1, 0)]);
        assert!(error.grid("row").is_err());
    }

    #[test]
    fn a_round_with_one_turn_twice_is_refused() {
        let error = results(vec![timed("1", "a", 0, 1), timed("1", "b", 0, 1)]);
        assert!(error.grid("row").unwrap_err().to_string().contains("out of turn"));
        let error = results(vec![timed("1", "a", 0, 0), timed("1", "a", 0, 1)]);
        assert!(error.grid("row").unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.jsonl");
        let lines = [Line::Timed(timed("1", "a", 0, 0)), Line::Timed(timed("1", "b", 0, 1))];
        Log::open(&path).unwrap().append(&lines[..1]).unwrap();
        Log::open(&path).unwrap().append(&lines[1..]).unwrap();
        assert_eq!(Results::read(&[&path]).unwrap().timed.len(), 2);
        std::fs::write(&path, "{\"timed\":").unwrap();
        let error = format!("{:#}", Results::read(&[&path]).unwrap_err());
        assert!(error.contains("line 1"), "{error}");
    }

    #[test]
    fn a_row_may_be_described_again_but_not_be_another() {
        let described = |threads, share, at_once| {
            let group = Group::Throughput;
            Line::Row(Measured { name: "a".into(), group, ours: true, threads, share, at_once })
        };
        let row = |threads, share| described(threads, share, false);
        let mut results = Results::default();
        results.add(row(1, None)).unwrap();
        results.add(row(1, Some(0.4))).unwrap();
        assert_eq!((results.rows.len(), results.rows[0].share), (1, Some(0.4)));
        assert!(results.add(row(2, Some(0.4))).is_err());
        assert!(results.add(described(1, Some(0.4), true)).is_err());
    }
}
