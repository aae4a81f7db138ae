//! What a program does with its large objects, as far as it can be seen, and what follows from it: how
//! many freed pages are worth keeping, and whether pages of an object are sure to be touched.
//!
//! Time passes here only with what is allocated and freed, so a run of a program is repeatable.

use super::pages::Pages;
use memento_hal::os::Os;

/// What may be kept in any case, as far as the program had that much in use, …
const KEPT_ANYWAY: usize = 128 << 20;
/// … and this share of the level.
const KEPT_SHARE: usize = 8;
/// How far beyond the level live and kept pages together may go: this share of it, …
const SLACK_SHARE: usize = 8;
/// … and what it is above so many bytes: then objects of many sizes would have huge pages given
/// back and faulted in again, since none of the kept runs is long enough; …
const AMPLE_FROM: usize = 8 << 20;
/// … but no more than this.
const AMPLE_MAX: usize = 48 << 20;
/// Each free lowers the level by this share of its bytes.
const FORGET_SHARE: usize = 64;

/// About how many bytes of large objects the program uses at a time: the most of late.
#[derive(Debug)]
pub(super) struct Level {
    live: usize,
    level: usize,
    /// Bytes that heaps grew by since an object was allocated.
    beside: usize,
}

impl Level {
    /// Nothing was used yet.
    pub const fn new() -> Self {
        Self { live: 0, level: 0, beside: 0 }
    }

    /// So many bytes more are in use.
    pub fn rise(&mut self, bytes: usize) {
        self.live += bytes;
        self.level = self.level.max(self.live);
        self.beside = 0;
    }

    /// So many bytes are in use no more.
    pub fn fall(&mut self, bytes: usize) {
        self.live -= bytes;
        self.level = self.live.max(self.level - bytes / FORGET_SHARE);
    }

    /// So many bytes more are in use by heaps. Once they grew by as much as is `kept`, and no object was allocated
    /// meanwhile, what was used of late counts no more: the program has gone on to something else.
    pub fn crowd(&mut self, bytes: usize, kept: usize) {
        self.beside += bytes;
        if self.beside >= kept {
            self.level = self.live;
        }
    }

    /// Most bytes to keep. With those in use not much more than the program had in use itself, so that
    /// its peak hardly rises; and not much for ever of a peak that does not come back.
    pub fn most_kept(&self) -> MostKept {
        let most = KEPT_ANYWAY.max(2 * self.live).max(self.level / KEPT_SHARE);
        let ample = self.level.saturating_sub(AMPLE_FROM).min(AMPLE_MAX);
        let slack = self.level / SLACK_SHARE + ample;
        let whole = self.level + slack - self.live;
        MostKept { whole: most.min(whole), parts: most.min(whole + slack) }
    }
}

/// See [`Level::most_kept`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MostKept {
    /// Beyond this, whole huge pages are given back, and small ones.
    pub whole: usize,
    /// Beyond this, parts of huge pages too.
    pub parts: usize,
}

/// Pages of an object that are looked at.
const SAMPLES: usize = 8;
/// So many of them are as good as all.
const FULL: usize = SAMPLES - 1;

/// How many of [`SAMPLES`] pages spread over the run have memory behind them.
fn sample(os: &impl Os, pages: &Pages) -> usize {
    let page = os.page_bytes();
    let step = (pages.bytes / page / SAMPLES).max(1);
    let is_backed = |i: &usize| {
        // Where in its part differs, so that no stride of the program's meets all of them.
        let within = (i + 1).wrapping_mul(0x9e37_79b9) / 16 % step;
        let offset = (i * step + within) * page;
        let mut backed = [1];
        // SAFETY: a page of the run, which is committed. What is not known counts as backed.
        offset < pages.bytes
            && unsafe {
                let _ = os.backing(pages.start.add(offset), &mut backed);
                backed[0] & 1 == 1
            }
    };
    (0..SAMPLES).filter(is_backed).count()
}

/// Whether pages are sure to be touched, by what became of earlier ones.
#[derive(Debug)]
pub(super) struct Habit {
    /// Above 0: objects are mostly used in full. Below: mostly not.
    score: i8,
    /// Bytes of the longest run that was used in full.
    longest: usize,
    /// How many times as long as that an object may be and still be of its kind.
    reach: u8,
    /// Counts the answers "sure".
    answers: u8,
}

const SCORE_MAX: i8 = 4;
/// See [`Habit`]; arrays that double, and a bit more.
const REACH: u8 = 8;
/// One answer in so many is "not sure", since an object on huge pages does not show what was touched.
const PROBES: u8 = 16;

impl Habit {
    /// Nothing was seen yet.
    pub const fn new() -> Self {
        Self { score: 0, longest: 0, reach: REACH, answers: 0 }
    }

    /// Sets how far beyond what was seen an answer may be "sure".
    pub fn set_reach(&mut self, times: u8) {
        self.reach = times.max(1);
    }

    /// Looks at a run that its object does not use any more.
    pub fn learn_at_end(&mut self, os: &impl Os, pages: &Pages) {
        let found = sample(os, pages);
        if found >= FULL {
            self.note_full(pages.bytes);
        } else if found < SAMPLES / 2 {
            // One such object must outweigh the others: it costs memory, they only time.
            self.score = (self.score - SCORE_MAX).max(-SCORE_MAX);
        }
    }

    /// Looks at a run that is in use; returns whether all of it is. What is not touched yet may still be,
    /// so it tells nothing.
    pub fn learn_early(&mut self, os: &impl Os, pages: &Pages) -> bool {
        let full = sample(os, pages) >= FULL;
        if full {
            self.note_full(pages.bytes);
        }
        full
    }

    fn note_full(&mut self, bytes: usize) {
        self.score = (self.score + 1).min(SCORE_MAX);
        self.longest = self.longest.max(bytes);
    }

    /// Whether an object of `bytes` will be used in full, as far as one can tell. What is much longer than
    /// any that was is of another kind.
    pub fn is_sure(&mut self, bytes: usize) -> bool {
        if self.score <= 0 || bytes / usize::from(self.reach) > self.longest {
            return false;
        }
        self.answers = (self.answers + 1) % PROBES;
        self.answers != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn what_is_kept_fills_up_to_the_level_and_a_part_of_it() {
        let mut level = Level::new();
        level.rise(8 * MIB);
        assert_eq!(level.most_kept(), MostKept { whole: MIB, parts: 2 * MIB });
        level.rise(24 * MIB);
        assert_eq!(level.most_kept(), MostKept { whole: 28 * MIB, parts: 56 * MIB });
        level.fall(16 * MIB);
        assert!((43 * MIB..=44 * MIB).contains(&level.most_kept().whole));
    }

    #[test]
    fn a_peak_that_does_not_come_back_is_forgotten() {
        let mut level = Level::new();
        level.rise(1600 * MIB);
        level.fall(1400 * MIB);
        assert_eq!(level.most_kept().parts, 400 * MIB, "twice of what is in use");
        level.fall(200 * MIB);
        assert!((180 * MIB..=200 * MIB).contains(&level.most_kept().parts), "a share of the peak");
        for _ in 0..1000 {
            level.rise(MIB);
            level.fall(MIB);
        }
        assert!((180 * MIB..=200 * MIB).contains(&level.most_kept().parts), "not by small ones");
        for _ in 0..10_000 {
            level.rise(16 * MIB);
            level.fall(16 * MIB);
        }
        let forgotten = level.most_kept();
        assert!(forgotten.whole <= 28 * MIB && forgotten.parts <= 40 * MIB, "{forgotten:?}");
    }

    #[test]
    #[cfg(not(miri))]
    fn sure_is_what_was_touched_and_one_hollow_object_counts_more() {
        let os = memento_hal::os::Linux;
        let start = os.map(MIB, os.page_bytes()).unwrap();
        let pages = Pages { start, bytes: MIB, mapping: 1, allocated: 0, full: false };
        let mut habit = Habit::new();
        assert!(!habit.is_sure(8 * MIB));
        habit.learn_at_end(&os, &pages);
        assert!(!habit.is_sure(8 * MIB), "no page was touched");
        // SAFETY: mapped above.
        unsafe { start.write_bytes(1, MIB) };
        let mut habit = Habit::new();
        for _ in 0..9 {
            assert!(habit.learn_early(&os, &pages));
        }
        let sure = (0..160).filter(|_| habit.is_sure(8 * MIB)).count();
        assert_eq!(sure, 150, "the others are probes");
        assert!((0..9).all(|_| !habit.is_sure(9 * MIB)), "nothing so long was seen");
        habit.set_reach(1);
        assert!((0..9).all(|_| !habit.is_sure(2 * MIB)) && (0..2).any(|_| habit.is_sure(MIB)));
        // A stride that is as regular as an even sample would be.
        // SAFETY: mapped above.
        unsafe {
            assert!(os.decommit(start, MIB));
            for at in (0..MIB).step_by(MIB / 16) {
                start.add(at).write(1);
            }
        }
        habit.learn_at_end(&os, &pages);
        assert!(!habit.is_sure(8 * MIB));
        // SAFETY: mapped above, not used any more.
        unsafe { os.release(start, MIB) };
    }
}
