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
//! it. Final may be half a day later, in another process. So the oldest snapshot that waits for that stays, beside the newest two, and the
//! chain says by which block it shows a snapshot's settlement: one whose settlement a reorg removed is no beginning.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, unbounded};
use reprise_chain::event::ChainEvent;
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
    pins: PinsDigest,
    dir: DataDir,
    every: u64,
    /// The checkpoint from which on the next one is written.
    due: Arc<AtomicU64>,
    /// Whether one is being written.
    is_writing: Arc<AtomicBool>,
    snapshots: Snapshots,
    work: Option<Sender<Work>>,
    told: Arc<OnceLock<Told>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread does.
enum Work {
    /// Writes a position to a file, and then removes the files that are too many.
    Write { settled: Box<SettledPosition>, path: PathBuf, too_many: Vec<PathBuf> },
    /// Lets the next process begin with a snapshot.
    Begin(PathBuf),
}

impl Work {
    fn path(&self) -> &Path {
        match self {
            Self::Write { path, .. } | Self::Begin(path) => path,
        }
    }
}

/// What became of a position.
#[derive(Debug)]
pub(crate) enum Kept {
    /// A snapshot of it was written.
    Written,
    /// The next process begins with a snapshot that it did not begin with before: its block.
    Begins(ChainRoot, Checkpoint),
    /// Why not; and the file that was not written.
    Failed { error: String, unwritten: Option<PathBuf> },
}

/// Hears what became of every position.
pub(crate) type Told = Box<dyn Fn(Kept) + Send + Sync>;

/// A snapshot in the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    path: PathBuf,
    end_block: BlockHash,
    /// Whether the next process may begin with it: it lies above what it begins with now.
    may_begin: bool,
    /// The checkpoint of the block by which the chain shows its settlement, if it does.
    carrier: Option<Checkpoint>,
    /// The one that the file names. Whoever begins with it believes that no later block is the first to show the settlement.
    named: Checkpoint,
}

/// The snapshots in the data directory, in the order in which they were written.
#[derive(Debug, Default, PartialEq, Eq)]
struct Snapshots(Vec<Entry>);

impl Snapshots {
    /// What the directory holds, the newest first. Which settlements the chain shows, it has still to say.
    fn read(dir: &DataDir, pins: &PinsDigest, kept: &[(Checkpoint, PathBuf)]) -> Self {
        let medium = dir.medium();
        let head = |path: &Path| Some(snapshot::open_on(medium.as_ref(), path).ok()?.head().clone());
        let origin = dir.origin(pins);
        let begins = origin.exists().then(|| head(origin.path())).flatten().map(|head| head.checkpoint);
        let entry = |(checkpoint, path): &(Checkpoint, PathBuf)| {
            let head = head(path)?;
            let (end_block, named) = (head.block.metadata.block_hash, head.carried_by());
            let may_begin = begins.is_none_or(|begins| *checkpoint > begins);
            Some(Entry { path: path.clone(), end_block, may_begin, carrier: None, named })
        };
        Self(kept.iter().rev().filter_map(entry).collect())
    }

    /// The chain changed. Returns the snapshot that the next process begins with from now on, if that changes.
    fn follow(&mut self, event: &ChainEvent) -> Option<PathBuf> {
        let lowest = event.removed.iter().map(|removed| removed.checkpoint).min();
        for entry in &mut self.0 {
            entry.carrier = entry.carrier.filter(|carrier| lowest.is_none_or(|lowest| *carrier < lowest));
        }
        for added in &event.added {
            for settlement in &added.block.settlements {
                for entry in self.0.iter_mut().filter(|entry| entry.end_block == settlement.end_block) {
                    entry.carrier.get_or_insert(added.metadata.checkpoint);
                }
            }
        }
        self.begin(event.finalized)
    }

    /// One more is written. Returns those that are too many.
    fn add(&mut self, entry: Entry) -> Vec<PathBuf> {
        self.0.retain(|other| other.path != entry.path);
        self.0.push(entry);
        let waits = self.0.iter().find(|entry| entry.may_begin && entry.carrier.is_some());
        let waits = waits.map(|entry| entry.path.clone());
        let mut old = self.0.len().saturating_sub(KEPT);
        let goes = |entry: &mut Entry| {
            let is_old = old > 0;
            old = old.saturating_sub(1);
            is_old && Some(&entry.path) != waits.as_ref()
        };
        self.0.extract_if(.., goes).map(|entry| entry.path).collect()
    }

    /// Whether one was written of this block that names a lower carrier: it is to be written again.
    fn is_outdated(&self, end_block: &BlockHash, carrier: Checkpoint) -> bool {
        self.0.iter().any(|entry| entry.end_block == *end_block && entry.named < carrier)
    }

    /// The newest whose settlement is final. Neither it nor any below is one to begin with again. One that names a lower carrier than
    /// the chain shows is none: the chain would refute it.
    fn begin(&mut self, finalized: Checkpoint) -> Option<PathBuf> {
        let is_final = |entry: &Entry| {
            let carrier = entry.carrier.filter(|carrier| *carrier <= entry.named);
            entry.may_begin && carrier.is_some_and(|carrier| carrier <= finalized)
        };
        let at = self.0.iter().rposition(is_final)?;
        self.0[..=at].iter_mut().for_each(|entry| entry.may_begin = false);
        Some(self.0[at].path.clone())
    }
}

/// What the thread works with.
struct Writing {
    dir: DataDir,
    identity: Identity,
    hasher: Arc<dyn WorkloadHasher>,
    pins: PinsDigest,
    every: u64,
    due: Arc<AtomicU64>,
    is_writing: Arc<AtomicBool>,
    told: Arc<OnceLock<Told>>,
    /// Files that are too many, once the next one is written.
    too_many: Vec<PathBuf>,
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
        let kept = kept(dir.medium().as_ref(), &dir.snapshots(), &pins).unwrap_or_else(|error| {
            tracing::warn!("{}: cannot be read: {error}", dir.snapshots().display());
            vec![]
        });
        let due = kept.first().map_or(0, |(Checkpoint(newest), _)| newest.saturating_add(every));
        let snapshots = Snapshots::read(&dir, &pins, &kept);
        let (due, is_writing) = (Arc::new(AtomicU64::new(due)), Arc::new(AtomicBool::new(false)));
        let (work, inbox) = unbounded();
        let told = Arc::new(OnceLock::new());
        let writing = Writing {
            dir: dir.clone(),
            identity,
            hasher,
            pins,
            every,
            due: due.clone(),
            is_writing: is_writing.clone(),
            told: told.clone(),
            too_many: vec![],
        };
        let run = move || writing.run(&inbox);
        let thread = thread::Builder::new().name("snapshots".into()).spawn(run)?;
        let (work, thread) = (Some(work), Some(thread));
        Ok(Self { pins, dir, every, due, is_writing, snapshots, work, told, thread })
    }

    /// Sets who hears of every snapshot, once.
    pub(crate) fn tell(&self, told: Told) {
        let _ = self.told.set(told);
    }

    /// The chain changed.
    pub(crate) fn follow(&mut self, event: &ChainEvent) {
        if let Some(path) = self.snapshots.follow(event) {
            self.give(Work::Begin(path));
        }
    }

    /// Takes a position, if it is due or was written with another carrier, and none is being written. Blocks up to `finalized` are
    /// final.
    pub(crate) fn offer(&mut self, settled: &SettledPosition, finalized: Checkpoint) {
        let checkpoint = settled.position.checkpoint;
        let (end_block, carrier) =
            (settled.settlement.end_block, Checkpoint(checkpoint.0.saturating_add(settled.carried_above)));
        let is_due = checkpoint.0 >= self.due.load(Ordering::Relaxed)
            || self.snapshots.is_outdated(&end_block, carrier);
        // Where one is being written, the next settlement brings another.
        if !is_due || self.is_writing.swap(true, Ordering::AcqRel) {
            return;
        }
        let path = self.dir.snapshots().join(name(&self.pins, checkpoint));
        let too_many = self.snapshots.add(Entry {
            path: path.clone(),
            end_block,
            may_begin: true,
            carrier: Some(carrier),
            named: carrier,
        });
        self.give(Work::Write { settled: Box::new(settled.clone()), path, too_many });
        if let Some(path) = self.snapshots.begin(finalized) {
            self.give(Work::Begin(path));
        }
    }

    /// Whether the thread has ended, though nobody closed it.
    pub(crate) fn is_gone(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// A snapshot was not written.
    pub(crate) fn unwritten(&mut self, path: &Path) {
        self.snapshots.0.retain(|entry| entry.path != path);
    }

    fn give(&self, work: Work) {
        if let Some(thread) = &self.work {
            // It takes work as long as there is a sender.
            let _ = thread.send(work);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.work = None;
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
    fn run(mut self, inbox: &Receiver<Work>) {
        for work in inbox {
            let path = work.path().to_path_buf();
            let writes = matches!(work, Work::Write { .. });
            let done = catch_unwind(AssertUnwindSafe(|| self.carry_out(work)));
            if writes {
                self.is_writing.store(false, Ordering::Release);
            }
            let kept = match done {
                Ok(Some(kept)) => kept,
                Ok(None) => continue,
                Err(_) => {
                    let panicked = "the panic's own message is in the log";
                    failed(&format!("{}: panicked: {panicked}", path.display()), writes.then_some(path))
                }
            };
            if let Some(told) = self.told.get() {
                told(kept);
            }
        }
    }

    /// What became of it; `None` where there is nothing to tell.
    fn carry_out(&mut self, work: Work) -> Option<Kept> {
        Some(match work {
            Work::Write { settled, path, too_many } => {
                self.too_many.extend(too_many);
                self.too_many.retain(|old| *old != path);
                match self.write(*settled, &path).map(|()| self.remove_old()) {
                    Ok(Ok(())) => Kept::Written,
                    Ok(Err(error)) => failed(&error, None),
                    Err(error) => failed(&error, Some(path)),
                }
            }
            Work::Begin(path) => match self.begin_with(&path) {
                Ok(Some((block, checkpoint))) => Kept::Begins(block, checkpoint),
                Ok(None) => return None,
                Err(error) => failed(&error, None),
            },
        })
    }

    fn write(&self, settled: SettledPosition, path: &Path) -> Result<(), SnapshotError> {
        let checkpoint = settled.position.checkpoint;
        let snapshot = Snapshot { identity: self.identity.clone(), settled };
        snapshot::save(self.dir.medium(), path, &snapshot)?;
        self.due.store(checkpoint.0.saturating_add(self.every), Ordering::Relaxed);
        tracing::info!(%checkpoint, "a snapshot is written: {}", path.display());
        Ok(())
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

    fn remove_old(&mut self) -> Result<(), SnapshotError> {
        while let Some(path) = self.too_many.pop() {
            match self.dir.medium().remove(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    self.too_many.push(path.clone());
                    return Err(SnapshotError::Io { path, action: "remove", source });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// What was tried is not there, and the next settlement brings another.
fn failed(error: &dyn std::fmt::Display, unwritten: Option<PathBuf>) -> Kept {
    tracing::warn!("{error}; the next settlement is tried");
    Kept::Failed { error: error.to_string(), unwritten }
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

#[cfg(test)]
mod tests {
    use reprise_chain::event::AddedBlock;
    use reprise_model::block::{BatchMetadata, BlockId, ChainBlock, ChainBlockMetadata, ObservedSettlement};
    use reprise_model::digest::{Digest, StatementId};
    use reprise_model::journal::{AggregateJournal, Commitment, Transition};

    use super::*;

    fn hash(block: u64) -> BlockHash {
        BlockHash(*blake3::hash(&block.to_le_bytes()).as_bytes())
    }

    /// The block of this height, with settlements that end in these.
    fn block(height: u64, ends: &[u64]) -> AddedBlock {
        let metadata = ChainBlockMetadata {
            block_hash: hash(height),
            parent_hash: hash(height - 1),
            blue_score: height,
            daa_score: height,
            timestamp_ms: height,
            parent_timestamp_ms: height - 1,
            sequencing_commitment: Digest::ZERO,
        };
        let transition = Transition {
            pins: PinsDigest([1; 32]),
            root_before: Digest::ZERO,
            root_after: Digest::ZERO,
            tip_before: Digest::ZERO,
            tip_after: Digest::ZERO,
            exits: Digest::ZERO,
        };
        let journal = AggregateJournal { transition, commitment: Commitment::Unbound };
        let settlement = |end: &u64| ObservedSettlement {
            statement: StatementId([1; 32]),
            journal,
            end_block: hash(*end),
        };
        let settlements = ends.iter().map(settlement).collect();
        AddedBlock {
            metadata: BatchMetadata { id: BlockId(height), checkpoint: Checkpoint(height), block: metadata },
            returning: false,
            block: ChainBlock { metadata, accepted: vec![], lane_proof: None, settlements, claims: vec![] },
        }
    }

    fn event(removed: &[u64], added: Vec<AddedBlock>, finalized: u64) -> ChainEvent {
        let removed = removed.iter().map(|height| block(*height, &[]).metadata).collect();
        ChainEvent { removed, added, finalized: Checkpoint(finalized) }
    }

    fn file(end: u64) -> PathBuf {
        PathBuf::from(format!("{end}"))
    }

    fn entry(end: u64, carrier: Option<u64>) -> Entry {
        let named = Checkpoint(carrier.unwrap_or(end + 3));
        Entry {
            path: file(end),
            end_block: hash(end),
            may_begin: true,
            carrier: carrier.map(Checkpoint),
            named,
        }
    }

    #[test]
    fn a_snapshot_of_an_earlier_process_begins_once_the_chain_has_shown_its_settlement_and_that_is_final() {
        let mut snapshots = Snapshots(vec![entry(3, None), entry(9, None)]);
        assert_eq!(snapshots.follow(&event(&[], vec![block(5, &[3]), block(12, &[9])], 4)), None);
        assert_eq!(snapshots.follow(&event(&[], vec![], 5)), Some(file(3)));
        assert_eq!(snapshots.follow(&event(&[], vec![], 11)), None, "it begins with the first already");
        assert_eq!(snapshots.follow(&event(&[], vec![], 20)), Some(file(9)));
    }

    #[test]
    fn a_snapshot_whose_settlement_left_the_chain_is_no_beginning_until_it_is_back() {
        let mut snapshots = Snapshots::default();
        assert_eq!(snapshots.add(entry(3, Some(5))), Vec::<PathBuf>::new());
        assert_eq!(snapshots.follow(&event(&[6, 5, 4], vec![block(4, &[])], 2)), None);
        assert_eq!(snapshots.follow(&event(&[], vec![], 30)), None);
        assert_eq!(snapshots.follow(&event(&[4], vec![block(4, &[3])], 3)), None, "by another block");
        assert_eq!(snapshots.follow(&event(&[], vec![], 4)), Some(file(3)));
    }

    #[test]
    fn a_snapshot_that_names_a_lower_carrier_than_the_chain_shows_is_no_beginning_until_it_is_written_again()
    {
        let mut snapshots = Snapshots::default();
        snapshots.add(entry(3, Some(5)));
        let empty = |from: u64, to| (from..to).map(|height| block(height, &[]));
        let higher = empty(5, 9).chain([block(9, &[3])]).collect();
        assert_eq!(snapshots.follow(&event(&[6, 5], higher, 3)), None);
        assert_eq!(snapshots.follow(&event(&[], vec![], 20)), None);
        assert!(snapshots.is_outdated(&hash(3), Checkpoint(9)));
        snapshots.add(entry(3, Some(9)));
        assert!(!snapshots.is_outdated(&hash(3), Checkpoint(9)));
        assert_eq!(snapshots.begin(Checkpoint(20)), Some(file(3)));
    }

    #[test]
    fn the_newest_two_stay_and_the_oldest_that_waits_and_can_begin() {
        let mut snapshots = Snapshots(vec![entry(1, None), entry(3, None)]);
        // The chain shows the second, and has left the first.
        assert_eq!(snapshots.follow(&event(&[], vec![block(5, &[3])], 2)), None);
        assert_eq!(snapshots.add(entry(9, Some(11))), [file(1)]);
        assert_eq!(snapshots.add(entry(15, Some(17))), Vec::<PathBuf>::new());
        assert_eq!(snapshots.add(entry(21, Some(23))), [file(9)]);
        assert_eq!(snapshots.begin(Checkpoint(6)), Some(file(3)));
        assert_eq!(snapshots.add(entry(27, Some(29))), [file(3)], "the oldest that waits is the one at 15");
        assert_eq!(
            snapshots.0.iter().map(|entry| &entry.path).collect::<Vec<_>>(),
            [&file(15), &file(21), &file(27)]
        );
    }

    #[test]
    fn the_same_position_written_again_is_one_snapshot() {
        let mut snapshots = Snapshots(vec![entry(1, None)]);
        assert_eq!(snapshots.add(entry(1, Some(2))), Vec::<PathBuf>::new());
        assert_eq!(snapshots, Snapshots(vec![entry(1, Some(2))]));
    }
}
