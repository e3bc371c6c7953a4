//! What survives a crash: the store's directory on a simulated disk, and the batch records.
//!
//! A killed process leaves what it has written. A power cut leaves what was synced, and any part of the rest
//! ([`reprise_store::simulated`]). A process can also be stopped within any write, sync or rename of its store.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reprise_disk::log::LogError;
use reprise_model::coordinate::Checkpoint;
use reprise_scheduler::record::{BatchRecord, RecordLog};
use reprise_store::medium::{Medium, Opening};
use reprise_store::simulated::{Operation, SimulatedDisk};

use reprise_node::rng::Rng;

/// The directory of the receipt store.
pub const RECEIPTS: &str = "/receipts";

/// A disk, and the records beside it.
pub struct Disk {
    medium: Mutex<SimulatedDisk>,
    records: Mutex<Vec<BatchRecord>>,
    full: AtomicBool,
    refused: AtomicU64,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("full", &self.full).finish_non_exhaustive()
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            medium: Mutex::new(empty()),
            records: Mutex::default(),
            full: AtomicBool::new(false),
            refused: AtomicU64::new(0),
        }
    }
}

fn empty() -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    // An empty disk has room for a directory.
    let _ = disk.make_directory(Path::new(RECEIPTS)).and_then(|()| disk.sync_directory(Path::new("/")));
    disk
}

impl Disk {
    /// The medium that a process opens its store on.
    pub fn medium(&self) -> SimulatedDisk {
        self.medium.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the process, or with a seed the machine by a power cut.
    pub fn crash(&self, power: Option<u64>) {
        let mut medium = self.medium.lock().unwrap_or_else(PoisonError::into_inner);
        *medium = match power {
            Some(seed) => medium.power_cut(seed),
            None => medium.crash(),
        };
        drop(medium);
        self.fill(self.full.load(Ordering::Relaxed));
    }

    /// Makes the disk full, or gives it room again.
    pub fn fill(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
        let medium = self.medium();
        if full {
            for operation in [Operation::Write, Operation::Make] {
                medium.fail(operation, 0, u64::MAX, io::ErrorKind::StorageFull);
            }
        } else if !medium.is_stopped() {
            medium.heal();
        }
    }

    /// How often a full disk refused something.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Flips one bit of the receipt log. Returns whether there was one.
    pub fn flip_bit(&self, rng: &mut Rng) -> bool {
        let (medium, log) = (self.medium(), Path::new(RECEIPTS).join("log"));
        let mut names = medium.list(&log).unwrap_or_default();
        names.sort_unstable();
        let flip = |name: &String, rng: &mut Rng| -> io::Result<bool> {
            let file = medium.open(&log.join(name), Opening::Write)?;
            let bits = file.len()? * 8;
            if bits == 0 {
                return Ok(false);
            }
            let bit = rng.among(0..bits);
            let mut byte = [0];
            file.read_at(&mut byte, bit / 8)?;
            byte[0] ^= 1 << (bit % 8);
            file.write_at(&byte, bit / 8)?;
            file.sync()?;
            Ok(true)
        };
        rng.pick(&names).cloned().is_some_and(|name| flip(&name, rng).unwrap_or(false))
    }

    /// Deletes every receipt.
    pub fn wipe(&self) {
        *self.medium.lock().unwrap_or_else(PoisonError::into_inner) = empty();
        self.fill(self.full.load(Ordering::Relaxed));
    }

    /// Deletes everything.
    pub fn lose(&self) {
        self.wipe();
        self.records().clear();
    }

    fn records(&self) -> MutexGuard<'_, Vec<BatchRecord>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The batch records, as one process holds them. An append is durable when it returns, and whole or not at all.
#[derive(Debug, Clone)]
pub struct Records {
    disk: Arc<Disk>,
    ended: Arc<AtomicBool>,
}

impl Records {
    /// The records of a new process.
    pub fn new(disk: Arc<Disk>) -> Self {
        Self { disk, ended: Arc::new(AtomicBool::new(false)) }
    }

    /// The process has ended: its appends fail from here on.
    pub fn end_process(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

impl RecordLog for Records {
    fn append(&mut self, records: &[&BatchRecord]) -> Result<(), LogError> {
        let refused = |source: io::Error| LogError::Io {
            path: PathBuf::from("(simulated)"),
            action: "write",
            what: "batch records",
            source,
        };
        if self.ended.load(Ordering::Relaxed) || self.disk.medium().is_stopped() {
            return Err(refused(io::Error::other("the process has ended")));
        }
        if self.disk.full.load(Ordering::Relaxed) {
            self.disk.refused.fetch_add(1, Ordering::Relaxed);
            return Err(refused(io::ErrorKind::StorageFull.into()));
        }
        self.disk.records().extend(records.iter().map(|record| (*record).clone()));
        Ok(())
    }

    fn load(&self) -> Result<Vec<BatchRecord>, LogError> {
        Ok(self.disk.records().clone())
    }

    fn drop_up_to(&mut self, checkpoint: Checkpoint) -> Result<(), LogError> {
        self.disk.records().retain(|record| record.block.metadata.checkpoint > checkpoint);
        Ok(())
    }
}
