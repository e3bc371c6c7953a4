//! The log: whatever lies in its segments, the store opens, tells no lie, and takes and keeps a receipt.
#![no_main]

use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use reprise_fuzz::{FILLED, Hashed, edit, entry, profile, receipt};
use reprise_model::coordinate::Checkpoint;
use reprise_store::disk::DiskEngine;
use reprise_store::port::Lookup;
use reprise_store::{Durability, Options, ReceiptStore, Store};

/// So long that the receipts lie in a few segments.
const SEGMENT_BYTES_MAX: u64 = 4096;

fn open(dir: &Path) -> Store {
    let engine = DiskEngine::open_with(dir, SEGMENT_BYTES_MAX).expect("whatever the log holds, it opens");
    let options = Options { durability: Durability::None, ..Options::default() };
    Store::on(engine, Arc::new(Hashed), options).expect("a thread is there")
}

/// A directory that every case fills anew, and the segments of a whole log.
fn whole() -> &'static (tempfile::TempDir, Vec<Vec<u8>>) {
    static WHOLE: OnceLock<(tempfile::TempDir, Vec<Vec<u8>>)> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary directory is there");
        let store = open(dir.path());
        store.describe(&profile()).expect("the disk takes it");
        for n in 0..FILLED + 2 {
            store.put(entry(n)).expect("the disk takes it");
        }
        store.prune_below(Checkpoint(2)).expect("the disk takes it");
        store.remove(&receipt(FILLED + 1).id()).expect("the disk takes it");
        drop(store);
        let log = dir.path().join("log");
        let read = |number| fs::read(log.join(format!("{number:08}.log"))).ok();
        let segments: Vec<_> = (1..).map_while(read).collect();
        assert!(segments.len() > 1);
        (dir, segments)
    })
}

/// The receipt or nothing, and no other.
fn is_hit(store: &Store, n: u64) -> bool {
    let wanted = receipt(n);
    match store.get(&wanted.statement, &wanted.claim).expect("damage is no error") {
        Lookup::Hit(found) => {
            assert_eq!(*found, wanted);
            true
        }
        Lookup::Miss(_) => false,
    }
}

fuzz_target!(|input: &[u8]| {
    let (dir, segments) = whole();
    let Some((mode, rest)) = input.split_first() else { return };
    let (log, quarantine) = (dir.path().join("log"), dir.path().join("quarantine"));
    let _ = fs::remove_dir_all(&quarantine);
    let _ = fs::remove_dir_all(&log);
    fs::create_dir(&log).expect("the disk takes it");
    let victim = usize::from(*mode) % segments.len();
    for (at, segment) in segments.iter().enumerate() {
        let mut bytes = segment.clone();
        if at == victim {
            match mode / 16 {
                0 => continue,
                1 => bytes = rest.to_vec(),
                2 => bytes.extend_from_slice(rest),
                _ => edit(&mut bytes, rest),
            }
        }
        fs::write(log.join(format!("{:08}.log", at + 1)), bytes).expect("the disk takes it");
    }
    let store = open(dir.path());
    for n in 0..FILLED {
        is_hit(&store, n);
    }
    assert!(store.put(entry(200)).expect("the disk takes it").stored);
    assert!(is_hit(&store, 200));
    drop(store);
    assert!(is_hit(&open(dir.path()), 200));
});
