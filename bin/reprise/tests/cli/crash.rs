//! Killed and started again: no stored receipt is proved again, and the end is the same.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::command::{assert_sound, command, json, total};

const SLOW: &[&str] = &["run", "--backend", "mock", "--mock-cost", "20,20,20"];

/// Runs until the program has printed `lines` lines, then kills it.
fn killed_after(dir: &Path, lines: usize) -> Vec<String> {
    let mut child = command(dir, SLOW).stderr(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(child.stderr.take().unwrap()).lines();
    let said: Vec<String> = said.take(lines).map(Result::unwrap).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    said
}

fn stored(dir: &Path) -> u64 {
    let listed = json(dir, &["receipts", "ls"]);
    listed.as_array().unwrap().len() as u64
}

fn reference() -> Value {
    json(tempfile::tempdir().unwrap().path(), &["run", "--backend", "mock"])
}

#[test]
fn killed_anywhere_it_goes_on_and_proves_nothing_twice() {
    let reference = reference();
    let all = total(&reference["proved"]);
    let mut on_fork_b = 0;
    for lines in (1..=28).step_by(3) {
        let dir = tempfile::tempdir().unwrap();
        let said = killed_after(dir.path(), lines);
        on_fork_b += usize::from(said.iter().filter(|line| line.starts_with("reorg")).count() == 1);
        let kept = stored(dir.path());
        let report = json(dir.path(), SLOW);
        assert_sound(&report);
        assert_eq!(report["prove_calls"].as_u64().unwrap(), all - kept, "killed after {lines} lines");
        assert_eq!(report["state_root"], reference["state_root"]);
        assert_eq!(report["settled_checkpoint"], reference["settled_checkpoint"]);
    }
    assert!(on_fork_b > 0, "some of them died on fork B");
}

#[cfg(unix)]
#[test]
fn an_interrupt_finishes_and_keeps_the_running_proof() {
    let dir = tempfile::tempdir().unwrap();
    let mut child =
        command(dir.path(), &["run", "--backend", "mock", "--mock-cost", "200,200,200", "--json"])
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.next().unwrap().unwrap().starts_with("proved"));
    let interrupt = std::process::Command::new("kill").arg("-INT").arg(child.id().to_string()).status();
    assert!(interrupt.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let report = crate::command::last_line(&output);
    assert_eq!(report["prove_calls"].as_u64().unwrap(), stored(dir.path()));
    assert!(stored(dir.path()) < 23);
}
