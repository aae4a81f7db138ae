//! The `isa` backend: cores that issue the instructions.
//!
//! On a CPU without them the emulator of this process is the device, so what is counted is what
//! the `emu` backend counts. An instruction names no core: it is executed by the one that the
//! system has made current, here the one in the thread's pointer. Cores, their lifetime and fork
//! are therefore the emulator's; only the two instructions are issued here.
//!
//! No system offers the interface of `ISA.md`, section 7, yet. On a CPU with the extension this
//! backend says so and ends, instead of pretending to have a region.

use super::arch;
use super::device::Device;
use super::encoding::fault_of;
use super::probe::{self, Execution};
use crate::counters::Counters;
use crate::emulator::{Emu, EmuCore};
use crate::geometry::{CLASS_STEP, SizeClass};
use crate::hal::{Hal, ProcessHal};
use crate::object::{FreeFault, ObjectAllocator};
use core::marker::{PhantomData, PhantomPinned};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, Ordering};

/// The backend. There is one hardware in a process, hence nothing in it.
#[derive(Debug, Default)]
pub struct Isa;

static PROCESS: Isa = Isa;

/// A core of the hardware: an address to tell cores apart, and nothing that could be read.
///
/// Of no size, so that a reference to it says nothing about the emulated core, which the device
/// changes while an instruction executes.
#[derive(Debug)]
#[repr(C)]
pub struct IsaCore {
    nothing: [u8; 0],
    not_shared: PhantomData<(*mut u8, PhantomPinned)>,
}

/// How far [`start`] is.
static STATE: AtomicU8 = AtomicU8::new(NEW);
const NEW: u8 = 0;
const STARTING: u8 = 1;
const READY: u8 = 2;

static DEVICE: Device = Device { obj_alloc, obj_free, region };

/// The emulated core that executes an instruction of this thread. A thread that has none, because
/// it issues instructions before it has allocated anything, gets one and keeps it.
fn executing() -> Option<NonNull<EmuCore>> {
    NonNull::new(Emu::current()).or_else(|| {
        let core = Emu::instance().attach()?;
        // SAFETY: attached by this thread just now.
        unsafe { Emu::set_current(core.as_ptr()) };
        Some(core)
    })
}

fn obj_alloc(size: usize) -> usize {
    let object = SizeClass::for_request(size, CLASS_STEP).and_then(|class| {
        // SAFETY: the thread's current core is in nobody else's use: `IsaCore` has no size, so no
        // reference to the emulated core exists while an instruction executes.
        unsafe { executing()?.as_mut() }.obj_alloc(class)
    });
    object.map_or(0, |object| object.as_ptr().expose_provenance())
}

/// # Safety
/// Nobody uses the object at `va` afterwards.
unsafe fn obj_free(va: usize) -> Result<(), FreeFault> {
    let object = NonNull::new(core::ptr::with_exposed_provenance_mut(va));
    let object = object.ok_or(FreeFault::Outside)?;
    match executing() {
        // SAFETY: as in `obj_alloc`; the caller gives the object up.
        Some(mut core) => unsafe { core.as_mut().obj_free(object, None) },
        // SAFETY: as above.
        None => unsafe { Emu::instance().free_detached(object) },
    }
}

fn region() -> (usize, usize) {
    // The region is reserved when the first core is attached.
    let layout = executing().and_then(|_| Emu::instance().layout());
    layout.map_or((0, 0), |layout| (layout.region.start() as usize, layout.region.end() as usize))
}

/// Makes the instructions executable, once in a process.
fn start() {
    // Acquire pairs with the Release below: the handler is in place.
    if STATE.load(Ordering::Acquire) == READY {
        return;
    }
    // Acquire on failure, for the same reason; success publishes nothing.
    match STATE.compare_exchange(NEW, STARTING, Ordering::Relaxed, Ordering::Acquire) {
        Ok(_) => match probe::start(&DEVICE) {
            Some(Execution::Emulated) => STATE.store(READY, Ordering::Release),
            Some(Execution::Hardware) => end(
                b"memento: this CPU has the Memento instructions, but the system offers no region for them\n",
            ),
            None => end(b"memento: the system does not let the Memento instructions be emulated\n"),
        },
        Err(_) => {
            while STATE.load(Ordering::Acquire) != READY {
                core::hint::spin_loop();
            }
        }
    }
}

/// Says why, and aborts.
#[cold]
fn end(line: &[u8]) -> ! {
    // SAFETY: the line is as long as stated; after a failed write nothing is left to be done.
    unsafe {
        libc::write(2, line.as_ptr().cast(), line.len());
        libc::abort()
    }
}

impl Isa {
    /// Makes the instructions executable in this process, if they are not yet. Attaching a core
    /// does it too; a shared object that is preloaded does it when it is loaded, for programs that
    /// issue instructions of their own before they allocate anything through it.
    ///
    /// Aborts with a line on standard error where they cannot be executed.
    pub fn enable(&self) {
        start();
    }
}

impl IsaCore {
    /// Runs `instruction` with this core as the thread's current one, as a context switch would
    /// have made it. Threads have it current already; a test may drive several from one thread.
    #[inline]
    fn on<R>(&mut self, instruction: impl FnOnce() -> R) -> R {
        let core = core::ptr::with_exposed_provenance_mut(core::ptr::from_mut(self).addr());
        let before = Emu::current();
        if before == core {
            return instruction();
        }
        // SAFETY: whoever has the `IsaCore` attached the emulated one of the same address, and
        // what was current before is put back.
        unsafe { Emu::set_current(core) };
        let result = instruction();
        // SAFETY: as above.
        unsafe { Emu::set_current(before) };
        result
    }
}

// SAFETY: what the instructions return is what the emulated core returned, which keeps these
// promises.
unsafe impl ObjectAllocator for IsaCore {
    #[inline]
    fn obj_alloc(&mut self, class: SizeClass) -> Option<NonNull<u8>> {
        // SAFETY: `attach` made the instructions executable before it gave out any core.
        NonNull::new(self.on(|| unsafe { arch::obj_alloc(class.size()) }))
    }

    #[inline]
    unsafe fn obj_free(
        &mut self,
        object: NonNull<u8>,
        _known: Option<SizeClass>,
    ) -> Result<(), FreeFault> {
        // SAFETY: as above; the caller gives the object up.
        fault_of(self.on(|| unsafe { arch::obj_free(object.as_ptr()) }))
    }
}

/// The emulated core behind `core`.
fn emulated(core: NonNull<IsaCore>) -> NonNull<EmuCore> {
    core.cast()
}

// SAFETY: cores are the emulator's, which keeps these promises.
unsafe impl Hal for Isa {
    type Core = IsaCore;
    const NAME: &'static str = "isa";

    fn attach(&self) -> Option<NonNull<Self::Core>> {
        start();
        let core = Emu::instance().attach()?;
        // `IsaCore::on` finds the emulated core again by this address.
        core.as_ptr().expose_provenance();
        Some(core.cast())
    }

    unsafe fn detach(&self, core: NonNull<Self::Core>) {
        // SAFETY: attached above, and given up by the caller.
        unsafe { Emu::instance().detach(emulated(core)) };
    }

    #[inline]
    fn contains(&self, address: *const u8) -> bool {
        Emu::instance().contains(address)
    }

    fn class_of(&self, object: NonNull<u8>) -> Result<SizeClass, FreeFault> {
        Emu::instance().class_of(object)
    }

    unsafe fn free_detached(&self, object: NonNull<u8>) -> Result<(), FreeFault> {
        // SAFETY: the same contract.
        unsafe { Emu::instance().free_detached(object) }
    }

    fn fork_prepare(&self) {
        Emu::instance().fork_prepare();
    }

    unsafe fn fork_parent(&self) {
        // SAFETY: the same contract.
        unsafe { Emu::instance().fork_parent() };
    }

    unsafe fn fork_child(&self, core: Option<NonNull<Self::Core>>) {
        super::signals::fork_child();
        super::patch::fork_child();
        // A thread that was starting does not exist here. Relaxed: the child has one thread.
        let _ = STATE.compare_exchange(STARTING, NEW, Ordering::Relaxed, Ordering::Relaxed);
        // SAFETY: the same contract.
        unsafe { Emu::instance().fork_child(core.map(emulated)) };
    }

    fn counters(&self, into: &mut Counters) {
        Emu::instance().counters(into);
    }
}

// SAFETY: the emulator's pointer is this backend's: an `IsaCore` is at its emulated core's address.
unsafe impl ProcessHal for Isa {
    fn instance() -> &'static Self {
        &PROCESS
    }

    #[inline]
    fn current() -> *mut Self::Core {
        Emu::current().cast()
    }

    unsafe fn set_current(core: *mut Self::Core) {
        // SAFETY: the same contract.
        unsafe { Emu::set_current(core.cast()) };
    }
}
