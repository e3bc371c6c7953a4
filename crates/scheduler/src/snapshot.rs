//! Snapshots: a settled [position](crate::position) in a file, so that a chain is followed from there and not from its
//! founding.
//!
//! A snapshot may come from anybody. [`Reader`] checks everything that follows from the file: checksums, the state root of the
//! entries, the lane tip in the block's commitment where the lane proof shows it, and that the settlement ends in exactly this
//! block, state and lane tip. What remains is whether the L1 carries that settlement. Whoever follows the L1 from there sees that,
//! and wants nothing before ([`Head::carried_by`]).
//!
//! # File
//!
//! | bytes | content |
//! |---|---|
//! | 8 | magic `RPSNAPSH` |
//! | 2 | format version, little-endian like every number here |
//! | … | frames |
//!
//! | bytes | a frame |
//! |---|---|
//! | 4 | length of the body |
//! | 32 | BLAKE3 of the length and the body, keyed with the checksum before it; the first with a hash of magic and version |
//! | … | the body, in borsh |
//!
//! The first frame is the [`Head`]. Then come the entries of the state, some a frame, by ascending slot and within a slot in its
//! order. The last frame is the number of entries, and nothing follows it. So a file that is cut anywhere, or has a byte more or
//! another one, is refused. The last checksum names the snapshot: equal snapshots are equal files.

use std::collections::BTreeSet;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use reprise_disk::data_dir::LockedPath;
use reprise_disk::medium::{FileSystem, Medium};
use reprise_disk::whole::{Reading, Whole};
use reprise_model::block::{ChainRoot, ObservedSettlement};
use reprise_model::cell::Cell;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest, ResourceId, StatementId};
use reprise_model::exit::{self, Exit};
use reprise_model::journal::{Commitment, Pins};
use reprise_model::lane::WorkloadHasher;
use reprise_model::mutation::{self, Mutation};

use crate::position::Position;
use crate::tree::StateTree;
use crate::tree::ascending::Ascending;

/// The version of the format. Another one is refused.
pub const FORMAT_VERSION: u16 = 4;

const MAGIC: [u8; 8] = *b"RPSNAPSH";

/// A frame of entries ends at so many bytes.
const FRAME_BYTES: usize = 64 << 10;

/// The exits of a settlement that the snapshot's block and those below it leave unpaid. Whoever begins with the snapshot never sees
/// the blocks that they follow from, and can pay them nevertheless.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Unpaid {
    /// The settlement.
    pub settlement: ObservedSettlement,
    /// The block that carries it.
    pub carrier: BlockHash,
    /// The checkpoint of that block, which may lie above the snapshot's: what claims below it pay is another settlement's, though it
    /// has the very same exits.
    pub carried_by: Checkpoint,
    /// The exits, in order.
    pub exits: Vec<Exit>,
    /// The places of those that are paid up to the snapshot's block.
    pub paid: Vec<u32>,
}

impl Unpaid {
    /// Whether these are the settlement's exits, all of them, and one of them is not paid.
    fn are_whole(&self, hasher: &dyn WorkloadHasher) -> bool {
        let paid: BTreeSet<_> =
            self.paid.iter().filter(|exit| (**exit as usize) < self.exits.len()).collect();
        let is_owed = paid.len() == self.paid.len() && paid.len() < self.exits.len();
        is_owed && exit::root(hasher, &self.exits) == self.settlement.journal.transition.exits
    }
}

/// What a snapshot belongs to. Another rollup, network or proof system has others.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Identity {
    /// The network of the L1, as its nodes name it.
    pub network: String,
    /// The proof system.
    pub system: String,
    /// The hash of the state.
    pub hash: String,
    /// Lane, covenant, deposit account and programs.
    pub pins: Pins,
}

impl Identity {
    /// In what another one differs, if it does.
    pub fn differs(&self, other: &Self) -> Option<Difference> {
        let (a, b) = (&self.pins, &other.pins);
        let pairs = [
            ("network", self.network.clone(), other.network.clone()),
            ("covenant", a.covenant.to_hex(), b.covenant.to_hex()),
            ("lane", a.lane.to_hex(), b.lane.to_hex()),
            ("deposit account", a.deposit.digest().to_hex(), b.deposit.digest().to_hex()),
            ("proof system", self.system.clone(), other.system.clone()),
            ("hash", self.hash.clone(), other.hash.clone()),
            ("transaction program", a.transaction_program.to_string(), b.transaction_program.to_string()),
            ("batch program", a.batch_program.to_string(), b.batch_program.to_string()),
            ("aggregate program", a.aggregate_program.to_string(), b.aggregate_program.to_string()),
        ];
        let differs = pairs.into_iter().find(|(_, found, expected)| found != expected);
        differs.map(|(what, found, expected)| Difference { what, found, expected })
    }
}

/// In what a snapshot belongs to something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {what} is {found}, and here it is {expected}")]
pub struct Difference {
    /// In what.
    pub what: &'static str,
    /// The snapshot's.
    pub found: String,
    /// The one here.
    pub expected: String,
}

/// A snapshot without the entries of its state.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Head {
    /// What it belongs to.
    pub identity: Identity,
    /// The block: the chain is followed from here.
    pub block: ChainRoot,
    /// Its height above the block that the rollup was first followed from.
    pub checkpoint: Checkpoint,
    /// The lane tip after it.
    pub tip: Digest,
    /// The root of the state after it.
    pub state_root: Digest,
    /// The settlement that ends here.
    pub settlement: ObservedSettlement,
    /// How many blocks above this one carries the settlement.
    pub carried_above: u64,
    /// What settlements up to this one owe, the oldest first.
    pub unpaid: Vec<Unpaid>,
}

impl Head {
    /// The checkpoint of the block that carries the settlement: a chain that has grown past it and does not show the settlement
    /// is another one.
    pub fn carried_by(&self) -> Checkpoint {
        Checkpoint(self.checkpoint.0.saturating_add(self.carried_above))
    }

    /// What of it contradicts itself, if anything.
    fn lie(&self, hasher: &dyn WorkloadHasher) -> Option<Lie> {
        let (transition, block) = (&self.settlement.journal.transition, self.block.metadata);
        let lane = &self.identity.pins.lane;
        if transition.pins != self.identity.pins.digest(hasher) {
            return Some(Lie::Pins);
        }
        if self.settlement.end_block != block.block_hash {
            return Some(Lie::Block);
        }
        if (transition.root_after, transition.tip_after) != (self.state_root, self.tip) {
            return Some(Lie::Settlement);
        }
        // A chain block's blue score is above its parent's, and so is its height.
        let carried = self.checkpoint.0.checked_add(self.carried_above);
        if self.checkpoint.0 > block.blue_score || self.carried_above == 0 || carried.is_none() {
            return Some(Lie::Height);
        }
        let carriers = self.unpaid.iter().map(|unpaid| unpaid.carried_by).chain([self.carried_by()]);
        if !carriers.is_sorted() {
            return Some(Lie::Height);
        }
        let of_pins = |unpaid: &&Unpaid| unpaid.settlement.journal.transition.pins == transition.pins;
        if let Some(wrong) = self.unpaid.iter().find(|unpaid| !of_pins(unpaid) || !unpaid.are_whole(hasher)) {
            return Some(Lie::Exits { statement: wrong.settlement.statement });
        }
        let commitment = block.sequencing_commitment;
        if hasher.lane().binds()
            && hasher.lane().open(lane, &self.tip, self.block.lane_proof.as_deref())
                != Ok(Commitment::Bound(commitment))
        {
            return Some(Lie::LaneTip);
        }
        None
    }
}

/// How a snapshot whose checksums are right contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lie {
    /// Its settlement is another rollup's.
    #[error("the settlement has other pins than the head names")]
    Pins,
    /// Its settlement ends elsewhere.
    #[error("the settlement does not end in the block")]
    Block,
    /// Its settlement ends in another state.
    #[error("the settlement does not end in the state root and the lane tip")]
    Settlement,
    /// Heights that no chain has.
    #[error("no chain has blocks at these heights")]
    Height,
    /// Exits that the settlement does not have.
    #[error("the unpaid exits are not those of the settlement {statement}")]
    Exits {
        /// The settlement.
        statement: StatementId,
    },
    /// The lane proof shows another tip.
    #[error("the lane proof does not open the lane tip in the block")]
    LaneTip,
    /// Its entries are another state's.
    #[error("the entries have the state root {found}, and the head names {named}")]
    Root {
        /// The root of the entries.
        found: Digest,
        /// The root in its head.
        named: Digest,
    },
}

/// Why a snapshot cannot be read or written, or is not believed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file system refused.
    #[error("{}: cannot {action} the snapshot: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The file system's error.
        source: io::Error,
    },
    /// Not a snapshot.
    #[error("{}: not a snapshot of Reprise: give a file that `reprise snapshot export` or a node wrote", path.display())]
    NoSnapshot {
        /// The file.
        path: PathBuf,
    },
    /// Of another format version.
    #[error(
        "{}: snapshot format {found}, and this version reads format {FORMAT_VERSION}: have it written by a node of this version",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u16,
    },
    /// Cut short or altered.
    #[error("{}: the snapshot is damaged at byte {at} ({reason}): get it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        at: u64,
        /// What is wrong.
        reason: String,
    },
    /// It contradicts itself.
    #[error("{}: the snapshot is not to be believed: {lie}; get another, from somebody else", path.display())]
    Lies {
        /// The file.
        path: PathBuf,
        /// How.
        lie: Lie,
    },
    /// It belongs to something else.
    #[error(
        "{}: the snapshot belongs to something else: {differs}; give one of this rollup, or the settings (--l1, --lane, \
         --covenant, --deposit, --backend) that it was written with",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// In what it differs.
        differs: Difference,
    },
}

impl SnapshotError {
    /// Whether the file is not what was written: another copy of it may be whole.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::NoSnapshot { .. } | Self::Damaged { .. })
    }
}

/// A settled position: what a snapshot holds beside what it belongs to.
#[derive(Debug, Clone)]
pub struct SettledPosition {
    /// The block, and the state after it.
    pub position: Position,
    /// The settlement that ends there.
    pub settlement: ObservedSettlement,
    /// How many blocks above that one carries the settlement.
    pub carried_above: u64,
    /// What settlements up to that one owe, the oldest first.
    pub unpaid: Vec<Unpaid>,
}

/// A snapshot in memory.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// What it belongs to.
    pub identity: Identity,
    /// What it holds.
    pub settled: SettledPosition,
}

impl Snapshot {
    /// The snapshot without its entries.
    pub fn head(&self) -> Head {
        let Self { identity, settled } = self.clone();
        let SettledPosition { position, settlement, carried_above, unpaid } = settled;
        Head {
            identity,
            block: position.block,
            checkpoint: position.checkpoint,
            tip: position.tip,
            state_root: position.state.root(),
            settlement,
            carried_above,
            unpaid,
        }
    }

    /// Writes the file's bytes. Returns what it holds.
    pub fn write(&self, out: impl Write) -> io::Result<Content> {
        let mut writer = Writer::begin(out, &self.head())?;
        for (resource, value) in self.settled.position.state.entries() {
            writer.entry(resource, &value)?;
        }
        writer.finish()
    }
}

/// What a snapshot holds, and the name of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// How many entries its state has.
    pub entries: u64,
    /// How many bytes the file has.
    pub bytes: u64,
    /// Its last checksum: two snapshots that have it in common are equal.
    pub digest: Digest,
}

type Value = (ResourceId, Vec<Cell>);

/// A frame after the first.
#[derive(BorshSerialize, BorshDeserialize)]
enum Frame {
    Entries(Vec<Value>),
    End { entries: u64 },
}

fn first_key() -> [u8; 32] {
    blake3::derive_key("reprise 2026-11 snapshot", &[&MAGIC[..], &FORMAT_VERSION.to_le_bytes()].concat())
}

fn checksum(key: &[u8; 32], body: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&(body.len() as u32).to_le_bytes()).update(body);
    *hasher.finalize().as_bytes()
}

/// Writes the file's bytes, frame by frame.
struct Writer<W> {
    out: W,
    key: [u8; 32],
    bytes: u64,
    entries: u64,
    run: Vec<Value>,
    run_bytes: usize,
}

impl<W: Write> Writer<W> {
    fn begin(mut out: W, head: &Head) -> io::Result<Self> {
        out.write_all(&MAGIC)?;
        out.write_all(&FORMAT_VERSION.to_le_bytes())?;
        let bytes = (MAGIC.len() + 2) as u64;
        let mut writer = Self { out, key: first_key(), bytes, entries: 0, run: vec![], run_bytes: 0 };
        writer.frame(head)?;
        Ok(writer)
    }

    fn frame(&mut self, content: &impl BorshSerialize) -> io::Result<()> {
        let body = borsh::to_vec(content)?;
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        self.key = checksum(&self.key, &body);
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(&self.key)?;
        self.out.write_all(&body)?;
        self.bytes += 36 + u64::from(length);
        Ok(())
    }

    fn entry(&mut self, resource: ResourceId, value: &[Cell]) -> io::Result<()> {
        self.run_bytes += size_of::<ResourceId>() + size_of_val(value);
        self.run.push((resource, value.to_vec()));
        self.entries += 1;
        if self.run_bytes >= FRAME_BYTES { self.flush_run() } else { Ok(()) }
    }

    fn flush_run(&mut self) -> io::Result<()> {
        let run = std::mem::take(&mut self.run);
        self.run_bytes = 0;
        if run.is_empty() { Ok(()) } else { self.frame(&Frame::Entries(run)) }
    }

    fn finish(mut self) -> io::Result<Content> {
        self.flush_run()?;
        self.frame(&Frame::End { entries: self.entries })?;
        self.out.flush()?;
        Ok(Content { entries: self.entries, bytes: self.bytes, digest: Digest(self.key) })
    }
}

/// Reads a snapshot from anybody.
pub struct Reader<R> {
    frames: Frames<R>,
    head: Head,
}

impl<R: Read> Reader<R> {
    /// Reads the head; `path` is only named in errors.
    pub fn open(source: R, path: &Path) -> Result<Self, SnapshotError> {
        let mut frames = Frames { source, path: path.into(), key: first_key(), at: 0 };
        let start = frames.bytes(MAGIC.len() + 2)?;
        let (magic, version) = start.split_at(start.len().min(MAGIC.len()));
        if magic != MAGIC {
            return Err(SnapshotError::NoSnapshot { path: frames.path });
        }
        match version.try_into().map(u16::from_le_bytes) {
            Ok(FORMAT_VERSION) => {}
            Ok(found) => return Err(SnapshotError::Version { path: frames.path, found }),
            Err(_) => return Err(frames.cut()),
        }
        let head = frames.frame()?;
        Ok(Self { frames, head })
    }

    /// The snapshot without its entries. Its checksum is right, and that is all so far.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Checks that it belongs here.
    pub fn check_identity(&self, here: &Identity) -> Result<(), SnapshotError> {
        let path = || self.frames.path.clone();
        self.head
            .identity
            .differs(here)
            .map_or(Ok(()), |differs| Err(SnapshotError::Foreign { path: path(), differs }))
    }

    /// Checks all of it, in constant memory.
    pub fn verify(self, hasher: &Arc<dyn WorkloadHasher>) -> Result<Content, SnapshotError> {
        let ascending = Ascending::root(hasher.clone());
        Ok(self.read(hasher.as_ref(), ascending, |_, _| Ok(()))?.0)
    }

    /// The same, and writes a copy. The copy counts only if this succeeds.
    pub fn copy(self, hasher: &Arc<dyn WorkloadHasher>, out: impl Write) -> Result<Content, SnapshotError> {
        let path = self.frames.path.clone();
        let failed = |source| SnapshotError::Io { path: path.clone(), action: "copy", source };
        let mut writer = Writer::begin(out, &self.head).map_err(failed)?;
        let entry = |resource, value: &[Cell]| writer.entry(resource, value).map_err(failed);
        self.read(hasher.as_ref(), Ascending::root(hasher.clone()), entry)?;
        writer.finish().map_err(failed)
    }

    /// The same, and keeps the state.
    pub fn load(self, hasher: &Arc<dyn WorkloadHasher>) -> Result<Snapshot, SnapshotError> {
        let Head { identity, block, checkpoint, tip, settlement, carried_above, unpaid, .. } =
            self.head.clone();
        let (_, state) = self.read(hasher.as_ref(), Ascending::tree(hasher.clone()), |_, _| Ok(()))?;
        let state = state.unwrap_or_else(|| StateTree::empty(hasher.clone()));
        let position = Position { block, checkpoint, state, tip };
        let settled = SettledPosition { position, settlement, carried_above, unpaid };
        Ok(Snapshot { identity, settled })
    }

    fn read(
        self,
        hasher: &dyn WorkloadHasher,
        mut ascending: Ascending,
        mut each: impl FnMut(ResourceId, &[Cell]) -> Result<(), SnapshotError>,
    ) -> Result<(Content, Option<StateTree>), SnapshotError> {
        let Self { mut frames, head } = self;
        let lies = |frames: &Frames<R>, lie| Err(SnapshotError::Lies { path: frames.path.clone(), lie });
        let expected = &head.identity.hash;
        if expected != hasher.name() {
            let (found, expected) = (expected.clone(), hasher.name().into());
            let differs = Difference { what: "hash", found, expected };
            return Err(SnapshotError::Foreign { path: frames.path, differs });
        }
        if let Some(lie) = head.lie(hasher) {
            return lies(&frames, lie);
        }
        let mut read = 0;
        let entries = loop {
            match frames.frame()? {
                Frame::Entries(run) => {
                    run.iter().try_for_each(|(resource, value)| each(*resource, value))?;
                    read += run.len() as u64;
                    let run = run.into_iter().map(|(resource, value)| (resource, value.into())).collect();
                    if let Err(wrong) = ascending.add_run(run) {
                        return Err(frames.damaged(wrong.to_string()));
                    }
                }
                Frame::End { entries } => break entries,
            }
        };
        if entries != read {
            return Err(frames.damaged(format!("it has {read} entries, and names {entries}")));
        }
        if !frames.bytes(1)?.is_empty() {
            return Err(frames.damaged("bytes follow its end".into()));
        }
        let (found, state) = ascending.finish();
        let named = head.state_root;
        if found != named && !mutation::is(Mutation::SnapshotNotVerified) {
            return lies(&frames, Lie::Root { found, named });
        }
        Ok((Content { entries, bytes: frames.at, digest: Digest(frames.key) }, state))
    }
}

impl<R> std::fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("path", &self.frames.path).finish_non_exhaustive()
    }
}

/// The frames of a file, checked one by one.
struct Frames<R> {
    source: R,
    path: PathBuf,
    key: [u8; 32],
    /// How much of the file was read.
    at: u64,
}

impl<R: Read> Frames<R> {
    /// The next bytes, fewer where the file ends. A length that a liar gives takes no memory.
    fn bytes(&mut self, count: usize) -> Result<Vec<u8>, SnapshotError> {
        let mut bytes = vec![];
        let read = self.source.by_ref().take(count as u64).read_to_end(&mut bytes);
        read.map_err(|source| SnapshotError::Io { path: self.path.clone(), action: "read", source })?;
        self.at += bytes.len() as u64;
        Ok(bytes)
    }

    fn frame<T: BorshDeserialize>(&mut self) -> Result<T, SnapshotError> {
        let head = self.bytes(36)?;
        let Some((length, named)) = head.split_first_chunk::<4>().filter(|(_, named)| named.len() == 32)
        else {
            return Err(self.cut());
        };
        let length = u32::from_le_bytes(*length) as usize;
        let body = self.bytes(length)?;
        if body.len() != length {
            return Err(self.cut());
        }
        self.key = checksum(&self.key, &body);
        if named != self.key && !mutation::is(Mutation::SnapshotNotVerified) {
            return Err(self.damaged("a checksum does not match".into()));
        }
        borsh::from_slice(&body).map_err(|error| self.damaged(error.to_string()))
    }

    fn cut(&self) -> SnapshotError {
        self.damaged("it ends early".into())
    }

    fn damaged(&self, reason: String) -> SnapshotError {
        SnapshotError::Damaged { path: self.path.clone(), at: self.at, reason }
    }
}

/// The snapshot in a file that this process wrote or imported; `None` where there is none.
pub fn load(place: &LockedPath, hasher: &Arc<dyn WorkloadHasher>) -> Result<Option<Snapshot>, SnapshotError> {
    let path = place.path();
    let source = match Reading::open(place.dir().medium().as_ref(), path) {
        Ok(source) => source,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(SnapshotError::Io { path: path.into(), action: "open", source }),
    };
    Reader::open(BufReader::new(source), path)?.load(hasher).map(Some)
}

/// Writes a snapshot into a file, whole or not at all.
pub fn save(medium: Arc<dyn Medium>, path: &Path, snapshot: &Snapshot) -> Result<Content, SnapshotError> {
    let failed = |source| SnapshotError::Io { path: path.into(), action: "write", source };
    let mut file = Whole::begin(medium, path).map_err(failed)?;
    let content = snapshot.write(&mut file).map_err(failed)?;
    file.finish().map_err(failed)?;
    Ok(content)
}

/// A verified copy of a snapshot that is not in its place yet. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct Imported {
    file: Whole,
    place: PathBuf,
    content: Content,
}

impl Imported {
    /// What the snapshot holds.
    pub fn content(&self) -> Content {
        self.content
    }

    /// Puts the copy in its place, whole or not at all.
    pub fn finish(self) -> Result<Content, SnapshotError> {
        let Self { file, place, content } = self;
        file.finish().map_err(|source| SnapshotError::Io { path: place, action: "write", source })?;
        Ok(content)
    }
}

/// Reads a snapshot from anybody, verifies it, and makes a copy for `to` on the way.
pub fn import(
    reader: Reader<BufReader<Reading>>,
    to: &LockedPath,
    hasher: &Arc<dyn WorkloadHasher>,
) -> Result<Imported, SnapshotError> {
    let place = to.path().to_path_buf();
    let failed = |source| SnapshotError::Io { path: place.clone(), action: "write", source };
    let mut file = Whole::begin(to.dir().medium(), &place).map_err(failed)?;
    let content = reader.copy(hasher, &mut file)?;
    Ok(Imported { file, place, content })
}

/// Opens a snapshot in a file of anybody's.
pub fn open(path: &Path) -> Result<Reader<BufReader<Reading>>, SnapshotError> {
    open_on(&FileSystem, path)
}

/// The same, on another medium than the machine's file system.
pub fn open_on(medium: &dyn Medium, path: &Path) -> Result<Reader<BufReader<Reading>>, SnapshotError> {
    let failed = |source| SnapshotError::Io { path: path.into(), action: "open", source };
    Reader::open(BufReader::new(Reading::open(medium, path).map_err(failed)?), path)
}
