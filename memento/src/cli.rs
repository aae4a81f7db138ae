//! The command line. Subcommands with many options have a module each.

use crate::engine::{Job, isolated};
use crate::env::Runtime;
use crate::exit;
use crate::hal::HalName;
use crate::report::{Destination, Format, Report};
use crate::{calibrate, env, record, replay, run, trace};
use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

mod bench;
mod bill;
mod doctor;
mod papers;
mod profile;
mod project;
mod warm;

/// Memory management for functions that live for milliseconds.
#[derive(Parser, Debug)]
#[command(name = "memento", version, propagate_version = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  memento run -- python3 app.py                   what the program asks of its allocator
  memento run --hal emu -- python3 app.py         the same on the emulated hardware, with cycles
  memento run --report json --output r.json -- ./app
  memento run --report none -- ./app              only run it: no counting, nothing printed
  env $(memento env c) ./app                      without this command in between
  memento doctor -- ./app                         is it served, and if not, why?
  memento record -o app.trace -- ./app            keep its operations …
  memento replay --hal emu app.trace              … and replay them on the emulated hardware
  memento bench                                   functions under memento and other allocators
  memento bench --export page.html -- ./app       the same for a program of your own
  memento profile -- ./app                        what it asks of its allocator, and what that costs
  memento project -- ./app                        what the hardware would do for it: an estimate
  memento bill -- ./app                           what it costs, without and with memento

Exit codes:
  the program's own; a signal that ended it ends memento too
  125  memento itself failed
  126  the program cannot be executed
  127  there is no such program";

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a program on memento and report what it did
    #[command(after_help = "\
The program's streams, exit code and signals pass through. The report says what the program and the \
processes it waited for cost, and counts the allocations of every process that loaded the shared \
object. Counting slows allocation down: use --report none, or `memento env`, for speed.

Examples:
  memento run -- ./app --its-own-option
  memento run --hal emu --conf slow-memory.toml -- ./app
  memento run --report json --output report.json -- ./app")]
    Run(RunArgs),
    /// Say whether memento serves a program, and what stands in the way
    #[command(after_help = doctor::HELP)]
    Doctor(doctor::DoctorArgs),
    /// Print the variables that put a program on memento, as NAME=value lines
    #[command(after_help = "\
Examples:
  env $(memento env python) python3 app.py
  memento env c >> app.env          for a service file's EnvironmentFile= or docker's --env-file")]
    Env(EnvArgs),
    /// Replay a trace of allocations
    #[command(after_help = "\
A trace is what `record` wrote, or a text, one operation a line: `a ID SIZE [ALIGN]`, `f ID`, `r ID NEWID SIZE`, with `tN` in front for thread \
N; `#` starts a comment. With --hal emu the report counts the trace alone and is the same every time.

Examples:
  memento replay --hal emu app.trace
  memento replay --allocator jemalloc app.trace       by a process's malloc, in one thread; any name of `bench`
  printf 'a 1 24\\nf 1\\n' | memento replay --hal emu -")]
    Replay(ReplayArgs),
    /// Run a program and write a trace that `replay` reads
    #[command(after_help = "\
The trace is of what the program became by exec; those of its other processes and images go beside it, with \
.<pid>-<n> appended.

Examples:
  memento record -o app.trace -- ./app
  memento record --format text -o app.txt -- ./app      one operation a line")]
    Record(RecordArgs),
    /// Compare allocators on a program, or on the functions that come with the command
    #[command(after_help = bench::HELP)]
    Bench(bench::BenchArgs),
    /// Price a program's runs without and with memento, as providers bill and as they could
    #[command(after_help = bill::HELP)]
    Bill(bill::BillArgs),
    /// Say what a program asks of its allocator: sizes, lifetimes, threads, time
    #[command(after_help = profile::HELP)]
    Profile(profile::ProfileArgs),
    /// Estimate what the hardware would do for a program, or for the suite's functions
    #[command(after_help = project::HELP)]
    Project(project::ProjectArgs),
    /// Print a script that completes this command's words in a shell
    #[command(after_help = papers::COMPLETIONS_HELP)]
    Completions(papers::CompletionsArgs),
    /// Print this command's man page
    Man(papers::ManArgs),
    /// Replay a trace through this process's malloc and write what it cost
    #[command(name = replay::preloaded::SUBCOMMAND, hide = true)]
    ReplayHere(ReplayHereArgs),
    /// Measure what memory management costs in this process
    #[command(name = calibrate::SUBCOMMAND, hide = true)]
    Calibrate,
    /// Run a program from a tiny process and write its costs
    #[command(name = isolated::SUBCOMMAND, hide = true)]
    Measure(MeasureArgs),
}

#[derive(Args, Debug)]
struct RunArgs {
    /// What serves the small objects
    #[arg(long, value_enum, default_value_t)]
    hal: HalName,
    /// Form of the report
    #[arg(long, value_enum, default_value_t = ReportChoice::Text)]
    report: ReportChoice,
    /// Write the report to FILE instead of stderr
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The emulator's parameters, section [emulator] of a TOML file
    #[arg(long, value_name = "FILE")]
    conf: Option<PathBuf>,
    /// The program and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    command: Vec<OsString>,
}

/// `--report` of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum ReportChoice {
    /// A page for people
    Text,
    /// The document memento.report/1
    Json,
    /// No report and no counting: for speed
    None,
}

#[derive(Args, Debug)]
struct EnvArgs {
    /// What is to be run
    #[arg(value_enum)]
    runtime: Runtime,
    /// What serves the small objects
    #[arg(long, value_enum, default_value_t)]
    hal: HalName,
}

#[derive(Args, Debug)]
struct ReplayArgs {
    /// What serves the small objects
    #[arg(long, value_enum, default_value_t)]
    hal: HalName,
    /// Replay on another allocator: one that `bench` knows (stock, memento, jemalloc, …), or a shared object to preload
    #[arg(long, value_name = "NAME|NAME=FILE", conflicts_with_all = ["hal", "conf"])]
    allocator: Option<String>,
    /// Form of the trace
    #[arg(long, value_enum, default_value_t)]
    format: trace::Format,
    /// Form of the report
    #[arg(long, value_enum, default_value_t)]
    report: Format,
    /// Write the report to FILE instead of stderr
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The emulator's parameters, section [emulator] of a TOML file
    #[arg(long, value_name = "FILE")]
    conf: Option<PathBuf>,
    /// The trace; `-` is stdin
    #[arg(value_name = "TRACE")]
    trace: PathBuf,
}

#[derive(Args, Debug)]
struct RecordArgs {
    /// File for the trace
    #[arg(long, short, value_name = "TRACE")]
    output: PathBuf,
    /// Form of the trace
    #[arg(long, value_enum, default_value_t)]
    format: record::Form,
    /// The program and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    command: Vec<OsString>,
}

#[derive(Args, Debug)]
struct ReplayHereArgs {
    #[arg(long, value_enum, default_value_t)]
    format: trace::Format,
    #[arg(long)]
    object: Option<PathBuf>,
    #[arg(long)]
    output: PathBuf,
    trace: PathBuf,
}

#[derive(Args, Debug)]
struct MeasureArgs {
    #[arg(long)]
    output: PathBuf,
    #[arg(long)]
    limit: Option<f64>,
    #[arg(long)]
    set: Vec<OsString>,
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Reads the command line and obeys it.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no failure; a mistake on the command line is ours.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(exit::OURS) } else { ExitCode::SUCCESS };
        }
    };
    match cli.command.obey() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("memento: {error:#}");
            ExitCode::from(exit::code_for(&error))
        }
    }
}

impl Command {
    fn obey(self) -> Result<ExitCode> {
        match self {
            Self::Run(args) => run(args),
            Self::Env(args) => {
                env::run(args.runtime, args.hal, &mut std::io::stdout().lock())?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Replay(args) => {
                let to = Destination::open(args.output.as_deref(), args.report)?;
                to.write(&replayed(&args)?)?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Record(args) => {
                let (exit, written) = record::run(args.command, &args.output, args.format)?;
                Ok(end(exit, written))
            }
            Self::Bench(args) => bench::run(args),
            Self::Bill(args) => bill::run(args),
            Self::Doctor(args) => doctor::run(args),
            Self::Profile(args) => profile::run(args),
            Self::Project(args) => project::run(args),
            Self::Completions(args) => papers::completions(&args),
            Self::Man(args) => papers::man(&args),
            Self::ReplayHere(args) => {
                let ReplayHereArgs { format, object, output, trace } = args;
                replay::preloaded::child(&trace, format, object.as_deref(), &output)?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Calibrate => {
                println!("{}", serde_json::to_string(&calibrate::Costs::measure()?)?);
                Ok(ExitCode::SUCCESS)
            }
            Self::Measure(args) => {
                let environment = args.set.iter().map(assignment).collect::<Result<_>>()?;
                let job = Job { command: args.command, environment };
                let limit = args.limit.and_then(|s| Duration::try_from_secs_f64(s).ok());
                isolated::measure(&job, limit, &args.output)?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn replayed(args: &ReplayArgs) -> Result<Report> {
    let Some(text) = &args.allocator else {
        return replay::run(&args.trace, args.format, args.hal, args.conf.as_deref());
    };
    // As `bench --allocator NAME=FILE --only NAME` has them.
    let (name, named) = match text.split_once('=') {
        Some((name, _)) => (name, std::slice::from_ref(text)),
        None => (text.as_str(), &[][..]),
    };
    let allocators = bench::allocators(&[name.to_owned()], named)?;
    let allocator = allocators.first().context("no allocator")?;
    replay::preloaded::run(&args.trace, args.format, allocator)
}

fn run(args: RunArgs) -> Result<ExitCode> {
    let options = run::Options { hal: args.hal, conf: args.conf, command: args.command };
    let format = match args.report {
        ReportChoice::None => return Ok(exit::like(run::plain(&options)?)),
        ReportChoice::Text => Format::Text,
        ReportChoice::Json => Format::Json,
    };
    let to = Destination::open(args.output.as_deref(), format)?;
    let (exit, written) = run::reported(&options, to)?;
    Ok(end(exit, written))
}

/// Says why workloads were left out, where no table does.
fn say_skipped<'a>(workloads: impl Iterator<Item = (&'a String, &'a Option<String>)>) {
    for (name, why) in workloads {
        if let Some(why) = why {
            eprintln!("memento: {name}: {why}");
        }
    }
}

/// Ends as the program did. If what it was run for could not be written that is said, and a
/// program that succeeded does not hide it.
fn end(exit: crate::engine::Exit, written: Result<()>) -> ExitCode {
    if let Err(error) = written {
        eprintln!("memento: {error:#}");
        if exit.is_success() {
            return ExitCode::from(exit::OURS);
        }
    }
    exit::like(exit)
}

fn assignment(text: &OsString) -> Result<(OsString, OsString)> {
    let bytes = text.as_bytes();
    let at = bytes.iter().position(|b| *b == b'=').context("a variable is set as NAME=value")?;
    let part = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    Ok((part(&bytes[..at]), part(&bytes[at + 1..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn options_after_the_program_are_its_own() {
        let words = ["memento", "run", "--hal", "emu", "--", "prog", "--report", "x"];
        let Command::Run(args) = Cli::try_parse_from(words).unwrap().command else { panic!() };
        assert_eq!(args.command, ["prog", "--report", "x"]);
        assert_eq!((args.hal, args.report), (HalName::Emu, ReportChoice::Text));
    }
}
