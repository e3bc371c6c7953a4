//! Artifacts: what leaves the pipeline, each published only after its receipt is durable. They carry no
//! storage types, so whoever receives one compiles without the store.

use alloc::vec::Vec;

use crate::block::BatchMetadata;
use crate::coordinate::Checkpoint;
use crate::digest::BlockHash;
use crate::journal::{AggregateJournal, Exit};
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
    /// What each of its transactions that withdraws anything withdraws, in order.
    pub exits: Vec<Vec<Exit>>,
    /// The proof.
    pub receipt: Verified<Receipt>,
}

/// What is submitted to an L1. `R` says what kind of receipt that L1 takes: real sinks take a
/// [`RealReceipt`](crate::receipt::RealReceipt), into which a fake one does not convert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettlementArtifact<R> {
    /// The block that it settles up to, and is [anchored](crate::anchor) in.
    pub end_block: BlockHash,
    /// What the proof attests.
    pub journal: AggregateJournal,
    /// What each transaction that withdraws anything withdraws, in order: what the journal's exits are the fold over.
    pub exits: Vec<Vec<Exit>>,
    /// The proof.
    pub receipt: R,
}
