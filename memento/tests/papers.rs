//! Completions and man pages, as a shell and `man` take them; help of every subcommand.

mod common;

use common::{output, stderr, stdout};
use std::process::Command;

const SUBCOMMANDS: [&str; 11] = [
    "run",
    "env",
    "replay",
    "record",
    "bench",
    "bill",
    "profile",
    "project",
    "doctor",
    "completions",
    "man",
];

#[test]
fn bash_completes_subcommands_and_options() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("memento");
    std::fs::write(&script, output(&["completions", "bash"]).stdout).unwrap();
    let complete = |words: &str, at: usize, last: &str| {
        let ask = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD={at}; _memento memento {last} x; echo \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        let out = Command::new("bash").args(["-c", &ask]).output().unwrap();
        assert!(out.status.success(), "{}", stderr(&out));
        stdout(&out)
    };
    assert_eq!(complete("memento pro", 1, "pro").trim(), "profile project");
    assert!(complete("memento bench --ex", 2, "--ex").contains("--export"));
    assert!(!complete("memento ''", 1, "''").contains("__measure"), "what is hidden stays hidden");
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(stdout(&output(&["completions", shell])).contains("bench"), "{shell}");
    }
}

#[test]
fn there_is_a_page_for_every_subcommand() {
    let directory = tempfile::tempdir().unwrap();
    let out = output(&["man", "--directory", directory.path().to_str().unwrap()]);
    assert!(out.status.success(), "{}", stderr(&out));
    for subcommand in SUBCOMMANDS {
        let page = directory.path().join(format!("memento-{subcommand}.1"));
        let page = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{subcommand}: {e}"));
        assert!(page.contains(".TH memento-"), "{subcommand}");
    }
    assert!(!directory.path().join("memento-__measure.1").exists());
    let page = stdout(&output(&["man"]));
    assert!(page.contains(".TH memento") && page.contains("Exit codes"), "{page}");
    let out = output(&["man", "--directory", "/no/such/directory"]);
    assert!(stderr(&out).contains("cannot write to /no/such/directory"), "{}", stderr(&out));
}

#[test]
fn every_subcommand_has_help_without_colour() {
    for subcommand in SUBCOMMANDS {
        let out = output(&[subcommand, "--help"]);
        assert!(out.status.success() && stdout(&out).contains("Usage: memento"), "{subcommand}");
        assert!(!stdout(&out).contains('\x1b'), "{subcommand}: colour where there is no terminal");
    }
}
