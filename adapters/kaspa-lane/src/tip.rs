//! The lane tip: Kaspa's fold over everything that a lane accepted, block by block.
//!
//! ```text
//! leafᵢ    = H(id | version | merge index)
//! activity = the Merkle root over a block's leaves
//! context  = H(timestamp of the parent | DAA score | blue score)
//! tip′     = H(reference | lane key | activity | context)
//! ```
//!
//! The reference is the tip before the block, or the parent's sequencing commitment where the lane had no entry there.

use kaspa_hashes::{Hash, ZERO_HASH};
use kaspa_merkle::merkle_hash_with_hasher;
use reprise_model::context::BlockContext;
use reprise_model::digest::Digest;
use reprise_model::lane::Activity;
use reprise_model::transaction::Accepted;

use crate::hashing::{ActivityLeaf, AtOnce, Branch, Context, Tip, digest, hash, hash_of};

/// Adds a leaf to a block's Merkle tree. The nodes of `activity` are the roots of the full subtrees so far, the largest first,
/// one for each bit of the count that is set.
pub fn accept(activity: &mut Activity, accepted: &Accepted) {
    let Accepted { version, merge_index, .. } = accepted;
    let mut node =
        hash_of::<ActivityLeaf>(&[&accepted.id().0, &version.to_le_bytes(), &merge_index.to_le_bytes()]);
    let mut full = activity.count;
    while full & 1 == 1 {
        let Some(left) = activity.nodes.pop() else { break };
        node = branch(hash(left), node);
        full >>= 1;
    }
    activity.nodes.push(digest(node));
    activity.count += 1;
}

/// The Merkle root over a block's leaves. A subtree that is not full is filled up with zeros.
fn root(activity: &Activity) -> Hash {
    let mut levels = (0..u32::BITS).filter(|level| activity.count >> level & 1 == 1);
    let mut nodes = activity.nodes.iter().rev();
    let (Some(mut at), Some(last)) = (levels.next(), nodes.next()) else { return ZERO_HASH };
    let mut node = hash(*last);
    for (level, left) in levels.zip(nodes) {
        for _ in at..level {
            node = branch(node, ZERO_HASH);
        }
        node = branch(hash(*left), node);
        at = level + 1;
    }
    node
}

fn branch(left: Hash, right: Hash) -> Hash {
    merkle_hash_with_hasher(left, right, AtOnce::<Branch>::default())
}

/// The tip of the lane `key` after a block with these transactions. There is at least one.
pub fn next(key: &Digest, reference: &Digest, context: &BlockContext, activity: &Activity) -> Digest {
    let BlockContext { timestamp_ms, daa_score, blue_score } = context;
    let context = [timestamp_ms.to_le_bytes(), daa_score.to_le_bytes(), blue_score.to_le_bytes()];
    let context = hash_of::<Context>(&[context.as_flattened()]);
    digest(hash_of::<Tip>(&[&reference.0, &key.0, root(activity).as_slice(), context.as_slice()]))
}
