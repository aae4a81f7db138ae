//! Statistics for short programs on noisy machines: robust, and without randomness.

/// Middle value; mean of the two middle values of an even number. `None` if there is none.
pub fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n.is_multiple_of(2) => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
        _ => Some(sorted[middle]),
    }
}

/// Mean of the lowest third (rounded up): what the program costs when the neighbours are quiet.
pub fn quietest_third(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let third = sorted.len().div_ceil(3);
    (third > 0).then(|| sorted[..third].iter().sum::<f64>() / third as f64)
}

/// The 95 % interval of the median by order statistics: it assumes nothing of the distribution. `None`
/// below six values, which have none.
pub fn median_interval(values: &[f64]) -> Option<(f64, f64)> {
    let sorted = sorted(values);
    let n = sorted.len();
    // P(fewer than k of n values lie below the median) with even odds for each.
    let (mut probability, mut below, mut rank) = (0.5f64.powi(i32::try_from(n).ok()?), 0.0, 0);
    while rank < n {
        below += probability;
        if below > 0.025 {
            break;
        }
        probability *= (n - rank) as f64 / (rank + 1) as f64;
        rank += 1;
    }
    (rank >= 1).then(|| (sorted[rank - 1], sorted[n - rank]))
}

/// How many values lie far from the others: their distance from the median is more than ten times what
/// that of the middle half of a normal distribution would allow.
pub fn outliers(values: &[f64]) -> usize {
    let Some(middle) = median(values) else { return 0 };
    let distances: Vec<f64> = values.iter().map(|v| (v - middle).abs()).collect();
    // The median distance of a normal distribution is 0.6745 standard deviations.
    let deviation = median(&distances).unwrap_or(0.0) / 0.6745;
    distances.iter().filter(|d| deviation > 0.0 && **d > 10.0 * deviation).count()
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// A ratio of paired samples with its 95 % confidence interval.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Paired {
    /// The estimate.
    pub ratio: f64,
    /// Lower end of the interval.
    pub lower: f64,
    /// Upper end of the interval.
    pub upper: f64,
}

/// What an interval says about "is it faster than the baseline?".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The whole interval lies below 1.
    Faster,
    /// The whole interval lies below 1.02.
    NotSlower,
    /// The whole interval lies above 1.
    Slower,
    /// The samples do not say.
    Unresolved,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Faster => "faster",
            Self::NotSlower => "not slower",
            Self::Slower => "slower",
            Self::Unresolved => "unresolved",
        })
    }
}

impl Paired {
    /// The verdict, by the first rule that applies, in the order of [`Verdict`].
    pub fn verdict(&self) -> Verdict {
        if self.upper < 1.0 {
            Verdict::Faster
        } else if self.upper < 1.02 {
            Verdict::NotSlower
        } else if self.lower > 1.0 {
            Verdict::Slower
        } else {
            Verdict::Unresolved
        }
    }
}

/// The ratio `samples[i] / baseline[i]` over all *i*: the Hodges–Lehmann estimate of the logarithms,
/// with the exact interval of Wilcoxon's signed-rank test.
///
/// It assumes no normal distribution, only that log ratios scatter symmetrically; from 12 pairs up
/// one wild round does not move it. `None` if the lengths differ, a sample is not positive, or
/// there are fewer than 6 pairs, which no interval at 95 % can be had from.
pub fn paired_ratio(samples: &[f64], baseline: &[f64]) -> Option<Paired> {
    let usable = |values: &[f64]| values.iter().all(|v| v.is_finite() && *v > 0.0);
    if samples.len() != baseline.len() || !usable(samples) || !usable(baseline) {
        return None;
    }
    let logs: Vec<f64> = samples.iter().zip(baseline).map(|(a, b)| (a / b).ln()).collect();
    let rank = critical_rank(logs.len())?;
    // All means of two, each value with itself included.
    let mut walsh = Vec::with_capacity(logs.len() * (logs.len() + 1) / 2);
    for (i, a) in logs.iter().enumerate() {
        walsh.extend(logs[i..].iter().map(|b| f64::midpoint(*a, *b)));
    }
    walsh.sort_by(f64::total_cmp);
    Some(Paired {
        ratio: median(&walsh)?.exp(),
        lower: walsh[rank - 1].exp(),
        upper: walsh[walsh.len() - rank].exp(),
    })
}

/// The largest *k* with P(T < k) ≤ 2.5 %, where T is the signed-rank statistic of `n` pairs without
/// a difference: the interval reaches from the *k*-th Walsh mean from below to the *k*-th from
/// above. `None` if there is no such *k* ≥ 1.
fn critical_rank(n: usize) -> Option<usize> {
    // probability[t] = P(T = t): each rank is in the sum or not, with even odds.
    let mut probability = vec![0.0; n * (n + 1) / 2 + 1];
    probability[0] = 1.0;
    for rank in 1..=n {
        for t in (0..probability.len()).rev() {
            let with = if t >= rank { probability[t - rank] } else { 0.0 };
            probability[t] = 0.5 * (probability[t] + with);
        }
    }
    let mut below = 0.0;
    let rank = probability.iter().take_while(|p| {
        below += **p;
        below <= 0.025
    });
    Some(rank.count()).filter(|k| *k >= 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn medians_and_quiet_thirds() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(quietest_third(&[9.0, 1.0, 8.0, 3.0, 7.0, 100.0, 5.0]), Some(3.0));
        assert_eq!(quietest_third(&[]), None);
    }

    #[test]
    fn intervals_of_medians_are_those_of_the_tables() {
        // The textbook ranks for 95 %: none below 6; 1 of 6 to 8; 2 of 9 to 11; 3 of 12; 6 of 20.
        for (n, rank) in [(5, 0), (6, 1), (8, 1), (9, 2), (11, 2), (12, 3), (20, 6), (30, 10)] {
            let values: Vec<f64> = (1..=n).map(f64::from).collect();
            let want = (rank > 0).then(|| (f64::from(rank), f64::from(n + 1 - rank)));
            assert_eq!(median_interval(&values), want, "n = {n}");
        }
        assert_eq!(median_interval(&[]), None);
    }

    #[test]
    fn outliers_are_few_and_far() {
        assert_eq!(outliers(&[10.0, 11.0, 9.0, 10.5, 9.5, 100.0]), 1);
        assert_eq!(outliers(&[10.0, 11.0, 9.0, 10.5, 9.5, 12.0]), 0);
        assert_eq!(outliers(&[5.0; 8]), 0, "no spread, no measure");
        assert_eq!(outliers(&[]), 0);
    }

    #[test]
    fn critical_ranks_are_those_of_the_tables() {
        // Two-sided 5 % critical values of the signed-rank test are 0, 2, 3, 5, 8 and 52 for these
        // n; the rank is one more.
        let want = [(5, None), (6, Some(1)), (7, Some(3)), (8, Some(4)), (9, Some(6))];
        for (n, rank) in want.into_iter().chain([(10, Some(9)), (20, Some(53))]) {
            assert_eq!(critical_rank(n), rank, "n = {n}");
        }
    }

    #[test]
    fn equal_ratios_give_a_point() {
        let base: Vec<f64> = (1..=8).map(f64::from).collect();
        let half: Vec<f64> = base.iter().map(|v| v / 2.0).collect();
        let got = paired_ratio(&half, &base).unwrap();
        for value in [got.ratio, got.lower, got.upper] {
            assert!((value - 0.5).abs() < 1e-12);
        }
    }

    #[test]
    fn one_wild_round_moves_nothing() {
        let base = [100.0; 12];
        let mut samples = [90.0; 12];
        samples[4] = 9000.0;
        let got = paired_ratio(&samples, &base).unwrap();
        assert!((got.ratio - 0.9).abs() < 1e-9 && got.verdict() == Verdict::Faster, "{got:?}");
    }

    #[test]
    fn what_has_no_ratio() {
        assert_eq!(paired_ratio(&[1.0; 5], &[1.0; 5]), None, "too few");
        assert_eq!(paired_ratio(&[0.0; 9], &[1.0; 9]), None, "zero");
        assert_eq!(paired_ratio(&[1.0; 9], &[1.0; 8]), None, "not paired");
    }

    #[test]
    fn verdicts_by_the_rule() {
        let verdict = |lower, upper| Paired { ratio: 1.0, lower, upper }.verdict();
        assert_eq!(verdict(0.9, 0.99), Verdict::Faster);
        assert_eq!(verdict(0.9, 1.0), Verdict::NotSlower);
        assert_eq!(verdict(1.005, 1.019), Verdict::NotSlower);
        assert_eq!(verdict(1.01, 1.02), Verdict::Slower);
        assert_eq!(verdict(0.9, 1.1), Verdict::Unresolved);
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_estimate_and_inverts(
            pairs in prop::collection::vec((1.0f64..100.0, 1.0f64..100.0), 6..30)
        ) {
            let (a, b): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
            let there = paired_ratio(&a, &b).unwrap();
            let back = paired_ratio(&b, &a).unwrap();
            prop_assert!(there.lower <= there.ratio && there.ratio <= there.upper);
            prop_assert!((there.lower * back.upper - 1.0).abs() < 1e-9);
            prop_assert!((there.ratio * back.ratio - 1.0).abs() < 1e-9);
        }
    }
}
