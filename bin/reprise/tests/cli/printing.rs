//! What cannot be printed ends nothing.

use std::fs::File;
use std::process::Stdio;

use crate::command::{assert_sound, command, json, last_line};

/// Every write to it fails as on a full disk.
fn full_disk() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

#[test]
fn a_log_on_a_full_disk_ends_no_run() {
    let dir = tempfile::tempdir().unwrap();
    let run = ["run", "--backend", "mock", "--json", "--log", "debug"];
    let output = command(dir.path(), &run).stderr(full_disk()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let report = last_line(&output);
    assert_sound(&report);
    assert_eq!(report["settlements"], 4, "to its end");
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure_that_is_named_and_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = command(dir.path(), &["run", "--backend", "mock", "--json"]);
    let output = run.stdout(full_disk()).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("standard output") && !said.contains("panicked"), "{said}");
    assert_eq!(json(dir.path(), &["run", "--backend", "mock"])["prove_calls"], 0, "everything is stored");
}

#[test]
fn with_json_an_error_is_one_line_on_standard_output_too() {
    let dir = tempfile::tempdir().unwrap();
    let stored = dir.path().join("stored");
    json(&stored, &["run", "--backend", "mock"]);
    std::fs::write(stored.join("receipts/FORMAT"), "x").unwrap();
    for (args, code, word) in [
        (&["run", "--permits", "0"][..], 2, "--permits 0: at least one"),
        (&["receipts", "show"], 2, "<ID>"),
        (&["frobnicate"], 2, "unrecognized subcommand 'frobnicate'"),
        (&["receipts", "stats"], 1, "is damaged"),
    ] {
        let output = command(&stored, args).arg("--json").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        let line = last_line(&output);
        assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1, "{args:?}");
        let error = line["error"].as_str().unwrap();
        assert!(line["exit"] == code && error.contains(word) && !error.contains("Usage"), "{args:?}: {line}");
        assert!(said.contains(word), "for people too: {said}");
    }
    // What is printed already is the result.
    let shown = command(&stored, &["--help"]).arg("--json").output().unwrap();
    let shown = (shown.status.success(), String::from_utf8_lossy(&shown.stdout).into_owned());
    assert!(shown.0 && !shown.1.lines().any(|line| line.starts_with('{')), "{}", shown.1);
}

#[test]
fn a_reader_that_wants_no_more_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    json(dir.path(), &["run", "--backend", "mock"]);
    for args in [&["receipts", "ls"][..], &["doctor", "--backend", "mock"], &["run", "--backend", "mock"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(dir.path(), args).stdout(writer).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {said}");
        assert!(!said.contains("panicked"), "{args:?}: {said}");
    }
}
