//! Orders: a statement that is wanted, where, and what it is to be made from.

use alloc::vec::Vec;

use crate::coordinate::{Checkpoint, Coordinate, Position};
use crate::digest::BlockHash;
use crate::scheduled::BundleBlocks;
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
    /// A block's batch.
    Batch {
        /// The block.
        block: BlockHash,
    },
    /// A bundle.
    Aggregate(BundleBlocks),
}

/// How urgent an order is, the most urgent first: closest to settlement, then oldest. What an outer proof
/// relies on comes after it, and before everything younger.
///
/// It is a function of the coordinate alone, and no two orders that one canonical chain wants have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    /// The first block it covers.
    first: Checkpoint,
    /// How far inside: an aggregate, a batch, a transaction.
    inside: u8,
    merge_index: u32,
}

impl Rank {
    /// Before all others.
    pub const MIN: Self = Self { first: Checkpoint(0), inside: 0, merge_index: 0 };
    /// After all others.
    pub const MAX: Self = Self { first: Checkpoint(u64::MAX), inside: u8::MAX, merge_index: u32::MAX };

    /// Of the outermost order that covers `first` and nothing before it: this, or the next there is.
    pub fn first_of(first: Checkpoint) -> Self {
        Self { first, ..Self::MIN }
    }
}

impl From<&Coordinate> for Rank {
    fn from(coordinate: &Coordinate) -> Self {
        let (first, inside, merge_index) = match coordinate.position {
            Position::Aggregate { start, .. } => (start, 0, 0),
            Position::Batch => (coordinate.checkpoint, 1, 0),
            Position::Transaction { merge_index } => (coordinate.checkpoint, 2, merge_index),
        };
        Self { first, inside, merge_index }
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
