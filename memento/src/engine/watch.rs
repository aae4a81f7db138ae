//! A program watched from outside while it runs: the CPU time it has used and the memory it holds.
//!
//! Looking disturbs: these executions are apart from those whose time counts. What the program starts is looked at
//! with it (`tree`). The CPU time is the kernel's own clock of each process, exact at any moment; its
//! per-CPU counters make a look at memory coarse by some hundred KiB.

use super::child::refused;
use super::deadline;
use super::sample::Exit;
use super::tree::Tree;
use anyhow::{Context, Result};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Time between two looks, if nobody says otherwise.
pub const INTERVAL: Duration = Duration::from_millis(1);
/// What was seen for less than this is no average.
const SHORTEST_NS: u64 = 20_000_000;

/// One look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Look {
    /// Time since the program was started.
    pub at_ns: u64,
    /// CPU time that had been used by then, by all threads of it and of what it started.
    pub cpu_ns: u64,
    /// Resident set, of all of them.
    pub rss_bytes: u64,
    /// Anonymous memory of the program itself: heap, stacks and written data.
    pub anonymous_bytes: u64,
}

/// All looks of one execution, in order, and when it ended.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Curve {
    /// The looks; none if the program ended before the first.
    pub looks: Vec<Look>,
    /// When it ended, since it was started.
    pub wall_ns: u64,
    /// CPU time that it had used then.
    pub cpu_ns: u64,
}

impl Curve {
    /// Resident set averaged over time: each look holds until the next. None of a program that was too
    /// short to be seen.
    pub fn mean_rss(&self) -> Option<f64> {
        let begin = self.looks.first()?.at_ns;
        let time = self.wall_ns.saturating_sub(begin);
        let area: f64 = self
            .steps()
            .map(|(look, until)| look.rss_bytes as f64 * (until - look.at_ns) as f64)
            .sum();
        (time >= SHORTEST_NS).then(|| area / time as f64)
    }

    /// Each look with the time until which it holds.
    pub fn steps(&self) -> impl Iterator<Item = (&Look, u64)> {
        let ends = self.looks.iter().skip(1).map(|look| look.at_ns);
        self.looks
            .iter()
            .zip(ends.chain([self.wall_ns]))
            .map(|(look, end)| (look, end.max(look.at_ns)))
    }

    /// Largest resident set that was seen.
    pub fn peak_rss(&self) -> Option<u64> {
        self.looks.iter().map(|look| look.rss_bytes).max()
    }

    /// Largest anonymous memory that was seen; as [`Curve::mean_rss`], none if the program was too short.
    pub fn peak_anonymous(&self) -> Option<u64> {
        self.mean_rss()?;
        self.looks.iter().map(|look| look.anonymous_bytes).max()
    }
}

/// An execution that was watched.
#[derive(Clone, PartialEq, Debug)]
pub struct Watched {
    /// How it ended.
    pub exit: Exit,
    /// What was seen.
    pub curve: Curve,
    /// Whether it was stopped because it took too long.
    pub timed_out: bool,
    /// Whether its memory map named the object that was asked for; see [`watch`].
    pub mapped: bool,
}

/// How to watch.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// Time between two looks.
    pub interval: Duration,
    /// When the program is killed.
    pub limit: Option<Duration>,
    /// A file whose mapping into the program is looked for.
    pub object: Option<std::path::PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { interval: INTERVAL, limit: None, object: None }
    }
}

/// Runs `command` and watches it until it ends.
///
/// # Errors
/// If it could not be run.
pub fn watch(command: &mut Command, options: &Options) -> Result<Watched> {
    if options.limit.is_some() {
        deadline::adopt_orphans()?;
    }
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().map_err(|error| refused(&name, error))?;
    let begin = Instant::now();
    let pid = Pid::from_raw(i32::try_from(child.id()).context("a process id beyond the kernel's")?);
    let mut tree = Tree::new(pid);
    // The kernel names files without links and dots.
    let object = options.object.as_ref().map(|o| o.canonicalize().unwrap_or_else(|_| o.clone()));
    let mut curve = Curve::default();
    let (mut timed_out, mut mapped) = (false, false);
    let now = |begin: Instant| u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
    while !has_ended(pid)? {
        if let Some((cpu_ns, held)) = tree.look() {
            let (rss_bytes, anonymous_bytes) = (held.rss, held.anonymous);
            curve.looks.push(Look { at_ns: now(begin), cpu_ns, rss_bytes, anonymous_bytes });
        }
        if let Some(object) = object.as_deref().filter(|_| !mapped) {
            mapped = maps(pid, object);
        }
        if options.limit.is_some_and(|limit| begin.elapsed() > limit) {
            timed_out = true;
            deadline::kill_all(&mut child).context("cannot stop the program")?;
            break;
        }
        std::thread::sleep(options.interval);
    }
    curve.wall_ns = now(begin);
    let exit = reap(&mut child, &mut tree, &mut curve)?;
    Ok(Watched { exit, curve, timed_out, mapped })
}

/// Whether the process has ended. It stays a zombie, so that its clock can still be read.
fn has_ended(pid: Pid) -> Result<bool> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    let status = waitid(Id::Pid(pid), flags).context("cannot wait for the program")?;
    Ok(status != WaitStatus::StillAlive)
}

fn reap(child: &mut Child, tree: &mut Tree, curve: &mut Curve) -> Result<Exit> {
    let last = curve.looks.last().map_or(0, |look| look.cpu_ns);
    curve.cpu_ns = tree.used().max(last);
    let status = child.wait().context("cannot wait for the program")?;
    Ok(Exit { code: status.code(), signal: status.signal() })
}

/// Whether the memory map of `pid` names the file `object`, which is to be without links and dots.
pub fn maps(pid: Pid, object: &std::path::Path) -> bool {
    let Some(name) = object.to_str() else { return false };
    let text = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    text.lines().any(|line| line.ends_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(looks: &[(u64, u64, u64)], end_ms: u64) -> Curve {
        let look = |&(at_ms, rss_bytes, anonymous_bytes): &(u64, u64, u64)| Look {
            at_ns: at_ms * 1_000_000,
            cpu_ns: 0,
            rss_bytes,
            anonymous_bytes,
        };
        let looks = looks.iter().map(look).collect();
        Curve { looks, wall_ns: end_ms * 1_000_000, cpu_ns: 0 }
    }

    #[test]
    fn averages_are_over_time() {
        let seen = curve(&[(10, 100, 50), (20, 400, 70), (40, 100, 10)], 50);
        // 100 for 10 ms, 400 for 20 ms, 100 for 10 ms.
        assert!((seen.mean_rss().unwrap() - 250.0).abs() < 1e-6);
        assert_eq!((seen.peak_anonymous(), seen.peak_rss()), (Some(70), Some(400)));
        assert_eq!(curve(&[], 50).mean_rss(), None, "never seen");
        let short = curve(&[(10, 100, 50)], 29);
        assert_eq!((short.mean_rss(), short.peak_anonymous()), (None, None));
    }

    #[test]
    fn what_a_program_holds_and_uses_is_seen() {
        // It waits to be told to end, by a thread that runs whenever the watching does.
        let directory = tempfile::tempdir().unwrap();
        let [held, end] = ["held", "end"].map(|name| directory.path().join(name));
        let program = format!(
            "import os, time; held = b'x' * (64 << 20)\n\
             while time.process_time() < 0.2: pass\nopen('{}', 'w')\n\
             while not os.path.exists('{}'): time.sleep(0.01)",
            held.display(),
            end.display()
        );
        let options = Options { object: Some("/libc.so.6".into()), ..Options::default() };
        let mut command = Command::new("python3");
        command.args(["-c", &program]);
        let got = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !held.exists() {
                    std::thread::sleep(INTERVAL);
                }
                std::thread::sleep(300 * INTERVAL);
                std::fs::write(&end, "").unwrap();
            });
            watch(&mut command, &options).unwrap()
        });
        assert!(got.exit.is_success() && !got.timed_out && got.mapped, "{:?}", got.exit);
        assert!(got.curve.peak_anonymous().unwrap() >= 64 << 20);
        // Its own clock said 0.2 s; it cannot have used more than it ran.
        let used = got.curve.cpu_ns;
        assert!((200_000_000..=got.curve.wall_ns).contains(&used), "{used}");
        assert!(got.curve.looks.is_sorted_by_key(|look| (look.at_ns, look.cpu_ns)));
    }

    #[test]
    fn what_a_program_starts_is_seen_with_it() {
        // The shell holds little and does nothing; who does is gone when it ends.
        let held = "import time; held = b'x' * (64 << 20)\nwhile time.process_time() < 0.2: pass";
        let mut command = Command::new("sh");
        command.args(["-c", "python3 -c \"$0\"; true", held]);
        let got = watch(&mut command, &Options::default()).unwrap();
        assert!(got.exit.is_success(), "{:?}", got.exit);
        assert!(got.curve.cpu_ns >= 200_000_000, "{}", got.curve.cpu_ns);
        assert!(got.curve.peak_rss().unwrap() >= 64 << 20);
        assert!(got.curve.peak_anonymous().unwrap() < 64 << 20, "the shell's own");
        assert!(got.curve.looks.is_sorted_by_key(|look| (look.at_ns, look.cpu_ns)));
    }

    #[test]
    fn a_program_that_hangs_is_stopped() {
        let options = Options { limit: Some(Duration::from_millis(50)), ..Options::default() };
        let got = watch(Command::new("sleep").arg("1000"), &options).unwrap();
        assert!(got.timed_out && got.exit.signal == Some(9), "{:?}", got.exit);
    }
}
