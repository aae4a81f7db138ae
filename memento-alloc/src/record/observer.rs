//! The observer that writes a line for every operation.

use super::window::Window;
use crate::Observer;
use crate::startup::{self, Decimal, KeepErrno, Path};
use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use memento_hal::geometry::{CLASS_STEP, c_alignment};
use memento_hal::os::recorder_tls;

/// Longest line: a thread, a letter and three numbers.
const LINE_BYTES: usize = 96;

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
        TRACE.append(|line| line.alloc(object, size, align));
    }

    fn free(&self, object: NonNull<u8>, _: usize) {
        TRACE.append(|line| line.free(object));
    }

    fn realloc(&self, old: NonNull<u8>, old_usable: usize, new: NonNull<u8>, size: usize) {
        // An `r` line has no alignment: it keeps the object's. C asks for 8 below 16 bytes and
        // for 16 from there on, so an object that grows past that is written as what it is to the
        // hardware: an allocation and a free.
        let realigned = old_usable == CLASS_STEP && c_alignment(size) > CLASS_STEP;
        if realigned && old != new {
            TRACE.append(|line| line.alloc(new, size, c_alignment(size)));
            TRACE.append(|line| line.free(old));
        } else {
            TRACE.append(|line| line.realloc(old, new, size));
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
    /// Held while a line is appended.
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
        let mut name = [0u8; 512];
        let length = startup::program_name(&mut name);
        name[..length].iter_mut().filter(|b| b.is_ascii_control()).for_each(|b| *b = b'?');
        self.window.append(b"# memento trace, text 1\n# program ");
        self.window.append(&name[..length]);
        self.window.append(b"\n");
    }
}

impl Trace {
    const fn new() -> Self {
        Self {
            lock: AtomicBool::new(false),
            state: UnsafeCell::new(State { opened: false, window: Window::closed() }),
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

    /// Appends one line of the calling thread.
    fn append(&self, write: impl FnOnce(&mut Line)) {
        let _errno = KeepErrno::new();
        let mut line = Line { bytes: [0; LINE_BYTES], length: 0 };
        line.thread(self.thread());
        write(&mut line);
        line.push(b"\n");
        self.with_lock(|state| {
            state.open();
            if state.window.is_open() {
                state.window.append(&line.bytes[..line.length]);
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

/// One line in the making. The numbers are 64-bit, so it cannot overflow.
struct Line {
    bytes: [u8; LINE_BYTES],
    length: usize,
}

impl Line {
    fn push(&mut self, part: &[u8]) {
        self.bytes[self.length..self.length + part.len()].copy_from_slice(part);
        self.length += part.len();
    }

    fn number(&mut self, number: usize) {
        self.push(b" ");
        self.push(Decimal::of(number as u64).as_bytes());
    }

    fn thread(&mut self, number: usize) {
        if number > 0 {
            self.push(b"t");
            self.push(Decimal::of(number as u64).as_bytes());
            self.push(b" ");
        }
    }

    fn alloc(&mut self, object: NonNull<u8>, size: usize, align: usize) {
        self.push(b"a");
        self.number(object.addr().get());
        self.number(size);
        if align != CLASS_STEP {
            self.number(align);
        }
    }

    fn free(&mut self, object: NonNull<u8>) {
        self.push(b"f");
        self.number(object.addr().get());
    }

    fn realloc(&mut self, old: NonNull<u8>, new: NonNull<u8>, size: usize) {
        self.push(b"r");
        self.number(old.addr().get());
        self.number(new.addr().get());
        self.number(size);
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    fn at(address: usize) -> NonNull<u8> {
        NonNull::new(core::ptr::without_provenance_mut(address)).unwrap()
    }

    fn line(thread: usize, write: impl FnOnce(&mut Line)) -> std::string::String {
        let mut line = Line { bytes: [0; LINE_BYTES], length: 0 };
        line.thread(thread);
        write(&mut line);
        std::str::from_utf8(&line.bytes[..line.length]).unwrap().into()
    }

    #[test]
    fn lines_have_the_form_that_replay_reads() {
        assert_eq!(line(0, |l| l.alloc(at(4096), 24, 16)), "a 4096 24 16");
        assert_eq!(line(2, |l| l.alloc(at(8), 5, 8)), "t2 a 8 5");
        assert_eq!(line(0, |l| l.free(at(8))), "f 8");
        assert_eq!(line(11, |l| l.realloc(at(8), at(16), 9)), "t11 r 8 16 9");
        let longest = line(usize::MAX, |l| l.alloc(at(usize::MAX), usize::MAX, usize::MAX));
        assert!(longest.len() < LINE_BYTES);
    }

    #[test]
    fn threads_have_numbers_of_their_own() {
        let mine = TRACE.thread();
        assert_eq!(TRACE.thread(), mine);
        let other = std::thread::spawn(|| TRACE.thread()).join().unwrap();
        assert_ne!(other, mine);
    }
}
