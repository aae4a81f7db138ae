//! Free memory in the same state before every execution.
//!
//! What a first touch costs depends on what the page was before. A virtual machine's host takes back what has been
//! free for a while, and a page of it costs anew: on one such machine a huge page took 0.25 ms when a program had
//! just given one back, and 7 ms some seconds later. So the program that runs after one that used huge pages would look
//! fast, whoever it is. Therefore as much memory as any of the programs needed is touched, as huge pages where the
//! system has them, and given back, before each of them starts.

use memmap2::{Advice, MmapMut};

/// Most bytes that are touched.
const MOST: u64 = 512 << 20;
/// Bytes of one page, and of a huge one; where they are larger, some are touched twice.
const PAGE: usize = 4 << 10;
const HUGE: usize = 2 << 20;

/// Touches so many bytes of memory that nobody uses, and gives them back. Where there is not so much, nothing
/// is lost: the next execution costs what it costs.
pub fn touch(bytes: u64) {
    let bytes = usize::try_from(bytes.min(MOST)).unwrap_or_default().next_multiple_of(HUGE);
    if bytes == 0 {
        return;
    }
    let Ok(mut memory) = MmapMut::map_anon(bytes) else { return };
    // Systems without huge pages refuse.
    let _ = memory.advise(Advice::HugePage);
    for page in memory.chunks_mut(PAGE) {
        page[0] = 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::resource::{UsageWho, getrusage};

    #[test]
    fn as_much_as_is_asked_for_is_touched_and_given_back() {
        let peak = || getrusage(UsageWho::RUSAGE_SELF).unwrap().max_rss();
        touch(0);
        let before = peak();
        touch(96 << 20);
        let after = peak();
        assert!(after >= 96 << 10, "{after} KiB");
        touch(96 << 20);
        assert!(peak() < after.max(before) + (48 << 10), "the first 96 MiB are still held");
    }
}
