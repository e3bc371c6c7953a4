//! `reprise receipts`: its output over the shipped recording, word for word, and beside a running node.
//!
//! What varies is replaced: ids and digests (they follow the build's hash), sizes (they include the host's name), times.
//! Block hashes are the recording's own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;

use insta::assert_snapshot;
use reprise_ledger::Ledger;
use reprise_model::coordinate::Coordinate;
use reprise_model::digest::PinsDigest;
use reprise_model::hash::Blake3;
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_store::port::Filter;
use reprise_store::{Options, ReceiptStore, Store};
use serde_json::Value;

use crate::command::{command, json, reprise};

fn recorded() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    json(dir.path(), &["run", "--backend", "mock", "--prove-apart", "always"]);
    dir
}

/// What a command prints, without what varies.
fn said(dir: &Path, args: &[&str]) -> String {
    let output = reprise(dir, &[&["receipts"][..], args].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(|line| redacted(line) + "\n").collect()
}

/// The same with its lines sorted: ids vary, and with them their order.
fn said_sorted(dir: &Path, args: &[&str]) -> String {
    let text = said(dir, args);
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

fn redacted(line: &str) -> String {
    let mut out = String::new();
    let mut before = "";
    for word in line.split_inclusive(' ') {
        let text = word.trim_end();
        let hex = |text: &str| text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit());
        let (name, rest) = text.split_once(':').unwrap_or(("", text));
        let struck = if before == "on" {
            "HOST".into()
        } else if name == "stm" && rest.starts_with(|c: char| c.is_ascii_hexdigit()) {
            format!("stm:ID{}", rest.trim_start_matches(|c: char| c.is_ascii_hexdigit() || c == '…'))
        } else if hex(rest) && name != "blk" {
            "DIGEST".into()
        } else if text.parse::<u64>().is_ok_and(|n| n >= 300) {
            // Keeps its column.
            let column = out.ends_with("  ");
            if column { format!("{:>1$}", "N", text.len()) } else { "N".into() }
        } else if text.contains('.') && text.parse::<f64>().is_ok() {
            "S.S".into()
        } else if before == "fake" {
            "HASHER".into()
        } else {
            text.into()
        };
        out += &struck;
        out += &word[text.len()..];
        before = text;
    }
    out.trim_end().into()
}

/// A place of the shipped recording, as `why` reads it.
fn a_batch(dir: &Path) -> String {
    let listed = json(dir, &["receipts", "ls", "--kind", "batch", "--checkpoint", "4"]);
    listed[0]["places"][0]["coordinate"].as_str().unwrap().to_owned()
}

#[test]
fn ls_lists_what_is_stored_and_where_it_is_used() {
    let dir = recorded();
    assert_snapshot!(said_sorted(dir.path(), &["ls"]), @r"
    statement      kind              bytes   seconds  places
    stm:ID  aggregate             N       S.S  checkpoints 13 to 13 blk:e5a1ae11… aggregate
    stm:ID  aggregate             N       S.S  checkpoints 2 to 4 blk:b2447c72… aggregate
    stm:ID  aggregate             N       S.S  checkpoints 7 to 8 blk:a931c1ae… aggregate; checkpoints 7 to 8 blk:d3d2e66b… aggregate
    stm:ID  aggregate             N       S.S  checkpoints 9 to 11 blk:5833edb7… aggregate
    stm:ID  batch                 N       S.S  checkpoint 10 blk:c1327c6f… batch from transaction 1
    stm:ID  batch                 N       S.S  checkpoint 11 blk:5833edb7… batch from transaction 1
    stm:ID  batch                 N       S.S  checkpoint 13 blk:e5a1ae11… batch from transaction 1
    stm:ID  batch                 N       S.S  checkpoint 2 blk:aeea9faa… batch from transaction 1
    stm:ID  batch                 N       S.S  checkpoint 4 blk:b2447c72… batch from transaction 1
    stm:ID  batch                 N       S.S  checkpoint 7 blk:47f3b6e7… batch from transaction 1; checkpoint 7 blk:e4f149af… batch from transaction 1
    stm:ID  batch                 N       S.S  checkpoint 8 blk:a931c1ae… batch from transaction 1; checkpoint 8 blk:d3d2e66b… batch from transaction 1
    stm:ID  batch                 N       S.S  checkpoint 9 blk:540403e6… batch from transaction 1
    stm:ID  transaction           N       S.S  checkpoint 10 blk:c1327c6f… transaction 2
    stm:ID  transaction           N       S.S  checkpoint 11 blk:5833edb7… transaction 1
    stm:ID  transaction           N       S.S  checkpoint 13 blk:e5a1ae11… transaction 1
    stm:ID  transaction           N       S.S  checkpoint 2 blk:aeea9faa… transaction 1
    stm:ID  transaction           N       S.S  checkpoint 2 blk:aeea9faa… transaction 2
    stm:ID  transaction           N       S.S  checkpoint 4 blk:b2447c72… transaction 1
    stm:ID  transaction           N       S.S  checkpoint 7 blk:47f3b6e7… transaction 1; checkpoint 7 blk:e4f149af… transaction 1
    stm:ID  transaction           N       S.S  checkpoint 8 blk:a931c1ae… transaction 1; checkpoint 8 blk:d3d2e66b… transaction 1
    stm:ID  transaction           N       S.S  checkpoint 9 blk:540403e6… transaction 1; checkpoint 10 blk:c1327c6f… transaction 1
    stm:ID  transaction           N       S.S  checkpoint 9 blk:540403e6… transaction 2
    stm:ID  transaction           N       S.S  checkpoint 9 blk:540403e6… transaction 3
    stm:ID  transaction           N       S.S  checkpoint 9 blk:540403e6… transaction 4
    ");
}

#[test]
fn ls_filters_by_every_field() {
    let dir = recorded();
    let all = json(dir.path(), &["receipts", "ls"]);
    let count = |args: &[&str]| {
        let args = [&["receipts", "ls"][..], args].concat();
        json(dir.path(), &args).as_array().unwrap().len()
    };
    let first = |field: &str| all[0][field].as_str().unwrap().to_owned();
    let of = |field: &str| {
        all.as_array().unwrap().iter().filter(|entry| entry[field] == first(field).as_str()).count()
    };
    assert_eq!(count(&["--program", &first("program")]), of("program"));
    assert!(of("program") < all.as_array().unwrap().len());
    assert_eq!(count(&["--profile", &first("profile")]), of("profile"));
    assert_eq!(count(&["--profile", &"0".repeat(64)]), 0);
    assert_eq!(count(&["--program", &first("program"), "--kind", &first("kind")]), of("program"));
    let wrong = reprise(dir.path(), &["receipts", "ls", "--program", "zebra"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn show_prints_claim_and_provenance() {
    let dir = recorded();
    let listed = json(dir.path(), &["receipts", "ls", "--kind", "batch", "--checkpoint", "4"]);
    let id = listed[0]["id"].as_str().unwrap();
    assert_snapshot!(said(dir.path(), &["show", id]), @r"
    statement  stm:ID
    kind       batch
    program    DIGEST
    profile    mock 1 fake HASHER 0 bits
    claim      DIGEST
    bytes        N
    proved     by mock 1 on HOST in S.S s
    used at    checkpoint 4 blk:b2447c72… batch from transaction 1
    journal
      version                4
      pins                   DIGEST
      root before            DIGEST
      root after             DIGEST
      lane tip before        DIGEST
      lane tip after         DIGEST
      exits                  DIGEST
      open block before      DIGEST
      open block after       DIGEST
    ");
}

#[test]
fn why_lists_a_checkpoint() {
    let dir = recorded();
    assert_snapshot!(said(dir.path(), &["why", "7"]), @r"
    hit: checkpoint 7 blk:47f3b6e7… transaction 1 is answered by stm:ID
    hit: checkpoint 7 blk:47f3b6e7… batch from transaction 1 is answered by stm:ID
    hit: checkpoint 7 blk:e4f149af… transaction 1 is answered by stm:ID
    hit: checkpoint 7 blk:e4f149af… batch from transaction 1 is answered by stm:ID
    ");
    assert_snapshot!(said(dir.path(), &["why", "3"]), @"miss: no stored statement is used there (the highest checkpoint of a stored one is 13), so whatever is wanted there is proved");
}

#[test]
fn why_of_a_statement_without_its_prefix_is_refused() {
    let dir = recorded();
    let listed = json(dir.path(), &["receipts", "ls"]);
    let id = listed[0]["id"].as_str().unwrap();
    for form in [&[][..], &["--json"]] {
        let args = ["receipts", "why", id.trim_start_matches("stm:")];
        let output = reprise(dir.path(), &[&args[..], form].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(&format!("reprise receipts show {id}")), "{error}");
    }
}

#[test]
fn why_prints_the_first_field_in_which_a_coordinate_differs() {
    let dir = recorded();
    let batch = a_batch(dir.path());
    let why = |args: &[&str]| said(dir.path(), &[&["why"][..], args].concat());
    assert_snapshot!(why(&[&batch]), @"hit: checkpoint 4 blk:b2447c72… batch from transaction 1 is answered by stm:ID");
    assert_snapshot!(why(&["4/b244/transaction/1"]), @"hit: checkpoint 4 blk:b2447c72… transaction 1 is answered by stm:ID");
    assert_snapshot!(why(&["4/b244/transaction/2"]), @r"
    miss: checkpoint 4 blk:b2447c72… transaction 2 is not used
      differs first in place from checkpoint 4 blk:b2447c72… transaction 1, answered by stm:ID
      asked   4/b2447c72bd3d47f1ea00c09113614c52ba2ff264e5d22b46308a33676bcaf3d5/transaction/2
      stored  4/b2447c72bd3d47f1ea00c09113614c52ba2ff264e5d22b46308a33676bcaf3d5/transaction/1
    ");
    assert_snapshot!(why(&["4/ffff/batch"]), @r"
    miss: checkpoint 4 blk:ffff0000… batch from transaction 1 is not used
      differs first in block hash from checkpoint 4 blk:b2447c72… batch from transaction 1, answered by stm:ID
      asked   blk:ffff000000000000000000000000000000000000000000000000000000000000
      stored  blk:b2447c72bd3d47f1ea00c09113614c52ba2ff264e5d22b46308a33676bcaf3d5
    ");
    assert_snapshot!(why(&[&batch, "--program", &"1".repeat(64)]), @r"
    miss: checkpoint 4 blk:b2447c72… batch from transaction 1 is not used
      differs first in program from checkpoint 4 blk:b2447c72… batch from transaction 1, answered by stm:ID
      asked   DIGEST
      stored  DIGEST
    ");
    assert_snapshot!(why(&[&batch, "--pins", &"2".repeat(64)]), @r"
    miss: checkpoint 4 blk:b2447c72… batch from transaction 1 is not used
      differs first in pins from checkpoint 4 blk:b2447c72… batch from transaction 1, answered by stm:ID
      asked   DIGEST
      stored  DIGEST
    ");
    assert_snapshot!(why(&["3/da1c/batch"]), @"miss: nothing is used at checkpoint 3");

    let answer = json(dir.path(), &["receipts", "why", &batch]);
    assert_eq!((&answer["answer"], &answer["diverged"]), (&Value::from("hit"), &Value::from(false)));
    assert_eq!(answer["coordinate"], batch.as_str());
    let answer = json(dir.path(), &["receipts", "why", &batch, "--profile", &"3".repeat(64)]);
    assert_eq!((&answer["answer"], &answer["differs_in"]), (&Value::from("miss"), &Value::from("profile")));
    assert_eq!(answer["nearest"], batch.as_str());

    for wrong in [&["7/"][..], &["8//batch"], &["7", "--pins", &batch], &["4/b244/batch/x"]] {
        let output = reprise(dir.path(), &[&["receipts", "why"][..], wrong].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_block_can_be_named_as_it_is_printed() {
    let dir = recorded();
    let at = |checkpoint: &str| json(dir.path(), &["receipts", "ls", "--checkpoint", checkpoint]);
    let places = at("4")[0]["places"].as_array().unwrap().clone();
    let block =
        places.iter().find(|place| place["checkpoint"] == 4).unwrap()["block"].as_str().unwrap().to_owned();
    let whole = json(dir.path(), &["receipts", "ls", "--block", &block]);
    assert!(!whole.as_array().unwrap().is_empty());
    for printed in [format!("{}…", &block[..12]), block[..12].to_owned(), block[4..12].to_uppercase()] {
        assert_eq!(json(dir.path(), &["receipts", "ls", "--block", &printed]), whole, "{printed}");
        let why = json(dir.path(), &["receipts", "why", &printed]);
        assert_eq!(why, json(dir.path(), &["receipts", "why", &block]), "{printed}");
    }
    for (wrong, word) in [
        ("ffffffffffffff", "nothing stored is used in a block"),
        ("", "unique beginning"),
        ("blk:…", "unique beginning"),
    ] {
        let output = reprise(dir.path(), &["receipts", "ls", "--block", wrong]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(word), "{wrong}: {said}");
    }
}

#[test]
fn stats_count_what_is_stored() {
    let dir = recorded();
    assert_snapshot!(said(dir.path(), &["stats"]), @r"
    kind            count        bytes seconds to prove
    transaction        12            N              S.S
    batch               8            N              S.S
    aggregate           4            N              S.S
    30 places
    mock 1 fake HASHER 0 bits
      DIGEST
    memory: 0 hits, 0 misses, 0 errors since this process opened it
    disk: 0 hits, 0 misses, 0 errors since this process opened it
    ");
}

#[test]
fn a_dry_run_of_gc_prints_what_would_be_evicted_and_why() {
    let dir = recorded();
    let args = ["gc", "--max-bytes", "0", "--keep-from", "4", "--dry-run"];
    assert_snapshot!(said_sorted(dir.path(), &args), @r"
    3 receipts would go: N bytes before, N after
    batch stm:ID, N bytes: cheapest to prove again per byte
    transaction stm:ID, N bytes: cheapest to prove again per byte
    transaction stm:ID, N bytes: cheapest to prove again per byte
    ");
}

#[test]
fn gc_keeps_what_other_pins_use_and_asks_whose_checkpoint_it_is_given() {
    let dir = recorded();
    let verifier = MockBackend::new(MockConfig::default(), Arc::new(Blake3), Arc::new(Ledger));
    let store = Store::open(&dir.path().join("receipts"), Arc::new(verifier), Options::default()).unwrap();
    let all = store.list(&Filter::default()).unwrap();
    let (own, other) = (all[0].coordinates[0].pins, PinsDigest([7; 32]));
    let elsewhere = Coordinate { pins: other, ..all[0].coordinates[0] };
    assert_eq!(store.add_coordinates(&[(elsewhere, all[0].id)]).unwrap().added, 1);
    drop(store);
    let gc = |pins: &[&str]| {
        let args = ["receipts", "gc", "--max-bytes", "0", "--keep-from", "1000", "--dry-run"];
        reprise(dir.path(), &[&args[..], pins].concat())
    };
    for unclear in [&[][..], &["--pins", &"2".repeat(64)]] {
        let refused = gc(unclear);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains(&own.to_string()) && said.contains(&other.to_string()), "{said}");
    }
    for (pins, went) in [(own, all.len() - 1), (other, 0)] {
        let said = String::from_utf8_lossy(&gc(&["--pins", &pins.to_string()]).stdout).into_owned();
        assert!(said.contains(&format!("{went} receipts would go")), "{said}");
    }
}

#[test]
fn verify_prints_how_many_receipts_verified() {
    let dir = recorded();
    assert_snapshot!(said(dir.path(), &["verify"]), @"24 receipts verified, 0 failed");
}

#[test]
fn verify_says_what_of_the_log_does_not_check() {
    let dir = recorded();
    let log = dir.path().join("receipts").join("log");
    let segment = fs::read_dir(&log).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let output = reprise(dir.path(), &["receipts", "verify"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("bytes of the log do not check"), "{text}");
    assert!(json(dir.path(), &["receipts", "verify"])["damaged_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn commands_beside_a_running_node_write_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // Its first aggregate is not proved before it is killed, so it runs as long as the commands take.
    let apart = ["run", "--backend", "mock", "--mock-cost", "400,400,600000", "--prove-apart", "always"];
    let mut node = command(dir.path(), &apart);
    let mut node = node.stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(node.stderr.take().unwrap()).lines();
    let pid = node.id().to_string();
    let ask = |args: &[&str]| {
        let output = reprise(dir.path(), &[&["receipts"][..], args].concat());
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.contains(&pid), "{args:?}: {stderr}");
        output
    };
    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let archive = dir.path().join("receipts.archive").display().to_string();
    // It says what it has proved a moment before that is stored.
    let list = |_| serde_json::from_slice::<Value>(&ask(&["ls", "--json"]).stdout).unwrap();
    let mut listings = lines.map(list);
    let listed = listings.find(|listed| !listed[0].is_null()).unwrap();
    let (id, at) = (&listed[0]["id"], &listed[0]["places"][0]["coordinate"]);
    let (id, at) = (id.as_str().unwrap(), at.as_str().unwrap());
    assert!(text(&ask(&["show", id])).contains(id));
    assert!(text(&ask(&["why", at])).starts_with("hit"));
    assert!(text(&ask(&["verify"])).ends_with("receipts verified, 0 failed\n"));
    assert!(text(&ask(&["stats"])).starts_with("kind"));
    assert!(ask(&["export", &archive]).status.success());
    let dry = ask(&["gc", "--max-bytes", "0", "--keep-from", "1000", "--dry-run"]);
    assert!(text(&dry).contains("would go"));
    for writing in [
        &["rm", id][..],
        &["gc", "--max-bytes", "0", "--keep-from", "1000"],
        &["import", &archive],
        &["revoke", &"0".repeat(64)],
    ] {
        let refused = ask(writing);
        assert_eq!((refused.status.code(), text(&refused)), (Some(1), String::new()), "{writing:?}");
    }
    node.kill().unwrap();
    node.wait().unwrap();
    assert!(text(&reprise(dir.path(), &["receipts", "show", id])).contains(id), "nothing went");
}
