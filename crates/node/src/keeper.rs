//! The keeper: writes snapshots of settled positions into the data directory, on a thread of its own.
//!
//! It keeps the newest two, so that there is a whole one at any time for somebody to join from. A position is written once the
//! one before lies far enough below. While one is being written, others pass: the next settlement brings the next. A snapshot that
//! cannot be written is reported in the log and in the node's health, and the next position is tried; nothing else waits for it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use reprise_disk::data_dir::{DataDir, snapshots_in};
use reprise_disk::medium::Medium;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::PinsDigest;
use reprise_model::lane::WorkloadHasher;
use reprise_scheduler::snapshot::{self, Identity, SettledPosition, Snapshot, SnapshotError};

/// How many snapshots stay.
const KEPT: usize = 2;

/// The end of a snapshot's file name.
const SUFFIX: &str = ".snapshot";

/// See the [module](self).
pub(crate) struct Keeper {
    every: u64,
    /// The checkpoint from which on the next one is written.
    due: Arc<AtomicU64>,
    offers: Option<Sender<SettledPosition>>,
    told: Arc<OnceLock<Told>>,
    thread: Option<JoinHandle<()>>,
}

/// Hears of every snapshot that was written, and why one could not be.
pub(crate) type Told = Box<dyn Fn(Option<String>) + Send + Sync>;

/// What the thread works with.
struct Writing {
    medium: Arc<dyn Medium>,
    folder: PathBuf,
    identity: Identity,
    pins: PinsDigest,
    every: u64,
    due: Arc<AtomicU64>,
    told: Arc<OnceLock<Told>>,
}

impl Keeper {
    /// Starts the thread. Of two snapshots the second lies at least `every` checkpoints above the first.
    pub(crate) fn start(
        dir: DataDir,
        identity: Identity,
        hasher: Arc<dyn WorkloadHasher>,
        every: u64,
    ) -> io::Result<Self> {
        let pins = identity.pins.digest(hasher.as_ref());
        let (medium, folder) = (dir.medium(), dir.snapshots());
        let newest = kept(medium.as_ref(), &folder, &pins).ok().and_then(|kept| kept.first().map(|it| it.0));
        let due = newest.map_or(0, |Checkpoint(newest)| newest.saturating_add(every));
        let due = Arc::new(AtomicU64::new(due));
        let (offers, inbox) = bounded(1);
        let told = Arc::new(OnceLock::new());
        let writing = Writing { medium, folder, identity, pins, every, due: due.clone(), told: told.clone() };
        // The directory is held until the thread ends.
        let run = move || writing.run(&inbox, &dir);
        let thread = thread::Builder::new().name("snapshots".into()).spawn(run)?;
        Ok(Self { every, due, offers: Some(offers), told, thread: Some(thread) })
    }

    /// Sets who hears of every snapshot, once.
    pub(crate) fn tell(&self, told: Told) {
        let _ = self.told.set(told);
    }

    /// Takes a position, if it is due and none waits.
    pub(crate) fn offer(&mut self, settled: &SettledPosition) {
        let due = settled.position.checkpoint.0 >= self.due.load(Ordering::Relaxed);
        if let Some(offers) = self.offers.as_ref().filter(|_| due) {
            // Where one waits already, the next settlement brings another.
            let _ = offers.try_send(settled.clone());
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.offers = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("every", &self.every).finish_non_exhaustive()
    }
}

impl Writing {
    fn run(&self, inbox: &Receiver<SettledPosition>, _dir: &DataDir) {
        for settled in inbox {
            let checkpoint = settled.position.checkpoint;
            let written = self.write(settled);
            match &written {
                Ok(path) => tracing::info!(%checkpoint, "a snapshot is written: {}", path.display()),
                Err(error) => {
                    tracing::warn!(%checkpoint, "{error}; the next settlement is tried");
                }
            }
            if let Some(told) = self.told.get() {
                told(written.err().map(|error| error.to_string()));
            }
        }
    }

    fn write(&self, settled: SettledPosition) -> Result<PathBuf, SnapshotError> {
        let checkpoint = settled.position.checkpoint;
        let path = self.folder.join(name(&self.pins, checkpoint));
        let snapshot = Snapshot { identity: self.identity.clone(), settled };
        snapshot::save(self.medium.clone(), &path, &snapshot)?;
        self.due.store(checkpoint.0.saturating_add(self.every), Ordering::Relaxed);
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| SnapshotError::Io { path, action: "remove", source }
        };
        let old = kept(self.medium.as_ref(), &self.folder, &self.pins).map_err(failed(&self.folder))?;
        for (_, old) in old.into_iter().skip(KEPT) {
            self.medium.remove(&old).map_err(failed(&old))?;
        }
        Ok(path)
    }
}

fn name(pins: &PinsDigest, Checkpoint(checkpoint): Checkpoint) -> String {
    format!("{}-{checkpoint:012}{SUFFIX}", pins.short())
}

/// The snapshots of these pins in a folder, the newest first.
fn kept(medium: &dyn Medium, folder: &Path, pins: &PinsDigest) -> io::Result<Vec<(Checkpoint, PathBuf)>> {
    if !medium.is_directory(folder)? {
        return Ok(vec![]);
    }
    let of = |file: &String| {
        let checkpoint = file.strip_prefix(&pins.short())?.strip_prefix('-')?.strip_suffix(SUFFIX)?;
        Some((Checkpoint(checkpoint.parse().ok()?), folder.join(file)))
    };
    let mut kept: Vec<_> = medium.list(folder)?.iter().filter_map(of).collect();
    kept.sort();
    kept.reverse();
    Ok(kept)
}

/// The newest snapshot of these pins that a node wrote into the data directory at `dir`, whoever holds it.
pub fn newest(medium: &dyn Medium, dir: &Path, pins: &PinsDigest) -> io::Result<Option<PathBuf>> {
    Ok(kept(medium, &snapshots_in(dir), pins)?.into_iter().next().map(|(_, path)| path))
}
