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

use kaspa_merkle::calc_merkle_root_with_hasher;
use reprise_model::digest::Digest;
use reprise_model::lane::BlockContext;
use reprise_model::transaction::LaneTransaction;

use crate::hashing::{ActivityLeaf, AtOnce, Branch, Context, Tip, digest, hash_of};

/// The tip of the lane `key` after a block that accepted these transactions, of which there is at least one.
pub fn next<'a>(
    key: &Digest,
    reference: &Digest,
    context: &BlockContext,
    accepted: impl IntoIterator<Item = &'a LaneTransaction>,
) -> Digest {
    let leaf = |tx: &LaneTransaction| {
        hash_of::<ActivityLeaf>(&[&tx.id().0, &tx.version.to_le_bytes(), &tx.merge_index.to_le_bytes()])
    };
    let leaves: Vec<_> = accepted.into_iter().map(leaf).collect();
    let activity = calc_merkle_root_with_hasher::<AtOnce<Branch>>(leaves.into_iter());
    let BlockContext { timestamp_ms, daa_score, blue_score } = context;
    let context = [timestamp_ms.to_le_bytes(), daa_score.to_le_bytes(), blue_score.to_le_bytes()];
    let context = hash_of::<Context>(&[context.as_flattened()]);
    digest(hash_of::<Tip>(&[&reference.0, &key.0, activity.as_slice(), context.as_slice()]))
}
