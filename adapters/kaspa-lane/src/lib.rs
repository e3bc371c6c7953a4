//! Kaspa's own lane tip, and its proof in the sequencing commitment (KIP-21). A node checks with them what it follows, and
//! programs that are proved compute them.
//!
//! | module | content |
//! |---|---|
//! | [`proof`] | a lane in a block's sequencing commitment |
//! | `hashing` | Kaspa's keyed hashes, at a cost that programs can afford |
//! | [`tip`] | the lane tip: Kaspa's fold over everything that a lane accepted |
//!
//! [`KaspaLane`] implements the model's [`LaneScheme`] with both. This crate does no I/O.
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

use crate::proof::Opening;

pub use crate::hashing::{digest, hash};

/// Kaspa's own lane tip. The sequencing commitment of a block commits to the tip after the block.
#[derive(Debug, Clone, Copy, Default)]
pub struct KaspaLane;

/// The lane, as these proofs open it.
fn opened(lane: &Digest, proof: Option<&[u8]>) -> Result<Opening, LaneError> {
    Opening::of(lane, proof.ok_or(LaneError::NoProof)?)
        .map_err(|error| LaneError::Unreadable { reason: error.to_string() })
}

/// The opening, where its last tip is `tip`.
fn opened_at(lane: &Digest, tip: &Digest, proof: Option<&[u8]>) -> Result<Opening, LaneError> {
    let opening = opened(lane, proof)?;
    match opening.tip() {
        found if found == *tip => Ok(opening),
        found => Err(LaneError::OtherTip { expected: *tip, found }),
    }
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
        let (Some(left), Some(proof)) = (left, proof) else {
            // Without a proof the tip is the one that the block left.
            return left.map_or_else(|| Ok(opened(lane, proof)?.tip()), |left| Ok(*left));
        };
        let opening = opened(lane, Some(proof))?;
        match opening.entry {
            Some(entry) if entry.tip != *left => {
                Err(LaneError::OtherTip { expected: *left, found: entry.tip })
            }
            // An expired entry does not change the tip.
            _ => Ok(*left),
        }
    }

    fn reopening<'p>(&self, proof: &'p [u8]) -> Option<&'p [u8]> {
        proof::of_parent(proof)
    }

    fn accept(&self, _: &dyn Hasher, activity: &mut Activity, accepted: &Accepted) {
        tip::accept(activity, accepted);
    }

    fn after(&self, _: &dyn Hasher, step: &Step<'_>) -> Result<Digest, LaneError> {
        let reference = match step.reopening {
            None if *step.tip != Digest::ZERO => *step.tip,
            proof => opened_at(step.lane, step.tip, proof)?.commitment,
        };
        let OpenBlock { context, activity, .. } = step.block;
        Ok(tip::next(step.lane, &reference, context, activity))
    }

    fn open(&self, lane: &Digest, tip: &Digest, proof: Option<&[u8]>) -> Result<Commitment, LaneError> {
        Ok(Commitment::Bound(opened_at(lane, tip, proof)?.commitment))
    }
}
