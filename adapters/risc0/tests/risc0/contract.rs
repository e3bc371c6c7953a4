//! What every backend keeps, and the results that the recorded chain has under all of them.

use std::sync::Arc;

use reprise_contract::suite::{self, Subject};
use reprise_contract::town::Town;
use reprise_model::profile::SealKind;
use reprise_model::witness::Witness;
use reprise_prover::backend::Backend;
use reprise_risc0::{Risc0Backend, Sha256};

use crate::chain::{Chain, LAST};
use crate::town::{development, prove};

#[test]
fn the_programs_without_proofs_keep_what_every_backend_keeps() {
    suite::check(development(), &Subject::of(&Chain::get().town, LAST));
}

#[test]
#[ignore = "four real proofs: half an hour of CPU"]
fn composite_proofs_keep_what_every_backend_keeps() {
    let composite = Risc0Backend::new(SealKind::Composite).unwrap();
    suite::check(&composite, &Subject::of(&Chain::get().town, LAST));
}

#[test]
fn the_recorded_chain_has_the_results_it_has_under_every_proof_system() {
    let town = Town::recorded(Arc::new(Sha256), Backend::programs(development()));
    assert_eq!(town.listing(), include_str!("../../../../recordings/flip.results.txt"));

    // What is listed is what the programs commit: each diverges from any other journal.
    let full = |block: &usize| town.batches[*block].journal.is_some();
    for block in (0..town.batches.len()).filter(full) {
        let receipts: Vec<_> = (0..town.batches[block].transactions.len())
            .map(|index| {
                let witness = Witness::Transaction(town.transaction_witness(block, index));
                prove(development(), &town.transaction_claim(block, index), witness, &[])
            })
            .collect();
        let witness = Witness::Batch(town.batch_witness(block));
        let batch = prove(development(), &town.batch_claim(block), witness, &receipts);
        let witness = Witness::Aggregate(town.aggregate_witness(&[block]));
        prove(development(), &town.aggregate_claim(&[block]), witness, &[batch]);
    }
}
