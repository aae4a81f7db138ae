//! Running a program to its end and keeping what it said.

use std::fmt;
use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How a program ended, and all that it wrote.
#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Exit code, if it exited.
    pub code: Option<i32>,
    /// Signal that killed it, if one did.
    pub signal: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "exit code {:?}, signal {:?}", self.code, self.signal)?;
        writeln!(f, "--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr)
    }
}

/// A program that runs this long hangs. No test depends on the value; it is far beyond what the
/// slowest program needs on a loaded machine.
const HANG: Duration = Duration::from_secs(180);

/// Runs `command` in a process group of its own, with no standard input, to its end.
///
/// # Panics
/// If it cannot be started, or hangs: then the whole group is killed first.
pub fn run(command: &mut Command) -> Outcome {
    // Files, not pipes: whatever inherits them and outlives the program blocks nobody.
    let out = tempfile::NamedTempFile::new().expect("a temporary file");
    let err = tempfile::NamedTempFile::new().expect("a temporary file");
    let open = |file: &tempfile::NamedTempFile| -> Stdio {
        File::options().append(true).open(file.path()).expect("the file is there").into()
    };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(open(&out))
        .stderr(open(&err))
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    let begin = Instant::now();
    let status: ExitStatus = loop {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            break status;
        }
        if begin.elapsed() > HANG {
            // SAFETY: the child is not yet waited for, so that its id still names its group.
            unsafe { libc::kill(-(child.id() as i32), libc::SIGKILL) };
            panic!("{command:?} hangs; it wrote:\n{}\n{}", read(&out), read(&err));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    Outcome { code: status.code(), signal: status.signal(), stdout: read(&out), stderr: read(&err) }
}

fn read(file: &tempfile::NamedTempFile) -> String {
    let bytes = std::fs::read(file.path()).expect("the file is there");
    String::from_utf8_lossy(&bytes).into_owned()
}
