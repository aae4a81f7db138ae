//! A program under `memento run` behaves as without: streams, exit code, signals.

mod common;

use common::{memento, output, report, stderr, stdout};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

#[test]
fn exit_codes_are_the_programs() {
    for code in [0, 1, 3, 77, 255] {
        let line = format!("exit {code}");
        for form in ["none", "json"] {
            let out = output(&["run", "--report", form, "--", "sh", "-c", &line]);
            assert_eq!(out.status.code(), Some(code), "{form}");
        }
    }
}

#[test]
fn death_by_a_signal_is_the_same_death() {
    for (name, number) in [("KILL", 9), ("TERM", 15), ("SEGV", 11), ("PIPE", 13), ("HUP", 1)] {
        let line = format!("kill -{name} $$");
        // Whoever runs the tests may have them ignore signals, as nohup does.
        let (out, document) = report(&[], &["env", "--default-signal", "sh", "-c", &line]);
        assert_eq!(out.status.signal(), Some(number), "{name}");
        assert_eq!(document["exit"], serde_json::json!({"code": null, "signal": number}));
    }
}

#[test]
fn streams_pass_through_byte_by_byte() {
    let mut child = memento(&["run", "--report", "none", "--", "sh", "-c", "cat; echo err >&2"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.stdout == bytes);
    assert_eq!(stderr(&out), "err\n", "without a report nothing is added");
}

#[test]
fn the_report_comes_after_the_programs_own_stderr() {
    let out = output(&["run", "--", "sh", "-c", "echo err >&2; echo out"]);
    assert_eq!(stdout(&out), "out\n");
    assert!(stderr(&out).starts_with("err\nmemento soft · sh -c"), "{}", stderr(&out));
    assert!(!stderr(&out).contains('\x1b'), "no colour where there is no terminal");
}

#[test]
fn signals_sent_to_memento_reach_the_program() {
    let script = "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut child = memento(&["run", "--report", "none", "--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "caught");
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
fn a_program_that_a_forwarded_signal_ends_is_still_reported_on() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("r.json");
    let arguments = ["run", "--report", "json", "--output", file.to_str().unwrap(), "--"];
    let mut child = memento(&arguments)
        .args(["sh", "-c", "echo ready; exec sleep 1000"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(15));
    let text = std::fs::read_to_string(file).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["exit"]["signal"], 15);
}

#[test]
fn no_signal_is_blocked_or_ignored_in_the_program() {
    let line = "grep -E '^Sig(Blk|Ign)' /proc/self/status";
    let direct = std::process::Command::new("sh").args(["-c", line]).output().unwrap();
    let under = output(&["run", "--report", "none", "--", "sh", "-c", line]);
    assert!(stdout(&under).contains("SigBlk"));
    assert_eq!(stdout(&under), stdout(&direct));
}

#[test]
fn descriptors_and_group_are_those_of_the_caller() {
    let line = "ls /proc/self/fd | wc -l; cut -d' ' -f5 /proc/self/stat";
    let direct = std::process::Command::new("sh").args(["-c", line]).output().unwrap();
    let under = memento(&["run", "--report", "none", "--", "sh", "-c", line]).output().unwrap();
    assert_eq!(stdout(&under), stdout(&direct));
}

#[test]
fn what_was_preloaded_before_stays() {
    let line = "echo $LD_PRELOAD";
    let out = memento(&["run", "--report", "none", "--", "sh", "-c", line])
        .env("LD_PRELOAD", "libm.so.6")
        .output()
        .unwrap();
    assert!(stdout(&out).ends_with("/libmemento_all.so:libm.so.6\n"), "{}", stdout(&out));
}

/// Runs a program under `memento run` on a terminal, types Ctrl-C when it says `ready`, then three
/// lines, and returns what the program says after Ctrl-C, and its exit code.
fn interrupted_at_a_terminal(shell: &str, program: &str) -> (Vec<String>, Option<i32>) {
    // `script` runs it on a terminal of its own, and types what it reads.
    let memento = env!("CARGO_BIN_EXE_memento");
    let program = program.replace('$', "\\$");
    // `exec`: a shell that waited would die of the key itself.
    let line = format!("exec {memento} run --report none -- {shell} -c \"{program}\"");
    // Who runs the tests in the background of a script ignores the key, and so would all below.
    let mut child = std::process::Command::new("env")
        .args(["--default-signal=INT", "script", "-qec", &line, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .env("MEMENTO_LIB_DIR", common::libraries())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test needs `script`, of util-linux");
    let mut keys = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.by_ref().any(|line| line.contains("ready")));
    keys.write_all(b"\x03").unwrap();
    // The shell's `read` goes on or starts anew after a trap; either way it gets a line.
    keys.write_all(b"x\ny\nz\n").unwrap();
    let said = lines.by_ref().take_while(|line| !line.contains("done")).collect();
    (said, child.wait().unwrap().code())
}

/// `noflsh`: otherwise the terminal throws away, after it has sent the signal, what was written to it.
const LISTENER: &str =
    "stty noflsh; trap 'echo caught' INT; echo ready; read a; read b; echo done; exit 5";

#[test]
fn a_key_at_the_terminal_reaches_the_program_and_memento_stays() {
    let (said, code) = interrupted_at_a_terminal("sh", LISTENER);
    assert!(said.iter().any(|line| line.contains("caught")), "{said:?}");
    assert_eq!(code, Some(5));
}

#[test]
fn what_the_terminal_did_not_send_to_the_program_is_not_passed_on() {
    // In a session of its own the program is not the terminal's business, as without memento.
    let (said, code) = interrupted_at_a_terminal("setsid sh", LISTENER);
    assert!(!said.iter().any(|line| line.contains("caught")), "{said:?}");
    assert_eq!(code, Some(5));
}
