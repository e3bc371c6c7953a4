//! Accounts: what a run left can be read and proved, beside a run too, and what cannot be read is refused with advice.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use reprise_disk::data_dir::DataDir;
use reprise_light::answer::Answer;
use reprise_light::json::AnswerJson;
use reprise_model::hash::Blake3;
use serde_json::Value;

use crate::command::{json, reprise};

const RUN: &[&str] = &["run", "--backend", "mock"];

/// The accounts of the recording, with balance in sompi and nonce after its last block: harness/README.md says what happened.
const ACCOUNTS: [(&str, &str, u64, u64); 4] = [
    ("alice", "a4f408e859ce44ff2d4a508d0ee15a44459d733c8809b175356783a519910190", 3_000_000_000, 1),
    ("bob", "603049bbdded37b8cf741ebef1a39c8bd1935efe6689553ceddfa76dad853fcb", 1_164_000_000, 2),
    ("carol", "6b6507880cecab78f8142a16ee286d9f52673b828dbe7811db64dfa04a339363", 1_372_000_000, 2),
    ("dave", DAVE, 264_000_000, 1),
];

const DAVE: &str = "9d4eed228f24ae3457c3de25f8f4983324db0bfff4943711340df51deeb72dda";

fn account(dir: &Path, id: &str) -> Value {
    json(dir, &["account", id, "--backend", "mock"])
}

/// The answer in what `account --json` prints, which the light client has checked down to the root that it names.
fn proof(account: &Value) -> Answer {
    let form: AnswerJson = serde_json::from_value(account["proof"].clone()).unwrap();
    let answer = Answer::try_from(&form).unwrap();
    let asked = account["account"].as_str().unwrap().parse().unwrap();
    // A build with a real proof system keeps the mock's state over that system's hash.
    if !cfg!(feature = "miden") {
        answer.opens(&Blake3, &asked).unwrap();
    }
    answer
}

/// Every file below a directory, with its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.path().is_dir() {
            true => found.extend(files(&entry.path())),
            false => {
                found.insert(entry.path(), fs::read(entry.path()).unwrap());
            }
        }
    }
    found
}

#[test]
fn after_a_run_every_account_shows_what_the_recording_did_with_the_path_to_the_settled_root() {
    let dir = tempfile::tempdir().unwrap();
    let report = json(dir.path(), RUN);
    for (name, id, sompi, nonce) in ACCOUNTS {
        let shown = account(dir.path(), id);
        assert_eq!(shown["balance"], sompi, "{name}: {shown}");
        assert_eq!(shown["nonce"], nonce, "{name}: {shown}");
        assert_eq!(shown["exists"], true, "{name}");
        assert_eq!(shown["settled"], true, "{name}");
        assert_eq!(shown["checkpoint"], report["settled_checkpoint"], "{name}");
        let answer = proof(&shown);
        assert_eq!(answer.state.root.to_hex(), report["state_root"].as_str().unwrap(), "{name}");
        let settlement = answer.settlement.unwrap();
        let aggregates = json(dir.path(), &["receipts", "ls", "--kind", "aggregate"]);
        let ids: Vec<&str> =
            aggregates.as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
        assert!(ids.contains(&settlement.statement.to_string().as_str()), "{name}: {settlement:?}");
    }
}

#[test]
fn an_account_that_does_not_exist_is_shown_as_empty_and_its_absence_is_proved() {
    let dir = tempfile::tempdir().unwrap();
    json(dir.path(), RUN);
    let shown = account(dir.path(), &"5a".repeat(32));
    assert_eq!((&shown["exists"], &shown["balance"]), (&Value::Bool(false), &Value::from(0)));
    assert_eq!(proof(&shown).value, None);
    let output = reprise(dir.path(), &["account", &"5a".repeat(32), "--backend", "mock"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("no such account"));
}

#[test]
fn an_account_is_read_beside_a_run_and_no_byte_changes() {
    let dir = tempfile::tempdir().unwrap();
    json(dir.path(), RUN);
    let alone = account(dir.path(), DAVE);
    let held = DataDir::lock(dir.path()).unwrap();
    let before = files(dir.path());
    assert_eq!(account(dir.path(), DAVE), alone);
    assert_eq!(files(dir.path()), before);
    drop(held);
}

#[test]
fn what_a_run_had_followed_when_it_was_cut_off_is_what_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    json(dir.path(), RUN);
    let whole = account(dir.path(), DAVE);
    // The records of the last events are torn off, as if the run had been killed before it wrote them.
    let of_records = |path: &PathBuf| path.display().to_string().contains("records-");
    let records = files(&dir.path().join("state")).into_keys().find(of_records).unwrap();
    let bytes = fs::read(&records).unwrap();
    let mut seen = vec![];
    for part in 1..=8 {
        fs::write(&records, &bytes[..bytes.len() * part / 8]).unwrap();
        let shown = reprise(dir.path(), &["account", DAVE, "--backend", "mock", "--json"]);
        assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
        let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
        seen.push(shown["tip"]["checkpoint"].as_u64().unwrap());
        proof(&shown);
    }
    assert!(seen.is_sorted() && seen.first() < seen.last(), "{seen:?}");
    assert_eq!(account(dir.path(), DAVE), whole);
}

#[test]
fn what_cannot_be_read_is_refused_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |args: &[&str], word: &str| {
        let output = reprise(dir.path(), args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(word), "{args:?}: {said}");
    };
    let id = "5a".repeat(32);
    refused(&["account", &id, "--backend", "mock"], "follow the chain with `reprise run`");
    json(dir.path(), RUN);
    refused(&["account", "--backend", "mock"], "whose account?");
    refused(&["account", "5a", "--backend", "mock"], "64 hexadecimal characters");
    refused(&["account", &id, "--backend", "mock", "--tip", "--verify"], "cannot be used with");
    for wrong in ["127.0.0.1:80", "https://127.0.0.1", "http://", "http://127.0.0.1/v1", "http://a@b"] {
        refused(&["account", &id, "--backend", "mock", "--api", wrong], "http://HOST:PORT");
    }
    // Of another L1 there is nothing here.
    refused(&["account", &id, "--backend", "mock", "--l1", "dev"], "no state of this L1");
    #[cfg(feature = "kaspa")]
    {
        refused(&["account", &id, "--backend", "mock", "--verify"], "kaspa:ws://HOST:PORT");
        refused(&["account", "kaspasim:nonsense", "--backend", "mock"], "no address of Kaspa");
        let node = ["--l1", "kaspa:ws://127.0.0.1:1", "--backend", "mock"];
        refused(&[&["account", &id][..], &node].concat(), "no state of this L1");
    }
}
