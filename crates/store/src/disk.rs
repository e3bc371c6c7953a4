//! The engine on disk: a log of checked frames, and an index of it in memory.
//!
//! | module | noun |
//! |---|---|
//! | `frame` | the bytes of one commit |
//! | `segment` | one file of the log |
//! | `index` | every key in memory, and where its value is |
//! | `compact` | a sorted map in little memory |
//! | `replay` | what reads a log into an index, and finds damage |
//! | `tail` | where the next frame goes |
//!
//! ```text
//! log/00000001.log, 00000002.log, …      segments, appended to one at a time, oldest first
//!
//! a segment is frames, one after the other; a frame is one commit:
//!      0   8  magic, "RPRSFRM1"
//!      8   8  I, length of the changes; little-endian like every number here
//!     16   8  V, length of the values
//!     24  32  BLAKE3 of the changes
//!     56  32  BLAKE3 of the values
//!     88  32  BLAKE3 over the 88 bytes before, the segment's number and the frame's offset
//!    120   I  changes, in borsh: (table, key, deleted | value | position and length in the values) …
//!    120+I V  values: envelopes, which carry checksums of their own
//! ```
//!
//! # Writing
//!
//! A commit is one append and one sync. It enters the index, where readers see it, after the sync. A write that
//! fails is cut off, the cut is synced, and the next commit begins a new segment (a segment without a frame is made
//! again). Until the cut is durable every commit fails: a later replay would read the rest of the failed write over
//! what was acknowledged since.
//!
//! # Opening
//!
//! The changes of every frame are replayed, oldest first. Values are skipped, except in the last segment: there an
//! unfinished write may have left a frame whose values did not arrive. A frame that does not check is passed over,
//! and the next one is searched for by its magic and its own checksum. So damage costs the frames that it touches
//! and nothing else. What was put there is salvaged ([`crate::salvage`]) or lost; what was deleted there may be
//! back until it is deleted again. No length is used before it is checked. Where the last segment does not end with
//! a frame, the next commit begins a new one. Every segment is synced before anything is appended: the process
//! before may have ended between a write and its sync.
//!
//! # Cleaning
//!
//! When more than half of the log is dead, the live keys of the oldest segment are written again at the end, with
//! the number of the segment that the log begins with from then on. Then the file is deleted. Only the oldest
//! segment is cleaned: a deletion recorded in it has nothing older left to hide. A file that comes back after a
//! power cut lies before the log's beginning and is deleted again.

mod compact;
pub(crate) mod frame;
pub(crate) mod index;
pub(crate) mod replay;
pub(crate) mod segment;
mod tail;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use reprise_model::statement::StatementId;

use crate::directory::{Directory, OpenError};
use crate::disk::frame::{Frame, MAGIC};
use crate::disk::index::{BEGINS_KEY, Index, Located, Value};
pub use crate::disk::replay::Damage;
use crate::disk::replay::{Replayed, length, replay_all};
use crate::disk::segment::{Files, Segment, failed, segment_numbers, segment_path};
use crate::disk::tail::Tail;
use crate::engine::{Changes, Pair, Parts, Split, StorageEngine, Table};
use crate::medium::{self, FileSystem, Medium, Opening};
use crate::port::StoreError;
use crate::record;
use crate::revoked;

/// A segment that is longer gets no more frames.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// How many quarantined entries keep their bytes. More are counted and logged, and leave only their reason
/// in the log.
const QUARANTINE_MAX: usize = 256;

/// Tables in a directory.
pub struct DiskEngine {
    index: RwLock<Index>,
    tail: Mutex<Tail>,
    files: Arc<Files>,
    segment_bytes_max: u64,
    quarantined: AtomicUsize,
    damage: Vec<Damage>,
    // Last: the lock goes when everything else is closed.
    dir: Directory,
}

impl DiskEngine {
    /// Opens the tables in a directory, or makes new ones there.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Self::open_with(dir, SEGMENT_BYTES_MAX)
    }

    /// The same, with segments of another length.
    pub fn open_with(dir: &Path, segment_bytes_max: u64) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(FileSystem), dir, segment_bytes_max)
    }

    /// The same, on another medium than the machine's file system.
    pub fn open_on(medium: Arc<dyn Medium>, dir: &Path, segment_bytes_max: u64) -> Result<Self, OpenError> {
        Self::within(Directory::lock(medium, dir)?, segment_bytes_max)
    }

    /// The same as [`open`](Self::open) for a directory whose format file is missing or does not read.
    pub fn repair(dir: &Path) -> Result<Self, OpenError> {
        Self::within(Directory::lock_to_repair(Arc::new(FileSystem), dir)?, SEGMENT_BYTES_MAX)
    }

    fn within(dir: Directory, segment_bytes_max: u64) -> Result<Self, OpenError> {
        let (log, medium) = (dir.log(), dir.medium());
        let files = Files::new(dir.shared_medium(), Opening::Write);
        let failed = |doing, path: &Path| {
            let path = path.to_path_buf();
            move |source| OpenError::Io { doing, path, source }
        };
        let numbers = segment_numbers(medium, &log).map_err(failed("list", &log))?;
        let mut segments = Vec::new();
        for number in numbers {
            let segment = Segment::open(&files, &log, number);
            segments.push(Arc::new(segment.map_err(failed("open", &segment_path(&log, number)))?));
        }
        let Replayed { mut index, last, damage } = replay_all(&segments)?;
        for left_over in segments.iter().filter(|segment| !index.segments.contains_key(&segment.number)) {
            // One that was cleaned away and came back, or could not be deleted.
            if let Err(error) = left_over.delete() {
                tracing::warn!(path = %left_over.path.display(), %error, "a cleaned segment could not be deleted");
            }
        }
        for segment in index.segments.values() {
            let is_last = last.as_ref().filter(|last| last.number == segment.number);
            let file = segment.file().map_err(failed("open", &segment.path))?;
            for unfinished in is_last.map_or(&[][..], |last| &last.unfinished) {
                // Struck out, so that it stays out when its segment is no longer the last.
                let struck = file.write_at(&[0; MAGIC.len()], *unfinished);
                struck.map_err(failed("write", &segment.path))?;
            }
            // What a process that ended had not synced was read as well, and will be built upon.
            file.sync().map_err(failed("sync", &segment.path))?;
        }
        medium.sync_directory(&log).map_err(failed("sync", &log))?;
        let last = last.and_then(|last| Some((index.segments.get(&last.number)?.clone(), last.whole_to)));
        let tail = match last {
            Some((segment, whole_to)) if segment.len() > 0 => {
                let path = segment.path.clone();
                Tail::at(segment, whole_to).map_err(failed("open", &path))?
            }
            // A segment without a frame is made again: the entry in its directory may not be durable.
            empty => {
                let number = empty.map_or(1, |(segment, _)| segment.number);
                let segment = Segment::create(&files, &log, number).map(Arc::new);
                let tail = segment.and_then(|segment| Tail::at(segment, 0)).map_err(failed("make", &log))?;
                index.segments.insert(number, tail.segment.clone());
                tail
            }
        };
        for damage in &damage {
            tracing::warn!(
                path = %damage.path().display(), from = damage.from, to = damage.to,
                "a part of the receipt log does not check: an unfinished write, or damage. What is lost there is proved again when it is wanted; \
                 an export of it, imported, spares that"
            );
        }
        let kept = medium.list(&dir.quarantine()).map_or(0, |names| names.len()) / 2;
        let engine = Self {
            index: RwLock::new(index),
            tail: Mutex::new(tail),
            files,
            segment_bytes_max,
            quarantined: AtomicUsize::new(kept),
            damage,
            dir,
        };
        engine.restore_revocations()?;
        Ok(engine)
    }

    /// Takes from each of the two places where revocations stand what the other lost.
    fn restore_revocations(&self) -> Result<(), OpenError> {
        let path = self.dir.revoked();
        let failed = |doing| {
            let path = path.clone();
            move |source| OpenError::Io { doing, path, source }
        };
        let beside = revoked::read(self.dir.medium(), &path).map_err(failed("read"))?;
        let logged = self.index().revocations();
        let lost = revoked::newer(&beside, &logged);
        if !revoked::newer(&logged, &beside).is_empty() {
            let both = logged.into_iter().chain(lost.clone()).collect();
            revoked::write(&self.dir, &both).map_err(failed("write"))?;
        }
        if !lost.is_empty() {
            tracing::warn!(path = %path.display(), "the receipt log lost revocations: they are restored");
            let changes = revoked::changes(lost);
            let appended = self.append(&mut self.tail(), changes, true);
            appended.map_err(|error| failed("restore")(io::Error::other(error)))?;
        }
        Ok(())
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The parts of the log that did not check when it was opened.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends one frame and enters it in the index. Without changes, only what a failed write left is cut off.
    fn append(&self, tail: &mut Tail, changes: Changes, sync: bool) -> Result<(), StoreError> {
        tail.settle()?;
        if changes.is_empty() {
            return Ok(());
        }
        if tail.is_full(self.segment_bytes_max) {
            let segment = tail.begin_segment(&self.files, &self.dir.log())?;
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            index.segments.insert(segment.number, segment);
        }
        let frame = Frame::of(changes);
        let changes_at = tail.append(&frame, sync)?;
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let values_len = frame.values_len();
        index.apply(&frame.changes, tail.segment.number, changes_at, values_len);
        Ok(())
    }

    /// Moves what lives in the oldest segment to the end and deletes its file, if the log is worth it.
    fn clean(&self, tail: &mut Tail) -> Result<(), StoreError> {
        let (oldest, live) = {
            let index = self.index();
            let bytes: u64 = index.segments.values().map(|segment| segment.len()).sum();
            let Some(oldest) = index.segments.values().next().cloned() else { return Ok(()) };
            let worth_it = bytes > 2 * index.live_bytes + self.segment_bytes_max;
            if !worth_it || oldest.number == tail.segment.number {
                return Ok(());
            }
            let live = index.living_in(oldest.number);
            (oldest, live)
        };
        let mut moved = Changes::new();
        let mut bytes = 0;
        for (table, key, value) in live {
            let value = match value {
                Value::Inline(value) => Some(value),
                Value::Apart { offset, len } => {
                    let left = left_of(&oldest, offset, len).map_err(failed("read", &oldest.path))?;
                    if left.is_none() {
                        let id = key.first_chunk().copied().map(StatementId);
                        tracing::warn!(
                            path = %oldest.path.display(), table = table.name(), offset, len, statement = ?id,
                            "a value cannot be read and is lost: its segment is cleaned without it"
                        );
                    }
                    left
                }
            };
            bytes += value.as_ref().map_or(0, |value| value.len() as u64);
            moved.insert((table, key), value);
            if bytes >= self.segment_bytes_max / 8 {
                self.append(tail, std::mem::take(&mut moved), true)?;
                bytes = 0;
            }
        }
        // From here on the log begins after it, even if its file comes back: were an older segment to be read again
        // and not the one that recorded its deletions, what was deleted would be back.
        moved.insert((Table::Meta, BEGINS_KEY.to_vec()), Some(record::write(&(oldest.number + 1))));
        self.append(tail, moved, true)?;
        self.index.write().unwrap_or_else(PoisonError::into_inner).segments.remove(&oldest.number);
        // PRUNE SAFETY: every key whose value lay in this segment has been appended again and synced, or was
        // deleted. Only this thread writes, so no key came to lie in it since. A deletion recorded in it hides
        // nothing: the log has no older segment.
        oldest.delete().map_err(failed("delete", &oldest.path))
    }
}

/// A value of a segment that is to be deleted; `None` where it is lost already.
///
/// One place that cannot be read must not keep the whole segment, and with it the log, from being cleaned for good. So it is read
/// twice. A disk that reads nothing at all does not take what is written next either, and then nothing is deleted.
fn left_of(segment: &Segment, offset: u64, len: u64) -> io::Result<Option<Vec<u8>>> {
    let read = segment.read(offset, len).or_else(|error| match medium::is_unreadable(&error) {
        true => segment.read(offset, len),
        false => Err(error),
    });
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) if medium::is_unreadable(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

impl StorageEngine for DiskEngine {
    fn read(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let located = self.index().look_up(table, key);
        located.map(Located::read).transpose()
    }

    fn read_split(&self, table: Table, key: &[u8], split: Split<'_>) -> Result<Option<Parts>, StoreError> {
        let located = self.index().look_up(table, key);
        located.map(|located| located.read_split(split)).transpose()
    }

    fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        Ok(self.index().has(table, key))
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        let page = self.index().page(table, from, to, limit);
        Index::read_page(page, table)
    }

    fn commit(&self, changes: Changes, sync: bool) -> Result<(), StoreError> {
        let mut tail = self.tail();
        if changes.is_empty() {
            return self.append(&mut tail, changes, sync);
        }
        let revoked = revoked::among(&changes);
        if !revoked.is_empty() {
            let all = self.index().revocations().into_iter().chain(revoked).collect();
            revoked::write(&self.dir, &all).map_err(failed("write", &self.dir.revoked()))?;
        }
        self.append(&mut tail, changes, sync)?;
        if let Err(error) = self.clean(&mut tail) {
            // The commit stands; what could not be cleaned is cleaned after another.
            tracing::warn!(%error, "the receipt log could not be cleaned");
        }
        Ok(())
    }

    fn quarantine(&self, name: &str, bytes: &[u8], reason: &str) -> Result<(), StoreError> {
        if self.quarantined.fetch_add(1, Ordering::Relaxed) >= QUARANTINE_MAX {
            return Ok(());
        }
        let (dir, medium) = (self.dir.quarantine(), self.dir.medium());
        medium.make_directory(&dir).map_err(failed("make", &dir))?;
        let keep = |ending: &str, bytes: &[u8]| {
            let path = dir.join(format!("{name}.{ending}"));
            medium::write(medium, &path, bytes).map(drop).map_err(failed("write", &path))
        };
        keep("receipt", bytes)?;
        keep("reason", format!("{reason}\n").as_bytes())
    }

    fn damaged_bytes(&self) -> u64 {
        length(&self.damage)
    }
}
