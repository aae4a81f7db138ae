//! A time limit for a program, and the end of all that it has started.
//!
//! This process becomes the parent of whatever the program's processes leave behind, so that none
//! escapes by losing its own parent; see `PR_SET_CHILD_SUBREAPER` in prctl(2).

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, alarm};
use std::io;
use std::process::Child;
use std::time::Duration;

/// Makes this process the parent of processes that lose theirs.
pub(super) fn adopt_orphans() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// Has `SIGALRM` sent to this process when `limit` has passed, rounded up to seconds.
pub(super) fn set(limit: Duration) -> io::Result<()> {
    adopt_orphans()?;
    let seconds = limit.as_secs() + u64::from(limit.subsec_nanos() > 0);
    alarm::set(u32::try_from(seconds.max(1)).unwrap_or(u32::MAX));
    Ok(())
}

/// Kills `child`, and then, again and again, whoever becomes a child of this thread by that.
pub(super) fn kill_all(child: &mut Child) -> io::Result<()> {
    child.kill()?;
    child.wait()?;
    loop {
        let left = children()?;
        if left.is_empty() {
            return Ok(());
        }
        for pid in left {
            let _ = kill(pid, Signal::SIGKILL);
            let _ = nix::sys::wait::waitpid(pid, None);
        }
    }
}

fn children() -> io::Result<Vec<Pid>> {
    let text = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    Ok(text
        .split_ascii_whitespace()
        .filter_map(|word| word.parse().ok())
        .map(Pid::from_raw)
        .collect())
}
