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

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use kaspa_hashes::SeqCommitActiveNode;
use kaspa_rpc_core::GetSeqCommitLaneProofResponse;
use kaspa_seq_commit::hashing::{activity_root_hash, seq_commit, seq_state_root, smt_leaf_hash};
use kaspa_seq_commit::types::{SeqCommitInput, SeqState, SmtLeafInput};
use kaspa_smt::proof::{OwnedSmtProof, SmtProofError};
use reprise_model::digest::Digest;

use crate::{digest, kaspa_hash};

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
        let leaf = |lane: LaneEntry| {
            smt_leaf_hash(&SmtLeafInput { lane_tip: &kaspa_hash(lane.tip), blue_score: lane.blue_score })
        };
        let merkle_proof = OwnedSmtProof::from_bytes(&self.merkle_proof)?;
        let lanes_root =
            merkle_proof.compute_root::<SeqCommitActiveNode>(&kaspa_hash(*key), self.lane.map(leaf))?;
        let activity_root = activity_root_hash(&kaspa_hash(self.inactivity_shortcut), &lanes_root);
        let state_root = seq_state_root(&SeqState {
            activity_root: &activity_root,
            payload_and_ctx_digest: &kaspa_hash(self.payload_and_context_digest),
        });
        let parent_seq_commit = kaspa_hash(self.parent_commitment);
        Ok(digest(seq_commit(&SeqCommitInput {
            parent_seq_commit: &parent_seq_commit,
            state_root: &state_root,
        })))
    }

    /// The [layout](self) above.
    pub fn encode(&self) -> Vec<u8> {
        // Writing to a vector cannot fail.
        borsh::to_vec(self).unwrap_or_default()
    }

    /// Reads the [layout](self) above.
    pub fn decode(bytes: &[u8]) -> Result<Self, std::io::Error> {
        borsh::from_slice(bytes)
    }
}

impl From<GetSeqCommitLaneProofResponse> for LaneProof {
    fn from(answer: GetSeqCommitLaneProofResponse) -> Self {
        Self {
            lane: answer.lane.map(|lane| LaneEntry { tip: digest(lane.tip), blue_score: lane.blue_score }),
            merkle_proof: answer.smt_proof,
            inactivity_shortcut: digest(answer.inactivity_shortcut),
            payload_and_context_digest: digest(answer.payload_and_ctx_digest),
            parent_commitment: digest(answer.parent_seq_commit),
        }
    }
}
