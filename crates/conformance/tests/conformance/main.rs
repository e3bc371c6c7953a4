//! The mock keeps what every backend keeps, and the recorded chain has the results that it has everywhere.

use std::sync::Arc;

use reprise_conformance::fixture::{Fixture, account, fund, pay, transaction};
use reprise_conformance::suite::{self, ProofCase};
use reprise_ledger::Action;
use reprise_model::hash::Blake3;
use reprise_prover::backend::Backend;
use reprise_prover::mock::{MockBackend, MockConfig};

fn mock() -> MockBackend {
    MockBackend::new(MockConfig::default(), Arc::new(Blake3), Arc::new(Ledger))
}

#[test]
fn the_mock_keeps_what_every_backend_keeps() {
    let mock = mock();
    let mut fixture = Fixture::new(Arc::new(Blake3), mock.programs());
    let transfer = pay(Action::Transfer, 0, 60, account("bob"));
    fixture.block(vec![fund(1, account("alice"), 100), transaction(2, "alice", 0, transfer)]);
    suite::check(&mock, &ProofCase::of(&fixture, 0));
}

#[test]
fn the_recorded_chain_has_the_results_it_has_under_every_proof_system() {
    let fixture = Fixture::recorded(Arc::new(Blake3), mock().programs());
    let (found, golden) = (fixture.listing(), include_str!("../../../../recordings/flip.results.txt"));
    assert_eq!(found, golden, "where the recording was made anew, put these into its results:\n{found}");
}
