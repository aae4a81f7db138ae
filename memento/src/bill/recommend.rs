//! Duration and cost at every memory size, and which size to take.
//!
//! CPU comes with memory, so a small size may cost as much as a large one and take longer. A run at a size
//! with c cores is what was seen with every step stretched to u ÷ c where it used more than c: \[D\] a
//! first-order model, in which waiting is not stretched and threads share cores perfectly.

use super::presets::Preset;
use super::usage::Usage;
use serde::{Deserialize, Serialize};

/// MB of a GB.
const MB: f64 = 1024.0;

/// What is near enough to the cheapest.
const TOLERANCE: f64 = 1.05;

/// Use is averaged over so many seconds: a look that came late makes one step too high and the next too
/// low, which no core was needed for.
pub const GRAIN: f64 = 0.01;

/// A size with what it would cost.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Choice {
    /// Memory in MB.
    pub mb: u32,
    /// Cores that come with it.
    pub cores: f64,
    /// How long the run would take, in seconds.
    pub seconds: f64,
    /// Dollars for a million invocations.
    pub million: f64,
}

/// The run at a size.
pub fn at_size(usage: &Usage, preset: &Preset, mb: u32) -> Choice {
    let cores = preset.cores(mb);
    let seconds = usage.sum(|step| (step.cores / cores).max(1.0));
    Choice { mb, cores, seconds, million: preset.invocation(seconds, mb) * 1e6 }
}

/// What is recommended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Recommendation {
    /// The least memory that holds the run with its head room.
    pub smallest: Choice,
    /// The one that costs least.
    pub cheapest: Choice,
    /// The fastest of those that cost at most 5 % more than the cheapest: the recommended one.
    pub balanced: Choice,
    /// Sizes from the smallest up, for a plot.
    pub curve: Vec<Choice>,
}

/// Recommends a size with so much head room over the peak, as a fraction. None if no size is large enough.
pub fn recommend(usage: &Usage, preset: &Preset, head_room: f64) -> Option<Recommendation> {
    let usage = &usage.coarse(GRAIN);
    let smallest = preset.size_for(usage.peak_gb() * MB * (1.0 + head_room))?;
    let sizes = preset.sizes().into_iter().filter(|size| *size >= smallest);
    let all: Vec<Choice> = sizes.map(|mb| at_size(usage, preset, mb)).collect();
    let cheapest = all.iter().min_by(|a, b| a.million.total_cmp(&b.million))?;
    let near = all.iter().filter(|choice| choice.million <= cheapest.million * TOLERANCE);
    // Of equally fast ones the smallest, which is the first.
    let balanced = near.min_by(|a, b| a.seconds.total_cmp(&b.seconds))?;
    let smallest = *all.first()?;
    let (cheapest, balanced) = (*cheapest, *balanced);
    Some(Recommendation { smallest, cheapest, balanced, curve: curve(&all) })
}

/// Some of many sizes: each an eighth of a doubling from the one before, and the largest.
fn curve(all: &[Choice]) -> Vec<Choice> {
    let mut curve: Vec<Choice> = Vec::new();
    for (number, choice) in all.iter().enumerate() {
        let apart = |last: &Choice| f64::from(choice.mb) >= f64::from(last.mb) * 1.09;
        if curve.last().is_none_or(apart) || number + 1 == all.len() {
            curve.push(*choice);
        }
    }
    curve
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bill::usage::Step;

    fn usage(steps: &[(f64, f64, f64)]) -> Usage {
        let step = |&(seconds, cores, gb): &(f64, f64, f64)| Step { seconds, cores, gb };
        Usage::new(steps.iter().map(step).collect())
    }

    #[test]
    fn a_run_is_stretched_where_it_has_too_few_cores() {
        let aws = Preset::named("aws").unwrap();
        // One second of one core, one second of waiting; 1769 MB are a core, 884.5 MB half of one.
        let run = usage(&[(1.0, 1.0, 0.1), (1.0, 0.0, 0.1)]);
        assert!((at_size(&run, &aws, 1769).seconds - 2.0).abs() < 1e-9);
        assert!((at_size(&run, &aws, 3538).seconds - 2.0).abs() < 1e-9, "one thread uses one core");
        let half = at_size(&run, &aws, 885);
        assert!((half.seconds - (1769.0 / 885.0 + 1.0)).abs() < 1e-9, "waiting is not stretched");
        // 2.99887… s are billed as 2999 ms.
        let want = 2.999 * 885.0 / 1024.0 * 16.6667 + 0.2;
        assert!((half.million - want).abs() < 1e-6, "{half:?} {want}");
    }

    #[test]
    fn what_only_computes_takes_a_whole_core() {
        let aws = Preset::named("aws").unwrap();
        let got = recommend(&usage(&[(1.0, 1.0, 0.1)]), &aws, 0.0).unwrap();
        // Up to one core the product of time and memory is the same, but for rounding; so the
        // fastest is taken, within 5 % of the price: some 1.05 cores' worth.
        assert_eq!(got.smallest.mb, 128);
        assert_eq!(got.balanced.mb, 1769, "{got:?}");
        assert!((got.balanced.seconds - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_only_waits_takes_the_least_memory_that_holds_it() {
        let aws = Preset::named("aws").unwrap();
        let waiting = usage(&[(1.0, 0.01, 0.2)]);
        let got = recommend(&waiting, &aws, 0.25).unwrap();
        // 0.2 GB and a quarter more are 256 MB.
        assert_eq!((got.smallest.mb, got.balanced.mb), (256, 256));
        assert_eq!(recommend(&usage(&[(1.0, 1.0, 11.0)]), &aws, 0.0), None, "no size holds it");
    }
}
