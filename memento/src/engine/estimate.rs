//! A ratio of interleaved samples as it is shown: with its interval, where there is one.

use super::stats::{median, paired_ratio};
use serde::{Deserialize, Serialize};

/// A ratio with its interval.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Estimate {
    /// The Hodges–Lehmann estimate.
    pub ratio: f64,
    /// Its 95 % interval; there is none below six rounds.
    pub interval: Option<(f64, f64)>,
}

impl std::fmt::Display for Estimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.interval {
            Some((lower, upper)) => write!(f, "{:.3} ({lower:.3}–{upper:.3})", self.ratio),
            None => write!(f, "{:.3}", self.ratio),
        }
    }
}

/// The ratio of two columns, paired by round. None if a sample is zero or there are none.
pub fn estimate(samples: &[f64], baseline: &[f64]) -> Option<Estimate> {
    match paired_ratio(samples, baseline) {
        Some(paired) => {
            Some(Estimate { ratio: paired.ratio, interval: Some((paired.lower, paired.upper)) })
        }
        None => {
            let logs: Vec<f64> = samples.iter().zip(baseline).map(|(a, b)| (a / b).ln()).collect();
            let ratio = centre(&logs)?.exp();
            (ratio.is_finite() && ratio > 0.0).then_some(Estimate { ratio, interval: None })
        }
    }
}

/// The Hodges–Lehmann estimate: the median of the means of all pairs.
pub fn centre(values: &[f64]) -> Option<f64> {
    let means = values.iter().enumerate();
    let means = means.flat_map(|(i, a)| values[i..].iter().map(|b| f64::midpoint(*a, *b)));
    median(&means.collect::<Vec<_>>())
}

/// A geometric mean of ratios. The interval covers what the samples leave open about these rows, not which rows
/// might have been chosen; rows without an interval count as exact.
pub fn geometric_mean(ratios: &[Estimate]) -> Option<Estimate> {
    if ratios.is_empty() {
        return None;
    }
    let count = ratios.len() as f64;
    let mean = ratios.iter().map(|r| r.ratio.ln()).sum::<f64>() / count;
    // Half widths of independent rows add up as standard errors do.
    let half = |r: &Estimate| r.interval.map_or(0.0, |(lower, upper)| (upper / lower).ln() / 2.0);
    let half_width = ratios.iter().map(|r| half(r).powi(2)).sum::<f64>().sqrt() / count;
    let has_interval = ratios.iter().any(|r| r.interval.is_some());
    Some(Estimate {
        ratio: mean.exp(),
        interval: has_interval.then(|| ((mean - half_width).exp(), (mean + half_width).exp())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_pairs_have_no_interval() {
        let got = estimate(&[900.0, 900.0], &[1000.0, 1000.0]).unwrap();
        assert!((got.ratio - 0.9).abs() < 1e-9 && got.interval.is_none());
        assert!(estimate(&[900.0; 6], &[1000.0; 6]).unwrap().interval.is_some());
        assert_eq!(estimate(&[0.0, 1.0], &[1.0, 1.0]), None, "no ratio of nothing");
        assert_eq!(estimate(&[], &[]), None);
    }

    #[test]
    fn geometric_means_and_their_intervals() {
        let row = |ratio: f64| Estimate { ratio, interval: Some((ratio / 1.1, ratio * 1.1)) };
        let got = geometric_mean(&[row(0.5), row(2.0), row(1.0), row(1.0)]).unwrap();
        assert!((got.ratio - 1.0).abs() < 1e-9);
        // Four rows of the same width: half as wide as one.
        let (lower, upper) = got.interval.unwrap();
        assert!(
            (upper.ln() - 1.1f64.ln() / 2.0).abs() < 1e-9 && (lower * upper - 1.0).abs() < 1e-9
        );
        assert_eq!(geometric_mean(&[]), None);
    }
}
