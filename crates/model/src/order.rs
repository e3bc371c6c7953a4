//! Orders: a statement that is wanted, where, and what it is to be made from.

use alloc::vec::Vec;

use crate::coordinate::{Checkpoint, Coordinate, Position};
use crate::digest::BlockHash;
use crate::statement::{Claim, Kind, Statement, StatementId};

/// A statement wanted at a coordinate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The identity of the statement: [`Statement::id`].
    pub id: StatementId,
    /// The statement.
    pub statement: Statement,
    /// Its claim.
    pub claim: Claim,
    /// Where it is wanted.
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

/// A part of an aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartRef {
    /// Whether an aggregate proves it, or a batch.
    pub joined: bool,
    /// The batches it is over, oldest first.
    pub batches: Vec<BatchRef>,
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
    /// Parts, joined to be joined again.
    Join(Vec<PartRef>),
    /// Parts, joined to be settled.
    Settle {
        /// The parts.
        parts: Vec<PartRef>,
        /// The block that the settlement is [anchored](crate::anchor) in.
        anchor: BlockHash,
    },
}

/// How urgent an order is, the most urgent first: closest to settlement, then oldest. What an outer proof
/// relies on comes after it, and before everything younger.
///
/// It is a function of the coordinate alone, and no two orders that one canonical chain wants have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    /// The first block it covers.
    first: Checkpoint,
    /// The merge index of the first transaction it covers there; 0 of what is to be settled.
    merge_index: u32,
    /// How far inside: to be settled, joined at a height, a batch, a transaction.
    inside: u8,
}

impl Rank {
    /// Before all others.
    pub const MIN: Self = Self { first: Checkpoint(0), merge_index: 0, inside: 0 };
    /// After all others.
    pub const MAX: Self = Self { first: Checkpoint(u64::MAX), merge_index: u32::MAX, inside: u8::MAX };

    /// Of the outermost order that covers `first` and nothing before it: this, or the next there is.
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

    /// This order's statement, as something an outer proof relies on.
    pub fn as_assumption(&self) -> Assumption {
        Assumption { id: self.id, statement: self.statement, claim: self.claim.clone() }
    }
}
