//! What passes for a proof, and what does not, where nothing has to be proved for it.

use std::process::Command;

use reprise_model::profile::SealKind;
use reprise_model::receipt::{RealReceipt, Receipt, Verified, Verifier, VerifyError};
use reprise_model::statement::ClaimScheme;
use reprise_model::witness::Witness;
use reprise_prover::backend::{Backend, ProveError, Task};
use reprise_risc0::recursion::{self, RecursionPrograms};
use reprise_risc0::{LEDGER, Risc0Backend, Risc0Error};
use risc0_circuit_recursion::control_id::POSEIDON2_CONTROL_IDS;
use risc0_circuit_recursion::prove::zkr;
use risc0_zkp::core::hash::poseidon2::Poseidon2HashSuite;
use risc0_zkvm::sha::Digestible;
use risc0_zkvm::{Digest, MaybePruned, RECURSION_PO2, ReceiptClaim};

use crate::chain::Chain;
use crate::fixture::development;

const REAL: [SealKind; 3] = [SealKind::Composite, SealKind::Succinct, SealKind::Groth16];

#[test]
fn a_statement_is_the_whole_receipt_claim_under_its_profile() {
    let claim = Chain::get().fixture.batch_claim(1);
    let program = Digest::from(claim.program.0);
    let stated = ReceiptClaim::ok(program, MaybePruned::Value(claim.journal.clone()));
    assert_eq!(stated.exit_code, risc0_zkvm::ExitCode::Halted(0));
    let mut ids: Vec<_> = [SealKind::Fake, SealKind::Composite, SealKind::Succinct, SealKind::Groth16]
        .into_iter()
        .map(|seal| {
            let backend = Risc0Backend::new(seal, &LEDGER).unwrap();
            assert_eq!(backend.claim_digest(&claim).0, <[u8; 32]>::from(stated.digest()));
            backend.statement(&claim).id()
        })
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[test]
fn a_fake_receipt_never_verifies_as_real() {
    let fake = &Chain::get().batches[1];
    assert_eq!(development().verify(fake), Ok(()));
    assert!(RealReceipt::try_from(fake.clone()).is_err());
    for seal in REAL {
        let real = Risc0Backend::new(seal, &LEDGER).unwrap();
        assert!(matches!(real.verify(fake), Err(VerifyError::ForeignProfile { .. })));
        // Dressed as a real one in all but its seal.
        let statement = real.statement(&fake.claim);
        let dressed = Receipt { statement, seal_kind: seal, ..fake.clone().into_inner() };
        assert!(matches!(real.verify(&dressed), Err(VerifyError::BadSeal { .. })), "{seal}");
        // Nor does a real program's proof build on it.
        let mark = reprise_model::receipt::VerifiedMark { checksum: dressed.checksum(), at_ms: 0 };
        let dressed = Verified::recall(dressed, &mark).unwrap();
        let witness = Witness::Aggregate(Chain::get().fixture.aggregate_witness(&[1]));
        let built = real.execute(&witness, &[dressed]);
        assert!(matches!(built, Err(Risc0Error::Assumption { .. })), "{built:?}");
    }
}

#[test]
fn the_environment_has_no_say() {
    let this = std::env::current_exe().unwrap();
    let again = Command::new(this)
        .env("RISC0_DEV_MODE", "1")
        .args(["--exact", "seals::a_fake_receipt_never_verifies_as_real"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&again.stdout);
    assert!(again.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn a_fake_receipt_with_another_claim_or_seal_is_refused() {
    let honest = Chain::get().batches[1].clone().into_inner();
    let verify = |receipt: &Receipt| development().verify(receipt);
    let other = &Chain::get().batches[2];
    let mut receipt = Receipt { claim: other.claim.clone(), ..honest.clone() };
    assert!(matches!(verify(&receipt), Err(VerifyError::ClaimMismatch { .. })));
    receipt.statement = other.statement;
    assert!(matches!(verify(&receipt), Err(VerifyError::BadSeal { .. })));
    for length in 0..honest.seal.len() {
        let receipt = Receipt { seal: honest.seal[..length].to_vec(), ..honest.clone() };
        assert!(matches!(verify(&receipt), Err(VerifyError::BadSeal { .. })));
    }
    let receipt = Receipt { seal: [&honest.seal[..], &[0]].concat(), ..honest.clone() };
    assert!(matches!(verify(&receipt), Err(VerifyError::BadSeal { .. })));
    let receipt = Receipt { seal: vec![255; honest.seal.len()], ..honest };
    assert!(matches!(verify(&receipt), Err(VerifyError::BadSeal { .. })));
}

#[test]
fn a_divergence_and_a_foreign_program_are_found_before_proving() {
    let chain = Chain::get();
    let real = Risc0Backend::new(SealKind::Composite, &LEDGER).unwrap();
    let witness = Witness::Transaction(chain.fixture.transaction_witness(1, 0));
    let prove = |claim| {
        let task = Task { claim, witness: witness.clone(), assumptions: vec![] };
        Backend::prove(&real, &task).map(|_| ())
    };
    let divergence = prove(chain.fixture.transaction_claim(2, 0));
    assert!(matches!(divergence, Err(ProveError::Divergence { .. })), "{divergence:?}");
    let foreign = prove(chain.fixture.batch_claim(1));
    assert!(matches!(foreign, Err(ProveError::Unprovable { .. })), "{foreign:?}");
    assert_eq!(real.prove_calls(), 2);
}

#[test]
fn what_this_build_cannot_make_it_refuses_by_what_is_missing() {
    recursion::can_make(SealKind::Composite).unwrap();
    let fixture = &Chain::get().fixture;
    let witness = Witness::Transaction(fixture.transaction_witness(2, 0));
    for seal in [SealKind::Succinct, SealKind::Groth16] {
        let Err(missing) = recursion::can_make(seal) else { continue };
        let refused =
            Risc0Backend::new(seal, &LEDGER).unwrap().prove(&fixture.transaction_claim(2, 0), &witness, &[]);
        assert_eq!(refused.unwrap_err(), Risc0Error::Seal { seal, missing });
    }
}

#[test]
fn every_recursion_program_of_this_build_has_the_control_id_that_the_verifier_pins() {
    // Those that a prover asks for.
    let lifts = (14..=24).map(|po2| format!("lift_rv32im_v2_{po2}.zkr"));
    let needed = ["identity.zkr", "join.zkr", "resolve.zkr", "union.zkr"].map(str::to_owned).into_iter();
    for name in needed.chain(lifts) {
        match (recursion::programs(), zkr::get_zkr(&name, RECURSION_PO2)) {
            (RecursionPrograms::Absent, Err(_)) => {}
            (RecursionPrograms::Present { .. }, Ok(program)) => {
                let (_, pinned) = POSEIDON2_CONTROL_IDS.iter().find(|(pinned, _)| *pinned == name).unwrap();
                let computed = program.compute_control_id(Poseidon2HashSuite::new_suite()).unwrap();
                assert_eq!(computed, *pinned, "{name}");
            }
            (programs, found) => panic!("{name}: {programs}, but {:?}", found.err()),
        }
    }
}
