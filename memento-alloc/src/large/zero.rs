//! Makes pages that were in use read as zero, at the least cost in time and memory.
//!
//! Pages without memory behind them would be faulted in by a write, so they are skipped over. They may be
//! swapped out, which only the kernel knows: it is told to forget them.

use super::pages::Pages;
use core::ptr::NonNull;
use memento_hal::os::Os;

/// Pages that are looked at in one call.
const PART: usize = 1024;
/// Of a part in which fewer pages than this share are backed, all are given back: a program that uses
/// so few would collect more and more of them.
const FEW_SHARE: usize = 32;

/// A hole of fewer pages is written over.
const HOLE_MIN: usize = 8;

/// Makes the pages read as zero.
///
/// # Safety
/// They are the caller's alone.
pub(super) unsafe fn clear(os: &impl Os, pages: Pages) {
    let page = os.page_bytes();
    let mut rest = pages;
    while rest.bytes > 0 {
        let mut part = rest;
        rest = part.split(part.bytes.min(PART * page));
        let mut backed = [1; PART];
        let backed = &mut backed[..part.bytes / page];
        // SAFETY: the part is the caller's, and committed as all of an object is.
        unsafe {
            let known = os.backing(part.start, backed);
            let count = backed.iter().filter(|b| **b & 1 == 1).count();
            if !known {
                part.start.write_bytes(0, part.bytes);
            } else if count * FEW_SHARE < backed.len() {
                forget(os, part.start, part.bytes);
            } else {
                clear_runs(os, part.start, backed, page);
            }
        }
    }
}

/// Writes zeros to what is backed, run by run, and has the kernel forget the rest.
///
/// # Safety
/// The pages from `start` on are the caller's.
unsafe fn clear_runs(os: &impl Os, start: NonNull<u8>, backed: &[u8], page: usize) {
    let mut first = 0;
    for run in backed.chunk_by(|a, b| (a ^ b) & 1 == 0) {
        // SAFETY: as many pages as `backed` tells of are the caller's.
        unsafe {
            let at = start.add(first * page);
            if run[0] & 1 == 1 || run.len() < HOLE_MIN {
                at.write_bytes(0, run.len() * page);
            } else {
                forget(os, at, run.len() * page);
            }
        }
        first += run.len();
    }
}

/// # Safety
/// The pages are the caller's.
unsafe fn forget(os: &impl Os, start: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller's. Locked pages cannot be given back, but written.
    unsafe {
        if !os.decommit(start, bytes) {
            start.write_bytes(0, bytes);
        }
    }
}
