//! Kaspa's own lane tip, and its proof in the sequencing commitment (KIP-21): for a node that checks what it follows,
//! and for programs that are proved.
//!
//! | module | noun |
//! |---|---|
//! | [`proof`] | a lane in a block's sequencing commitment |
//! | `hashing` | Kaspa's keyed hashes, as programs can afford them |
//! | [`tip`] | the lane tip: Kaspa's fold over what a lane accepted |
//!
//! [`KaspaLane`] is both behind the model's port. Nothing here knows of a connection to a node.
#![no_std]

extern crate alloc;

mod hashing;
pub mod proof;
pub mod tip;

use alloc::string::ToString;

use reprise_model::digest::Digest;
use reprise_model::hash::Hasher;
use reprise_model::journal::Commitment;
use reprise_model::lane::{Activity, LaneError, LaneScheme, OpenBlock, Step};
use reprise_model::transaction::Accepted;

use crate::proof::LaneProof;

pub use crate::hashing::{digest, hash};

/// The lane tip that is Kaspa's own: what a block leaves is in the block's sequencing commitment.
#[derive(Debug, Clone, Copy, Default)]
pub struct KaspaLane;

/// The proof in these bytes, and the commitment that it opens for the lane.
fn opened(lane: &Digest, proof: Option<&[u8]>) -> Result<(LaneProof, Digest), LaneError> {
    let proof = LaneProof::decode(proof.ok_or(LaneError::NoProof)?)
        .map_err(|error| LaneError::Unreadable { reason: error.to_string() })?;
    let commitment = proof.commitment(lane);
    let commitment = commitment.map_err(|error| LaneError::Unreadable { reason: error.to_string() })?;
    Ok((proof, commitment))
}

/// The tip of an entry; zero where there is none.
fn tip_of(proof: &LaneProof) -> Digest {
    proof.lane.map_or(Digest::ZERO, |entry| entry.tip)
}

impl LaneScheme for KaspaLane {
    fn binds(&self) -> bool {
        true
    }

    fn at(
        &self,
        _: &dyn Hasher,
        lane: &Digest,
        left: Option<&Digest>,
        proof: Option<&[u8]>,
    ) -> Result<Digest, LaneError> {
        match (left, proof) {
            // What was left is still there where nothing says otherwise.
            (Some(left), None) => Ok(*left),
            (_, proof) => Ok(tip_of(&opened(lane, proof)?.0)),
        }
    }

    fn accept(&self, _: &dyn Hasher, activity: &mut Activity, accepted: &Accepted) {
        tip::accept(activity, accepted);
    }

    fn after(&self, _: &dyn Hasher, step: &Step<'_>) -> Result<Digest, LaneError> {
        let reference = match *step.tip {
            // A lane without an entry begins anew, over the commitment in which it is absent.
            Digest::ZERO => match opened(step.lane, step.parent_proof)? {
                (LaneProof { lane: None, .. }, commitment) => commitment,
                (LaneProof { lane: Some(entry), .. }, _) => {
                    return Err(LaneError::Present { tip: entry.tip });
                }
            },
            tip => tip,
        };
        let OpenBlock { context, activity, .. } = step.block;
        Ok(tip::next(step.lane, &reference, context, activity))
    }

    fn open(&self, lane: &Digest, tip: &Digest, proof: Option<&[u8]>) -> Result<Commitment, LaneError> {
        let (proof, commitment) = opened(lane, proof)?;
        match proof.lane {
            Some(entry) if entry.tip == *tip => Ok(Commitment::Bound(commitment)),
            _ => Err(LaneError::OtherTip { expected: *tip, found: tip_of(&proof) }),
        }
    }
}
