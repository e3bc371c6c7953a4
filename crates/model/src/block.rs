//! Chain blocks, as far as the pipeline needs them, and the ids that name them.

use alloc::vec::Vec;
use core::fmt;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::context::BlockContext;
use crate::coordinate::Checkpoint;
use crate::digest::{BlockHash, Digest, StatementId};
use crate::journal::AggregateJournal;
use crate::transaction::LaneTransaction;

/// The id of a block in this node. An id is never reused, and a block that a reorg brings back keeps its id.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, BorshSerialize, BorshDeserialize,
)]
pub struct BlockId(pub u64);

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// The header of a chain block, as far as the pipeline needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ChainBlockMetadata {
    /// The block's hash.
    pub block_hash: BlockHash,
    /// Its selected parent.
    pub parent_hash: BlockHash,
    /// Blue score: the L1's measure of depth.
    pub blue_score: u64,
    /// DAA score: the L1's clock.
    pub daa_score: u64,
    /// Header timestamp, in milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    /// The selected parent's timestamp, which the lane's context binds.
    pub parent_timestamp_ms: u64,
    /// The L1's commitment to everything it sequenced up to this block (KIP-21; the header's accepted id
    /// merkle root).
    pub sequencing_commitment: Digest,
}

impl ChainBlockMetadata {
    /// The context that the lane tip binds for this block.
    pub fn context(&self) -> BlockContext {
        BlockContext {
            timestamp_ms: self.parent_timestamp_ms,
            daa_score: self.daa_score,
            blue_score: self.blue_score,
        }
    }
}

/// The block from which the node follows a chain.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ChainRoot {
    /// Its header.
    pub metadata: ChainBlockMetadata,
    /// The proof of the lane in its sequencing commitment, or of the lane's absence, as the L1 encodes it; `None`
    /// where the L1 has no such proofs.
    pub lane_proof: Option<Vec<u8>>,
}

/// A chain block with what it accepted.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ChainBlock {
    /// Its header.
    pub metadata: ChainBlockMetadata,
    /// The lane's accepted transactions, by ascending merge index.
    pub accepted: Vec<LaneTransaction>,
    /// The proof of the lane in the sequencing commitment, as the L1 encodes it. A node gives it only while
    /// the block is canonical, so it is read together with the block.
    pub lane_proof: Option<Vec<u8>>,
    /// The settlements of the followed covenant that the block accepted, in order.
    pub settlements: Vec<ObservedSettlement>,
    /// The claims of exits that the block accepted, in order.
    pub claims: Vec<ObservedClaim>,
}

/// A payment of an exit on the chain, by whoever sent it: the [root](crate::exit::Tree) of the exits before and after it. Zero
/// after the last.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ObservedClaim {
    /// The root before.
    pub before: Digest,
    /// The root after.
    pub after: Digest,
    /// Which siblings of the exit's path are on the left, from its leaf up.
    pub lefts: Vec<bool>,
}

/// A settlement on the chain, submitted by this node or by another settler.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ObservedSettlement {
    /// The statement whose proof it carried.
    pub statement: StatementId,
    /// What the proof attests.
    pub journal: AggregateJournal,
    /// The block that the settlement is [anchored](crate::anchor) in, and settles up to.
    pub end_block: BlockHash,
}

/// A batch's block and its position. The scheduler and every later stage name the block by this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BatchMetadata {
    /// The block's id in this node.
    pub id: BlockId,
    /// The block's height on the followed chain.
    pub checkpoint: Checkpoint,
    /// The block itself.
    pub block: ChainBlockMetadata,
}

impl BatchMetadata {
    /// The block's hash.
    pub fn block_hash(&self) -> BlockHash {
        self.block.block_hash
    }
}
