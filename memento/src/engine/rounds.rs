//! Runs several programs in turns: A B D C, B C A D, C D B A, …
//!
//! On a shared machine speed drifts by tens of percent within seconds. Each round runs every
//! program once, close together in time, so that the ratio of two programs *within a round* is
//! nearly free of the drift. A program also leaves something behind: caches, free memory in one state or
//! another. So the orders are those of a balanced Latin square (Williams, 1949): over as many rounds as there
//! are programs, or twice as many if that is odd, each of them follows each other one equally often.
//!
//! Closer still are programs that run *at once on one processor* ([`at_once`]): the system lets each have it for a few
//! milliseconds at a time, so that all see the same speed, and their CPU times differ by what they do. It is for
//! programs of one thread: those of more would wait for themselves. Wall time passes as many times faster for them as there
//! are programs, so what depends on it is not as alone: an allocator that gives back what was not used for some
//! milliseconds gives back more.

use super::sample::{Job, Sample};
use super::stats::{Paired, paired_ratio};
use anyhow::{Context, Result, anyhow, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use std::thread;

/// Runs a job. The engine's only way to the outside, so that its arithmetic can be tested.
pub trait Executor {
    /// Runs `job` once.
    ///
    /// # Errors
    /// If it could not be run at all; a program that fails is a sample.
    fn execute(&mut self, job: &Job) -> Result<Sample>;
}

/// How long to go on.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Plan {
    /// Rounds whose samples are thrown away.
    pub warmup: usize,
    /// Fewest rounds that count. An interval at 95 % needs at least 6, one that a single wild round
    /// does not move at least 12.
    pub min_rounds: usize,
    /// Most rounds that count.
    pub max_rounds: usize,
    /// Stop once the interval of every ratio is no wider than this, as a fraction of the ratio.
    ///
    /// The width decides, never the verdict: whoever stops when the verdict pleases finds pleasing
    /// verdicts.
    pub precision: f64,
}

impl Default for Plan {
    fn default() -> Self {
        Self { warmup: 1, min_rounds: 12, max_rounds: 60, precision: 0.02 }
    }
}

/// Samples of all rounds: `rounds[r][j]` is job *j* in round *r*, whatever the order of running.
#[derive(Clone, PartialEq, Debug)]
pub struct Series {
    /// Complete rounds, in order.
    pub rounds: Vec<Vec<Sample>>,
}

impl Series {
    /// One quantity of one job over all rounds.
    pub fn column(&self, job: usize, quantity: impl Fn(&Sample) -> u64) -> Vec<f64> {
        self.rounds.iter().map(|round| quantity(&round[job]) as f64).collect()
    }

    /// The ratio job ÷ baseline of a quantity, paired by round. `None` if there are too few
    /// rounds, or a sample is zero.
    pub fn ratio(
        &self,
        job: usize,
        baseline: usize,
        quantity: impl Fn(&Sample) -> u64,
    ) -> Option<Paired> {
        paired_ratio(&self.column(job, &quantity), &self.column(baseline, &quantity))
    }
}

/// One execution's place in the schedule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    /// The round, from 0; rounds of warm-up are counted too.
    pub round: usize,
    /// The place in the round, from 0.
    pub turn: usize,
    /// What is to be run.
    pub job: usize,
}

/// Whether there are to be more rounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// The plan decides.
    More,
    /// It is enough.
    Enough,
}

/// The job at a place of a round.
fn job_at(jobs: usize, round: usize, turn: usize) -> usize {
    // 0, 1, last, 2, last but one, …: the distances of neighbours are all different.
    let backwards = jobs % 2 == 1 && round / jobs % 2 == 1;
    let turn = if backwards { jobs - 1 - turn } else { turn };
    let first = if turn % 2 == 1 { turn.div_ceil(2) } else { (jobs - turn / 2) % jobs };
    (first + round) % jobs
}

/// The schedule itself: calls `run` for each of `jobs` in every round, in a balanced order, and `complete` with the results of every round that counts, in the order of the jobs. Goes on to
/// `max_rounds`; `complete` ends it earlier.
///
/// # Errors
/// The first of `run` or `complete`.
pub fn in_turns<T>(
    jobs: usize,
    plan: &Plan,
    run: &mut dyn FnMut(Turn) -> Result<T>,
    complete: &mut dyn FnMut(Vec<T>) -> Result<Next>,
) -> Result<()> {
    let one_after_the_other =
        &mut |turns: Vec<Turn>| turns.into_iter().map(&mut *run).collect::<Result<Vec<T>>>();
    in_rounds(jobs, plan, one_after_the_other, complete)
}

/// As [`in_turns`], but the jobs of a round are started in its order and then run at the same time, on one processor.
/// `run` is called by a thread for each, and what it starts inherits the processor.
///
/// # Errors
/// The first of `run` or `complete`; or if no processor can be chosen.
pub fn at_once<T: Send>(
    jobs: usize,
    plan: &Plan,
    run: &(dyn Fn(Turn) -> Result<T> + Sync),
    complete: &mut dyn FnMut(Vec<T>) -> Result<Next>,
) -> Result<()> {
    let processor = last_processor()?;
    let together = &mut |turns: Vec<Turn>| {
        let alone = |turn| {
            sched_setaffinity(Pid::from_raw(0), &processor).context("cannot choose a processor")?;
            run(turn)
        };
        thread::scope(|scope| {
            let threads: Vec<_> =
                turns.into_iter().map(|turn| scope.spawn(move || alone(turn))).collect();
            let ended = threads.into_iter().map(|thread| thread.join());
            ended.map(|result| result.map_err(|_| anyhow!("a thread panicked"))?).collect()
        })
    };
    in_rounds(jobs, plan, together, complete)
}

/// The last of the processors that this thread may use: the first has most of the system's own work.
fn last_processor() -> Result<CpuSet> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).context("cannot ask for the processors")?;
    let last = (0..CpuSet::count()).rev().find(|&cpu| allowed.is_set(cpu).unwrap_or(false));
    let mut set = CpuSet::new();
    set.set(last.context("there is no processor")?)?;
    Ok(set)
}

/// The rounds: `run` gets the turns of each, in order, and returns what they gave.
fn in_rounds<T>(
    jobs: usize,
    plan: &Plan,
    run: &mut dyn FnMut(Vec<Turn>) -> Result<Vec<T>>,
    complete: &mut dyn FnMut(Vec<T>) -> Result<Next>,
) -> Result<()> {
    for round in 0..plan.warmup + plan.max_rounds {
        let turns = (0..jobs).map(|turn| Turn { round, turn, job: job_at(jobs, round, turn) });
        let ended = run(turns.collect())?;
        let mut results: Vec<Option<T>> = (0..jobs).map(|_| None).collect();
        for (turn, result) in ended.into_iter().enumerate() {
            results[job_at(jobs, round, turn)] = Some(result);
        }
        let results = results.into_iter().flatten().collect();
        if round >= plan.warmup && complete(results)? == Next::Enough {
            break;
        }
    }
    Ok(())
}

/// Runs `jobs` in turns as `plan` says. Precision is judged by wall time against the first job,
/// the baseline.
///
/// # Errors
/// The first error of the executor; or a job that ends unsuccessfully, since its time says nothing.
pub fn interleave(jobs: &[Job], plan: &Plan, executor: &mut dyn Executor) -> Result<Series> {
    let mut series = Series { rounds: Vec::new() };
    let run = &mut |turn: Turn| {
        let job = &jobs[turn.job];
        let sample = executor.execute(job)?;
        ensure!(
            sample.exit.is_success(),
            "{:?} failed ({:?}): a failing program cannot be compared",
            job.command,
            sample.exit
        );
        Ok(sample)
    };
    in_turns(jobs.len(), plan, run, &mut |round| {
        series.rounds.push(round);
        let enough = series.rounds.len() >= plan.min_rounds;
        let enough = enough && is_precise(&series, jobs.len(), plan);
        Ok(if enough { Next::Enough } else { Next::More })
    })?;
    Ok(series)
}

fn is_precise(series: &Series, jobs: usize, plan: &Plan) -> bool {
    (1..jobs).all(|job| {
        series
            .ratio(job, 0, |s| s.wall_ns)
            .is_some_and(|ratio| ratio.upper / ratio.lower - 1.0 <= plan.precision)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Exit;

    /// Takes a time for each job from a script, and notes the order.
    struct Mock<F: FnMut(usize, usize) -> u64> {
        /// (job, number of its run) → wall time.
        time: F,
        order: Vec<usize>,
        code: i32,
    }

    impl<F: FnMut(usize, usize) -> u64> Executor for Mock<F> {
        fn execute(&mut self, job: &Job) -> Result<Sample> {
            let index: usize = job.command[0].to_str().unwrap().parse()?;
            let run = self.order.iter().filter(|j| **j == index).count();
            self.order.push(index);
            Ok(Sample {
                exit: Exit { code: Some(self.code), signal: None },
                wall_ns: (self.time)(index, run),
                user_ns: 0,
                system_ns: 0,
                minor_faults: 0,
                major_faults: 0,
                peak_rss_bytes: 0,
                voluntary_switches: 0,
                involuntary_switches: 0,
            })
        }
    }

    fn jobs(n: usize) -> Vec<Job> {
        (0..n).map(|i| Job { command: vec![i.to_string().into()], environment: vec![] }).collect()
    }

    #[test]
    fn every_job_follows_every_other_equally_often() {
        for jobs in 1..=10 {
            let rounds = if jobs % 2 == 0 { jobs } else { 2 * jobs };
            let mut follows = vec![vec![0; jobs]; jobs];
            for round in 0..rounds {
                let order: Vec<usize> = (0..jobs).map(|turn| job_at(jobs, round, turn)).collect();
                order.windows(2).for_each(|pair| follows[pair[0]][pair[1]] += 1);
                let mut sorted = order;
                sorted.sort_unstable();
                assert_eq!(sorted, (0..jobs).collect::<Vec<_>>());
            }
            for (before, row) in follows.iter().enumerate() {
                for (after, times) in row.iter().enumerate() {
                    let want = if before == after { 0 } else { rounds / jobs };
                    assert_eq!(*times, want, "{after} after {before} of {jobs}");
                }
            }
        }
    }

    #[test]
    fn orders_differ_and_samples_stay_with_their_job() {
        let mut mock =
            Mock { time: |job, run| (10 * job + run + 1) as u64, order: vec![], code: 0 };
        let plan = Plan { warmup: 1, min_rounds: 3, max_rounds: 3, precision: 0.0 };
        let series = interleave(&jobs(3), &plan, &mut mock).unwrap();
        assert_eq!(mock.order, [0, 1, 2, 1, 2, 0, 2, 0, 1, 2, 1, 0]);
        assert_eq!(series.rounds.len(), 3);
        // Run 0 was the warm-up.
        assert_eq!(series.column(2, |s| s.wall_ns), [22.0, 23.0, 24.0]);
    }

    #[test]
    fn jobs_at_once_are_all_there_together_on_one_processor() {
        let all = std::sync::Barrier::new(3);
        let run = |turn: Turn| {
            // Nobody goes on before all have come.
            all.wait();
            let set = sched_getaffinity(Pid::from_raw(0))?;
            let processors = (0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false));
            ensure!(turn.round < 3, "stopped");
            Ok((turn, processors.collect::<Vec<_>>()))
        };
        let plan = Plan { warmup: 1, min_rounds: 2, max_rounds: 9, precision: 0.0 };
        let before = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let mut rounds = Vec::new();
        let result = at_once(3, &plan, &run, &mut |round| {
            rounds.push(round);
            Ok(Next::More)
        });
        assert_eq!(result.unwrap_err().to_string(), "stopped");
        assert_eq!(rounds.len(), 2, "one was warm-up, and the last failed");
        for round in rounds {
            let one = round[0].1.clone();
            assert_eq!(one.len(), 1);
            for (job, (turn, processors)) in round.into_iter().enumerate() {
                assert_eq!((turn.job, processors), (job, one.clone()));
            }
        }
        assert_eq!(sched_getaffinity(Pid::from_raw(0)).unwrap(), before, "the caller is as it was");
    }

    #[test]
    fn steady_ratios_stop_early_although_speed_drifts() {
        let drift = |run: usize| 1.0 + run as f64;
        let mut mock = Mock {
            time: |job, run| (1e6 * drift(run) * if job == 1 { 0.5 } else { 1.0 }) as u64,
            order: vec![],
            code: 0,
        };
        let plan = Plan { warmup: 0, min_rounds: 6, max_rounds: 50, precision: 0.01 };
        let series = interleave(&jobs(2), &plan, &mut mock).unwrap();
        assert_eq!(series.rounds.len(), 6);
        let ratio = series.ratio(1, 0, |s| s.wall_ns).unwrap();
        assert!((ratio.ratio - 0.5).abs() < 1e-9);
    }

    #[test]
    fn noisy_ratios_go_on_to_the_limit() {
        let mut mock = Mock {
            time: |job, run| if job == 1 && run % 2 == 0 { 200 } else { 100 },
            order: vec![],
            code: 0,
        };
        let plan = Plan { warmup: 0, min_rounds: 6, max_rounds: 20, precision: 0.01 };
        assert_eq!(interleave(&jobs(2), &plan, &mut mock).unwrap().rounds.len(), 20);
    }

    #[test]
    fn a_failing_program_is_no_sample() {
        let mut mock = Mock { time: |_, _| 1, order: vec![], code: 3 };
        let error = interleave(&jobs(1), &Plan::default(), &mut mock).unwrap_err().to_string();
        assert!(error.contains("failed"), "{error}");
    }
}
