//! The log: whatever lies in its segments, the store opens, tells no lie, and takes and keeps a receipt.
#![no_main]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use reprise_fuzz::{FILLED, Hashed, edit, entry, profile, receipt};
use reprise_model::digest::PinsDigest;
use reprise_store::disk::DiskEngine;
use reprise_store::medium::{Medium, Opening};
use reprise_store::port::{Floor, Lookup};
use reprise_store::simulated::SimulatedDisk;
use reprise_store::{Durability, Options, ReceiptStore, Store, WriterMode};

/// So long that the receipts lie in a few segments.
const SEGMENT_BYTES_MAX: u64 = 4096;

fn open(disk: &SimulatedDisk) -> Store {
    let engine = DiskEngine::open_on(Arc::new(disk.clone()), Path::new("/store"), SEGMENT_BYTES_MAX);
    let engine = engine.expect("whatever the log holds, it opens");
    let options =
        Options { durability: Durability::None, writer_mode: WriterMode::ByCaller, ..Options::default() };
    Store::on(engine, Arc::new(Hashed), options).expect("it needs no thread")
}

fn path(segment: usize) -> PathBuf {
    format!("/store/log/{:08}.log", segment + 1).into()
}

fn read(disk: &SimulatedDisk, segment: usize) -> io::Result<Vec<u8>> {
    let file = disk.open(&path(segment), Opening::Read)?;
    let mut bytes = vec![0; file.len()? as usize];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn write(disk: &SimulatedDisk, segment: usize, bytes: &[u8]) -> io::Result<()> {
    let file = disk.open(&path(segment), Opening::Write)?;
    file.truncate(0)?;
    file.write_at(bytes, 0)
}

/// A disk that every case begins with, and the segments of a whole log on it.
fn whole() -> &'static (SimulatedDisk, Vec<Vec<u8>>) {
    static WHOLE: OnceLock<(SimulatedDisk, Vec<Vec<u8>>)> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let disk = SimulatedDisk::new();
        let store = open(&disk);
        store.describe(&profile()).expect("the disk takes it");
        for n in 0..FILLED + 2 {
            store.put(entry(n)).expect("the disk takes it");
        }
        store.prune_below(&PinsDigest([1; 32]), Floor::at(2)).expect("the disk takes it");
        store.remove(&receipt(FILLED + 1).id()).expect("the disk takes it");
        drop(store);
        let segments: Vec<_> = (0..).map_while(|segment| read(&disk, segment).ok()).collect();
        assert!(segments.len() > 1);
        (disk, segments)
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
    let (disk, segments) = whole();
    let Some((mode, rest)) = input.split_first() else { return };
    let disk = disk.crash();
    let victim = usize::from(*mode) % segments.len();
    let mut bytes = segments[victim].clone();
    match mode / 16 {
        0 => disk.remove(&path(victim)).expect("it is there"),
        1 => bytes = rest.to_vec(),
        2 => bytes.extend_from_slice(rest),
        _ => edit(&mut bytes, rest),
    }
    if mode / 16 != 0 {
        write(&disk, victim, &bytes).expect("the disk takes it");
    }
    let store = open(&disk);
    for n in 0..FILLED {
        is_hit(&store, n);
    }
    assert!(store.put(entry(200)).expect("the disk takes it").stored);
    assert!(is_hit(&store, 200));
    drop(store);
    assert!(is_hit(&open(&disk.crash()), 200));
});
