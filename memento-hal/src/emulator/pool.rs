//! The page pool: free frames that the operating system keeps ready for the hardware.
//!
//! Which frame is which does not matter to anyone, so the pool is a count. It starts with a first
//! fill. A take that leaves fewer frames than the low watermark makes the operating system refill
//! it off the critical path; a take that finds it dry waits for a refill.

use super::params::Params;

/// Free frames, and how many were ever taken.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    free: u64,
    taken: u64,
    low_watermark: u64,
    batch: u64,
}

/// A frame, and what getting it brought about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Taken {
    /// The frame's number, from 1 up.
    pub frame: u64,
    /// The pool was dry.
    pub stalled: bool,
    /// Refills that were made.
    pub refills: u64,
}

impl Pool {
    /// The pool after its first fill.
    pub const fn new(params: &Params) -> Self {
        Self {
            free: params.pool_initial_frames,
            taken: 0,
            low_watermark: params.pool_low_watermark,
            batch: params.pool_refill_batch,
        }
    }

    /// Takes a frame.
    pub fn take(&mut self) -> Taken {
        let stalled = self.free == 0;
        let mut refills = 0;
        if stalled {
            self.free += self.batch;
            refills += 1;
        }
        self.free -= 1;
        self.taken += 1;
        if self.free < self.low_watermark {
            self.free += self.batch;
            refills += 1;
        }
        Taken { frame: self.taken, stalled, refills }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(initial: u64, watermark: u64, batch: u64) -> Pool {
        Pool::new(&Params {
            pool_initial_frames: initial,
            pool_low_watermark: watermark,
            pool_refill_batch: batch,
            ..Params::DEFAULT
        })
    }

    #[test]
    fn a_watermark_keeps_the_pool_from_running_dry() {
        let mut pool = pool(10, 4, 5);
        let refills: Vec<_> =
            (0..20).map(|_| pool.take()).map(|t| (t.stalled, t.refills)).collect();
        // 10 → 4 frames without a refill, the seventh take leaves 3; from then on every fifth.
        for (n, got) in refills.into_iter().enumerate() {
            let refill = n >= 6 && (n - 6) % 5 == 0;
            assert_eq!(got, (false, u64::from(refill)), "take {n}");
        }
    }

    #[test]
    fn without_a_watermark_every_batch_ends_in_a_stall() {
        let mut pool = pool(2, 0, 3);
        let stalls: Vec<_> = (0..9).map(|_| pool.take().stalled).collect();
        assert_eq!(stalls, [false, false, true, false, false, true, false, false, true]);
        assert_eq!(pool.take().frame, 10);
    }

    #[test]
    fn an_empty_pool_stalls_once_and_is_then_kept_filled() {
        let mut pool = pool(0, 3, 3);
        assert_eq!(pool.take(), Taken { frame: 1, stalled: true, refills: 2 });
        assert_eq!(pool.take(), Taken { frame: 2, stalled: false, refills: 0 });
    }
}
