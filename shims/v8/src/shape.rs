//! Tells V8's mappings from all others by what is asked for.
//!
//! V8 wants its pages at multiples of 256 KiB. It asks for inaccessible memory, at a random address
//! that is such a multiple, and for as many bytes more as it takes to find an aligned part in whatever
//! it gets; the kernel gives it the address that it asked for, and it cuts off the rest at once.
//! `--jitless`, pointer compression and the code range use reservations of other shapes, which are
//! left alone.

use crate::units::{PART_BYTES, UNIT_BYTES};
use core::ffi::c_int;

/// What is asked for beyond the need.
pub const SLACK: usize = UNIT_BYTES - PART_BYTES;

/// What a mapping is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// A page of V8's heap.
    Page,
    /// Perhaps an object of V8's heap that has a mapping of its own.
    Object,
    /// Something else.
    Other,
}

/// What the arguments of an `mmap` look like.
pub fn of(at: usize, bytes: usize, prot: c_int, flags: c_int, file: c_int) -> Shape {
    const FLAGS: c_int = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let aligned = at != 0 && at.is_multiple_of(UNIT_BYTES);
    if !aligned || prot != libc::PROT_NONE || flags != FLAGS || file != -1 {
        return Shape::Other;
    }
    match bytes.checked_sub(SLACK) {
        Some(UNIT_BYTES) => Shape::Page,
        Some(size) if size > UNIT_BYTES => Shape::Object,
        _ => Shape::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: c_int = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;

    #[test]
    fn the_calls_of_v8_are_recognised() {
        // As seen of Node 18, 20 and 22.
        assert_eq!(of(0x340c_4430_0000, 520_192, 0, FLAGS, -1), Shape::Page);
        assert_eq!(of(0x100d_3a6c_0000, 1_314_816, 0, FLAGS, -1), Shape::Object);
    }

    #[test]
    fn everything_else_is_left_alone() {
        let page = 520_192;
        assert_eq!(of(0, page, 0, FLAGS, -1), Shape::Other, "no address");
        assert_eq!(of(0x340c_4430_1000, page, 0, FLAGS, -1), Shape::Other, "not aligned");
        assert_eq!(of(0x340c_4430_0000, page, 1, FLAGS, -1), Shape::Other, "accessible");
        assert_eq!(of(0x340c_4430_0000, page, 0, FLAGS, 3), Shape::Other, "a file");
        let fixed = FLAGS | libc::MAP_FIXED;
        assert_eq!(of(0x340c_4430_0000, page, 0, fixed, -1), Shape::Other, "a fixed address");
        assert_eq!(of(0x340c_4430_0000, 401_408, 0, FLAGS, -1), Shape::Other, "less than a page");
    }
}
