//! What is served: plain data, as of one moment. Every type here is a schema of the API's document.
//!
//! A [`View`] is cheap to copy, because copies share what they have in common. So each state of a node is published as a
//! view of its own, and whoever reads one is never in the way of who makes the next.
//!
//! # Time
//!
//! Changes are numbered: [`View::seq`] is the number of the last one. What changes more than once has its history, so the
//! state at an earlier number can be read from the same answer: it is the last step that is not after it.
#![allow(unused_qualifications, reason = "the macros that describe the API write full paths")]

use std::fmt;
use std::sync::Arc;

use imbl::{OrdMap, Vector};
use reprise_model::digest::{BlockHash, Digest, ProfileId, ProgramId, StatementId, TransactionId};
use reprise_model::exit::Exit;
use reprise_model::journal::Outcome;
use reprise_model::scheduled::ProvedBy;
use reprise_model::statement::Kind as StatementKind;
use reprise_node::connection::L1Connection;
use reprise_node::health;
use reprise_node::states::States;
use serde::{Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::owed::Owed;

/// Declares an id as the API writes it.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $of:ident, $pattern:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(pub $of);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&self.0)
            }
        }

        impl From<$of> for $name {
            fn from(id: $of) -> Self {
                Self(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new().schema_type(SchemaType::Type(Type::String)).pattern(Some($pattern)).into()
            }
        }

        impl ToSchema for $name {}
    };
}

name!(
    /// The hash of an L1 block.
    BlockName,
    BlockHash,
    "^blk:[0-9a-f]{64}$"
);
name!(
    /// The id of a statement, and of the receipt that proves it.
    StatementName,
    StatementId,
    "^stm:[0-9a-f]{64}$"
);
name!(
    /// The id of a program.
    ProgramName,
    ProgramId,
    "^img:[0-9a-f]{64}$"
);
name!(
    /// The id of a proof profile.
    ProfileName,
    ProfileId,
    "^pro:[0-9a-f]{64}$"
);
name!(
    /// The id of a transaction on the L1.
    TransactionName,
    TransactionId,
    "^tx:[0-9a-f]{64}$"
);
name!(
    /// A digest.
    Hex,
    Digest,
    "^[0-9a-f]{64}$"
);

/// A kind of statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One lane transaction.
    Transaction,
    /// A run of a block's lane transactions.
    Batch,
    /// Consecutive batches.
    Aggregate,
}

impl From<StatementKind> for Kind {
    fn from(kind: StatementKind) -> Self {
        match kind {
            StatementKind::Transaction => Self::Transaction,
            StatementKind::Batch => Self::Batch,
            StatementKind::Aggregate => Self::Aggregate,
        }
    }
}

/// How a statement stands at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, serde::Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Wanted, and not begun.
    Waiting,
    /// A proof of it runs.
    Proving,
    /// The proof is made, and its receipt is being written.
    Storing,
    /// A proof was made for this place, and its receipt is stored.
    Proved,
    /// A stored receipt answered here, and no proof was made for this place.
    Reused,
    /// The last attempt failed, and no other has begun.
    Failed,
    /// No longer wanted here, and not proved.
    Dropped,
}

impl State {
    /// Whether the receipt is stored.
    pub fn is_stored(self) -> bool {
        matches!(self, Self::Proved | Self::Reused)
    }
}

/// One step of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Step<T> {
    /// The number of the change.
    pub seq: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What it is since then.
    pub state: T,
}

/// A statement at one place.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Placed {
    /// The statement.
    pub statement: StatementName,
    /// Its kind.
    pub kind: Kind,
    /// The place, as `reprise receipts why` reads it.
    #[schema(value_type = String)]
    pub place: Arc<str>,
    /// How it stands here.
    pub state: State,
    /// How it came to that, oldest first; of a long history the beginning and the end.
    pub history: Vec<Step<State>>,
    /// The device that proved it for this place last, counted from 0.
    pub device: Option<usize>,
    /// How long the proof took that was made for this place, in seconds.
    pub seconds: Option<f64>,
}

/// A block of the L1, on the canonical chain or off it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Block {
    /// Its hash.
    pub hash: BlockName,
    /// Its selected parent.
    pub parent: BlockName,
    /// Its height on the followed chain.
    pub checkpoint: u64,
    /// Its blue score, the L1's measure of depth.
    pub blue_score: u64,
    /// Its DAA score, the L1's clock.
    pub daa_score: u64,
    /// When it was mined, by its header, in milliseconds since the Unix epoch.
    pub mined_ms: u64,
    /// The fork that it lies on.
    pub fork: u32,
    /// Whether it is canonical now.
    pub canonical: bool,
    /// Whether it has been canonical and is not now.
    pub orphaned: bool,
    /// Whether it can leave the chain no more.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// How often it has flipped back: left the chain, and returned.
    pub flips: u32,
    /// Whether it carries no lane transaction that is proved.
    pub empty: bool,
    /// How many lane transactions it accepted.
    pub transactions: usize,
    /// Whether it was canonical, over time.
    pub standing: Vec<Step<bool>>,
    /// The number of the change that made it final.
    pub final_since: Option<u64>,
    /// The statements that are used in it, at most 64: its transactions' and batches', and those of the aggregates that end
    /// with it.
    pub statements: Vec<Arc<Placed>>,
    /// How many more there are.
    pub statements_omitted: usize,
    /// The settlements that it carries.
    pub settlements: Vec<StatementName>,
    /// The number of its last change.
    pub changed: u64,
}

/// A place of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Place {
    /// The place, as `reprise receipts why` reads it.
    #[schema(value_type = String)]
    pub place: Arc<str>,
    /// Its block; of an aggregate, the last.
    pub block: BlockName,
    /// That block's checkpoint.
    pub checkpoint: u64,
    /// How the statement stands there.
    pub state: State,
}

/// A statement, over all its places.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Statement {
    /// Its id.
    pub id: StatementName,
    /// Its kind.
    pub kind: Kind,
    /// The program that proves it.
    pub program: ProgramName,
    /// The profile that it is proved under.
    pub profile: ProfileName,
    /// How it stands: as at the place that is furthest.
    pub state: State,
    /// How many proofs of it were made in this run.
    pub proofs: u32,
    /// How often a stored receipt answered for it in this run.
    pub reuses: u32,
    /// How many attempts at it failed.
    pub failures: u32,
    /// The last failure.
    pub failure: Option<String>,
    /// Whether it is not tried again.
    pub given_up: bool,
    /// How long its proof took, in seconds.
    pub seconds: Option<f64>,
    /// Where it is used, at most 16 places, oldest first.
    pub places: Vec<Place>,
    /// The statements whose receipts its proof assumes.
    #[schema(value_type = Vec<StatementName>)]
    pub assumptions: Arc<[StatementName]>,
    /// The number of its last change.
    pub changed: u64,
}

/// Where a block accepted a transaction: its checkpoint, its hash, and the transaction's merge index.
pub type AcceptedAt = (u64, BlockHash, u32);

/// A transaction of the lane where a block accepted it. What is served of it is read from the whole view ([`crate::transactions`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its id on the L1.
    pub id: TransactionId,
    /// The block.
    pub block: BlockHash,
    /// The block's checkpoint.
    pub checkpoint: u64,
    /// Its position among all that the block accepted.
    pub merge_index: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// What it withdraws.
    pub exits: Arc<[Exit]>,
    /// What proves it.
    pub proved_by: ProvedBy,
    /// The merge index of the first transaction of its batch.
    pub batch_first: u32,
    /// Its own statement, once that was wanted.
    pub statement: Option<StatementId>,
    /// The statement of its batch, once that was wanted; none where an aggregate computes it.
    pub batch: Option<StatementId>,
}

/// How a bundle stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BundleState {
    /// Its aggregate is to be proved.
    Wanted,
    /// Its aggregate is stored.
    Proved,
    /// It was submitted to the L1.
    Submitted,
    /// The canonical chain shows its settlement.
    Settled,
    /// It is no longer a bundle of the canonical chain: a reorg removed a block, or it is anchored anew.
    Withdrawn,
}

/// Consecutive blocks that are settled together.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Bundle {
    /// The statement of its aggregate.
    pub statement: StatementName,
    /// Its first checkpoint.
    pub start: u64,
    /// Its last checkpoint.
    pub end: u64,
    /// Its last block.
    pub end_block: BlockName,
    /// The block that its settlement is anchored in.
    pub anchor: BlockName,
    /// Its blocks that are not empty, oldest first.
    pub blocks: Vec<BlockName>,
    /// How it stands.
    pub state: BundleState,
    /// How it came to that, oldest first; of a long history the beginning and the end.
    pub history: Vec<Step<BundleState>>,
    /// The number of its last change.
    pub changed: u64,
}

/// A settlement in one block that carries it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Settlement {
    /// The statement whose proof it carried.
    pub statement: StatementName,
    /// The block that carries it.
    pub carrier: BlockName,
    /// That block's checkpoint.
    pub carrier_checkpoint: u64,
    /// The block that it settles up to.
    pub end_block: BlockName,
    /// That block's checkpoint, where it is known and the carrier is above it. A settlement that ends in a block of another fork settles
    /// nothing of the carrier's.
    pub end_checkpoint: Option<u64>,
    /// The state root that it settles.
    pub root_after: Hex,
    /// Whether its carrier is canonical.
    pub canonical: bool,
    /// How many blocks of the canonical chain there are from its carrier on; 0 where that is not canonical.
    pub confirmations: u64,
    /// Whether its carrier can leave the chain no more.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Whether its carrier was canonical, over time.
    pub standing: Vec<Step<bool>>,
    /// The number of its last change.
    pub changed: u64,
}

/// Proving time on one account.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, ToSchema)]
pub struct Amount {
    /// In seconds.
    pub seconds: f64,
    /// In money, where a price is set (`--price-per-hour`).
    pub money: Option<f64>,
}

/// The accounts of proving time. What is lost is a part of what was spent; what is saved is not.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, ToSchema)]
pub struct Economy {
    /// All proving, with any outcome.
    pub spent: Amount,
    /// What the proofs would have cost that stored receipts made needless.
    pub saved_by_hits: Amount,
    /// The same of requests that shared a proof with another.
    pub saved_by_merging: Amount,
    /// Spent on proofs that were no longer wanted when they were stored, and were not used since.
    pub lost_to_reorgs: Amount,
    /// Spent on attempts that failed or were cancelled.
    pub lost_to_failures: Amount,
}

/// A branch of the fork tree: from the block after the fork point to its tip.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Fork {
    /// Its number; 0 is the first that was followed.
    pub id: u32,
    /// The fork that it branches from.
    pub parent: Option<u32>,
    /// Its first checkpoint.
    pub from: u64,
    /// Its last checkpoint.
    pub to: u64,
    /// How many blocks it has.
    pub blocks: u64,
    /// Whether its tip is canonical.
    pub canonical: bool,
    /// How often the chain has returned to it.
    pub returns: u32,
    /// The proving time of its blocks.
    pub economy: Economy,
    /// The number of its last change.
    pub changed: u64,
}

/// A change of the chain that removed blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reorg {
    /// The number of the change.
    pub seq: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The checkpoint of the highest block that stayed.
    pub point: u64,
    /// How many blocks left.
    pub removed: usize,
    /// How many joined.
    pub added: usize,
    /// How many of those had been canonical before: with any, it is a flip back.
    pub returning: usize,
}

/// What a device does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeviceState {
    /// Nothing.
    Idle,
    /// It proves.
    Proving,
    /// It failed several times in a row, and is tried again from time to time.
    Suspended,
}

/// A proving device.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Device {
    /// Its number, counted from 0.
    pub device: usize,
    /// What it does.
    pub state: DeviceState,
    /// The statement that it proves.
    pub statement: Option<StatementName>,
    /// The kind of that statement.
    pub kind: Option<Kind>,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: Option<u64>,
    /// How many proofs it made.
    pub proofs: u64,
    /// How many attempts on it failed.
    pub failures: u64,
    /// How long it has proved, in seconds, by the ends of its attempts.
    pub busy_seconds: f64,
    /// Its last failure.
    pub failure: Option<String>,
}

/// What is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct Queue {
    /// Statements that wait to be looked up or proved.
    pub waiting: usize,
    /// Proofs that run.
    pub proving: usize,
    /// How many proofs may run at a time.
    pub permits: usize,
}

/// A level of health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// All is well.
    Green,
    /// It works, and somebody should look.
    Degraded,
    /// Something does not happen until somebody acts.
    Red,
}

/// Why a node is not green.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reason {
    /// Its name, as in `docs/operations.md`.
    pub name: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub advice: &'static str,
}

/// The health of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Health {
    /// As bad as the worst reason.
    pub level: Level,
    /// Why it is not green.
    pub reasons: Vec<Reason>,
}

impl From<health::Level> for Level {
    fn from(level: health::Level) -> Self {
        match level {
            health::Level::Green => Self::Green,
            health::Level::Degraded => Self::Degraded,
            health::Level::Red => Self::Red,
        }
    }
}

impl From<&health::Reason> for Reason {
    fn from(reason: &health::Reason) -> Self {
        Self {
            name: reason.name(),
            level: reason.level().into(),
            message: reason.to_string(),
            advice: reason.advice(),
        }
    }
}

impl From<&health::Health> for Health {
    fn from(health: &health::Health) -> Self {
        Self { level: health.level().into(), reasons: health.reasons().iter().map(Reason::from).collect() }
    }
}

/// What was counted since the node started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct Counts {
    /// Distinct blocks.
    pub blocks: u64,
    /// Changes of the chain that removed blocks.
    pub reorgs: u64,
    /// Of these, returns to blocks seen before.
    pub flips: u64,
    /// Proofs made.
    pub proofs: u64,
    /// Requests that a stored receipt answered.
    pub reuses: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Proofs begun for statements that were proved already when their block left, after it returned.
    pub proofs_after_flip: u64,
}

/// The connection to a live L1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Connection {
    /// Whether it stands.
    pub connected: bool,
    /// How many seconds ago it was lost; 0 while it stands.
    pub disconnected_seconds: u64,
    /// Why it was lost.
    pub lost: Option<String>,
    /// How many seconds ago the last block was mined, by its header.
    pub last_block_age_seconds: Option<u64>,
    /// Whether the L1 had nothing new when it was last asked.
    pub caught_up: bool,
    /// How many blocks are followed, by the L1's own count; 0 if unknown.
    pub reached: u64,
    /// How many blocks the L1 has, by the same count; 0 if unknown.
    pub goal: u64,
}

impl From<&L1Connection> for Connection {
    fn from(l1: &L1Connection) -> Self {
        Self {
            connected: l1.connected,
            disconnected_seconds: l1.disconnected_seconds,
            lost: l1.lost.as_ref().map(|(_, _, why)| why.clone()),
            last_block_age_seconds: l1.last_block_age_seconds,
            caught_up: l1.caught_up,
            reached: l1.reached,
            goal: l1.goal,
        }
    }
}

/// The end of the canonical chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Tip {
    /// The block.
    pub block: BlockName,
    /// Its checkpoint.
    pub checkpoint: u64,
    /// Its blue score.
    pub blue_score: u64,
}

/// Everything that is served, as of one moment. See the [module](self).
#[derive(Debug, Clone)]
pub struct View {
    /// The reading of a directory that this is of, counted from 1; 0 of a run. Numbers of changes are of one reading.
    pub reading: u64,
    /// The number of the last change.
    pub seq: u64,
    /// When that was, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The canonical tip, once there is one.
    pub tip: Option<Tip>,
    /// No block at or below this checkpoint can leave the chain any more.
    pub finalized: u64,
    /// The checkpoint up to which the canonical chain is settled.
    pub settled: Option<u64>,
    /// The lowest checkpoint that is kept.
    pub first: u64,
    /// The blocks of all forks, by checkpoint.
    pub blocks: OrdMap<(u64, BlockHash), Arc<Block>>,
    /// Their checkpoints.
    pub checkpoints: OrdMap<BlockHash, u64>,
    /// The statements that are used in them.
    pub statements: OrdMap<StatementId, Arc<Statement>>,
    /// The lane's transactions in them.
    pub transactions: OrdMap<AcceptedAt, Arc<Accepted>>,
    /// Where each was accepted.
    pub places: OrdMap<TransactionId, Vector<AcceptedAt>>,
    /// The bundles, by last checkpoint.
    pub bundles: OrdMap<(u64, StatementId), Arc<Bundle>>,
    /// The settlements, by the checkpoint of their carrier.
    pub settlements: OrdMap<(u64, BlockHash, StatementId), Arc<Settlement>>,
    /// The forks.
    pub forks: OrdMap<u32, Arc<Fork>>,
    /// The changes of the chain that removed blocks, oldest first.
    pub reorgs: Vector<Reorg>,
    /// The devices.
    pub devices: Vector<Device>,
    /// What is queued.
    pub queue: Queue,
    /// What was counted.
    pub counts: Counts,
    /// The proving time of everything.
    pub economy: Economy,
    /// The health.
    pub health: Arc<Health>,
    /// The connection to a live L1.
    pub connection: Option<Arc<Connection>>,
    /// The states that reads are answered from, once there is a chain.
    pub states: Option<Arc<States>>,
    /// What the settlements of the canonical chain owe.
    pub owed: Owed,
    /// Whether the run has ended.
    pub ended: bool,
}

impl View {
    /// The view of a node that has done nothing yet.
    pub fn new(permits: usize) -> Self {
        let device = |device| Device {
            device,
            state: DeviceState::Idle,
            statement: None,
            kind: None,
            since_ms: None,
            proofs: 0,
            failures: 0,
            busy_seconds: 0.0,
            failure: None,
        };
        Self {
            reading: 0,
            seq: 0,
            at_ms: 0,
            tip: None,
            finalized: 0,
            settled: None,
            first: 0,
            blocks: OrdMap::new(),
            checkpoints: OrdMap::new(),
            statements: OrdMap::new(),
            transactions: OrdMap::new(),
            places: OrdMap::new(),
            bundles: OrdMap::new(),
            settlements: OrdMap::new(),
            forks: OrdMap::new(),
            reorgs: Vector::new(),
            devices: (0..permits).map(device).collect(),
            queue: Queue { permits, ..Queue::default() },
            counts: Counts::default(),
            economy: Economy::default(),
            health: Arc::new(Health { level: Level::Green, reasons: vec![] }),
            connection: None,
            states: None,
            owed: Owed::default(),
            ended: false,
        }
    }

    /// Whether the node follows its L1, and why not. It follows once it has a block, has caught up with a live L1, and is not
    /// red.
    pub fn readiness(&self) -> Result<(), String> {
        if self.health.level == Level::Red {
            let reasons: Vec<&str> =
                self.health.reasons.iter().map(|reason| reason.message.as_str()).collect();
            return Err(format!("the health is red: {}", reasons.join("; ")));
        }
        if self.tip.is_none() {
            return Err("no block of the L1 was followed yet".into());
        }
        match &self.connection {
            Some(l1) if !l1.caught_up => {
                Err(format!("it catches up with the L1: {} of {}", l1.reached, l1.goal))
            }
            _ => Ok(()),
        }
    }

    /// The same with one more reason for ill health.
    pub(crate) fn with_reason(&self, reason: &health::Reason) -> Self {
        let mut health = self.health.as_ref().clone();
        health.level = health.level.max(reason.level().into());
        health.reasons.push(reason.into());
        Self { health: Arc::new(health), ..self.clone() }
    }

    /// A block by its hash.
    pub fn block(&self, hash: &BlockHash) -> Option<&Arc<Block>> {
        self.blocks.get(&(*self.checkpoints.get(hash)?, *hash))
    }

    /// A settlement with its confirmations, which change with the tip.
    pub fn confirmed(&self, settlement: &Settlement) -> Settlement {
        let tip = self.tip.map_or(0, |tip| tip.checkpoint);
        let confirmations = match settlement.canonical {
            true => (tip + 1).saturating_sub(settlement.carrier_checkpoint),
            false => 0,
        };
        let is_final = settlement.canonical && settlement.carrier_checkpoint <= self.finalized;
        Settlement { confirmations, is_final, ..settlement.clone() }
    }
}
