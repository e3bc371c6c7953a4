//! Attempts that fail or are interrupted are counted over all runs.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::command::{assert_sound, command, json, reprise};

/// Kills a run as soon as a proof has begun, which would take an hour.
fn killed_while_proving(dir: &Path) {
    let slow = ["run", "--backend", "mock", "--mock-cost", "3600000,3600000,3600000", "--permits", "1"];
    let mut command = command(dir, &slow);
    let mut child = command.args(["--log", "reprise_node=debug"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("a proof begins")));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_statement_that_the_process_ends_at_too_often_is_given_up_by_name_until_it_is_released() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for interrupted in 1..=3 {
        killed_while_proving(dir);
        let listed = json(dir, &["attempts", "ls"]);
        let [attempted] = listed.as_array().unwrap().as_slice() else { panic!("{listed}") };
        assert_eq!(attempted["interrupted"], interrupted, "{attempted}");
        assert_eq!((&attempted["failed"], &attempted["last"]), (&Value::from(0), &Value::Null));
    }
    let listed = json(dir, &["attempts", "ls"]);
    let statement = listed[0]["statement"].as_str().unwrap();

    let refused = reprise(dir, &["run", "--backend", "mock", "--interruptions", "3"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains(statement) && said.contains("attempts release"), "{said}");
    let error = said.lines().find(|line| line.starts_with("error: ")).unwrap();
    assert_eq!(error.matches(statement).count(), 1, "it is named once: {error}");
    assert!(!error.contains("is quarantined"), "{error}");

    let nothing = reprise(dir, &["attempts", "release"]);
    assert!(
        nothing.status.code() == Some(2) && String::from_utf8_lossy(&nothing.stderr).contains("or --all")
    );
    let unknown = reprise(dir, &["attempts", "release", "00ff"]);
    assert_eq!(unknown.status.code(), Some(2));
    let released = json(dir, &["attempts", "release", statement]);
    assert_eq!(released[0]["statement"], statement);
    assert_sound(&json(dir, &["run", "--backend", "mock", "--interruptions", "3"]));
    assert_eq!(json(dir, &["attempts", "ls"]), Value::from(Vec::<Value>::new()), "all is proved");
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let refused = reprise(Path::new("no-such-directory"), &["attempts", "ls"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(2) && said.contains("no-such-directory"), "{said}");
}
