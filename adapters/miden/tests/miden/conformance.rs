//! What every backend keeps, and the results that the recorded chain has under all of them.

use std::sync::Arc;

use reprise_conformance::fixture::Fixture;
use reprise_conformance::suite::{self, ProofCase};
use reprise_miden::Poseidon2;
use reprise_model::journal::Journal;
use reprise_model::scheduled::ProvedBy;
use reprise_model::witness::{Handling, Witness};

use crate::world::{assert_refused, backend, ids, run_batch};

#[test]
fn real_proofs_keep_what_every_backend_keeps() {
    suite::check(backend(), &ProofCase::new(Arc::new(Poseidon2), ids(), None));
}

#[test]
fn the_recorded_chain_has_the_results_it_has_under_every_proof_system() {
    let fixture = Fixture::recorded(Arc::new(Poseidon2), ids());
    assert_eq!(fixture.listing(), include_str!("../../../../recordings/flip.results.txt"));

    // What is listed of a transaction is what its program commits, and what a batch commits that executes it.
    for (at, block) in fixture.batches.iter().enumerate() {
        let mut values = vec![];
        for (index, scheduled) in block.transactions.iter().enumerate() {
            let witness = fixture.transaction_witness(at, index);
            values.push(witness.before.clone());
            let committed = backend().execute(&Witness::Transaction(witness), &[]);
            match scheduled.proved_by {
                ProvedBy::Disposal => assert_refused(committed, "the transaction is none of the workload's"),
                _ => assert_eq!(committed, Ok(scheduled.journal.digest(&Poseidon2)), "block {at}, {index}"),
            }
        }
        for index in 0..block.batches.len() {
            let mut witness = fixture.batch_witness_at(at, index);
            let range = block.batches[index].range();
            for ((_, handling), values) in witness.transactions.iter_mut().zip(&values[range]) {
                if matches!(handling, Handling::Apart(_)) {
                    *handling = Handling::Inline(values.clone());
                }
            }
            let expected = fixture.span_at(at, index).journal.digest(&Poseidon2);
            assert_eq!(run_batch(&witness, &[]), Ok(expected), "block {at}");
        }
    }
}
