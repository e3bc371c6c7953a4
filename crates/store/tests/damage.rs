//! Damage anywhere in the directory, the engine's own structures included.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use reprise_model::coordinate::Checkpoint;
use reprise_store::disk::DiskEngine;
use reprise_store::port::{Floor, Lookup};
use reprise_store::{Durability, Options, ReceiptStore, Store};

use crate::world::*;

/// Options for tests that do not test durability.
fn unsynced() -> Options {
    Options { durability: Durability::None, ..Options::default() }
}

/// 1 where the run is to be exhaustive.
fn step() -> usize {
    std::env::var("REPRISE_TEST_STEP").map_or(17, |step| step.parse().unwrap())
}

/// How many receipts the damaged store had.
const RECEIPTS: u64 = 60;

fn big_entry(n: u64) -> reprise_store::port::NewEntry {
    // Some live in the sorted tables, some outside.
    let receipt = receipt_of(&hashed(), n, if n.is_multiple_of(3) { 700 } else { 9000 });
    reprise_store::port::NewEntry { receipt, ..entry(n, &[at(n, 1)]) }
}

/// A store with logs, tables and separated values on disk.
fn template(dir: &Path) {
    for round in 0..3 {
        let engine = DiskEngine::open_with(dir, 64 << 10).unwrap();
        let store = Store::over(Arc::new(engine), hashed(), Options::default()).unwrap();
        for n in (0..RECEIPTS).filter(|n| n % 3 == round) {
            store.put(big_entry(n)).unwrap();
        }
    }
    // The log is cut to its length when it is opened.
    drop(disk(dir));
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for item in fs::read_dir(dir).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.path().is_dir() {
            copy(&item.path(), &target);
        } else {
            fs::copy(item.path(), target).unwrap();
        }
    }
}

/// Damages one file, as the seed says. Returns what was done.
fn damage(dir: &Path, seeded: &mut Seeded) -> String {
    let files: Vec<_> = files(dir).into_iter().filter(|file| fs::metadata(file).unwrap().len() > 0).collect();
    let path = &files[seeded.below(files.len() as u64) as usize];
    let len = fs::metadata(path).unwrap().len();
    let name = path.strip_prefix(dir).unwrap().display().to_string();
    let mut file = File::options().read(true).write(true).open(path).unwrap();
    let from = seeded.below(len);
    match seeded.below(8) {
        0 => {
            fs::remove_file(path).unwrap();
            format!("{name} is missing")
        }
        1 => {
            file.set_len(from).unwrap();
            format!("{name} is cut at {from} of {len}")
        }
        2 => {
            let zeros = (1 + seeded.below(512)).min(len - from);
            file.seek(SeekFrom::Start(from)).unwrap();
            file.write_all(&vec![0; zeros as usize]).unwrap();
            format!("{name} has {zeros} zeros at {from} of {len}")
        }
        _ => {
            let mut byte = [0];
            file.seek(SeekFrom::Start(from)).unwrap();
            file.read_exact(&mut byte).unwrap();
            let bit = seeded.below(8);
            file.seek(SeekFrom::Start(from)).unwrap();
            file.write_all(&[byte[0] ^ 1 << bit]).unwrap();
            format!("{name} has bit {bit} flipped at {from} of {len}")
        }
    }
}

/// What a store that opened does with all it was given.
fn use_it(store: &Store, what: &str) -> Result<u64, String> {
    let mut lost = 0;
    for n in 0..RECEIPTS {
        // A hit must be the right receipt.
        let found = match store.get(&statement(n), &claim(n)) {
            Ok(found) => found,
            Err(error) => return Err(error.to_string()),
        };
        match found {
            Lookup::Hit(found) => assert_eq!(found, big_entry(n).receipt, "{what}: a lie about {n}"),
            Lookup::Miss(missed) => {
                lost += 1;
                match store.put(big_entry(n)) {
                    Ok(put) => {
                        let again = store.get(&statement(n), &claim(n));
                        assert!(
                            matches!(again, Ok(Lookup::Hit(_))),
                            "{what}: {n} was missed for {missed:?}, put as {put:?}, and then {again:?}"
                        );
                    }
                    Err(error) => return Err(error.to_string()),
                }
            }
        }
    }
    match store.put(entry(1000, &[at(1000, 1)])) {
        Ok(_) => Ok(lost),
        Err(error) => Err(error.to_string()),
    }
}

#[derive(Debug, Default)]
struct Statistics {
    unharmed: u64,
    healed: u64,
    lost: u64,
    refused: u64,
    failed_later: u64,
    salvaged: u64,
}

/// One case: damage, open, use, and rebuild where that is refused.
fn case(template: &Path, seed: u64, tally: &mut Statistics) {
    let dir = tempfile::tempdir().unwrap();
    copy(template, dir.path());
    let what = format!("seed {seed}: {}", damage(dir.path(), &mut Seeded(seed)));
    let refusal = match Store::open(dir.path(), hashed(), unsynced()) {
        Ok(store) => match use_it(&store, &what) {
            Ok(0) if store.salvaged().receipts > 0 => {
                tally.salvaged += store.salvaged().receipts;
                return;
            }
            Ok(0) => {
                tally.unharmed += 1;
                return;
            }
            Ok(lost) => {
                tally.healed += 1;
                tally.lost += lost;
                return;
            }
            Err(error) => {
                tally.failed_later += 1;
                error
            }
        },
        Err(error) => {
            tally.refused += 1;
            error.to_string()
        }
    };
    let named = refusal.contains(&dir.path().display().to_string());
    assert!(named, "{what}: `{refusal}` names no file");
    let repaired = Store::repair(dir.path(), hashed(), unsynced())
        .unwrap_or_else(|error| panic!("{what}, {refusal}: {error}"));
    assert_eq!(use_it(&repaired, &what), Ok(0), "{what}");
}

#[test]
fn a_damaged_directory_recovers_or_is_an_error_with_its_path_and_never_crashes_hangs_or_returns_a_wrong_receipt()
 {
    let number = |name, or| std::env::var(name).map_or(or, |n| n.parse::<u64>().unwrap());
    let from = number("REPRISE_TEST_DAMAGE_FROM", 0);
    let cases = from + number("REPRISE_TEST_DAMAGE", 40);
    let whole = tempfile::tempdir().unwrap();
    template(whole.path());
    let mut tally = Statistics::default();
    let (done, seeds) = mpsc::channel();
    let work = std::thread::spawn(move || {
        for seed in from..cases {
            case(whole.path(), seed, &mut tally);
            done.send(seed).unwrap();
        }
        tally
    });
    for next in from..cases {
        match seeds.recv_timeout(Duration::from_secs(60)) {
            Ok(seed) => assert_eq!(seed, next),
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("seed {next} hangs"),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    match work.join() {
        Ok(tally) => println!("cases {from} to {cases}: {tally:?}"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// A store with receipts of two profiles, of which one was revoked and a few of it stored again, and with a prune.
fn template_of_deletions(dir: &Path) {
    let store = Store::on(DiskEngine::open_with(dir, 8 << 10).unwrap(), hashed(), unsynced()).unwrap();
    for n in 0..RECEIPTS {
        store.put(of_either_profile(n)).unwrap();
    }
    assert_eq!(store.revoke(&profile("1").id()).unwrap(), RECEIPTS / 2);
    for n in (0..10).step_by(2) {
        store.put(of_either_profile(n)).unwrap();
    }
    store.prune_below(&PINS, Floor::at(RECEIPTS / 2)).unwrap();
    store.put(entry(1000, &[at(1000, 1)])).unwrap();
}

/// An entry of profile 1 if `n` is even, and of profile 2 if not; used at checkpoint `n`, and the first ten again later.
fn of_either_profile(n: u64) -> reprise_store::port::NewEntry {
    let scheme = hashed_at(if n.is_multiple_of(2) { "1" } else { "2" });
    let receipt = receipt_of(&scheme, n, 400);
    let place = |checkpoint| reprise_model::coordinate::Coordinate {
        profile: receipt.statement.profile,
        ..at(checkpoint, 1)
    };
    let coordinates = if n < 10 { vec![place(n), place(100 + n)] } else { vec![place(n)] };
    reprise_store::port::NewEntry { receipt, coordinates, ..entry(n, &[at(n, 1)]) }
}

/// Verifies both profiles, so that only the revocation keeps a receipt from being a hit.
struct Either;

impl reprise_model::receipt::Verifier for Either {
    fn verify(
        &self,
        receipt: &reprise_model::receipt::Receipt,
    ) -> Result<(), reprise_model::receipt::VerifyError> {
        hashed().verify(receipt).or_else(|_| hashed_at("2").verify(receipt))
    }
}

#[test]
fn damage_to_the_record_of_a_deletion_brings_back_nothing_revoked_and_no_coordinate_below_the_floor() {
    let whole = tempfile::tempdir().unwrap();
    template_of_deletions(whole.path());
    let number = |name, or| std::env::var(name).map_or(or, |n| n.parse::<u64>().unwrap());
    let from = number("REPRISE_TEST_DAMAGE_FROM", 0);
    let mut salvaged = 0;
    for seed in from..from + number("REPRISE_TEST_DAMAGE", 40) {
        let dir = tempfile::tempdir().unwrap();
        copy(whole.path(), dir.path());
        let what = format!("seed {seed}: {}", damage(dir.path(), &mut Seeded(seed)));
        // Opened twice: what the first opening restored is there for the second.
        for _ in 0..2 {
            let store = Store::open(dir.path(), Arc::new(Either), unsynced())
                .or_else(|_| Store::repair(dir.path(), Arc::new(Either), unsynced()))
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            salvaged += store.salvaged().receipts;
            for n in 0..RECEIPTS {
                let receipt = of_either_profile(n).receipt;
                let found = store.get(&receipt.statement, &receipt.claim).unwrap();
                let revoked = n.is_multiple_of(2) && n >= 10;
                assert!(!revoked || matches!(found, Lookup::Miss(_)), "{what}: {n} was revoked");
            }
            let floor = store.prune_floor(&PINS).unwrap().below;
            for entry in store.list(&Default::default()).unwrap() {
                let first = entry.coordinates.iter().map(|coordinate| coordinate.checkpoint).min();
                assert!(first.is_none_or(|first| first >= floor), "{what}: {first:?} is below {floor}");
            }
        }
    }
    println!("{salvaged} receipts were salvaged");
}

#[test]
fn a_receipt_in_a_frame_whose_changes_are_damaged_is_salvaged_verified() {
    let dir = tempfile::tempdir().unwrap();
    let store = disk(dir.path());
    store.put(entry(1, &[at(4, 1)])).unwrap();
    store.put(entry(2, &[at(5, 1)])).unwrap();
    drop(store);
    let log = dir.path().join("log/00000001.log");
    let mut bytes = fs::read(&log).unwrap();
    // Inside the changes of the first frame.
    bytes[130] ^= 1;
    fs::write(&log, bytes).unwrap();
    let verifier = hashed();
    let store = Store::open(dir.path(), verifier.clone(), Options::default()).unwrap();
    assert_eq!((store.salvaged().receipts, store.salvaged().refused, verifier.calls()), (1, 0, 1));
    assert!(is_hit(&store, 1) && is_hit(&store, 2));
    assert_eq!(store.at(&at(4, 1)).unwrap(), [], "its place comes back with its next use");
    assert_eq!(store.at(&at(5, 1)).unwrap(), [id(2)]);
}

#[test]
fn every_bit_flip_in_a_log_loses_at_most_the_entry_it_is_in() {
    let dir = tempfile::tempdir().unwrap();
    let store = disk(dir.path());
    for n in 0..3 {
        store.put(entry(n, &[at(n, 1)])).unwrap();
    }
    drop(store);
    let log = dir.path().join("log/00000001.log");
    let whole = fs::read(&log).unwrap();
    for byte in (0..whole.len()).step_by(step()) {
        let mut flipped = whole.clone();
        flipped[byte] ^= 1 << (byte % 8);
        fs::write(&log, flipped).unwrap();
        // Nothing is written while it is open: the salvaged entry would be.
        let store = Store::open(dir.path(), Arc::new(Unwilling), Options::default()).unwrap();
        let hits = (0..3).filter(|n| is_hit(&store, *n)).count();
        assert_eq!(hits, 2, "byte {byte} of {}", whole.len());
    }
}

/// Knows no profile.
struct Unwilling;

impl reprise_model::receipt::Verifier for Unwilling {
    fn verify(
        &self,
        receipt: &reprise_model::receipt::Receipt,
    ) -> Result<(), reprise_model::receipt::VerifyError> {
        Err(reprise_model::receipt::VerifyError::ForeignProfile { statement: receipt.id() })
    }
}

#[test]
fn every_truncation_of_a_log_loses_what_it_cuts_and_nothing_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = disk(dir.path());
    let mut ends = vec![0];
    let log = dir.path().join("log/00000001.log");
    for n in 0..3 {
        store.put(entry(n, &[at(n, 1)])).unwrap();
        ends.push(fs::metadata(&log).unwrap().len() as usize);
    }
    drop(store);
    let whole = fs::read(&log).unwrap();
    for len in (0..whole.len()).step_by(step()) {
        fs::write(&log, &whole[..len]).unwrap();
        let store = Store::open(dir.path(), Arc::new(Unwilling), Options::default()).unwrap();
        let hits = (0..3).filter(|n| is_hit(&store, *n)).count();
        assert_eq!(hits, ends.iter().filter(|end| **end <= len).count() - 1, "{len} of {}", whole.len());
    }
}

#[test]
fn a_store_that_is_written_after_damage_keeps_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = disk(dir.path());
    store.put(entry(1, &[at(1, 1)])).unwrap();
    drop(store);
    let log = dir.path().join("log/00000001.log");
    let mut torn = fs::read(&log).unwrap();
    torn.extend_from_within(..50);
    fs::write(&log, torn).unwrap();
    for n in 2..6 {
        let store = disk(dir.path());
        store.put(entry(n, &[at(n, 1)])).unwrap();
        drop(store);
        let store = disk(dir.path());
        assert!((1..=n).all(|n| is_hit(&store, n)), "{n}");
    }
}

#[test]
fn a_log_of_deleted_receipts_is_cleaned_and_the_live_ones_stay() {
    let dir = tempfile::tempdir().unwrap();
    let open =
        || Store::on(DiskEngine::open_with(dir.path(), 16 << 10).unwrap(), hashed(), unsynced()).unwrap();
    let store = open();
    store.put(entry(1000, &[at(1_000_000, 1)])).unwrap();
    store.pin(&id(1001), "me").unwrap();
    for n in 0..400 {
        store.put(entry(n, &[at(n, 1)])).unwrap();
        store.prune_below(&PINS, Floor::at(n.saturating_sub(10))).unwrap();
    }
    let size =
        || files(&dir.path().join("log")).iter().map(|file| fs::metadata(file).unwrap().len()).sum::<u64>();
    assert!(size() < 6 * (16 << 10), "{} bytes for 12 receipts", size());
    let holds = |store: &Store| {
        assert!(is_hit(store, 1000) && (389..400).all(|n| is_hit(store, n)));
        assert!((0..389).all(|n| !is_hit(store, n)));
        assert_eq!(store.prune_floor(&PINS).unwrap().below, Checkpoint(389));
        assert!(store.unpin(&id(1001), "me").unwrap());
        store.pin(&id(1001), "me").unwrap();
    };
    holds(&store);
    drop(store);
    holds(&open());
}

/// Needs a file system of a few megabytes, at the path in `REPRISE_TEST_SMALL_DISK`; says so and passes
/// where there is none.
#[test]
fn a_disk_that_is_really_full_is_a_transient_error_and_the_store_goes_on_when_there_is_room() {
    let Ok(small) = std::env::var("REPRISE_TEST_SMALL_DISK") else {
        println!("skipped: REPRISE_TEST_SMALL_DISK names no small file system");
        return;
    };
    let dir = Path::new(&small).join("store");
    let ballast = Path::new(&small).join("ballast");
    let store = disk(&dir);
    fs::write(&ballast, vec![1; 8 << 20]).unwrap();
    let big = |n| reprise_store::port::NewEntry {
        receipt: receipt_of(&hashed(), n, 500_000),
        ..entry(n, &[at(n, 1)])
    };
    let mut stored = 0;
    let refused = loop {
        match store.put(big(stored)) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 1000, "the file system is not small");
    };
    assert!(refused.is_transient(), "{refused}");
    assert!(store.put(big(stored)).is_err(), "still full");
    let hit = |n: u64| store.get(&statement(n), &claim(n)).unwrap().hit().is_some();
    assert!((0..stored).all(hit), "reads go on");
    fs::remove_file(&ballast).unwrap();
    assert!(store.put(big(stored)).unwrap().new);
    assert!((0..=stored).all(hit));
    drop(store);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_power_cut_in_an_append_keeps_all_before_and_the_frame_whole_or_not_at_all() {
    const SECTOR: usize = 512;
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log/00000001.log");
    let store = disk(dir.path());
    for n in 0..3 {
        store.put(entry(n, &[at(n, 1)])).unwrap();
    }
    let synced = fs::metadata(&log).unwrap().len() as usize;
    store.put(big_entry(4)).unwrap();
    drop(store);
    let whole = fs::read(&log).unwrap();
    for seed in 0..(1000 / step() as u64) {
        // Any of the sectors of the unsynced frame arrived, and the file's length or not.
        let mut seeded = Seeded(seed);
        let mut bytes = whole.clone();
        let mut arrived = true;
        for sector in (synced / SECTOR..whole.len().div_ceil(SECTOR)).rev() {
            if seeded.below(4) == 0 {
                let from = (sector * SECTOR).max(synced);
                let to = (from / SECTOR * SECTOR + SECTOR).min(bytes.len());
                arrived &= bytes[from..to].iter().all(|byte| *byte == 0);
                bytes[from..to].fill(0);
            }
        }
        if seeded.below(3) == 0 {
            bytes.truncate(synced + seeded.below((whole.len() - synced) as u64) as usize);
            arrived = false;
        }
        for number in 2..4 {
            let _ = fs::remove_file(dir.path().join(format!("log/{number:08}.log")));
        }
        fs::write(&log, &bytes).unwrap();
        for round in 0..3 {
            let store = Store::open(dir.path(), hashed(), unsynced()).unwrap();
            assert!((0..3).all(|n| is_hit(&store, n)), "seed {seed}");
            let found = store.get(&statement(4), &claim(4)).unwrap();
            match found {
                Lookup::Hit(_) => {
                    assert!(arrived || store.salvaged().receipts > 0 || round > 0, "seed {seed}")
                }
                Lookup::Miss(reason) => {
                    assert_eq!(reason, reprise_store::port::MissReason::Absent, "seed {seed} round {round}");
                    assert!(!arrived, "seed {seed}");
                }
            }
            // A put after the cut stays, and the cut frame does not come back.
            store.put(entry(10 + round, &[at(10 + round, 1)])).unwrap();
            assert!((10..=10 + round).all(|n| is_hit(&store, n)), "seed {seed} round {round}");
        }
    }
}

#[test]
fn readers_see_only_right_receipts_while_receipts_are_put_pruned_and_cleaned() {
    let dir = tempfile::tempdir().unwrap();
    let engine = DiskEngine::open_with(dir.path(), 16 << 10).unwrap();
    let store = Store::on(engine, hashed(), unsynced()).unwrap();
    store.put(entry(0, &[at(1_000_000, 1)])).unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in 0..2 {
            let (store, over) = (&store, &over);
            scope.spawn(move || {
                let mut seeded = Seeded(reader);
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    is_hit(store, seeded.below(300));
                    assert!(is_hit(store, 0));
                }
            });
        }
        for n in 1..300 {
            store.put(entry(n, &[at(n, 1)])).unwrap();
            store.prune_below(&PINS, Floor::at(n.saturating_sub(20))).unwrap();
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let stats = store.stats().unwrap();
    assert_eq!((stats.errors, stats.quarantined), (0, 0), "{stats:?}");
}
