//! Operations of the emulator per second: in a process, and over simulated addresses.
//!
//! `cargo bench -p memento-hal --bench emulator`

#[cfg(not(loom))]
mod bench {
    use criterion::{Criterion, Throughput};
    use memento_hal::emulator::{CoreId, Emu, FixedCosts, Machine, Params, SimMemory};
    use memento_hal::geometry::{OBJECTS_PER_ARENA, SizeClass};
    use memento_hal::os::Linux;
    use memento_hal::{Hal, ObjectAllocator};
    use std::hint::black_box;
    use std::ptr::NonNull;

    fn class() -> SizeClass {
        SizeClass::for_request(64, 16).unwrap()
    }

    /// Allocs and frees in a process.
    pub fn bound(c: &mut Criterion) {
        let emu = Emu::new(Linux);
        let mut core = emu.attach().unwrap();
        // SAFETY: attached by this thread, which alone uses it.
        let core = unsafe { core.as_mut() };
        // SAFETY: called with objects that were allocated and are not used again.
        let free = |core: &mut _, object: NonNull<u8>| unsafe {
            ObjectAllocator::obj_free(core, object, None).unwrap();
        };
        let mut group = c.benchmark_group("in a process");
        group.throughput(Throughput::Elements(2));
        group.bench_function("alloc and free that hit", |b| {
            b.iter(|| {
                let object = core.obj_alloc(class()).unwrap();
                free(core, black_box(object));
            });
        });
        const MANY: usize = 16 * OBJECTS_PER_ARENA;
        group.throughput(Throughput::Elements(2 * MANY as u64));
        group.bench_function(
            "4096 objects, then free them in order: one miss in 256 allocs",
            |b| {
                let mut objects = Vec::with_capacity(MANY);
                b.iter(|| {
                    objects.extend((0..MANY).map(|_| core.obj_alloc(class()).unwrap()));
                    objects.drain(..).for_each(|object| free(core, object));
                });
            },
        );
        // Sixteen full arenas; two of them take turns to be emptied while the other is in the HOT.
        let filled: Vec<_> = (0..MANY).map(|_| core.obj_alloc(class()).unwrap()).collect();
        group.throughput(Throughput::Elements(2 * OBJECTS_PER_ARENA as u64));
        group.bench_function("frees that miss, allocs that fill the arena again", |b| {
            let mut arenas = filled.chunks(OBJECTS_PER_ARENA).take(2).cycle();
            b.iter(|| {
                arenas.next().into_iter().flatten().for_each(|object| free(core, *object));
                for _ in 0..OBJECTS_PER_ARENA {
                    black_box(core.obj_alloc(class()).unwrap());
                }
            });
        });
        group.finish();
    }

    /// The same over simulated addresses, as a replay does it.
    pub fn simulated(c: &mut Criterion) {
        let params = Params::DEFAULT;
        let mut machine = Machine::new(params, SimMemory::new(), FixedCosts::new(&params)).unwrap();
        let core: CoreId = machine.add_core().unwrap();
        let mut group = c.benchmark_group("over simulated addresses");
        group.throughput(Throughput::Elements(2));
        group.bench_function("alloc and free that hit", |b| {
            b.iter(|| {
                let object = machine.obj_alloc(core, class()).unwrap();
                machine.obj_free(core, black_box(object)).unwrap();
            });
        });
        group.finish();
    }
}

#[cfg(not(loom))]
criterion::criterion_group!(benches, bench::bound, bench::simulated);
#[cfg(not(loom))]
criterion::criterion_main!(benches);

#[cfg(loom)]
fn main() {}
