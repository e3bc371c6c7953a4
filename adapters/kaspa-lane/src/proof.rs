//! The proof of a lane in a block's sequencing commitment (KIP-21), as recordings carry it.
//!
//! Kaspa's header commits to every lane: `commitment = H(parent's commitment | state root)`. The state root is over a
//! sparse Merkle tree. Its leaf at the lane's key holds the lane's tip and the blue score of the block that last moved it.
//! [`LaneProof::commitment`] computes the commitment from the leaf. If it equals the header's, the leaf is proved.
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
//!
//! Further proofs in the same layout may follow, all of earlier blocks:
//!
//! | the block | proofs that follow its own |
//! |---|---|
//! | has an entry, over its parent's tip | none |
//! | has an entry that [began anew](self#silence) | of its parent, and those that the parent's shortcuts lead to |
//! | has no entry | those that its shortcuts lead to |
//!
//! # Silence
//!
//! A lane that accepts nothing for the L1's finality depth `F` (12 hours on mainnet) loses its entry. The block's *inactivity
//! shortcut* points back: it is the commitment of the highest chain block whose blue score is at most that of the block less
//! `F + 1`. A lane without an entry has accepted nothing since that block. So an [`Opening`] shows the last tip of a lane after
//! a silence of any length, by one proof for each `F` of it. Each proof opens the commitment that the shortcut of the proof
//! before it names. The last proof shows the entry.
//!
//! The next block that accepts something begins the lane anew: its tip is over the *commitment* of its parent, in place of the
//! lane's tip before. The [`Opening`] of the parent shows the tip that the commitment replaces.

use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use borsh::{BorshDeserialize, BorshSerialize, io};
use kaspa_smt::proof::{OwnedSmtProof, SmtProofError};
use reprise_model::digest::Digest;

use crate::hashing::{ActiveLeaf, ActiveNode, ActivityRoot, AtOnce, Branch, digest, hash, hash_of};

/// The entry of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LaneEntry {
    /// Kaspa's lane tip: the fold over everything that the lane accepted.
    pub tip: Digest,
    /// The blue score of the block that last moved it.
    pub blue_score: u64,
}

impl fmt::Display for LaneEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tip {} of blue {}", self.tip, self.blue_score)
    }
}

/// A lane in a block's sequencing commitment, or its absence there.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LaneProof {
    /// The lane's entry; `None` where it has none within the window of active lanes.
    pub lane: Option<LaneEntry>,
    /// Kaspa's sparse Merkle proof of the entry or of its absence.
    pub merkle_proof: Vec<u8>,
    /// The inactivity shortcut: the commitment that stands for the lanes that are inactive.
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

    /// Reads the first proof of the [layout](self) above.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, io::Error> {
        Self::deserialize(&mut bytes)
    }
}

/// The lane proof of a block, with the earlier ones that it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockProof {
    /// The block's own proof.
    pub own: LaneProof,
    /// The proofs of earlier blocks, in the order of the [layout](self#layout).
    pub earlier: Vec<LaneProof>,
}

impl From<LaneProof> for BlockProof {
    fn from(own: LaneProof) -> Self {
        Self { own, earlier: vec![] }
    }
}

impl BlockProof {
    /// The [layout](self#layout) above.
    pub fn encode(&self) -> Vec<u8> {
        core::iter::once(&self.own).chain(&self.earlier).flat_map(LaneProof::encode).collect()
    }
}

/// The parent's proofs among the proofs of a block in which the lane began anew; `None` for any other block.
pub fn of_parent(mut bytes: &[u8]) -> Option<&[u8]> {
    let own = LaneProof::deserialize(&mut bytes).ok()?;
    (own.lane.is_some() && !bytes.is_empty()).then_some(bytes)
}

/// Why the proofs do not open a lane.
#[derive(Debug, thiserror::Error)]
pub enum OpeningError {
    /// The bytes are not proofs.
    #[error("{0}")]
    Unreadable(String),
    /// A proof does not open the commitment that the shortcut of the proof before it names.
    #[error("proof {number} opens {found}, but the shortcut before it names {shortcut}")]
    Shortcut {
        /// The number of the proof, from 0.
        number: usize,
        /// The commitment that the shortcut names.
        shortcut: Digest,
        /// The commitment that the proof opens.
        found: Digest,
    },
}

/// A lane in a block's sequencing commitment: its last entry, before any [silence](self#silence).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// The sequencing commitment of the block.
    pub commitment: Digest,
    /// The last entry. `None` where the last proof shows none: the lane never had an entry, or proofs are missing.
    pub entry: Option<LaneEntry>,
}

impl Opening {
    /// Opens the lane `key` by the proofs of a block, up to the first that shows an entry.
    pub fn of(key: &Digest, mut bytes: &[u8]) -> Result<Self, OpeningError> {
        let unreadable = |error: &dyn fmt::Display| OpeningError::Unreadable(error.to_string());
        let mut next = || {
            let proof = LaneProof::deserialize(&mut bytes).map_err(|error| unreadable(&error))?;
            let commitment = proof.commitment(key).map_err(|error| unreadable(&error))?;
            Ok((commitment, proof, bytes.is_empty()))
        };
        let (commitment, mut proof, mut is_last) = next()?;
        let mut number = 0;
        while proof.lane.is_none() && !is_last {
            let (shortcut, found);
            (shortcut, (found, proof, is_last)) = (proof.inactivity_shortcut, next()?);
            number += 1;
            if found != shortcut {
                return Err(OpeningError::Shortcut { number, shortcut, found });
            }
        }
        Ok(Self { commitment, entry: proof.lane })
    }

    /// The tip of the last entry; zero where there is none.
    pub fn tip(&self) -> Digest {
        self.entry.map_or(Digest::ZERO, |entry| entry.tip)
    }
}
