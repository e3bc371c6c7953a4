//! Exit codes: `--help` says what they are, and each is reached.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use crate::command::{command, reprise};

/// What `--help` says of the exit codes.
fn documented() -> Vec<(i32, String)> {
    let dir = tempfile::tempdir().unwrap();
    let help = String::from_utf8(reprise(dir.path(), &["--help"]).stdout).unwrap();
    let line = help.split("Exit codes: ").nth(1).unwrap().split('.').next().unwrap().replace('\n', " ");
    let all = line.split(", ").map(|one| one.split_once(' ').unwrap());
    all.map(|(code, meaning)| (code.parse().unwrap(), meaning.to_owned())).collect()
}

#[cfg(unix)]
fn interrupt(child: &Child) {
    let status = std::process::Command::new("kill").arg("-INT").arg(child.id().to_string()).status();
    assert!(status.unwrap().success());
}

/// A run with a proof that outlasts the test, interrupted twice.
#[cfg(unix)]
fn stopped_at_once() -> Option<i32> {
    let dir = tempfile::tempdir().unwrap();
    // A batch comes before the transactions of later ones. So it is being proved when a second permit has come to those.
    let args = [
        "run",
        "--backend",
        "mock",
        "--permits",
        "2",
        "--prove-apart",
        "always",
        "--mock-cost",
        "1,600000,1",
    ];
    let mut child = command(dir.path(), &args).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.by_ref().take(3).all(|line| line.starts_with("proved")));
    interrupt(&child);
    said.find(|line| line.starts_with("stopping")).unwrap();
    interrupt(&child);
    child.wait().unwrap().code()
}

#[cfg(unix)]
#[test]
fn every_documented_exit_code_is_reached_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let code = |args: &[&str]| reprise(dir.path(), args).status.code();
    let reached = [
        (code(&["run", "--backend", "mock"]), "done"),
        (code(&["run", "--backend", "mock", "--l1", "recording:absent"]), "failed or violated"),
        (code(&["run", "--permits", "0"]), "wrong use"),
        (stopped_at_once(), "stopped at once by a second Ctrl-C"),
    ];
    let reached = reached.map(|(code, meaning)| (code.unwrap(), meaning.to_owned()));
    // What is sent needs a node: the Kaspa harness reaches that one.
    let (on_a_node, here): (Vec<_>, Vec<_>) = documented().into_iter().partition(|(code, _)| *code == 3);
    assert_eq!((on_a_node.len(), here), (1, reached.to_vec()));
    // What clap itself refuses and shows ends the same way.
    assert_eq!((code(&["frobnicate"]), code(&["--version"])), (Some(2), Some(0)));
}
