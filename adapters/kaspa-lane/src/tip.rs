//! The lane tip: Kaspa's fold over what a lane accepted, block by block.
//!
//! ```text
//! leafᵢ    = H(id | version | merge index)
//! activity = the Merkle root over a block's leaves
//! context  = H(timestamp of the parent | DAA score | blue score)
//! tip′     = H(reference | lane key | activity | context)
//! ```
//!
//! The reference is the tip before, or the parent's sequencing commitment where the lane had no entry.

use alloc::vec::Vec;

use kaspa_seq_commit::hashing::{activity_digest_lane, activity_leaf, lane_tip_next, mergeset_context_hash};
use kaspa_seq_commit::types::{LaneTipInput, MergesetContext};
use reprise_model::digest::Digest;
use reprise_model::lane::BlockContext;
use reprise_model::transaction::LaneTransaction;

use crate::{digest, hash};

/// The tip of the lane `key` after a block that accepted these transactions, of which there is at least one.
pub fn next<'a>(
    key: &Digest,
    reference: &Digest,
    context: &BlockContext,
    accepted: impl IntoIterator<Item = &'a LaneTransaction>,
) -> Digest {
    let leaf = |tx: &LaneTransaction| activity_leaf(&hash(tx.id().digest()), tx.version, tx.merge_index);
    let leaves: Vec<_> = accepted.into_iter().map(leaf).collect();
    let context_hash = mergeset_context_hash(&MergesetContext {
        timestamp: context.timestamp_ms,
        daa_score: context.daa_score,
        blue_score: context.blue_score,
    });
    digest(lane_tip_next(&LaneTipInput {
        parent_ref: &hash(*reference),
        lane_key: &hash(*key),
        activity_digest: &activity_digest_lane(leaves.into_iter()),
        context_hash: &context_hash,
    }))
}
