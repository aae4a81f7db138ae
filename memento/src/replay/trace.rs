//! A checked trace, ready to be replayed.
//!
//! What comes out is dense: threads and objects are numbered from 0, so that replaying needs no
//! look-up.

use crate::trace::{self, Event, EventAction, Format, Problem, TraceError};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::BufRead;

/// A checked trace.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trace {
    /// The operations, in order.
    pub operations: Vec<Operation>,
    /// Threads; they are numbered by first appearance.
    pub threads: u32,
    /// Slots that the operations name; a slot is used again after its object was freed.
    pub slots: u32,
}

/// One line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operation {
    /// The thread that does it.
    pub thread: u32,
    /// What it does.
    pub action: Action,
}

/// What a line asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// A new object in a free slot.
    Alloc {
        /// Slot of the object.
        slot: u32,
        /// What is asked for.
        request: Request,
    },
    /// The end of an object; its slot is free again.
    Free {
        /// Slot of the object.
        slot: u32,
    },
    /// An object becomes another size.
    Realloc {
        /// Slot of the object.
        old: u32,
        /// Slot of what it becomes: a free one, or the same.
        new: u32,
        /// What is asked for.
        request: Request,
    },
}

/// Size and alignment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// Bytes.
    pub size: usize,
    /// Alignment in bytes, a power of two.
    pub align: usize,
}

/// Most threads of a trace.
const MAX_THREADS: u32 = 1 << 16;

/// Reads a trace of any form to its end.
///
/// # Errors
/// The first problem, with its place.
pub fn parse(input: impl BufRead) -> Result<Trace, TraceError> {
    parse_as(input, Format::Auto)
}

/// Reads a trace to its end.
///
/// # Errors
/// The first problem, with its place.
pub fn parse_as(input: impl BufRead, format: Format) -> Result<Trace, TraceError> {
    let mut builder = Builder::default();
    trace::read(input, format, &mut |event| builder.event(event))?;
    Ok(builder.finish())
}

/// Makes a checked trace of events.
#[derive(Default)]
pub struct Builder {
    trace: Trace,
    /// Thread numbers of the file → ours.
    threads: HashMap<u64, u32>,
    /// Live objects.
    live: HashMap<u64, Object>,
    /// Slots of freed objects.
    free_slots: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Object {
    slot: u32,
    align: usize,
}

impl Builder {
    /// Adds an event.
    ///
    /// # Errors
    /// If it makes no sense after those before it.
    pub fn event(&mut self, event: Event) -> Result<(), Problem> {
        let action = match event.action {
            EventAction::Alloc { id, size, align } => {
                self.alloc(id, Request { size: size_of(size)?, align: align_of(align)? })?
            }
            EventAction::Free { id } => Action::Free { slot: self.free(id)?.slot },
            EventAction::Realloc { id, new, size } => self.realloc(id, new, size_of(size)?)?,
        };
        let thread = self.thread(event.thread)?;
        self.trace.operations.push(Operation { thread, action });
        Ok(())
    }

    /// The trace of all events.
    pub fn finish(self) -> Trace {
        self.trace
    }

    fn thread(&mut self, number: u64) -> Result<u32, Problem> {
        let next = self.trace.threads;
        match self.threads.entry(number) {
            Entry::Occupied(known) => Ok(*known.get()),
            Entry::Vacant(_) if next == MAX_THREADS => {
                Err(Problem::TooMany(MAX_THREADS, "threads"))
            }
            Entry::Vacant(new) => {
                self.trace.threads += 1;
                Ok(*new.insert(next))
            }
        }
    }

    fn slot(&mut self) -> Result<u32, Problem> {
        if let Some(slot) = self.free_slots.pop() {
            return Ok(slot);
        }
        let slot = self.trace.slots;
        self.trace.slots = slot.checked_add(1).ok_or(Problem::TooMany(u32::MAX, "live objects"))?;
        Ok(slot)
    }

    fn alloc(&mut self, id: u64, request: Request) -> Result<Action, Problem> {
        if self.live.contains_key(&id) {
            return Err(Problem::Live(id));
        }
        let slot = self.slot()?;
        self.live.insert(id, Object { slot, align: request.align });
        Ok(Action::Alloc { slot, request })
    }

    fn free(&mut self, id: u64) -> Result<Object, Problem> {
        let object = self.live.remove(&id).ok_or(Problem::Unknown(id))?;
        self.free_slots.push(object.slot);
        Ok(object)
    }

    fn realloc(&mut self, id: u64, new: u64, size: usize) -> Result<Action, Problem> {
        let object = *self.live.get(&id).ok_or(Problem::Unknown(id))?;
        let request = Request { size, align: object.align };
        if id == new {
            return Ok(Action::Realloc { old: object.slot, new: object.slot, request });
        }
        if self.live.contains_key(&new) {
            return Err(Problem::Live(new));
        }
        let slot = self.slot()?;
        self.free(id)?;
        self.live.insert(new, Object { slot, align: object.align });
        Ok(Action::Realloc { old: object.slot, new: slot, request })
    }
}

fn size_of(size: u64) -> Result<usize, Problem> {
    usize::try_from(size).ok().filter(|s| *s <= isize::MAX as usize).ok_or(Problem::TooLarge(size))
}

fn align_of(align: u64) -> Result<usize, Problem> {
    let fits = usize::try_from(align).ok().filter(|a| a.is_power_of_two());
    fits.ok_or(Problem::BadAlignment(align))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn the_forms_of_a_line() {
        let text =
            "# a comment\n\n a 0x10 24\nt7 a 5 100 64 # why\nf 16\nr 5 6 200\nr 6 6 1\n\0\0\0";
        let trace = parse(text.as_bytes()).unwrap();
        assert_eq!((trace.threads, trace.slots), (2, 2));
        let op = |thread, action| Operation { thread, action };
        let ask = |size, align| Request { size, align };
        assert_eq!(
            trace.operations,
            [
                op(0, Action::Alloc { slot: 0, request: ask(24, 8) }),
                op(1, Action::Alloc { slot: 1, request: ask(100, 64) }),
                op(0, Action::Free { slot: 0 }),
                op(0, Action::Realloc { old: 1, new: 0, request: ask(200, 64) }),
                op(0, Action::Realloc { old: 0, new: 0, request: ask(1, 64) }),
            ]
        );
    }

    #[test]
    fn every_mistake_is_named_with_its_line() {
        for (text, want) in [
            ("f 1", "line 1: the ID 1 is not live"),
            ("a 1 8\nf 1\nf 1", "line 3: the ID 1 is not live"),
            ("a 1 8\n\na 1 8", "line 3: the ID 1 is live already"),
            ("r 1 2 8", "line 1: the ID 1 is not live"),
            ("a 1 8\na 2 8\nr 1 2 8", "line 3: the ID 2 is live already"),
            ("a", "line 1: ID is missing"),
            ("a 1", "line 1: SIZE is missing"),
            ("t1", "line 1: the operation is missing"),
            ("a 1 8 8 8", "line 1: `8` is one word too many"),
            ("a 1 x", "line 1: `x` is no SIZE"),
            ("a -1 8", "line 1: `-1` is no ID"),
            ("a +1 8", "line 1: `+1` is no ID"),
            ("tx a 1 8", "line 1: `x` is no thread"),
            ("a 18446744073709551616 8", "line 1: `18446744073709551616` is no ID"),
            ("a 1 9223372036854775808", "line 1: a size of 9223372036854775808 bytes"),
            ("a 1 8 12", "line 1: the alignment 12 is not a power of two"),
            ("a 1 8 0", "line 1: the alignment 0 is not a power of two"),
            ("x 1", "line 1: `x` is no operation"),
        ] {
            assert!(error(text).starts_with(want), "{text:?}: {}", error(text));
        }
        let error = parse(b"a 1 8\n\xff\n".as_slice()).unwrap_err().to_string();
        assert_eq!(error, "line 2: is not text");
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "([tarf0-9x# -]{0,12}\n){0,20}") {
            let _ = parse(text.as_bytes());
        }

        /// Every slot is free when it is taken and taken when it is freed.
        #[test]
        fn slots_are_used_by_one_object_at_a_time(steps in prop::collection::vec((0u8..3, 0u64..8), 0..200)) {
            let (mut text, mut live) = (String::new(), std::collections::BTreeSet::new());
            for (kind, id) in steps {
                match (kind, live.contains(&id)) {
                    (0, false) => { live.insert(id); text += &format!("a {id} 8\n"); }
                    (1, true) => { live.remove(&id); text += &format!("f {id}\n"); }
                    (2, true) => {
                        let new = id + 100;
                        text += &format!("r {id} {new} 9\nr {new} {id} 10\n");
                    }
                    _ => {}
                }
            }
            let trace = parse_as(text.as_bytes(), Format::Text).unwrap();
            let mut taken = vec![false; trace.slots as usize];
            for operation in &trace.operations {
                match operation.action {
                    Action::Alloc { slot, .. } => {
                        prop_assert!(!std::mem::replace(&mut taken[slot as usize], true));
                    }
                    Action::Free { slot } => {
                        prop_assert!(std::mem::replace(&mut taken[slot as usize], false));
                    }
                    Action::Realloc { old, new, .. } => {
                        prop_assert!(std::mem::replace(&mut taken[old as usize], false));
                        prop_assert!(!std::mem::replace(&mut taken[new as usize], true));
                    }
                }
            }
            prop_assert_eq!(taken.iter().filter(|t| **t).count(), live.len());
        }
    }
}
