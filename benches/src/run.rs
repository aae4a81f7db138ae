//! Runs rows under allocators in turns, and writes down every round.
//!
//! Each round runs every allocator once, close together in time, and begins with another one than the round
//! before; or, of programs of one thread, all of them at once on one processor. Whether a row gets more rounds is
//! decided by how wide its intervals are, never by what they say.

use crate::allocators::Allocator;
use crate::fair;
use crate::launch::Launcher;
use crate::results::{Grid, Line, Log, Measured, Timed, Watched};
use crate::rows::Row;
use anyhow::{Context, Result};
use memento::engine::Sample;
use memento::engine::rounds::{self, Next, Turn};

/// How long to go on.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Plan {
    /// Rounds that are thrown away.
    pub warmup: usize,
    /// Rounds that count.
    pub rounds: usize,
    /// Most rounds for a row whose intervals are wide.
    pub max_rounds: usize,
    /// How wide an interval of a ratio may be, as a fraction of the ratio.
    pub precision: f64,
    /// Rounds in which programs are watched instead of timed.
    pub watched: usize,
    /// Whether the allocators of a round run at once, where a row allows it.
    pub at_once: bool,
}

/// A run that is under way.
pub struct Session<'a> {
    /// Its name.
    pub id: String,
    /// What every round runs.
    pub allocators: Vec<Allocator>,
    /// How long to go on.
    pub plan: Plan,
    /// Where samples go.
    pub log: Log,
    /// Hears what is about to be run.
    pub progress: &'a mut dyn FnMut(&str),
}

impl Session<'_> {
    /// Measures one row.
    ///
    /// # Errors
    /// The first of an execution or of the log. What was written before stays.
    pub fn measure(&mut self, row: &Row, launcher: &mut dyn Launcher) -> Result<()> {
        // A server's client would have to wait for its turn, too.
        let at_once = self.plan.at_once && row.threads == 1 && row.client.is_none();
        launcher.begin();
        self.log.append(&[Line::Row(Measured { at_once, ..Measured::from(row) })])?;
        let Self { id, allocators, plan, log, progress } = self;
        let names = allocators.iter().map(|allocator| allocator.name.clone()).collect();
        let mut grid = Grid { allocators: names, rounds: Vec::new() };
        let schedule = rounds::Plan {
            warmup: plan.warmup,
            min_rounds: plan.rounds,
            max_rounds: plan.max_rounds.max(plan.rounds),
            precision: plan.precision,
        };
        let measured: &dyn Launcher = launcher;
        let run = |turn: Turn| {
            let allocator = &allocators[turn.job];
            let sample = measured
                .launch(row, allocator)
                .with_context(|| format!("{} under {}", row.name, allocator.name))?;
            Ok(timed(id, row, allocator, turn, &sample))
        };
        let complete = &mut |round: Vec<Timed>| {
            log.append(&round.iter().cloned().map(Line::Timed).collect::<Vec<_>>())?;
            grid.rounds.push(round);
            let enough = grid.rounds.len() >= plan.rounds && fair::widest(&grid) <= plan.precision;
            Ok(if enough { Next::Enough } else { Next::More })
        };
        progress(&row.name);
        match at_once {
            true => rounds::at_once(allocators.len(), &schedule, &run, complete)?,
            false => rounds::in_turns(
                allocators.len(),
                &schedule,
                &mut |turn| {
                    progress(&format!(
                        "{}, round {}, {}",
                        row.name, turn.round, allocators[turn.job].name
                    ));
                    run(turn)
                },
                complete,
            )?,
        }
        (0..self.plan.watched).try_for_each(|_| self.watch(row, launcher))
    }

    fn watch(&mut self, row: &Row, launcher: &mut dyn Launcher) -> Result<()> {
        for allocator in &self.allocators {
            (self.progress)(&format!("{}, watched, {}", row.name, allocator.name));
            let curve = launcher.watch(row, allocator)?;
            let Some((mean, anonymous)) = curve.mean_rss().zip(curve.peak_anonymous()) else {
                continue;
            };
            self.log.append(&[Line::Watched(Watched {
                run: self.id.clone(),
                row: row.name.clone(),
                by: allocator.name.clone(),
                mean_kib: mean as u64 >> 10,
                anonymous_kib: anonymous >> 10,
            })])?;
        }
        Ok(())
    }
}

fn timed(id: &str, row: &Row, allocator: &Allocator, turn: Turn, sample: &Sample) -> Timed {
    Timed {
        run: id.into(),
        row: row.name.clone(),
        by: allocator.name.clone(),
        round: turn.round,
        turn: turn.turn,
        wall_us: sample.wall_ns / 1000,
        user_us: sample.user_ns / 1000,
        kernel_us: sample.system_ns / 1000,
        faults: sample.minor_faults,
        peak_kib: sample.peak_rss_bytes >> 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Results;
    use crate::rows::parse;
    use memento::engine::Exit;
    use memento::engine::watch::{Curve, Look};
    use std::sync::Mutex;

    /// Says what each execution costs, without running anything.
    struct Fake<F>(Mutex<(Vec<String>, F)>);

    impl<F: FnMut(usize, &str) -> Result<u64> + Send> Launcher for Fake<F> {
        fn begin(&mut self) {}

        fn launch(&self, _: &Row, allocator: &Allocator) -> Result<Sample> {
            let (order, cost) = &mut *self.0.lock().unwrap();
            let cost = cost(order.len(), &allocator.name)?;
            order.push(allocator.name.clone());
            Ok(Sample {
                exit: Exit { code: Some(0), signal: None },
                wall_ns: cost,
                user_ns: cost,
                system_ns: 0,
                minor_faults: 1,
                major_faults: 0,
                peak_rss_bytes: 4096,
                voluntary_switches: 0,
                involuntary_switches: 0,
            })
        }

        fn watch(&self, _: &Row, _: &Allocator) -> Result<Curve> {
            let look = Look { at_ns: 0, cpu_ns: 0, rss_bytes: 2048, anonymous_bytes: 1024 };
            Ok(Curve { looks: vec![look], wall_ns: 1 << 30, cpu_ns: 0 })
        }
    }

    fn measure(
        plan: Plan,
        cost: impl FnMut(usize, &str) -> Result<u64> + Send,
    ) -> (Vec<String>, Results, Result<()>) {
        measure_row("threads=1", plan, cost)
    }

    fn measure_row(
        keys: &str,
        plan: Plan,
        cost: impl FnMut(usize, &str) -> Result<u64> + Send,
    ) -> (Vec<String>, Results, Result<()>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let allocator = |name: &str| Allocator {
            name: name.into(),
            version: "".into(),
            origin: "".into(),
            preload: None,
            variable: None,
        };
        let mut launcher = Fake(Mutex::new((Vec::new(), cost)));
        let text = format!("[[row]]\nname='row'\ngroup='little'\ncommand=['true']\n{keys}");
        let rows = parse(&text).unwrap();
        let result = Session {
            id: "1".into(),
            allocators: ["a", "b", "c"].map(allocator).into(),
            plan,
            log: Log::open(file.path()).unwrap(),
            progress: &mut |_| {},
        }
        .measure(&rows[0], &mut launcher);
        let (order, _) = launcher.0.into_inner().unwrap();
        (order, Results::read(&[file.path()]).unwrap(), result)
    }

    const PLAN: Plan =
        Plan { warmup: 1, rounds: 2, max_rounds: 2, precision: 1.0, watched: 1, at_once: false };

    #[test]
    fn rounds_rotate_and_are_written_down() {
        let (order, results, result) = measure(PLAN, |_, _| Ok(1000));
        result.unwrap();
        assert_eq!(order.concat(), "abcbcacab", "a round of warm-up, and two that count");
        assert_eq!((results.timed.len(), results.watched.len()), (6, 3));
        assert_eq!(results.grid("row").unwrap().rounds.len(), 2);
    }

    #[test]
    fn programs_of_one_thread_run_at_once_and_others_in_turns() {
        let at_once = Plan { at_once: true, ..PLAN };
        let (order, results, result) = measure(at_once, |_, _| Ok(1000));
        result.unwrap();
        assert!(results.rows[0].at_once);
        for round in order.chunks(3) {
            let mut all = round.to_vec();
            all.sort_unstable();
            assert_eq!(all.concat(), "abc");
        }
        assert_eq!(results.grid("row").unwrap().rounds.len(), 2);
        let (order, results, _) = measure_row("threads=2", at_once, |_, _| Ok(1000));
        assert_eq!(order.concat(), "abcbcacab");
        assert!(!results.rows[0].at_once);
        let (_, _, result) = measure(at_once, |_, name| match name {
            "b" => anyhow::bail!("stopped"),
            _ => Ok(1000),
        });
        assert!(result.is_err());
    }

    #[test]
    fn an_interruption_leaves_whole_rounds() {
        let (_, results, result) =
            measure(PLAN, |n, _| if n < 7 { Ok(1000) } else { anyhow::bail!("stopped") });
        assert!(result.is_err());
        assert_eq!(results.grid("row").unwrap().rounds.len(), 1);
    }

    #[test]
    fn wide_intervals_get_more_rounds_and_narrow_ones_do_not() {
        let plan = Plan { rounds: 6, max_rounds: 9, precision: 0.01, ..PLAN };
        let rounds = |cost: fn(usize, &str) -> Result<u64>| {
            measure(plan, cost).1.grid("row").unwrap().rounds.len()
        };
        assert_eq!(rounds(|_, _| Ok(1_000_000)), 6);
        assert_eq!(rounds(|n, _| Ok(1_000_000 + (n as u64 * 7919) % 500_000)), 9);
    }
}
