//! Ratios of the store against the raw engine, in one run: `cargo bench -p reprise-store`.
//!
//! Wall times are of the machine they ran on; the ratios are what the targets name.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use reprise_store::disk::DiskEngine;
use reprise_store::engine::{StorageEngine, Table};
use reprise_store::port::{Filter, Floor, NewEntry};
use reprise_store::sample::{self, Accepting, PINS, SEAL_LEN};
use reprise_store::{Options, ReceiptStore, Store};

fn entry(n: u64, seal_len: usize) -> NewEntry {
    sample::entry(n, seal_len).unwrap()
}

fn open(dir: &Path) -> (Arc<DiskEngine>, Store) {
    let engine = Arc::new(DiskEngine::open(dir).unwrap());
    let store = Store::over(engine.clone(), Arc::new(Accepting), Options::default()).unwrap();
    (engine, store)
}

/// The median of many.
fn median(rounds: usize, mut once: impl FnMut(usize)) -> Duration {
    let mut times: Vec<_> = (0..rounds)
        .map(|round| {
            let start = Instant::now();
            once(round);
            start.elapsed()
        })
        .collect();
    times.sort();
    times[rounds / 2]
}

fn hits() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, store) = open(dir.path());
    let entries: Vec<_> = (0..64).map(|n| entry(n, SEAL_LEN)).collect();
    for entry in &entries {
        store.put(entry.clone()).unwrap();
    }
    let ids: Vec<_> = entries.iter().map(|entry| entry.receipt.id()).collect();
    let raw = |hash: bool| {
        median(640, |round| {
            let bytes = engine.read(Table::Receipts, &ids[round % 64].0).unwrap().unwrap();
            if hash {
                std::hint::black_box(blake3::hash(&bytes));
            }
            std::hint::black_box(bytes);
        })
    };
    let (get, hashed) = (raw(false), raw(true));
    let checked = median(640, |round| {
        let receipt = &entries[round % 64].receipt;
        assert!(store.get(&receipt.statement, &receipt.claim).unwrap().hit().is_some());
    });
    let ratio = checked.as_secs_f64() / hashed.as_secs_f64();
    println!(
        "hit of 217 KiB: raw get {get:?}, raw get + BLAKE3 {hashed:?}, checked hit {checked:?}, ratio {ratio:.2}"
    );
}

fn puts() {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = open(dir.path());
    let start = Instant::now();
    for n in 0..64 {
        store.put(entry(n, SEAL_LEN)).unwrap();
    }
    let serial = start.elapsed();
    let serial_flushes = store.stats().unwrap().flushes;
    let entries: Vec<_> = (64..128).map(|n| entry(n, SEAL_LEN)).collect();
    let (done, outcomes) = mpsc::channel();
    let start = Instant::now();
    for entry in entries {
        let done = done.clone();
        store.submit(entry, Box::new(move |put| done.send(put.is_ok()).unwrap()));
    }
    assert!(outcomes.iter().take(64).all(|durable| durable));
    let together = start.elapsed();
    let flushes = store.stats().unwrap().flushes - serial_flushes;
    println!(
        "64 durable puts of 217 KiB: serial {serial:?} in {serial_flushes} flushes, together {together:?} in \
         {flushes} flushes, wall ratio {:.2}",
        together.as_secs_f64() / serial.as_secs_f64()
    );
}

fn prunes() {
    for receipts in [2_000, 20_000] {
        let dir = tempfile::tempdir().unwrap();
        let (engine, store) = open(dir.path());
        let (done, outcomes) = mpsc::channel();
        for n in 0..receipts {
            let done = done.clone();
            store.submit(entry(n, 2_000), Box::new(move |put| done.send(put.is_ok()).unwrap()));
        }
        assert!(outcomes.iter().take(receipts as usize).all(|durable| durable));
        let start = Instant::now();
        let pruned = store.prune_below(&PINS, Floor::at(100)).unwrap();
        let by_range = start.elapsed();
        let left = store.list(&Filter::default()).unwrap();
        let start = Instant::now();
        for entry in &left {
            std::hint::black_box(engine.read(Table::Receipts, &entry.id.0).unwrap());
        }
        let by_reading = start.elapsed();
        println!(
            "prune {} of {receipts}: by range {by_range:?}, in two flushes; reading the {} left, as a scan by value would, \
             {by_reading:?}",
            pruned.receipts,
            left.len()
        );
    }
}

/// What the process has computed, in seconds: other work on the machine is not in it.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    ticks.sum::<u64>() as f64 / 100.0
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0) << 10
}

fn index() {
    let count = std::env::var(ENTRIES).map_or(100_000, |count| count.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let (engine, store) = open(dir.path());
    let (done, outcomes) = mpsc::channel();
    for n in 0..count {
        let done = done.clone();
        store.submit(entry(n, 16), Box::new(move |put| done.send(put.is_ok()).unwrap()));
    }
    assert!(outcomes.iter().take(count as usize).all(|durable| durable));
    drop((store, engine));
    // In a process of its own, so that the memory of writing does not count.
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .env(OPEN_ONLY, dir.path())
        .output()
        .unwrap();
    println!(
        "index of {count} entries with a coordinate each: {}",
        String::from_utf8_lossy(&child.stdout).trim()
    );
}

const OPEN_ONLY: &str = "REPRISE_BENCH_OPEN";
/// How many entries the index is measured with.
const ENTRIES: &str = "REPRISE_BENCH_ENTRIES";

fn open_only(dir: &Path) {
    let before = resident();
    let start = Instant::now();
    let (_engine, store) = open(dir);
    let (opened, spent) = (start.elapsed(), cpu_seconds());
    let grown = resident() - before;
    let entries = store.stats().unwrap().count();
    println!(
        "opened in {opened:?}, {spent:.2} s of CPU, {} bytes of memory an entry",
        grown / entries.max(1)
    );
}

fn main() {
    if let Ok(dir) = std::env::var(OPEN_ONLY) {
        return open_only(Path::new(&dir));
    }
    index();
    hits();
    puts();
    prunes();
}
