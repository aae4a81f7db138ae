//! Small patterns of allocation, in process: the soft backend, the emulator, the system's allocator and, with
//! the feature `peers`, those that exist as crates, each called through `GlobalAlloc` by the same code.
//!
//! What a pattern costs in a loop says little about a program; whole programs are compared by
//! `suite` and `compare`. These are for seeing what a change to one path does.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use memento_alloc::Memento;
use memento_alloc::hal::emulator::Emu;
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;

static SOFT: Memento = Memento::new();
static EMULATED: Memento<Emu> = Memento::new();

/// Numbers that look random and are the same every time (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 as usize
    }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).expect("a small size")
}

/// Allocates one object and frees it at once.
fn pair(allocator: &impl GlobalAlloc, size: usize) {
    // SAFETY: the size is not zero; the object is freed with its layout.
    unsafe {
        let object = allocator.alloc(layout(black_box(size)));
        allocator.dealloc(black_box(object), layout(size));
    }
}

/// Allocates many objects of sizes as programs have them, and frees them in another order.
fn batch(allocator: &impl GlobalAlloc, objects: usize) {
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let mut live: Vec<(*mut u8, Layout)> = Vec::with_capacity(objects);
    for _ in 0..objects {
        let limit = if numbers.next() % 100 < 93 { 512 } else { 4096 };
        let layout = layout(1 + numbers.next() % limit);
        // SAFETY: the size is not zero.
        let object = unsafe { allocator.alloc(layout) };
        // SAFETY: an object of at least one byte.
        unsafe { object.write(1) };
        live.push((object, layout));
    }
    while !live.is_empty() {
        let (object, layout) = live.swap_remove(numbers.next() % live.len());
        // SAFETY: allocated above with this layout.
        unsafe { allocator.dealloc(object, layout) };
    }
}

/// Replaces buffers of 4 to 64 KiB, of which a hundred live, in no order, and fills each.
fn buffers(allocator: &impl GlobalAlloc, replaced: usize) {
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let mut live: Vec<(*mut u8, Layout)> = Vec::with_capacity(100);
    for _ in 0..live.capacity() + replaced {
        if live.len() == live.capacity() {
            let (buffer, layout) = live.swap_remove(numbers.next() % live.len());
            // SAFETY: allocated below with this layout.
            unsafe { allocator.dealloc(buffer, layout) };
        }
        let layout = layout(4096 + numbers.next() % (60 << 10));
        // SAFETY: the size is not zero, and as many bytes are written.
        let buffer = unsafe { allocator.alloc(layout) };
        // SAFETY: as said.
        unsafe { buffer.write_bytes(1, layout.size()) };
        live.push((buffer, layout));
    }
    for (buffer, layout) in live {
        // SAFETY: allocated above with this layout.
        unsafe { allocator.dealloc(buffer, layout) };
    }
}

/// A vector that doubles from 1 KiB to 1 MiB.
fn growth(allocator: &impl GlobalAlloc) {
    let mut size = 1024;
    // SAFETY: sizes are not zero, layouts are those of the last call.
    unsafe {
        let mut object = allocator.alloc(layout(size));
        while size < 1 << 20 {
            object = black_box(allocator.realloc(object, layout(size), 2 * size));
            size *= 2;
            object.add(size - 1).write(1);
        }
        allocator.dealloc(object, layout(size));
    }
}

/// Zeroed memory of which one page in sixteen is used.
fn zeroed(allocator: &impl GlobalAlloc, size: usize) {
    // SAFETY: the size is not zero, writes lie in the object, and it is freed with its layout.
    unsafe {
        let object = allocator.alloc_zeroed(layout(black_box(size)));
        for offset in (0..size).step_by(16 * 4096) {
            object.add(offset).write(1);
        }
        allocator.dealloc(black_box(object), layout(size));
    }
}

/// Measures one pattern with every allocator.
macro_rules! with_each {
    ($group:expr, |$allocator:ident| $work:expr) => {
        with_each!($group, "soft", SOFT, |$allocator| $work);
        with_each!($group, "system", System, |$allocator| $work);
        #[cfg(feature = "peers")]
        {
            with_each!($group, "mimalloc", mimalloc::MiMalloc, |$allocator| $work);
            with_each!($group, "snmalloc", snmalloc_rs::SnMalloc, |$allocator| $work);
            with_each!($group, "jemalloc", tikv_jemallocator::Jemalloc, |$allocator| $work);
            with_each!($group, "rpmalloc", rpmalloc::RpMalloc, |$allocator| $work);
        }
    };
    ($group:expr, $name:literal, $value:expr, |$allocator:ident| $work:expr) => {
        $group.bench_function($name, |bencher| {
            let $allocator = &$value;
            bencher.iter(|| $work)
        });
    };
}

fn patterns(criterion: &mut Criterion) {
    for size in [16, 64, 512, 2048] {
        let mut group = criterion.benchmark_group(format!("pair of {size} bytes"));
        with_each!(group, |allocator| pair(allocator, size));
        with_each!(group, "emulator", EMULATED, |allocator| pair(allocator, size));
        group.finish();
    }
    const OBJECTS: usize = 10_000;
    let mut group = criterion.benchmark_group("batch of mixed sizes");
    group.throughput(Throughput::Elements(OBJECTS as u64));
    with_each!(group, |allocator| batch(allocator, OBJECTS));
    with_each!(group, "emulator", EMULATED, |allocator| batch(allocator, OBJECTS));
    group.finish();
    const BUFFERS: usize = 1000;
    let mut group = criterion.benchmark_group("buffers of 4 to 64 KiB");
    group.throughput(Throughput::Elements(BUFFERS as u64));
    with_each!(group, |allocator| buffers(allocator, BUFFERS));
    group.finish();
    let mut group = criterion.benchmark_group("growth to 1 MiB");
    with_each!(group, |allocator| growth(allocator));
    group.finish();
    for size in [64 << 10, 1 << 20, 16 << 20] {
        let mut group = criterion.benchmark_group(format!("zeroed {} KiB", size >> 10));
        with_each!(group, |allocator| zeroed(allocator, size));
        group.finish();
    }
}

criterion_group!(benches, patterns);
criterion_main!(benches);
