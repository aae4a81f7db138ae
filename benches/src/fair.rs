//! Ratios of interleaved samples, and an oracle that does not look at the answers.
//!
//! # The best peer
//! A row's *best peer* is the allocator that is fastest on it. To choose it by the same samples that it is
//! then compared on would flatter it: of several that are equal, the luckiest wins. So the rounds are
//! halved, the even ones and the odd ones; the best peer of either half is compared in the *other* one;
//! and the ratios of both comparisons are taken together ([`against_best`]). Every round takes part
//! once, against a peer that was chosen without it.

use crate::results::{Grid, Timed};
use memento::engine::estimate::{Estimate, centre, estimate};
use serde::Serialize;

/// The ratio of one allocator to another in one quantity.
pub fn ratio(
    grid: &Grid,
    allocator: usize,
    baseline: usize,
    quantity: impl Fn(&Timed) -> u64,
) -> Option<Estimate> {
    estimate(&grid.column(allocator, &quantity), &grid.column(baseline, &quantity))
}

/// The widest interval of any allocator's CPU time against the first one's, as a fraction of the ratio; infinite
/// if there are too few rounds for intervals.
pub fn widest(grid: &Grid) -> f64 {
    let width = |allocator| match ratio(grid, allocator, 0, Timed::cpu_us) {
        Some(Estimate { ratio, interval: Some((lower, upper)) }) => (upper - lower) / ratio,
        _ => f64::INFINITY,
    };
    (1..grid.allocators.len()).map(width).fold(0.0, f64::max)
}

/// A comparison with the best of several.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct AgainstBest {
    /// CPU time ÷ that of the best.
    pub cpu: Estimate,
    /// Which one was best in the even and in the odd rounds.
    pub chosen: [String; 2],
}

/// Compares an allocator with the best of `candidates` as the module says. None below two rounds.
pub fn against_best(grid: &Grid, subject: usize, candidates: &[usize]) -> Option<AgainstBest> {
    let of_half = |half: usize| move |number: &usize| number % 2 == half;
    let numbers = || 0..grid.rounds.len();
    let best = |half| {
        let rounds: Vec<usize> = numbers().filter(of_half(half)).collect();
        fastest(grid, &rounds, candidates)
    };
    let chosen = [best(0)?, best(1)?];
    let cpu = |number: usize, allocator: usize| grid.rounds[number][allocator].cpu_us() as f64;
    let samples: Vec<f64> = numbers().map(|number| cpu(number, subject)).collect();
    // An even round is compared with the choice of the odd ones.
    let baseline: Vec<f64> = numbers().map(|number| cpu(number, chosen[1 - number % 2])).collect();
    Some(AgainstBest {
        cpu: estimate(&samples, &baseline)?,
        chosen: chosen.map(|allocator| grid.allocators[allocator].clone()),
    })
}

/// The candidate with the least CPU time in these rounds, each round's speed taken out.
fn fastest(grid: &Grid, rounds: &[usize], candidates: &[usize]) -> Option<usize> {
    let log =
        |number: usize, allocator: usize| (grid.rounds[number][allocator].cpu_us() as f64).ln();
    let level = |number: usize| {
        candidates.iter().map(|&c| log(number, c)).sum::<f64>() / candidates.len() as f64
    };
    let cost = |&candidate: &usize| {
        let logs: Vec<f64> = rounds.iter().map(|&n| log(n, candidate) - level(n)).collect();
        Some((centre(&logs)?, candidate))
    };
    let costs = candidates.iter().filter_map(cost);
    costs.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::timed;

    /// `costs[r][a]`: CPU time of allocator *a* in round *r*; allocators are called 0, 1, …
    fn grid(costs: &[&[u64]]) -> Grid {
        let sample = |round, by: usize, cost| Timed {
            user_us: cost,
            kernel_us: 0,
            ..timed("1", &by.to_string(), round, by)
        };
        Grid {
            allocators: (0..costs[0].len()).map(|a| a.to_string()).collect(),
            rounds: costs
                .iter()
                .enumerate()
                .map(|(r, costs)| costs.iter().enumerate().map(|(a, c)| sample(r, a, *c)).collect())
                .collect(),
        }
    }

    #[test]
    fn the_best_of_one_half_is_judged_on_the_other() {
        // In even rounds 1 is fastest, in odd ones 2: luck, since each costs 1500 on average.
        let rows: Vec<&[u64]> = vec![&[1500, 1000, 2000], &[1500, 2000, 1000]];
        let got = against_best(&grid(&rows.repeat(4)), 0, &[1, 2]).unwrap();
        assert_eq!(got.chosen, ["1", "2"]);
        // Chosen and judged on the same rounds it would be 1.5.
        assert!((got.cpu.ratio - 0.75).abs() < 1e-9, "{got:?}");
    }

    #[test]
    fn a_peer_that_is_always_best_is_chosen_twice() {
        let rows: Vec<&[u64]> = vec![&[900, 1000, 1100]; 6];
        let got = against_best(&grid(&rows), 0, &[1, 2]).unwrap();
        assert_eq!(got.chosen, ["1", "1"]);
        assert!((got.cpu.ratio - 0.9).abs() < 1e-9);
        assert!(got.cpu.interval.is_some());
    }

    #[test]
    fn the_subject_is_not_among_its_own_candidates() {
        let rows: Vec<&[u64]> = vec![&[1, 1000, 1100]; 6];
        assert_eq!(against_best(&grid(&rows), 0, &[1, 2]).unwrap().chosen, ["1", "1"]);
    }

    #[test]
    fn a_slow_round_does_not_choose() {
        // 2 is 10 % slower than 1 whenever they run together; the machine slows down for three rounds.
        let quick: &[u64] = &[1, 1000, 1100];
        let slow: &[u64] = &[1, 9000, 9900];
        let rows = [quick, quick, slow, slow, slow, quick];
        assert_eq!(against_best(&grid(&rows), 0, &[1, 2]).unwrap().chosen, ["1", "1"]);
    }

    #[test]
    fn too_few_rounds_have_no_interval() {
        let got = against_best(&grid(&[&[900, 1000], &[900, 1000]]), 0, &[1]).unwrap();
        assert_eq!(got.cpu.interval, None);
        assert!((got.cpu.ratio - 0.9).abs() < 1e-9);
        assert_eq!(against_best(&grid(&[&[900, 1000]]), 0, &[1]), None, "one round has no halves");
        assert_eq!(widest(&grid(&[&[900, 1000]])), f64::INFINITY);
    }
}
