//! What survives a crash: the tables of the receipt store and the batch records, and how the disk under them
//! goes wrong.
//!
//! A process holds a [`Hold`] on its disk. When it dies the hold is let go: what the process still tries to do
//! is refused, and what it was about to commit is there whole or not at all.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reprise_model::statement::StatementId;
use reprise_scheduler::record::{BatchRecord, RecordError, RecordLog};
use reprise_store::engine::{Changes, Engine, Pair, Table};
use reprise_store::envelope::Unchecked;
use reprise_store::memory::MemoryEngine;
use reprise_store::port::StoreError;

use crate::dice::Dice;

/// A disk.
#[derive(Debug, Default)]
pub struct Disk {
    tables: MemoryEngine,
    records: Mutex<Vec<BatchRecord>>,
    full: AtomicBool,
    refused: AtomicU64,
}

impl Disk {
    /// Lets the disk fill up, or have room again.
    pub fn fill(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// How many writes a full disk refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether a receipt is there whole: its envelope decodes, names the statement, and its checksum is right.
    /// Looked at without the store.
    pub fn holds(&self, id: &StatementId) -> bool {
        let Ok(Some(bytes)) = self.tables.read(Table::Receipts, &id.0) else { return false };
        let Ok(unchecked) = Unchecked::decode(bytes) else { return false };
        let checksum = unchecked.receipt().checksum();
        unchecked.check(&checksum).is_ok_and(|envelope| envelope.receipt.id() == *id)
    }

    /// Flips one bit of one stored receipt; of which.
    pub fn rot(&self, dice: &mut Dice) -> Option<StatementId> {
        let entries = self.tables.scan(Table::Entries, &[], None, usize::MAX).unwrap_or_default();
        let (key, _) = dice.pick(&entries)?;
        let mut bytes = self.tables.read(Table::Receipts, key).ok()??;
        let bit = dice.among(0..bytes.len() as u64 * 8);
        bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        let change = Changes::from([((Table::Receipts, key.clone()), Some(bytes))]);
        self.tables.commit(change, true).ok()?;
        key.as_slice().try_into().ok().map(StatementId)
    }

    /// The checkpoints that coordinates are stored under.
    pub fn checkpoints(&self) -> Vec<u64> {
        let keys = self.tables.scan(Table::Coordinates, &[], None, usize::MAX).unwrap_or_default();
        let first = |(key, _): &Pair| key.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        keys.iter().filter_map(first).collect()
    }

    /// Forgets every receipt.
    pub fn wipe(&self) {
        for table in Table::ALL {
            let keys = self.tables.scan(table, &[], None, usize::MAX).unwrap_or_default();
            let changes = keys.into_iter().map(|(key, _)| ((table, key), None)).collect();
            // Memory takes every change.
            let _ = self.tables.commit(changes, true);
        }
    }

    fn records(&self) -> MutexGuard<'_, Vec<BatchRecord>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is room.
    fn room(&self) -> Result<(), io::Error> {
        if !self.full.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        Err(io::ErrorKind::StorageFull.into())
    }
}

/// A process's hold on its disk.
#[derive(Debug, Clone)]
pub struct Hold {
    disk: Arc<Disk>,
    life: Arc<Life>,
}

#[derive(Debug)]
struct Life {
    dead: AtomicBool,
    /// How many more commits there are before the process dies at one; negative for never.
    commits_left: AtomicI64,
    /// Whether that commit is made.
    made: AtomicBool,
}

impl Hold {
    /// A hold of a new process.
    pub fn new(disk: Arc<Disk>) -> Self {
        let life = Life {
            dead: AtomicBool::new(false),
            commits_left: AtomicI64::new(-1),
            made: AtomicBool::new(false),
        };
        Self { disk, life: Arc::new(life) }
    }

    /// The process is dead from now on.
    pub fn let_go(&self) {
        self.life.dead.store(true, Ordering::Relaxed);
    }

    /// The process dies at a commit to come: just after it is `made`, or just before.
    pub fn die_at_commit(&self, after: u64, made: bool) {
        self.life.made.store(made, Ordering::Relaxed);
        self.life.commits_left.store(after as i64, Ordering::Relaxed);
    }

    /// Whether the process is dead.
    pub fn is_dead(&self) -> bool {
        self.life.dead.load(Ordering::Relaxed)
    }

    /// Whether a commit begun now is made, and told of.
    fn commit(&self) -> (bool, bool) {
        if self.is_dead() {
            return (false, false);
        }
        if self.life.commits_left.fetch_sub(1, Ordering::Relaxed) == 0 {
            self.let_go();
            return (self.life.made.load(Ordering::Relaxed), false);
        }
        (true, true)
    }

    fn alive(&self) -> Result<(), StoreError> {
        if self.is_dead() { Err(StoreError::Closed) } else { Ok(()) }
    }
}

fn gone() -> io::Error {
    io::Error::other("the process is dead")
}

impl Engine for Hold {
    fn read(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.alive()?;
        self.disk.tables.read(table, key)
    }

    fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        self.alive()?;
        self.disk.tables.has(table, key)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        self.alive()?;
        self.disk.tables.scan(table, from, to, limit)
    }

    fn commit(&self, changes: Changes, sync: bool) -> Result<(), StoreError> {
        let io = |source| StoreError::Io {
            doing: "write",
            path: PathBuf::from("(simulated)"),
            source: Arc::new(source),
        };
        self.disk.room().map_err(io)?;
        let (made, told) = self.commit();
        if made {
            self.disk.tables.commit(changes, sync)?;
        }
        if told { Ok(()) } else { Err(StoreError::Closed) }
    }

    fn quarantine(&self, _: &str, _: &[u8], _: &str) -> Result<(), StoreError> {
        self.alive()
    }
}

impl RecordLog for Hold {
    fn append(&mut self, records: &[&BatchRecord]) -> Result<(), RecordError> {
        let io = |source| RecordError::Io { path: PathBuf::from("(simulated)"), action: "write", source };
        self.disk.room().map_err(io)?;
        let (made, told) = self.commit();
        if made {
            self.disk.records().extend(records.iter().map(|record| (*record).clone()));
        }
        if told { Ok(()) } else { Err(io(gone())) }
    }

    fn load(&self) -> Result<Vec<BatchRecord>, RecordError> {
        Ok(self.disk.records().clone())
    }
}
