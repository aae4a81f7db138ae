//! Everything at once under the global allocator, for as long as one wants: `MEMENTO_STRESS_SECONDS`
//! is the time of this and of the whole programs' stress test together, and without it a fixed, small
//! amount of work is done. Choices follow `MEMENTO_STRESS_SEED`, which is random and printed if it is
//! not set; threads interleave as they like all the same. No verdict depends on time.
#![cfg(not(miri))]

use memento_alloc::Memento;
use std::alloc::{GlobalAlloc, Layout};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: Memento = Memento::new();

const THREADS: u64 = 5;
const OPERATIONS: usize = 3000;
const HELD: usize = 150;
const LARGEST: usize = 64 << 20;
/// Bytes in live objects beyond which no more large ones are made.
const BUDGET: usize = 192 << 20;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static EXCHANGE: Mutex<Vec<Object>> = Mutex::new(Vec::new());

struct Random(u64);

impl Random {
    fn new(seed: u64, stream: u64) -> Self {
        Self(seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) as usize % n
    }

    fn size(&mut self) -> usize {
        1 + match self.below(2048) {
            0..1300 => self.below(512),
            1300..1850 => self.below(4096),
            1850..1990 => self.below(40_000),
            1990..2030 => self.below(300_000),
            _ if LIVE.load(Ordering::Relaxed) > BUDGET => self.below(1024),
            2030..2045 => self.below(4 << 20),
            _ => self.below(LARGEST - 1),
        }
    }
}

/// An object with a pattern made from its number and its length.
struct Object {
    at: *mut u8,
    layout: Layout,
    number: usize,
}

// SAFETY: an object is its holder's alone.
unsafe impl Send for Object {}

/// The bytes that carry the pattern: all of small objects, both ends of large ones and some between.
fn marks(size: usize) -> impl Iterator<Item = usize> {
    (0..size.min(512))
        .chain((512..size).step_by(size / 256 + 1))
        .chain(size.saturating_sub(64)..size)
}

impl Object {
    fn make(random: &mut Random) -> Self {
        let align = if random.below(4) == 0 { 1 << random.below(14) } else { 8 };
        let layout = Layout::from_size_align(random.size(), align).unwrap();
        let zeroed = random.below(5) == 0;
        // SAFETY: the size is not zero.
        let at = unsafe {
            if zeroed { ALLOCATOR.alloc_zeroed(layout) } else { ALLOCATOR.alloc(layout) }
        };
        assert!(!at.is_null(), "out of memory");
        assert!(at.addr().is_multiple_of(align), "misaligned");
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        let object = Self { at, layout, number: random.below(1 << 30) };
        if zeroed {
            // SAFETY: the object has these bytes.
            let zero = marks(layout.size()).all(|i| unsafe { at.add(i).read() } == 0);
            assert!(zero, "alloc_zeroed gave dirty memory");
        }
        object.fill();
        object
    }

    fn mark(&self, i: usize) -> u8 {
        ((self.number * 31 + self.layout.size()) * 7 + i * 13 + (i >> 8)) as u8
    }

    fn fill(&self) {
        // SAFETY: marks are below the size.
        marks(self.layout.size()).for_each(|i| unsafe { self.at.add(i).write(self.mark(i)) });
    }

    /// Checks the first `kept` bytes at `at`, where the object is or has moved to.
    fn check(&self, at: *const u8, kept: usize) {
        let mut seen = marks(self.layout.size()).filter(|i| *i < kept);
        // SAFETY: `at` has at least `kept` bytes.
        let whole = seen.all(|i| unsafe { at.add(i).read() } == self.mark(i));
        assert!(whole, "an object of {} bytes lost its contents", self.layout.size());
    }

    fn resize(&mut self, random: &mut Random) {
        let old = self.layout.size();
        let half = (old + old / 2 + 1).min(LARGEST);
        let size = if random.below(2) == 0 { half } else { random.size() };
        self.check(self.at, old);
        // SAFETY: allocated with this layout; the old address is replaced.
        let at = unsafe { ALLOCATOR.realloc(self.at, self.layout, size) };
        assert!(!at.is_null(), "out of memory");
        self.check(at, old.min(size));
        LIVE.fetch_add(size.wrapping_sub(old), Ordering::Relaxed);
        self.at = at;
        self.layout = Layout::from_size_align(size, self.layout.align()).unwrap();
        assert!(at.addr().is_multiple_of(self.layout.align()), "misaligned");
        self.fill();
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        self.check(self.at, self.layout.size());
        LIVE.fetch_sub(self.layout.size(), Ordering::Relaxed);
        // SAFETY: allocated with this layout, not used afterwards.
        unsafe { ALLOCATOR.dealloc(self.at, self.layout) };
    }
}

/// A thread's whole life: raw objects, and what programs make of them.
fn work(seed: u64, stream: u64, mail: &mpsc::SyncSender<HashMap<String, Vec<u8>>>) {
    let mut random = Random::new(seed, stream);
    let mut held: Vec<Option<Object>> = (0..HELD).map(|_| None).collect();
    for _ in 0..OPERATIONS {
        let slot = &mut held[random.below(HELD)];
        let Some(object) = slot else {
            *slot = Some(Object::make(&mut random));
            continue;
        };
        match random.below(6) {
            0 | 1 => object.resize(&mut random),
            2 => {
                let mut exchange = EXCHANGE.lock().unwrap();
                if exchange.len() < 200 {
                    exchange.extend(slot.take());
                } else {
                    let index = random.below(exchange.len());
                    std::mem::swap(object, &mut exchange[index]);
                }
            }
            _ => *slot = None,
        }
        match random.below(500) {
            0 => {
                ALLOCATOR.purge();
            }
            1 => {
                let length = random.below(200);
                let map = (0..length).map(|i| (format!("key {i}"), vec![i as u8; i * 7])).collect();
                mail.send(map).unwrap();
            }
            _ => {}
        }
    }
}

/// A child has one thread, whatever the others were doing when it was made.
fn fork_once(seed: u64, stream: u64) {
    // SAFETY: the child allocates, frees and exits.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let done = std::panic::catch_unwind(|| {
            let mut random = Random::new(seed, stream);
            let mut held: Vec<Object> = Vec::new();
            for _ in 0..300 {
                held.push(Object::make(&mut random));
                if held.len() > 40 {
                    held.swap_remove(random.below(40)).resize(&mut random);
                }
            }
        });
        // SAFETY: ends the child without the test harness's handlers.
        unsafe { libc::_exit(if done.is_ok() { 7 } else { 1 }) };
    }
    if pid < 0 {
        // No room for another process at the moment.
        return;
    }
    let mut status = 0;
    // SAFETY: our child.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7, "child: {status:#x}");
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

/// The time that a share of so many tenths gives; none means a fixed amount of work.
fn share(tenths: u64) -> Option<Duration> {
    variable("MEMENTO_STRESS_SECONDS").map(|seconds| Duration::from_millis(seconds * 100 * tenths))
}

#[test]
fn objects_keep_their_contents_whoever_holds_them() {
    let hardened = std::env::var("MEMENTO_HARDENED").is_ok_and(|value| value == "1");
    assert_eq!(ALLOCATOR.is_hardened(), hardened);
    let seed = variable("MEMENTO_STRESS_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("hardened: {hardened}, MEMENTO_STRESS_SEED={seed}");
    let end = share(if hardened { 1 } else { 2 }).map(|share| Instant::now() + share);
    let goes_on = |done: u64, fixed: u64| match end {
        Some(end) => Instant::now() < end,
        None => done < fixed,
    };
    let (send, receive) = mpsc::sync_channel::<HashMap<String, Vec<u8>>>(16);
    thread::scope(|scope| {
        for t in 0..THREADS {
            let (send, goes_on) = (send.clone(), &goes_on);
            scope.spawn(move || {
                for round in (0..).take_while(|round| goes_on(*round, 2)) {
                    let send = send.clone();
                    thread::spawn(move || work(seed, t << 32 | round, &send)).join().unwrap();
                }
            });
        }
        drop(send);
        scope.spawn(|| {
            for n in (0..).take_while(|n| goes_on(*n, 10)) {
                fork_once(seed, n << 8 | 0xff);
                thread::yield_now();
            }
        });
        scope.spawn(|| {
            for map in receive {
                let right = |(key, value): (&String, &Vec<u8>)| {
                    let i: usize = key["key ".len()..].parse().unwrap();
                    value.len() == i * 7 && value.iter().all(|byte| *byte == i as u8)
                };
                assert!(map.iter().all(right), "a map lost its contents");
            }
        });
    });
    EXCHANGE.lock().unwrap().clear();
    assert_eq!(LIVE.load(Ordering::Relaxed), 0);
}

/// The same in hardened mode, which a process has from its start.
#[test]
fn the_same_in_hardened_mode() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "objects_keep_their_contents_whoever_holds_them"])
        .env("MEMENTO_HARDENED", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("hardened: true"), "{text}");
}
