//! Witnesses: what a proof is made from, beside the receipts it assumes. Not public, not stored with it.

use alloc::vec::Vec;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::cell::Cell;
use crate::digest::{Digest, ProgramId};
use crate::journal::{Pins, Span, TransactionJournal};
use crate::lane::OpenBlock;
use crate::state::StatePath;
use crate::statement::Kind;
use crate::transaction::ShownTransaction;

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

/// How a batch accounts for one of its transactions. The batch's journal does not show which it was.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Handling {
    /// It is proved apart; the receipt of this journal is an assumption.
    Apart(TransactionJournal),
    /// The batch executes it, over the values of what it declares, in declared order.
    Inline(Vec<Option<Vec<Cell>>>),
    /// It is [disposed of](crate::processor::declared).
    Disposed,
}

/// A run of a block's transactions, and the openings of what they touch.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BatchWitness {
    /// The pins.
    pub pins: Pins,
    /// The block, and what is proved of it before.
    pub block: OpenBlock,
    /// Whether this run is the block's last.
    pub closes: bool,
    /// The state root before.
    pub root_before: Digest,
    /// The lane tip before the block.
    pub tip_before: Digest,
    /// Where the run is the block's last and the lane began [anew](crate::lane::LaneScheme::reopening) in the block: what opens
    /// the tip before in the parent's commitment.
    pub reopening: Option<Vec<u8>>,
    /// Each transaction, in order, and how the batch accounts for it.
    pub transactions: Vec<(ShownTransaction, Handling)>,
    /// An opening in the root *before the batch* of every slot that any of them accesses. The roots in
    /// between follow from these by writing.
    pub paths: Vec<StatePath>,
}

impl BatchWitness {
    /// The journals whose receipts it assumes, in order.
    pub fn apart(&self) -> impl Iterator<Item = &TransactionJournal> {
        self.transactions.iter().filter_map(|(_, handling)| match handling {
            Handling::Apart(journal) => Some(journal),
            Handling::Inline(_) | Handling::Disposed => None,
        })
    }
}

/// A proved span, and what proves it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Part {
    /// Whether an aggregate proves it, or a batch.
    pub joined: bool,
    /// The span.
    pub span: Span,
}

impl Part {
    /// The program that proves it.
    pub fn program(&self, pins: &Pins) -> ProgramId {
        match self.joined {
            true => pins.aggregate_program,
            false => pins.batch_program,
        }
    }
}

/// A run of proved spans.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AggregateWitness {
    /// The pins.
    pub pins: Pins,
    /// The spans, in order; their receipts are the assumptions.
    pub parts: Vec<Part>,
    /// What the aggregate is for.
    pub end: AggregateEnd,
}

/// What an aggregate is for.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum AggregateEnd {
    /// To be joined with others.
    Join,
    /// To be settled.
    Settle {
        /// The proof of the lane in the sequencing commitment of the last block, as the L1 encodes it.
        lane_proof: Option<Vec<u8>>,
    },
}
