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
    let stopping = said.find(|line| line.starts_with("stopping")).unwrap();
    assert!(stopping.contains("60 s to end (--shutdown-grace)"), "{stopping}");
    interrupt(&child);
    child.wait().unwrap().code()
}

#[cfg(unix)]
#[test]
fn every_documented_exit_code_is_reached_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let code = |args: &[&str]| reprise(dir.path(), args).status.code();
    let shipped =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../recordings/flip.reprise")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let cut = elsewhere.path().join("cut.reprise");
    std::fs::write(&cut, &shipped[..shipped.len() / 2]).unwrap();
    let damaged = format!("recording:{}", cut.display());
    let reached = [
        (code(&["run", "--backend", "mock"]), "done"),
        (code(&["run", "--backend", "mock", "--l1", &damaged]), "failed or violated"),
        (code(&["run", "--permits", "0"]), "wrong use"),
        (stopped_at_once(), "stopped at once by a second Ctrl-C"),
    ];
    let reached = reached.map(|(code, meaning)| (code.unwrap(), meaning.to_owned()));
    // What is sent needs a node: the Kaspa harness reaches that one.
    let (on_a_node, here): (Vec<_>, Vec<_>) = documented().into_iter().partition(|(code, _)| *code == 3);
    assert_eq!((on_a_node.len(), here), (1, reached.to_vec()));
    let of_run = String::from_utf8(reprise(dir.path(), &["run", "--help"]).stdout).unwrap();
    assert!(of_run.contains("Exit codes: 0 done"), "{of_run}");
    // What clap itself refuses and shows ends the same way.
    assert_eq!((code(&["frobnicate"]), code(&["--version"])), (Some(2), Some(0)));
}

#[test]
fn what_is_not_there_or_is_something_else_is_wrong_use_and_nothing_is_begun() {
    let dir = tempfile::tempdir().unwrap();
    let (data, absent, mine) =
        (dir.path().join("data"), dir.path().join("absent"), dir.path().join("thesis.txt"));
    std::fs::write(&mine, "mine").unwrap();
    let [gone, taken, copy] = [&absent, &mine, &dir.path().join("copy")].map(|it| it.display().to_string());
    let [lost, foreign] = [&gone, &taken].map(|file| format!("recording:{file}"));
    for args in [
        &["run", "--backend", "mock", "--l1", &lost][..],
        &["run", "--backend", "mock", "--l1", &foreign],
        &["receipts", "import", &gone],
        &["snapshot", "show", &gone],
        &["snapshot", "show", &taken],
        &["backup", &copy],
    ] {
        let output = reprise(&data, args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(!data.exists(), "{args:?}");
    }
    assert!(reprise(&data, &["run", "--backend", "mock"]).status.success());
    let output = reprise(&data, &["receipts", "export", &taken]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(std::fs::read(&mine).unwrap(), b"mine");
}
