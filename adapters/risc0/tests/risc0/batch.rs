//! The batch program over transactions of the development mode: what it commits, what it refuses.

use std::collections::HashMap;
use std::sync::Arc;

use reprise_kaspa_lane::proof::LaneProof;
use reprise_ledger::{BAD_NONCE, OVERDRAFT};
use reprise_model::digest::Digest;
use reprise_model::journal::Journal;
use reprise_model::lane::{Step, WorkloadHasher};
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::state;
use reprise_model::statement::Kind;
use reprise_model::transaction::LaneTransaction;
use reprise_model::witness::{BatchWitness, Witness};
use reprise_risc0::{Risc0Error, Sha256};
use reprise_scheduler::tree::StateTree;

use crate::chain::{Chain, LAST};
use crate::fixture::{account, development, pins};

fn run(witness: BatchWitness, receipts: &[Verified<Receipt>]) -> Result<Vec<u8>, Risc0Error> {
    Ok(development().execute(&Witness::Batch(witness), receipts)?.journal)
}

/// The last block's witness, changed, over its receipts.
fn changed(change: impl FnOnce(&mut BatchWitness)) -> Result<Vec<u8>, Risc0Error> {
    let chain = Chain::get();
    let honest = chain.fixture.batch_witness(LAST);
    let mut witness = honest.clone();
    change(&mut witness);
    assert_ne!(witness, honest);
    run(witness, &chain.transactions[LAST])
}

#[track_caller]
fn assert_refused(result: Result<Vec<u8>, Risc0Error>, why: &str) {
    match result {
        Err(Risc0Error::Refused { reason, .. }) => assert!(reason.contains(why), "{reason}"),
        other => panic!("{other:?}"),
    }
}

/// It is a statement, but not the block's.
#[track_caller]
fn assert_other(result: Result<Vec<u8>, Risc0Error>) {
    assert_ne!(result.unwrap(), Chain::get().fixture.batch_journal(LAST).bytes());
}

const NO_PROOF: &str = "no receipt found to resolve assumption";
const STALE: &str = "does not hold the pre-image";

#[test]
fn a_block_commits_what_it_does_natively() {
    let chain = Chain::get();
    for (block, receipts) in chain.transactions.iter().enumerate() {
        let committed = run(chain.fixture.batch_witness(block), receipts).unwrap();
        assert_eq!(committed, chain.fixture.batch_journal(block).bytes());
    }
    // Receipts are found by their claims, wherever they lie and whatever lies beside them.
    let all: Vec<_> = chain.transactions.iter().rev().flatten().rev().cloned().collect();
    let committed = run(chain.fixture.batch_witness(LAST), &all).unwrap();
    assert_eq!(committed, chain.fixture.batch_journal(LAST).bytes());
}

#[test]
fn the_roots_and_tips_are_those_of_a_sequential_execution() {
    let fixture = &Chain::get().fixture;
    let mut tree = StateTree::empty(Arc::new(Sha256));
    let mut tip = Digest::ZERO;
    for (block, batch) in fixture.batches.iter().enumerate() {
        let journal = fixture.batch_journal(block).0;
        assert_eq!((journal.root_before, journal.tip_before), (tree.root(), tip));
        for (index, _) in batch.transactions.iter().enumerate() {
            let read = reprise_model::transaction::from_cells(
                &fixture.transaction_witness(block, index).transaction,
            );
            let read = read.unwrap();
            let declared = reprise_ledger::declare(&read.message, &read.facts.authority);
            let values: HashMap<_, _> = declared.iter().map(|id| (*id, tree.get(state::slot(id)))).collect();
            let value = |id: &reprise_model::digest::ResourceId| Ok(values[id].as_deref());
            let effects = reprise_ledger::execute(&read.message, &read.facts, value);
            for (resource, cells) in &effects.writes {
                tree = tree.with(state::slot(resource), cells);
            }
        }
        let witness = fixture.batch_witness(block);
        let accepted: Vec<_> =
            witness.transactions.iter().map(|(accepted, journal)| (accepted, journal.transaction)).collect();
        let step = Step {
            lane: &pins().lane,
            tip: &tip,
            parent_proof: witness.parent_proof.as_deref(),
            context: &batch.metadata.block.context(),
            accepted: &accepted,
        };
        tip = Sha256.lane().after(&Sha256, &step).unwrap();
        assert_eq!((journal.root_after, journal.tip_after), (tree.root(), tip));
    }
}

#[test]
fn a_transaction_is_neither_dropped_nor_inserted_nor_reordered() {
    assert_refused(changed(|witness| drop(witness.transactions.remove(0))), STALE);
    assert_other(changed(|witness| drop(witness.transactions.pop())));
    assert_refused(changed(|witness| witness.transactions.clear()), "a batch without transactions");
    let order = "does not rise above the one before it";
    assert_refused(changed(|witness| witness.transactions.swap(0, 1)), order);
    assert_refused(changed(|witness| witness.transactions[1].0.merge_index = 1), order);
    assert_refused(
        changed(|witness| {
            witness.transactions.swap(0, 1);
            witness.transactions[0].0.merge_index = 1;
            witness.transactions[1].0.merge_index = 4;
        }),
        STALE,
    );
    assert_refused(
        changed(|witness| {
            let mut again = witness.transactions[1].clone();
            again.0.merge_index = 5;
            witness.transactions.push(again);
        }),
        STALE,
    );
    // One without effects could stand anywhere in the state: the lane tip tells where it stood.
    let chain = Chain::get();
    let mut witness = chain.fixture.batch_witness(1);
    let mut receipts = chain.transactions[1].clone();
    let mut inserted = chain.fixture.batch_witness(2).transactions.remove(0);
    inserted.0.merge_index = 3;
    witness.transactions.push(inserted);
    receipts.extend(chain.transactions[2].iter().cloned());
    let committed = run(witness.clone(), &receipts).unwrap();
    assert_ne!(committed, chain.fixture.batch_journal(1).bytes());
    witness.transactions.pop();
    assert_eq!(run(witness, &receipts).unwrap(), chain.fixture.batch_journal(1).bytes());
}

#[test]
fn a_transaction_is_not_altered() {
    let alter: [fn(&mut BatchWitness); 6] = [
        |witness| witness.transactions[0].1.transaction.0[0] ^= 1,
        |witness| witness.transactions[0].1.accesses[0].after = Digest::ZERO,
        |witness| witness.transactions[0].1.accesses[1].resource.0[31] ^= 1,
        |witness| witness.transactions[1].1.exits[0].amount += 1,
        |witness| witness.transactions[1].1.exits.clear(),
        |witness| witness.transactions[0].1.accesses.swap(0, 1),
    ];
    for alter in alter {
        assert_refused(changed(alter), NO_PROOF);
    }
}

#[test]
fn a_false_failure_has_no_proof() {
    for outcome in [BAD_NONCE, OVERDRAFT] {
        let failed = changed(|witness| {
            let journal = &mut witness.transactions[1].1;
            journal.outcome = outcome;
            journal.exits.clear();
            journal.accesses[0].after = journal.accesses[0].before;
        });
        assert_refused(failed, NO_PROOF);
    }
}

#[test]
fn endpoints_context_and_pins_are_bound() {
    assert_other(changed(|witness| witness.context.daa_score += 1));
    assert_other(changed(|witness| witness.context.timestamp_ms += 1 << 32));
    assert_other(changed(|witness| witness.context.blue_score += 1));
    assert_other(changed(|witness| witness.transactions[1].0.merge_index = 5));
    assert_other(changed(|witness| witness.tip_before = Digest([1; 32])));
    assert_other(changed(|witness| witness.pins.lane = Digest([8; 32])));
    assert_other(changed(|witness| witness.pins.covenant = Digest([8; 32])));
    assert_other(changed(|witness| witness.pins.deposit = account("mine")));
    let aggregate = development().programs().id(Kind::Aggregate);
    assert_other(changed(|witness| witness.pins.batch_program = aggregate));
    assert_refused(changed(|witness| witness.pins.transaction_program = aggregate), NO_PROOF);
}

#[test]
fn a_transaction_is_what_the_l1_accepted() {
    let facts = "was proved with other facts than its bytes give";
    let alter: [fn(&mut LaneTransaction); 5] = [
        // The opening shows another output, or none.
        |accepted| accepted.payload[30] ^= 1,
        |accepted| accepted.payload[0] ^= 1,
        // The message.
        |accepted| *accepted.payload.last_mut().unwrap() ^= 1,
        // What it spends and pays.
        |accepted| accepted.rest[12] ^= 1,
        |accepted| accepted.version = 2,
    ];
    for alter in alter {
        assert_refused(changed(|witness| alter(&mut witness.transactions[0].0)), facts);
    }
    assert_refused(changed(|witness| witness.transactions[0].0 = witness.transactions[1].0.clone()), "");
    // What it deposits: Alice's credit is what the outputs pay to the deposit script, and to no other.
    let chain = Chain::get();
    let mut witness = chain.fixture.batch_witness(0);
    witness.pins.deposit = account("mine");
    assert_refused(run(witness, &chain.transactions[0]), facts);
}

#[test]
fn a_lane_begins_anew_only_where_it_has_no_entry() {
    let chain = Chain::get();
    let first = chain.fixture.batch_witness(0);
    assert_eq!(first.tip_before, Digest::ZERO);
    let with = |parent_proof: Option<Vec<u8>>| {
        run(BatchWitness { parent_proof, ..first.clone() }, &chain.transactions[0])
    };
    let honest = with(first.parent_proof.clone()).unwrap();
    assert_eq!(honest, chain.fixture.batch_journal(0).bytes());
    assert_refused(with(None), "the L1's lane proof is missing");
    assert_refused(with(Some(vec![1; 70])), "the lane proof cannot be read");
    let present = chain.fixture.aggregate_witness(&[0]).lane_proof;
    assert_refused(with(present), "but the lane is said to have none");
    // Another parent's absence is another beginning.
    let mut other = LaneProof::decode(first.parent_proof.as_ref().unwrap()).unwrap();
    other.parent_commitment.0[0] ^= 1;
    assert_ne!(with(Some(other.encode())).unwrap(), honest);
    // Where it has an entry it goes on from there.
    assert_refused(changed(|witness| witness.tip_before = Digest::ZERO), "the L1's lane proof is missing");
}

#[test]
fn another_state_has_no_path() {
    let stale = Chain::get().fixture.batch_witness(1);
    let root = "the openings are not of the state root before";
    assert_refused(changed(|witness| witness.root_before = stale.root_before), root);
    let replaced = |witness: &mut BatchWitness| {
        (witness.root_before, witness.paths) = (stale.root_before, stale.paths.clone());
    };
    assert_refused(changed(replaced), STALE);
    assert_refused(changed(|witness| witness.paths.truncate(1)), "is not opened by the witness");
    assert_refused(changed(|witness| witness.paths.reverse()), "");
    assert_refused(changed(|witness| witness.paths[0].siblings.truncate(62)), root);
    assert_refused(changed(|witness| witness.paths[0].siblings[40] = Digest([1; 32])), root);
    assert_refused(changed(|witness| witness.paths[0].leaf = Digest([1; 32])), STALE);
}

#[test]
fn an_inner_proof_that_is_missing_is_refused() {
    let chain = Chain::get();
    let witness = chain.fixture.batch_witness(LAST);
    let receipts = &chain.transactions[LAST];
    assert_refused(run(witness.clone(), &receipts[..1]), NO_PROOF);
    assert_refused(run(witness.clone(), &[]), NO_PROOF);
    // Bytes that are no receipt are an error, never a panic.
    let mut broken = receipts[1].clone().into_inner();
    broken.seal.truncate(9);
    let mark = reprise_model::receipt::VerifiedMark { checksum: broken.checksum(), at_ms: 0 };
    let broken = Verified::recall(broken, &mark).unwrap();
    let result = run(witness, &[receipts[0].clone(), broken]);
    assert!(matches!(result, Err(Risc0Error::Assumption { assumption: 1, .. })), "{result:?}");
}
