//! The engine on disk: a log of checked frames, and an index of it in memory.
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
//! A commit is one append and one sync. It enters the index, and is seen, after the sync. A write that fails
//! is cut off again and synced, and the next commit begins a new segment, in place of one that holds nothing. Until it is cut off for certain every
//! commit fails: what is left of it would be read when the log is opened, over what was acknowledged since.
//!
//! # Opening
//!
//! The changes of every frame are replayed, oldest first; values are skipped over, save in the last segment,
//! where an unfinished write may have left a frame whose values did not arrive. A frame that does not check
//! is passed over, and the next one is searched for by its magic and its own checksum. So damage costs the
//! frames it touches and nothing else: what was put there is salvaged ([`crate::salvage`]) or forgotten, what
//! was deleted there may be back until it is deleted again. No length is used before it is checked. Where the
//! last segment does not end with a frame, the next commit begins a new one. What was read is synced before it
//! is built upon: the process before may have ended between a write and its sync.
//!
//! # Cleaning
//!
//! When more than half of the log is dead, the oldest segment's live keys are written again at the end, with
//! the number of the segment that the log begins with from then on; then the file is deleted. The oldest only:
//! a deletion recorded in it has nothing older left to hide. A file that comes back after a power cut lies
//! before the log's beginning and is deleted again.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use borsh::{BorshDeserialize, BorshSerialize};

use crate::directory::{Directory, OpenError};
use crate::engine::{Changes, Engine, Pair, Parts, SPLIT_WITHIN, Split, Table};
use crate::medium::{self, FileSystem, Medium, MediumFile, Opening};
use crate::port::StoreError;
use crate::record;
use crate::revoked::{self, Revocations};

/// The first bytes of every frame.
const MAGIC: [u8; 8] = *b"RPRSFRM1";
/// The length of a frame's head.
const HEAD_LEN: usize = 120;
/// A segment that is longer gets no more frames.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// The key in the meta table under which the number of the log's first segment stands.
const BEGINS_KEY: &[u8] = b"log begins";
/// How many quarantined entries keep their bytes. More are counted and logged, and leave only their reason
/// in the log.
const QUARANTINE_MAX: usize = 256;

/// Tables in a directory.
pub struct DiskEngine {
    index: RwLock<Index>,
    end: Mutex<End>,
    segment_bytes_max: u64,
    quarantined: AtomicUsize,
    damage: Vec<Damage>,
    // Last: the lock goes when everything else is closed.
    dir: Directory,
}

/// Every key of every table, and where its value is.
#[derive(Default)]
pub(crate) struct Index {
    tables: [BTreeMap<Vec<u8>, Held>; Table::ALL.len()],
    pub(crate) segments: BTreeMap<u64, Arc<Segment>>,
    live_bytes: u64,
}

/// A value, or where it is.
#[derive(Clone)]
struct Held {
    segment: u64,
    value: Value,
}

#[derive(Clone)]
enum Value {
    Inline(Vec<u8>),
    Apart { offset: u64, len: u64 },
}

/// A file of the log.
pub(crate) struct Segment {
    pub(crate) number: u64,
    path: PathBuf,
    file: Arc<dyn MediumFile>,
    /// Bytes in it, damage included, when it was opened or grown last.
    len: std::sync::atomic::AtomicU64,
}

/// Where the next frame goes.
struct End {
    segment: Arc<Segment>,
    offset: u64,
    /// Nothing more is appended to this segment.
    closed: bool,
    /// A write after `offset` failed, and may still be there.
    failed: bool,
}

/// One change as it is written.
#[derive(BorshSerialize, BorshDeserialize)]
struct Change {
    table: u8,
    key: Vec<u8>,
    what: What,
}

#[derive(BorshSerialize, BorshDeserialize)]
enum What {
    Deleted,
    Inline(Vec<u8>),
    Apart { position: u64, len: u64 },
}

impl Change {
    fn lies_within(&self, values_len: u64) -> bool {
        match &self.what {
            What::Apart { position, len } => position.checked_add(*len).is_some_and(|end| end <= values_len),
            What::Deleted | What::Inline(_) => true,
        }
    }
}

/// A part of the log that does not check.
#[derive(Clone)]
pub struct Damage {
    segment: Arc<Segment>,
    /// Where it begins.
    pub from: u64,
    /// Where it ends.
    pub to: u64,
}

impl Damage {
    /// The segment it lies in.
    pub fn path(&self) -> &Path {
        &self.segment.path
    }

    /// Its bytes, as far as they can be read.
    pub fn bytes(&self) -> Vec<u8> {
        self.segment.read(self.from, self.to - self.from).unwrap_or_else(|error| {
            tracing::warn!(path = %self.path().display(), %error, "a damaged part of the receipt log is lost");
            Vec::new()
        })
    }

    /// Overwrites the beginnings of what is found at these offsets, durably.
    pub(crate) fn strike_out(&self, offsets: &[u64]) -> io::Result<()> {
        for offset in offsets {
            self.segment.file.write_at(&[0; MAGIC.len()], self.from + offset)?;
        }
        if offsets.is_empty() { Ok(()) } else { self.segment.file.sync() }
    }
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
        Self::within(Directory::lock_to_mend(Arc::new(FileSystem), dir)?, SEGMENT_BYTES_MAX)
    }

    fn within(dir: Directory, segment_bytes_max: u64) -> Result<Self, OpenError> {
        let (log, medium) = (dir.log(), dir.medium());
        let failed = |doing, path: &Path| {
            let path = path.to_path_buf();
            move |source| OpenError::Io { doing, path, source }
        };
        let numbers = segment_numbers(medium, &log).map_err(failed("list", &log))?;
        let mut segments = Vec::new();
        for number in numbers {
            let path = segment_path(&log, number);
            let segment = Segment::open(medium, &path, number, Opening::Write);
            segments.push(Arc::new(segment.map_err(failed("open", &path))?));
        }
        let Replayed { mut index, last, damage } = replay_all(&segments).map_err(failed("read", &log))?;
        for left_over in segments.iter().filter(|segment| !index.segments.contains_key(&segment.number)) {
            // One that was cleaned away and came back, or could not be deleted.
            if let Err(error) = medium.remove(&left_over.path) {
                tracing::warn!(path = %left_over.path.display(), %error, "a cleaned segment could not be deleted");
            }
        }
        for segment in index.segments.values() {
            let is_last = last.as_ref().filter(|last| last.number == segment.number);
            for unfinished in is_last.map_or(&[][..], |last| &last.unfinished) {
                // Struck out, so that it stays out when its segment is no longer the last.
                let struck = segment.file.write_at(&[0; MAGIC.len()], *unfinished);
                struck.map_err(failed("write", &segment.path))?;
            }
            // What a process that ended had not synced was read as well, and will be built upon.
            segment.file.sync().map_err(failed("sync", &segment.path))?;
        }
        medium.sync_directory(&log).map_err(failed("sync", &log))?;
        let last = last.and_then(|last| Some((index.segments.get(&last.number)?.clone(), last.whole_to)));
        let end = match last {
            Some((segment, whole_to)) if segment.len() > 0 => {
                let closed = whole_to != segment.len();
                End { segment, offset: whole_to, closed, failed: false }
            }
            // One that holds nothing is made again: its directory may have failed to take it for good.
            empty => {
                let number = empty.map_or(1, |(segment, _)| segment.number);
                let segment = Arc::new(Segment::create(medium, &log, number).map_err(failed("make", &log))?);
                index.segments.insert(number, segment.clone());
                End { segment, offset: 0, closed: false, failed: false }
            }
        };
        for damage in &damage {
            tracing::warn!(
                path = %damage.path().display(), from = damage.from, to = damage.to,
                "a part of the receipt log does not check: an unfinished write, or damage"
            );
        }
        let kept = medium.list(&dir.quarantine()).map_or(0, |names| names.len()) / 2;
        let engine = Self {
            index: RwLock::new(index),
            end: Mutex::new(end),
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
            let appended = self.append(&mut self.end(), changes, true);
            appended.map_err(|error| failed("restore")(io::Error::other(error)))?;
        }
        Ok(())
    }

    fn end(&self) -> std::sync::MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The parts of the log that did not check when it was opened.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    fn index(&self) -> std::sync::RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends one frame and makes it seen. Without changes, only sees to it that no failed write is left.
    fn append(&self, end: &mut End, changes: Changes, sync: bool) -> Result<(), StoreError> {
        if end.failed {
            cut_off(end).map_err(failed("cut a failed write off", &end.segment.path))?;
        }
        if changes.is_empty() {
            return Ok(());
        }
        if end.closed || end.offset >= self.segment_bytes_max {
            self.begin_segment(end)?;
        }
        let frame = Frame::of(changes);
        let bytes = frame.bytes(end.segment.number, end.offset);
        let written = end.segment.file.write_at(&bytes, end.offset);
        if let Err(source) = written.and_then(|()| if sync { end.segment.file.sync() } else { Ok(()) }) {
            (end.closed, end.failed) = (true, true);
            if let Err(error) = cut_off(end) {
                tracing::warn!(path = %end.segment.path.display(), %error, "a failed write could not be cut off yet");
            }
            return Err(failed("write", &end.segment.path)(source));
        }
        let values_at = end.offset + (HEAD_LEN + frame.changes_bytes.len()) as u64;
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        for change in frame.changes {
            index.apply(change, end.segment.number, values_at);
        }
        end.offset += bytes.len() as u64;
        end.segment.len.store(end.offset, Ordering::Relaxed);
        Ok(())
    }

    fn begin_segment(&self, end: &mut End) -> Result<(), StoreError> {
        // Only the last segment is read with its values when the log is opened: in those before, all is synced.
        end.segment.file.sync().map_err(failed("sync", &end.segment.path))?;
        let log = self.dir.log();
        // One that holds nothing is made again, for a disk that stays full would gather one for each attempt.
        let number = end.segment.number + u64::from(end.offset > 0);
        let segment = Segment::create(self.dir.medium(), &log, number);
        let segment = Arc::new(segment.map_err(failed("make a segment in", &log))?);
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        index.segments.insert(number, segment.clone());
        *end = End { segment, offset: 0, closed: false, failed: false };
        Ok(())
    }

    /// Moves what lives in the oldest segment to the end and deletes its file, if the log is worth it.
    fn clean(&self, end: &mut End) -> Result<(), StoreError> {
        let (oldest, live) = {
            let index = self.index();
            let bytes: u64 = index.segments.values().map(|segment| segment.len()).sum();
            let Some(oldest) = index.segments.values().next().cloned() else { return Ok(()) };
            let worth_it = bytes > 2 * index.live_bytes + self.segment_bytes_max;
            if !worth_it || oldest.number == end.segment.number {
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
                Value::Apart { offset, len } => match oldest.read(offset, len) {
                    Ok(value) => Some(value),
                    // It is lost already.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
                    Err(error) => return Err(failed("read", &oldest.path)(error)),
                },
            };
            bytes += value.as_ref().map_or(0, |value| value.len() as u64);
            moved.insert((table, key), value);
            if bytes >= self.segment_bytes_max / 8 {
                self.append(end, std::mem::take(&mut moved), true)?;
                bytes = 0;
            }
        }
        // From here on the log begins after it, even if its file comes back: were an older segment to be read again
        // and not the one that recorded its deletions, what was deleted would be back.
        moved.insert((Table::Meta, BEGINS_KEY.to_vec()), Some(record::write(&(oldest.number + 1))));
        self.append(end, moved, true)?;
        self.index.write().unwrap_or_else(PoisonError::into_inner).segments.remove(&oldest.number);
        // PRUNE SAFETY: every key whose value lay in this segment has been appended again and synced, or was
        // deleted. Only this thread writes, so no key came to lie in it since. A deletion recorded in it hides
        // nothing: the log has no older segment.
        self.dir.medium().remove(&oldest.path).map_err(failed("delete", &oldest.path))
    }
}

/// Cuts a failed write off, durably. Until that is done nothing is acknowledged: what is left of the write would
/// be read as a commit when the log is opened again, over what was acknowledged since.
fn cut_off(end: &mut End) -> io::Result<()> {
    end.segment.file.truncate(end.offset)?;
    end.segment.file.sync()?;
    end.failed = false;
    Ok(())
}

impl Index {
    fn table(&mut self, table: u8) -> Option<&mut BTreeMap<Vec<u8>, Held>> {
        self.tables.get_mut(usize::from(table))
    }

    fn apply(&mut self, change: Change, segment: u64, values_at: u64) {
        let Change { table, key, what } = change;
        let value = match what {
            What::Deleted => None,
            What::Inline(value) => Some(Value::Inline(value)),
            What::Apart { position, len } => Some(Value::Apart { offset: values_at + position, len }),
        };
        let key_len = key.len() as u64;
        let Some(keys) = self.table(table) else { return };
        let (before, after) = match value {
            Some(value) => {
                let after = value.len();
                (keys.insert(key, Held { segment, value }), Some(after))
            }
            None => (keys.remove(&key), None),
        };
        let size = |value_len: u64| key_len + value_len + 16;
        self.live_bytes += after.map_or(0, size);
        self.live_bytes = self.live_bytes.saturating_sub(before.map_or(0, |held| size(held.value.len())));
    }

    /// What has its value in this segment.
    fn living_in(&self, segment: u64) -> Vec<(Table, Vec<u8>, Value)> {
        let of = |(keys, table): (&BTreeMap<Vec<u8>, Held>, Table)| {
            let here = keys.iter().filter(move |(_, held)| held.segment == segment);
            here.map(move |(key, held)| (table, key.clone(), held.value.clone())).collect::<Vec<_>>()
        };
        self.tables.iter().zip(Table::ALL).flat_map(of).collect()
    }

    /// Takes over revocations that the log lost, as long as this index lives.
    pub(crate) fn restore(&mut self, beside: &Revocations) {
        for (key, revocation) in revoked::newer(beside, &self.revocations()) {
            let what = What::Inline(record::write(&revocation));
            self.apply(Change { table: Table::Revocations as u8, key, what }, 0, 0);
        }
    }

    fn revocations(&self) -> Revocations {
        let pairs = self.page(Table::Revocations, &[], None, usize::MAX);
        pairs.into_iter().filter_map(|(key, bytes)| Some((key, record::read(&bytes)?))).collect()
    }

    fn find(&self, table: Table, key: &[u8]) -> Option<&Held> {
        self.tables[table as usize].get(key)
    }

    pub(crate) fn has(&self, table: Table, key: &[u8]) -> bool {
        self.find(table, key).is_some()
    }

    /// The value of a key, or where to read it.
    pub(crate) fn look_up(&self, table: Table, key: &[u8]) -> Option<Located> {
        let Held { segment, value } = self.find(table, key)?;
        match value {
            Value::Inline(value) => Some(Located::Here(value.clone())),
            Value::Apart { offset, len } => {
                let segment = self.segments.get(segment)?.clone();
                Some(Located::There { segment, offset: *offset, len: *len })
            }
        }
    }

    pub(crate) fn page(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Vec<Pair> {
        if to.is_some_and(|to| to <= from) {
            return Vec::new();
        }
        let end = to.map_or(Bound::Unbounded, Bound::Excluded);
        let keys = self.tables[table as usize].range::<[u8], _>((Bound::Included(from), end));
        let pair = |(key, held): (&Vec<u8>, &Held)| match &held.value {
            Value::Inline(value) => (key.clone(), value.clone()),
            // Scans look at keys; an envelope is read by its key.
            Value::Apart { .. } => (key.clone(), Vec::new()),
        };
        keys.take(limit).map(pair).collect()
    }
}

/// A value, or the place to read it at, which needs no lock on the index.
pub(crate) enum Located {
    Here(Vec<u8>),
    There { segment: Arc<Segment>, offset: u64, len: u64 },
}

impl Located {
    pub(crate) fn read(self) -> Result<Vec<u8>, StoreError> {
        match self {
            Self::Here(value) => Ok(value),
            Self::There { segment, offset, len } => segment.read_value(offset, len),
        }
    }

    pub(crate) fn read_split(self, split: Split<'_>) -> Result<Parts, StoreError> {
        let (segment, offset, len) = match self {
            Self::Here(mut value) => {
                let rest = value.split_off(split(&value).min(value.len()));
                return Ok((value, rest));
            }
            Self::There { segment, offset, len } => (segment, offset, len),
        };
        let mut first = segment.read_value(offset, len.min(SPLIT_WITHIN))?;
        let at = (split(&first) as u64).min(len);
        if at <= first.len() as u64 {
            first.truncate(at as usize);
        } else {
            first = segment.read_value(offset, at)?;
        }
        Ok((first, segment.read_value(offset + at, len - at)?))
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_path_buf();
    move |source| StoreError::Io { doing, path, source: Arc::new(source) }
}

impl Value {
    fn len(&self) -> u64 {
        match self {
            Self::Inline(value) => value.len() as u64,
            Self::Apart { len, .. } => *len,
        }
    }
}

impl Segment {
    fn create(medium: &dyn Medium, log: &Path, number: u64) -> io::Result<Self> {
        let path = segment_path(log, number);
        let segment = match Self::open(medium, &path, number, Opening::Make) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // A file of this number can only be what a failed attempt left: the index knows none. It is made
                // anew, for the directory may have failed to take it for good.
                medium.remove(&path)?;
                Self::open(medium, &path, number, Opening::Make)?
            }
            opened => opened?,
        };
        medium.sync_directory(log)?;
        Ok(segment)
    }

    /// Opens it as long as it is now.
    pub(crate) fn open(medium: &dyn Medium, path: &Path, number: u64, opening: Opening) -> io::Result<Self> {
        let file = medium.open(path, opening)?;
        let len = file.len()?;
        Ok(Self { number, path: path.into(), file, len: len.into() })
    }

    fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    fn read_value(&self, offset: u64, len: u64) -> Result<Vec<u8>, StoreError> {
        self.read(offset, len).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                StoreError::Damaged { path: self.path.clone(), reason: "a value is cut off".into() }
            }
            _ => failed("read", &self.path)(error),
        })
    }

    fn read(&self, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len as usize];
        self.file.read_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

pub(crate) fn segment_path(log: &Path, number: u64) -> PathBuf {
    log.join(format!("{number:08}.log"))
}

/// The segments in a directory, oldest first. Other files are left alone.
pub(crate) fn segment_numbers(medium: &dyn Medium, log: &Path) -> io::Result<Vec<u64>> {
    let number = |name: String| {
        let number = name.strip_suffix(".log")?.parse().ok()?;
        (segment_path(log, number) == log.join(&name)).then_some(number)
    };
    let mut numbers: Vec<_> = medium.list(log)?.into_iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// A commit on its way to the log.
struct Frame {
    changes: Vec<Change>,
    changes_bytes: Vec<u8>,
    values: Vec<u8>,
}

impl Frame {
    fn of(changes: Changes) -> Self {
        let mut values = Vec::new();
        let changes: Vec<_> = changes
            .into_iter()
            .map(|((table, key), value)| {
                let what = match value {
                    None => What::Deleted,
                    Some(value) if table == Table::Receipts => {
                        let position = values.len() as u64;
                        values.extend_from_slice(&value);
                        What::Apart { position, len: value.len() as u64 }
                    }
                    Some(value) => What::Inline(value),
                };
                Change { table: table as u8, key, what }
            })
            .collect();
        let changes_bytes = borsh::to_vec(&changes).unwrap_or_default();
        Self { changes, changes_bytes, values }
    }

    fn bytes(&self, segment: u64, offset: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_LEN + self.changes_bytes.len() + self.values.len());
        bytes.extend(MAGIC);
        bytes.extend((self.changes_bytes.len() as u64).to_le_bytes());
        bytes.extend((self.values.len() as u64).to_le_bytes());
        bytes.extend(blake3::hash(&self.changes_bytes).as_bytes());
        bytes.extend(blake3::hash(&self.values).as_bytes());
        bytes.extend(head_check(&bytes, segment, offset));
        bytes.extend_from_slice(&self.changes_bytes);
        bytes.extend_from_slice(&self.values);
        bytes
    }
}

fn head_check(head: &[u8], segment: u64, offset: u64) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("reprise 2026-11 receipt log frame");
    hasher.update(head).update(&segment.to_le_bytes()).update(&offset.to_le_bytes());
    *hasher.finalize().as_bytes()
}

/// The head of a frame that checks.
struct Head {
    changes_len: u64,
    values_len: u64,
    changes_hash: [u8; 32],
    values_hash: [u8; 32],
}

impl Head {
    fn read(bytes: &[u8; HEAD_LEN], segment: u64, offset: u64) -> Option<Self> {
        let (fields, check) = bytes.split_last_chunk::<32>()?;
        if !fields.starts_with(&MAGIC) || head_check(fields, segment, offset) != *check {
            return None;
        }
        Some(Self {
            changes_len: u64::from_le_bytes(*fields[8..].first_chunk()?),
            values_len: u64::from_le_bytes(*fields[16..].first_chunk()?),
            changes_hash: *fields[24..].first_chunk()?,
            values_hash: *fields[56..].first_chunk()?,
        })
    }

    fn len(&self) -> u64 {
        (HEAD_LEN as u64).saturating_add(self.changes_len).saturating_add(self.values_len)
    }
}

/// What a replay of a log found.
pub(crate) struct Replayed {
    pub(crate) index: Index,
    pub(crate) damage: Vec<Damage>,
    last: Option<Last>,
}

/// The last segment, as a replay found it.
struct Last {
    number: u64,
    /// The end of the last frame.
    whole_to: u64,
    /// Where frames begin whose heads check and whose rest does not.
    unfinished: Vec<u64>,
}

/// Reads segments, oldest first. Those before the one that the log says it begins with are left out.
pub(crate) fn replay_all(segments: &[Arc<Segment>]) -> io::Result<Replayed> {
    let mut replayed = Replayed { index: Index::default(), damage: Vec::new(), last: None };
    for segment in segments {
        replayed.index.segments.insert(segment.number, segment.clone());
        let last = Some(segment.number) == segments.last().map(|last| last.number);
        replayed.last = Some(replay(&mut replayed.index, segment, last, &mut replayed.damage)?);
    }
    let begins = match replayed.index.find(Table::Meta, BEGINS_KEY) {
        Some(Held { value: Value::Inline(bytes), .. }) => record::read(bytes).unwrap_or(0),
        _ => 0,
    };
    match segments.partition_point(|segment| segment.number < begins) {
        0 => Ok(replayed),
        left_over => replay_all(&segments[left_over..]),
    }
}

/// Applies the frames of a segment that check, and names the parts that do not. Only a disk that does not answer
/// is an error.
fn replay(
    index: &mut Index,
    segment: &Arc<Segment>,
    values_too: bool,
    damage: &mut Vec<Damage>,
) -> io::Result<Last> {
    let len = segment.len();
    let mut at = 0;
    let mut last = Last { number: segment.number, whole_to: 0, unfinished: Vec::new() };
    while at < len {
        let Some(head) = head_at(segment, at)? else {
            let to = next_head(segment, at + 1)?.unwrap_or(len);
            damage.push(Damage { segment: segment.clone(), from: at, to });
            at = to;
            continue;
        };
        let to = at + head.len();
        match changes_at(segment, at, &head, values_too)? {
            Some(changes) => {
                let values_at = at + HEAD_LEN as u64 + head.changes_len;
                for change in changes.into_iter().filter(|change| change.lies_within(head.values_len)) {
                    index.apply(change, segment.number, values_at);
                }
            }
            None => {
                damage.push(Damage { segment: segment.clone(), from: at, to });
                last.unfinished.extend(values_too.then_some(at));
            }
        }
        at = to;
        last.whole_to = to;
    }
    Ok(last)
}

/// The head at an offset, if it checks and its frame ends within the segment.
fn head_at(segment: &Segment, at: u64) -> io::Result<Option<Head>> {
    let left = segment.len() - at;
    if left < HEAD_LEN as u64 {
        return Ok(None);
    }
    let mut bytes = [0; HEAD_LEN];
    segment.file.read_at(&mut bytes, at)?;
    Ok(Head::read(&bytes, segment.number, at).filter(|head| head.len() <= left))
}

/// The changes of a frame, if they check.
fn changes_at(segment: &Segment, at: u64, head: &Head, values_too: bool) -> io::Result<Option<Vec<Change>>> {
    let changes = segment.read(at + HEAD_LEN as u64, head.changes_len)?;
    if *blake3::hash(&changes).as_bytes() != head.changes_hash {
        return Ok(None);
    }
    if values_too {
        let values = segment.read(at + HEAD_LEN as u64 + head.changes_len, head.values_len)?;
        if *blake3::hash(&values).as_bytes() != head.values_hash {
            return Ok(None);
        }
    }
    Ok(borsh::from_slice(&changes).ok())
}

/// Where the next head that checks begins.
fn next_head(segment: &Segment, from: u64) -> io::Result<Option<u64>> {
    let bytes = segment.read(from, segment.len() - from)?;
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(MAGIC.len()).position(|window| window == MAGIC) {
        at += found;
        let head = bytes[at..].first_chunk();
        if head.is_some_and(|head| Head::read(head, segment.number, from + at as u64).is_some()) {
            return Ok(Some(from + at as u64));
        }
        at += 1;
    }
    Ok(None)
}

impl Engine for DiskEngine {
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
        Ok(self.index().page(table, from, to, limit))
    }

    fn commit(&self, changes: Changes, sync: bool) -> Result<(), StoreError> {
        let mut end = self.end();
        if changes.is_empty() {
            return self.append(&mut end, changes, sync);
        }
        let revoked = revoked::among(&changes);
        if !revoked.is_empty() {
            let all = self.index().revocations().into_iter().chain(revoked).collect();
            revoked::write(&self.dir, &all).map_err(failed("write", &self.dir.revoked()))?;
        }
        self.append(&mut end, changes, sync)?;
        if let Err(error) = self.clean(&mut end) {
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
}
