//! The directory of a store on disk.

use std::fs;

use reprise_store::port::Floor;
use reprise_store::{OpenError, Options, ReceiptStore, Store};

use crate::world::*;

fn refusal(dir: &std::path::Path) -> OpenError {
    match Store::open(dir, hashed(), Options::default()) {
        Ok(_) => panic!("it was opened"),
        Err(refusal) => refusal,
    }
}

#[test]
fn what_was_stored_is_there_after_a_restart_and_needs_no_verification() {
    let dir = tempfile::tempdir().unwrap();
    let store = disk(dir.path());
    store.put(entry(1, &[at(4, 1)])).unwrap();
    store.describe(&profile("1")).unwrap();
    store.pin(&id(1), "me").unwrap();
    store.prune_below(&PINS, Floor::at(3)).unwrap();
    drop(store);
    let store = disk(dir.path());
    assert!(is_hit(&store, 1));
    assert_eq!(store.at(&at(4, 1)).unwrap(), [id(1)]);
    assert_eq!(store.profiles().unwrap(), [profile("1")]);
    assert_eq!(store.prune_floor(&PINS).unwrap().below.0, 3);
    assert_eq!(store.show(&id(1)).unwrap().unwrap().summary.pins, ["me"]);
    assert_eq!(store.stats().unwrap().verifications, 0);
}

#[test]
fn a_second_opener_is_refused_with_the_pid_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = disk(dir.path());
    let refused = refusal(dir.path()).to_string();
    assert!(refused.contains(&format!("process {}:", std::process::id())), "{refused}");
    drop(store);
    disk(dir.path());
}

#[test]
fn a_newer_format_is_refused_with_both_versions() {
    let dir = tempfile::tempdir().unwrap();
    drop(disk(dir.path()));
    let line = "reprise receipt store 4";
    let check = &blake3::hash(line.as_bytes()).to_hex()[..16];
    fs::write(dir.path().join("FORMAT"), format!("{line}\ncheck {check}\n")).unwrap();
    let refused = refusal(dir.path()).to_string();
    assert!(refused.contains("has format 4") && refused.contains("reads format 3"), "{refused}");
    assert!(Store::repair(dir.path(), hashed(), Options::default()).is_err(), "repairing is no migration");
}

#[test]
fn a_damaged_or_missing_format_file_is_an_error_with_its_path_and_can_be_repaired() {
    let dir = tempfile::tempdir().unwrap();
    disk(dir.path()).put(entry(1, &[at(4, 1)])).unwrap();
    let format = dir.path().join("FORMAT");
    let whole = fs::read(&format).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&format, flipped).unwrap();
        let refused = refusal(dir.path());
        assert!(matches!(&refused, OpenError::Damaged { file, .. } if *file == format), "bit {bit}");
    }
    fs::remove_file(&format).unwrap();
    assert!(matches!(refusal(dir.path()), OpenError::Missing { file } if file == format));
    let read = Store::open_read_only(dir.path(), hashed(), Options::default());
    assert!(matches!(read, Err(OpenError::Missing { file }) if file == format));
    let repaired = Store::repair(dir.path(), hashed(), Options::default()).unwrap();
    assert!(is_hit(&repaired, 1));
    drop(repaired);
    assert_eq!(fs::read(&format).unwrap(), whole);
    disk(dir.path());
}

#[test]
fn a_directory_of_something_else_is_refused_and_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "years of work").unwrap();
    let refused = refusal(dir.path());
    assert!(matches!(&refused, OpenError::NotAStore { found, .. } if found == "thesis.tex"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_crash_between_lock_and_format_leaves_a_directory_that_opens() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("LOCK"), "1\n").unwrap();
    fs::write(dir.path().join("FORMAT.new"), "repr").unwrap();
    let store = disk(dir.path());
    assert!(store.put(entry(1, &[at(4, 1)])).unwrap().new);
}

#[test]
fn an_entry_that_fails_its_check_is_in_quarantine_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let store = disk(dir.path());
    let mut invalid = entry(1, &[at(4, 1)]);
    let mut receipt = invalid.receipt.into_inner();
    receipt.seal[0] ^= 1;
    invalid.receipt = reprise_model::receipt::Verified::check(receipt, &AcceptsAll).unwrap();
    store.put(invalid).unwrap();
    store.verify(&id(1)).unwrap();
    let mut files: Vec<_> =
        fs::read_dir(dir.path().join("quarantine")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 2, "{files:?}");
    let reason = fs::read_to_string(&files[0]).unwrap();
    assert!(reason.contains(&id(1).to_string()) && reason.contains("not the hash"), "{reason}");
    assert!(fs::read(&files[1]).unwrap().starts_with(b"RPRSRCPT"));
}
