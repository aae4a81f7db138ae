//! What other threads have freed: reading the letters that arrived in a heap's mailbox.
//!
//! Letters are read as objects are needed, some hundreds at a time: what is read much earlier has left the
//! caches when it is allocated. `region` checked each object when it was freed, but whoever wrote to freed memory may have
//! changed a letter since, so nothing outside the heap's granules is touched.

use super::bin::Bin;
use super::heap::Heap;
use super::layout::{GRANULE_SHIFT, GRANULES_PER_BLOCK, OBJECTS_OFFSET};
use super::lists::double_free;
use super::outbox::open;
use super::refill::Fresh;
use super::span::FreeObject;
use crate::fatal::corruption;
use crate::os::Os;

/// Posted objects that are read before it is looked whether the bin has one: so many that their granules gather
/// objects before they are served from, so few that they are still in a near cache when they are allocated.
const MAIL_AT_ONCE: usize = 512;

impl<O: Os> Heap<O> {
    /// Whether something is to be read.
    pub(super) fn has_mail(&self) -> bool {
        !self.mail.is_null() || self.header().mailbox.has_mail()
    }

    /// Reads letters until the list that the bin is served from has an object, or there is another way.
    pub(super) fn serve_from_mail(&mut self, bin: Bin) -> Option<Fresh> {
        if self.mail.is_null() && self.header().mailbox.has_mail() {
            self.fetch_mail();
        }
        while !self.mail.is_null() {
            self.keep_mail(MAIL_AT_ONCE);
            if let Some(object) = self.pop(bin) {
                return Some(object);
            }
            let waiting = match bin.is_big() {
                true => self.ring[bin.index()] != 0,
                false => self.first_waiting(bin).is_some(),
            };
            if waiting {
                break;
            }
        }
        None
    }

    /// Puts everything that was posted where it belongs.
    pub(super) fn keep_all_mail(&mut self) {
        self.keep_mail(usize::MAX);
        self.fetch_mail();
        self.keep_mail(usize::MAX);
    }

    /// Takes what was posted, to be read little by little; what was taken before has been read.
    fn fetch_mail(&mut self) {
        self.mail = self.header().mailbox.take();
        self.mail_read = 0;
    }

    /// Puts posted objects where they belong, as far as the letter with the object number `most`.
    #[inline(never)]
    fn keep_mail(&mut self, most: usize) {
        let mut read = 0;
        while !self.mail.is_null() && read < most {
            let offset = self.mail.addr().wrapping_sub(self.slot().addr());
            let own = self.posted(offset);
            // SAFETY: an object of ours, taken from the mailbox.
            let (next, enclosed) = unsafe { open(self.slot(), own) };
            for offset in enclosed {
                self.put_posted(offset as usize * 8);
                read += 1;
            }
            self.put_posted(offset);
            read += 1;
            self.mail = next;
            if self.mail_read + read > self.objects_at_most() {
                double_free(own);
            }
        }
        self.mail_read += read;
        self.header().remote_frees.add(read as u64);
    }

    /// The posted object at this distance from the slot's start.
    pub(super) fn posted(&self, offset: usize) -> *mut FreeObject {
        let object = self.slot().wrapping_add(offset);
        let within = offset.wrapping_sub(OBJECTS_OFFSET);
        if within >> GRANULE_SHIFT >= self.granules as usize || !within.is_multiple_of(8) {
            corruption("free list damaged by a write to freed memory", object.addr());
        }
        object.cast()
    }

    /// More objects than this cannot be free: a longer list is a circle.
    fn objects_at_most(&self) -> usize {
        (self.granules as usize) << (GRANULE_SHIFT - 3)
    }

    /// Empties the mailbox of a heap that has no thread, given what was posted.
    #[inline(never)]
    pub(super) fn settle_orphan(&mut self, mail: *mut FreeObject) {
        self.change(|heap| {
            // What is counted now was charged already: see `keep`. If it is time to give back what was not needed, less
            // is free afterwards.
            let before = heap.free_dirty;
            heap.after_fork();
            heap.settle_down();
            heap.stuck += heap.free_dirty.saturating_sub(before);
            // The thread kept its own mail when it ended, but not if a fork took it.
            heap.keep_mail(usize::MAX);
            (heap.mail, heap.mail_read) = (mail, 0);
            heap.keep_mail(usize::MAX);
            heap.release_emptied();
            // What the heap may keep it keeps. Else one call a block's worth: giving back every granule by
            // itself would be dear.
            let given_up = heap.free_dirty.saturating_sub(heap.stuck);
            let enough = if heap.spans == 0 { 1 } else { GRANULES_PER_BLOCK as u32 };
            if given_up >= enough {
                let account: *const _ = &raw const heap.region().kept;
                // SAFETY: the region outlives its heaps.
                let keeps = heap.left.keep_more(unsafe { &*account }, given_up, heap.spans > 0);
                if keeps {
                    heap.stuck = heap.free_dirty;
                } else {
                    let held = heap.dirty_granules();
                    heap.decommit_free();
                    heap.left.gave_back(held, heap.dirty_granules());
                    // SAFETY: as above.
                    heap.left.keep_less(unsafe { &*account }, heap.free_dirty.max(1));
                }
            }
            let region = heap.region();
            region.orphans.set_free(region.index_of(heap.slot()), heap.free_dirty);
        });
    }
}
