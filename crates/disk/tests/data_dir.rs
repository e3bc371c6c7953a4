//! Data directories: one process holds one, and no other opens its files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reprise_disk::data_dir::{DataDir, LockError};
use reprise_disk::log::{Format, Found, Log};
use reprise_disk::simulated::SimulatedDisk;
use reprise_model::digest::PinsDigest;

const PINS: PinsDigest = PinsDigest([1; 32]);
const FORMAT: Format = Format { magic: *b"RPTEST\0\0", earlier: None, version: 1, what: "the test's frames" };

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
fn a_second_holder_of_a_directory_is_refused_with_the_process_id_and_writes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let dir = DataDir::lock(home.path()).unwrap();
    let mut log = Log::create(dir.records(&PINS), FORMAT, [1; 32], &[]).unwrap();
    log.append(b"acknowledged").unwrap();
    let before = files(home.path());
    for _ in 0..100 {
        let refused = DataDir::lock(home.path()).unwrap_err();
        let named = matches!(&refused, LockError::InUse { dir, pid }
            if dir == home.path() && *pid == std::process::id().to_string());
        assert!(named, "{refused}");
        assert_eq!(files(home.path()), before);
    }
    drop(dir);
    assert!(DataDir::lock(home.path()).is_err(), "an open log keeps the lock");
    drop(log);
    DataDir::lock(home.path()).unwrap();
}

#[test]
fn a_hundred_second_starts_while_the_first_writes_lose_nothing_that_was_acknowledged() {
    let home = tempfile::tempdir().unwrap();
    let dir = DataDir::lock(home.path()).unwrap();
    let mut log = Log::create(dir.event_log(&PINS), FORMAT, [1; 32], &[]).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let over = over.clone();
        move || {
            let mut written = 0u32;
            while !over.load(Ordering::Relaxed) || written < 100 {
                log.append(&written.to_le_bytes()).unwrap();
                written += 1;
            }
            written
        }
    });
    for _ in 0..100 {
        assert!(matches!(DataDir::lock(home.path()), Err(LockError::InUse { .. })));
    }
    over.store(true, Ordering::Relaxed);
    let written = writer.join().unwrap();
    drop(dir);
    let dir = DataDir::lock(home.path()).unwrap();
    let found = Log::open(dir.event_log(&PINS), FORMAT, [1; 32]).unwrap().unwrap();
    let read: Vec<_> = found.log.frames(0).map(Result::unwrap).collect();
    assert_eq!(read, (0..written).map(|n| n.to_le_bytes().to_vec()).collect::<Vec<_>>());
}

#[test]
fn a_directory_on_a_full_disk_can_be_held() {
    let disk = SimulatedDisk::new();
    let lock = || DataDir::lock_on(Arc::new(disk.clone()), Path::new("/data"));
    drop(lock().unwrap());
    disk.room(Some(0));
    let held = lock().unwrap();
    assert!(matches!(lock(), Err(LockError::InUse { .. })));
    drop(held);
    lock().unwrap();
}

#[test]
fn a_detached_directory_is_read_beside_its_holder_and_nothing_in_it_changes() {
    let home = tempfile::tempdir().unwrap();
    let dir = DataDir::lock(home.path()).unwrap();
    let mut log = Log::create(dir.event_log(&PINS), FORMAT, [1; 32], &[b"first"]).unwrap();
    let path = dir.event_log(&PINS).path().to_owned();
    // What the holder is just writing: a frame of which a part is on the disk.
    let whole = fs::read(&path).unwrap();
    fs::write(&path, [&whole[..], b"half a frame"].concat()).unwrap();
    let before = files(home.path());

    let detached = DataDir::detached(home.path()).unwrap();
    let Found { log: mut copy, damage } =
        Log::open(detached.event_log(&PINS), FORMAT, [1; 32]).unwrap().unwrap();
    assert_eq!(damage, []);
    copy.append(b"mine").unwrap();
    let read = |log: &Log| log.frames(0).map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(read(&copy), [b"first".to_vec(), b"mine".to_vec()]);
    assert_eq!(files(home.path()), before);

    // The holder goes on, and what it writes now is seen by whoever looks anew.
    fs::write(&path, &whole).unwrap();
    log.append(b"second").unwrap();
    assert_eq!(read(&copy), [b"first".to_vec(), b"mine".to_vec()]);
    let anew = DataDir::detached(home.path()).unwrap();
    let found = Log::open(anew.event_log(&PINS), FORMAT, [1; 32]).unwrap().unwrap();
    assert_eq!(read(&found.log), [b"first".to_vec(), b"second".to_vec()]);
}

#[test]
fn a_detached_directory_that_is_not_there_holds_nothing_and_is_not_made() {
    let home = tempfile::tempdir().unwrap();
    let detached = DataDir::detached(&home.path().join("nowhere")).unwrap();
    assert!(Log::open(detached.event_log(&PINS), FORMAT, [1; 32]).unwrap().is_none());
    assert!(!home.path().join("nowhere").exists());
}

#[test]
fn a_directory_that_nobody_has_held_is_not_locked_again_and_one_that_was_is() {
    let dir = tempfile::tempdir().unwrap();
    assert!(DataDir::lock_again(dir.path()).unwrap().is_none());
    assert!(DataDir::lock_again(&dir.path().join("none")).unwrap().is_none());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was made");
    drop(DataDir::lock(dir.path()).unwrap());
    let held = DataDir::lock_again(dir.path()).unwrap();
    assert!(held.is_some());
    assert!(matches!(DataDir::lock_again(dir.path()), Err(LockError::InUse { .. })));
}
