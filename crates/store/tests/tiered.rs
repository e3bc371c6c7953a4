//! Memory in front of an engine.

use std::sync::Arc;

use reprise_store::engine::{Changes, Pair, StorageEngine, Table};
use reprise_store::faulty::{FaultyEngine, Unreadable};
use reprise_store::memory::MemoryEngine;
use reprise_store::port::{StoreError, TierStats};
use reprise_store::tiered::Tiered;
use reprise_store::{Options, ReceiptStore, Store};

use crate::world::*;

fn key(n: u8) -> Vec<u8> {
    vec![n; 32]
}

fn over(bytes_max: u64) -> (Arc<FaultyEngine>, Tiered) {
    let below = Arc::new(FaultyEngine::new(Arc::new(MemoryEngine::default())));
    (below.clone(), Tiered::new(below, bytes_max))
}

fn set(engine: &dyn StorageEngine, n: u8, value: Option<Vec<u8>>) {
    engine.commit([((Table::Receipts, key(n)), value)].into(), true).unwrap();
}

fn read(engine: &dyn StorageEngine, n: u8) -> Option<Vec<u8>> {
    engine.read(Table::Receipts, &key(n)).unwrap()
}

fn counts(tier: &TierStats) -> (u64, u64, u64) {
    (tier.hits, tier.misses, tier.errors)
}

#[test]
fn what_was_written_or_read_is_answered_from_memory_and_never_older_than_a_commit() {
    let (below, tiered) = over(1 << 20);
    set(below.as_ref(), 1, Some(vec![1; 100]));
    assert_eq!(read(&tiered, 1), Some(vec![1; 100]));
    assert_eq!(read(&tiered, 1), Some(vec![1; 100]));
    set(&tiered, 2, Some(vec![2; 100]));
    assert_eq!(read(&tiered, 2), Some(vec![2; 100]));
    assert_eq!(below.receipts_read(), 1);
    set(&tiered, 1, Some(vec![3; 100]));
    assert_eq!(read(&tiered, 1), Some(vec![3; 100]));
    set(&tiered, 1, None);
    assert_eq!(read(&tiered, 1), None);
    let tiers = tiered.tiers();
    assert_eq!((tiers[0].name, counts(&tiers[0])), ("memory", (3, 2, 0)));
    assert_eq!((tiers[1].name, counts(&tiers[1])), ("disk", (1, 1, 0)));
}

#[test]
fn memory_stays_within_its_bound() {
    let (below, tiered) = over(10_000);
    for n in 0..100 {
        set(&tiered, n, Some(vec![n; 1000]));
        assert!(tiered.tiers()[0].bytes.unwrap() <= 10_000);
    }
    set(&tiered, 200, Some(vec![7; 20_000]));
    assert!(tiered.tiers()[0].bytes.unwrap() <= 10_000);
    for n in 0..100 {
        assert_eq!(read(&tiered, n), Some(vec![n; 1000]));
    }
    assert_eq!(read(&tiered, 200), Some(vec![7; 20_000]));
    assert!(below.receipts_read() >= 90);
}

#[test]
fn an_error_is_no_miss_and_is_not_cached() {
    let (below, tiered) = over(1 << 20);
    set(below.as_ref(), 1, Some(vec![1; 100]));
    below.make_unreadable(Table::Receipts, &key(1), Unreadable::Damaged);
    for _ in 0..2 {
        let error = tiered.read(Table::Receipts, &key(1));
        assert!(matches!(error, Err(StoreError::Damaged { .. })));
    }
    assert_eq!(counts(&tiered.tiers()[1]), (0, 0, 2));
    below.stop_after(0);
    assert!(tiered.commit([((Table::Receipts, key(2)), Some(vec![2]))].into(), true).is_err());
    assert_eq!(read(&tiered, 2), None, "what was not committed is not there");
    below.go_on();
    set(below.as_ref(), 1, Some(vec![1; 100]));
    assert_eq!(read(&tiered, 1), Some(vec![1; 100]));
}

#[test]
fn of_concurrent_readers_of_one_value_one_reads_the_disk() {
    let (below, tiered) = over(1 << 20);
    set(below.as_ref(), 1, Some(vec![1; 100_000]));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| assert_eq!(read(&tiered, 1), Some(vec![1; 100_000])));
        }
    });
    assert_eq!(below.receipts_read(), 1);
    assert_eq!(counts(&tiered.tiers()[0]), (15, 1, 0));
}

#[test]
fn a_store_on_disk_reports_the_figures_of_its_tiers() {
    let dir = tempfile::tempdir().unwrap();
    disk(dir.path()).put(entry(1, &[at(4, 1)])).unwrap();
    let store = disk(dir.path());
    assert!(is_hit(&store, 1) && is_hit(&store, 1));
    let tiers = store.stats().unwrap().tiers;
    assert_eq!(tiers.iter().map(counts).collect::<Vec<_>>(), [(1, 1, 0), (1, 0, 0)]);
    drop(store);
    let options = Options { memory_bytes_max: 0, ..Options::default() };
    assert_eq!(Store::open(dir.path(), hashed(), options).unwrap().stats().unwrap().tiers, []);
}

/// An engine whose reads block until they are released.
struct Slow {
    inner: MemoryEngine,
    begun: crossbeam_channel::Sender<()>,
    go: crossbeam_channel::Receiver<()>,
}

impl StorageEngine for Slow {
    fn read(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.inner.read(table, key);
        self.begun.send(()).unwrap();
        self.go.recv().unwrap();
        read
    }
    fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        self.inner.has(table, key)
    }
    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        self.inner.scan(table, from, to, limit)
    }
    fn commit(&self, changes: Changes, sync: bool) -> Result<(), StoreError> {
        self.inner.commit(changes, sync)
    }
    fn quarantine(&self, _: &str, _: &[u8], _: &str) -> Result<(), StoreError> {
        Ok(())
    }
}

#[test]
fn a_read_that_overlaps_a_commit_is_not_cached() {
    for after in [None, Some(vec![2; 10])] {
        let ((begun, has_begun), (go_on, go)) =
            (crossbeam_channel::unbounded(), crossbeam_channel::unbounded());
        let tiered = Tiered::new(Arc::new(Slow { inner: MemoryEngine::default(), begun, go }), 1 << 20);
        set(&tiered, 1, Some(vec![1; 10]));
        // Not in memory, and still below.
        for n in 2..=255 {
            set(&tiered, n, Some(vec![0; 100_000]));
        }
        std::thread::scope(|scope| {
            let under_way = scope.spawn(|| read(&tiered, 1));
            has_begun.recv().unwrap();
            set(&tiered, 1, after.clone());
            go_on.send(()).unwrap();
            assert_eq!(under_way.join().unwrap(), Some(vec![1; 10]), "what was there when it was asked");
        });
        go_on.send(()).unwrap();
        assert_eq!(read(&tiered, 1), after);
    }
}
