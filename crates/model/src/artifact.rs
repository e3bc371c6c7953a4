//! Artifacts: what the pipeline publishes. It publishes each only after its receipt is durable. Artifacts hold no
//! storage types, so a crate that receives them compiles without the store.

use alloc::vec::Vec;

use crate::block::BatchMetadata;
use crate::coordinate::Checkpoint;
use crate::digest::BlockHash;
use crate::exit::Exit;
use crate::journal::AggregateJournal;
use crate::receipt::{Receipt, Verified};

/// A proved bundle, ready to be settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregatorArtifact {
    /// Its first checkpoint.
    pub start: Checkpoint,
    /// The block that its settlement is [anchored](crate::anchor) in.
    pub anchor: BatchMetadata,
    /// What its proof attests.
    pub journal: AggregateJournal,
    /// Its exits, in order.
    pub exits: Vec<Exit>,
    /// The proof.
    pub receipt: Verified<Receipt>,
}

/// What is submitted to an L1. `R` is the kind of receipt that the L1 takes. The sink of a real L1 takes a
/// [`RealReceipt`](crate::receipt::RealReceipt); a fake receipt does not convert into one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettlementArtifact<R> {
    /// The block that the settlement is [anchored](crate::anchor) in, and settles up to.
    pub end_block: BlockHash,
    /// What the proof attests.
    pub journal: AggregateJournal,
    /// Its exits, in order. The journal's exits are the root over these.
    pub exits: Vec<Exit>,
    /// The proof.
    pub receipt: R,
}
