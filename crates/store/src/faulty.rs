//! Stores and engines that fail on request. For tests.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use reprise_disk::simulated::bad_place;
use reprise_model::coordinate::{Checkpoint, Coordinate};
use reprise_model::digest::{PinsDigest, ProfileId};
use reprise_model::profile::ProofProfile;
use reprise_model::statement::{Claim, Statement, StatementId};

use crate::engine::{Changes, Pair, StorageEngine, Table};
use crate::port::{
    Completion, CoordinateOutcome, EntryDetails, Filter, Floor, Lookup, Needed, NewEntry, PruneOutcome,
    PutOutcome, ReceiptStore, Stats, StoreError, Summary, TierStats,
};

/// What a faulty store or engine answers while it fails: a full disk.
fn full() -> StoreError {
    StoreError::Io {
        doing: "write",
        path: PathBuf::from("(injected)"),
        source: Arc::new(io::Error::from(io::ErrorKind::StorageFull)),
    }
}

/// A store in front of another that fails on request, as over a full disk.
pub struct FaultyStore {
    inner: Arc<dyn ReceiptStore>,
    reads_fail: AtomicBool,
    writes_fail: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl FaultyStore {
    /// Passes everything on, until a fault is requested.
    pub fn new(inner: Arc<dyn ReceiptStore>) -> Self {
        let (reads_fail, writes_fail) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { inner, reads_fail, writes_fail, panic: Mutex::default() }
    }

    /// Makes reads fail, or succeed again.
    pub fn fail_reads(&self, fail: bool) {
        self.reads_fail.store(fail, Ordering::Relaxed);
    }

    /// Makes writes fail, or succeed again.
    pub fn fail_writes(&self, fail: bool) {
        self.writes_fail.store(fail, Ordering::Relaxed);
    }

    /// Makes the next read panic with this.
    pub fn panic_at_next_read(&self, with: Box<dyn Any + Send>) {
        *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(with);
    }

    fn read(&self) -> Result<&dyn ReceiptStore, StoreError> {
        let panic = self.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
        if self.reads_fail.load(Ordering::Relaxed) { Err(full()) } else { Ok(self.inner.as_ref()) }
    }

    fn write(&self) -> Result<&dyn ReceiptStore, StoreError> {
        if self.writes_fail.load(Ordering::Relaxed) { Err(full()) } else { Ok(self.inner.as_ref()) }
    }
}

impl ReceiptStore for FaultyStore {
    fn get(&self, statement: &Statement, claim: &Claim) -> Result<Lookup, StoreError> {
        self.read()?.get(statement, claim)
    }
    fn contains(&self, id: &StatementId) -> Result<bool, StoreError> {
        self.read()?.contains(id)
    }
    fn put(&self, entry: NewEntry) -> Result<PutOutcome, StoreError> {
        self.write()?.put(entry)
    }
    fn submit(&self, entry: NewEntry, done: Completion) {
        match self.write() {
            Ok(inner) => inner.submit(entry, done),
            Err(error) => done(Err(error)),
        }
    }
    fn add_coordinates(
        &self,
        coordinates: &[(Coordinate, StatementId)],
    ) -> Result<CoordinateOutcome, StoreError> {
        self.write()?.add_coordinates(coordinates)
    }
    fn at(&self, coordinate: &Coordinate) -> Result<Vec<StatementId>, StoreError> {
        self.read()?.at(coordinate)
    }
    fn show(&self, id: &StatementId) -> Result<Option<EntryDetails>, StoreError> {
        self.read()?.show(id)
    }
    fn list(&self, filter: &Filter) -> Result<Vec<Summary>, StoreError> {
        self.read()?.list(filter)
    }
    fn verify(&self, id: &StatementId) -> Result<Lookup, StoreError> {
        self.read()?.verify(id)
    }
    fn pin(&self, id: &StatementId, owner: &str) -> Result<(), StoreError> {
        self.write()?.pin(id, owner)
    }
    fn unpin(&self, id: &StatementId, owner: &str) -> Result<bool, StoreError> {
        self.write()?.unpin(id, owner)
    }
    fn remove(&self, id: &StatementId) -> Result<bool, StoreError> {
        self.write()?.remove(id)
    }
    fn evict(&self, id: &StatementId, needed: &Needed) -> Result<bool, StoreError> {
        self.write()?.evict(id, needed)
    }
    fn protect(&self, pins: &PinsDigest, needed_from: [Checkpoint; 3]) {
        self.inner.protect(pins, needed_from);
    }
    fn prune_below(&self, pins: &PinsDigest, floor: Floor) -> Result<PruneOutcome, StoreError> {
        self.write()?.prune_below(pins, floor)
    }
    fn prune_floor(&self, pins: &PinsDigest) -> Result<Floor, StoreError> {
        self.read()?.prune_floor(pins)
    }

    fn announce(&self, pins: &PinsDigest, floor: Floor) {
        self.inner.announce(pins, floor);
    }
    fn describe(&self, profile: &ProofProfile) -> Result<(), StoreError> {
        self.write()?.describe(profile)
    }
    fn profiles(&self) -> Result<Vec<ProofProfile>, StoreError> {
        self.read()?.profiles()
    }
    fn revoke(&self, profile: &ProfileId) -> Result<u64, StoreError> {
        self.write()?.revoke(profile)
    }
    fn stats(&self) -> Result<Stats, StoreError> {
        self.read()?.stats()
    }
    fn tiers(&self) -> Vec<TierStats> {
        self.inner.tiers()
    }
}

/// Why a value cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// The engine notices damage.
    Damaged,
    /// The disk cannot read its place.
    BadPlace,
}

/// An engine in front of another that stops, corrupts and counts.
pub struct FaultyEngine {
    inner: Arc<dyn StorageEngine>,
    /// Commits until every further one fails; `u64::MAX` for never.
    commits_left: AtomicU64,
    unreadable: Mutex<BTreeMap<(Table, Vec<u8>), Unreadable>>,
    receipts_read: AtomicU64,
    entries_read: AtomicU64,
}

impl FaultyEngine {
    /// Passes everything on, until a fault is requested.
    pub fn new(inner: Arc<dyn StorageEngine>) -> Self {
        Self {
            inner,
            commits_left: AtomicU64::new(u64::MAX),
            unreadable: Mutex::default(),
            receipts_read: AtomicU64::new(0),
            entries_read: AtomicU64::new(0),
        }
    }

    /// Makes every commit fail after so many more, as over a full disk.
    pub fn stop_after(&self, commits: u64) {
        self.commits_left.store(commits, Ordering::Relaxed);
    }

    /// Lets every commit pass again.
    pub fn go_on(&self) {
        self.stop_after(u64::MAX);
    }

    /// Makes one value unreadable until it is written again.
    pub fn make_unreadable(&self, table: Table, key: &[u8], why: Unreadable) {
        self.unreadable().insert((table, key.to_vec()), why);
    }

    /// Changes stored bytes without the store's knowledge.
    pub fn tamper(
        &self,
        table: Table,
        key: &[u8],
        with: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), StoreError> {
        let mut bytes = self.inner.read(table, key)?.unwrap_or_default();
        with(&mut bytes);
        self.inner.commit([((table, key.to_vec()), Some(bytes))].into(), true)
    }

    /// How many envelopes were read.
    pub fn receipts_read(&self) -> u64 {
        self.receipts_read.load(Ordering::Relaxed)
    }

    /// How many entries were read.
    pub fn entries_read(&self) -> u64 {
        self.entries_read.load(Ordering::Relaxed)
    }

    fn count(&self, table: Table, read: usize) {
        let counter = match table {
            Table::Receipts => &self.receipts_read,
            Table::Entries => &self.entries_read,
            _ => return,
        };
        counter.fetch_add(read as u64, Ordering::Relaxed);
    }

    fn unreadable(&self) -> std::sync::MutexGuard<'_, BTreeMap<(Table, Vec<u8>), Unreadable>> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        let path = PathBuf::from("(injected)");
        match self.why(table, key) {
            Some(Unreadable::Damaged) => {
                Err(StoreError::Damaged { path, reason: "an injected fault".into() })
            }
            Some(Unreadable::BadPlace) => {
                let source = Arc::new(bad_place());
                Err(StoreError::Io { doing: "read", path, source })
            }
            None => Ok(()),
        }
    }

    fn why(&self, table: Table, key: &[u8]) -> Option<Unreadable> {
        self.unreadable().get(&(table, key.to_vec())).copied()
    }
}

impl StorageEngine for FaultyEngine {
    fn read(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.refuse(table, key)?;
        self.count(table, 1);
        self.inner.read(table, key)
    }

    fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        // What the index knows needs no place on the disk.
        if self.why(table, key) == Some(Unreadable::Damaged) {
            self.refuse(table, key)?;
        }
        self.inner.has(table, key)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        let mut page = self.inner.scan(table, from, to, limit)?;
        for (key, value) in &mut page {
            match self.why(table, key) {
                Some(Unreadable::BadPlace) => value.clear(),
                _ => self.refuse(table, key)?,
            }
        }
        self.count(table, page.len());
        Ok(page)
    }

    fn commit(&self, changes: Changes, sync: bool) -> Result<(), StoreError> {
        if changes.is_empty() {
            return self.inner.commit(changes, sync);
        }
        let left = self.commits_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            (left != u64::MAX && left != 0).then(|| left - 1).or(Some(left))
        });
        if left == Ok(0) {
            return Err(full());
        }
        let coordinates: Vec<_> = changes.keys().cloned().collect();
        self.inner.commit(changes, sync)?;
        let mut unreadable = self.unreadable();
        for place in coordinates {
            unreadable.remove(&place);
        }
        Ok(())
    }

    fn quarantine(&self, name: &str, bytes: &[u8], reason: &str) -> Result<(), StoreError> {
        self.inner.quarantine(name, bytes, reason)
    }
}
