//! The `memento` command. See [`memento::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    memento::cli::main()
}
