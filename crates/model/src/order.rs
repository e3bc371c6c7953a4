//! Orders: a statement to prove, where it is used, and what its witness is made from.

use alloc::vec::Vec;

use crate::coordinate::{Checkpoint, Coordinate, Position};
use crate::digest::BlockHash;
use crate::statement::{Claim, Kind, Statement, StatementId};

/// A statement that is to be proved for a coordinate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The identity of the statement: [`Statement::id`].
    pub id: StatementId,
    /// The statement.
    pub statement: Statement,
    /// Its claim.
    pub claim: Claim,
    /// Where it is used.
    pub coordinate: Coordinate,
    /// The statements whose receipts its proof assumes, in the order in which the program takes them.
    pub assumptions: Vec<Assumption>,
    /// What its witness is made from.
    pub work: Work,
}

/// A claim that a proof relies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assumption {
    /// The identity of its statement.
    pub id: StatementId,
    /// The statement.
    pub statement: Statement,
    /// Its claim.
    pub claim: Claim,
}

/// A batch, by its block and its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchRef {
    /// The block.
    pub block: BlockHash,
    /// Its place among the block's batches.
    pub index: usize,
}

/// A part of an aggregate, and what accounts for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartRef {
    /// A batch, by its proof.
    Batch(BatchRef),
    /// Batches that another aggregate joined, oldest first, by its proof.
    Joined(Vec<BatchRef>),
    /// A batch that the aggregate computes itself.
    Computed(BatchRef),
}

impl PartRef {
    /// The batches that it is over, oldest first.
    pub fn batches(&self) -> &[BatchRef] {
        match self {
            Self::Batch(batch) | Self::Computed(batch) => core::slice::from_ref(batch),
            Self::Joined(batches) => batches,
        }
    }
}

/// What a witness is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// The transaction at an index among its block's lane transactions.
    Transaction {
        /// The block.
        block: BlockHash,
        /// The index.
        index: usize,
    },
    /// A batch.
    Batch(BatchRef),
    /// Parts, joined into a part of another aggregate.
    Join(Vec<PartRef>),
    /// Parts, joined into a settlement.
    Settle {
        /// The parts.
        parts: Vec<PartRef>,
        /// The block that the settlement is [anchored](crate::anchor) in.
        anchor: BlockHash,
    },
}

/// How urgent an order is. Ranks sort the most urgent first: the oldest, and of one age the closest to settlement. So the
/// assumptions of an order come after it, and before every younger order.
///
/// A rank is a function of the coordinate alone. No two orders of one canonical chain have the same rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    /// The first block that the order covers.
    first: Checkpoint,
    /// The merge index of the first transaction that the order covers there; 0 for a settlement.
    merge_index: u32,
    /// How deep the proof nests: a settlement, a join (the highest first), a batch, a transaction.
    inside: u8,
}

impl Rank {
    /// Before all others.
    pub const MIN: Self = Self { first: Checkpoint(0), merge_index: 0, inside: 0 };
    /// After all others.
    pub const MAX: Self = Self { first: Checkpoint(u64::MAX), merge_index: u32::MAX, inside: u8::MAX };

    /// The least rank of an order that covers `first` and nothing before it.
    pub fn first_of(first: Checkpoint) -> Self {
        Self { first, ..Self::MIN }
    }
}

impl From<&Coordinate> for Rank {
    fn from(coordinate: &Coordinate) -> Self {
        const BATCH: u8 = u8::MAX - 1;
        let (first, merge_index, inside) = match coordinate.position {
            Position::Settlement { start, .. } => (start, 0, 0),
            Position::Join { start, first, height, .. } => {
                (start, first, BATCH.saturating_sub(height).max(1))
            }
            Position::Batch { first } => (coordinate.checkpoint, first, BATCH),
            Position::Transaction { merge_index } => (coordinate.checkpoint, merge_index, u8::MAX),
        };
        Self { first, merge_index, inside }
    }
}

impl Order {
    /// The kind of the statement.
    pub fn kind(&self) -> Kind {
        self.coordinate.position.kind()
    }

    /// How urgent it is.
    pub fn rank(&self) -> Rank {
        Rank::from(&self.coordinate)
    }

    /// This order's statement, as an assumption of an outer proof.
    pub fn as_assumption(&self) -> Assumption {
        Assumption { id: self.id, statement: self.statement, claim: self.claim.clone() }
    }
}
