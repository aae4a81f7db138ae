//! The measuring engine on real programs: what is accounted to whom.

mod common;

use common::compile;
use memento::engine::isolated::{Isolated, Output};
use memento::engine::rounds::Executor;
use memento::engine::{Job, Sample};

const MIB: u64 = 1 << 20;

fn job(words: &[&str]) -> Job {
    Job { command: words.iter().map(Into::into).collect(), environment: vec![] }
}

fn measure(words: &[&str]) -> Sample {
    let mut executor = Isolated::new(env!("CARGO_BIN_EXE_memento"), Output::Discard);
    executor.execute(&job(words)).unwrap()
}

/// Touches so many MiB and returns.
fn toucher(mib: usize) -> (tempfile::TempDir, String) {
    let source = format!(
        "#include <string.h>\n#include <sys/mman.h>\n#include <unistd.h>\nint main(void) {{\n\
         size_t n = (size_t){mib} << 20;\n\
         char *p = mmap(0, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);\n\
         if (p == MAP_FAILED) return 1;\n\
         madvise(p, n, MADV_NOHUGEPAGE);\n\
         memset(p, 1, n);\nreturn 0;\n}}\n"
    );
    compile(&source, &[])
}

#[test]
fn what_the_measuring_process_holds_is_not_in_the_peak() {
    let held = vec![1u8; 200 * MIB as usize];
    let peak = measure(&["true"]).peak_rss_bytes;
    assert!(std::hint::black_box(&held).iter().all(|b| *b == 1));
    assert!(peak > 0 && peak < 8 * MIB, "{peak} bytes for `true`");
}

#[test]
fn the_spawner_is_not_in_the_peak_either() {
    // What starts the program is this command, which is larger than `true` by itself.
    let spawner = measure(&[env!("CARGO_BIN_EXE_memento"), "--version"]).peak_rss_bytes;
    let program = measure(&["true"]).peak_rss_bytes;
    assert!(2 * program < spawner, "{program} bytes for `true`, {spawner} for its spawner");
}

#[test]
fn the_programs_own_memory_is_in_the_peak() {
    let (_directory, program) = toucher(64);
    let sample = measure(&[&program]);
    assert!((64 * MIB..80 * MIB).contains(&sample.peak_rss_bytes), "{}", sample.peak_rss_bytes);
    assert!(sample.minor_faults >= 64 * 256, "a fault for each 4 KiB page, without huge pages");
}

#[test]
fn each_run_is_accounted_alone() {
    let (_directory, program) = toucher(64);
    measure(&[&program]);
    assert!(measure(&["true"]).peak_rss_bytes < 8 * MIB, "nothing is left of the run before");
}

#[test]
fn a_process_that_had_a_child_is_refused() {
    assert!(std::process::Command::new("true").status().unwrap().success());
    let error = memento::engine::child::run(&job(&["true"])).unwrap_err();
    let error = format!("{:#}", anyhow::Error::from(error));
    assert!(error.contains("has had a child before"), "{error}");
}

#[test]
fn samples_say_how_it_ended() {
    assert_eq!(measure(&["sh", "-c", "exit 7"]).exit.code, Some(7));
    assert_eq!(measure(&["sh", "-c", "kill -9 $$"]).exit.signal, Some(9));
    let mut executor = Isolated::new(env!("CARGO_BIN_EXE_memento"), Output::Discard);
    let error = executor.execute(&job(&["no-such-program-here"])).unwrap_err().to_string();
    assert!(error.contains("no such program"), "{error}");
}

#[test]
fn the_environment_of_a_job_reaches_the_program() {
    let mut job = job(&["sh", "-c", "test \"$A\" = 'x=y z'"]);
    job.environment.push(("A".into(), "x=y z".into()));
    let mut executor = Isolated::new(env!("CARGO_BIN_EXE_memento"), Output::Discard);
    assert!(executor.execute(&job).unwrap().exit.is_success());
}

#[test]
fn a_program_that_hangs_is_stopped_with_all_that_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    // Its child has lost its parent, and is in a session of its own.
    let script = format!(
        "(setsid sleep 1000 & echo $! >{0}); echo $$ >>{0}; exec sleep 1000",
        pids.display()
    );
    let mut executor = Isolated::new(env!("CARGO_BIN_EXE_memento"), Output::Discard)
        .within(std::time::Duration::from_millis(500));
    let error = executor.execute(&job(&["sh", "-c", &script])).unwrap_err().to_string();
    assert!(error.contains("sh: stopped after 0.5 s, the time limit"), "{error}");
    for pid in std::fs::read_to_string(&pids).unwrap().lines() {
        let path = format!("/proc/{pid}/stat");
        assert!(!std::path::Path::new(&path).exists(), "process {pid} is still there");
    }
}

#[test]
fn output_is_caught_without_waiting_for_what_is_left_in_the_background() {
    let executor = Isolated::new(env!("CARGO_BIN_EXE_memento"), Output::Discard);
    let script = "echo out; echo err >&2; sleep 1000 & echo $! >&2";
    let caught = executor.catch(&job(&["sh", "-c", script])).unwrap();
    let (first, pid) = caught.stderr.trim().split_once('\n').unwrap();
    let pid = nix::unistd::Pid::from_raw(pid.parse().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!((caught.stdout.as_str(), first), ("out\n", "err"));
    assert!(caught.sample.exit.is_success());
}
