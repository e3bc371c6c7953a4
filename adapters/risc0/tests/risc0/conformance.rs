//! What every backend keeps, and the results that the recorded chain has under all of them.

use std::sync::Arc;

use reprise_conformance::fixture::Fixture;
use reprise_conformance::suite::{self, ProofCase};
use reprise_model::profile::SealKind;
use reprise_model::scheduled::ProvedBy;
use reprise_model::witness::Witness;
use reprise_prover::backend::Backend;
use reprise_risc0::{LEDGER, Risc0Backend, Sha256};

use crate::fixture::{development, lanes, prove};

fn case() -> ProofCase {
    ProofCase::new(Arc::new(Sha256), Backend::programs(development()), Some(lanes))
}

#[test]
fn the_programs_without_proofs_keep_what_every_backend_keeps() {
    suite::check(development(), &case());
}

#[test]
#[ignore = "five real proofs: an hour of CPU"]
fn composite_proofs_keep_what_every_backend_keeps() {
    let composite = Risc0Backend::new(SealKind::Composite, &LEDGER).unwrap();
    suite::check(&composite, &case());
}

#[test]
fn the_recorded_chain_has_the_results_it_has_under_every_proof_system() {
    let fixture = Fixture::recorded(Arc::new(Sha256), Backend::programs(development()));
    assert_eq!(fixture.listing(), include_str!("../../../../recordings/flip.results.txt"));

    // What is listed is what the programs commit: each diverges from any other journal.
    let full = |block: &usize| !fixture.batches[*block].batches.is_empty();
    for block in (0..fixture.batches.len()).filter(full) {
        let transactions = &fixture.batches[block].transactions;
        let receipts: Vec<_> = (0..transactions.len())
            .filter(|index| transactions[*index].proved_by == ProvedBy::Itself)
            .map(|index| {
                let witness = Witness::Transaction(fixture.transaction_witness(block, index));
                prove(development(), &fixture.transaction_claim(block, index), witness, &[])
            })
            .collect();
        let witness = Witness::Batch(fixture.batch_witness(block));
        let batch = prove(development(), &fixture.batch_claim(block), witness, &receipts);
        let witness = Witness::Aggregate(fixture.aggregate_witness(&[block]));
        prove(development(), &fixture.aggregate_claim(&[block]), witness, &[batch]);
    }
}
