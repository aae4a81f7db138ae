//! Runs one program in the foreground: its streams, terminal and signals are as if this process
//! were not there.
//!
//! # Signals
//! The program stays in our process group, so the terminal's own signals (Ctrl-C, Ctrl-\, Ctrl-Z,
//! hang-up of the line) reach it directly, and job control works as ever. What another process
//! sends to *us* is passed on. While the program runs those signals do nothing else to us, so that
//! the program decides what they mean, and the report is still written. A signal sent to the whole
//! group arrives twice.
//!
//! They are caught, not blocked: the program inherits what is blocked, but starts with the default
//! action for what is caught. What we were told to ignore (`nohup`) is not caught, so that the
//! program ignores it too.
//!
//! # Accounting
//! `getrusage(RUSAGE_CHILDREN)` covers all children that a process has waited for: this process
//! must have one only. [`run`] checks that, and is meant for a process that does nothing else; see
//! [`super::isolated`].
//!
//! The peak resident set has a floor. A process's books begin when it is forked and survive `exec`,
//! so what the fork maps counts as if the program had used it. `posix_spawn` shares the spawner's
//! memory until `exec` and would count all of it; a true fork copies page tables for private data
//! only. [`run`] therefore makes the standard library fork, and with the little that this command
//! holds the floor (about 1 MiB) lies below what any dynamically linked program needs.

use super::deadline;
use super::sample::{Exit, Job, Sample};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeVal;
use nix::unistd::{Pid, getegid};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// Signals that are passed on.
const FORWARDED: [Signal; 6] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// A run that has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    /// The program's process id.
    pub pid: u32,
    /// What it cost.
    pub sample: Sample,
}

/// Why a program could not be run.
#[derive(thiserror::Error, Debug)]
pub enum RunError {
    /// There is no such program.
    #[error("{program}: no such program")]
    NotFound {
        /// The name looked for.
        program: String,
    },
    /// It is there, but the kernel will not execute it.
    #[error("{program}: cannot be executed")]
    NotExecutable {
        /// The program.
        program: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The job has no program.
    #[error("no program to run")]
    Empty,
    /// It took longer than it may.
    #[error("{program}: stopped after {} s, the time limit", .limit.as_secs_f64())]
    TimedOut {
        /// The program.
        program: String,
        /// How long it may take.
        limit: Duration,
    },
    /// Starting or watching it failed for reasons of our own.
    #[error("cannot run the program")]
    System(#[from] io::Error),
}

/// Runs `job` to its end and accounts for it.
///
/// # Errors
/// [`RunError`] if the program was not started, or this process has waited for a child before.
pub fn run(job: &Job) -> Result<Ended, RunError> {
    run_within(job, None)
}

/// Runs `job` to its end, or until `limit` has passed: then it is killed with everything that it has
/// started. Accounts for it.
///
/// # Errors
/// As [`run`]; [`RunError::TimedOut`] if it was killed.
pub fn run_within(job: &Job, limit: Option<Duration>) -> Result<Ended, RunError> {
    let (program, arguments) = job.command.split_first().ok_or(RunError::Empty)?;
    let before = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(io::Error::from)?;
    if before.max_rss() != 0 {
        let text = "this process has had a child before, whose costs would be counted too";
        return Err(RunError::System(io::Error::other(text)));
    }
    let mut command = Command::new(program);
    command.args(arguments);
    command.envs(job.environment.iter().map(|(name, value)| (name, value)));
    // Asking for the group that we are in anyway makes the standard library fork.
    command.gid(getegid().as_raw());

    let mut inbox = inbox(limit.is_some())?;
    if let Some(limit) = limit {
        deadline::set(limit)?;
    }
    let name = program.to_string_lossy();
    let (pid, wall_ns, status) = match watch(&mut command, &mut inbox, &name)? {
        Outcome::Ended(pid, wall_ns, status) => (pid, wall_ns, status),
        Outcome::OutOfTime => {
            let program = name.into_owned();
            return Err(RunError::TimedOut { program, limit: limit.unwrap_or_default() });
        }
    };
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(io::Error::from)?;
    Ok(Ended { pid, sample: sample(status, wall_ns, &usage) })
}

/// Begins to catch the signals that are passed on, the one that says that a child has ended, and the
/// alarm if there is to be one.
fn inbox(with_alarm: bool) -> io::Result<SignalsInfo<WithOrigin>> {
    let ignored = ignored_signals()?;
    let is_heeded = |signal: &Signal| ignored & (1 << (*signal as i32 - 1)) == 0;
    let mut signals: Vec<i32> =
        FORWARDED.into_iter().filter(is_heeded).map(|signal| signal as i32).collect();
    signals.push(Signal::SIGCHLD as i32);
    if with_alarm {
        signals.push(Signal::SIGALRM as i32);
    }
    SignalsInfo::new(signals)
}

/// The set of signals that this process ignores: bit *n* − 1 for signal *n*.
fn ignored_signals() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .ok_or_else(|| io::Error::other("the kernel does not say which signals are ignored"))
}

/// How waiting ended.
enum Outcome {
    /// Process id, time from start to end, and how it ended.
    Ended(u32, u64, ExitStatus),
    /// The alarm came first; everything that was started has been killed.
    OutOfTime,
}

/// Starts the program and waits for its end, passing signals on.
fn watch(
    command: &mut Command,
    inbox: &mut SignalsInfo<WithOrigin>,
    program: &str,
) -> Result<Outcome, RunError> {
    let start = Instant::now();
    let mut child = command.spawn().map_err(|source| refused(program, source))?;
    let pid = child.id();
    loop {
        if let Some(status) = child.try_wait()? {
            let wall = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            return Ok(Outcome::Ended(pid, wall, status));
        }
        for origin in inbox.wait() {
            if origin.signal == Signal::SIGALRM as i32 {
                deadline::kill_all(&mut child)?;
                return Ok(Outcome::OutOfTime);
            }
            pass_on(&child, &origin);
        }
    }
}

/// Sends a signal on to the child, unless the kernel sent it: then the terminal did, to both.
fn pass_on(child: &Child, origin: &Origin) {
    if let (Ok(signal), Ok(pid)) = (Signal::try_from(origin.signal), i32::try_from(child.id()))
        && signal != Signal::SIGCHLD
        && !matches!(origin.cause, Cause::Kernel)
    {
        // The child has not been waited for, so the id is still its own; it may have ended, and
        // then nobody misses the signal.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

pub(super) fn refused(program: &str, source: io::Error) -> RunError {
    let program = program.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => RunError::NotFound { program },
        io::ErrorKind::PermissionDenied | io::ErrorKind::IsADirectory => {
            RunError::NotExecutable { program, source }
        }
        _ if source.raw_os_error() == Some(nix::libc::ENOEXEC) => {
            RunError::NotExecutable { program, source }
        }
        _ => RunError::System(source),
    }
}

fn sample(status: ExitStatus, wall_ns: u64, usage: &Usage) -> Sample {
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    Sample {
        exit: Exit { code: status.code(), signal: status.signal() },
        wall_ns,
        user_ns: nanoseconds(usage.user_time()),
        system_ns: nanoseconds(usage.system_time()),
        minor_faults: count(usage.minor_page_faults()),
        major_faults: count(usage.major_page_faults()),
        // Linux counts it in KiB.
        peak_rss_bytes: count(usage.max_rss()) * 1024,
        voluntary_switches: count(usage.voluntary_context_switches()),
        involuntary_switches: count(usage.involuntary_context_switches()),
    }
}

fn nanoseconds(time: TimeVal) -> u64 {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_usec()).unwrap_or(0) * 1000
}
