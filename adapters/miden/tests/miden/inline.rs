//! Batches that execute their transactions themselves, against native execution, without proving.

use std::sync::Arc;

use reprise_conformance::fixture::{Fixture, account, fund, pay, transaction};
use reprise_ledger::Action;
use reprise_miden::{MidenBackend, Poseidon2};
use reprise_model::hash::Hasher;
use reprise_model::journal::Journal;
use reprise_model::limits::{Limits, ProveApart};
use reprise_model::transaction::LaneTransaction;
use reprise_model::witness::Witness;
use reprise_prover::backend::Backend;
use reprise_scheduler::execution::Division;

#[test]
fn runs_of_a_block_commit_what_they_do_natively() {
    let backend = MidenBackend::new().unwrap();
    let limits = Limits { transactions: 3, ..Limits::NONE };
    let division = Division { limits, apart: ProveApart::Never };
    let mut fixture = Fixture::proving(Arc::new(Poseidon2), Backend::programs(&backend), None, division);
    let (alice, bob) = (account("alice"), account("bob"));
    let long = LaneTransaction { payload: vec![1; 240_000], ..transaction(9, "mallory", 0, vec![]) };
    fixture.block(vec![
        fund(1, alice, 100),
        transaction(2, "alice", 0, pay(Action::Transfer, 0, 60, bob)),
        transaction(3, "mallory", 0, vec![1]),
        transaction(4, "bob", 0, pay(Action::Exit, 0, 7, account("out"))),
        transaction(5, "bob", 0, pay(Action::Exit, 0, 7, account("out"))),
        transaction(6, "carol", 40, vec![9; 100]),
        transaction(7, "carol", 0, vec![]),
        transaction(8, "bob", 0, pay(Action::Exit, 1, 53, account("out"))),
        long,
    ]);
    for index in 0..fixture.batches[0].batches.len() {
        let witness = fixture.batch_witness_at(0, index);
        let expected = fixture.span_at(0, index).journal.digest(&Poseidon2);
        assert_eq!(backend.execute(&Witness::Batch(witness), &[]).unwrap(), expected, "batch {index}");
    }
    let _ = Poseidon2.name();
}
