//! The allocator: where every request is routed.
//!
//! | request | served by |
//! | --- | --- |
//! | up to 512 bytes, aligned to at most 64 | the backend `H` |
//! | up to 256 KiB, aligned to at most 16 KiB | the thread's software heap |
//! | more, or what grows to 128 KiB | pages of its own ([`crate::large`]) |
//!
//! With the soft backend the first two are one heap, and both fast paths are inlined here. A request
//! that its server cannot satisfy is passed down the table. A free asks the servers in the same
//! order; an address that none of them knows ends the process with one line. In hardened mode no
//! thread has a software heap, and [`crate::hardened`] serves what falls through.

use crate::fork;
use crate::guarded::Guarded;
use crate::hardened::Mode;
use crate::large::{COPIED_MAX, Copying, Large, LargeUsage};
use crate::learned;
use crate::observer::Observer;
use crate::page_conf;
use crate::stats::Stats;
use crate::thread::{Shared, ThreadKey};
use core::alloc::{GlobalAlloc, Layout};
use core::marker::PhantomData;
use core::ptr::{NonNull, null_mut};
use memento_hal::counters::Counters;
use memento_hal::fatal::corruption;
use memento_hal::geometry::{CLASS_STEP, SMALL_ALIGN_MAX, SMALL_MAX, SizeClass};
use memento_hal::os::{KeepErrno, Linux};
use memento_hal::soft::{Added, Bin, DIRECT_MAX, HEAP_MAX, Hardened, Heap, Soft};
use memento_hal::{FreeFault, Hal, ObjectAllocator, ProcessHal};

/// What grows by little grows by this share of it at least, …
const AMPLE_SHARE: usize = 4;
/// … up to this size in a heap, and up to [`COPIED_MAX`] where it has pages of its own.
const AMPLE_MAX: usize = 32 << 10;
/// What grows to so many bytes gets pages of its own, where it goes on growing without being copied.
const GROWN_APART: usize = 128 << 10;

/// What an object of `old` usable bytes gets when it grows to `size`: what grows by little does so again; what doubles
/// has its room already. Never so much that it would not [fit](Memento::fits_in_place) there, and move again.
fn ample(old: usize, size: usize) -> usize {
    let more = (old + old / AMPLE_SHARE) & !(CLASS_STEP - 1);
    let most = if size <= SMALL_MAX { SMALL_MAX } else { usize::MAX };
    size.max(more.min(most))
}

/// A memory allocator for functions that live for milliseconds.
///
/// ```
/// use memento_alloc::Memento;
///
/// #[global_allocator]
/// static ALLOCATOR: Memento = Memento::new();
///
/// fn main() {
///     let squares: Vec<u64> = (0..1000).map(|n| n * n).collect();
///     assert_eq!(squares[999], 998_001);
/// }
/// ```
///
/// `H` is the backend that serves objects up to 512 bytes; `O` sees every operation. A process has one
/// `Memento`, in a static.
pub struct Memento<H: ProcessHal = Soft, O: Observer = ()> {
    pub(crate) observer: O,
    pub(crate) shared: Shared<H>,
    pub(crate) large: Large<Linux>,
    /// Large objects in hardened mode.
    pub(crate) guarded: Guarded<Linux>,
    pub(crate) mode: Mode,
    key: ThreadKey,
    backend: PhantomData<H>,
}

impl<H: ProcessHal> Memento<H> {
    /// The allocator without an observer. Costs nothing until the first allocation.
    pub const fn new() -> Self {
        Self::with_observer(())
    }

    /// The allocator in hardened mode, whatever `MEMENTO_HARDENED` says: every request and every free
    /// is checked, and nothing is fast.
    ///
    /// ```
    /// use memento_alloc::Memento;
    ///
    /// #[global_allocator]
    /// static ALLOCATOR: Memento = Memento::new_hardened();
    ///
    /// fn main() {
    ///     assert_eq!([1, 2, 3].repeat(1000).len(), 3000);
    ///     assert!(ALLOCATOR.is_hardened());
    /// }
    /// ```
    pub const fn new_hardened() -> Self {
        Self { mode: Mode::demanded(), ..Self::new() }
    }
}

impl<H: ProcessHal> Default for Memento<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: ProcessHal, O: Observer> Memento<H, O> {
    /// The allocator with an observer.
    pub const fn with_observer(observer: O) -> Self {
        Self {
            observer,
            shared: Shared::new(),
            large: Large::new(Linux),
            guarded: Guarded::new(Linux),
            mode: Mode::undecided(),
            key: ThreadKey::new(),
            backend: PhantomData,
        }
    }

    /// The observer.
    pub fn observer(&self) -> &O {
        &self.observer
    }

    /// Whether every request and every free is checked: since `MEMENTO_HARDENED` says so, or by
    /// [`Memento::new_hardened`]. Known from the first allocation on.
    pub fn is_hardened(&self) -> bool {
        self.mode.is_hardened()
    }

    /// Memory for `size` bytes at a multiple of `align`, a power of two. `None` if there is none.
    #[inline(always)]
    pub fn allocate(&self, size: usize, align: usize) -> Option<NonNull<u8>> {
        let object = self.route(size, align, false)?;
        self.observer.alloc(object, size, align);
        Some(object)
    }

    /// As [`Memento::allocate`], reading as zero. Pages that were never touched stay so.
    #[inline]
    pub fn allocate_zeroed(&self, size: usize, align: usize) -> Option<NonNull<u8>> {
        let object = self.route(size, align, true)?;
        self.observer.alloc(object, size, align);
        Some(object)
    }

    /// Serves a request without telling the observer.
    #[inline(always)]
    pub(crate) fn route(&self, size: usize, align: usize, zeroed: bool) -> Option<NonNull<u8>> {
        if !H::IS_SOFT
            && let Some(class) = SizeClass::for_request(size, align)
        {
            return self.hardware(class, size, align, zeroed);
        }
        if H::IS_SOFT && size <= DIRECT_MAX && align <= SMALL_ALIGN_MAX {
            let place = Bin::direct_place(size, align);
            // SAFETY: the pointer is this thread's heap or the empty one.
            let object = unsafe { Heap::take(Soft::current_or_none(), place) };
            return match NonNull::new(object.cast::<u8>()) {
                Some(object) => {
                    if zeroed {
                        // SAFETY: the object has at least `size` bytes and is nobody else's.
                        unsafe { object.write_bytes(0, size) };
                    }
                    Some(object)
                }
                None => self.software(size, align, zeroed),
            };
        }
        self.medium(size, align, zeroed)
    }

    /// More than the fast path or the hardware serves, or aligned beyond 64.
    #[inline]
    pub(crate) fn medium(&self, size: usize, align: usize, zeroed: bool) -> Option<NonNull<u8>> {
        let Some(bin) = Bin::for_large_request(size, align) else {
            return self.large(size, align, zeroed);
        };
        if !zeroed && !bin.is_big() {
            // SAFETY: the pointer is this thread's heap or the empty one.
            let object = unsafe { Heap::take(Soft::current_or_none(), bin.medium_place()) };
            if let Some(object) = NonNull::new(object.cast()) {
                return Some(object);
            }
        }
        self.at_hand(bin, size, align, zeroed)
    }

    /// From the software heap, by the slow path. Finds the bin again: to pass it too would cost the
    /// callers' fast paths a register.
    #[cold]
    #[inline(never)]
    pub(crate) fn software(&self, size: usize, align: usize, zeroed: bool) -> Option<NonNull<u8>> {
        self.at_hand(Bin::for_request(size, align)?, size, align, zeroed)
    }

    /// From the calling thread's heap, if it has something at hand; else by the slow path.
    #[inline(never)]
    fn at_hand(&self, bin: Bin, size: usize, align: usize, zeroed: bool) -> Option<NonNull<u8>> {
        // SAFETY: the pointer is this thread's heap or the empty one.
        let at_hand = unsafe { Heap::take_at_hand(Soft::current_or_none(), bin) };
        if let Some(object) = NonNull::new(at_hand) {
            if zeroed {
                // SAFETY: the object has as many bytes and is nobody else's.
                unsafe { object.write_bytes(0, size) };
            }
            return Some(object);
        }
        self.refilled(bin, size, align, zeroed)
    }

    /// From the software heap where nothing is at hand.
    #[inline(never)]
    fn refilled(&self, bin: Bin, size: usize, align: usize, zeroed: bool) -> Option<NonNull<u8>> {
        let _errno = KeepErrno::new();
        let found = match self.heap() {
            Some(heap) => self.grow(heap, bin, align, zeroed),
            None if self.mode.is_hardened() => return self.hardened(size, align),
            None => self.shared.alloc(bin, align, zeroed),
        };
        found.or_else(|| self.large.allocate(bin.size(), align, zeroed))
    }

    /// From the calling thread's heap; if that grows, fewer pages of large objects may be worth keeping.
    fn grow(
        &self,
        heap: NonNull<Heap>,
        bin: Bin,
        align: usize,
        zeroed: bool,
    ) -> Option<NonNull<u8>> {
        // SAFETY: attached to this thread.
        unsafe {
            let before = (*heap.as_ptr()).bytes();
            let object = Soft::instance().alloc_slow(heap, bin, align, zeroed);
            let grown = (*heap.as_ptr()).bytes().saturating_sub(before);
            if grown > 0 {
                self.large.heaps_grew(grown);
                if (*heap.as_ptr()).is_first() && (*heap.as_ptr()).is_dense() {
                    learned::note(before);
                }
            }
            object
        }
    }

    /// From the hardware backend.
    #[inline]
    fn hardware(
        &self,
        class: SizeClass,
        size: usize,
        align: usize,
        zeroed: bool,
    ) -> Option<NonNull<u8>> {
        let core = match NonNull::new(H::current()) {
            Some(core) => Some(core),
            None => self.attach_core(),
        };
        let object = match core {
            // SAFETY: attached to this thread, and no other reference to it exists meanwhile.
            Some(core) => unsafe { (*core.as_ptr()).obj_alloc(class) },
            None => self.shared.obj_alloc(class),
        };
        let Some(object) = object else {
            return self.software(size, align, zeroed);
        };
        if zeroed {
            // SAFETY: the object has this many bytes and is nobody else's.
            unsafe { object.write_bytes(0, class.size()) };
        }
        Some(object)
    }

    #[cold]
    #[inline(never)]
    fn large(&self, size: usize, align: usize, zeroed: bool) -> Option<NonNull<u8>> {
        let _errno = KeepErrno::new();
        if self.mode.decide() {
            return self.hardened(size, align);
        }
        self.prepare_process();
        self.large.allocate(size, align, zeroed)
    }

    /// The calling thread's heap, attached if need be; `None` if it gets none.
    fn heap(&self) -> Option<NonNull<Heap>> {
        if let Some(heap) = NonNull::new(Soft::current()) {
            return Some(heap);
        }
        if self.mode.decide() || Soft::thread_has_ended() {
            return None;
        }
        self.prepare_process();
        // Registering may have allocated, and so attached one.
        if let Some(heap) = NonNull::new(Soft::current()) {
            return Some(heap);
        }
        let heap = Soft::instance().attach()?;
        // SAFETY: attached just now by this thread.
        unsafe { Soft::set_current(heap.as_ptr()) };
        // Last: arming may allocate, and finds the heap then.
        self.key.arm::<H>();
        Some(heap)
    }

    #[cold]
    fn attach_core(&self) -> Option<NonNull<H::Core>> {
        if Soft::thread_has_ended() {
            return None;
        }
        let _errno = KeepErrno::new();
        self.prepare_process();
        // Registering may have allocated, and so attached one.
        if let Some(core) = NonNull::new(H::current()) {
            return Some(core);
        }
        let core = H::instance().attach()?;
        // SAFETY: attached just now by this thread.
        unsafe { H::set_current(core.as_ptr()) };
        self.key.arm::<H>();
        Some(core)
    }

    /// What must be in place before anything is handed out.
    pub(crate) fn prepare_process(&self) {
        // SAFETY: a `Memento` lives in a static, as its documentation demands.
        if fork::register(unsafe { &*core::ptr::from_ref(self) }) {
            page_conf::apply::<H>();
        }
    }

    /// Frees an object.
    ///
    /// # Safety
    /// `object` came from this allocator, was not freed since, and nobody uses it afterwards. Misuse
    /// that is noticed ends the process with one line on standard error.
    #[inline(always)]
    pub unsafe fn deallocate(&self, object: NonNull<u8>) {
        // SAFETY: the caller's promises are those that each server asks for.
        unsafe {
            if O::OBSERVES {
                self.observer.free(object, self.usable_size(object));
            }
            self.release(object, None);
        }
    }

    /// Frees without telling the observer. `known` is the size of the request if the program told.
    ///
    /// # Safety
    /// As [`Memento::deallocate`].
    #[inline(always)]
    unsafe fn release(&self, object: NonNull<u8>, known: Option<usize>) {
        // SAFETY: the caller's. A hardware object is never in the window of a software heap.
        unsafe {
            if !Heap::give(Soft::current_or_none(), object.as_ptr()) {
                self.deallocate_slow(object, known);
            }
        }
    }

    /// Frees an object whose request is known.
    ///
    /// # Safety
    /// As [`Memento::deallocate`]; `size` and `align` are those of the request.
    #[inline(always)]
    pub unsafe fn deallocate_sized(&self, object: NonNull<u8>, size: usize, align: usize) {
        // SAFETY: the caller's. A request of this size and alignment was served from this bin, or after a
        // `realloc` from another, if it was served from this thread's heap at all, which is what `give_known` finds out.
        unsafe {
            if H::IS_SOFT
                && !O::OBSERVES
                && size <= SMALL_MAX
                && align <= SMALL_ALIGN_MAX
                && let Some(class) = SizeClass::for_request(size, align)
            {
                let bin = Bin::of_class(class).index();
                if !Heap::give_known(Soft::current_or_none(), object.as_ptr(), bin) {
                    self.deallocate_slow(object, Some(size));
                }
            } else {
                if O::OBSERVES {
                    self.observer.free(object, self.usable_size(object));
                }
                self.release(object, Some(size));
            }
        }
    }

    /// Not of this thread's heap, or refused by it. Another thread's object mostly takes no call from here.
    #[cold]
    #[inline(never)]
    pub(crate) unsafe fn deallocate_slow(&self, object: NonNull<u8>, known: Option<usize>) {
        // SAFETY: the caller gives the object up; the pointer is this thread's heap or an empty one.
        unsafe {
            match Heap::give_away(Soft::current_or_none(), object.as_ptr()) {
                Added::Beside => {}
                Added::Last => Self::send_away(object),
                Added::Not => self.deallocate_noticed(object, known),
            }
        }
    }

    /// Has the owner hear of the objects that this one was the last of.
    #[inline(never)]
    unsafe fn send_away(object: NonNull<u8>) {
        let _errno = KeepErrno::new();
        // SAFETY: the caller put the object into this thread's outbox just now.
        unsafe { Heap::send_away(Soft::current_or_none(), object.as_ptr()) };
    }

    /// An object that its granule must hear of, or what takes more.
    #[inline(never)]
    unsafe fn deallocate_noticed(&self, object: NonNull<u8>, known: Option<usize>) {
        // SAFETY: as for `deallocate_slow`.
        unsafe {
            let heap = Soft::current_or_none();
            if Heap::has(heap, object.as_ptr()) {
                match Heap::give_noticed(heap, object.as_ptr()) {
                    Some(Ok(())) => return,
                    Some(Err(fault)) => corruption(fault.message(), object.addr().get()),
                    None => {}
                }
            }
            self.deallocate_rare(object, known);
        }
    }

    /// What takes more than a place beside others in the thread's outbox.
    #[inline(never)]
    unsafe fn deallocate_rare(&self, object: NonNull<u8>, known: Option<usize>) {
        let _errno = KeepErrno::new();
        // SAFETY: the caller gives the object up.
        let result = unsafe {
            if !H::IS_SOFT && H::instance().contains(object.as_ptr()) {
                match NonNull::new(H::current()) {
                    Some(core) => (*core.as_ptr()).obj_free(object, None),
                    None => H::instance().free_detached(object),
                }
            } else if Soft::instance().contains(object.as_ptr()) {
                // A thread that only frees needs a heap too: its outbox.
                let heap = self.heap().map_or(null_mut(), NonNull::as_ptr);
                Soft::instance().free_slow(heap, object)
            } else if self.mode.is_hardened() && self.free_hardened(object, known)
                || self.large.free(object)
            {
                Ok(())
            } else {
                Err(FreeFault::Outside)
            }
        };
        if let Err(fault) = result {
            corruption(fault.message(), object.addr().get());
        }
    }

    /// Bytes that may be used at `object`.
    ///
    /// # Safety
    /// `object` came from this allocator and was not freed since.
    pub unsafe fn usable_size(&self, object: NonNull<u8>) -> usize {
        let found = if !H::IS_SOFT && H::instance().contains(object.as_ptr()) {
            H::instance().class_of(object).map(SizeClass::size)
        } else if Soft::instance().contains(object.as_ptr()) {
            Soft::instance().bin_of(object).map(Bin::size)
        } else if self.mode.is_hardened()
            && let Some(bytes) = self.hardened_size(object)
        {
            Ok(bytes)
        } else {
            self.large.size_of(object).ok_or(FreeFault::Outside)
        };
        match found {
            Ok(bytes) => bytes,
            Err(fault) => corruption(fault.message(), object.addr().get()),
        }
    }

    /// Makes the object hold `size` bytes: in place if it can and that wastes little, by moving pages
    /// if it is large, else by copying. `None` if memory is exhausted; the object is as before then.
    ///
    /// # Safety
    /// As [`Memento::deallocate`], if it succeeds; `align` is that of the request.
    pub unsafe fn reallocate(
        &self,
        object: NonNull<u8>,
        size: usize,
        align: usize,
    ) -> Option<NonNull<u8>> {
        // SAFETY: the caller's promises; the pointer is this thread's heap or an empty one.
        unsafe {
            if H::IS_SOFT
                && !O::OBSERVES
                && let Some(bin) = Heap::bin_of(Soft::current_or_none(), object.as_ptr())
            {
                return self.resize(object, bin.size(), size, align);
            }
            self.reallocate_elsewhere(object, size, align)
        }
    }

    /// Resizes an object that is not of the calling thread's heap, or is observed.
    ///
    /// # Safety
    /// As [`Memento::reallocate`].
    #[inline(never)]
    unsafe fn reallocate_elsewhere(
        &self,
        object: NonNull<u8>,
        size: usize,
        align: usize,
    ) -> Option<NonNull<u8>> {
        // SAFETY: the caller's promises.
        unsafe {
            let old = self.usable_size(object);
            if self.mode.is_hardened() {
                match self.resize_hardened(object, size, align) {
                    Some(true) => {
                        self.observer.realloc(object, old, object, size);
                        return Some(object);
                    }
                    Some(false) => return self.lengthen_or_copy(object, old, size, size, align),
                    None => {}
                }
            }
            if size >= GROWN_APART && !Soft::instance().contains(object.as_ptr()) {
                let _errno = KeepErrno::new();
                let resize = |copying| {
                    let new = self.large.resize(object, size, align, copying)?;
                    self.observer.realloc(object, old, new, size);
                    Some(new)
                };
                let copy = || {
                    // What grows but once would keep the room for nothing.
                    let again = size > old && old < COPIED_MAX && self.large.has_grown(object);
                    let more = if again { ample(old, size) } else { size };
                    let new = self.lengthen_or_copy(object, old, size, more, align)?;
                    if size > old {
                        self.large.note_grown(new);
                    }
                    Some(new)
                };
                return resize(Copying::Possible).or_else(copy).or_else(|| resize(Copying::Failed));
            }
            self.resize(object, old, size, align)
        }
    }

    /// Resizes an object of `old` usable bytes in place, or by copying.
    ///
    /// # Safety
    /// As [`Memento::reallocate`].
    #[inline(always)]
    unsafe fn resize(
        &self,
        object: NonNull<u8>,
        old: usize,
        size: usize,
        align: usize,
    ) -> Option<NonNull<u8>> {
        // SAFETY: the caller's promises.
        unsafe {
            if self.fits_in_place(old, size, align) && object.addr().get().is_multiple_of(align) {
                self.observer.realloc(object, old, object, size);
                return Some(object);
            }
            let grows = H::IS_SOFT && size > old && old <= AMPLE_MAX;
            self.lengthen_or_copy(
                object,
                old,
                size,
                if grows { ample(old, size) } else { size },
                align,
            )
        }
    }

    /// Has an object that is alone in a span of the calling thread's heap grow where it is.
    ///
    /// # Safety
    /// As [`Memento::reallocate`]; it is smaller.
    unsafe fn lengthen(object: NonNull<u8>, size: usize, align: usize) -> bool {
        let heap = Soft::current_or_none();
        // SAFETY: the caller's; the pointer is this thread's heap or an empty one.
        unsafe {
            Heap::has(heap, object.as_ptr())
                && Bin::for_request(size, align)
                    .is_some_and(|bin| Heap::lengthen(heap, object.as_ptr(), bin))
        }
    }

    /// Has an object of `old` usable bytes grow where it is, to `ample`, which is `size` or more; or else copies it to where
    /// it has as much, or `size`.
    ///
    /// # Safety
    /// As [`Memento::reallocate`].
    // Out of line, and its caller inline: `realloc` in place stays short.
    #[inline(never)]
    unsafe fn lengthen_or_copy(
        &self,
        object: NonNull<u8>,
        old: usize,
        size: usize,
        ample: usize,
        align: usize,
    ) -> Option<NonNull<u8>> {
        let grows = size > old;
        // SAFETY: the caller's.
        if grows && size < GROWN_APART && unsafe { Self::lengthen(object, ample, align) } {
            self.observer.realloc(object, old, object, size);
            return Some(object);
        }
        let apart = grows && (GROWN_APART..=HEAP_MAX).contains(&size);
        let more = if apart { self.large(ample, align, false) } else { None };
        let more = more.or_else(|| self.route(ample, align, false));
        let exact = || if ample > size { self.route(size, align, false) } else { None };
        let Some(new) = more.or_else(exact) else {
            // What is to shrink may stay, unless a sized free would look for it elsewhere.
            let stays = size <= old && size > SMALL_MAX && !self.mode.is_hardened();
            return stays.then_some(object);
        };
        // SAFETY: the caller's promises; the old object is read before it is given up.
        unsafe {
            new.copy_from_nonoverlapping(object, old.min(size));
            self.observer.realloc(object, old, new, size);
            self.release(object, None);
        }
        Some(new)
    }

    /// Whether an object of `old` usable bytes stays where it is for `size` bytes: within its bin, or if it
    /// would waste no more than a quarter, above 512 bytes half. With hardware, small objects leave their
    /// bin whenever their size does, since sized frees go by the size alone.
    fn fits_in_place(&self, old: usize, size: usize, align: usize) -> bool {
        if size > old || old > HEAP_MAX {
            return false;
        }
        let least = if size > SMALL_MAX { old / 2 } else { old - old / 4 };
        (size >= least && (H::IS_SOFT || size > SMALL_MAX))
            || Bin::for_request(size, align).is_some_and(|bin| bin.size() == old)
    }

    /// Gives back to the system what the calling thread and the process have free. Returns bytes.
    pub fn purge(&self) -> usize {
        let _errno = KeepErrno::new();
        let heap = match NonNull::new(Soft::current()) {
            // SAFETY: attached to this thread.
            Some(heap) => unsafe { Soft::instance().purge(heap) },
            None => 0,
        };
        let checked = if self.mode.is_hardened() { Hardened::instance().purge() } else { 0 };
        heap + Soft::instance().purge_orphans() + checked + self.large.purge()
    }

    /// What is held and was done. Sorts the calling thread's heap, so that its numbers are exact.
    pub fn stats(&self) -> Stats {
        let _errno = KeepErrno::new();
        if let Some(heap) = NonNull::new(Soft::current()) {
            // SAFETY: attached to this thread.
            unsafe { Soft::instance().sort(heap) };
        }
        let mut hardware = Counters::ZERO;
        H::instance().counters(&mut hardware);
        let mut usage = Soft::instance().usage();
        Hardened::instance().add_usage(&mut usage);
        let counted = self.observer.totals();
        let large = self.large_usage();
        let mut stats =
            Stats::collect(H::NAME, &usage, large, hardware, counted.as_ref(), H::IS_SOFT);
        stats.hardened = self.is_hardened();
        stats
    }

    /// Totals of all objects with a mapping of their own.
    pub(crate) fn large_usage(&self) -> LargeUsage {
        let (large, guarded) = (self.large.usage(), self.guarded.usage());
        LargeUsage {
            objects: large.objects + guarded.objects,
            bytes: large.bytes + guarded.bytes,
            peak_bytes: large.peak_bytes + guarded.peak_bytes,
            kept_bytes: large.kept_bytes,
        }
    }
}

// SAFETY: `allocate` returns fresh memory that fits the layout, by the servers' contracts; nothing
// panics or unwinds.
unsafe impl<H: ProcessHal, O: Observer> GlobalAlloc for Memento<H, O> {
    #[inline(always)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.allocate(layout.size(), layout.align()).map_or(null_mut(), NonNull::as_ptr)
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.allocate_zeroed(layout.size(), layout.align()).map_or(null_mut(), NonNull::as_ptr)
    }

    #[inline(always)]
    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        // SAFETY: the caller passes an object of this allocator, so it is not null, and its layout.
        unsafe {
            let object = NonNull::new_unchecked(object);
            self.deallocate_sized(object, layout.size(), layout.align());
        }
    }

    #[inline]
    unsafe fn realloc(&self, object: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as for `dealloc`.
        unsafe {
            let object = NonNull::new_unchecked(object);
            self.reallocate(object, size, layout.align()).map_or(null_mut(), NonNull::as_ptr)
        }
    }
}
