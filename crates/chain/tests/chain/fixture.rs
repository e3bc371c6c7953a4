//! Shared by the tests of the overlay and the recorded L1: transactions, a proof system of one hash, a covenant.

use std::sync::Arc;

use reprise_chain::dev::DevChain;
use reprise_chain::overlay::Covenant;
use reprise_model::digest::{ClaimDigest, Digest, PinsDigest, ProfileId, ProgramId};
use reprise_model::hash::Blake3;
use reprise_model::journal::{AggregateJournal, Journal};
use reprise_model::lane::{self, Activity, LaneScheme as _, Own};
use reprise_model::profile::SealKind;
use reprise_model::receipt::{Receipt, Verifier, VerifyError};
use reprise_model::statement::{Claim, Statement};
use reprise_model::transaction::{Accepted, LaneTransaction};

/// The covenant's program.
pub(crate) const PROGRAM: ProgramId = ProgramId([3; 32]);
/// The covenant's pins.
pub(crate) const PINS: PinsDigest = PinsDigest([4; 32]);
/// The profile that [`Seals`] accepts.
pub(crate) const PROFILE: ProfileId = ProfileId([5; 32]);
/// The state root before the first settlement.
pub(crate) const GENESIS_ROOT: Digest = Digest([6; 32]);

/// A transaction of `owner` that differs from every other owner's.
pub(crate) fn transaction(chain: &DevChain, owner: &str, deposit: u64) -> LaneTransaction {
    chain.transaction(owner, owner.as_bytes(), deposit)
}

/// What the workload's own lane folds transactions into, by their digests and merge indices, in whatever order.
pub(crate) fn activity(named: impl IntoIterator<Item = (Digest, u32)>) -> Digest {
    let mut activity = Activity::default();
    for (digest, merge_index) in named {
        let [rest, payload] = [Digest::ZERO; 2];
        let accepted = Accepted { merge_index, version: 1, rest, payload, digest };
        Own.accept(&Blake3, &mut activity, &accepted);
    }
    activity.nodes[0]
}

/// A proof system whose seal is the hash of the claim.
pub(crate) struct Seals;

impl Seals {
    fn claim(claim: &Claim) -> ClaimDigest {
        ClaimDigest(*blake3::hash(&[&claim.program.0[..], &claim.journal].concat()).as_bytes())
    }

    fn seal(claim: &ClaimDigest) -> Vec<u8> {
        blake3::hash(&claim.0).as_bytes().to_vec()
    }

    /// A receipt of `program` for `journal` under `profile`.
    pub(crate) fn prove(profile: ProfileId, program: ProgramId, journal: &AggregateJournal) -> Receipt {
        let claim = Claim { program, journal: journal.bytes() };
        let digest = Self::claim(&claim);
        let statement = Statement { profile, claim: digest };
        Receipt { statement, claim, seal_kind: SealKind::Succinct, seal: Self::seal(&digest) }
    }
}

impl Verifier for Seals {
    fn verify(&self, receipt: &Receipt) -> Result<(), VerifyError> {
        let statement = receipt.id();
        if receipt.statement.profile != PROFILE {
            return Err(VerifyError::ForeignProfile { statement });
        }
        if receipt.statement.claim != Self::claim(&receipt.claim) {
            return Err(VerifyError::ClaimMismatch { statement });
        }
        match receipt.seal == Self::seal(&receipt.statement.claim) {
            true => Ok(()),
            false => Err(VerifyError::BadSeal { statement, reason: "not the hash of its claim".into() }),
        }
    }
}

/// A covenant over the dev chain's lane.
pub(crate) fn covenant() -> Covenant {
    let lane = DevChain::default().recording().lane;
    Covenant {
        verifier: Arc::new(Seals),
        program: PROGRAM,
        pins: PINS,
        lane: lane.key,
        rollup: lane.rollup(),
        root: GENESIS_ROOT,
        anchor_depth: None,
        hasher: Arc::new(Blake3),
    }
}

/// The lane tip before anything was accepted.
pub(crate) fn genesis_tip() -> Digest {
    lane::genesis(&Blake3, &covenant().lane)
}
