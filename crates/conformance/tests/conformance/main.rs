//! The mock keeps what every backend keeps, and the recorded chain has the results that it has everywhere.

#[cfg(test)]
mod context;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod programs;

use std::collections::BTreeSet;
use std::sync::Arc;

use reprise_conformance::fixture::Fixture;
use reprise_conformance::generated::Compared;
use reprise_conformance::suite::{self, ProofCase};
use reprise_ledger::{BAD_NONCE, EXPIRED, Ledger, OVERDRAFT, OVERFLOW};
use reprise_model::hash::Blake3;
use reprise_model::journal::{Journal, Outcome};
use reprise_model::program;
use reprise_model::witness::Witness;
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
fn the_programs_in_rust_commit_what_native_execution_says_of_generated_blocks() {
    let agrees = |witness: &Witness, expected: Option<&dyn Journal>| {
        let committed = match witness {
            Witness::Transaction(witness) => {
                program::transaction(&Blake3, &Ledger, witness).map(|journal| journal.bytes())
            }
            Witness::Batch(witness) => {
                program::batch(&Blake3, &Ledger, witness).map(|journal| journal.bytes())
            }
            Witness::Aggregate(_) => panic!("none is made"),
        };
        assert_eq!(committed.ok(), expected.map(|journal| journal.bytes()));
    };
    let programs = mock().programs();
    let compared = Compared { hasher: Arc::new(Blake3), programs, prover: None, agrees: &agrees };
    let mut outcomes = BTreeSet::new();
    for (seed, price) in [(1, 0), (2, 3), (3, 1 << 20), (4, u32::MAX)] {
        outcomes.extend(compared.check(seed, 500, price).into_keys());
    }
    for outcome in [
        Outcome::SUCCESS,
        Outcome::MALFORMED,
        Outcome::TOO_LONG,
        Outcome::UNDERPAID,
        BAD_NONCE,
        OVERDRAFT,
        OVERFLOW,
        EXPIRED,
    ] {
        assert!(outcomes.contains(&outcome), "{outcome:?} is not drawn: {outcomes:?}");
    }
}

#[test]
fn the_recorded_chain_has_the_results_it_has_under_every_proof_system() {
    let fixture = Fixture::recorded(Arc::new(Blake3), mock().programs());
    let (found, golden) = (fixture.listing(), include_str!("../../../../recordings/flip.results.txt"));
    assert_eq!(found, golden, "where the recording was made anew, put these into its results:\n{found}");
}
