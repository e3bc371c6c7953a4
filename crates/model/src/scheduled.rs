//! Scheduled transactions, batches, blocks and bundles: the results of execution and bundling, before any proof.
//! They are plain data, without a state handle or a receipt.

use alloc::vec::Vec;
use core::ops::Range;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::block::BatchMetadata;
use crate::coordinate::Checkpoint;
use crate::digest::{BlockHash, Digest};
use crate::exit::Exit;
use crate::journal::{AggregateJournal, Span, SpanJournal, TransactionJournal};
use crate::limits::Load;

/// What proves a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ProvedBy {
    /// A proof of its own, which the proof of its batch verifies.
    Itself,
    /// The proof of its batch, which executes it.
    Batch,
    /// The proof of its batch, which [disposes of it](crate::processor::declared).
    Disposal,
}

/// An executed lane transaction.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ScheduledTransaction {
    /// Its position among all transactions that its block accepted.
    pub merge_index: u32,
    /// What proves it.
    pub proved_by: ProvedBy,
    /// What the proof attests of it.
    pub journal: TransactionJournal,
}

/// A run of a block's transactions, small enough for one proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ScheduledBatch {
    /// Its first transaction, by its place among the block's lane transactions.
    pub begin: u32,
    /// One past its last.
    pub end: u32,
    /// What computing it takes, where an aggregate does that; `None` where it has a proof of its own.
    pub computed: Option<Load>,
    /// What a proof of it will attest.
    pub journal: SpanJournal,
}

impl ScheduledBatch {
    /// Its transactions, by their places among the block's lane transactions.
    pub fn range(&self) -> Range<usize> {
        self.begin as usize..self.end as usize
    }
}

/// An executed block.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ScheduledBlock {
    /// The block and its position.
    pub metadata: BatchMetadata,
    /// Its lane transactions, in order.
    pub transactions: Vec<ScheduledTransaction>,
    /// Its batches, in order. An empty block has none, and needs no proof.
    pub batches: Vec<ScheduledBatch>,
    /// The state root after it.
    pub root_after: Digest,
    /// The lane tip after it.
    pub tip_after: Digest,
    /// Whether a settlement can be [anchored](crate::anchor) in it: its lane proof is kept and opens the tip.
    pub is_anchor: bool,
}

impl ScheduledBlock {
    /// One of its batches, with its exits.
    pub fn span(&self, batch: &ScheduledBatch) -> Span {
        let transactions = self.transactions.get(batch.range()).unwrap_or_default();
        Span { journal: batch.journal, exits: exits_of(transactions).collect() }
    }

    /// Its exits, in order.
    pub fn exits(&self) -> impl Iterator<Item = Exit> + '_ {
        exits_of(&self.transactions)
    }
}

/// The exits of a run of transactions, in order.
pub fn exits_of(transactions: &[ScheduledTransaction]) -> impl Iterator<Item = Exit> + '_ {
    transactions.iter().flat_map(|transaction| transaction.journal.exits.iter().copied())
}

/// The blocks of a bundle. Its first and last blocks are not empty. Empty blocks between them change neither state nor
/// tip, so they are not part of its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleBlocks {
    /// Its first checkpoint.
    pub start: Checkpoint,
    /// Its last block.
    pub end: BatchMetadata,
    /// The block that its settlement is [anchored](crate::anchor) in: the last, or a later one.
    pub anchor: BatchMetadata,
    /// The non-empty blocks, oldest first.
    pub blocks: Vec<BlockHash>,
}

/// Consecutive blocks aggregated for one settlement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledBundle {
    /// What it covers.
    pub blocks: BundleBlocks,
    /// What a proof of it will attest.
    pub journal: AggregateJournal,
}
