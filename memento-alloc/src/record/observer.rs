//! The observer that writes a record for every operation.

use super::raw::{HEADER_BYTES, Kind, LAST_THREAD, MAGIC, Record};
use super::window::Window;
use crate::Observer;
use crate::startup::{self, Path};
use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use memento_hal::geometry::{CLASS_STEP, c_alignment};
use memento_hal::os::KeepErrno;
use memento_hal::os::recorder_tls;

/// The process's one trace: threads find their numbers through one thread-local pointer, so
/// there can be no second.
static TRACE: Trace = Trace::new();

/// Writes each operation of the program to the trace file, if `MEMENTO_TRACE` names a directory.
#[derive(Debug, Default)]
pub struct RecordingObserver(());

impl RecordingObserver {
    /// An observer; all of them write to the process's one trace.
    pub const fn new() -> Self {
        Self(())
    }

    /// Makes the trace file now, if one is asked for: it proves that the shared object was loaded.
    pub fn start(&self) {
        let _errno = KeepErrno::new();
        TRACE.with_lock(State::open);
    }
}

impl Observer for RecordingObserver {
    fn alloc(&self, object: NonNull<u8>, size: usize, align: usize) {
        TRACE.append(Kind::Alloc, object, size, align, None);
    }

    fn free(&self, object: NonNull<u8>, _: usize) {
        TRACE.append(Kind::Free, object, 0, 1, None);
    }

    fn realloc(&self, old: NonNull<u8>, old_usable: usize, new: NonNull<u8>, size: usize) {
        // A reallocation in a trace keeps the object's alignment. C asks for 8 below 16 bytes and
        // for 16 from there on, so an object that grows past that is written as what it is to the
        // hardware: an allocation and a free.
        let realigned = old_usable == CLASS_STEP && c_alignment(size) > CLASS_STEP;
        if realigned && old != new {
            TRACE.append(Kind::Alloc, new, size, c_alignment(size), None);
            TRACE.append(Kind::Free, old, 0, 1, None);
        } else {
            TRACE.append(Kind::Realloc, new, size, 1, Some(old));
        }
    }

    fn fork_child(&self) {
        let _errno = KeepErrno::new();
        // The parent's other threads, one of which may have held the lock, do not exist here.
        TRACE.lock.store(false, Ordering::Relaxed);
        TRACE.threads.store(1, Ordering::Relaxed);
        recorder_tls::set(core::ptr::without_provenance_mut(1));
        TRACE.with_lock(|state| {
            state.opened = false;
            state.open();
        });
    }
}

struct Trace {
    /// Held while a record is appended.
    lock: AtomicBool,
    state: UnsafeCell<State>,
    /// Threads that have been given a number.
    threads: AtomicUsize,
}

// SAFETY: `state` is reached only by `with_lock`, which admits one thread at a time.
unsafe impl Sync for Trace {}

struct State {
    /// Whether the file was made, or found not to be wanted.
    opened: bool,
    window: Window,
    /// The time of the last record.
    last_ns: u64,
}

// SAFETY: the window's mapping belongs to the process, not to a thread.
unsafe impl Send for State {}

impl State {
    /// Makes the file and names the program in its first line.
    fn open(&mut self) {
        if self.opened {
            return;
        }
        self.opened = true;
        let Some(directory) = Path::from_variable(b"MEMENTO_TRACE") else { return };
        self.window.open(&directory);
        let mut header = [0u8; HEADER_BYTES];
        header[..MAGIC.len()].copy_from_slice(&MAGIC);
        startup::program_name(&mut header[MAGIC.len()..]);
        self.window.append(&header);
        self.last_ns = 0;
    }

    /// Appends one record, and before it one for the time if much has passed.
    fn append(&mut self, record: Record, now_ns: u64) {
        // The clock never goes back, and is read under the lock.
        let passed = now_ns.saturating_sub(self.last_ns);
        self.last_ns = now_ns;
        let delta_ns = u32::try_from(passed).unwrap_or(0);
        if u64::from(delta_ns) != passed {
            let clock = Record { kind: Kind::Clock, size: passed, address: 0, ..record };
            self.window.append(&clock.to_bytes());
        }
        self.window.append(&Record { delta_ns, ..record }.to_bytes());
    }
}

impl Trace {
    const fn new() -> Self {
        Self {
            lock: AtomicBool::new(false),
            state: UnsafeCell::new(State { opened: false, window: Window::closed(), last_ns: 0 }),
            threads: AtomicUsize::new(0),
        }
    }

    fn with_lock<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        let mut spins = 0u32;
        // Acquire pairs with the release below: the last holder's lines are seen.
        while self.lock.swap(true, Ordering::Acquire) {
            spins += 1;
            if spins.is_multiple_of(64) {
                // SAFETY: sched_yield has no preconditions. The holder may have been preempted.
                unsafe { libc::sched_yield() };
            }
            core::hint::spin_loop();
        }
        // SAFETY: the lock is held, so this is the only reference.
        let result = work(unsafe { &mut *self.state.get() });
        self.lock.store(false, Ordering::Release);
        result
    }

    /// Appends a record of the calling thread, and for a reallocation the one that names the old address.
    fn append(
        &self,
        kind: Kind,
        object: NonNull<u8>,
        size: usize,
        align: usize,
        old: Option<NonNull<u8>>,
    ) {
        let _errno = KeepErrno::new();
        let record = Record {
            kind,
            thread: u16::try_from(self.thread()).unwrap_or(LAST_THREAD),
            align_log2: align.trailing_zeros() as u8,
            delta_ns: 0,
            address: object.addr().get() as u64,
            size: size as u64,
        };
        self.with_lock(|state| {
            state.open();
            if !state.window.is_open() {
                return;
            }
            let now = now_ns();
            state.append(record, now);
            if let Some(old) = old {
                let address = old.addr().get() as u64;
                state.append(Record { kind: Kind::From, address, ..record }, now);
            }
        });
    }

    /// Number of the calling thread: 0 for the first that allocated.
    fn thread(&self) -> usize {
        let known = recorder_tls::get().addr();
        if known != 0 {
            return known - 1;
        }
        // Relaxed: numbers only have to differ.
        let number = self.threads.fetch_add(1, Ordering::Relaxed);
        recorder_tls::set(core::ptr::without_provenance_mut(number + 1));
        number
    }
}

/// Nanoseconds of the clock that never goes back.
fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result. The call cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn threads_have_numbers_of_their_own() {
        let mine = TRACE.thread();
        assert_eq!(TRACE.thread(), mine);
        let other = std::thread::spawn(|| TRACE.thread()).join().unwrap();
        assert_ne!(other, mine);
    }
}
