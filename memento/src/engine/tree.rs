//! A program and what it starts, looked at from outside: their CPU time and their memory.
//!
//! Processes come and go. What one has used is kept when it has ended; what ended unseen between two looks is in the
//! books of its parent, coarse by the kernel's ticks. Pages that processes share count for each of them; but what has
//! forked and holds as much as its parent, as between `vfork` and `exec`, is taken to share all of it.

use nix::time::ClockId;
use nix::unistd::{Pid, SysconfVar, sysconf};
use std::collections::{BTreeMap, BTreeSet};

/// Memory, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Memory {
    /// Resident set.
    pub rss: u64,
    /// Of it anonymous memory.
    pub anonymous: u64,
}

impl Memory {
    /// Whether they differ by little: a process goes on between looks at it and at another.
    fn is_much_like(self, other: Self) -> bool {
        self.rss.abs_diff(other.rss) <= other.rss / 32
    }
}

/// What is known of the process that started another.
#[derive(Clone, Copy)]
struct Parent {
    image: Option<u64>,
    held: Memory,
}

/// A program with everything that it has started.
pub(super) struct Tree {
    root: Pid,
    /// Nanoseconds of CPU of everyone seen so far.
    used: BTreeMap<Pid, u64>,
    /// Who was there at the last look: they are followed when they lose their parents.
    there: BTreeSet<Pid>,
}

impl Tree {
    pub fn new(root: Pid) -> Self {
        Self { root, used: BTreeMap::new(), there: BTreeSet::new() }
    }

    /// What all have used, in nanoseconds, and what they hold, of anonymous memory the program alone; none once the
    /// program itself has ended.
    pub fn look(&mut self) -> Option<(u64, Memory)> {
        let mut left: Vec<(Pid, Option<Parent>)> = self.there.iter().map(|&p| (p, None)).collect();
        left.push((self.root, None));
        let (mut sum, mut is_alive) = (Memory::default(), false);
        self.there.clear();
        while let Some((pid, parent)) = left.pop() {
            // First: what executes something in between is small, not twice as large.
            let image = image(pid);
            let Some(held) = memory(pid).filter(|_| self.there.insert(pid)) else { continue };
            if pid == self.root {
                (is_alive, sum.anonymous) = (true, held.anonymous);
            }
            let is_in =
                |p: Parent| image.is_some() && image == p.image && held.is_much_like(p.held);
            if !parent.is_some_and(is_in) {
                sum.rss += held.rss;
            }
            self.used.extend(used(pid).map(|ns| (pid, ns)));
            left.extend(
                children(pid).into_iter().map(|child| (child, Some(Parent { image, held }))),
            );
        }
        is_alive.then(|| (self.used.values().sum(), sum))
    }

    /// What all have used, in nanoseconds, when the program has ended but is not yet waited for.
    pub fn used(&mut self) -> u64 {
        let own = used(self.root);
        self.used.extend(own.map(|ns| (self.root, ns)));
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.root));
        let ticks = stat.ok().and_then(|stat| of_children(&stat)).unwrap_or(0);
        let second = sysconf(SysconfVar::CLK_TCK).ok().flatten();
        let second = second.and_then(|n| u64::try_from(n).ok()).unwrap_or(100);
        let seen: u64 = self.used.values().sum();
        seen.max(own.unwrap_or(0) + ticks * (1_000_000_000 / second))
    }
}

fn used(pid: Pid) -> Option<u64> {
    let time = ClockId::pid_cpu_clock_id(pid).ok()?.now().ok()?;
    let seconds = u64::try_from(time.tv_sec()).ok()?;
    Some(seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).ok()?)
}

/// Children of all threads; none where the kernel does not say.
fn children(pid: Pid) -> Vec<Pid> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = threads.flatten().filter_map(|thread| {
        std::fs::read_to_string(thread.path().join("children")).ok().filter(|list| !list.is_empty())
    });
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|p| p.parse().ok()).collect::<Vec<_>>())
        .map(Pid::from_raw)
        .collect()
}

/// None for one that has ended.
fn memory(pid: Pid) -> Option<Memory> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn parse(status: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    };
    Some(Memory { rss: field("VmRSS:")?, anonymous: field("RssAnon:")? })
}

/// What two processes have in common if one was forked from the other and has not executed anything since.
fn image(pid: Pid) -> Option<u64> {
    of_stack(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Where the stack begins, which is random and changes with `exec`: `startstack` of proc_pid_stat(5). None if the
/// kernel does not say.
fn of_stack(stat: &str) -> Option<u64> {
    field(stat, 28)?.parse().ok().filter(|&stack| stack != 0)
}

/// A field of proc_pid_stat(5), from the third on: what follows the name, which may contain anything.
fn field(stat: &str, number: usize) -> Option<&str> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(number - 3)
}

/// Ticks of the children that were waited for, program and kernel: `cutime` and `cstime` of proc_pid_stat(5).
fn of_children(stat: &str) -> Option<u64> {
    Some(field(stat, 16)?.parse::<u64>().ok()? + field(stat, 17)?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufRead;

    #[test]
    fn a_status_is_read() {
        let status = "Name:\tx\nVmRSS:\t     100 kB\nRssAnon:\t      40 kB\n";
        assert_eq!(parse(status), Some(Memory { rss: 100 << 10, anonymous: 40 << 10 }));
        assert_eq!(parse("Name:\tx\nState:\tZ (zombie)\n"), None);
    }

    #[test]
    fn the_books_of_children_are_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 200 0 0 11 12 13 14 20 0 1 0 99 1 2 3 4 5 77";
        assert_eq!(of_children(stat), Some(27));
        assert_eq!(of_children("7 (x) S 1"), None);
        assert_eq!((of_stack(stat), of_stack("7 (x) S 1")), (Some(77), None));
    }

    #[test]
    fn a_fork_has_its_parents_image_and_a_program_its_own() {
        // All wait for the end of the shell's input.
        let script =
            "exec 3<&0; (read -u 3; :) & echo $!; sleep 1000 & echo $!; read -u 3; kill $!";
        let mut command = std::process::Command::new("bash");
        command.args(["-c", script]);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut shell = command.spawn().unwrap();
        let mut lines = std::io::BufReader::new(shell.stdout.take().unwrap()).lines();
        let mut next = || Pid::from_raw(lines.next().unwrap().unwrap().parse().unwrap());
        let (copy, other) = (next(), next());
        let parent = Pid::from_raw(shell.id().try_into().unwrap());
        // It is the shell's copy, too, until it has executed what it is to be.
        while memory(other).is_none() || image(other) == image(parent) {
            std::thread::yield_now();
        }
        assert!(image(copy).is_some() && image(copy) == image(parent));
        assert_eq!(children(parent), [copy, other]);
        drop(shell.stdin.take());
        shell.wait().unwrap();
    }
}
