//! Positions: a block of the chain, with the state after it.
//!
//! A chain is followed from a position: a rollup's founding, where the state is empty, or a later one that a
//! [snapshot](crate::snapshot) holds. The state at any other block follows from there and the [records](crate::record) of the
//! blocks between ([`crate::history`]).

use std::sync::Arc;

use reprise_model::block::ChainRoot;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::Digest;
use reprise_model::lane::{LaneError, WorkloadHasher};

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
}
