//! One size in one shard: its slots, what is known of each, and every check on them.
//!
//! ```text
//! range = [ quarantine | records … | guard | slots … | guard ]
//! ```
//! Invariants, kept here:
//! - A slot has a record if it is below `carved`. Records lie below the slots with a guard between,
//!   so that no overflow of an object reaches one.
//! - Every byte of a slot that is not allocated is zero. Of an allocated slot, the bytes behind the
//!   object are its canary and then zeros. What differs was written by the program.
//! - The first `free` records' `link` fields list the slots that may be handed out; the quarantine
//!   lists those that were freed last.

use super::super::bin::Bin;
use super::Misuse;
use crate::fatal::corruption;
use crate::object::FreeFault;
use crate::os::Os;
use core::ptr::NonNull;

/// A multiple of every page size: the step of commits, and the guards' size.
const STEP: usize = 64 * 1024;
/// Slots that the quarantine of one size holds at most, and the bytes that it holds about.
const QUARANTINE_MAX: usize = 256;
const QUARANTINE_BYTES: usize = 64 * 1024;
/// Every size keeps at least this many freed slots back.
const QUARANTINE_MIN: usize = 4;
const QUARANTINE_TABLE: usize = QUARANTINE_MAX * size_of::<u32>();
/// Most bytes of a canary.
const CANARY_MAX: usize = 32;

/// What is known of one slot. All zero: never handed out, its memory never touched.
#[repr(C)]
struct Record {
    /// [`State`] in the lowest two bits, above it the bytes that were asked for.
    word: u32,
    /// The list of free slots, see [`Class`].
    link: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Never handed out, or given back to the system since.
    Fresh = 0,
    Allocated = 1,
    /// Freed, and held back.
    Quarantined = 2,
    /// Freed, and may be handed out.
    Free = 3,
}

impl Record {
    fn state(&self) -> State {
        [State::Fresh, State::Allocated, State::Quarantined, State::Free][(self.word & 3) as usize]
    }

    fn size(&self) -> usize {
        (self.word >> 2) as usize
    }

    fn set(&mut self, state: State, size: usize) {
        self.word = (size as u32) << 2 | state as u32;
    }
}

/// The slots of one size in one shard. All zero is one without slots.
pub(super) struct Class {
    /// The range's start; null until the first request.
    range: *mut u8,
    slots: *mut u8,
    capacity: u32,
    carved: u32,
    /// Length of the list of free slots.
    free: u32,
    /// The quarantine is a ring: its oldest entry, and its length.
    oldest: u32,
    held: u32,
    /// Slots that are allocated, and those that may have memory behind them.
    live: u32,
    touched: u32,
    /// Committed bytes: of quarantine and records, and of slots.
    committed: [usize; 2],
}

/// Why there is no slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// The range is used up.
    Full,
    /// The system has no memory.
    NoMemory,
}

/// What a class is told with each call: where it lies, and its shard's secret.
pub(super) struct Site<'a, O: Os> {
    pub os: &'a O,
    pub range: *mut u8,
    pub range_bytes: usize,
    pub bin: Bin,
    pub secret: u64,
}

/// Numbers of one class.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tally {
    pub live: u64,
    pub touched_bytes: u64,
    pub carved_bytes: u64,
}

impl Class {
    /// A slot for `size` bytes, less than the bin's, chosen by `random` among those that are free. It
    /// reads as zero up to its canary. Ends the process if the slot was written to since its free.
    pub(super) fn alloc<O: Os>(
        &mut self,
        site: &Site<'_, O>,
        size: usize,
        random: u64,
    ) -> Result<NonNull<u8>, Refusal> {
        if self.free == 0 {
            self.replenish(site)?;
        }
        let pick = (random % u64::from(self.free)) as u32;
        self.free -= 1;
        let last = self.record(self.free).link;
        let index = core::mem::replace(&mut self.record(pick).link, last);
        let slot = self.slot(site.bin, index);
        if self.record(index).state() == State::Free {
            expect_untouched(slot, site.bin.size());
        } else {
            self.touched += 1;
        }
        self.record(index).set(State::Allocated, size);
        self.live += 1;
        // SAFETY: the slot has room for more than `size` bytes, is committed and nobody else's.
        unsafe {
            write_canary(site.secret, index, slot, size, site.bin.size());
            Ok(NonNull::new_unchecked(slot))
        }
    }

    /// Frees the object at `address` of this range into the quarantine. `known`: the size that the
    /// program says it has.
    pub(super) fn free<O: Os>(
        &mut self,
        site: &Site<'_, O>,
        address: usize,
        known: Option<usize>,
    ) -> Result<(), Misuse> {
        let (index, size) = self.check(site, address)?;
        if known.is_some_and(|known| known != size) {
            return Err(Misuse::WrongSize);
        }
        let slot = self.slot(site.bin, index);
        // The rest of the slot is zero, as `check` has just seen.
        let used = (size + CANARY_MAX).min(site.bin.size());
        // SAFETY: the slot is committed and, being given up by the program, nobody's.
        unsafe { slot.write_bytes(0, used) };
        self.record(index).set(State::Quarantined, 0);
        self.live -= 1;
        let room = (QUARANTINE_BYTES / site.bin.size()).clamp(QUARANTINE_MIN, QUARANTINE_MAX);
        if self.held as usize == room {
            self.release_oldest(room);
        }
        *self.quarantine((self.oldest + self.held) as usize % room) = index;
        self.held += 1;
        Ok(())
    }

    /// Bytes that were asked for at `address`, if an object starts there and is whole.
    pub(super) fn size_of<O: Os>(
        &mut self,
        site: &Site<'_, O>,
        address: usize,
    ) -> Result<usize, Misuse> {
        self.check(site, address).map(|(_, size)| size)
    }

    /// Changes the size of the object at `address` if a request of `size` would be served from this
    /// bin too; `size` is less than the bin's then.
    pub(super) fn resize<O: Os>(
        &mut self,
        site: &Site<'_, O>,
        address: usize,
        size: usize,
    ) -> Result<(), Misuse> {
        let (index, old) = self.check(site, address)?;
        let slot = self.slot(site.bin, index);
        let end = (old + CANARY_MAX).min(site.bin.size());
        let kept = old.min(size);
        // SAFETY: the slot is committed; its object has `old` bytes, of which `kept` stay, and what
        // lies behind them is its canary.
        unsafe {
            slot.add(kept).write_bytes(0, end - kept);
            write_canary(site.secret, index, slot, size, site.bin.size());
        }
        self.record(index).set(State::Allocated, size);
        Ok(())
    }

    /// Gives the whole pages of freed slots back to the system, and looks for writes to them first.
    pub(super) fn purge<O: Os>(&mut self, site: &Site<'_, O>) -> usize {
        let page = site.os.page_bytes();
        let size = site.bin.size();
        let (mut bytes, mut index) = (0, 0);
        while index < self.carved {
            let first = index;
            while index < self.carved
                && matches!(self.record(index).state(), State::Free | State::Quarantined)
            {
                expect_untouched(self.slot(site.bin, index), size);
                index += 1;
            }
            let start = (first as usize * size).next_multiple_of(page);
            let end = index as usize * size / page * page;
            if start < end {
                // SAFETY: the range is committed, lies in freed slots, and all its bytes are zero.
                let given = unsafe {
                    let at = NonNull::new_unchecked(self.slots.add(start));
                    site.os.decommit(at, end - start)
                };
                if given {
                    bytes += end - start;
                    self.refresh(size, start, end);
                }
            }
            index += 1;
        }
        bytes
    }

    /// Notes that free slots which lie wholly in given-back pages have no memory any more.
    fn refresh(&mut self, size: usize, start: usize, end: usize) {
        for index in start.div_ceil(size)..end / size {
            let record = self.record(index as u32);
            if record.state() == State::Free {
                record.set(State::Fresh, 0);
                self.touched -= 1;
            }
        }
    }

    pub(super) fn tally(&self, bin: Bin) -> Tally {
        let bytes = |slots: u32| u64::from(slots) * bin.size() as u64;
        Tally {
            live: u64::from(self.live),
            touched_bytes: bytes(self.touched),
            carved_bytes: bytes(self.carved),
        }
    }

    /// The slot and the size of the live, undamaged object at `address`.
    #[inline(never)]
    fn check<O: Os>(&mut self, site: &Site<'_, O>, address: usize) -> Result<(u32, usize), Misuse> {
        let bytes = site.bin.size();
        let offset = address.wrapping_sub(self.slots.addr());
        if self.slots.is_null() || offset / bytes >= self.carved as usize {
            return Err(Misuse::Free(FreeFault::Outside));
        }
        let index = (offset / bytes) as u32;
        let (state, size) = (self.record(index).state(), self.record(index).size());
        if state == State::Fresh {
            return Err(Misuse::Free(FreeFault::Outside));
        }
        if !offset.is_multiple_of(bytes) {
            return Err(Misuse::Free(FreeFault::Misaligned));
        }
        if state != State::Allocated {
            return Err(Misuse::Free(FreeFault::NotAllocated));
        }
        let slot = self.slot(site.bin, index);
        // SAFETY: the bytes behind the object belong to its slot, and to nobody but this class.
        let whole = unsafe {
            has_canary(site.secret, index, slot, size, bytes)
                && is_zero(slot, (size + CANARY_MAX).min(bytes), bytes)
        };
        if whole { Ok((index, size)) } else { Err(Misuse::PastEnd) }
    }

    /// Makes at least one slot free: new ones, as many as fit on the page that is touched anyway, or
    /// if there are no more the oldest of the quarantine.
    #[inline(never)]
    fn replenish<O: Os>(&mut self, site: &Site<'_, O>) -> Result<(), Refusal> {
        let size = site.bin.size();
        let refusal = match self.room_for_more(site) {
            Ok(()) => {
                let batch = (site.os.page_bytes() / size).max(1) as u32;
                let held = self.committed[1] / size;
                let most = (self.capacity - self.carved).min(held as u32 - self.carved);
                for index in self.carved..self.carved + batch.min(most) {
                    self.record(self.free).link = index;
                    self.free += 1;
                }
                self.carved += batch.min(most);
                return Ok(());
            }
            Err(refusal) => refusal,
        };
        if self.held == 0 {
            return Err(refusal);
        }
        self.release_oldest((QUARANTINE_BYTES / size).clamp(QUARANTINE_MIN, QUARANTINE_MAX));
        Ok(())
    }

    /// Commits a record and a slot beyond `carved`.
    fn room_for_more<O: Os>(&mut self, site: &Site<'_, O>) -> Result<(), Refusal> {
        let size = site.bin.size();
        if self.slots.is_null() {
            self.capacity = capacity(site.range_bytes, size);
            self.range = site.range;
            self.slots = site.range.wrapping_add(slots_offset(self.capacity));
        }
        if self.carved == self.capacity {
            return Err(Refusal::Full);
        }
        let next = self.carved as usize + 1;
        // As many records as the slots that come to be committed, so that one check serves for both.
        let slots_end = (next * size).next_multiple_of(STEP);
        if next * size > self.committed[1] {
            let generous = slots_end.max((self.committed[1] * 3 / 2).next_multiple_of(STEP));
            let whole = (self.capacity as usize * size).next_multiple_of(STEP);
            let grown = [generous.min(whole), slots_end]
                .into_iter()
                .find(|end| self.commit(site, 1, slots_offset(self.capacity), *end));
            if grown.is_none() {
                return Err(Refusal::NoMemory);
            }
        }
        let records = QUARANTINE_TABLE + self.committed[1].div_ceil(size) * size_of::<Record>();
        let records = records.min(records_end(self.capacity)).next_multiple_of(STEP);
        if records > self.committed[0] && !self.commit(site, 0, 0, records) {
            return Err(Refusal::NoMemory);
        }
        Ok(())
    }

    /// Commits part `part` of the range, which starts at `offset`, up to `end` bytes.
    fn commit<O: Os>(
        &mut self,
        site: &Site<'_, O>,
        part: usize,
        offset: usize,
        end: usize,
    ) -> bool {
        let have = self.committed[part];
        // SAFETY: the range is a part of the reservation, and `end` stays within the part's share of it.
        let done = unsafe {
            let at = NonNull::new_unchecked(self.range.add(offset + have));
            site.os.commit(at, end - have)
        };
        if done {
            self.committed[part] = end;
        }
        done
    }

    #[inline(never)]
    fn release_oldest(&mut self, room: usize) {
        let index = *self.quarantine(self.oldest as usize);
        self.oldest = (self.oldest + 1) % room as u32;
        self.held -= 1;
        self.record(index).set(State::Free, 0);
        self.record(self.free).link = index;
        self.free += 1;
    }

    fn slot(&self, bin: Bin, index: u32) -> *mut u8 {
        self.slots.wrapping_add(index as usize * bin.size())
    }

    fn record(&mut self, index: u32) -> &mut Record {
        debug_assert!(index < self.capacity);
        // SAFETY: callers stay below `carved`, or add to it what `room_for_more` committed records
        // for; any bytes are a record; `&mut self` is the class.
        unsafe { &mut *self.range.add(QUARANTINE_TABLE).cast::<Record>().add(index as usize) }
    }

    fn quarantine(&mut self, at: usize) -> &mut u32 {
        debug_assert!(at < QUARANTINE_MAX);
        // SAFETY: the table is the start of the range, committed with the first record.
        unsafe { &mut *self.range.cast::<u32>().add(at) }
    }
}

/// Slots that a range has room for, with their records and guards.
fn capacity(range_bytes: usize, size: usize) -> u32 {
    ((range_bytes - 4 * STEP - QUARANTINE_TABLE) / (size + size_of::<Record>())) as u32
}

fn records_end(capacity: u32) -> usize {
    QUARANTINE_TABLE + capacity as usize * size_of::<Record>()
}

fn slots_offset(capacity: u32) -> usize {
    records_end(capacity).next_multiple_of(STEP) + STEP
}

/// The bytes that stand behind an object, as far as its slot goes. None of them is below 128: no zero
/// behind a string, no byte of a text and no small number looks as if nothing had been written.
fn canary(secret: u64, index: u32) -> [u64; CANARY_MAX / 8] {
    let mixed = (secret ^ u64::from(index)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    [(mixed ^ (mixed >> 29)) | 0x8080_8080_8080_8080; CANARY_MAX / 8]
}

/// # Safety
/// The slot has `bytes` bytes, is committed, and nobody else uses what is behind the first `size`.
unsafe fn write_canary(secret: u64, index: u32, slot: *mut u8, size: usize, bytes: usize) {
    let canary = canary(secret, index);
    let length = (bytes - size).min(CANARY_MAX);
    // SAFETY: the caller's.
    unsafe { slot.add(size).copy_from_nonoverlapping(canary.as_ptr().cast(), length) };
}

/// Whether the canary behind an object is as it was written.
///
/// # Safety
/// As for [`write_canary`].
unsafe fn has_canary(secret: u64, index: u32, slot: *const u8, size: usize, bytes: usize) -> bool {
    let canary = canary(secret, index);
    let length = (bytes - size).min(CANARY_MAX);
    // SAFETY: the caller's; `length` is at most the canary's.
    unsafe {
        let found = core::slice::from_raw_parts(slot.add(size), length);
        found == core::slice::from_raw_parts(canary.as_ptr().cast::<u8>(), length)
    }
}

/// Ends the process if a slot that is not allocated holds anything.
fn expect_untouched(slot: *mut u8, bytes: usize) {
    // SAFETY: callers pass a committed slot that is free, so it is nobody's.
    if !unsafe { is_zero(slot, 0, bytes) } {
        corruption(Misuse::AfterFree.message(), slot.addr());
    }
}

/// Whether bytes `from..to` of a slot are zero.
///
/// # Safety
/// They are committed and nobody writes to them.
#[inline(never)]
unsafe fn is_zero(slot: *const u8, from: usize, to: usize) -> bool {
    const STRIDE: usize = 8;
    let words = from.next_multiple_of(8).min(to);
    let strides = words + (to - words) / (8 * STRIDE) * (8 * STRIDE);
    // SAFETY: the caller's. Slots start at multiples of 8 and have such sizes.
    unsafe {
        let word = |at: usize| slot.add(at).cast::<u64>().read();
        // Without a branch for each word, so that the compiler takes several at once.
        let stride = |at: usize| (0..STRIDE).fold(0, |bits, i| bits | word(at + 8 * i));
        (from..words).all(|at| slot.add(at).read() == 0)
            && (words..strides).step_by(8 * STRIDE).all(|at| stride(at) == 0)
            && (strides..to).step_by(8).all(|at| word(at) == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_its_parts_and_its_guards() {
        for shift in super::super::RANGE_SHIFT_MIN..=31 {
            let range = 1usize << shift;
            for bin in Bin::all().filter(|bin| bin.size() <= super::super::SLOT_MAX) {
                let n = capacity(range, bin.size());
                let slots = slots_offset(n);
                let end = (slots + n as usize * bin.size()).next_multiple_of(STEP);
                assert!(n >= 1 && end + STEP <= range, "{bin:?} in 2^{shift}");
                assert!(records_end(n) + STEP <= slots);
            }
        }
    }

    #[test]
    fn no_byte_of_a_canary_is_a_texts_and_slots_differ() {
        let bytes = |index| canary(0x1234_5678_9abc_def0, index)[0].to_ne_bytes();
        assert!((0..1000).all(|index| bytes(index).iter().all(|byte| !byte.is_ascii())));
        assert!(bytes(1) != bytes(2));
    }
}
