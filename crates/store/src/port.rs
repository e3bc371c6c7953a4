//! The port: what the rest of Reprise may ask of a receipt store. Object safe, plain data.
//!
//! # What a store promises
//!
//! * **Identity is the statement.** A receipt is stored under its [`StatementId`] and answers for nothing
//!   else. A [`Coordinate`] is an index entry that says where the statement is used.
//! * **Checked on every hit.** Envelope checksum, statement and claim are compared always; cryptographic
//!   verification follows the store's [`VerifyPolicy`](crate::VerifyPolicy). What fails is a counted miss
//!   and goes to quarantine with its reason, so that it is proved again once.
//! * **Durable before it is acknowledged**, statement and coordinates in one commit, as the store's
//!   [`Durability`](crate::Durability) says. A receipt is visible to readers no earlier than that.
//! * **Errors are values and are not misses.** A [`Lookup::Miss`] means "prove it"; an error means "the
//!   store could not tell", and [`StoreError::is_transient`] says whether waiting can help.
//! * **Nothing is invalidated.** A receipt leaves by pruning (its last coordinate is final and no pin is left), by
//!   eviction, by a command of the user, or into quarantine.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use reprise_model::coordinate::{Checkpoint, Coordinate};
use reprise_model::digest::{BlockHash, PinsDigest, ProfileId, ProgramId};
use reprise_model::profile::{ProofProfile, SealKind};
use reprise_model::receipt::{Receipt, Verified, VerifyError};
use reprise_model::statement::{Claim, Kind, Statement, StatementId};

use crate::medium;
use crate::provenance::Provenance;

/// Remembers receipts. See the [module documentation](self) for what every implementation promises.
pub trait ReceiptStore: Send + Sync {
    /// The receipt that proves `statement`, whose claim the caller computed as `claim`.
    ///
    /// A claim that is not the statement's is the caller's mistake: [`StoreError::ForeignClaim`].
    fn get(&self, statement: &Statement, claim: &Claim) -> Result<Lookup, StoreError>;

    /// Whether a receipt is stored, by the index alone. A later [`get`](Self::get) can still miss.
    fn contains(&self, id: &StatementId) -> Result<bool, StoreError>;

    /// Stores a receipt and its coordinates, and returns once they are durable. An id that is already
    /// stored keeps its receipt and gains the coordinates.
    fn put(&self, entry: NewEntry) -> Result<PutOutcome, StoreError>;

    /// [`put`](Self::put) that does not wait for the disk: `done` is called once, on the store's writer
    /// thread, when the entry is durable or refused. It must not call the store's writing methods.
    ///
    /// The queue behind it is bounded in items and bytes; when it is full, `submit` waits for room.
    fn submit(&self, entry: NewEntry, done: Completion);

    /// Adds coordinates of statements that are stored already: a hit at a new place. Coordinates below the
    /// prune floor are dropped; those of statements that are not stored are counted in the outcome.
    fn add_coordinates(
        &self,
        coordinates: &[(Coordinate, StatementId)],
    ) -> Result<CoordinateOutcome, StoreError>;

    /// The statements used at `coordinate`. Two that [contradict](reprise_model::journal::contradict) each other are a divergence:
    /// nondeterminism or tampering. Where none is used, those that an archive reports there: its receipts are verified, where they
    /// were used is not, so no alarm and no answer rests on it once something is used there.
    fn at(&self, coordinate: &Coordinate) -> Result<Vec<StatementId>, StoreError>;

    /// Reads one entry for a person: decoded and described, without the guarantee of
    /// [`get`](Self::get), and uncounted. `None` where nothing is stored.
    fn show(&self, id: &StatementId) -> Result<Option<EntryDetails>, StoreError>;

    /// The entries that pass `filter`, in the order of their ids. Reads no receipt.
    fn list(&self, filter: &Filter) -> Result<Vec<Summary>, StoreError>;

    /// Verifies one stored receipt in full, whatever its mark says, and renews the mark. What fails goes to
    /// quarantine. Not counted as a hit.
    fn verify(&self, id: &StatementId) -> Result<Lookup, StoreError>;

    /// Keeps a statement's receipt through pruning until `owner` unpins it. A statement may be pinned
    /// before it is stored.
    fn pin(&self, id: &StatementId, owner: &str) -> Result<(), StoreError>;

    /// Removes a pin. A receipt that has neither coordinates nor pins left is deleted in the same commit. Returns
    /// whether there was such a pin.
    fn unpin(&self, id: &StatementId, owner: &str) -> Result<bool, StoreError>;

    /// Deletes a receipt with its coordinates, whatever its pins. Returns whether it was stored.
    fn remove(&self, id: &StatementId) -> Result<bool, StoreError>;

    /// Deletes a receipt with its coordinates, unless it is pinned or used where it is needed, which
    /// is looked at in the commit that deletes. Returns whether it was deleted.
    fn evict(&self, id: &StatementId, needed: &Needed) -> Result<bool, StoreError>;

    /// Says from which checkpoint on what is used under these pins, of each kind in the order of [`Kind::ALL`], may still
    /// be needed. A bounded store evicts what is needed nowhere: what is used under pins that no call named stays.
    fn protect(&self, pins: &PinsDigest, needed_from: [Checkpoint; Kind::COUNT]);

    /// Records that everything below `floor` that is proved under these pins is final, then deletes its coordinates
    /// below it, over all forks and kinds, and the receipts that have neither coordinate nor pin left. What is proved
    /// under other pins, another lane's, covenant's or program's, is left alone. A floor never sinks; repeating or
    /// resuming an interrupted pass is the same pass.
    fn prune_below(&self, pins: &PinsDigest, floor: Floor) -> Result<PruneOutcome, StoreError>;

    /// The floor of the last prune under these pins; the lowest checkpoint before any.
    fn prune_floor(&self, pins: &PinsDigest) -> Result<Floor, StoreError>;

    /// Says to whoever shares receipts with this store, if anybody does, that from this floor on a node needs what is proved under these
    /// pins. It says so before it wants anything; where that fails, others may prune what it needs, and it proves that.
    fn announce(&self, pins: &PinsDigest, floor: Floor);

    /// Remembers the text of a proof profile, so that its id can be shown in words.
    fn describe(&self, profile: &ProofProfile) -> Result<(), StoreError>;

    /// The profiles described so far.
    fn profiles(&self) -> Result<Vec<ProofProfile>, StoreError>;

    /// Deletes every receipt of a proof profile, whatever its coordinates and pins, because its verifier is no longer
    /// trusted. The revocation is recorded: no receipt stored before is ever handed out again, even if a crash or
    /// damage brings it back. A receipt that is put later is valid. Returns how many were deleted.
    fn revoke(&self, profile: &ProfileId) -> Result<u64, StoreError>;

    /// What is stored, and what happened since the store was opened.
    fn stats(&self) -> Result<Stats, StoreError>;

    /// The tiers that receipts are read from, the nearest first, and what each answered since the store was opened;
    /// none where there is one place only. Cheap, where [`stats`](Self::stats) goes through every entry.
    fn tiers(&self) -> Vec<TierStats>;
}

/// Called once with the outcome of a [`submit`](ReceiptStore::submit).
pub type Completion = Box<dyn FnOnce(Result<PutOutcome, StoreError>) + Send>;

/// The answer to "is this proved?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// Yes, by this receipt.
    Hit(Verified<Receipt>),
    /// No: prove it.
    Miss(MissReason),
}

impl Lookup {
    /// The receipt of a hit.
    pub fn hit(self) -> Option<Verified<Receipt>> {
        match self {
            Self::Hit(receipt) => Some(receipt),
            Self::Miss(_) => None,
        }
    }
}

/// Why a look-up found no receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MissReason {
    /// Nothing is stored under the id.
    Absent,
    /// Something was stored, failed its check, and is in quarantine now; in a store that is open for reading
    /// only, it is left where it is.
    Quarantined(QuarantineReason),
    /// It must be verified first, and this process has no verifier of its profile. It stays stored.
    Unverifiable(VerifyError),
}

impl fmt::Display for MissReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("nothing is stored under this id"),
            Self::Quarantined(reason) => write!(f, "quarantined: {reason}"),
            Self::Unverifiable(source) => write!(f, "cannot be verified here: {source}"),
        }
    }
}

/// Why an entry went to quarantine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuarantineReason {
    /// The envelope is torn, flipped, or of another format.
    #[error("the envelope is damaged: {0}")]
    Envelope(#[from] crate::envelope::EnvelopeError),
    /// The envelope is whole and holds another statement.
    #[error("the entry holds {found}")]
    ForeignStatement {
        /// The statement it holds.
        found: StatementId,
    },
    /// The verifier refused it.
    #[error("verification failed: {0}")]
    Verification(VerifyError),
    /// The engine noticed damage and cannot return the bytes.
    #[error("the receipt log cannot read the entry: {0}")]
    Unreadable(String),
    /// The index names a receipt and the engine has none.
    #[error("the store's tables name a receipt that is not in the receipt log")]
    Missing,
}

/// A verified receipt on its way into the store.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// What is stored.
    pub receipt: Verified<Receipt>,
    /// The kind of its statement.
    pub kind: Kind,
    /// How it came to be.
    pub provenance: Provenance,
    /// Where it is used. Each names the receipt's own program, profile and kind.
    pub coordinates: Vec<Coordinate>,
}

/// What a put did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutOutcome {
    /// Whether the receipt is newly stored by this put.
    pub new: bool,
    /// Whether it is stored now. False only where all its coordinates lie below the prune floor and nothing
    /// else keeps it: a late put leaves no residue.
    pub stored: bool,
    /// What happened to the coordinates.
    pub coordinates: CoordinateOutcome,
}

/// What adding coordinates did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CoordinateOutcome {
    /// Newly recorded.
    pub added: u64,
    /// Recorded before.
    pub known: u64,
    /// Dropped, being final.
    pub below_floor: u64,
    /// Left out, their statement not being stored.
    pub not_stored: u64,
    /// Used beside another statement at the same coordinate that contradicts it, newly recorded or not: a divergence.
    pub diverged: u64,
}

/// What a prune did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PruneOutcome {
    /// Coordinates deleted.
    pub coordinates: u64,
    /// Receipts deleted.
    pub receipts: u64,
    /// Bytes of their envelopes.
    pub bytes: u64,
    /// The statements of these.
    pub gone: Vec<StatementId>,
}

/// Which entries to list. The default is all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only this kind.
    pub kind: Option<Kind>,
    /// Only this proof profile.
    pub profile: Option<ProfileId>,
    /// Only this program.
    pub program: Option<ProgramId>,
    /// Only those with a coordinate at this checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// Only those with a coordinate in this block.
    pub block: Option<BlockHash>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// One entry, as the tables record it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The id it is stored under.
    pub id: StatementId,
    /// Its kind.
    pub kind: Kind,
    /// Its statement.
    pub statement: Statement,
    /// The program of its claim.
    pub program: ProgramId,
    /// The kind of its seal.
    pub seal_kind: SealKind,
    /// The size of its envelope.
    pub bytes: u64,
    /// How it came to be.
    pub provenance: Provenance,
    /// When it was stored, in milliseconds since the Unix epoch.
    pub stored_at_ms: u64,
    /// When it was last verified, where a mark says so.
    pub verified_at_ms: Option<u64>,
    /// Where it is used.
    pub coordinates: Vec<Coordinate>,
    /// The owners of its pins.
    pub pins: Vec<String>,
}

/// One entry, read for a person.
#[derive(Debug, Clone)]
pub struct EntryDetails {
    /// What the tables record.
    pub summary: Summary,
    /// The receipt, if its envelope is whole; what is wrong with it, if not. Unverified either way.
    pub receipt: Result<Receipt, QuarantineReason>,
    /// The text of its profile, where it was described.
    pub profile: Option<ProofProfile>,
}

/// Where a receipt that is used may still be needed: a function of the place. Under pins that are not named every place is
/// needed, because nobody here knows how far the rollup has come that uses them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needed(BTreeMap<PinsDigest, [Checkpoint; Kind::COUNT]>);

impl Needed {
    /// Under these pins from these checkpoints on, one for each kind in the order of [`Kind::ALL`].
    pub fn from(pins: PinsDigest, checkpoints: [Checkpoint; Kind::COUNT]) -> Self {
        Self([(pins, checkpoints)].into())
    }

    /// Sets the checkpoints of these pins. Returns whether they are others than before.
    pub fn set(&mut self, pins: PinsDigest, checkpoints: [Checkpoint; Kind::COUNT]) -> bool {
        self.0.insert(pins, checkpoints) != Some(checkpoints)
    }

    /// Whether what is used at this place may still be needed.
    pub fn at(&self, place: &Coordinate) -> bool {
        let checkpoints = self.0.get(&place.pins);
        checkpoints.is_none_or(|from| place.checkpoint >= from[place.position.kind() as usize])
    }
}

/// What is stored, and what happened since the store was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// Per kind, in the order of [`Kind::ALL`].
    pub kinds: [KindStats; Kind::COUNT],
    /// Coordinates recorded.
    pub coordinates: u64,
    /// Entries moved to quarantine since opening.
    pub quarantined: u64,
    /// Divergence alarms since opening.
    pub divergences: u64,
    /// Operations that returned an error since opening.
    pub errors: u64,
    /// Misses because nothing was stored, since opening. Their kind is unknown to the store.
    pub misses_absent: u64,
    /// Cryptographic verifications since opening.
    pub verifications: u64,
    /// Entries that made room for others since opening.
    pub evicted: u64,
    /// Durable commits since opening.
    pub flushes: u64,
    /// Bytes that did not check when the store was opened: unfinished writes, or damage.
    pub damaged_bytes: u64,
    /// Entries whose record does not read, or not any more: they are neither counted nor listed, and their receipts may be hits.
    pub unreadable: Vec<StatementId>,
    /// The prune floors, each with the pins that it is of.
    pub prune_floors: Vec<(PinsDigest, Floor)>,
    /// The tiers that receipts are read from, the nearest first; none where there is one place only.
    pub tiers: Vec<TierStats>,
}

/// What is said of an entry that is [unreadable](Stats::unreadable).
pub const NO_RECORD: &str =
    "the record of the entry cannot be read: `reprise receipts rm` deletes what is left of it";

/// A checkpoint below which everything that is proved under some pins is pruned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct Floor {
    /// What lies below is final, and settled by a settlement that is final.
    pub below: Checkpoint,
    /// The height of the chain when the floor was raised. A chain that is higher, and has not shown the settlement that
    /// raised the floor, is another chain.
    pub seen: Checkpoint,
}

impl Floor {
    /// A floor at the tip of its chain.
    pub const fn at(checkpoint: u64) -> Self {
        Self { below: Checkpoint(checkpoint), seen: Checkpoint(checkpoint) }
    }
}

/// The figures of one tier, since opening. A tier answers with bytes; the store checks them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierStats {
    /// Which.
    pub name: &'static str,
    /// Reads that it answered.
    pub hits: u64,
    /// Reads of what it does not hold.
    pub misses: u64,
    /// Reads that it could not answer. They are not misses.
    pub errors: u64,
    /// Bytes that it holds, where it counts them.
    pub bytes: Option<u64>,
}

impl Stats {
    /// The figures of one kind.
    pub fn of(&self, kind: Kind) -> &KindStats {
        match kind {
            Kind::Transaction => &self.kinds[0],
            Kind::Batch => &self.kinds[1],
            Kind::Aggregate => &self.kinds[2],
        }
    }

    /// Receipts stored, over all kinds.
    pub fn count(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.count).sum()
    }

    /// Bytes of envelopes stored, over all kinds.
    pub fn bytes(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.bytes).sum()
    }

    /// Hits since opening, over all kinds.
    pub fn hits(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.hits).sum()
    }
}

/// The figures of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KindStats {
    /// Receipts stored.
    pub count: u64,
    /// Bytes of their envelopes.
    pub bytes: u64,
    /// Milliseconds it took to prove them.
    pub proving_ms: u64,
    /// Hits since opening.
    pub hits: u64,
    /// Milliseconds of proving those hits saved.
    pub saved_ms: u64,
    /// Misses since opening because the entry failed its check.
    pub misses_quarantined: u64,
    /// Misses since opening because there was no verifier of the profile.
    pub misses_unverifiable: u64,
}

/// Why the store could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("the receipt store could not {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// The engine found damage in its own structures.
    #[error(
        "the receipt store's {} is damaged: {reason}; `reprise receipts verify` with the same --data-dir \
         quarantines what is damaged so that it is proved again",
        path.display()
    )]
    Damaged {
        /// The directory or file.
        path: PathBuf,
        /// The engine's explanation.
        reason: String,
    },
    /// The engine refused for another reason.
    #[error("the receipt store in {} failed: {reason}", path.display())]
    Engine {
        /// The directory.
        path: PathBuf,
        /// The engine's words.
        reason: String,
    },
    /// The store was opened for reading only.
    #[error("the receipt store in {} is open for reading only: another process writes it", path.display())]
    ReadOnly {
        /// The directory.
        path: PathBuf,
    },
    /// The store is shut down.
    #[error("the receipt store is closed: open it again")]
    Closed,
    /// A completion asked the store to wait for its own writer, or found the queue full.
    #[error("a callback of the receipt store waits for the store itself: move that work to another thread")]
    Reentrant,
    /// Code of the store or its engine panicked. Nothing of a write under way is stored.
    #[error("the receipt store panicked: the panic's own message is in the log")]
    Panicked,
    /// The claim asked for is not the statement's.
    #[error("{statement}: the claim that was asked for is not the claim of this statement")]
    ForeignClaim {
        /// The statement asked for.
        statement: StatementId,
    },
    /// A coordinate names another program, profile or kind than its statement's.
    #[error("{statement}: a coordinate at checkpoint {checkpoint} is of another program, profile or kind")]
    ForeignCoordinate {
        /// The statement.
        statement: StatementId,
        /// Where.
        checkpoint: Checkpoint,
    },
    /// An entry is larger than the store takes.
    #[error("{statement}: an entry of {bytes} bytes is over the limit of {bytes_max}")]
    TooLarge {
        /// The statement.
        statement: StatementId,
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
}

impl StoreError {
    /// Whether the same request can succeed later without a repair: a full disk, a device that does not answer. The
    /// pipeline waits after such an error and asks again.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Io { .. })
    }

    /// Whether the disk cannot read, or write, the place of what was asked for; another request may succeed all the same.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Io { source, .. } if medium::is_unreadable(source))
    }
}
