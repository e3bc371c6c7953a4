//! The lane tip: a running commitment to everything a lane accepted, in order, with its block's context.
//!
//! The chain over the workload's own [`Hasher`] holds the same data as Kaspa's lane tip (KIP-21): the
//! transactions' bytes, their merge indices, the block's context. An L1 that judges a settlement recomputes
//! it from what it accepted. Blocks without lane transactions leave the tip as it is.
//!
//! ```text
//! tip₀      = H(LaneGenesis, lane)
//! activity₀ = 0
//! activityᵢ = H(Activity, activityᵢ₋₁ | transaction digest | merge index 0 0 0 0 0 0 0)
//! tip′      = H(LaneTip, tip | timestamp daa_score blue_score 0 0 | activity)
//! ```

use borsh::{BorshDeserialize, BorshSerialize};

use crate::cell::{self, Cell};
use crate::digest::Digest;
use crate::hash::{Domain, Hasher};

/// The block context that the lane tip binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BlockContext {
    /// The selected parent's timestamp, in milliseconds.
    pub timestamp_ms: u64,
    /// The block's DAA score.
    pub daa_score: u64,
    /// The block's blue score.
    pub blue_score: u64,
}

impl BlockContext {
    /// `timestamp | DAA score | blue score | 0 0`.
    pub fn cell(&self) -> Cell {
        let [t0, t1] = cell::words(self.timestamp_ms);
        let [d0, d1] = cell::words(self.daa_score);
        let [b0, b1] = cell::words(self.blue_score);
        [t0, t1, d0, d1, b0, b1, 0, 0]
    }
}

/// The tip of a lane that has accepted nothing.
pub fn genesis(hasher: &dyn Hasher, lane: &Digest) -> Digest {
    hasher.hash(Domain::LaneGenesis, &[cell::digest(lane)])
}

/// The fold over one block's accepted lane transactions: digest and merge index each, in order.
pub fn activity(hasher: &dyn Hasher, accepted: impl IntoIterator<Item = (Digest, u32)>) -> Digest {
    accepted.into_iter().fold(Digest::ZERO, |folded, (transaction, merge_index)| {
        let index = [merge_index, 0, 0, 0, 0, 0, 0, 0];
        hasher.hash(Domain::Activity, &[cell::digest(folded), cell::digest(transaction), index])
    })
}

/// The tip after a block with lane transactions.
pub fn advance(hasher: &dyn Hasher, tip: &Digest, context: &BlockContext, activity: &Digest) -> Digest {
    hasher.hash(Domain::LaneTip, &[cell::digest(tip), context.cell(), cell::digest(activity)])
}
