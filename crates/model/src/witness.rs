//! Witnesses: what a proof is made from, beside the receipts it assumes. Not public, not stored with it.

use alloc::vec::Vec;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::cell::Cell;
use crate::digest::Digest;
use crate::journal::{BatchJournal, Pins, TransactionJournal};
use crate::lane::BlockContext;
use crate::state::StatePath;
use crate::statement::Kind;
use crate::transaction::LaneTransaction;

/// What one proof is made from.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Witness {
    /// For a transaction program.
    Transaction(TransactionWitness),
    /// For a batch program.
    Batch(BatchWitness),
    /// For an aggregate program.
    Aggregate(AggregateWitness),
}

impl Witness {
    /// The kind of program it is for.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Transaction(_) => Kind::Transaction,
            Self::Batch(_) => Kind::Batch,
            Self::Aggregate(_) => Kind::Aggregate,
        }
    }
}

/// The transaction and the values it meets.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TransactionWitness {
    /// [`LaneTransaction::cells`](crate::transaction::LaneTransaction::cells).
    pub transaction: Vec<Cell>,
    /// The value of each declared resource before, in declared order.
    pub before: Vec<Option<Vec<Cell>>>,
}

/// A block's proved transactions, and the openings of what they touch.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BatchWitness {
    /// The pins.
    pub pins: Pins,
    /// The block's context.
    pub context: BlockContext,
    /// The state root before.
    pub root_before: Digest,
    /// The lane tip before.
    pub tip_before: Digest,
    /// The L1's lane proof at the block's parent, where the lane has no entry there.
    pub parent_proof: Option<Vec<u8>>,
    /// Each transaction with its journal, in order; the journals' receipts are the assumptions.
    pub transactions: Vec<(LaneTransaction, TransactionJournal)>,
    /// An opening in the root *before the batch* of every slot that any of them accesses. The roots in
    /// between follow from these by writing.
    pub paths: Vec<StatePath>,
}

/// A run of proved batches.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AggregateWitness {
    /// The pins.
    pub pins: Pins,
    /// The batches, in order; their receipts are the assumptions.
    pub batches: Vec<BatchJournal>,
    /// The proof of the lane in the sequencing commitment of the last batch's block, as the L1 encodes it.
    pub lane_proof: Option<Vec<u8>>,
}
