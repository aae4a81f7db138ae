//! `memento doctor`.

use crate::doctor;
use crate::report::Format;
use anyhow::{Context, Result};
use clap::Args;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// What `--help` says below the options.
pub(super) const HELP: &str = "\
Runs the program with a counting shared object and the dynamic loader's record of what it bound to what, and says \
whether memento serves it: which processes, how many allocations, which memory domains of Python and pages of V8; and \
what stands in the way, with what to do about it. The program's streams pass through.

Examples:
  memento doctor -- python3 app.py
  memento doctor --report json --output doctor.json -- node app.js

Exit codes:
  0    memento serves every process that was seen
  1    it does not, or something stands in the way
  125  memento itself failed; 126, 127 as of `memento run`";

#[derive(Args, Debug)]
pub(super) struct DoctorArgs {
    /// Form of the diagnosis
    #[arg(long, value_enum, default_value_t)]
    report: Format,
    /// Write the diagnosis to FILE instead of stderr
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The program and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    command: Vec<OsString>,
}

pub(super) fn run(args: DoctorArgs) -> Result<ExitCode> {
    let diagnosis = doctor::run(args.command)?;
    let text = match args.report {
        Format::Text => doctor::page(&diagnosis),
        Format::Json => {
            serde_json::to_string_pretty(&diagnosis).context("cannot make the document")? + "\n"
        }
    };
    match &args.output {
        None => {
            std::io::stderr().lock().write_all(text.as_bytes()).context("cannot write to stderr")?
        }
        Some(path) => std::fs::write(path, text)
            .with_context(|| format!("cannot write the diagnosis to {}", path.display()))?,
    }
    Ok(ExitCode::from(u8::from(!diagnosis.served)))
}
