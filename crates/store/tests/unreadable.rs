//! Places of the log that the disk cannot read: it answers each time with an error, not with other bytes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reprise_store::disk::DiskEngine;
use reprise_store::medium::{self, Medium};
use reprise_store::port::{Filter, Lookup, MissReason, QuarantineReason};
use reprise_store::read_only::ReadOnlyEngine;
use reprise_store::salvage::envelopes;
use reprise_store::simulated::SimulatedDisk;
use reprise_store::{OpenError, Options, ReceiptStore, Store};

use crate::world::*;

const DIR: &str = "store";
/// Some entries each.
const SEGMENT: u64 = 8 << 10;

fn opened(disk: &SimulatedDisk) -> Result<DiskEngine, OpenError> {
    DiskEngine::open_on(Arc::new(disk.clone()), Path::new(DIR), SEGMENT)
}

fn store(disk: &SimulatedDisk) -> Store {
    let options = Options { memory_bytes_max: 0, ..Options::default() };
    Store::on(opened(disk).unwrap(), hashed(), options).unwrap()
}

fn segment(number: u64) -> PathBuf {
    Path::new(DIR).join(format!("log/{number:08}.log"))
}

/// Where the first segment has the receipt of an entry.
fn envelope_at(disk: &SimulatedDisk, n: u64) -> u64 {
    let found = envelopes(&medium::read(disk, &segment(1)).unwrap());
    let (at, _) = found.iter().find(|(_, envelope)| envelope.receipt.id() == id(n)).unwrap();
    *at as u64
}

/// Where it has its record: a row of the first table, under its id.
fn record_at(disk: &SimulatedDisk, n: u64) -> u64 {
    let row = [&[0, 32, 0, 0, 0][..], &id(n).0].concat();
    let bytes = medium::read(disk, &segment(1)).unwrap();
    (bytes.windows(row.len()).position(|window| window == row).unwrap() + row.len() + 5) as u64
}

#[test]
fn a_log_is_cleaned_although_a_receipt_and_a_record_in_its_oldest_segment_cannot_be_read() {
    let disk = SimulatedDisk::new();
    let store = store(&disk);
    for n in 0..100 {
        store.put(entry(n, &[at(n, 1)])).unwrap();
    }
    for place in [envelope_at(&disk, 1), record_at(&disk, 2)] {
        disk.make_unreadable(&segment(1), place..place + 1);
    }
    assert!(store.get(&statement(1), &claim(1)).unwrap_err().is_unreadable());
    assert!(is_hit(&store, 2));
    assert_eq!(store.stats().unwrap().unreadable, [id(2)]);
    for n in 10..100 {
        store.remove(&id(n)).unwrap();
    }
    assert!(medium::read(&disk, &segment(1)).is_err(), "it is cleaned away");
    let found = store.get(&statement(1), &claim(1)).unwrap();
    assert_eq!(found, Lookup::Miss(MissReason::Quarantined(QuarantineReason::Missing)));
    assert!(store.put(entry(1, &[at(1, 1)])).unwrap().new);
    assert!((0..10).all(|n| is_hit(&store, n)));
    assert!(store.stats().unwrap().unreadable.is_empty());
}

#[test]
fn a_disk_that_reads_nothing_for_a_while_takes_nothing_from_the_log() {
    let disk = SimulatedDisk::new();
    let store = store(&disk);
    for n in 0..100 {
        store.put(entry(n, &[at(n, 1)])).unwrap();
    }
    disk.fail(reprise_store::simulated::Operation::Read, 0, u64::MAX, std::io::ErrorKind::TimedOut);
    for n in 10..100 {
        store.remove(&id(n)).unwrap();
    }
    disk.heal();
    assert!((0..10).all(|n| is_hit(&store, n)));
}

#[test]
fn a_segment_whose_changes_cannot_be_read_is_named_when_the_store_is_opened() {
    let disk = SimulatedDisk::new();
    let first = store(&disk);
    for n in 0..40 {
        first.put(entry(n, &[at(n, 1)])).unwrap();
    }
    drop(first);
    disk.make_unreadable(&segment(2), 130..131);
    let reading = || ReadOnlyEngine::open_on(Arc::new(disk.clone()), Path::new(DIR)).map(drop);
    for refused in [opened(&disk).map(drop), reading()] {
        let Err(OpenError::Io { path, source, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(path, segment(2));
        assert!(medium::is_unreadable(&source), "{source}");
    }
    // Nothing was changed by that: it may pass.
    disk.heal();
    let store = store(&disk);
    assert!((0..40).all(|n| is_hit(&store, n)));
    assert_eq!(store.list(&Filter::default()).unwrap().len(), 40);
    assert!(disk.is_directory(Path::new(DIR)).unwrap());
}
