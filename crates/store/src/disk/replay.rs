//! The replay: reads a log into an index when it is opened, and names the parts that do not check.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::disk::frame::{Change, HEAD_LEN, Head, MAGIC};
use crate::disk::index::Index;
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
pub(crate) fn replay_all(segments: &[Arc<Segment>]) -> io::Result<Replayed> {
    let mut replayed = Replayed { index: Index::default(), damage: Vec::new(), last: None };
    for segment in segments {
        replayed.index.segments.insert(segment.number, segment.clone());
        let last = Some(segment.number) == segments.last().map(|last| last.number);
        replayed.last = Some(replay(&mut replayed.index, segment, last, &mut replayed.damage)?);
    }
    replayed.index.finish();
    let begins = replayed.index.begins();
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
                index.take(changes, segment.number, at + HEAD_LEN as u64, head.values_len);
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
