//! Arenas for CPython's own small-object allocator, where it stays in place (`python_arenas:1`).
//!
//! CPython's allocator is inlined into its callers, and asks for memory by whole *arenas*: 1 MiB since
//! 3.10, 256 KiB before. It asks for a new one when all others are full, so arenas side by side are used densely: a
//! *chunk* of 2 MiB can be a huge page, and one that is free again is kept and handed out before a fresh one,
//! lowest first.
//!
//! No lock is taken, since sub-interpreters with a lock of their own call at the same time, and so that a
//! fork finds none held. What is not one of these arenas, or cannot be, is the business of whoever
//! provided them before.

use crate::install::arenas_before;
use crate::interpreter::ArenaAllocator;
use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use memento_hal::ProcessHal;
use memento_hal::os::{HugePages, Linux, Os};
use memento_hal::soft::Soft;

/// Most arenas: 16 GiB of them. Beyond that the one before provides.
const ARENAS_MAX: usize = 1 << 14;
/// Arenas of one word of the bit map.
const WORD: usize = u64::BITS as usize;
/// Bytes of a chunk.
const CHUNK: usize = 2 << 20;
/// From this chunk on, each is a huge page from its first arena on, like the very first, which the
/// interpreter's start fills. Those between become one when they are half full: a program may end there.
const AT_ONCE_FROM: usize = 2;
/// Free arenas that keep their memory, besides an eighth of the most that there ever were.
const KEPT_MIN: usize = 8;

/// The arenas of this process.
pub(crate) struct Arenas {
    /// The first, once the first was asked for; the rest follow without a gap.
    start: AtomicPtr<u8>,
    /// Bytes of each: 0 until then, and `REFUSED` if there is no address space for them.
    bytes: AtomicUsize,
    /// So many were handed out at least once.
    used: AtomicUsize,
    /// Which of these are free, and how many.
    free: [AtomicU64; ARENAS_MAX / WORD],
    kept: AtomicUsize,
}

/// No length of an arena.
const REFUSED: usize = usize::MAX;

/// The only ones.
pub(crate) static ARENAS: Arenas = Arenas {
    start: AtomicPtr::new(null_mut()),
    bytes: AtomicUsize::new(0),
    used: AtomicUsize::new(0),
    free: [const { AtomicU64::new(0) }; ARENAS_MAX / WORD],
    kept: AtomicUsize::new(0),
};

/// How CPython is served with arenas.
pub(crate) const SERVED: ArenaAllocator =
    ArenaAllocator { context: null_mut(), alloc: allocate, free: release };

unsafe extern "C" fn allocate(_: *mut c_void, bytes: usize) -> *mut c_void {
    if let Some(arena) = ARENAS.take(bytes) {
        return arena.as_ptr().cast();
    }
    match arenas_before() {
        // SAFETY: CPython's own function with its own context.
        Some(before) => unsafe { (before.alloc)(before.context, bytes) },
        None => null_mut(),
    }
}

unsafe extern "C" fn release(_: *mut c_void, arena: *mut c_void, bytes: usize) {
    // SAFETY: CPython's contract: an arena that it was given, and uses no more.
    unsafe {
        if !ARENAS.give(arena.cast(), bytes)
            && let Some(before) = arenas_before()
        {
            (before.free)(before.context, arena, bytes);
        }
    }
}

/// Gives the memory of free arenas back to the system.
pub(crate) fn purge() {
    ARENAS.purge();
}

impl Arenas {
    /// Arenas that CPython has now.
    pub fn in_use(&self) -> usize {
        // Relaxed: numbers that are read on their own.
        self.used.load(Ordering::Relaxed).saturating_sub(self.kept.load(Ordering::Relaxed))
    }

    /// An arena; `None` if there is none of this length, or no memory.
    fn take(&self, bytes: usize) -> Option<NonNull<u8>> {
        if self.bytes.load(Ordering::Relaxed) == 0 {
            self.reserve(bytes);
        }
        if self.bytes.load(Ordering::Relaxed) != bytes {
            return None;
        }
        let (index, fresh) = match self.take_free() {
            Some(index) => (index, false),
            None => (self.take_fresh()?, true),
        };
        let arena = self.arena(index, bytes)?;
        if fresh {
            self.back(index, bytes);
        }
        // SAFETY: in the reservation. What is committed already stays as it is.
        if unsafe { Linux.commit(arena, bytes) } {
            return Some(arena);
        }
        self.put(index);
        None
    }

    /// The first arena is asked for by an interpreter's start, when there is one thread.
    #[cold]
    fn reserve(&self, bytes: usize) {
        let fits = bytes != 0 && CHUNK.is_multiple_of(bytes);
        let start = if fits { Linux.reserve(ARENAS_MAX * bytes, CHUNK) } else { None };
        if let Some(start) = start {
            self.start.store(start.as_ptr(), Ordering::Relaxed);
        }
        self.bytes.store(if start.is_some() { bytes } else { REFUSED }, Ordering::Relaxed);
    }

    fn arena(&self, index: usize, bytes: usize) -> Option<NonNull<u8>> {
        NonNull::new(self.start.load(Ordering::Relaxed).wrapping_add(index * bytes))
    }

    /// The lowest that is free.
    fn take_free(&self) -> Option<usize> {
        if self.kept.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let words = self.used.load(Ordering::Relaxed).div_ceil(WORD);
        self.free.iter().take(words).enumerate().find_map(|(at, word)| {
            // Acquire: pairs with the Release in `put`; what its last user did to the memory is over.
            let rest = |free: u64| (free != 0).then(|| free & (free - 1));
            let free = word.fetch_update(Ordering::Acquire, Ordering::Relaxed, rest).ok()?;
            self.kept.fetch_sub(1, Ordering::Relaxed);
            Some(at * WORD + free.trailing_zeros() as usize)
        })
    }

    fn take_fresh(&self) -> Option<usize> {
        let more = |used: usize| (used < ARENAS_MAX).then_some(used + 1);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()
    }

    fn put(&self, index: usize) {
        self.kept.fetch_add(1, Ordering::Relaxed);
        self.free[index / WORD].fetch_or(1 << (index % WORD), Ordering::Release);
    }

    /// Decides what backs the chunk of an arena that is handed out for the first time.
    fn back(&self, index: usize, bytes: usize) {
        let in_chunk = CHUNK / bytes;
        let (chunk, at) = (index / in_chunk, index % in_chunk);
        let at_once = chunk == 0 || chunk >= AT_ONCE_FROM;
        let due = if at_once { at == 0 } else { at == in_chunk / 2 };
        let asked = Soft::instance().page_policy().huge_waste != 0;
        if !due || !asked || Linux.huge_pages() != HugePages::Advised {
            return;
        }
        let Some(start) = self.arena(index - at, bytes) else { return };
        // SAFETY: the chunk lies in the reservation, which is a whole number of them.
        unsafe {
            if Linux.commit(start, CHUNK) {
                match at_once {
                    true => Linux.advise_huge(start, CHUNK),
                    false => Linux.collapse(start, CHUNK),
                }
            }
        }
    }

    /// Takes an arena back; `false` if it is none of these.
    ///
    /// # Safety
    /// Nobody uses it afterwards.
    unsafe fn give(&self, arena: *mut u8, bytes: usize) -> bool {
        let offset = arena.addr().wrapping_sub(self.start.load(Ordering::Relaxed).addr());
        if self.bytes.load(Ordering::Relaxed) != bytes || offset >= ARENAS_MAX * bytes {
            return false;
        }
        let most = KEPT_MIN.max(self.used.load(Ordering::Relaxed) / 8);
        if self.kept.load(Ordering::Relaxed) >= most {
            self.forget(offset / bytes, bytes);
        }
        self.put(offset / bytes);
        true
    }

    /// Gives an arena's memory back to the system. If that is refused it keeps it.
    fn forget(&self, index: usize, bytes: usize) {
        if let Some(arena) = self.arena(index, bytes) {
            // SAFETY: the caller took it, and it was committed when it was handed out.
            let _ = unsafe { Linux.decommit(arena, bytes) };
        }
    }

    fn purge(&self) {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let words = self.used.load(Ordering::Relaxed).div_ceil(WORD);
        for (at, word) in self.free.iter().take(words).enumerate() {
            // Taken meanwhile, so that nobody else gets them.
            let free = word.swap(0, Ordering::Acquire);
            for bit in (0..WORD).filter(|bit| free >> bit & 1 == 1) {
                self.forget(at * WORD + bit, bytes);
            }
            word.fetch_or(free, Ordering::Release);
        }
    }
}
