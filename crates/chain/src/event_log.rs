//! The event log: the events of a live L1, in a file, so that a restart goes on where the last process ended.
//!
//! A live L1 does not repeat its events: blocks that left its canonical chain may be pruned, and it proves a lane only in
//! canonical blocks. So every event is appended and flushed before the pipeline sees it. A restart reads the event log
//! first and then asks the L1 what changed since its tip.
//!
//! # File
//!
//! A [log](reprise_disk::log), appended to but for compaction, of these frames, in borsh:
//!
//! | frames | content |
//! |---|---|
//! | one `Head` | a [`Recording`] without events: network, recorder, lane and root; and the root's checkpoint |
//! | `Settled` | none at first; the chain above the root as far as it was compacted, some blocks a frame. (Its name is of a time when only what is settled was) |
//! | one `Bar` | nothing |
//! | `Event` | each [`SourceEvent`] since |
//!
//! An event builds on those before it. So a damaged event and everything after it are moved to a file `….damaged-1`, and
//! the L1 is asked again from there. Damage before the events is an error that names the file.
//!
//! # Compaction
//!
//! Of what is final no fork comes back. So [`EventLog::compact`] keeps of that part one straight chain: a header's own fields, the
//! lane's transactions and the settlements. It drops orphaned forks, the fields that a header repeats of its parent's, and lane
//! proofs, except three sorts: the proof of the last block, from which the L1's checks go on; those of blocks that accept something,
//! which show whether the lane began anew when batch records are lost and the chain is executed again; and those of empty blocks
//! that a settlement can be [anchored](reprise_model::anchor) in. An empty block takes 97 bytes.
//!
//! A compaction writes a new file beside the old one, which stays where the disk has no room for both.
//!
//! # Beginning
//!
//! A directory that has a snapshot of a settled block needs nothing below it. [`EventLog::begin_at`] makes that block the root,
//! and drops what lies below.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use borsh::{BorshDeserialize, BorshSerialize};
use reprise_disk::data_dir::LockedPath;
use reprise_disk::log::{Format, Found, Frames, HEADER_LEN, Log, LogError, Writer};
use reprise_model::anchor::AnchorDepth;
use reprise_model::block::{ChainBlock, ChainBlockMetadata, ChainRoot, ObservedClaim, ObservedSettlement};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest};
use reprise_model::transaction::LaneTransaction;

use crate::event::SourceEvent;
use crate::recording::Recording;

/// The version of the frames' content. Another version is refused.
pub const FORMAT_VERSION: u16 = 6;

const FORMAT: Format = Format {
    magic: *b"RPCHRONI",
    earlier: Some(*b"REPRISE\0"),
    version: FORMAT_VERSION,
    what: "the event log",
};

const HELP: &str = "restore the file from a copy, or go on from a snapshot (`reprise snapshot import --replace`: see snapshots/ in the \
                    data directory), or use another data directory; `reprise receipts export` takes the receipts along";

/// Blocks in a frame of the compacted part.
const RUN_LEN: usize = 256;

/// A frame's body.
#[derive(BorshSerialize, BorshDeserialize)]
enum Entry<'a> {
    Head(Box<Recording>, Checkpoint),
    Settled(Cow<'a, [SettledBlock]>),
    Bar,
    Event(Cow<'a, SourceEvent>),
}

/// A block of the compacted part: the fields that do not follow from its parent.
#[derive(Clone, BorshSerialize, BorshDeserialize)]
struct SettledBlock {
    block_hash: BlockHash,
    blue_score: u64,
    daa_score: u64,
    timestamp_ms: u64,
    sequencing_commitment: Digest,
    accepted: Vec<LaneTransaction>,
    lane_proof: Option<Vec<u8>>,
    settlements: Vec<ObservedSettlement>,
    claims: Vec<ObservedClaim>,
}

impl SettledBlock {
    fn of(block: ChainBlock) -> Self {
        let ChainBlock { metadata, accepted, lane_proof, settlements, claims } = block;
        let ChainBlockMetadata {
            block_hash, blue_score, daa_score, timestamp_ms, sequencing_commitment, ..
        } = metadata;
        Self {
            block_hash,
            blue_score,
            daa_score,
            timestamp_ms,
            sequencing_commitment,
            accepted,
            lane_proof,
            settlements,
            claims,
        }
    }

    /// The whole block, on `parent`.
    fn on(self, parent: &ChainBlockMetadata) -> ChainBlock {
        let metadata = ChainBlockMetadata {
            block_hash: self.block_hash,
            parent_hash: parent.block_hash,
            blue_score: self.blue_score,
            daa_score: self.daa_score,
            timestamp_ms: self.timestamp_ms,
            parent_timestamp_ms: parent.timestamp_ms,
            sequencing_commitment: self.sequencing_commitment,
        };
        let Self { accepted, lane_proof, settlements, claims, .. } = self;
        ChainBlock { metadata, accepted, lane_proof, settlements, claims }
    }
}

/// An open event log.
#[derive(Debug)]
pub struct EventLog {
    log: Log,
    head: Recording,
    /// The root's checkpoint: 0 at a rollup's founding.
    checkpoint: Checkpoint,
    /// The last block of the compacted part, and how many it has.
    base: (ChainRoot, u64),
    /// The lane proof of the last block of that part that accepts something.
    last_active: Option<Vec<u8>>,
    /// Where the compacted part begins, the bar above it, and the first event's frame.
    settled: u64,
    bar: u64,
    start: u64,
}

impl EventLog {
    /// Begins an event log at `place`, of the chain that `head` names, whose root has this checkpoint. The events of `head` are
    /// ignored.
    pub fn begin(place: LockedPath, head: Recording, checkpoint: Checkpoint) -> Result<Self, LogError> {
        let head = Recording { events: vec![], ..head };
        let bodies = [body(&Entry::Head(Box::new(head), checkpoint)), body(&Entry::Bar)];
        let log = Log::create(place, FORMAT, identity(), &[&bodies[0], &bodies[1]])?;
        Self::read(log, &[])
    }

    /// Opens the event log at `place`, if there is one.
    pub fn open(place: LockedPath) -> Result<Option<Self>, LogError> {
        let Some(Found { mut log, mut damage }) = Log::open(place, FORMAT, identity())? else {
            return Ok(None);
        };
        if damage.first().is_some_and(|first| first.start == 0) && log.frames(0).next().is_some() {
            // Its header is damaged, and its content is known: it is written again.
            log.mend(&damage[..1])?;
            damage.remove(0);
            if !damage.is_empty() {
                return Err(log.damaged(damage[0].clone(), HELP));
            }
        }
        Self::read(log, &damage).map(Some)
    }

    /// Reads the part before the events, and moves the events from the first damage on to a file of their own.
    fn read(log: Log, damage: &[Range<u64>]) -> Result<Self, LogError> {
        let sound = damage.first().map_or(log.end(), |first| first.start);
        let mut frames = log.frames(HEADER_LEN);
        let whole = frames.offset() < sound;
        let Some(Entry::Head(head, checkpoint)) = (if whole { next(&mut frames, &log)? } else { None })
        else {
            return Err(log.damaged(HEADER_LEN..log.end(), HELP));
        };
        let (head, settled) = (*head, frames.offset());
        let base = (head.root.clone(), 0);
        let mut event_log =
            Self { log, head, checkpoint, base, last_active: None, settled, bar: settled, start: settled };
        let mut runs = event_log.settled();
        runs.sound = sound;
        let mut compacted = 0;
        for run in runs.by_ref() {
            compacted += run?.len() as u64;
        }
        let (last, bar, start) = (runs.last, runs.bar, runs.frames.offset());
        let last_active = runs.last_active;
        (event_log.base, event_log.bar, event_log.start) = ((last, compacted), bar, start);
        event_log.last_active = last_active;
        if let Some(first) = damage.first() {
            let rest = first.start..event_log.log.end();
            let aside = event_log.log.put_aside(std::slice::from_ref(&rest))?;
            tracing::warn!(
                "{}: an event at byte {} is damaged: it and what follows are put aside as {}, and the L1 is asked for \
                 them again",
                event_log.path().display(),
                rest.start,
                aside.display()
            );
            event_log.log.cut(rest.start)?;
        }
        if let Some(error) = event_log.events().find_map(Result::err) {
            return Err(error);
        }
        Ok(event_log)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.log.place().path()
    }

    /// Network, lane and root of the chain, as a recording without events.
    pub fn head(&self) -> &Recording {
        &self.head
    }

    /// The root's checkpoint: 0 at a rollup's founding, more where a snapshot is of the root.
    pub fn checkpoint(&self) -> Checkpoint {
        self.checkpoint
    }

    /// The block that the events build on: the root, or the last one of the compacted part.
    pub fn base(&self) -> &ChainRoot {
        &self.base.0
    }

    /// How many blocks are compacted: how far the [base](Self::base) lies above the root.
    pub fn compacted(&self) -> u64 {
        self.base.1
    }

    /// The lane proof of the last block up to the [base](Self::base) that accepts something, unless that is the root: it shows
    /// the lane's last entry where the base's own proof no longer has it.
    pub fn last_active(&self) -> Option<&[u8]> {
        self.last_active.as_deref()
    }

    /// The compacted part from the root, some blocks at a time.
    pub fn settled(&self) -> SettledRuns<'_> {
        let frames = self.log.frames(self.settled);
        let (last, sound) = (self.head.root.clone(), self.log.end());
        SettledRuns { log: &self.log, frames, last, last_active: None, bar: self.settled, sound, over: false }
    }

    /// Its events from the first, read one by one.
    pub fn events(&self) -> Events<'_> {
        Events { log: &self.log, frames: self.log.frames(self.start) }
    }

    /// The whole chain from the root: the compacted part as events that remove nothing, then its events.
    pub fn all(&self) -> impl Iterator<Item = Result<SourceEvent, LogError>> {
        let settled = self.settled().map(|run| run.map(|added| SourceEvent { removed: vec![], added }));
        settled.chain(self.events())
    }

    /// Compacts the chain up to the block at `height` above the root. It and all blocks below it are final. `depth` says which empty
    /// blocks a settlement can be anchored in; `None` where that needs no lane proof. Returns whether there was anything to compact.
    pub fn compact(&mut self, height: u64, depth: Option<AnchorDepth>) -> Result<bool, LogError> {
        let Some(cut) = self.cut_at(height)? else { return Ok(false) };
        let log = self.log.rewrite(self.log.end(), |out| self.write_compacted(out, &cut, depth))?;
        *self = Self::read(log, &[])?;
        Ok(true)
    }

    /// Where a compaction up to `height` cuts; `None` where nothing is to be compacted.
    fn cut_at(&self, height: u64) -> Result<Option<Cut>, LogError> {
        let Some(kept) = height.checked_sub(self.base.1).filter(|kept| *kept > 0) else { return Ok(None) };
        let kept = usize::try_from(kept).unwrap_or(usize::MAX);
        let mut chain: Vec<BlockHash> = vec![];
        // The event after which the last block stays.
        let mut stays = None;
        for (number, event) in self.events().enumerate() {
            let event = event?;
            chain.truncate(chain.len().saturating_sub(event.removed.len()));
            if chain.len() < kept {
                stays = None;
            }
            chain.extend(event.added.iter().map(|block| block.metadata.block_hash));
            if chain.len() >= kept {
                stays = stays.or(Some(number));
            }
        }
        let Some(last) = stays else { return Ok(None) };
        chain.truncate(kept);
        Ok(Some(Cut { chain, last }))
    }

    /// Lets the chain begin with this block of it, and drops what lies below. The block is final, and has a lane proof where
    /// the chain is to be followed from it. Returns whether it is a block of the chain; where it is not, nothing changes.
    pub fn begin_at(&mut self, root: ChainRoot, checkpoint: Checkpoint) -> Result<bool, LogError> {
        let (begins, is_there) = (self.head.root.metadata == root.metadata, self.checkpoint == checkpoint);
        if root == self.head.root || begins && !is_there {
            return Ok(is_there);
        }
        let block = root.metadata.block_hash;
        let log = match self.height_in_events(&block)? {
            Some(height) => {
                let Some(cut) = self.cut_at(height)? else { return Ok(false) };
                self.log.rewrite(self.log.end() - self.start, |out| {
                    self.write_cut(out, &cut, (root, checkpoint))
                })?
            }
            None => {
                let from = if begins { Some(self.settled) } else { self.run_of(&block)? };
                let Some(from) = from else { return Ok(false) };
                self.log.rewrite(self.log.end() - from, |out| self.write_above(out, (root, checkpoint)))?
            }
        };
        *self = Self::read(log, &[])?;
        Ok(true)
    }

    /// Whether the chain has this block, its root included.
    pub fn has(&self, block: &BlockHash) -> Result<bool, LogError> {
        let is_root = self.head.root.metadata.block_hash == *block;
        Ok(is_root || self.height_in_events(block)?.is_some() || self.run_of(block)?.is_some())
    }

    /// How far above the root the block lies, where the events leave it on the chain.
    fn height_in_events(&self, block: &BlockHash) -> Result<Option<u64>, LogError> {
        let (mut length, mut found) = (0, None);
        for event in self.events() {
            let event = event?;
            length -= event.removed.len() as u64;
            found = found.filter(|height| *height <= length);
            for added in &event.added {
                length += 1;
                if added.metadata.block_hash == *block {
                    found = Some(length);
                }
            }
        }
        Ok(found.map(|height| self.base.1 + height))
    }

    /// Where the frame of a compacted block begins.
    fn run_of(&self, block: &BlockHash) -> Result<Option<u64>, LogError> {
        let mut runs = self.settled();
        while let Some(run) = runs.next().transpose()? {
            if run.iter().any(|it| it.metadata.block_hash == *block) {
                return Ok(Some(runs.bar));
            }
        }
        Ok(None)
    }

    /// Writes the log of the chain above one of its compacted blocks, or above its root.
    fn write_above(
        &self,
        out: &mut Writer,
        (root, checkpoint): (ChainRoot, Checkpoint),
    ) -> Result<(), LogError> {
        let block = root.metadata.block_hash;
        let mut is_above = self.head.root.metadata == root.metadata;
        out.frame(&body(&Entry::Head(Box::new(Recording { root, ..self.head.clone() }), checkpoint)))?;
        for run in self.settled() {
            let mut kept = vec![];
            for settled in run? {
                let is_root = settled.metadata.block_hash == block;
                if is_above {
                    kept.push(SettledBlock::of(settled));
                }
                is_above |= is_root;
            }
            if !kept.is_empty() {
                out.frame(&body(&Entry::Settled(kept.into())))?;
            }
        }
        self.copy(out, self.bar, self.log.end())
    }

    fn write_compacted(
        &self,
        out: &mut Writer,
        cut: &Cut,
        depth: Option<AnchorDepth>,
    ) -> Result<(), LogError> {
        out.frame(&body(&Entry::Head(Box::new(self.head.clone()), self.checkpoint)))?;
        self.copy(out, self.settled, self.bar)?;
        let (mut run, mut waits) = (Vec::with_capacity(RUN_LEN), None::<ChainBlock>);
        let mut parent_score = self.base.0.metadata.blue_score;
        let rest = self.divide(cut, |block| {
            // It waits for the next, because the last keeps its lane proof.
            if let Some(mut taken) = waits.replace(block) {
                let score = taken.metadata.blue_score;
                let keeps = depth.is_some_and(|depth| depth.keeps(parent_score, score));
                taken.lane_proof = taken.lane_proof.filter(|_| keeps || !taken.accepted.is_empty());
                parent_score = score;
                run.push(SettledBlock::of(taken));
            }
            if run.len() == RUN_LEN {
                out.frame(&body(&Entry::Settled(run.as_slice().into())))?;
                run.clear();
            }
            Ok(())
        })?;
        run.extend(waits.map(SettledBlock::of));
        out.frame(&body(&Entry::Settled(run.into())))?;
        self.write_rest(out, rest)
    }

    /// Writes the log of the chain above the cut, where it begins.
    fn write_cut(
        &self,
        out: &mut Writer,
        cut: &Cut,
        (root, checkpoint): (ChainRoot, Checkpoint),
    ) -> Result<(), LogError> {
        out.frame(&body(&Entry::Head(Box::new(Recording { root, ..self.head.clone() }), checkpoint)))?;
        self.write_rest(out, self.divide(cut, |_| Ok(()))?)
    }

    /// The events up to the cut's last one: each block below the cut, once, and what lies above as the events leave it.
    fn divide(
        &self,
        cut: &Cut,
        mut below_cut: impl FnMut(ChainBlock) -> Result<(), LogError>,
    ) -> Result<Rest, LogError> {
        let (mut events, mut chain) = (self.events(), cut.chain.iter().peekable());
        // How much of the part below the cut is canonical at this event, and the blocks above that.
        let (mut below, mut above) = (0, vec![]);
        for event in events.by_ref().take(cut.last + 1) {
            let event = event?;
            for _ in &event.removed {
                if above.pop().is_none() {
                    below -= 1;
                }
            }
            for block in event.added {
                // A block is taken when it first comes.
                if chain.next_if_eq(&&block.metadata.block_hash).is_some() {
                    below_cut(block.clone())?;
                }
                match below < cut.chain.len() {
                    true => below += 1,
                    false => above.push(block),
                }
            }
        }
        Ok(Rest { above, from: events.frames.offset() })
    }

    fn write_rest(&self, out: &mut Writer, rest: Rest) -> Result<(), LogError> {
        out.frame(&body(&Entry::Bar))?;
        if !rest.above.is_empty() {
            let event = SourceEvent { removed: vec![], added: rest.above };
            out.frame(&body(&Entry::Event(Cow::Owned(event))))?;
        }
        self.copy(out, rest.from, self.log.end())
    }

    /// Copies the frames of a part.
    fn copy(&self, out: &mut Writer, from: u64, to: u64) -> Result<(), LogError> {
        let mut frames = self.log.frames(from);
        while frames.offset() < to {
            let Some(body) = frames.next() else { break };
            out.frame(&body?)?;
        }
        Ok(())
    }

    /// Appends an event; it is durable when this returns.
    pub fn append(&mut self, event: &SourceEvent) -> Result<(), LogError> {
        self.log.append(&body(&Entry::Event(Cow::Borrowed(event))))
    }
}

/// The part that a compaction keeps as a straight chain, and the last event in it.
struct Cut {
    chain: Vec<BlockHash>,
    last: usize,
}

/// What lies above a cut: the blocks at the cut's last event, and where the events after that begin.
struct Rest {
    above: Vec<ChainBlock>,
    from: u64,
}

fn identity() -> [u8; 32] {
    blake3::derive_key("reprise 2026-11 chronicle", &[])
}

fn body(entry: &Entry<'_>) -> Vec<u8> {
    // Writing to memory does not fail.
    borsh::to_vec(entry).unwrap_or_default()
}

/// The next entry. A frame with a valid checksum that does not decode belongs to something else.
fn next(frames: &mut Frames, log: &Log) -> Result<Option<Entry<'static>>, LogError> {
    let from = frames.offset();
    let Some(body) = frames.next().transpose()? else { return Ok(None) };
    let entry = borsh::from_slice(&body).map_err(|_| log.damaged(from..frames.offset(), HELP))?;
    Ok(Some(entry))
}

/// The compacted part of an event log, some blocks at a time.
#[derive(Debug)]
pub struct SettledRuns<'a> {
    log: &'a Log,
    frames: Frames,
    /// The last block read.
    last: ChainRoot,
    /// The lane proof of the last one that accepts something.
    last_active: Option<Vec<u8>>,
    /// Where the last frame read begins.
    bar: u64,
    /// Where the first damage begins.
    sound: u64,
    over: bool,
}

impl SettledRuns<'_> {
    fn read(&mut self) -> Result<Option<Vec<ChainBlock>>, LogError> {
        self.bar = self.frames.offset();
        let entry = if self.bar < self.sound { next(&mut self.frames, self.log)? } else { None };
        let run = match entry {
            Some(Entry::Settled(run)) => run.into_owned(),
            Some(Entry::Bar) => return Ok(None),
            Some(Entry::Head(..) | Entry::Event(_)) | None => {
                return Err(self.log.damaged(self.bar..self.log.end(), HELP));
            }
        };
        let mut on_last = |block: SettledBlock| {
            let block = block.on(&self.last.metadata);
            self.last = ChainRoot { metadata: block.metadata, lane_proof: block.lane_proof.clone() };
            if !block.accepted.is_empty() {
                self.last_active.clone_from(&block.lane_proof);
            }
            block
        };
        Ok(Some(run.into_iter().map(&mut on_last).collect()))
    }
}

impl Iterator for SettledRuns<'_> {
    type Item = Result<Vec<ChainBlock>, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let read = self.read();
        self.over = !matches!(read, Ok(Some(_)));
        read.transpose()
    }
}

/// The events of an event log.
#[derive(Debug)]
pub struct Events<'a> {
    log: &'a Log,
    frames: Frames,
}

impl Iterator for Events<'_> {
    type Item = Result<SourceEvent, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        let from = self.frames.offset();
        match next(&mut self.frames, self.log) {
            Ok(Some(Entry::Event(event))) => Some(Ok(event.into_owned())),
            Ok(Some(_)) => Some(Err(self.log.damaged(from..self.frames.offset(), HELP))),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }
}
