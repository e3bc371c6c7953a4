//! Chain events: as an L1 reports them, and with every block's id and checkpoint.

use borsh::{BorshDeserialize, BorshSerialize};
use reprise_model::block::{BatchMetadata, ChainBlock};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::BlockHash;

/// One change of an L1's canonical chain, as the L1 reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SourceEvent {
    /// The blocks that left the canonical chain, tip first.
    pub removed: Vec<BlockHash>,
    /// The blocks that joined it, oldest first.
    pub added: Vec<ChainBlock>,
}

/// One change of the canonical view: [`SourceEvent`] with every block known by id and checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainEvent {
    /// The blocks that left the view, tip first.
    pub removed: Vec<BatchMetadata>,
    /// The blocks that joined it, oldest first.
    pub added: Vec<AddedBlock>,
    /// No block at or below this checkpoint can leave the view any more.
    pub finalized: Checkpoint,
}

/// A block that joined the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedBlock {
    /// Its id and checkpoint.
    pub metadata: BatchMetadata,
    /// Whether this node has seen it before, in this process or an earlier one.
    pub returning: bool,
    /// What it accepted.
    pub block: ChainBlock,
}
