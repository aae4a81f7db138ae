//! What a trace asks for, by class: the same whatever serves it.

use super::malloc::{MAX_ALIGN, PLAIN_ALIGN};
use super::trace::{Action, Request, Trace};
use crate::report::ReplayCost;
use memento_hal::counters::Counters;
use memento_hal::geometry::SizeClass;

/// What an operation is to the hardware. `None` for a class means the software path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// `obj-alloc`, or an allocation of the software path.
    Alloc {
        /// Slot of the object.
        slot: u32,
        /// Its class.
        class: Option<SizeClass>,
        /// What was asked for.
        request: Request,
    },
    /// `obj-free`, or a free of the software path.
    Free {
        /// Slot of the object.
        slot: u32,
        /// Its class.
        class: Option<SizeClass>,
    },
    /// The object goes on in another slot, and the hardware sees nothing: a reallocation within a
    /// class, or within the software path.
    Rename {
        /// Slot of the object.
        old: u32,
        /// Its slot from here on.
        new: u32,
        /// What was asked for.
        request: Request,
    },
    /// `obj-alloc` of a new object, then `obj-free` of the old one. Slots may be the same.
    Move {
        /// Slot and class of the old object.
        old: (u32, Option<SizeClass>),
        /// Slot and class of the new object.
        new: (u32, Option<SizeClass>),
        /// What was asked for.
        request: Request,
    },
}

/// Walks a trace, telling `visit` each step with the thread that does it.
///
/// # Errors
/// The first error of `visit`, and the walk ends there.
pub fn walk<E>(trace: &Trace, mut visit: impl FnMut(u32, Step) -> Result<(), E>) -> Result<(), E> {
    let mut classes: Vec<Option<SizeClass>> = vec![None; trace.slots as usize];
    let class_of = |r: Request| SizeClass::for_request(r.size, r.align);
    for operation in &trace.operations {
        let step = match operation.action {
            Action::Alloc { slot, request } => {
                let class = class_of(request);
                classes[slot as usize] = class;
                Step::Alloc { slot, class, request }
            }
            Action::Free { slot } => Step::Free { slot, class: classes[slot as usize] },
            Action::Realloc { old, new, request } => {
                let (was, is) = (classes[old as usize], class_of(request));
                classes[new as usize] = is;
                if was == is {
                    Step::Rename { old, new, request }
                } else {
                    Step::Move { old: (old, was), new: (new, is), request }
                }
            }
        };
        visit(operation.thread, step)?;
    }
    Ok(())
}

/// Counts the allocations and frees of a trace into `into`.
pub fn count(trace: &Trace, into: &mut Counters) {
    let walked: Result<(), std::convert::Infallible> = walk(trace, |_, step| {
        match step {
            Step::Alloc { class, request, .. } => alloc(into, class, request),
            Step::Free { class, .. } => free(into, class),
            Step::Rename { .. } => {}
            Step::Move { old, new, request } => {
                alloc(into, new.1, request);
                free(into, old.1);
            }
        }
        Ok(())
    });
    match walked {
        Ok(()) => {}
    }
}

/// The operations of a trace by kind, and what they leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Allocations.
    pub allocs: u64,
    /// Reallocations.
    pub reallocs: u64,
    /// Frees.
    pub frees: u64,
    /// Sum of the sizes of what is live at the end.
    pub live_bytes: u64,
    /// Requests that are aligned beyond what `malloc` gives.
    pub aligned: u64,
    /// Requests that are aligned beyond what [`super::malloc`] gives.
    pub over_aligned: u64,
    /// Reallocations to the size that the object has.
    pub same_size: u64,
}

impl Tally {
    /// Says the kinds in `cost`.
    pub fn put_into(&self, cost: &mut ReplayCost) {
        (cost.allocs, cost.reallocs, cost.frees) = (self.allocs, self.reallocs, self.frees);
        (cost.live_objects, cost.live_bytes) = (self.allocs - self.frees, self.live_bytes);
    }

    fn request(&mut self, request: Request) {
        self.live_bytes = self.live_bytes.wrapping_add(request.size as u64);
        self.aligned += u64::from(request.align > PLAIN_ALIGN);
        self.over_aligned += u64::from(request.align > MAX_ALIGN);
    }
}

/// Counts a trace's operations by kind.
pub fn tally(trace: &Trace) -> Tally {
    let mut tally = Tally::default();
    let mut sizes = vec![0usize; trace.slots as usize];
    for operation in &trace.operations {
        match operation.action {
            Action::Alloc { slot, request } => {
                tally.allocs += 1;
                tally.request(request);
                sizes[slot as usize] = request.size;
            }
            Action::Free { slot } => {
                tally.frees += 1;
                tally.live_bytes = tally.live_bytes.wrapping_sub(sizes[slot as usize] as u64);
            }
            Action::Realloc { old, new, request } => {
                tally.reallocs += 1;
                let was = sizes[old as usize];
                tally.live_bytes = tally.live_bytes.wrapping_sub(was as u64);
                tally.request(request);
                tally.same_size += u64::from(was == request.size);
                sizes[new as usize] = request.size;
            }
        }
    }
    tally
}

fn alloc(into: &mut Counters, class: Option<SizeClass>, request: Request) {
    match class {
        Some(class) => into.allocs[class.index()] += 1,
        None => into.software_allocs += 1,
    }
    into.bytes_requested = into.bytes_requested.wrapping_add(request.size as u64);
}

fn free(into: &mut Counters, class: Option<SizeClass>) {
    match class {
        Some(class) => into.frees[class.index()] += 1,
        None => into.software_frees += 1,
    }
}
