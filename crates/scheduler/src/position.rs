//! Positions: a block of the chain, with the state after it.
//!
//! A chain is followed from a position: a rollup's founding, where the state is empty, or a later one that a
//! [snapshot](crate::snapshot) holds. The state at any other block follows from there and the [records](crate::record) of the
//! blocks between: [`Position::after`].

use std::collections::HashMap;
use std::sync::Arc;

use reprise_model::block::ChainRoot;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest};
use reprise_model::lane::{LaneError, WorkloadHasher};

use crate::record::BatchRecord;
use crate::tree::StateTree;

/// A block, and the state after it.
#[derive(Debug, Clone)]
pub struct Position {
    /// The block, with its lane proof where that is kept.
    pub block: ChainRoot,
    /// Its height above the block that the rollup was first followed from.
    pub checkpoint: Checkpoint,
    /// The state after it.
    pub state: StateTree,
    /// The lane tip after it.
    pub tip: Digest,
}

/// Why the state after a block does not follow from the records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownState {
    /// There is no record of a block that it depends on.
    #[error(
        "there is no record of the block {block}: `reprise run` executes it again, and then the state is known"
    )]
    NoRecord {
        /// The block.
        block: BlockHash,
    },
    /// The recorded writes give another root than the recorded one.
    #[error(
        "the records of {block} give the state root {found}, and name {recorded}: put the file of batch records away, and \
         `reprise run` executes the chain again"
    )]
    OtherRoot {
        /// The block.
        block: BlockHash,
        /// The root of the recorded writes.
        found: Digest,
        /// The recorded root.
        recorded: Digest,
    },
}

impl Position {
    /// A rollup's first position: an empty state after `root`. The lane proof of `root` opens the lane tip.
    pub fn founding(
        hasher: &Arc<dyn WorkloadHasher>,
        lane: &Digest,
        root: ChainRoot,
    ) -> Result<Self, LaneError> {
        let tip = hasher.lane().at(hasher.as_ref(), lane, None, root.lane_proof.as_deref())?;
        let state = StateTree::empty(hasher.clone());
        Ok(Self { block: root, checkpoint: Checkpoint(0), state, tip })
    }

    /// The position after `block`, which builds on this one over blocks that all have a record.
    pub fn after(&self, block: &BlockHash, records: &[BatchRecord]) -> Result<Self, UnknownState> {
        let by_hash: HashMap<BlockHash, &BatchRecord> =
            records.iter().map(|record| (record.block.metadata.block_hash(), record)).collect();
        let (mut path, mut at) = (vec![], *block);
        while at != self.block.metadata.block_hash {
            // No chain is longer than its records.
            let record = by_hash.get(&at).filter(|_| path.len() < records.len());
            let record = *record.ok_or(UnknownState::NoRecord { block: at })?;
            path.push(record);
            at = record.block.metadata.block.parent_hash;
        }
        let mut position = self.clone();
        for record in path.into_iter().rev() {
            position = position.over(record)?;
        }
        Ok(position)
    }

    /// The position after the next block, by its record.
    fn over(&self, record: &BatchRecord) -> Result<Self, UnknownState> {
        let state = self.state.after(record.writes.iter().flatten());
        let (metadata, recorded) = (record.block.metadata, record.block.root_after);
        if state.root() != recorded {
            let (block, found) = (metadata.block_hash(), state.root());
            return Err(UnknownState::OtherRoot { block, found, recorded });
        }
        let block = ChainRoot { metadata: metadata.block, lane_proof: record.lane_proof.clone() };
        Ok(Self { block, checkpoint: metadata.checkpoint, state, tip: record.block.tip_after })
    }
}
