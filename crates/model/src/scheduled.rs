//! Scheduled transactions, batches and bundles: what execution and bundling said of the chain, before any
//! proof. Plain data: no state handle, no receipt.

use alloc::vec::Vec;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::block::BatchMetadata;
use crate::coordinate::Checkpoint;
use crate::digest::{BlockHash, Digest};
use crate::journal::{AggregateJournal, BatchJournal, TransactionJournal};

/// An executed lane transaction.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ScheduledTransaction {
    /// Its position among all transactions its block accepted.
    pub merge_index: u32,
    /// What a proof of it will attest.
    pub journal: TransactionJournal,
}

/// An executed block.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ScheduledBatch {
    /// The block and its position.
    pub metadata: BatchMetadata,
    /// Its lane transactions, in order.
    pub transactions: Vec<ScheduledTransaction>,
    /// What a proof of it will attest; none for an empty block, which costs no proof.
    pub journal: Option<BatchJournal>,
    /// The state root after it.
    pub root_after: Digest,
    /// The lane tip after it.
    pub tip_after: Digest,
}

/// The blocks of a bundle: it starts and ends at a non-empty batch, and the empty ones between are none of
/// its proof's concern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleBlocks {
    /// Its first checkpoint.
    pub start: Checkpoint,
    /// Its last block.
    pub end: BatchMetadata,
    /// The non-empty blocks, oldest first.
    pub blocks: Vec<BlockHash>,
}

/// Consecutive batches aggregated for one settlement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledBundle {
    /// What it covers.
    pub blocks: BundleBlocks,
    /// What a proof of it will attest.
    pub journal: AggregateJournal,
}
