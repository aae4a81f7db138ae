//! The interpreter's own functions, as the loader found them.
//!
//! What is used of CPython's interface has been the same since 3.5: a struct of five words, and two
//! functions that copy it.

use core::ffi::c_void;
use memento_shim_abi::runtime::c_int;

/// CPython's three kinds of requests, by its numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Domain {
    /// Without the interpreter's lock: `malloc`'s family.
    Raw = 0,
    /// Buffers.
    Mem = 1,
    /// Objects.
    Obj = 2,
}

/// How a domain is served: CPython's `PyMemAllocatorEx`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Allocator {
    pub context: *mut c_void,
    pub malloc: unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void,
    pub calloc: unsafe extern "C" fn(*mut c_void, usize, usize) -> *mut c_void,
    pub realloc: unsafe extern "C" fn(*mut c_void, *mut c_void, usize) -> *mut c_void,
    pub free: unsafe extern "C" fn(*mut c_void, *mut c_void),
}

// SAFETY: function addresses, and a context that means something to those functions alone, which
// CPython itself calls from any thread.
unsafe impl Sync for Allocator {}

impl PartialEq for Allocator {
    fn eq(&self, other: &Self) -> bool {
        let words = |a: &Self| {
            [
                a.context.addr(),
                a.malloc as usize,
                a.calloc as usize,
                a.realloc as usize,
                a.free as usize,
            ]
        };
        words(self) == words(other)
    }
}

/// Who provides CPython's own allocator with memory: its `PyObjectArenaAllocator`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct ArenaAllocator {
    pub context: *mut c_void,
    pub alloc: unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void,
    pub free: unsafe extern "C" fn(*mut c_void, *mut c_void, usize),
}

// SAFETY: as of `Allocator`.
unsafe impl Sync for ArenaAllocator {}

/// CPython, 3.8 or newer.
#[derive(Clone, Copy)]
pub(crate) struct Interpreter {
    set: unsafe extern "C" fn(c_int, *mut Allocator),
    get: unsafe extern "C" fn(c_int, *mut Allocator),
    set_arenas: Option<unsafe extern "C" fn(*mut ArenaAllocator)>,
    get_arenas: Option<unsafe extern "C" fn(*mut ArenaAllocator)>,
}

/// What the loader found in this process.
pub(crate) enum Found {
    /// No CPython.
    Nothing,
    /// One that is not served, and why.
    Unfit(&'static str),
    /// One that is.
    Fit(Interpreter),
}

// Weak references: null where nobody defines the name, so that the loader does the search, for the
// executable and every library that it is linked with, and no function is called for it.
core::arch::global_asm!(
    ".pushsection .data.rel.ro.memento_python, \"aw\", @progbits",
    ".balign 8",
    ".weak PyMem_SetAllocator",
    ".weak PyMem_GetAllocator",
    ".weak PyObject_SetArenaAllocator",
    ".weak PyObject_GetArenaAllocator",
    ".weak Py_BytesMain",
    ".weak _Py_DecRefShared",
    ".hidden memento_python_names",
    ".globl memento_python_names",
    "memento_python_names:",
    ".quad PyMem_SetAllocator",
    ".quad PyMem_GetAllocator",
    ".quad PyObject_SetArenaAllocator",
    ".quad PyObject_GetArenaAllocator",
    ".quad Py_BytesMain",
    ".quad _Py_DecRefShared",
    ".popsection",
);

#[repr(C)]
struct Names {
    set: Option<unsafe extern "C" fn(c_int, *mut Allocator)>,
    get: Option<unsafe extern "C" fn(c_int, *mut Allocator)>,
    set_arenas: Option<unsafe extern "C" fn(*mut ArenaAllocator)>,
    get_arenas: Option<unsafe extern "C" fn(*mut ArenaAllocator)>,
    /// New in 3.8.
    bytes_main: *const c_void,
    /// Exists where reference counts are shared between threads that hold no common lock.
    dec_ref_shared: *const c_void,
}

unsafe extern "C" {
    #[link_name = "memento_python_names"]
    static NAMES: Names;
}

impl Interpreter {
    /// Looks at what the loader found.
    pub fn find() -> Found {
        // SAFETY: the loader has written the table before it calls anything of this object, and
        // nobody writes it again. The names stand for functions of the types that CPython declares.
        let names = unsafe { &NAMES };
        let (Some(set), Some(get)) = (names.set, names.get) else { return Found::Nothing };
        if names.bytes_main.is_null() {
            return Found::Unfit("this Python is older than 3.8");
        }
        if !names.dec_ref_shared.is_null() {
            return Found::Unfit("a free-threaded Python works with its own allocator only");
        }
        let (set_arenas, get_arenas) = (names.set_arenas, names.get_arenas);
        Found::Fit(Self { set, get, set_arenas, get_arenas })
    }

    /// How a domain is served now.
    pub fn allocator(self, domain: Domain) -> Allocator {
        let mut allocator = crate::domains::SERVED;
        // SAFETY: CPython copies its struct of the same layout there.
        unsafe { (self.get)(domain as c_int, &raw mut allocator) };
        allocator
    }

    /// Has a domain served by `allocator` from now on.
    ///
    /// # Safety
    /// `allocator` keeps CPython's contract of that domain, also for what was allocated before.
    pub unsafe fn serve(self, domain: Domain, allocator: Allocator) {
        let mut allocator = allocator;
        // SAFETY: CPython copies the struct.
        unsafe { (self.set)(domain as c_int, &raw mut allocator) };
    }

    /// Has CPython's own allocator provided with arenas by `arenas` from now on; returns who did so
    /// before. `None` if that cannot be changed.
    ///
    /// # Safety
    /// `arenas` keeps CPython's contract, also for the arenas that there are.
    pub unsafe fn provide(self, arenas: ArenaAllocator) -> Option<ArenaAllocator> {
        let (set, get) = (self.set_arenas?, self.get_arenas?);
        let (mut arenas, mut before) = (arenas, arenas);
        // SAFETY: CPython copies its struct of the same layout out and in.
        unsafe {
            get(&raw mut before);
            set(&raw mut arenas);
        }
        Some(before)
    }
}
