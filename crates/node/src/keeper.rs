//! The keeper: writes snapshots of settled positions into the data directory, on a thread of its own.
//!
//! It keeps the newest two, so that there is a whole one at any time for somebody to join from. A position is written once the
//! one before lies far enough below. While one is being written, others pass: the next settlement brings the next. A snapshot that
//! cannot be written is reported in the log and in the node's health, and the next position is tried; nothing else waits for it.
//!
//! # Where the next process begins
//!
//! A snapshot whose settlement is final is what the next process begins with: it is read again, checked whole, and copied to the
//! directory's [origin](DataDir::origin). Then nothing below it is needed, and the owners of event log and batch records are told to
//! drop that. The order matters: a crash in between leaves a log that reaches further down than the origin, and the next start cuts
//! it. While the newest snapshot's settlement is not final, the oldest one that waits for that stays, beside the newest two.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use reprise_disk::data_dir::{DataDir, snapshots_in};
use reprise_disk::medium::Medium;
use reprise_model::block::ChainRoot;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, PinsDigest};
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
    offers: Option<Sender<(SettledPosition, Checkpoint)>>,
    told: Arc<OnceLock<Told>>,
    thread: Option<JoinHandle<()>>,
}

/// What became of a position.
#[derive(Debug)]
pub(crate) enum Kept {
    /// A snapshot of it was written. If the next process begins with one now that it did not begin with before: its block.
    Written(Option<(ChainRoot, Checkpoint)>),
    /// Why not.
    Failed(String),
}

/// Hears what became of every position.
pub(crate) type Told = Box<dyn Fn(Kept) + Send + Sync>;

/// What the thread works with.
struct Writing {
    dir: DataDir,
    identity: Identity,
    hasher: Arc<dyn WorkloadHasher>,
    pins: PinsDigest,
    every: u64,
    due: Arc<AtomicU64>,
    told: Arc<OnceLock<Told>>,
    /// The snapshot that the next process is to begin with once its settlement is final: the checkpoint of the block that carries
    /// that.
    next: Option<(PathBuf, Checkpoint)>,
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
        let newest = kept(dir.medium().as_ref(), &dir.snapshots(), &pins);
        let newest = newest.ok().and_then(|kept| kept.first().map(|it| it.0));
        let due = newest.map_or(0, |Checkpoint(newest)| newest.saturating_add(every));
        let due = Arc::new(AtomicU64::new(due));
        let (offers, inbox) = bounded(1);
        let told = Arc::new(OnceLock::new());
        let (due_there, told_there) = (due.clone(), told.clone());
        let writing =
            Writing { dir, identity, hasher, pins, every, due: due_there, told: told_there, next: None };
        let run = move || writing.run(&inbox);
        let thread = thread::Builder::new().name("snapshots".into()).spawn(run)?;
        Ok(Self { every, due, offers: Some(offers), told, thread: Some(thread) })
    }

    /// Sets who hears of every snapshot, once.
    pub(crate) fn tell(&self, told: Told) {
        let _ = self.told.set(told);
    }

    /// Takes a position, if it is due and none waits. Blocks up to `finalized` are final.
    pub(crate) fn offer(&mut self, settled: &SettledPosition, finalized: Checkpoint) {
        let due = settled.position.checkpoint.0 >= self.due.load(Ordering::Relaxed);
        if let Some(offers) = self.offers.as_ref().filter(|_| due) {
            // Where one waits already, the next settlement brings another.
            let _ = offers.try_send((settled.clone(), finalized));
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
    fn run(mut self, inbox: &Receiver<(SettledPosition, Checkpoint)>) {
        for (settled, finalized) in inbox {
            let checkpoint = settled.position.checkpoint;
            let kept = match self.keep(settled, finalized) {
                Ok(begins) => Kept::Written(begins),
                Err(error) => {
                    tracing::warn!(%checkpoint, "{error}; the next settlement is tried");
                    Kept::Failed(error.to_string())
                }
            };
            if let Some(told) = self.told.get() {
                told(kept);
            }
        }
    }

    fn keep(
        &mut self,
        settled: SettledPosition,
        finalized: Checkpoint,
    ) -> Result<Option<(ChainRoot, Checkpoint)>, SnapshotError> {
        let carrier = Checkpoint(settled.position.checkpoint.0.saturating_add(settled.carried_above));
        let written = self.write(settled)?;
        let (next, carrier) = self.next.get_or_insert((written, carrier)).clone();
        let begins = if carrier <= finalized {
            // Where it cannot be begun with, a later one is.
            self.next = None;
            self.begin_with(&next)
        } else {
            Ok(None)
        };
        self.remove_old()?;
        begins
    }

    fn write(&self, settled: SettledPosition) -> Result<PathBuf, SnapshotError> {
        let checkpoint = settled.position.checkpoint;
        let path = self.dir.snapshots().join(name(&self.pins, checkpoint));
        let snapshot = Snapshot { identity: self.identity.clone(), settled };
        snapshot::save(self.dir.medium(), &path, &snapshot)?;
        self.due.store(checkpoint.0.saturating_add(self.every), Ordering::Relaxed);
        tracing::info!(%checkpoint, "a snapshot is written: {}", path.display());
        Ok(path)
    }

    /// Lets the next process begin with a snapshot. Returns its block; `None` where the directory begins there or above already.
    fn begin_with(&self, path: &Path) -> Result<Option<(ChainRoot, Checkpoint)>, SnapshotError> {
        let origin = self.dir.origin(&self.pins);
        let reader = snapshot::open_on(self.dir.medium().as_ref(), path)?;
        let (block, checkpoint) = (reader.head().block.clone(), reader.head().checkpoint);
        if origin.exists() {
            let here = snapshot::open_on(self.dir.medium().as_ref(), origin.path())?;
            if here.head().checkpoint >= checkpoint {
                return Ok(None);
            }
        }
        // Every byte is checked on the way: what lies below is dropped for it.
        snapshot::import(reader, &origin, &self.hasher)?.finish()?;
        tracing::info!(%checkpoint, "the next start begins with this snapshot");
        Ok(Some((block, checkpoint)))
    }

    fn remove_old(&self) -> Result<(), SnapshotError> {
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| SnapshotError::Io { path, action: "remove", source }
        };
        let (medium, folder) = (self.dir.medium(), self.dir.snapshots());
        let old = kept(medium.as_ref(), &folder, &self.pins).map_err(failed(&folder))?;
        let waits = |path: &Path| self.next.as_ref().is_some_and(|(next, _)| next == path);
        for (_, old) in old.into_iter().skip(KEPT).filter(|(_, path)| !waits(path)) {
            medium.remove(&old).map_err(failed(&old))?;
        }
        Ok(())
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

/// Puts a damaged origin of the data directory aside, and in its place a snapshot that the node wrote: of those whose blocks the
/// followed chain has the oldest, which is what was there, or the next. Returns whether there is one.
pub fn mend_origin(
    dir: &DataDir,
    pins: &PinsDigest,
    hasher: &Arc<dyn WorkloadHasher>,
    followed: &dyn Fn(&BlockHash) -> bool,
) -> Result<bool, SnapshotError> {
    let (medium, origin) = (dir.medium(), dir.origin(pins));
    let failed = |action| {
        let path = origin.path().to_path_buf();
        move |source| SnapshotError::Io { path, action, source }
    };
    let kept = kept(medium.as_ref(), &dir.snapshots(), pins).map_err(failed("look for a copy of"))?;
    for (_, path) in kept.into_iter().rev() {
        let Ok(reader) = snapshot::open_on(medium.as_ref(), &path) else { continue };
        if !followed(&reader.head().block.metadata.block_hash) {
            continue;
        }
        let Ok(copy) = snapshot::import(reader, &dir.origin(pins), hasher) else { continue };
        let aside = origin.exists().then(|| origin.put_aside(".damaged")).transpose();
        let aside = aside.map_err(failed("put aside"))?.unwrap_or_default();
        copy.finish()?;
        tracing::warn!(
            aside = %aside.display(), "{}: damaged or gone; it is written again from {}",
            origin.path().display(), path.display()
        );
        return Ok(true);
    }
    Ok(false)
}
