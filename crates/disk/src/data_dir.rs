//! A data directory that this process holds.
//!
//! ```text
//! DIR/
//!   LOCK                  held by the process that works in the directory; holds its process id
//!   l1/chronicle-PINS     the event log of a live L1
//!   l1/overlay-PINS       the settlements of an L1 that cannot be written to, by block
//!   state/records-PINS    batch records
//!   state/attempts        the attempts at statements that are not proved
//!   state/exit-fees-PINS, state/settlement-fees-PINS
//!                         what exits and settlements have cost of their fees of the day
//!   state/fleet-name      what the node is called among those that share receipts with it
//!   state/origin-PINS     the snapshot that the chain is followed from, where it is not the founding: imported, or the node's own
//!   snapshots/            the snapshots that the node wrote, the newest two
//!   receipts/             the receipt store
//!   divergences/          journals of a program and of native execution that differ
//! ```
//!
//! The lock comes first: only a [`DataDir`] makes a [`LockedPath`], only the lock makes a `DataDir`, and every path keeps
//! the lock. So a second process is refused before it has opened, cut or replaced any file of a directory in use.
//!
//! `PINS` is the short form of the pins digest: another lane, covenant or program has files of its own.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reprise_model::digest::PinsDigest;
use reprise_model::mutation::{self, Mutation};

use crate::detached::Detached;
use crate::medium::{self, FileSystem, Medium, MediumFile, Opening};

/// Why a directory cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The file system refused.
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The file system's error.
        source: io::Error,
    },
    /// Another process holds it.
    #[error("{} is in use by process {pid}: stop that process, or give another --data-dir", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The process id that the lock file holds.
        pid: String,
    },
}

/// A data directory that this process holds, until the last clone and the last place are dropped.
#[derive(Clone)]
pub struct DataDir(Arc<Held>);

struct Held {
    medium: Arc<dyn Medium>,
    path: PathBuf,
    _lock: DirectoryLock,
}

impl fmt::Debug for DataDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DataDir").field(&self.0.path).finish()
    }
}

impl DataDir {
    /// Makes the directory where there is none, and holds it.
    pub fn lock(path: &Path) -> Result<Self, LockError> {
        Self::lock_on(Arc::new(FileSystem), path)
    }

    /// The same, on another medium than the machine's file system.
    pub fn lock_on(medium: Arc<dyn Medium>, path: &Path) -> Result<Self, LockError> {
        make(medium.as_ref(), path)?;
        let lock = lock(medium.as_ref(), path)?;
        Ok(Self(Arc::new(Held { medium, path: path.into(), _lock: lock })))
    }

    /// Holds the directory where it was held before; `None` where no lock file is there, and none is made. So a command that only reads
    /// leaves no file of its user's in another one's directory, who could not open it.
    pub fn lock_again(path: &Path) -> Result<Option<Self>, LockError> {
        was_held(path).then(|| Self::lock(path)).transpose()
    }

    /// The directory as it is at this moment, to be read only, whoever holds it: nothing is written to the disk.
    pub fn detached(path: &Path) -> Result<Self, LockError> {
        Self::lock_on(Arc::new(Detached::default()), path)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The event log of a live L1.
    pub fn event_log(&self, pins: &PinsDigest) -> LockedPath {
        self.place("l1", format!("chronicle-{}", pins.short()))
    }

    /// The overlay's file.
    pub fn overlay(&self, pins: &PinsDigest) -> LockedPath {
        self.place("l1", format!("overlay-{}", pins.short()))
    }

    /// The file of batch records.
    pub fn records(&self, pins: &PinsDigest) -> LockedPath {
        self.place("state", format!("records-{}", pins.short()))
    }

    /// The file of attempts.
    pub fn attempts(&self) -> LockedPath {
        self.place("state", "attempts".into())
    }

    /// The file that holds what the node is called in its fleet.
    pub fn fleet_name(&self) -> LockedPath {
        self.place("state", "fleet-name".into())
    }

    /// What exits have cost of their fees of the day.
    pub fn exit_fees(&self, pins: &PinsDigest) -> LockedPath {
        self.place("state", format!("exit-fees-{}", pins.short()))
    }

    /// The same of settlements.
    pub fn settlement_fees(&self, pins: &PinsDigest) -> LockedPath {
        self.place("state", format!("settlement-fees-{}", pins.short()))
    }

    /// The snapshot that the chain is followed from.
    pub fn origin(&self, pins: &PinsDigest) -> LockedPath {
        self.place("state", format!("origin-{}", pins.short()))
    }

    /// The folder of the snapshots that the node wrote.
    pub fn snapshots(&self) -> PathBuf {
        snapshots_in(&self.0.path)
    }

    /// What the directory lies on.
    pub fn medium(&self) -> Arc<dyn Medium> {
        self.0.medium.clone()
    }

    /// The directory of the receipt store, which has a lock of its own.
    pub fn receipts(&self) -> PathBuf {
        receipts_in(&self.0.path)
    }

    /// The folder for journals that differ.
    pub fn divergences(&self) -> PathBuf {
        self.0.path.join("divergences")
    }

    fn place(&self, within: &str, name: String) -> LockedPath {
        LockedPath { path: self.0.path.join(within).join(name), dir: self.clone() }
    }
}

/// The directory of the receipt store in a data directory: it can be read without a lock.
pub fn receipts_in(dir: &Path) -> PathBuf {
    dir.join("receipts")
}

/// The folder of the snapshots that a node wrote into its data directory. They can be read without a lock: each is there whole
/// or not at all.
pub fn snapshots_in(dir: &Path) -> PathBuf {
    dir.join("snapshots")
}

/// A file of a data directory that this process holds, whether it is there or not.
#[derive(Debug, Clone)]
pub struct LockedPath {
    path: PathBuf,
    dir: DataDir,
}

impl LockedPath {
    /// Its path, to name it by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that it is in.
    pub fn dir(&self) -> &DataDir {
        &self.dir
    }

    /// Whether it is there.
    pub fn exists(&self) -> bool {
        !matches!(self.open(), Ok(None))
    }

    /// Gives it a name beside it that is free: its own with the suffix and a number. Returns that name.
    pub fn put_aside(&self, suffix: &str) -> io::Result<PathBuf> {
        let mut number = 1;
        let aside = loop {
            let aside = self.beside(&format!("{suffix}-{number}"));
            if !aside.exists() {
                break aside;
            }
            number += 1;
        };
        self.medium().rename(&self.path, &aside.path)?;
        self.medium().sync_directory(self.parent())?;
        Ok(aside.path)
    }

    pub(crate) fn medium(&self) -> &dyn Medium {
        self.dir.0.medium.as_ref()
    }

    pub(crate) fn parent(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Another file beside it.
    pub(crate) fn beside(&self, suffix: &str) -> Self {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        Self { path: path.into(), dir: self.dir.clone() }
    }

    /// Opens it; `None` where it is not there.
    pub(crate) fn open(&self) -> io::Result<Option<Arc<dyn MediumFile>>> {
        match self.medium().open(&self.path, Opening::Write) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Makes a directory and those above it, where they are missing, and its entry durable.
pub fn make(medium: &dyn Medium, path: &Path) -> Result<(), LockError> {
    medium::make_durably(medium, path).map_err(|(action, path, source)| LockError::Io {
        action,
        path,
        source,
    })
}

/// The lock of a directory, until it is dropped.
pub struct DirectoryLock(Arc<dyn MediumFile>);

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Closing is not enough: a child process has the file open as well, until it runs its own program.
        let _ = self.0.unlock();
    }
}

/// The file by which a directory is locked.
const LOCK: &str = "LOCK";

/// Whether a directory was ever held. One that was restored from a backup was not.
pub fn was_held(dir: &Path) -> bool {
    dir.join(LOCK).exists()
}

/// Locks a directory by the file `LOCK` in it.
pub fn lock(medium: &dyn Medium, dir: &Path) -> Result<DirectoryLock, LockError> {
    let path = dir.join(LOCK);
    let failed = |source| LockError::Io { action: "lock", path: path.clone(), source };
    let file = medium.open(&path, Opening::WriteOrMake).map_err(failed)?;
    if !file.try_lock().map_err(failed)? && !mutation::is(Mutation::CutWithoutLock) {
        // The lock is held even if its process id cannot be read.
        let pid = medium::read(medium, &path).unwrap_or_default();
        let pid = String::from_utf8_lossy(&pid).trim().to_owned();
        let pid = if pid.is_empty() { "(unknown)".into() } else { pid };
        return Err(LockError::InUse { dir: dir.into(), pid });
    }
    let pid = format!("{}\n", medium.process());
    match file.truncate(0).and_then(|()| file.write_at(pid.as_bytes(), 0)) {
        // On a full disk there is no room for the id. The lock is held nevertheless.
        Err(error) if !medium::is_full(&error) => Err(failed(error)),
        _ => Ok(DirectoryLock(file)),
    }
}
