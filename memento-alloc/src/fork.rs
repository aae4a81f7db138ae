//! Fork: the child has one thread, and must find every lock free and every heap whole.
//!
//! The order is fixed: prepare takes the large objects' lock, the shared heap's, the backend's, and
//! in hardened mode those of its objects;
//! parent and child give them back the other way round. The handlers are registered before the first
//! object is handed out, by whichever thread comes first; threads that come meanwhile go on without
//! waiting, since they hold no lock while they register.

use crate::memento::Memento;
use crate::observer::Observer;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, Ordering};
use memento_hal::soft::{Hardened, Soft};
use memento_hal::{Hal, ProcessHal};

/// The allocator of this process, once its handlers are registered or about to be.
static ALLOCATOR: AtomicPtr<()> = AtomicPtr::new(null_mut());

/// Registers the handlers for `allocator`. Cheap when they are registered already. The first
/// allocator of a process wins: there is one, in a static.
#[inline]
pub(crate) fn register<H: ProcessHal, O: Observer>(allocator: &'static Memento<H, O>) -> bool {
    // Relaxed: the pointer leads to a static, which needs no publication.
    ALLOCATOR.load(Ordering::Relaxed).is_null() && register_first(allocator)
}

#[cold]
fn register_first<H: ProcessHal, O: Observer>(allocator: &'static Memento<H, O>) -> bool {
    let this = core::ptr::from_ref(allocator).cast_mut().cast();
    // Relaxed: as above. Set before the call, which may allocate.
    if ALLOCATOR.compare_exchange(null_mut(), this, Ordering::Relaxed, Ordering::Relaxed).is_err() {
        return false;
    }
    // SAFETY: the handlers take no arguments, and stay as long as the object they are in.
    unsafe {
        libc::pthread_atfork(Some(prepare::<H, O>), Some(parent::<H, O>), Some(child::<H, O>));
    }
    true
}

fn allocator<H: ProcessHal, O: Observer>() -> Option<&'static Memento<H, O>> {
    // SAFETY: `register_first` stored a `Memento<H, O>` before it registered these very handlers.
    unsafe { ALLOCATOR.load(Ordering::Relaxed).cast::<Memento<H, O>>().as_ref() }
}

unsafe extern "C" fn prepare<H: ProcessHal, O: Observer>() {
    if let Some(this) = allocator::<H, O>() {
        this.large.acquire();
        this.shared.acquire();
        H::instance().fork_prepare();
        if this.mode.is_hardened() {
            this.guarded.acquire();
            Hardened::instance().acquire();
        }
    }
}

unsafe extern "C" fn parent<H: ProcessHal, O: Observer>() {
    if let Some(this) = allocator::<H, O>() {
        if this.mode.is_hardened() {
            Hardened::instance().release();
            this.guarded.release();
        }
        // SAFETY: called by the C library after `prepare` and the fork, in the same thread.
        unsafe { H::instance().fork_parent() };
        this.shared.release();
        this.large.release();
    }
}

unsafe extern "C" fn child<H: ProcessHal, O: Observer>() {
    if let Some(this) = allocator::<H, O>() {
        // First: what the backend counts from here on is the child's, and must not land in counters
        // that the parent still shares and goes on writing.
        this.observer().fork_child();
        if this.mode.is_hardened() {
            Hardened::instance().release();
            this.guarded.release();
        }
        // SAFETY: as for `parent`. The shared heap and core are no thread's, and in nobody's hands,
        // since this thread has their lock: see `Shared::after_fork`.
        unsafe {
            if !H::IS_SOFT {
                H::instance().fork_child(NonNull::new(H::current()));
            }
            Soft::instance().fork_child(NonNull::new(Soft::current()));
        }
        this.shared.after_fork();
        this.shared.release();
        this.large.release();
    }
}
