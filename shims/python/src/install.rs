//! Gives the domains to memento, before the interpreter runs.
//!
//! Why a function that the loader calls is early enough, and survives what CPython does later, on
//! every version: DESIGN.md, "Python".

use crate::HEAP;
use crate::arenas;
use crate::domains::{COUNTED, SERVED};
use crate::environment::Environment;
use crate::interpreter::{Allocator, ArenaAllocator, Domain, Found, Interpreter};
use crate::launch::{Choice, choice};
use core::cell::UnsafeCell;
use core::ffi::c_char;
use memento_hal::soft::PagePolicy;
use memento_shim_abi::memento_alloc::conf;
use memento_shim_abi::runtime::c_int;

/// What was found and done when the object was loaded.
#[derive(Clone, Copy)]
pub(crate) struct Outcome {
    /// The interpreter, where there is one that could be served.
    pub interpreter: Option<Interpreter>,
    /// Why the domains are not memento's; `None` if they are, or if there is no interpreter.
    pub reason: Option<&'static str>,
    /// Whether what the domains hand out is counted.
    pub counted: bool,
    /// How CPython served both domains before.
    pub before: Allocator,
    /// Who provided its allocator with arenas before memento did, if memento does.
    pub arenas_before: Option<ArenaAllocator>,
}

struct AtLoad(UnsafeCell<Outcome>);
// SAFETY: written once, by the function that the loader calls when the process has one thread.
unsafe impl Sync for AtLoad {}

static OUTCOME: AtLoad = AtLoad(UnsafeCell::new(Outcome {
    interpreter: None,
    reason: None,
    counted: false,
    before: SERVED,
    arenas_before: None,
}));

/// What was found and done.
pub(crate) fn outcome() -> &'static Outcome {
    // SAFETY: see `AtLoad`: whoever asks, asks after it was written, or gets what it starts with.
    unsafe { &*OUTCOME.0.get() }
}

/// Who served the domains before, and takes what is not memento's.
pub(crate) fn before() -> Allocator {
    outcome().before
}

/// Who provided arenas before memento did, if memento does.
pub(crate) fn arenas_before() -> Option<ArenaAllocator> {
    outcome().arenas_before
}

/// What backs an interpreter's memory. Threads of Python take turns, so that what all of them keep of a burst is many
/// times what one works with: a server with a thread for each of 8 connections held 1.7 times stock's for ever after,
/// by heaps of 2.5 MiB.
const PAGES: PagePolicy = PagePolicy { kept: 4 << 20, ..PagePolicy::DEFAULT };
/// The same at its start: it touches most of its first 2 MiB before it runs a script.
const AT_START: PagePolicy = PagePolicy { huge_from: 0, ..PAGES };

/// The one function that the loader calls. It must not allocate more than it has to: the process may
/// be none of Python's.
unsafe extern "C" fn at_load(
    count: c_int,
    arguments: *const *const c_char,
    variables: *const *const c_char,
) {
    let found = Interpreter::find();
    if matches!(found, Found::Nothing) {
        return;
    }
    // SAFETY: the C library's arguments to functions of this kind.
    let environment = unsafe { Environment::new(count, arguments, variables) };
    let mut outcome = *outcome();
    match found {
        Found::Nothing => {}
        Found::Unfit(reason) => {
            say(reason);
            outcome.reason = Some(reason);
        }
        Found::Fit(interpreter) => {
            outcome.interpreter = Some(interpreter);
            outcome.counted = conf::flag("python_count");
            outcome.reason = install(interpreter, environment, &mut outcome);
        }
    }
    // SAFETY: see `AtLoad`.
    unsafe { *OUTCOME.0.get() = outcome };
}

/// The loader's list of functions to call.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char) = at_load;

/// Gives the domains to memento; or the reason why not, which is also said on stderr where somebody
/// might wonder.
fn install(
    interpreter: Interpreter,
    environment: Environment,
    outcome: &mut Outcome,
) -> Option<&'static str> {
    let (mem, obj) = (interpreter.allocator(Domain::Mem), interpreter.allocator(Domain::Obj));
    let reason = match choice(environment) {
        Choice::Malloc => return Some("PYTHONMALLOC"),
        Choice::Own(how) => how,
        // As CPython starts: one allocator for both domains, without a context. A debug build has
        // its checks there.
        Choice::None if mem != obj || !mem.context.is_null() => {
            "a debug build, or another allocator"
        }
        Choice::None => {
            outcome.before = mem;
            if conf::flag("python_arenas") {
                // SAFETY: `arenas` keeps the contract, and knows who provided before.
                outcome.arenas_before = unsafe { interpreter.provide(arenas::SERVED) };
                if outcome.arenas_before.is_some() {
                    // The heap holds the minor part, of which nothing is known.
                    HEAP.begin(PAGES, PAGES);
                    return None;
                }
            }
            HEAP.begin(AT_START, PAGES);
            let served = if outcome.counted { COUNTED } else { SERVED };
            // SAFETY: `domains` keeps the contract, and knows who served before.
            unsafe {
                interpreter.serve(Domain::Mem, served);
                interpreter.serve(Domain::Obj, served);
            }
            return None;
        }
    };
    say(reason);
    Some(reason)
}

/// One line on stderr, in one piece, unless `MEMENTO_CONF` has `python_quiet:1`.
fn say(reason: &str) {
    if !conf::flag("python_quiet") {
        conf::say(&[
            b"memento: Python's memory domains are left alone (",
            reason.as_bytes(),
            b"); malloc is served",
        ]);
    }
}
