//! What to run, and what one run cost.

use serde::{Deserialize, Serialize};
use std::ffi::OsString;

/// A program to run: arguments, the first of which is looked up in `PATH`, and changes to the
/// environment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Job {
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// Variables to set on top of the environment of the caller.
    pub environment: Vec<(OsString, OsString)>,
}

/// How a program ended. Exactly one of the two is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Exit {
    /// The code it returned.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

impl Exit {
    /// Whether the program returned 0.
    pub fn is_success(self) -> bool {
        self.code == Some(0)
    }
}

/// What one run cost, in the kernel's books.
///
/// Times, faults and switches are the program's own and those of all descendants that it waited
/// for. A descendant that outlives the program, or is never waited for, is in no book.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// How it ended.
    pub exit: Exit,
    /// From before it was started until it was seen to have ended.
    pub wall_ns: u64,
    /// CPU time in user mode.
    pub user_ns: u64,
    /// CPU time in the kernel.
    pub system_ns: u64,
    /// Page faults without input (`ru_minflt`); pages that were populated ahead count too.
    pub minor_faults: u64,
    /// Page faults with input.
    pub major_faults: u64,
    /// Largest resident set of any one process of the tree (`ru_maxrss`): not the sum of the tree.
    pub peak_rss_bytes: u64,
    /// Times a process gave the CPU up.
    pub voluntary_switches: u64,
    /// Times a process was taken off the CPU.
    pub involuntary_switches: u64,
}
