//! How much of what is kept may go back to the system although it may be wanted again soon.
//!
//! V8 collects its old generation every few seconds, and fills the pages that it has emptied little by little. A server that
//! is not asked any more stands still in between, and nobody comes by to give back what it has not used for
//! a while. So what is free is given back at once, if the process has lived long enough to earn it: then to have it
//! faulted in again costs the process a bounded part of its time, 0.25 % with faults of 2.5 µs. A process
//! that lives for less than a second earns nothing, and one that collects all the time little.
//!
//! Must not know: which units, the clock.

/// Units earned for each full second: 1024 pages of 4 KiB.
const EARNED: usize = 16;
/// Units that can be saved up.
const MOST: usize = 4 * EARNED;

/// Units that may be given back.
#[derive(Debug)]
pub struct Budget {
    units: usize,
    /// Until when seconds have been counted, in milliseconds; 0: it was not looked at yet.
    counted: u64,
}

impl Budget {
    /// Nothing was earned yet.
    pub const fn new() -> Self {
        Self { units: 0, counted: 0 }
    }

    /// Takes up to `wanted` units at the time `now`, in milliseconds. The first second begins with the first call.
    pub fn take(&mut self, wanted: usize, now: u64) -> usize {
        if self.counted == 0 {
            self.counted = now;
        }
        let seconds = now.saturating_sub(self.counted) / 1000;
        self.counted += seconds * 1000;
        let earned = usize::try_from(seconds).unwrap_or(MOST).min(MOST) * EARNED;
        self.units = (self.units + earned).min(MOST);
        let granted = wanted.min(self.units);
        self.units -= granted;
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_full_second_earns_the_same() {
        let mut budget = Budget::new();
        assert_eq!(budget.take(5, 70_000), 0, "the first second begins");
        assert_eq!(budget.take(5, 70_999), 0);
        assert_eq!(budget.take(5, 71_500), 5);
        assert_eq!(budget.take(EARNED, 71_999), EARNED - 5);
        assert_eq!(budget.take(5, 71_999), 0);
        assert_eq!(budget.take(99, 73_000), 2 * EARNED, "no part of a second is lost");
    }

    #[test]
    fn what_can_be_saved_up_is_bounded() {
        let mut budget = Budget::new();
        assert_eq!(budget.take(1, 1), 0);
        assert_eq!(budget.take(usize::MAX, 1 << 40), MOST);
        assert_eq!(budget.take(1, 1 << 40), 0);
    }

    #[test]
    fn without_a_clock_nothing_is_earned() {
        let mut budget = Budget::new();
        assert!((0..3).all(|_| budget.take(1, 0) == 0));
    }
}
