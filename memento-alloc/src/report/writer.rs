//! Makes and maps the report file, and hands each thread its block in it.
//!
//! Invariants:
//! - A block belongs to one thread, which alone writes it. The one exception is the first block
//!   when there are too many threads; the header's [`FLAG_SHARED_BLOCK`] says so.
//! - A block's address stays valid for the life of the process, whatever fails and across `fork`:
//!   a fork child maps its own, zeroed file *over* its parent's, so that references held anywhere,
//!   such as in an emulated core, count for the child from then on.
//! - Space for a block exists in the file before its thread writes to it; a full disk ends counting
//!   in the file, not the program.
//!
//! Without `MEMENTO_REPORT` the blocks lie in private memory, and only the process itself can read
//! them.

use super::layout::{
    ARGV0_BYTES, BLOCK_BYTES, CHUNK_BLOCKS, FLAG_FORK_CHILD, FLAG_SHARED_BLOCK, HEADER_BYTES,
    Header, MAGIC, MAX_BLOCKS, VERSION,
};
use crate::startup::{self, File, Path};
use core::cell::UnsafeCell;
use core::ffi::{c_int, c_void};
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use memento_hal::counters::{CounterBlock, Counters};
use memento_hal::os::KeepErrno;
use memento_hal::os::counters_tls;

/// Most chunks of one file.
const CHUNKS: usize = MAX_BLOCKS / CHUNK_BLOCKS;
/// Bytes of a chunk.
const CHUNK_BYTES: usize = CHUNK_BLOCKS * BLOCK_BYTES;

/// The process's one registry of blocks.
static REGISTRY: Registry = Registry::new();

/// The calling thread's block: the same one for the life of the thread.
///
/// Preserves `errno`, allocates nothing.
#[inline]
pub fn current_block() -> &'static CounterBlock {
    let mine = counters_tls::get();
    if mine.is_null() {
        return first_block();
    }
    // SAFETY: only `first_block` sets the pointer, to a block that is never unmapped.
    unsafe { &*mine }
}

#[cold]
fn first_block() -> &'static CounterBlock {
    let _errno = KeepErrno::new();
    let block = REGISTRY.claim();
    counters_tls::set(core::ptr::from_ref(block).cast_mut());
    block
}

/// Makes the report file now, if one is asked for, and writes the backend's name into it. Shared
/// objects call it when they are loaded, which proves the loading even if the program never
/// allocates; otherwise the file is made by the first [`current_block`].
pub fn start(hal: &'static str) {
    let _errno = KeepErrno::new();
    REGISTRY.start(Some(hal));
}

/// Sum over all blocks of the process.
pub fn totals() -> Counters {
    REGISTRY.totals()
}

/// Gives a fork child a file of its own, at zero.
pub fn fork_child() {
    let _errno = KeepErrno::new();
    REGISTRY.fork_child();
}

/// The blocks of a process.
struct Registry {
    /// Held while the fields under `Locked` change; never while anything else is waited for.
    lock: AtomicBool,
    locked: UnsafeCell<Locked>,
    /// Header, or null until started. Set once, with release, after `chunks[0]`.
    header: AtomicPtr<Header>,
    /// First block of each chunk, or null; set under the lock, with release.
    chunks: [AtomicPtr<CounterBlock>; CHUNKS],
    /// Blocks handed out.
    used: AtomicUsize,
}

struct Locked {
    /// Directory of the files; empty if there is none.
    directory: Path,
    /// Path of the file; empty if the blocks lie in private memory.
    file: Path,
    /// Name of the backend.
    hal: &'static str,
}

// SAFETY: `locked` is reached only by `with_lock`, which admits one thread at a time.
unsafe impl Sync for Registry {}

/// Blocks for when no memory can be mapped at all.
struct LastResort {
    header: [u8; 4096],
    block: CounterBlock,
}

#[repr(align(64))]
struct Shared(UnsafeCell<LastResort>);
// SAFETY: both parts are only used as atomics, through `Header` and `CounterBlock`.
unsafe impl Sync for Shared {}
static LAST_RESORT: Shared =
    Shared(UnsafeCell::new(LastResort { header: [0; 4096], block: CounterBlock::new() }));

impl Registry {
    const fn new() -> Self {
        Self {
            lock: AtomicBool::new(false),
            locked: UnsafeCell::new(Locked { directory: Path::new(), file: Path::new(), hal: "" }),
            header: AtomicPtr::new(null_mut()),
            chunks: [const { AtomicPtr::new(null_mut()) }; CHUNKS],
            used: AtomicUsize::new(0),
        }
    }

    /// Runs `work` with the lock held.
    fn with_lock<R>(&self, work: impl FnOnce(&mut Locked) -> R) -> R {
        // Acquire pairs with the release below: what the last holder wrote is seen.
        while self.lock.swap(true, Ordering::Acquire) {
            // SAFETY: sched_yield has no preconditions. The lock is held for a few system calls,
            // once in a thousand threads.
            unsafe { libc::sched_yield() };
        }
        // SAFETY: the lock is held, so this is the only reference.
        let result = work(unsafe { &mut *self.locked.get() });
        self.lock.store(false, Ordering::Release);
        result
    }

    /// Starts counting if that has not happened yet.
    fn start(&self, hal: Option<&'static str>) {
        // Acquire pairs with the release in `set_up`.
        if self.header.load(Ordering::Acquire).is_null() {
            self.with_lock(|locked| {
                if self.header.load(Ordering::Acquire).is_null() {
                    let directory = Path::from_variable(b"MEMENTO_REPORT");
                    self.set_up(locked, directory, hal.unwrap_or(""));
                }
            });
        }
        if let Some(hal) = hal {
            self.with_lock(|locked| {
                locked.hal = hal;
                self.write_hal(hal);
            });
        }
    }

    /// Maps the header and the first chunk. The lock is held.
    fn set_up(&self, locked: &mut Locked, directory: Option<Path>, hal: &'static str) {
        locked.hal = hal;
        if let Some(directory) = directory {
            locked.directory = directory;
        }
        let at = self.map_head(locked, None);
        let (header, chunk) = match at {
            // SAFETY: the mapping is HEADER_BYTES and a chunk long.
            Some(at) => (at.as_ptr(), unsafe { at.add(HEADER_BYTES) }.as_ptr()),
            None => {
                let last = LAST_RESORT.0.get();
                // One block for all: `claim` goes no further.
                self.used.store(MAX_BLOCKS, Ordering::Relaxed);
                // SAFETY: the static lives for ever; these are addresses of its parts.
                unsafe { ((&raw mut (*last).header).cast(), (&raw mut (*last).block).cast()) }
            }
        };
        // Release, both: pairs with the acquire of whoever loads them, which then sees the mapping.
        self.chunks[0].store(chunk.cast(), Ordering::Release);
        self.header.store(header.cast(), Ordering::Release);
        self.write_head(0);
        self.write_hal(hal);
    }

    /// Maps the head of a new file, or private memory where there can be no file: anew, or over
    /// the mapping at `over`.
    fn map_head(&self, locked: &mut Locked, over: Option<NonNull<u8>>) -> Option<NonNull<u8>> {
        let bytes = HEADER_BYTES + CHUNK_BYTES;
        locked.file = Path::new();
        if locked.directory.len() > 0 {
            let mut path = Path::new();
            if path.push(locked.directory.as_c_str().to_bytes())
                && let Some(file) = startup::create_for_process(&mut path, b".counters")
                && file.extend(bytes as u64)
                && file.provide(0, size_of::<Header>() as u64)
                // The block that threads share when there can be no other.
                && file.provide(HEADER_BYTES as u64, BLOCK_BYTES as u64)
                && let Some(at) = map(Some(&file), 0, bytes, over)
            {
                locked.file = path;
                return Some(at);
            }
        }
        map(None, 0, bytes, over)
    }

    /// Fills the header in; `MAGIC` last.
    fn write_head(&self, flags: u64) {
        let header = self.header();
        // Relaxed, but for the magic word: readers are other processes, which look at the file
        // after this one has ended.
        let relaxed = Ordering::Relaxed;
        // SAFETY: both calls have no preconditions.
        let (pid, ppid) = unsafe { (libc::getpid(), libc::getppid()) };
        header.version.store(VERSION, relaxed);
        header.block_words.store(Counters::WORDS as u32, relaxed);
        header.pid.store(pid as u32, relaxed);
        header.ppid.store(ppid as u32, relaxed);
        header.blocks.store(self.used.load(relaxed).min(MAX_BLOCKS) as u64, relaxed);
        header.flags.store(flags, relaxed);
        let mut name = [0; ARGV0_BYTES];
        startup::program_name(&mut name);
        for (word, bytes) in header.argv0.iter().zip(name.chunks_exact(8)) {
            word.store(u64::from_ne_bytes(core::array::from_fn(|i| bytes[i])), relaxed);
        }
        // Release: whoever sees the magic word sees the fields above.
        header.magic.store(MAGIC, Ordering::Release);
    }

    fn write_hal(&self, hal: &str) {
        let mut name = [0u8; 16];
        let length = hal.len().min(15);
        name[..length].copy_from_slice(&hal.as_bytes()[..length]);
        for (word, bytes) in self.header().hal.iter().zip(name.chunks_exact(8)) {
            word.store(u64::from_ne_bytes(core::array::from_fn(|i| bytes[i])), Ordering::Relaxed);
        }
    }

    fn header(&self) -> &Header {
        // SAFETY: called after `set_up` only, which set the pointer to a zeroed, mapped header that
        // stays mapped; all its fields are atomics.
        unsafe { &*self.header.load(Ordering::Acquire) }
    }

    /// A block for a new thread.
    fn claim(&self) -> &'static CounterBlock {
        self.start(None);
        // Relaxed: the count only has to be unique; the block's memory is synchronised below.
        let index = self.used.fetch_add(1, Ordering::Relaxed);
        if index < MAX_BLOCKS
            && let Some(chunk) = self.chunk(index / CHUNK_BLOCKS)
            && self.with_lock(|locked| provide(locked, index))
        {
            self.header().blocks.fetch_max(index as u64 + 1, Ordering::Relaxed);
            // SAFETY: the chunk has CHUNK_BLOCKS blocks BLOCK_BYTES apart, all zero and mapped
            // for ever; all fields are atomics.
            return unsafe { block(chunk, index % CHUNK_BLOCKS) };
        }
        self.header().flags.fetch_or(FLAG_SHARED_BLOCK, Ordering::Relaxed);
        self.header().blocks.fetch_max(1, Ordering::Relaxed);
        // SAFETY: `start` mapped chunk 0, or made it the last resort, which has a block 0.
        unsafe { block(self.chunks[0].load(Ordering::Acquire), 0) }
    }

    /// The chunk with this number, mapped now if need be.
    fn chunk(&self, number: usize) -> Option<*mut CounterBlock> {
        // Acquire pairs with the release of the store below and in `set_up`.
        let known = self.chunks[number].load(Ordering::Acquire);
        if !known.is_null() {
            return Some(known);
        }
        self.with_lock(|locked| {
            let known = self.chunks[number].load(Ordering::Acquire);
            if !known.is_null() {
                return Some(known);
            }
            let chunk = self.map_chunk(locked, number, None)?.as_ptr().cast();
            self.chunks[number].store(chunk, Ordering::Release);
            Some(chunk)
        })
    }

    /// Maps a chunk after the first, of the file if there is one.
    fn map_chunk(
        &self,
        locked: &Locked,
        number: usize,
        over: Option<NonNull<u8>>,
    ) -> Option<NonNull<u8>> {
        let offset = HEADER_BYTES + number * CHUNK_BYTES;
        if locked.file.len() == 0 {
            return map(None, 0, CHUNK_BYTES, over);
        }
        let file = File::open(locked.file.as_c_str(), libc::O_RDWR)?;
        if !file.extend((offset + CHUNK_BYTES) as u64) {
            return None;
        }
        map(Some(&file), offset, CHUNK_BYTES, over)
    }

    fn totals(&self) -> Counters {
        let mut total = Counters::ZERO;
        for chunk in &self.chunks {
            // Acquire pairs with the release of whoever mapped it.
            let chunk = chunk.load(Ordering::Acquire);
            if chunk.is_null() {
                continue;
            }
            if core::ptr::eq(chunk, self.last_resort()) {
                // SAFETY: the last resort is one block.
                total.add(&unsafe { block(chunk, 0) }.snapshot());
                continue;
            }
            let used = self.used.load(Ordering::Relaxed).min(CHUNK_BLOCKS);
            for index in 0..used {
                // SAFETY: as in `claim`. Blocks not handed out are zero.
                total.add(&unsafe { block(chunk, index) }.snapshot());
            }
        }
        total
    }

    fn last_resort(&self) -> *const CounterBlock {
        // SAFETY: takes an address only.
        unsafe { &raw const (*LAST_RESORT.0.get()).block }
    }

    /// Runs in a fork child, whose only thread is the caller.
    fn fork_child(&self) {
        // Another thread of the parent may have held the lock; it does not exist here. What it was
        // doing is at worst half a chunk, which is not in `chunks` yet.
        self.lock.store(false, Ordering::Relaxed);
        let header = self.header.load(Ordering::Acquire);
        let Some(head) = NonNull::new(header.cast::<u8>()) else { return };
        if core::ptr::eq(self.chunks[0].load(Ordering::Acquire), self.last_resort()) {
            return;
        }
        self.with_lock(|locked| {
            // Over an existing mapping, private memory can always be mapped: no page is needed.
            let _ = self.map_head(locked, Some(head));
            let used = self.used.load(Ordering::Relaxed).min(MAX_BLOCKS);
            // Space for every block that is handed out: a core inherited from another thread of
            // the parent counts into that thread's block.
            if locked.file.len() > 0 && !provide_range(locked, 0, used) {
                locked.file = Path::new();
                let _ = map(None, 0, HEADER_BYTES + CHUNK_BYTES, Some(head));
            }
            for (number, chunk) in self.chunks.iter().enumerate().skip(1) {
                let chunk = NonNull::new(chunk.load(Ordering::Acquire).cast::<u8>());
                if chunk.is_some() && self.map_chunk(locked, number, chunk).is_none() {
                    let _ = map(None, 0, CHUNK_BYTES, chunk);
                }
            }
            self.write_head(FLAG_FORK_CHILD);
            self.write_hal(locked.hal);
        });
    }
}

/// Block `index` of a chunk.
///
/// # Safety
/// `chunk` is mapped for ever and has that block; nothing but atomics is ever written to it.
unsafe fn block(chunk: *mut CounterBlock, index: usize) -> &'static CounterBlock {
    // SAFETY: promised by the caller.
    unsafe { &*chunk.cast::<u8>().add(index * BLOCK_BYTES).cast() }
}

/// Makes sure of disk space for one block.
fn provide(locked: &mut Locked, index: usize) -> bool {
    locked.file.len() == 0 || provide_range(locked, index, 1)
}

/// Makes sure of disk space for `count` blocks from `first`.
fn provide_range(locked: &Locked, first: usize, count: usize) -> bool {
    let Some(file) = File::open(locked.file.as_c_str(), libc::O_RDWR) else { return false };
    let bytes = (count * BLOCK_BYTES) as u64;
    bytes == 0 || file.provide((HEADER_BYTES + first * BLOCK_BYTES) as u64, bytes)
}

/// Maps a part of a file, shared, or private zeroed memory: somewhere, or in place of what is
/// mapped at `over`.
fn map(
    file: Option<&File>,
    offset: usize,
    bytes: usize,
    over: Option<NonNull<u8>>,
) -> Option<NonNull<u8>> {
    let (kind, fd): (c_int, c_int) = match file {
        Some(file) => (libc::MAP_SHARED, file.descriptor()),
        None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, -1),
    };
    let (place, at) = match over {
        Some(over) => (libc::MAP_FIXED, over.as_ptr().cast::<c_void>()),
        None => (0, null_mut()),
    };
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: without `over` the range is fresh; with it the range is this module's own mapping of
    // the same size, whose users only touch atomics and may see them become zero.
    let got = unsafe { libc::mmap(at, bytes, prot, kind | place, fd, offset as libc::off_t) };
    if got == libc::MAP_FAILED { None } else { NonNull::new(got.cast()) }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use crate::report::layout::{self, parse};
    use std::os::unix::ffi::OsStrExt;
    use std::prelude::v1::*;
    use std::{fs, path::PathBuf};

    /// A started registry that counts into a directory of its own.
    fn registry(name: &str) -> (&'static Registry, PathBuf) {
        let directory = std::env::temp_dir().join(format!("memento-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let registry: &'static Registry = Box::leak(Box::new(Registry::new()));
        let mut path = Path::new();
        assert!(path.push(directory.as_os_str().as_bytes()));
        registry.with_lock(|locked| registry.set_up(locked, Some(path), "soft"));
        (registry, directory)
    }

    fn files(directory: &PathBuf) -> Vec<PathBuf> {
        let mut all: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        all.sort();
        all
    }

    #[test]
    fn what_threads_count_is_in_the_file() {
        let (registry, directory) = registry("threads");
        let threads = CHUNK_BLOCKS + 3;
        for _ in 0..threads {
            registry.claim().allocs[5].add(2);
        }
        let files = files(&directory);
        let bytes = fs::read(&files[0]).unwrap();
        let image = parse(&bytes).unwrap();
        assert_eq!(image.counters.allocs[5], 2 * threads as u64);
        assert_eq!(image.counters, registry.totals());
        assert_eq!((image.pid, image.hal, image.flags), (std::process::id(), "soft", 0));
        assert_eq!(image.threads, threads as u64);
        assert!(!image.argv0.is_empty());
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn too_many_threads_are_told() {
        let (registry, directory) = registry("many");
        registry.used.store(MAX_BLOCKS, Ordering::Relaxed);
        registry.claim().frees[0].add(1);
        let bytes = fs::read(&files(&directory)[0]).unwrap();
        let image = parse(&bytes).unwrap();
        assert_eq!(image.flags, layout::FLAG_SHARED_BLOCK);
        assert_eq!(image.counters.frees[0], 1);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn without_a_directory_only_the_process_knows() {
        let registry: &'static Registry = Box::leak(Box::new(Registry::new()));
        registry.with_lock(|locked| registry.set_up(locked, None, "soft"));
        registry.claim().faults.add(3);
        registry.claim().faults.add(4);
        assert_eq!(registry.totals().faults, 7);
    }

    #[test]
    fn a_directory_that_cannot_be_written_costs_the_file_only() {
        let registry: &'static Registry = Box::leak(Box::new(Registry::new()));
        let mut path = Path::new();
        assert!(path.push(b"/proc/nowhere"));
        registry.with_lock(|locked| registry.set_up(locked, Some(path), "soft"));
        registry.claim().faults.add(3);
        assert_eq!(registry.totals().faults, 3);
    }

    #[test]
    fn a_fork_child_counts_from_zero_in_its_own_file_through_the_same_references() {
        let (registry, directory) = registry("fork");
        let block = registry.claim();
        for _ in 0..CHUNK_BLOCKS {
            registry.claim();
        }
        block.allocs[1].add(10);
        // SAFETY: the child calls nothing that could wait for another thread, and ends by _exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            registry.fork_child();
            let zero = registry.totals() == Counters::ZERO;
            block.allocs[1].add(1);
            registry.claim().allocs[1].add(1);
            // SAFETY: ends the process without running anything.
            unsafe { libc::_exit(c_int::from(!zero)) };
        }
        let mut status = 0;
        // SAFETY: waits for our own child.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0, "the child does not start at zero");
        let mut seen: Vec<(u32, u64, u64)> = files(&directory)
            .iter()
            .map(|path| {
                let bytes = fs::read(path).unwrap();
                let image = parse(&bytes).unwrap();
                (image.pid, image.flags, image.counters.allocs[1])
            })
            .collect();
        seen.sort_by_key(|(_, flags, _)| *flags);
        let parent = std::process::id();
        assert_eq!(seen, [(parent, 0, 10), (child as u32, layout::FLAG_FORK_CHILD, 2)]);
        fs::remove_dir_all(directory).unwrap();
    }
}
