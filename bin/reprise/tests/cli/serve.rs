//! `reprise serve`: the API over a directory, without a run and beside one.

use std::collections::BTreeMap;
use std::fs;
use std::io::BufRead;
use std::path::{Path, PathBuf};

use reprise_disk::data_dir::DataDir;
use serde_json::Value;

use crate::api::Served;
use crate::command::{json, reprise};

/// Every file below a directory, with its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.path().is_dir() {
            true => found.extend(files(&entry.path())),
            false => drop(found.insert(entry.path(), fs::read(entry.path()).unwrap())),
        }
    }
    found
}

/// What of the blocks does not depend on when they were followed.
fn blocks(chain: &Value) -> Vec<[Value; 6]> {
    let blocks = chain["blocks"].as_array().unwrap().iter();
    let fields = ["hash", "checkpoint", "fork", "canonical", "flips", "settlements"];
    blocks.map(|block| fields.map(|field| block[field].clone())).collect()
}

#[test]
fn a_directory_shows_what_its_run_showed_and_not_a_byte_of_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = Served::start(dir.path(), &["--api-linger", "always"]);
    run.until("the run has ended");
    let (chain, bob) =
        (run.json("/v1/chain"), "603049bbdded37b8cf741ebef1a39c8bd1935efe6689553ceddfa76dad853fcb");
    let account = run.json(&format!("/v1/accounts/{bob}"));
    let exits = run.json("/v1/exits");
    let transactions = run.json("/v1/transactions?limit=500");
    assert!(run.stop().status.success());

    // Whoever holds it is not disturbed, and need not be asked.
    let held = DataDir::lock(dir.path()).unwrap();
    let before = files(dir.path());
    let mut served = Served::of(dir.path(), &["serve", "--prove-apart", "always", "--price-per-hour", "3.6"]);
    let status = served.json("/v1/status");
    assert_eq!((&status["l1"], &status["ended"]), (&"recording:shipped".into(), &true.into()));
    assert!(status["read_ms"].is_u64(), "{status}");
    let read = served.json("/v1/chain");
    assert_eq!(blocks(&read), blocks(&chain));
    assert_eq!((&read["settled"], &read["tip"]), (&chain["settled"], &chain["tip"]));
    assert_eq!(served.json(&format!("/v1/accounts/{bob}"))["proof"], account["proof"]);
    assert_eq!(served.json("/v1/exits"), exits);
    // How far each has come; what was wanted on the way is not all wanted again.
    let steps = |of: &Value| -> Vec<[Value; 3]> {
        let items = of["items"].as_array().unwrap().iter();
        items.map(|it| ["id", "block", "steps"].map(|field| it[field].clone())).collect()
    };
    assert_eq!(steps(&served.json("/v1/transactions?limit=500")), steps(&transactions));
    // Every receipt was proved once, and not by this.
    let items = served.json("/v1/statements?limit=500")["items"].as_array().unwrap().clone();
    assert!(items.len() > 5, "{items:?}");
    for statement in &items {
        assert_eq!(statement["proofs"], 1, "{statement}");
    }
    let id = items[0]["id"].as_str().unwrap();
    assert_eq!(served.json(&format!("/v1/receipts/{id}"))["id"], id);
    let economics = served.json("/v1/economics");
    assert!(economics["total"]["saved_by_hits"]["money"].is_f64(), "{economics}");
    assert_eq!(served.json("/readyz")["level"], "green");
    assert!(served.get("/").1.contains("<h1>Reprise</h1>"));
    assert_eq!(served.get("/metrics").0, 200);
    assert_eq!(served.get("/v1/jobs").0, 404);
    served.interrupt();
    served.until("stopping: nothing is served any more");
    assert!(served.wait().status.success());
    assert_eq!(files(dir.path()), before);
    drop(held);
}

#[test]
fn a_directory_whose_run_goes_on_is_read_anew() {
    let dir = tempfile::tempdir().unwrap();
    let slow = ["--mock-cost", "200,200,200", "--api-linger", "always"];
    let mut run = Served::start(dir.path(), &slow);
    run.until("proved");
    let served = Served::of(dir.path(), &["serve", "--prove-apart", "always"]);
    let mut changes = served.events();
    let first = served.json("/v1/chain");
    run.until("the run has ended");
    let whole = run.json("/v1/chain");
    // A client is told of each reading; the last has the whole chain, and its settlements.
    let mut line = String::new();
    while blocks(&served.json("/v1/chain")) != blocks(&whole) {
        line.clear();
        while line.trim() != "event: reset" {
            line.clear();
            assert!(changes.read_line(&mut line).unwrap() > 0, "the stream ended");
        }
    }
    assert!(run.stop().status.success());
    assert_ne!(first["run"], served.json("/v1/chain")["run"], "numbers of changes are of one reading");
    assert_eq!(served.json("/v1/status")["counts"]["failures"], 0);
    assert!(served.stop().status.success());
}

#[test]
fn what_holds_no_run_of_these_settings_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |path: &Path, args: &[&str]| {
        let args = [&["serve", "--backend", "mock"], args].concat();
        let output = reprise(path, &args);
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let none = refused(&dir.path().join("none"), &[]);
    assert!(none.contains("none"), "{none}");
    assert!(!dir.path().join("none").exists());
    json(dir.path(), &["run", "--backend", "mock"]);
    let other = refused(dir.path(), &["--l1", "dev"]);
    assert!(other.contains("no state of this L1"), "{other}");
    assert!(refused(dir.path(), &["--api", "0.0.0.0:0"]).contains("--api-token-file"));
    let nowhere = refused(dir.path(), &["--api", "none"]);
    assert!(nowhere.contains("--api none: this command serves it"), "{nowhere}");
    let help = String::from_utf8(reprise(dir.path(), &["serve", "--help"]).stdout).unwrap();
    let api = help.split("--api <ADDR>").nth(1).unwrap().split("--api-token-file <").next().unwrap();
    assert!(api.contains("[default: 127.0.0.1:8080]") && !api.contains("none"), "{api}");
}
