//! Servers answer as without memento and hold no more memory after a real client's load: a few rounds each here;
//! `tests/servers/soak.py` loads them for minutes, and `tests/servers/results.md` has what it found.

use memento_tests::{Shim, directory, run};
use std::process::Command;

/// Installs the servers and their clients, without starting any: the system's own are none of ours.
const INSTALL: &str = ". \"$0\"; export RUNLEVEL=1; need redis-server redis-server redis-benchmark; need memcached memcached; \
    need libmemcached-tools memcaslap; need nginx-light nginx; need apache2-utils ab; need postgresql /usr/lib/postgresql/*/bin/pgbench";

/// In the order in which they are run.
const SERVERS: &[&str] = &["redis", "memcached", "nginx", "postgresql", "python", "node"];

#[test]
fn servers_answer_the_same_and_hold_no_more() {
    run(Command::new("bash").args(["-c", INSTALL]).arg(directory("../scripts/need.sh")));
    let mut command = Command::new("python3");
    command.arg(directory("servers/soak.py")).args(["--rounds", "2"]);
    let outcome = run(command.arg("--shim").arg(Shim::All.path()).env_remove("LD_PRELOAD"));
    println!("{}", outcome.stdout);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    for server in SERVERS {
        let tried = outcome.stdout.lines().any(|line| {
            line.starts_with(&format!("| {server} |"))
                || line.starts_with(&format!("{server} not run"))
        });
        assert!(tried, "{server}: {outcome:?}");
    }
}
