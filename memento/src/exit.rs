//! How this command ends: as the program did, or with a code of its own.
//!
//! | code | meaning |
//! | --- | --- |
//! | the program's | the program ran and ended with it |
//! | 125 | memento itself failed |
//! | 126 | the program is there but cannot be executed |
//! | 127 | there is no such program |
//!
//! A program that a signal ended ends this command by the same signal, so that whoever started it
//! sees no difference; a shell shows 128 + its number.

use crate::engine::Exit;
use crate::engine::child::RunError;
use nix::sys::resource::{Resource, setrlimit};
use std::process::ExitCode;

/// Memento itself failed.
pub const OURS: u8 = 125;
/// The user interrupted a measurement; what a shell says of SIGINT.
pub const INTERRUPTED: u8 = 130;
/// The program cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// There is no such program.
pub const NOT_FOUND: u8 = 127;

/// The code for an error of a subcommand.
pub fn code_for(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<RunError>() {
        Some(RunError::NotFound { .. }) => NOT_FOUND,
        Some(RunError::NotExecutable { .. }) => NOT_EXECUTABLE,
        _ => OURS,
    }
}

/// Ends as the program did. Returns only if it returned.
pub fn like(exit: Exit) -> ExitCode {
    if let Some(signal) = exit.signal {
        // One core dump, the program's, is enough.
        let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
        let _ = signal_hook::low_level::emulate_default_handler(signal);
        // A signal that does not end us after all: what a shell would say.
        return ExitCode::from(u8::try_from(128 + signal).unwrap_or(OURS));
    }
    ExitCode::from(exit.code.and_then(|code| u8::try_from(code).ok()).unwrap_or(OURS))
}
