//! The mock keeps what every backend keeps, and the recorded chain has the results that it has everywhere.

#[cfg(test)]
mod limits;
#[cfg(test)]
mod programs;

use std::sync::Arc;

use reprise_conformance::fixture::Fixture;
use reprise_conformance::suite::{self, ProofCase};
use reprise_ledger::Ledger;
use reprise_model::hash::Blake3;
use reprise_prover::backend::Backend;
use reprise_prover::mock::{MockBackend, MockConfig};

fn mock() -> MockBackend {
    MockBackend::new(MockConfig::default(), Arc::new(Blake3), Arc::new(Ledger))
}

#[test]
fn the_mock_keeps_what_every_backend_keeps() {
    let mock = mock();
    suite::check(&mock, &ProofCase::new(Arc::new(Blake3), mock.programs(), None));
}

#[test]
fn the_recorded_chain_has_the_results_it_has_under_every_proof_system() {
    let fixture = Fixture::recorded(Arc::new(Blake3), mock().programs());
    let (found, golden) = (fixture.listing(), include_str!("../../../../recordings/flip.results.txt"));
    assert_eq!(found, golden, "where the recording was made anew, put these into its results:\n{found}");
}
