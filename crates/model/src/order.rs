//! Orders: a statement that is wanted, where, and what it is to be made from.

use alloc::vec::Vec;

use crate::coordinate::Coordinate;
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

impl Order {
    /// The kind of the statement.
    pub fn kind(&self) -> Kind {
        self.coordinate.place.kind()
    }

    /// This order's statement, as something an outer proof relies on.
    pub fn as_assumption(&self) -> Assumption {
        Assumption { id: self.id, statement: self.statement, claim: self.claim.clone() }
    }
}
