//! What survives a crash: the data directory of a node on a simulated disk, with its receipts and its batch records.
//!
//! A killed process leaves what it has written. A power cut leaves what was synced, and any part of the rest
//! ([`reprise_store::simulated`]). A process can also be stopped within any write, sync or rename.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use reprise_disk::data_dir::{DataDir, LockError};
use reprise_store::medium::{Medium, Opening};
use reprise_store::simulated::{Operation, SimulatedDisk};

use reprise_node::rng::Rng;

/// The data directory.
const DIRECTORY: &str = "/node";

/// A disk.
pub struct Disk {
    medium: Mutex<SimulatedDisk>,
    full: AtomicBool,
    /// How often it was full.
    filled: AtomicU64,
    /// How often its receipts were deleted: each time they begin in another folder.
    wiped: AtomicU64,
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
            full: AtomicBool::new(false),
            filled: AtomicU64::new(0),
            wiped: AtomicU64::new(0),
        }
    }
}

fn empty() -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    // An empty disk has room for a directory.
    let _ = disk.make_directory(Path::new(DIRECTORY)).and_then(|()| disk.sync_directory(Path::new("/")));
    disk
}

impl Disk {
    /// The folder of the receipts.
    pub fn receipts(&self) -> PathBuf {
        Path::new(DIRECTORY).join(format!("receipts-{}", self.wiped.load(Ordering::Relaxed)))
    }

    /// The medium that a process opens its store on.
    pub fn medium(&self) -> SimulatedDisk {
        self.medium.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The data directory, held by one more process.
    pub fn hold(&self) -> Result<DataDir, LockError> {
        DataDir::lock_on(Arc::new(self.medium()), Path::new(DIRECTORY))
    }

    /// Ends the process, or with a seed the machine by a power cut.
    pub fn crash(&self, power: Option<u64>) {
        let mut medium = self.medium.lock().unwrap_or_else(PoisonError::into_inner);
        *medium = match power {
            Some(seed) => medium.power_cut(seed),
            None => medium.crash(),
        };
        drop(medium);
        self.refuse_writes();
    }

    /// Makes the disk full, or gives it room again.
    pub fn fill(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
        self.filled.fetch_add(u64::from(full), Ordering::Relaxed);
        self.refuse_writes();
    }

    fn refuse_writes(&self) {
        let medium = self.medium();
        if self.full.load(Ordering::Relaxed) {
            for operation in [Operation::Write, Operation::Make] {
                medium.fail(operation, 0, u64::MAX, io::ErrorKind::StorageFull);
            }
        } else if !medium.is_stopped() {
            medium.heal();
        }
    }

    /// How often it was full.
    pub fn filled(&self) -> u64 {
        self.filled.load(Ordering::Relaxed)
    }

    /// Flips one bit of the receipt log. Returns whether there was one.
    pub fn flip_bit(&self, rng: &mut Rng) -> bool {
        let (medium, log) = (self.medium(), self.receipts().join("log"));
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
            // Where the power fails at that moment, the bit may have flipped all the same.
            let _ = file.write_at(&byte, bit / 8).and_then(|()| file.sync());
            Ok(true)
        };
        rng.pick(&names).cloned().is_some_and(|name| flip(&name, rng).unwrap_or(false))
    }

    /// Deletes every receipt.
    pub fn wipe(&self) {
        let (medium, receipts) = (self.medium(), self.receipts());
        for folder in [receipts.join("log"), receipts] {
            for name in medium.list(&folder).unwrap_or_default() {
                // The new folder is another one: what cannot be removed is never read again.
                let _ = medium.remove(&folder.join(name));
            }
        }
        self.wiped.fetch_add(1, Ordering::Relaxed);
    }

    /// Deletes everything.
    pub fn lose(&self) {
        *self.medium.lock().unwrap_or_else(PoisonError::into_inner) = empty();
        self.refuse_writes();
    }
}
