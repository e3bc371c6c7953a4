//! The recording that ships, with the mock backend: what the book promises, in seconds.

use crate::command::{assert_sound, json, reprise, total};

const RUN: &[&str] = &["run", "--backend", "mock", "--prove-apart", "always"];

#[test]
fn the_shipped_recording_flips_back_without_a_proof() {
    let dir = tempfile::tempdir().unwrap();
    let report = json(dir.path(), RUN);
    assert_sound(&report);
    assert_eq!(report["reorgs"], 2);
    assert_eq!(report["flips"], 1);
    assert!(report["max_reorg_depth"].as_u64().unwrap() >= 5);
    for kind in ["transaction", "batch", "aggregate"] {
        assert!(report["proved"][kind].as_u64().unwrap() > 0, "{report}");
        assert!(report["statements_returned"][kind].as_u64().unwrap() > 0, "{report}");
    }
    assert!(report["hits"]["transaction"].as_u64().unwrap() > 0, "one transaction stands on both forks");
}

#[test]
fn a_second_run_proves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let first = json(dir.path(), RUN);
    let second = json(dir.path(), RUN);
    assert_sound(&second);
    assert_eq!(second["prove_calls"], 0);
    assert_eq!(second["executed"], 0);
    assert_eq!(second["state_root"], first["state_root"]);
}

#[test]
fn the_pace_does_not_change_the_root() {
    let (paced, free_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let paced = json(paced.path(), RUN);
    // Nor does it that nothing is ever final.
    let free =
        ["run", "--backend", "mock", "--prove-apart", "always", "--pace", "free", "--finality-depth", "none"];
    let free = json(free_dir.path(), &free);
    assert!(free["l1_connection"].is_null(), "a recording has no connection to lose");
    assert_eq!(free["state_root"], paced["state_root"]);
    assert_eq!(free["violations"], 0);
    assert_eq!(free["prove_calls"].as_u64().unwrap(), total(&free["proved"]));
}

#[test]
fn every_receipt_verifies_in_a_fresh_process() {
    let dir = tempfile::tempdir().unwrap();
    let report = json(dir.path(), RUN);
    let verified = json(dir.path(), &["receipts", "verify"]);
    assert_eq!(verified["verified"].as_u64().unwrap(), total(&report["proved"]));
    assert_eq!(verified["failed"], serde_json::json!([]));
}

#[test]
fn receipts_can_be_listed_shown_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    json(dir.path(), RUN);
    let listed = json(dir.path(), &["receipts", "ls", "--kind", "aggregate"]);
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    let shown = json(dir.path(), &["receipts", "show", &id[..12]]);
    assert_eq!(shown["id"], id.as_str());
    assert_eq!(shown["kind"], "aggregate");
    assert!(reprise(dir.path(), &["receipts", "rm", &id]).status.success());
    let gone = reprise(dir.path(), &["receipts", "show", &id]);
    assert_eq!(gone.status.code(), Some(1));
}

#[test]
fn an_archive_carries_every_receipt_to_another_directory_and_nothing_is_proved_there() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let report = json(here.path(), RUN);
    let archive = here.path().join("receipts.archive").display().to_string();
    let exported = json(here.path(), &["receipts", "export", &archive]);
    assert_eq!(exported["exported"].as_u64().unwrap(), total(&report["proved"]));
    let imported = json(there.path(), &["receipts", "import", &archive]);
    assert_eq!(imported["new"], exported["exported"]);
    assert_eq!(imported["refused"], 0);
    let second = json(there.path(), RUN);
    assert_eq!(second["prove_calls"], 0);
    assert_eq!(second["state_root"], report["state_root"]);

    let again = reprise(here.path(), &["receipts", "export", &archive]);
    assert_eq!(again.status.code(), Some(2), "an archive is not written over");
}

#[test]
fn an_eviction_prints_what_it_deletes_and_keeps_what_may_still_be_needed() {
    let dir = tempfile::tempdir().unwrap();
    let report = json(dir.path(), RUN);
    let gc = |keep_from: &str, more: &[&str]| {
        let args = [&["receipts", "gc", "--max-bytes", "0", "--keep-from", keep_from][..], more].concat();
        json(dir.path(), &args)["evicted"].as_array().unwrap().len() as u64
    };
    let all = total(&report["proved"]);
    assert_eq!(gc("1", &[]), 0);
    assert_eq!(gc("1000", &["--dry-run"]), all);
    let below_nine = gc("9", &[]);
    assert!(below_nine > 0 && below_nine < all);
    assert_eq!(gc("1000", &[]), all - below_nine);
    assert_eq!(json(dir.path(), RUN)["state_root"], report["state_root"]);
}

#[test]
fn a_chain_that_has_ended_says_once_what_it_waits_for() {
    for l1 in ["shipped", "dev"] {
        let dir = tempfile::tempdir().unwrap();
        let output =
            reprise(dir.path(), &["run", "--backend", "mock", "--l1", l1, "--bundle-deadline", "200"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let ended: Vec<_> = said.lines().filter(|line| line.contains("has ended: empty blocks")).collect();
        assert!(ended.len() == 1 && ended[0].contains("--bundle-deadline"), "{said}");
    }
}
