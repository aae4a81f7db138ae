//! Time as something that is kept: how it is shared out among workloads, and whether it is enough for
//! another round.

use std::time::Duration;

/// The time for all workloads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    total: Duration,
}

/// No execution gets less than this, whatever is left.
const LEAST: Duration = Duration::from_secs(2);

impl Budget {
    /// So much for everything.
    pub fn new(total: Duration) -> Self {
        Self { total }
    }

    /// What one of the `left` workloads that are still to be measured gets, when so much has passed.
    pub fn share(self, passed: Duration, left: usize) -> Duration {
        self.left(passed) / u32::try_from(left.max(1)).unwrap_or(u32::MAX)
    }

    /// Whether nothing is left.
    pub fn is_spent(self, passed: Duration) -> bool {
        self.left(passed).is_zero()
    }

    /// The time limit of an execution: what is left, if that is less than `most`.
    pub fn limit(self, passed: Duration, most: Duration) -> Duration {
        most.min(self.left(passed).max(LEAST))
    }

    fn left(self, passed: Duration) -> Duration {
        self.total.saturating_sub(passed)
    }
}

/// The time for one workload, and how long its rounds take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    share: Duration,
    longest: Duration,
}

impl Pace {
    /// So much for one workload.
    pub fn new(share: Duration) -> Self {
        Self { share, longest: Duration::ZERO }
    }

    /// A round took so long.
    pub fn took(&mut self, round: Duration) {
        self.longest = self.longest.max(round);
    }

    /// Whether another round as long as the longest ends in time, when so much has passed.
    pub fn allows_another(&self, passed: Duration) -> bool {
        passed + self.longest <= self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_one_does_not_need_is_for_the_others() {
        let budget = Budget::new(s(90));
        assert_eq!(budget.share(s(0), 9), s(10));
        assert_eq!(budget.share(s(2), 8), s(11));
        assert_eq!(budget.share(s(95), 1), s(0));
        assert_eq!(
            [s(89), s(90), s(99)].map(|passed| budget.is_spent(passed)),
            [false, true, true]
        );
    }

    #[test]
    fn what_hangs_does_not_hang_longer_than_there_is_time() {
        let budget = Budget::new(s(90));
        assert_eq!(budget.limit(s(10), s(60)), s(60));
        assert_eq!(budget.limit(s(80), s(60)), s(10));
        assert_eq!(budget.limit(s(100), s(60)), LEAST);
        assert_eq!(budget.limit(s(100), s(1)), s(1), "never more than was asked for");
    }

    #[test]
    fn no_round_is_begun_that_would_not_end_in_time() {
        let mut pace = Pace::new(s(10));
        assert!(pace.allows_another(s(10)), "nothing is known yet");
        pace.took(s(3));
        pace.took(s(2));
        assert!(pace.allows_another(s(7)));
        assert!(!pace.allows_another(s(8)));
    }
}
