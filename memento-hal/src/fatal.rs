//! The end of the road: one line on file descriptor 2, then abort.
//!
//! Used where memory is found corrupt and there is no caller who could be told. Nothing here
//! allocates, formats through `core::fmt`, or takes a lock.

/// Writes `memento: MESSAGE (address 0x…)` to standard error and aborts the process.
#[cold]
#[inline(never)]
pub fn corruption(message: &str, address: usize) -> ! {
    #[cfg(any(test, miri))]
    {
        extern crate std;
        std::panic!("memento: {message} (address {address:#x})");
    }
    #[cfg(not(any(test, miri)))]
    {
        let mut line = Line { bytes: [0; 192], len: 0 };
        line.push(b"memento: ");
        line.push(message.as_bytes());
        line.push(b" (address 0x");
        let mut shift = (usize::BITS - (address | 1).leading_zeros()).div_ceil(4) * 4;
        while shift > 0 {
            shift -= 4;
            line.push(&[b"0123456789abcdef"[(address >> shift) & 15]]);
        }
        line.push(b")\n");
        // SAFETY: `bytes[..len]` is initialised; a failed write leaves nothing to be done.
        unsafe {
            libc::write(2, line.bytes.as_ptr().cast(), line.len);
            libc::abort()
        }
    }
}

/// A line of bounded length; what does not fit is cut off.
#[cfg(not(any(test, miri)))]
struct Line {
    bytes: [u8; 192],
    len: usize,
}

#[cfg(not(any(test, miri)))]
impl Line {
    fn push(&mut self, text: &[u8]) {
        for &b in text {
            if self.len < self.bytes.len() {
                self.bytes[self.len] = b;
                self.len += 1;
            }
        }
    }
}
