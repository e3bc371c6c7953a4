//! Witnesses: the input of a proof, beside the receipts that it assumes. A witness is not public, nor stored with the proof.

use alloc::vec::Vec;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::cell::Cell;
use crate::context::BlockContext;
use crate::digest::{Digest, ProgramId};
use crate::journal::{Journal, Pins, Span, TransactionJournal};
use crate::lane::OpenBlock;
use crate::state::StatePath;
use crate::statement::Kind;
use crate::transaction::ShownTransaction;

/// The input of one proof.
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

/// A transaction, and the values that it is executed over.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TransactionWitness {
    /// [`LaneTransaction::cells`](crate::transaction::LaneTransaction::cells).
    pub transaction: Vec<Cell>,
    /// The value of each declared resource before the transaction, in declared order.
    pub before: Vec<Option<Vec<Cell>>>,
    /// The context of its block, where it asks for it.
    pub context: Option<BlockContext>,
}

/// How a batch accounts for one of its transactions. The batch's journal does not show the choice.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Handling {
    /// The transaction is proved apart. The receipt of this journal is an assumption.
    Apart(TransactionJournal),
    /// The batch executes it, over the values of the resources it declares, in declared order.
    Inline(Vec<Option<Vec<Cell>>>),
    /// It is [disposed of](crate::processor::declared).
    Disposed,
}

/// A run of a block's transactions, and the openings of the slots that they access.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BatchWitness {
    /// The pins.
    pub pins: Pins,
    /// The block, with what earlier batches proved of it.
    pub block: OpenBlock,
    /// Whether this run is the block's last.
    pub closes: bool,
    /// The state root before the batch.
    pub root_before: Digest,
    /// The lane tip before the block.
    pub tip_before: Digest,
    /// The [reopening](crate::lane::LaneScheme::reopening), where the run is the block's last and the lane began anew in the
    /// block.
    pub reopening: Option<Vec<u8>>,
    /// Each transaction, in order, and how the batch accounts for it.
    pub transactions: Vec<(ShownTransaction, Handling)>,
    /// An opening in the root *before the batch* of every slot that a transaction accesses. The roots in
    /// between follow from these and the writes.
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

/// A part of an aggregate: a span, and how the aggregate accounts for it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Part {
    /// It verifies the proof of a batch.
    Batch(Span),
    /// It verifies the proof of batches that another aggregate joined.
    Joined(Span),
    /// It computes the batch itself. The journal does not show it.
    Computed(BatchWitness),
}

/// A run of spans.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AggregateWitness {
    /// The pins.
    pub pins: Pins,
    /// The spans, in order.
    pub parts: Vec<Part>,
    /// The purpose of the aggregate.
    pub end: AggregateEnd,
}

impl AggregateWitness {
    /// The claims whose receipts it assumes, in order: of a part that is proved, the program and what that committed; of one that it
    /// computes, each transaction that is proved apart.
    pub fn assumed(&self) -> Vec<(ProgramId, &dyn Journal)> {
        let mut assumed: Vec<(ProgramId, &dyn Journal)> = Vec::new();
        for part in &self.parts {
            match part {
                Part::Batch(span) => assumed.push((self.pins.batch_program, &span.journal)),
                Part::Joined(span) => assumed.push((self.pins.aggregate_program, &span.journal)),
                Part::Computed(batch) => assumed.extend(
                    batch.apart().map(|journal| (self.pins.transaction_program, journal as &dyn Journal)),
                ),
            }
        }
        assumed
    }
}

/// The purpose of an aggregate.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum AggregateEnd {
    /// Another aggregate joins it.
    Join,
    /// A settlement carries it.
    Settle {
        /// The proof of the lane in the sequencing commitment of the last block, as the L1 encodes it.
        lane_proof: Option<Vec<u8>>,
    },
}
