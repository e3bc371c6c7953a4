//! Chronicles: what a live L1 told, kept as it tells it, so that a restart goes on where the last life ended.
//!
//! A live L1 does not repeat itself: blocks that left its canonical chain may be gone, and a lane proof can be had
//! only while its block is canonical. So every event is appended, and flushed, before anything follows from it. A
//! restart reads the event log first and then asks the L1 what changed since its tip.
//!
//! # File
//!
//! Append-only but for compaction, written by one process (the receipt store's lock covers it):
//!
//! | part | content |
//! |---|---|
//! | head | a [`Recording`] without events, as its own format has it: network, recorder, lane and root |
//! | frames `Settled` | none at first; the chain above the root as far as it was compacted, some blocks a frame |
//! | a frame `Bar` | nothing |
//! | frames `Event` | each [`SourceEvent`] since |
//!
//! A frame is the length of its body (4), its complement (4), BLAKE3 of the body (32), and the body, in borsh.
//!
//! What follows the last whole event is cut off: a write that was never acknowledged, or damage. Either costs no
//! more than asking the L1 again. Damage is put beside the file, as `….damaged`, and logged. Damage before the events is
//! refused by name.
//!
//! # Compaction
//!
//! What is final and settled for good is wanted never again, but a restart still follows the chain from its root: the
//! blocks below say at which checkpoint a block is, the oracle executes their transactions, and the planner must be shown
//! the settlement that its prune floor stands on. So [`EventLog::compact`] keeps of that part one straight chain: a
//! header's own fields, the lane's transactions and the settlements. Forks that were orphaned there, what a header repeats
//! of its parent's, and lane proofs go, but for the proof of the last block, which the L1's own checks go on from, and of
//! those whose successor accepts something: where batch records are lost and the chain is executed again, they tell
//! whether a lane had expired until then. An empty block takes 97 bytes.
//!
//! It is written aside, flushed, renamed, and the directory is flushed: after a crash at any moment the file is the old
//! one or the new one.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use borsh::{BorshDeserialize, BorshSerialize};
use reprise_model::block::{ChainBlock, ChainBlockMetadata, ChainRoot, ObservedSettlement};
use reprise_model::digest::{BlockHash, Digest};
use reprise_model::transaction::LaneTransaction;

use crate::event::SourceEvent;
use crate::file;
use crate::recording::{Recording, RecordingError};

const FRAME_LEN: usize = 40;

/// Blocks in a frame of the compacted part.
const RUN_LEN: usize = 256;

/// A frame's body.
#[derive(BorshSerialize, BorshDeserialize)]
enum Entry<'a> {
    Settled(Cow<'a, [SettledBlock]>),
    Bar,
    Event(Cow<'a, SourceEvent>),
}

/// A block of the compacted part: what its parent does not say already.
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
}

impl SettledBlock {
    fn of(block: ChainBlock) -> Self {
        let ChainBlock { metadata, accepted, lane_proof, settlements } = block;
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
        }
    }

    /// The block on `parent` that this was.
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
        let Self { accepted, lane_proof, settlements, .. } = self;
        ChainBlock { metadata, accepted, lane_proof, settlements }
    }
}

/// Why an event log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum EventLogError {
    /// The file system said no.
    #[error("{path}: cannot {action} the event log: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the file system said.
        source: io::Error,
    },
    /// Its head does not check.
    #[error("{source}; remove the file to follow the L1 afresh (receipts are kept elsewhere)")]
    Head {
        /// What is wrong with it.
        source: RecordingError,
    },
    /// What comes before the events does not check.
    #[error(
        "{path}: the part of the event log before its events is damaged, or another version's: remove the file to \
         follow the L1 afresh (receipts are kept elsewhere)"
    )]
    Base {
        /// The file.
        path: PathBuf,
    },
}

/// An open chronicle.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    file: File,
    head: Recording,
    /// The last block of the compacted part, and how many it has.
    base: (ChainRoot, u64),
    /// Where the compacted part begins, the bar above it, the first event's frame, and the next one.
    settled: u64,
    bar: u64,
    start: u64,
    end: u64,
}

impl EventLog {
    /// Begins an event log at `path`, of the chain that `head` names; its events are not taken over.
    pub fn begin(path: &Path, head: Recording) -> Result<Self, EventLogError> {
        let head = Recording { events: vec![], ..head };
        let written = frame(&Entry::Bar).and_then(|bar| file::replace(path, &[&head.encode(), &bar]));
        written.map_err(io(path, "begin"))?;
        Self::reopen(path)
    }

    fn reopen(path: &Path) -> Result<Self, EventLogError> {
        Self::open(path)?.ok_or_else(|| io(path, "find")(io::ErrorKind::NotFound.into()))
    }

    /// Opens the event log at `path`, if there is one.
    pub fn open(path: &Path) -> Result<Option<Self>, EventLogError> {
        let mut file = match File::options().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io(path, "open")(e)),
        };
        let (head, settled) =
            Recording::read_head(&mut file, path).map_err(|source| EventLogError::Head { source })?;
        let (path, base) = (path.to_path_buf(), (head.root.clone(), 0));
        let mut event_log =
            Self { path, file, head, base, settled, bar: settled, start: settled, end: settled };
        let mut runs = event_log.settled()?;
        for run in runs.by_ref() {
            let run = run?;
            event_log.base.1 += run.len() as u64;
        }
        event_log.base.0 = runs.last;
        (event_log.bar, event_log.start) = (runs.bar, runs.frames.end);
        let mut events = event_log.events()?;
        if let Some(error) = events.by_ref().find_map(Result::err) {
            return Err(error);
        }
        event_log.end = events.frames.end;
        event_log.cut()?;
        Ok(Some(event_log))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Network, lane and root of the chain, as a recording without events.
    pub fn head(&self) -> &Recording {
        &self.head
    }

    /// The block that the events build on: the root, or the last one of the compacted part.
    pub fn base(&self) -> &ChainRoot {
        &self.base.0
    }

    /// How many blocks are compacted: how far the [base](Self::base) lies above the root.
    pub fn compacted(&self) -> u64 {
        self.base.1
    }

    /// The compacted part from the root, some blocks at a time.
    pub fn settled(&self) -> Result<SettledRuns, EventLogError> {
        let frames = self.frames(self.settled)?;
        Ok(SettledRuns { frames, last: self.head.root.clone(), bar: self.settled, over: false })
    }

    /// Its events from the first, read one by one.
    pub fn events(&self) -> Result<Events, EventLogError> {
        Ok(Events { frames: self.frames(self.start)? })
    }

    fn frames(&self, start: u64) -> Result<Frames, EventLogError> {
        let mut file = File::open(&self.path).map_err(io(&self.path, "read"))?;
        file.seek(SeekFrom::Start(start)).map_err(io(&self.path, "read"))?;
        let length = file.metadata().map_err(io(&self.path, "read"))?.len();
        Ok(Frames { path: self.path.clone(), file: io::BufReader::new(file), end: start, length })
    }

    /// Compacts the chain up to the block at `height` above the root, which is final and settled for good like all below
    /// it. Whether there was anything to compact.
    pub fn compact(&mut self, height: u64) -> Result<bool, EventLogError> {
        let Some(cut) = self.cut_at(height)? else { return Ok(false) };
        let path = self.path.clone();
        let written = file::replace_with(&path, |file| self.write_compacted(file, &cut));
        written.map_err(|failed: CompactionError| match failed {
            CompactionError::Write(error) => io(&path, "compact")(error),
            CompactionError::Read(error) => error,
        })?;
        *self = Self::reopen(&path)?;
        Ok(true)
    }

    /// Where a compaction up to `height` cuts; `None` where nothing is to be compacted.
    fn cut_at(&self, height: u64) -> Result<Option<Cut>, EventLogError> {
        let Some(kept) = height.checked_sub(self.base.1).filter(|kept| *kept > 0) else { return Ok(None) };
        let kept = usize::try_from(kept).unwrap_or(usize::MAX);
        let mut chain: Vec<BlockHash> = vec![];
        // The event after which the last block stays.
        let mut stays = None;
        for (number, event) in self.events()?.enumerate() {
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

    fn write_compacted(&self, out: &mut dyn Write, cut: &Cut) -> Result<(), CompactionError> {
        out.write_all(&self.head.encode())?;
        self.copy(out, self.settled, self.bar)?;
        let mut events = self.events()?;
        // A block is taken when it first comes; its parent came before it, and waits for what it accepts.
        let (mut run, mut chain) = (Vec::with_capacity(RUN_LEN), cut.chain.iter().peekable());
        let mut waits: Option<ChainBlock> = None;
        // The canonical chain as the events leave it: how much of the part to compact, and the blocks above that.
        let (mut below, mut above) = (0, vec![]);
        for event in events.by_ref().take(cut.last + 1) {
            let event = event?;
            for _ in &event.removed {
                if above.pop().is_none() {
                    below -= 1;
                }
            }
            for block in event.added {
                if chain.next_if_eq(&&block.metadata.block_hash).is_some() {
                    if let Some(mut parent) = waits.replace(block.clone()) {
                        parent.lane_proof = parent.lane_proof.filter(|_| !block.accepted.is_empty());
                        run.push(SettledBlock::of(parent));
                    }
                    if run.len() == RUN_LEN {
                        out.write_all(&frame(&Entry::Settled(run.as_slice().into()))?)?;
                        run.clear();
                    }
                }
                match below < cut.chain.len() {
                    true => below += 1,
                    false => above.push(block),
                }
            }
        }
        run.extend(waits.map(SettledBlock::of));
        out.write_all(&frame(&Entry::Settled(run.into()))?)?;
        out.write_all(&frame(&Entry::Bar)?)?;
        if !above.is_empty() {
            let event = SourceEvent { removed: vec![], added: above };
            out.write_all(&frame(&Entry::Event(Cow::Owned(event)))?)?;
        }
        self.copy(out, events.frames.end, self.end)
    }

    /// Copies a part of the file as it is.
    fn copy(&self, out: &mut dyn Write, from: u64, to: u64) -> Result<(), CompactionError> {
        let mut part = self.frames(from)?.file.take(to - from);
        io::copy(&mut part, out)?;
        Ok(())
    }

    /// Appends an event; it is durable when this returns.
    pub fn append(&mut self, event: &SourceEvent) -> Result<(), EventLogError> {
        let io = io(&self.path, "write");
        let frame = frame(&Entry::Event(Cow::Borrowed(event)));
        let write = |file: &mut File, end: u64| {
            let frame = frame?;
            // From the last whole frame on: what an earlier write left half done goes first.
            file.set_len(end)?;
            file.seek(SeekFrom::Start(end))?;
            file.write_all(&frame)?;
            file.sync_data()?;
            Ok(frame.len() as u64)
        };
        self.end += write(&mut self.file, self.end).map_err(io)?;
        Ok(())
    }

    /// Cuts off what follows the last whole frame.
    fn cut(&mut self) -> Result<(), EventLogError> {
        let mut rest = vec![];
        let read = self.file.seek(SeekFrom::Start(self.end)).and_then(|_| self.file.read_to_end(&mut rest));
        read.map_err(io(&self.path, "read"))?;
        if rest.is_empty() {
            return Ok(());
        }
        let aside = self.path.with_extension("damaged");
        tracing::warn!(
            "{}: {} bytes after the last whole event are put aside as {}; the L1 is asked for them again",
            self.path.display(),
            rest.len(),
            aside.display()
        );
        fs::write(&aside, rest).map_err(io(&aside, "put aside the end of"))?;
        self.file.set_len(self.end).map_err(io(&self.path, "cut"))
    }
}

/// What a compaction keeps as a straight chain, and the last event that this takes in.
struct Cut {
    chain: Vec<BlockHash>,
    last: usize,
}

/// Why a compaction ended: the file is as it was.
enum CompactionError {
    Write(io::Error),
    Read(EventLogError),
}

impl From<io::Error> for CompactionError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl From<EventLogError> for CompactionError {
    fn from(error: EventLogError) -> Self {
        Self::Read(error)
    }
}

fn frame(entry: &Entry<'_>) -> io::Result<Vec<u8>> {
    let body = borsh::to_vec(entry)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let mut frame = [length.to_le_bytes(), (!length).to_le_bytes()].concat();
    frame.extend(blake3::hash(&body).as_bytes());
    frame.extend(body);
    Ok(frame)
}

fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> EventLogError {
    let path = path.to_path_buf();
    move |source| EventLogError::Io { path, action, source }
}

/// The frames of a file; ends before the first that is not whole.
#[derive(Debug)]
struct Frames {
    path: PathBuf,
    file: io::BufReader<File>,
    /// Where the last whole frame ends.
    end: u64,
    length: u64,
}

impl Frames {
    fn next(&mut self) -> Result<Option<Entry<'static>>, EventLogError> {
        let start = self.end;
        let entry =
            self.body().map_err(io(&self.path, "read"))?.and_then(|body| borsh::from_slice(&body).ok());
        if entry.is_none() {
            self.end = start;
        }
        Ok(entry)
    }

    /// The body of the next whole frame.
    fn body(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut head = [0; FRAME_LEN];
        if self.length - self.end < FRAME_LEN as u64 {
            return Ok(None);
        }
        self.file.read_exact(&mut head)?;
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (length, end) = (number(0), self.end + FRAME_LEN as u64 + u64::from(number(0)));
        if length != !number(4) || end > self.length {
            return Ok(None);
        }
        let mut body = vec![0; length as usize];
        self.file.read_exact(&mut body)?;
        if head[8..] != *blake3::hash(&body).as_bytes() {
            return Ok(None);
        }
        self.end = end;
        Ok(Some(body))
    }
}

/// The compacted part of an event log, some blocks at a time.
#[derive(Debug)]
pub struct SettledRuns {
    frames: Frames,
    /// The last block read.
    last: ChainRoot,
    /// Where the last frame read begins.
    bar: u64,
    over: bool,
}

impl SettledRuns {
    fn read(&mut self) -> Result<Option<Vec<ChainBlock>>, EventLogError> {
        self.bar = self.frames.end;
        let run = match self.frames.next()? {
            Some(Entry::Settled(run)) => run.into_owned(),
            Some(Entry::Bar) => return Ok(None),
            Some(Entry::Event(_)) | None => {
                return Err(EventLogError::Base { path: self.frames.path.clone() });
            }
        };
        let mut on_last = |block: SettledBlock| {
            let block = block.on(&self.last.metadata);
            self.last = ChainRoot { metadata: block.metadata, lane_proof: block.lane_proof.clone() };
            block
        };
        Ok(Some(run.into_iter().map(&mut on_last).collect()))
    }
}

impl Iterator for SettledRuns {
    type Item = Result<Vec<ChainBlock>, EventLogError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let read = self.read();
        self.over = !matches!(read, Ok(Some(_)));
        read.transpose()
    }
}

/// The events of an event log; ends before the first frame that is not whole.
#[derive(Debug)]
pub struct Events {
    frames: Frames,
}

impl Iterator for Events {
    type Item = Result<SourceEvent, EventLogError>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.frames.end;
        match self.frames.next() {
            Ok(Some(Entry::Event(event))) => Some(Ok(event.into_owned())),
            Ok(entry) => {
                if entry.is_some() {
                    self.frames.end = start;
                }
                None
            }
            Err(error) => Some(Err(error)),
        }
    }
}
