//! The memory that a program holds over time, sampled from outside.
//!
//! Looking disturbs: these executions are apart from those whose time counts. Only the program's own
//! process is watched, not what it starts. The kernel's per-CPU counters make a look coarse by some
//! hundred KiB.

use anyhow::{Context, Result};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(1);
/// What was seen for less than this is no average.
const SHORTEST: Duration = Duration::from_millis(20);

/// What a program held.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Residency {
    /// Resident set averaged over time, in bytes.
    pub mean_rss: f64,
    /// Largest resident anonymous memory that was seen, in bytes: heap, stacks and written data.
    pub peak_anonymous: u64,
}

/// Runs `command` and watches it until it ends; a program that is too short is not seen.
///
/// # Errors
/// If it could not be run.
pub fn watch(command: &mut Command) -> Result<(ExitStatus, Option<Residency>)> {
    let mut child = command.spawn().context("cannot start the program")?;
    let status = format!("/proc/{}/status", child.id());
    let mut curve = Curve::default();
    let begin = Instant::now();
    let ended = loop {
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        let seen = std::fs::read_to_string(&status).ok().and_then(|text| parse(&text));
        if let Some((rss, anonymous)) = seen {
            curve.add(begin.elapsed(), rss, anonymous);
        }
        std::thread::sleep(INTERVAL);
    };
    Ok((ended, curve.finish(begin.elapsed())))
}

/// Resident and anonymous bytes from a process's status; none for one that has ended.
fn parse(status: &str) -> Option<(u64, u64)> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    };
    Some((field("VmRSS:")?, field("RssAnon:")?))
}

/// Looks so far; each holds until the next.
#[derive(Default)]
struct Curve {
    area: f64,
    begin: Option<Duration>,
    last: (Duration, u64),
    peak_anonymous: u64,
}

impl Curve {
    fn add(&mut self, at: Duration, rss: u64, anonymous: u64) {
        self.step(at);
        self.begin.get_or_insert(at);
        self.last = (at, rss);
        self.peak_anonymous = self.peak_anonymous.max(anonymous);
    }

    fn step(&mut self, to: Duration) {
        let (from, rss) = self.last;
        self.area += rss as f64 * to.saturating_sub(from).as_secs_f64();
    }

    fn finish(mut self, at: Duration) -> Option<Residency> {
        self.step(at);
        let time = at.saturating_sub(self.begin?);
        (time >= SHORTEST).then(|| Residency {
            mean_rss: self.area / time.as_secs_f64(),
            peak_anonymous: self.peak_anonymous,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_over_time() {
        let mut curve = Curve::default();
        let ms = Duration::from_millis;
        curve.add(ms(10), 100, 50);
        curve.add(ms(20), 400, 70);
        curve.add(ms(40), 100, 10);
        let got = curve.finish(ms(50)).unwrap();
        // 100 for 10 ms, 400 for 20 ms, 100 for 10 ms.
        assert!((got.mean_rss - 250.0).abs() < 1e-6, "{got:?}");
        assert_eq!(got.peak_anonymous, 70);
        assert_eq!(Curve::default().finish(ms(50)), None, "never seen");
        let mut short = Curve::default();
        short.add(ms(10), 100, 50);
        assert_eq!(short.finish(ms(29)), None);
    }

    #[test]
    fn a_status_is_read() {
        let status = "Name:\tx\nVmRSS:\t     100 kB\nRssAnon:\t      40 kB\n";
        assert_eq!(parse(status), Some((100 << 10, 40 << 10)));
        assert_eq!(parse("Name:\tx\nState:\tZ (zombie)\n"), None);
    }

    #[test]
    fn memory_that_a_program_holds_is_seen() {
        let program = "import time; held = b'x' * (64 << 20); time.sleep(0.3)";
        let (ended, got) = watch(Command::new("python3").args(["-c", program])).unwrap();
        assert!(ended.success());
        let got = got.unwrap();
        assert!(got.peak_anonymous >= 64 << 20, "{got:?}");
        assert!(got.mean_rss > 0.0, "{got:?}");
    }
}
