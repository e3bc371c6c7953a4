//! The replay: reads a log into an index when it is opened, and names the parts that do not check.

use std::io;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use crate::directory::OpenError;
use crate::disk::frame::{HEAD_LEN, Head, MAGIC};
use crate::disk::index::{Index, Pending, Sorted};
use crate::disk::segment::Segment;

/// A part of the log that does not check.
#[derive(Clone)]
pub struct Damage {
    segment: Arc<Segment>,
    /// Where it begins.
    pub from: u64,
    /// Where it ends.
    pub to: u64,
}

/// How many bytes these parts are.
pub(crate) fn length(parts: &[Damage]) -> u64 {
    parts.iter().map(|part| part.to - part.from).sum()
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
        let file = self.segment.file()?;
        for offset in offsets {
            file.write_at(&[0; MAGIC.len()], self.from + offset)?;
        }
        if offsets.is_empty() { Ok(()) } else { file.sync() }
    }
}

/// What a replay of a log found.
pub(crate) struct Replayed {
    pub(crate) index: Index,
    pub(crate) damage: Vec<Damage>,
    pub(super) last: Option<Last>,
}

/// The last segment, as a replay found it.
pub(super) struct Last {
    pub(super) number: u64,
    /// The end of the last frame.
    pub(super) whole_to: u64,
    /// Where frames begin whose heads check and whose rest does not.
    pub(super) unfinished: Vec<u64>,
}

/// Reads segments, oldest first. Those before the one that the log says it begins with are left out.
pub(crate) fn replay_all(segments: &[Arc<Segment>]) -> Result<Replayed, OpenError> {
    let mut index = Index::default();
    index.segments.extend(segments.iter().map(|segment| (segment.number, segment.clone())));
    let (damage, last) = thread::scope(|scope| {
        // One thread reads and sorts what this one enters. No more than one part waits.
        let (give, given) = sync_channel(0);
        let reading = thread::Builder::new().name("replay".into());
        let reading = reading.spawn_scoped(scope, move || Reading::new(give).all(segments));
        let reading = reading.map_err(|source| OpenError::Thread { source })?;
        given.into_iter().for_each(|part| index.enter(&part));
        let read = reading.join().unwrap_or_else(|panic| resume_unwind(panic));
        read.map_err(|(path, source)| OpenError::Io { doing: "read", path, source })
    })?;
    let begins = index.begins();
    match segments.partition_point(|segment| segment.number < begins) {
        0 => Ok(Replayed { index, damage, last }),
        left_over => replay_all(&segments[left_over..]),
    }
}

/// So many bytes of changes are sorted and entered together, at first and at most. Each time nearly all blocks are written anew, because
/// ids are random; and until the first are read, nothing can be entered.
const PART_BYTES: (usize, usize) = (8 << 20, 64 << 20);

/// What is read and not entered yet.
struct Reading {
    give: SyncSender<Sorted>,
    pending: Pending,
    /// How long it is when it is entered.
    part_bytes: usize,
}

impl Reading {
    fn new(give: SyncSender<Sorted>) -> Self {
        Self { give, pending: Pending::default(), part_bytes: PART_BYTES.0 }
    }

    /// An error names the segment that the disk cannot read. What it holds is no damage: the next replay may read it.
    fn all(mut self, segments: &[Arc<Segment>]) -> Result<(Vec<Damage>, Option<Last>), (PathBuf, io::Error)> {
        let (mut damage, mut last) = (vec![], None);
        for segment in segments {
            let is_last = Some(segment.number) == segments.last().map(|last| last.number);
            let replayed = replay(&mut self, segment, is_last, &mut damage);
            last = Some(replayed.map_err(|source| (segment.path.clone(), source))?);
        }
        self.hand_over();
        Ok((damage, last))
    }

    /// Takes the changes of a frame: see [`Pending::take`].
    fn take(&mut self, bytes: &[u8], segment: u64, changes_at: u64, values_len: u64) -> bool {
        let are_changes = self.pending.take(bytes, segment, changes_at, values_len);
        if self.pending.len() >= self.part_bytes {
            self.hand_over();
            self.part_bytes = (self.part_bytes * 2).min(PART_BYTES.1);
        }
        are_changes
    }

    fn hand_over(&mut self) {
        // Only where the other thread panics is it not taken.
        let _ = self.give.send(std::mem::take(&mut self.pending).sorted());
    }
}

/// Takes the frames of a segment that check, and names the parts that do not. Only a disk that does not answer
/// is an error.
fn replay(
    reading: &mut Reading,
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
        let bytes = changes_at(segment, at, &head, values_too)?;
        let changes_at = at + HEAD_LEN as u64;
        let take = |bytes: Vec<u8>| reading.take(&bytes, segment.number, changes_at, head.values_len);
        if !bytes.is_some_and(take) {
            damage.push(Damage { segment: segment.clone(), from: at, to });
            last.unfinished.extend(values_too.then_some(at));
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
    segment.file()?.read_at(&mut bytes, at)?;
    Ok(Head::read(&bytes, segment.number, at).filter(|head| head.len() <= left))
}

/// The bytes of a frame's changes, if they check.
fn changes_at(segment: &Segment, at: u64, head: &Head, values_too: bool) -> io::Result<Option<Vec<u8>>> {
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
    Ok(Some(changes))
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
