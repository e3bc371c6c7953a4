//! The proof of a lane in a block's sequencing commitment (KIP-21), as recordings carry it.
//!
//! Kaspa's header commits to every lane: `commitment = H(parent's commitment | state root)`, the state root over a
//! sparse Merkle tree whose leaf at the lane's key holds the lane's tip and the blue score that last moved it.
//! [`LaneProof::commitment`] climbs from the leaf to the commitment; equal to the header's, the leaf is proved.
//!
//! # Layout
//!
//! [`ChainBlock::lane_proof`](reprise_model::block::ChainBlock::lane_proof) holds the borsh encoding of
//! [`LaneProof`]:
//!
//! | bytes | content |
//! |---|---|
//! | 1 | 1 where the lane has an entry, else 0 |
//! | 32, 8 | with an entry: lane tip, blue score (little-endian) |
//! | 4, n | length (little-endian) and bytes of Kaspa's sparse Merkle proof (`bitmap ‖ terminal ‖ siblings`) |
//! | 32 | inactivity shortcut |
//! | 32 | payload and context digest |
//! | 32 | the selected parent's sequencing commitment |
//!
//! Without an entry the Merkle proof proves the lane's absence.

use alloc::vec::Vec;
use core::fmt;

use borsh::{BorshDeserialize, BorshSerialize, io};
use kaspa_smt::proof::{OwnedSmtProof, SmtProofError};
use reprise_model::digest::Digest;

use crate::hashing::{ActiveLeaf, ActiveNode, ActivityRoot, AtOnce, Branch, digest, hash, hash_of};

/// Where a lane stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LaneEntry {
    /// Kaspa's lane tip: the fold over everything the lane accepted.
    pub tip: Digest,
    /// The blue score of the block that last moved it.
    pub blue_score: u64,
}

impl fmt::Display for LaneEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tip {} of blue {}", self.tip, self.blue_score)
    }
}

/// A lane in a block's sequencing commitment.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LaneProof {
    /// The lane's entry; `None` where it has none within the window of active lanes.
    pub lane: Option<LaneEntry>,
    /// Kaspa's sparse Merkle proof of the entry or of its absence.
    pub merkle_proof: Vec<u8>,
    /// The commitment that stands in for lanes gone inactive.
    pub inactivity_shortcut: Digest,
    /// The digest over the miners' payloads and the block's context.
    pub payload_and_context_digest: Digest,
    /// The selected parent's sequencing commitment.
    pub parent_commitment: Digest,
}

impl LaneProof {
    /// The sequencing commitment that this proof opens for the lane `key`.
    pub fn commitment(&self, key: &Digest) -> Result<Digest, SmtProofError> {
        let leaf = |lane: LaneEntry| hash_of::<ActiveLeaf>(&[&lane.tip.0, &lane.blue_score.to_le_bytes()]);
        let merkle_proof = OwnedSmtProof::from_bytes(&self.merkle_proof)?;
        let lanes = merkle_proof.compute_root::<AtOnce<ActiveNode>>(&hash(*key), self.lane.map(leaf))?;
        let activity = hash_of::<ActivityRoot>(&[&self.inactivity_shortcut.0, lanes.as_slice()]);
        let state = hash_of::<Branch>(&[activity.as_slice(), &self.payload_and_context_digest.0]);
        Ok(digest(hash_of::<Branch>(&[&self.parent_commitment.0, state.as_slice()])))
    }

    /// The [layout](self) above.
    pub fn encode(&self) -> Vec<u8> {
        // Writing to a vector cannot fail.
        borsh::to_vec(self).unwrap_or_default()
    }

    /// Reads the [layout](self) above.
    pub fn decode(bytes: &[u8]) -> Result<Self, io::Error> {
        borsh::from_slice(bytes)
    }
}
