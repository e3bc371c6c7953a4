//! Resources that share a slot: its leaf lists them in the order in which they came, natively as in the programs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use reprise_conformance::few_slots::FewSlots;
use reprise_conformance::fixture::{Fixture, pins, transaction};
use reprise_model::block::ChainBlock;
use reprise_model::cell::Cell;
use reprise_model::digest::ResourceId;
use reprise_model::journal::{Outcome, TransactionEffects};
use reprise_model::limits::{Limits, ProveApart};
use reprise_model::processor::{Processor, ResourceView};
use reprise_model::transaction::TransactionFacts;
use reprise_model::witness::Witness;
use reprise_node::oracle::Oracle;
use reprise_prover::backend::{Backend, Task};
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_scheduler::execution::Division;

/// Each byte of a message writes or deletes a resource. All are declared from the first on, and written from the last on.
struct Backwards;

/// The resource of a byte, and the value that the byte writes to it.
fn step(byte: u8) -> (ResourceId, Option<Vec<Cell>>) {
    let value = (byte < 128).then(|| vec![[u32::from(byte) + 1; 8]]);
    (ResourceId([byte % 16; 32]), value)
}

impl Processor for Backwards {
    fn declare(&self, message: &[u8], _: &TransactionFacts) -> Option<Vec<ResourceId>> {
        let mut declared: Vec<_> = message.iter().map(|byte| step(*byte).0).collect();
        declared.sort_unstable();
        declared.dedup();
        Some(declared)
    }

    fn execute(&self, message: &[u8], _: &TransactionFacts, _: &ResourceView<'_>) -> TransactionEffects {
        let writes = message.iter().rev().map(|byte| step(*byte)).collect();
        TransactionEffects { outcome: Outcome::SUCCESS, writes, exits: vec![] }
    }
}

/// What [`step`] deletes.
const DELETED: u8 = 128;

#[test]
fn the_order_of_a_workloads_writes_makes_no_difference_to_what_is_proved() {
    let messages: [&[u8]; 5] = [
        &[1, 2],
        &[3, 4, 5],
        // What is last takes the place of what is deleted; written again, a resource is last.
        &[DELETED + 1, 6],
        &[2, DELETED + 2],
        &[DELETED + 3, DELETED + 5, 1, 3],
    ];
    let division = Division { limits: Limits::NONE, apart: ProveApart::Never };
    let hasher = Arc::new(FewSlots(2));
    let mock = MockBackend::new(MockConfig::default(), hasher.clone(), Arc::new(Backwards));
    let mut fixture = Fixture::of(Arc::new(Backwards), hasher.clone(), mock.programs(), None, division);
    let mut oracle = Oracle::new(Arc::new(Backwards), hasher, pins(mock.programs()).rollup());
    for (block, message) in messages.iter().enumerate() {
        let accepted = vec![transaction(1, "anybody", 0, message.to_vec())];
        let scheduled = fixture.block(accepted.clone());
        let (metadata, root) = (scheduled.metadata.block, scheduled.root_after);
        let block_of =
            ChainBlock { metadata, accepted, lane_proof: None, settlements: vec![], claims: vec![] };
        assert_eq!(oracle.execute(&block_of), root, "{message:?}");
        let witness = Witness::Batch(fixture.batch_witness(block));
        let task = Task { claim: fixture.batch_claim(block), witness, assumptions: vec![] };
        mock.prove(&task).unwrap_or_else(|refused| panic!("{message:?}: {refused}"));
    }
}
