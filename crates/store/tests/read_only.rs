//! Reading a directory that another opener writes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use reprise_store::disk::DiskEngine;
use reprise_store::port::{Filter, Lookup, MissReason, QuarantineReason, StoreError};
use reprise_store::{OpenError, Options, ReceiptStore, Store, archive};

use crate::world::*;

fn reading(dir: &Path) -> Store {
    Store::open_read_only(dir, hashed(), Options::default()).unwrap()
}

/// Every file below a directory, with its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for item in fs::read_dir(dir).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    all
}

#[test]
fn an_open_store_is_read_beside_its_writer_and_not_a_byte_of_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let writer = disk(dir.path());
    writer.describe(&profile("1")).unwrap();
    writer.put(entry(1, &[at(4, 1)])).unwrap();
    let before = files(dir.path());
    let reader = reading(dir.path());
    assert!(is_hit(&reader, 1));
    assert!(matches!(reader.verify(&id(1)).unwrap(), Lookup::Hit(_)));
    assert_eq!(reader.at(&at(4, 1)).unwrap(), [id(1)]);
    assert_eq!(reader.profiles().unwrap(), [profile("1")]);
    assert_eq!(reader.stats().unwrap().count(), 1);
    assert_eq!(archive::export(&reader, &Filter::default(), &mut Vec::new()).unwrap().entries, 1);
    assert!(matches!(reader.put(entry(2, &[at(5, 1)])), Err(StoreError::ReadOnly { .. })));
    assert!(matches!(reader.remove(&id(1)), Err(StoreError::ReadOnly { .. })));
    assert_eq!(files(dir.path()), before);

    writer.put(entry(2, &[at(5, 1)])).unwrap();
    assert!(!is_hit(&reader, 2), "what was opened is one moment");
    assert!(is_hit(&reading(dir.path()), 2));
}

#[test]
fn half_a_frame_at_the_end_is_ignored_and_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let writer = disk(dir.path());
    writer.put(entry(1, &[at(4, 1)])).unwrap();
    let log = dir.path().join("log/00000001.log");
    let one = fs::read(&log).unwrap().len();
    writer.put(entry(2, &[at(5, 1)])).unwrap();
    let whole = fs::read(&log).unwrap();
    for len in one..whole.len() {
        fs::write(&log, &whole[..len]).unwrap();
        let reader = reading(dir.path());
        assert!(is_hit(&reader, 1) && !reader.contains(&id(2)).unwrap(), "{len} bytes");
        assert_eq!(fs::read(&log).unwrap().len(), len);
    }
    fs::write(&log, &whole).unwrap();
    assert!(is_hit(&reading(dir.path()), 2));
}

#[test]
fn an_entry_that_fails_is_reported_and_stays_for_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let writer = disk(dir.path());
    let mut invalid = entry(1, &[at(4, 1)]);
    let mut receipt = invalid.receipt.into_inner();
    receipt.seal[0] ^= 1;
    invalid.receipt = reprise_model::receipt::Verified::check(receipt, &AcceptsAll).unwrap();
    writer.put(invalid).unwrap();
    let before = files(dir.path());
    let reader = reading(dir.path());
    for _ in 0..2 {
        let found = reader.verify(&id(1)).unwrap();
        let refused = MissReason::Quarantined(QuarantineReason::Verification(
            reprise_model::receipt::VerifyError::BadSeal { statement: id(1), reason: "not the hash".into() },
        ));
        assert_eq!(found, Lookup::Miss(refused));
    }
    assert_eq!(reader.stats().unwrap().quarantined, 0);
    assert_eq!(files(dir.path()), before);
}

#[test]
fn a_directory_that_is_no_store_does_not_become_one() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(
        Store::open_read_only(dir.path(), hashed(), Options::default()),
        Err(OpenError::Io { .. })
    ));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    fs::write(dir.path().join("FORMAT"), "reprise receipt store 2").unwrap();
    let refused = Store::open_read_only(dir.path(), hashed(), Options::default());
    assert!(matches!(refused, Err(OpenError::Damaged { .. })));
}

#[test]
fn every_opening_beside_a_writer_that_cleans_is_one_moment() {
    const WINDOW: u64 = 5;
    const LAST: u64 = 400;
    let dir = tempfile::tempdir().unwrap();
    let engine = DiskEngine::open_with(dir.path(), 4096).unwrap();
    let writer = Store::on(engine, hashed(), Options::default()).unwrap();
    let done = AtomicBool::new(false);
    let mut moments = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..=LAST {
                writer.put(entry(n, &[at(n, 1)])).unwrap();
                if n >= WINDOW {
                    writer.remove(&id(n - WINDOW)).unwrap();
                }
            }
            done.store(true, Ordering::Release);
        });
        let mut newest = 0;
        loop {
            let over = done.load(Ordering::Acquire);
            let reader = reading(dir.path());
            let entries = reader.list(&Filter::default()).unwrap();
            let mut stored: Vec<_> = entries.iter().map(|e| e.coordinates[0].checkpoint.0).collect();
            stored.sort_unstable();
            // What the writer has stored at any time is a window of numbers, and it only moves on.
            if let (Some(&first), Some(&last)) = (stored.first(), stored.last()) {
                let wanted = [last.saturating_sub(WINDOW), (last + 1).saturating_sub(WINDOW)];
                assert!(wanted.contains(&first) && last >= newest, "{stored:?} after {newest}");
                assert_eq!(stored.len() as u64, last - first + 1, "{stored:?}");
                newest = last;
            }
            for n in stored {
                assert!(is_hit(&reader, n));
            }
            moments += 1;
            if over {
                assert_eq!(newest, LAST);
                break;
            }
        }
    });
    assert!(moments > 1);
    assert!(!dir.path().join("log/00000001.log").exists(), "the log was cleaned meanwhile");
}
