//! The towns that the programs are compared with, and the backend that runs them.

use std::sync::{Arc, OnceLock};

use kaspa_smt::proof::{OwnedSmtProof, ProofTerminal};
use kaspa_smt::store::CollapsedLeaf;
use reprise_kaspa_lane::proof::{BlockProof, LaneEntry, LaneProof};
use reprise_kaspa_lane::{hash, tip};
use reprise_model::block::{ChainBlock, ChainRoot};
use reprise_model::digest::Digest;
use reprise_model::journal::Pins;
use reprise_model::lane::Activity;
use reprise_model::limits::{Limits, ProveApart};
use reprise_model::profile::SealKind;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::statement::Claim;
use reprise_model::transaction::{Accepted, NOBODY, Price, Rollup};
use reprise_model::witness::Witness;
use reprise_prover::backend::Backend;
use reprise_risc0::{LEDGER, Risc0Backend, Risc0Error, Sha256};
use reprise_scheduler::execution::Division;

pub use reprise_conformance::fixture::{
    COVENANT, EXIT, Fixture, WHOLE, account, fund, list, pay, transaction,
};

/// The backend in the proof system's development mode: it runs the programs, and proves nothing.
pub fn development() -> &'static Risc0Backend {
    static BACKEND: OnceLock<Risc0Backend> = OnceLock::new();
    BACKEND.get_or_init(|| Risc0Backend::new(SealKind::Fake, &LEDGER).unwrap())
}

/// A batch a block, and a proof a transaction.
pub fn fixture() -> Fixture {
    divided(WHOLE)
}

/// Blocks divided so.
pub fn divided(division: Division) -> Fixture {
    Fixture::proving(Arc::new(Sha256), Backend::programs(development()), Some(lanes), division)
}

/// So many transactions a batch.
pub fn runs_of(transactions: usize, apart: ProveApart) -> Division {
    Division { limits: Limits { transactions, ..Limits::NONE }, apart }
}

/// What Kaspa would commit to in a block, on a chain with other lanes: the commitment, and the proof of our lane in it.
pub fn lanes(key: &Digest, parent: Option<&ChainRoot>, block: &ChainBlock) -> (Digest, Vec<u8>) {
    let read = |root: &ChainRoot| LaneProof::decode(root.lane_proof.as_deref().unwrap()).unwrap();
    let before = parent.and_then(|root| read(root).lane);
    let parent_commitment = parent.map_or(Digest([1; 32]), |root| root.metadata.sequencing_commitment);
    let lane = match block.accepted.as_slice() {
        [] => before,
        accepted => {
            let reference = before.map_or(parent_commitment, |entry| entry.tip);
            let mut activity = Activity::default();
            for transaction in accepted {
                // Kaspa's tip takes no facts.
                let accepted = Accepted::of(
                    &Sha256,
                    transaction,
                    &transaction.read(&Rollup {
                        covenant: Digest::ZERO,
                        deposit: NOBODY,
                        price: Price::FREE,
                    }),
                );
                tip::accept(&mut activity, &accepted);
            }
            let tip = tip::next(key, &reference, &block.metadata.context(), &activity);
            Some(LaneEntry { tip, blue_score: block.metadata.blue_score })
        }
    };
    // A path through a tree with a hundred other lanes; where ours has no entry, to the other one that is alone there.
    const DEPTH: u8 = 7;
    let other = CollapsedLeaf { lane_key: hash(Digest([8; 32])), leaf_hash: hash(Digest([9; 32])) };
    let mut bitmap = [0xff; 32];
    bitmap[0] = 1 << DEPTH;
    let path = OwnedSmtProof {
        bitmap,
        siblings: (0..DEPTH).map(|at| hash(Digest([at; 32]))).collect(),
        terminal: match lane {
            Some(_) => ProofTerminal::Collapsed { depth: DEPTH },
            None => ProofTerminal::CollapsedOther { depth: DEPTH, leaf: other },
        },
    };
    let proof = LaneProof {
        lane,
        merkle_proof: path.to_bytes(),
        inactivity_shortcut: Digest([2; 32]),
        payload_and_context_digest: Digest([3; 32]),
        parent_commitment,
    };
    // A lane that had no entry begins over its parent's proof.
    let begins = before.is_none() && proof.lane.is_some();
    let earlier = parent.filter(|_| begins).map(read).into_iter().collect();
    (proof.commitment(key).unwrap(), BlockProof { own: proof, earlier }.encode())
}

pub fn pins() -> Pins {
    reprise_conformance::fixture::pins(Backend::programs(development()))
}

/// Proves by `backend`, and verifies.
pub fn prove(
    backend: &Risc0Backend,
    claim: &Claim,
    witness: Witness,
    assumptions: &[Verified<Receipt>],
) -> Verified<Receipt> {
    let (receipt, _) = backend.prove(claim, &witness, assumptions).unwrap();
    Verified::check(receipt, backend).unwrap()
}

/// The program refuses, and says why.
#[track_caller]
pub fn assert_refused(result: Result<Vec<u8>, Risc0Error>, why: &str) {
    match result {
        Err(Risc0Error::Refused { reason, .. }) => assert!(reason.contains(why), "{reason}"),
        other => panic!("{other:?}"),
    }
}

/// What a program says that builds on a proof which is not there.
pub const NO_PROOF: &str = "no receipt found to resolve assumption";
