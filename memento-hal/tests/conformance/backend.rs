//! The backends under test, and what tests need around them.

use memento_hal::emulator::{Emu, Params};
use memento_hal::geometry::SizeClass;
use memento_hal::os::{Fake, Os};
use memento_hal::soft::Soft;
use memento_hal::{FreeFault, Hal, ObjectAllocator};
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How a backend is made.
pub trait Backend {
    /// The backend over an operating system.
    type Over<O: Os>: Hal;
    /// Whether it finds every wrong free, not only those that cost it nothing.
    const EXACT: bool;
    fn over<O: Os>(os: O) -> Self::Over<O>;
}

pub struct Emulator;

impl Backend for Emulator {
    type Over<O: Os> = Emu<O>;
    const EXACT: bool = true;

    fn over<O: Os>(os: O) -> Emu<O> {
        // Lanes of 2 MiB make a reservation small enough for `Fake`, and small chunks leave
        // something of each lane for every core.
        Emu::with_params(os, Params { lane_shift: 21, strides_per_chunk: 2, ..Params::DEFAULT })
    }
}

pub struct Software;

impl Backend for Software {
    type Over<O: Os> = Soft<O>;
    const EXACT: bool = false;

    fn over<O: Os>(os: O) -> Soft<O> {
        Soft::new(os)
    }
}

/// An operating system that has little: `Fake` reserves memory, not only addresses.
pub fn fake() -> Fake {
    let os = Fake::new();
    os.limit_reservations(512 << 20);
    os
}

/// A core that is detached in the end.
pub struct Attached<'a, H: Hal> {
    hal: &'a H,
    core: NonNull<H::Core>,
}

impl<'a, H: Hal> Attached<'a, H> {
    pub fn new(hal: &'a H) -> Self {
        Self { hal, core: hal.attach().expect("a core") }
    }

    pub fn alloc(&mut self, class: SizeClass) -> Option<Object> {
        // SAFETY: the core is this value's alone until it is detached.
        let at = unsafe { self.core.as_mut() }.obj_alloc(class)?;
        Some(Object { at, class })
    }

    /// Frees what `object` was, once or more often.
    pub fn free(&mut self, object: Object) -> Result<(), FreeFault> {
        self.free_at(object.at)
    }

    pub fn free_at(&mut self, at: NonNull<u8>) -> Result<(), FreeFault> {
        // SAFETY: the core as above; tests do not use objects after their free.
        unsafe { self.core.as_mut().obj_free(at, None) }
    }

    pub fn core(&self) -> NonNull<H::Core> {
        self.core
    }
}

impl<H: Hal> Drop for Attached<'_, H> {
    fn drop(&mut self) {
        // SAFETY: attached by `new`, and this value is gone.
        unsafe { self.hal.detach(self.core) }
    }
}

/// An allocated object, or what was one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Object {
    pub at: NonNull<u8>,
    pub class: SizeClass,
}

// SAFETY: an object is memory that whoever has it may use, on any thread.
unsafe impl Send for Object {}

impl Object {
    pub fn address(self) -> usize {
        self.at.addr().get()
    }

    /// Fills it with bytes that depend on `seed` and on where it is.
    pub fn fill(self, seed: u8) {
        let byte = seed ^ (self.address() >> 3) as u8;
        // SAFETY: an allocated object has `size` bytes, and it is the test's.
        unsafe { self.at.as_ptr().write_bytes(byte, self.class.size()) };
    }

    /// Asserts that it holds what `fill` put there.
    pub fn check(self, seed: u8) {
        let byte = seed ^ (self.address() >> 3) as u8;
        // SAFETY: as in `fill`, which has initialised it.
        let bytes = unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.class.size()) };
        // All bytes are equal if each equals its neighbour: one comparison of memory, also for Miri.
        let (first, rest) = (&bytes[..bytes.len() - 1], &bytes[1..]);
        assert!(bytes[0] == byte && first == rest, "contents of {self:?} were changed");
    }
}

/// Asserts that `objects` are aligned as promised and that no two share a byte.
pub fn assert_disjoint(objects: &[Object]) {
    let mut sorted = objects.to_vec();
    sorted.sort_unstable();
    for object in &sorted {
        let size = object.class.size();
        let align = (size & size.wrapping_neg()).min(64);
        assert_eq!(object.address() % align, 0, "alignment of {object:?}");
    }
    for pair in sorted.windows(2) {
        assert!(
            pair[0].address() + pair[0].class.size() <= pair[1].address(),
            "{pair:?} share bytes"
        );
    }
}

/// A few classes of different shapes: smallest, odd, page-filling, largest.
pub fn classes() -> impl Iterator<Item = SizeClass> {
    [0, 1, 2, 5, 7, 31, 32, 47, 63].into_iter().filter_map(SizeClass::new)
}

/// Fewer rounds under Miri.
pub fn rounds(usual: usize) -> usize {
    if cfg!(miri) { usual.div_ceil(20) } else { usual }
}

/// An operating system that refuses memory after a number of commits, or address space at once.
///
/// What it reserved ends with it: a test has dozens of them, of some TiB each, and a process has
/// 128 TiB.
pub struct Starved<O: Os> {
    os: O,
    commits_left: AtomicUsize,
    reserves: bool,
    reserved: Mutex<Vec<Reservation>>,
}

struct Reservation(NonNull<u8>, usize);

// SAFETY: only a handle for `release`.
unsafe impl Send for Reservation {}

impl<O: Os> Starved<O> {
    pub fn new(os: O, commits: usize) -> Self {
        Self::of(os, commits, true)
    }

    pub fn without_address_space(os: O) -> Self {
        Self::of(os, 0, false)
    }

    fn of(os: O, commits: usize, reserves: bool) -> Self {
        let (commits_left, reserved) = (AtomicUsize::new(commits), Mutex::default());
        Self { os, commits_left, reserves, reserved }
    }
}

impl<O: Os> Drop for Starved<O> {
    fn drop(&mut self) {
        for Reservation(start, bytes) in self.reserved.get_mut().unwrap().drain(..) {
            // SAFETY: reserved of `os`, and the backend that used it ends now.
            unsafe { self.os.release(start, bytes) }
        }
    }
}

// SAFETY: refuses, or forwards to an operating system.
unsafe impl<O: Os> Os for Starved<O> {
    fn page_bytes(&self) -> usize {
        self.os.page_bytes()
    }

    fn reserve(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        if !self.reserves {
            return None;
        }
        let start = self.os.reserve(bytes, align)?;
        self.reserved.lock().unwrap().push(Reservation(start, bytes));
        Some(start)
    }

    unsafe fn commit(&self, start: NonNull<u8>, bytes: usize) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        self.commits_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
            // SAFETY: forwarded.
            && unsafe { self.os.commit(start, bytes) }
    }

    unsafe fn populate(&self, start: NonNull<u8>, bytes: usize) {
        // SAFETY: forwarded.
        unsafe { self.os.populate(start, bytes) }
    }

    unsafe fn decommit(&self, start: NonNull<u8>, bytes: usize) -> bool {
        // SAFETY: forwarded.
        unsafe { self.os.decommit(start, bytes) }
    }

    unsafe fn release(&self, start: NonNull<u8>, bytes: usize) {
        // A part stays until the whole is released.
        let mut reserved = self.reserved.lock().unwrap();
        if let Some(n) = reserved.iter().position(|r| r.0 == start && r.1 == bytes) {
            reserved.swap_remove(n);
            // SAFETY: forwarded.
            unsafe { self.os.release(start, bytes) }
        }
    }
}
