//! Which way each operation takes through the system's `malloc`, by a model of glibc's.
//!
//! | path | when |
//! | --- | --- |
//! | malloc, hot | the thread's cache has a free object of the size: at most 7 of each, up to 1032 bytes |
//! | malloc, refill | it has none: the arena gives one, and what else it has of the size moves to the cache |
//! | malloc, large | mapped: from 128 KiB on, or from the largest that was mapped and freed, up to 32 MiB |
//! | free, hot | to the thread's cache |
//! | free, last | the cache is full or has no such size: to the arena, which joins it with its neighbours |
//! | free, remote | by another thread than the one that allocated |
//! | free, large | unmapped |
//!
//! Left out: that neighbours that were joined serve other sizes, and that the heap's end is given back.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::AddAssign;

/// Objects of a size in a thread's cache.
const CACHED: u64 = 7;
/// The largest request that the caches hold.
const LARGEST_CACHED: u64 = 1032;
/// Where mapping begins, and how far that moves.
const MAPPED: (u64, u64) = (128 << 10, 32 << 20);

/// A way through the allocator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Path {
    /// From the thread's cache, or to it.
    Hot,
    /// Through the arena.
    Slow,
    /// An object of another thread.
    Remote,
    /// A mapping of its own.
    Large,
}

/// How often each way is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Paths {
    /// Allocations from the thread's cache.
    pub alloc_hot: u64,
    /// Allocations from the arena.
    pub alloc_refill: u64,
    /// Allocations that are mapped.
    pub alloc_large: u64,
    /// Frees to the thread's cache.
    pub free_hot: u64,
    /// Frees to the arena.
    pub free_last: u64,
    /// Frees by another thread.
    pub free_remote: u64,
    /// Frees that unmap.
    pub free_large: u64,
}

impl Paths {
    /// Counts an allocation.
    pub fn alloc(&mut self, path: Path) {
        match path {
            Path::Hot => self.alloc_hot += 1,
            Path::Slow | Path::Remote => self.alloc_refill += 1,
            Path::Large => self.alloc_large += 1,
        }
    }

    /// Counts a free.
    pub fn free(&mut self, path: Path) {
        match path {
            Path::Hot => self.free_hot += 1,
            Path::Slow => self.free_last += 1,
            Path::Remote => self.free_remote += 1,
            Path::Large => self.free_large += 1,
        }
    }
}

impl AddAssign for Paths {
    fn add_assign(&mut self, other: Self) {
        self.alloc_hot += other.alloc_hot;
        self.alloc_refill += other.alloc_refill;
        self.alloc_large += other.alloc_large;
        self.free_hot += other.free_hot;
        self.free_last += other.free_last;
        self.free_remote += other.free_remote;
        self.free_large += other.free_large;
    }
}

/// The model's state.
#[derive(Debug)]
pub struct Model {
    /// Free objects in the caches, by thread and size.
    caches: HashMap<(u64, u64), u64>,
    /// Free objects in the arena, by size.
    arena: HashMap<u64, u64>,
    mapped_from: u64,
}

impl Default for Model {
    fn default() -> Self {
        Self { caches: HashMap::new(), arena: HashMap::new(), mapped_from: MAPPED.0 }
    }
}

impl Model {
    /// The way of an allocation.
    pub fn alloc(&mut self, thread: u64, size: u64, align: u64) -> Path {
        if size >= self.mapped_from {
            return Path::Large;
        }
        let chunk = chunk(size);
        // Aligned requests pass the caches by.
        if size > LARGEST_CACHED || align > 16 {
            return Path::Slow;
        }
        let cache = self.caches.entry((thread, chunk)).or_default();
        if *cache > 0 {
            *cache -= 1;
            return Path::Hot;
        }
        let arena = self.arena.entry(chunk).or_default();
        *arena = arena.saturating_sub(1);
        *cache = (*arena).min(CACHED);
        *arena -= *cache;
        Path::Slow
    }

    /// The way of a free. `mapped` is whether the object took [`Path::Large`], `remote` whether another thread
    /// allocated it.
    pub fn free(&mut self, thread: u64, size: u64, mapped: bool, remote: bool) -> Path {
        if mapped {
            self.mapped_from = self.mapped_from.max((size + 1).min(MAPPED.1));
            return Path::Large;
        }
        let chunk = chunk(size);
        let cache = self.caches.entry((thread, chunk)).or_default();
        let is_cached = size <= LARGEST_CACHED && *cache < CACHED;
        if is_cached {
            *cache += 1;
        } else {
            *self.arena.entry(chunk).or_default() += 1;
        }
        match (remote, is_cached) {
            (true, _) => Path::Remote,
            (false, true) => Path::Hot,
            (false, false) => Path::Slow,
        }
    }
}

/// What a request takes of the heap, with its header.
fn chunk(size: u64) -> u64 {
    (size.saturating_add(8 + 15) & !15).max(32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocs(model: &mut Model, count: usize, size: u64) -> Vec<Path> {
        (0..count).map(|_| model.alloc(0, size, 8)).collect()
    }

    #[test]
    fn a_cache_holds_seven_and_takes_seven() {
        let mut model = Model::default();
        assert_eq!(allocs(&mut model, 20, 64), [Path::Slow; 20], "nothing is free yet");
        let frees: Vec<Path> = (0..20).map(|_| model.free(0, 64, false, false)).collect();
        assert_eq!(frees[..7], [Path::Hot; 7]);
        assert_eq!(frees[7..], [Path::Slow; 13]);
        let again = allocs(&mut model, 20, 57);
        assert_eq!(again[..7], [Path::Hot; 7], "of the same chunk");
        // 13 in the arena: one is handed out and seven move; then one, and the last five move.
        assert_eq!((again[7], again[15]), (Path::Slow, Path::Slow));
        assert_eq!(again.iter().filter(|path| **path == Path::Slow).count(), 2);
        assert_eq!(model.alloc(0, 64, 8), Path::Slow, "all are in use");
    }

    #[test]
    fn caches_are_of_threads_and_of_small_objects() {
        let mut model = Model::default();
        assert_eq!(model.free(1, 64, false, true), Path::Remote);
        assert_eq!(model.alloc(0, 64, 8), Path::Slow);
        assert_eq!(model.alloc(1, 64, 8), Path::Hot, "what another allocated is there too");
        assert_eq!(model.free(0, 1033, false, false), Path::Slow);
        assert_eq!(model.alloc(0, 1033, 8), Path::Slow);
        model.free(0, 64, false, false);
        assert_eq!(model.alloc(0, 64, 64), Path::Slow, "aligned");
    }

    #[test]
    fn what_was_mapped_once_is_not_mapped_again() {
        let mut model = Model::default();
        assert_eq!(model.alloc(0, (128 << 10) - 1, 8), Path::Slow);
        assert_eq!(model.alloc(0, 1 << 20, 8), Path::Large);
        assert_eq!(model.free(0, 1 << 20, true, false), Path::Large);
        assert_eq!(model.alloc(0, 1 << 20, 8), Path::Slow);
        assert_eq!(model.alloc(0, 2 << 20, 8), Path::Large);
        model.free(0, 64 << 20, true, false);
        assert_eq!(model.alloc(0, (32 << 20) - 1, 8), Path::Slow);
        assert_eq!(model.alloc(0, 32 << 20, 8), Path::Large, "always");
    }
}
