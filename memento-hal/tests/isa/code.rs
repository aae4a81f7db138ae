//! Pages of machine code made by a test: each holds functions of one instruction and a `ret`.
#![allow(dead_code, reason = "each test binary uses what it needs")]

use memento_hal::isa::{Function, Instruction};

/// Bytes from one function to the next: the instruction and its `ret`.
const STEP: usize = 16;

/// A page of functions `extern "C" fn(usize) -> usize`, all of the same instruction.
pub struct Page {
    base: *mut u8,
}

// SAFETY: after construction the page is code that any thread may execute.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    pub const FUNCTIONS: usize = 4096 / STEP;

    /// A page mapped with `sharing` (`MAP_PRIVATE` or `MAP_SHARED`), at `hint` if possible, that
    /// ends up with `protection`; every function begins `offset` bytes after a multiple of 16.
    pub fn new(hint: usize, sharing: i32, protection: i32, offset: usize) -> Self {
        // SAFETY: a fresh anonymous mapping.
        let base = unsafe {
            libc::mmap(
                hint as *mut libc::c_void,
                4096,
                libc::PROT_READ | libc::PROT_WRITE,
                sharing | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(base, libc::MAP_FAILED);
        let base: *mut u8 = base.cast();
        let alloc = Instruction { function: Function::ObjAlloc, rd: 0, rs: 7 };
        let mut code = alloc.encode_x86().unwrap().to_vec();
        code.push(0xC3);
        for index in 0..Self::FUNCTIONS - 1 {
            // SAFETY: within the page, and not executed yet.
            unsafe {
                base.add(index * STEP + offset).copy_from(code.as_ptr(), code.len());
            }
        }
        // SAFETY: the page is ours.
        assert_eq!(unsafe { libc::mprotect(base.cast(), 4096, protection) }, 0);
        Self { base: base.wrapping_add(offset) }
    }

    /// Private, readable and executable, as a loader maps text.
    pub fn text() -> Self {
        Self::new(0, libc::MAP_PRIVATE, libc::PROT_READ | libc::PROT_EXEC, 0)
    }

    pub fn address(&self, index: usize) -> usize {
        self.base as usize + index * STEP
    }

    /// Calls the function.
    pub fn call(&self, index: usize, operand: usize) -> usize {
        assert!(index < Self::FUNCTIONS - 1);
        // SAFETY: `new` wrote a function of this type there.
        let function: extern "C" fn(usize) -> usize =
            unsafe { std::mem::transmute(self.base.add(index * STEP)) };
        function(operand)
    }

    /// First byte of the function: 0x48 as written, 0xE9 when patched.
    pub fn first_byte(&self, index: usize) -> u8 {
        // SAFETY: within the page, which is readable.
        unsafe { self.base.add(index * STEP).read_volatile() }
    }
}
