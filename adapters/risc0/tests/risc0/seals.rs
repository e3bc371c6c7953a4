//! What passes for a proof, and what does not, where nothing has to be proved for it.

use std::process::Command;

use reprise_model::profile::SealKind;
use reprise_model::receipt::{RealReceipt, Receipt, Verified, Verifier, VerifyError};
use reprise_model::statement::ClaimScheme;
use reprise_model::witness::Witness;
use reprise_prover::backend::{Backend, ProveError, Task};
use reprise_risc0::recursion::{self, RecursionPrograms};
use reprise_risc0::{Risc0Backend, Risc0Error};
use risc0_zkvm::sha::Digestible;
use risc0_zkvm::{Digest, MaybePruned, ReceiptClaim};

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
            let backend = Risc0Backend::new(seal).unwrap();
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
        let real = Risc0Backend::new(seal).unwrap();
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
    let real = Risc0Backend::new(SealKind::Composite).unwrap();
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
fn what_this_build_cannot_make_it_says() {
    let programs = recursion::programs();
    assert!(programs.make(SealKind::Composite));
    let succinct = Risc0Backend::new(SealKind::Succinct).unwrap();
    let fixture = &Chain::get().fixture;
    let witness = Witness::Transaction(fixture.transaction_witness(2, 0));
    if programs == RecursionPrograms::Absent {
        let refused = succinct.prove(&fixture.transaction_claim(2, 0), &witness, &[]);
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("RECURSION_SRC_PATH"), "{said}");
    }
}
