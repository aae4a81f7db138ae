//! Sizes and lifetimes, event by event.
//!
//! A lifetime is counted as the paper does: in further allocations of the same size class, from an
//! object's allocation to its free. Classes are the hardware's up to 512 bytes; above, each doubling has
//! four. A reallocation within a class changes nothing; otherwise it is an allocation and a free.

use super::paths::{Model, Path, Paths};
use crate::trace::{Event, EventAction, Problem};
use memento_hal::geometry::SizeClass;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Bytes of the largest small object.
pub const SMALL: u64 = 512;
/// Allocations of the same class within which an object is short-lived.
pub const SHORT: u64 = 16;

/// Lifetimes are counted up to each of these; beyond is one more.
pub const LIFETIMES: [u64; 9] = [16, 32, 48, 64, 96, 128, 256, 1024, 16_384];

/// What was counted.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Allocations, with reallocations that leave their class.
    pub allocations: u64,
    /// Frees, with those.
    pub frees: u64,
    /// Reallocations, all.
    pub reallocations: u64,
    /// Bytes of all allocations.
    pub bytes: u64,
    /// Most bytes alive at a time.
    pub peak_live_bytes: u64,
    /// Threads that allocated or freed.
    pub threads: u64,
    /// Frees by another thread than the one that allocated.
    pub remote_frees: u64,
    /// Allocations of at most 512 bytes.
    pub small: u64,
    /// Objects freed within 16 further allocations of their class.
    pub short: u64,
    /// … that are small.
    pub small_short: u64,
    /// Objects alive at the end.
    pub alive: u64,
    /// … that are small.
    pub small_alive: u64,
    /// Allocations by class, by its size.
    pub classes: BTreeMap<u64, u64>,
    /// Frees by class.
    pub class_frees: BTreeMap<u64, u64>,
    /// The ways of allocations and frees through the system's `malloc`, by class; see [`super::paths`].
    #[serde(default)]
    pub paths: BTreeMap<u64, Paths>,
    /// Objects by lifetime: up to each of [`LIFETIMES`], and beyond.
    pub lifetimes: Vec<u64>,
}

/// A live object.
struct Object {
    class: u64,
    size: u64,
    align: u64,
    /// How many of its class had been allocated, it included.
    number: u64,
    thread: u64,
    mapped: bool,
}

/// Takes events and counts.
#[derive(Default)]
pub struct Counter {
    counts: Counts,
    live: HashMap<u64, Object>,
    live_bytes: u64,
    threads: HashSet<u64>,
    model: Model,
}

impl Counter {
    /// A counter that has seen nothing.
    pub fn new() -> Self {
        let lifetimes = vec![0; LIFETIMES.len() + 1];
        Self { counts: Counts { lifetimes, ..Counts::default() }, ..Self::default() }
    }

    /// Counts an event.
    ///
    /// # Errors
    /// If it names an object that is not alive.
    pub fn event(&mut self, event: &Event) -> Result<(), Problem> {
        self.threads.insert(event.thread);
        match event.action {
            EventAction::Alloc { id, size, align } => self.alloc(id, size, align, event.thread),
            EventAction::Free { id } => self.free(id, event.thread)?,
            EventAction::Realloc { id, new, size } => {
                self.counts.reallocations += 1;
                let object = self.live.get_mut(&id).ok_or(Problem::Unknown(id))?;
                if class_of(size, object.align) == object.class {
                    self.live_bytes = self.live_bytes - object.size + size;
                    object.size = size;
                    let object = self.live.remove(&id).ok_or(Problem::Unknown(id))?;
                    self.live.insert(new, object);
                    self.counts.peak_live_bytes = self.counts.peak_live_bytes.max(self.live_bytes);
                } else {
                    let align = object.align;
                    self.free(id, event.thread)?;
                    self.alloc(new, size, align, event.thread);
                }
            }
        }
        Ok(())
    }

    fn alloc(&mut self, id: u64, size: u64, align: u64, thread: u64) {
        let class = class_of(size, align);
        let counts = &mut self.counts;
        counts.allocations += 1;
        counts.bytes = counts.bytes.saturating_add(size);
        counts.small += u64::from(class <= SMALL);
        let number = counts.classes.entry(class).or_default();
        *number += 1;
        let number = *number;
        self.live_bytes = self.live_bytes.saturating_add(size);
        counts.peak_live_bytes = counts.peak_live_bytes.max(self.live_bytes);
        let path = self.model.alloc(thread, size, align);
        counts.paths.entry(class).or_default().alloc(path);
        let mapped = path == Path::Large;
        self.live.insert(id, Object { class, size, align, number, thread, mapped });
    }

    fn free(&mut self, id: u64, thread: u64) -> Result<(), Problem> {
        let object = self.live.remove(&id).ok_or(Problem::Unknown(id))?;
        let counts = &mut self.counts;
        counts.frees += 1;
        *counts.class_frees.entry(object.class).or_default() += 1;
        let is_remote = thread != object.thread;
        counts.remote_frees += u64::from(is_remote);
        let path = self.model.free(thread, object.size, object.mapped, is_remote);
        counts.paths.entry(object.class).or_default().free(path);
        let lifetime = counts.classes.get(&object.class).map_or(0, |made| made - object.number);
        let bucket = LIFETIMES.iter().position(|most| lifetime <= *most).unwrap_or(LIFETIMES.len());
        counts.lifetimes[bucket] += 1;
        let is_small = object.class <= SMALL;
        counts.short += u64::from(lifetime <= SHORT);
        counts.small_short += u64::from(lifetime <= SHORT && is_small);
        self.live_bytes -= object.size;
        Ok(())
    }

    /// What was counted; objects that are left were alive at the end.
    pub fn finish(mut self) -> Counts {
        self.counts.alive = self.live.len() as u64;
        self.counts.small_alive = self.live.values().filter(|o| o.class <= SMALL).count() as u64;
        self.counts.threads = self.threads.len() as u64;
        self.counts
    }
}

/// The size of the class that serves a request.
pub fn class_of(size: u64, align: u64) -> u64 {
    let small = usize::try_from(size).ok().zip(usize::try_from(align).ok());
    if let Some(class) = small.and_then(|(size, align)| SizeClass::for_request(size, align)) {
        return class.size() as u64;
    }
    let size = size.max(align).max(SMALL + 1);
    let step = (1u64 << (63 - (size - 1).leading_zeros())) / 4;
    size.div_ceil(step).saturating_mul(step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Format, read};

    fn counted(text: &str) -> Counts {
        let mut counter = Counter::new();
        read(text.as_bytes(), Format::Text, &mut |event| counter.event(&event)).unwrap();
        counter.finish()
    }

    #[test]
    fn classes() {
        let class = |size| class_of(size, 8);
        assert_eq!([1, 8, 9, 512].map(class), [8, 8, 16, 512]);
        assert_eq!(
            [513, 640, 641, 1024, 1025, 1 << 20].map(class),
            [640, 640, 768, 1024, 1280, 1 << 20]
        );
        assert!(class_of(8, 4096) > 512, "aligned beyond what the hardware serves");
    }

    #[test]
    fn a_trace_by_hand() {
        // Two of 24 bytes, of which the first dies at once; one of 600, freed by another thread; one of
        // 8 that grows out of its class and lives.
        let got = counted("a 1 24\nf 1\na 2 20\na 3 600\nt1 f 3\na 4 8\nr 4 5 100\nr 5 6 104\n");
        assert_eq!((got.allocations, got.frees, got.reallocations), (5, 3, 2));
        assert_eq!((got.small, got.alive, got.small_alive), (4, 2, 2));
        assert_eq!((got.short, got.small_short), (3, 2));
        assert_eq!((got.threads, got.remote_frees), (2, 1));
        assert_eq!((got.bytes, got.peak_live_bytes), (24 + 20 + 600 + 8 + 100, 620));
        let classes: Vec<_> = got.classes.into_iter().collect();
        assert_eq!(classes, [(8, 1), (24, 2), (104, 1), (640, 1)]);
    }

    #[test]
    fn lifetimes_are_in_allocations_of_the_class() {
        let mut text = "a 0 24\na 1 32\n".to_owned();
        for id in 2..19 {
            text += &format!("a {id} 24\n");
        }
        // 17 of its class came after the first, none after that of 32 bytes, 15 after the third.
        text += "f 0\nf 1\nf 3\n";
        let got = counted(&text);
        assert_eq!(got.lifetimes[..3], [2, 1, 0]);
        assert_eq!((got.short, got.alive), (2, 16));
    }

    #[test]
    fn every_operation_has_its_way() {
        let got = counted("a 1 24\nf 1\na 2 20\na 3 600\nt1 f 3\na 4 300000\nf 4\n");
        let paths = |class| got.paths[&class];
        let small = Paths { alloc_refill: 1, alloc_hot: 1, free_hot: 1, ..Paths::default() };
        assert_eq!(paths(24), small);
        assert_eq!(paths(640), Paths { alloc_refill: 1, free_remote: 1, ..Paths::default() });
        let large = Paths { alloc_large: 1, free_large: 1, ..Paths::default() };
        assert_eq!(paths(class_of(300_000, 8)), large);
    }

    #[test]
    fn what_is_not_alive_is_refused() {
        let mut counter = Counter::new();
        let event = Event { thread: 0, time_ns: 0, action: EventAction::Free { id: 7 } };
        assert!(counter.event(&event).is_err());
    }
}
