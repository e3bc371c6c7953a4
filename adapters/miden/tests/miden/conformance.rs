//! What every backend keeps, and the results that the recorded chain has under all of them.

use std::sync::Arc;

use reprise_conformance::fixture::{Fixture, account, fund, pay, transaction};
use reprise_conformance::suite::{self, ProofCase};
use reprise_ledger::Action;
use reprise_miden::Poseidon2;
use reprise_model::journal::Journal;
use reprise_model::witness::Witness;
use reprise_prover::backend::Backend;

use crate::world::backend;

#[test]
fn real_proofs_keep_what_every_backend_keeps() {
    let mut fixture = Fixture::new(Arc::new(Poseidon2), Backend::programs(backend()));
    let transfer = pay(Action::Transfer, 0, 60, account("bob"));
    fixture.block(vec![fund(1, account("alice"), 100), transaction(2, "alice", 0, transfer)]);
    suite::check(backend(), &ProofCase::of(&fixture, 0));
}

#[test]
fn the_recorded_chain_has_the_results_it_has_under_every_proof_system() {
    let fixture = Fixture::recorded(Arc::new(Poseidon2), Backend::programs(backend()));
    assert_eq!(fixture.listing(), include_str!("../../../../recordings/flip.results.txt"));

    // What is listed of a transaction is what its program commits.
    for (block, batch) in fixture.batches.iter().enumerate() {
        for (index, scheduled) in batch.transactions.iter().enumerate() {
            let witness = Witness::Transaction(fixture.transaction_witness(block, index));
            let committed = backend().execute(&witness, &[]).unwrap();
            assert_eq!(committed, scheduled.journal.digest(&Poseidon2), "block {block}, transaction {index}");
        }
    }
}
