//! The program, run in a data directory of its own.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// `reprise ARGS --data-dir DIR`, without the settings of the environment.
pub(crate) fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reprise"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("REPRISE_")) {
        command.env_remove(name);
    }
    command.args(args).arg("--data-dir").arg(dir);
    command
}

/// Runs it to its end.
pub(crate) fn reprise(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().unwrap()
}

/// Runs it with `--json`, and reads the last line of what it prints.
pub(crate) fn json(dir: &Path, args: &[&str]) -> Value {
    let output = command(dir, args).arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    last_line(&output)
}

pub(crate) fn last_line(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

/// The sum of a count a kind.
pub(crate) fn total(by_kind: &Value) -> u64 {
    ["transaction", "batch", "aggregate"].iter().map(|kind| by_kind[kind].as_u64().unwrap()).sum()
}

/// What every finished run must show.
pub(crate) fn assert_sound(report: &Value) {
    let count = |name: &str| report[name].as_u64().unwrap();
    assert_eq!(report["violations"], 0, "{report}");
    assert_eq!(report["proofs_after_flip"], 0, "{report}");
    assert_eq!(
        count("wanted"),
        count("stored_before") + total(&report["proved"]) + count("dropped"),
        "{report}"
    );
    assert_eq!(count("prove_calls"), total(&report["proved"]) + count("attempts_failed"), "{report}");
}
