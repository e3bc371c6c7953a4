//! The batch program over transactions of the development mode: what it commits, what it refuses.

use std::sync::Arc;

use reprise_kaspa_lane::proof::{LaneEntry, LaneProof};
use reprise_ledger::{Action, BAD_NONCE, EXPIRED, Ledger, OVERDRAFT};
use reprise_model::cell::Cell;
use reprise_model::context::BlockContext;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::journal::{Journal, SpanJournal, TransactionJournal};
use reprise_model::lane;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::statement::{Claim, Kind};
use reprise_model::transaction::{self, LaneTransaction, ShownBytes, ShownTransaction};
use reprise_model::witness::{AggregateEnd, BatchWitness, Handling, TransactionWitness, Witness};
use reprise_model::{processor, program};
use reprise_risc0::{Risc0Error, Sha256};
use reprise_scheduler::tree::StateTree;

use crate::chain::{Chain, LAST};
use crate::fixture::{
    NO_PROOF, account, assert_refused, development, fixture, fund, list, pins, prove, transaction,
};

/// What the program commits. It refuses what the same function refuses natively, in its words or because a proof is missing, and
/// commits nothing else.
pub fn run(witness: BatchWitness, receipts: &[Verified<Receipt>]) -> Result<Vec<u8>, Risc0Error> {
    let native = program::batch(&Sha256, &Ledger, &witness);
    let result = development().execute(&Witness::Batch(witness), receipts).map(|done| done.journal);
    match (&native, &result) {
        (Ok(native), Ok(committed)) => assert_eq!(*committed, native.bytes()),
        (_, Err(Risc0Error::Refused { reason, .. })) if reason.contains(NO_PROOF) => {}
        (Err(refusal), Err(Risc0Error::Refused { reason, .. })) => {
            assert!(reason.contains(&refusal.to_string()), "{reason}, and natively {refusal}");
        }
        (_, Err(Risc0Error::Assumption { .. })) => {}
        _ => panic!("natively {native:?}, and the program {result:?}"),
    }
    result
}

fn journal(block: usize) -> SpanJournal {
    Chain::get().fixture.span(block).journal
}

/// The journal of a transaction that is proved apart.
fn apart(witness: &mut BatchWitness, at: usize) -> &mut TransactionJournal {
    match &mut witness.transactions[at].1 {
        Handling::Apart(journal) => journal,
        other => panic!("{other:?}"),
    }
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

/// It is a statement, but not the block's.
#[track_caller]
fn assert_other(result: Result<Vec<u8>, Risc0Error>) {
    assert_ne!(result.unwrap(), journal(LAST).bytes());
}

const STALE: &str = "does not hold the value that a transaction was executed over";

#[test]
fn a_block_commits_what_it_does_natively() {
    let chain = Chain::get();
    for (block, receipts) in chain.transactions.iter().enumerate() {
        let committed = run(chain.fixture.batch_witness(block), receipts).unwrap();
        assert_eq!(committed, journal(block).bytes());
    }
    // Receipts are found by their claims, wherever they lie and whatever lies beside them.
    let all: Vec<_> = chain.transactions.iter().rev().flatten().rev().cloned().collect();
    let committed = run(chain.fixture.batch_witness(LAST), &all).unwrap();
    assert_eq!(committed, journal(LAST).bytes());
}

#[test]
fn the_roots_and_tips_are_those_of_a_sequential_execution() {
    let fixture = &Chain::get().fixture;
    let mut tree = StateTree::empty(Arc::new(Sha256));
    let mut tip = Digest::ZERO;
    for (block, batch) in fixture.batches.iter().enumerate() {
        let transition = journal(block).transition;
        assert_eq!((transition.root_before, transition.tip_before), (tree.root(), tip));
        let witness = fixture.batch_witness(block);
        let mut accepted = vec![];
        for (index, (shown, _)) in witness.transactions.iter().enumerate() {
            let read =
                transaction::from_cells(&fixture.transaction_witness(block, index).transaction).unwrap();
            let shown = shown.read(&Sha256, &pins().rollup()).unwrap();
            assert_eq!(shown.read.as_ref(), Some(&read));
            accepted.push(shown.accepted);
            let declared = batch.transactions[index].journal.accesses.iter().map(|access| access.resource);
            let values: Vec<(ResourceId, Option<Arc<[Cell]>>)> =
                declared.map(|id| (id, tree.get(&id))).collect();
            let before: Vec<_> = values.iter().map(|(id, value)| (*id, value.as_deref())).collect();
            let effects = processor::execute(
                &Ledger,
                &read.message,
                &read.facts,
                &before,
                batch.transactions[index].journal.context,
            );
            tree = tree.after(&effects.writes);
        }
        let before = (&tip, witness.reopening.as_deref());
        let context = batch.metadata.block.context();
        tip = lane::after(&Sha256, &pins().lane, before, context, &accepted).unwrap();
        assert_eq!((transition.root_after, transition.tip_after), (tree.root(), tip));
    }
}

#[test]
fn a_transaction_that_asks_for_its_blocks_context_is_proved_in_no_other() {
    let mut fixture = fixture();
    fixture.block(vec![fund(1, account("alice"), 9)]);
    let context = fixture.next_context();
    let late = list(0, context.daa_score - 1, &[(Action::Transfer, 5, account("bob"))]);
    fixture.block(vec![transaction(1, "alice", 0, late)]);
    let own = fixture.batches[1].transactions[0].journal.clone();
    assert_eq!((own.outcome, own.context), (EXPIRED, Some(context)));
    let honest = fixture.transaction_witness(1, 0);
    let proved = |witness: TransactionWitness| {
        let journal = program::transaction(&Sha256, &Ledger, &witness).unwrap();
        let claim = Claim { program: pins().transaction_program, journal: journal.bytes() };
        (journal, prove(development(), &claim, Witness::Transaction(witness), &[]))
    };
    let over = |(journal, receipt): (TransactionJournal, Verified<Receipt>)| {
        let mut witness = fixture.batch_witness(1);
        witness.transactions[0].1 = Handling::Apart(journal);
        run(witness, &[receipt])
    };
    assert_eq!(over(proved(honest.clone())).unwrap(), fixture.span(1).journal.bytes());
    // In an earlier block it would have taken effect, which is proved, of that.
    let others: [fn(&mut BlockContext); 3] = [
        |context| context.daa_score -= 1,
        |context| context.timestamp_ms += 1,
        |context| context.blue_score += 1,
    ];
    for change in others {
        let mut other = context;
        change(&mut other);
        let forged = proved(TransactionWitness { context: Some(other), ..honest.clone() });
        assert_eq!(forged.0.outcome.is_success(), other.daa_score < context.daa_score);
        assert_refused(over(forged), "was proved in another context than its block's");
    }
    let without = Witness::Transaction(TransactionWitness { context: None, ..honest });
    let refused = development().execute(&without, &[]).map(|done| done.journal);
    assert_refused(refused, "asks for the context of its block");
}

#[test]
fn a_transaction_is_neither_dropped_nor_inserted_nor_reordered() {
    assert_refused(changed(|witness| drop(witness.transactions.remove(0))), STALE);
    assert_other(changed(|witness| drop(witness.transactions.pop())));
    assert_refused(changed(|witness| witness.transactions.clear()), "a batch without transactions");
    let order = "does not rise above the one before it";
    assert_refused(changed(|witness| witness.transactions.swap(0, 1)), STALE);
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
    assert_ne!(committed, journal(1).bytes());
    witness.transactions.pop();
    assert_eq!(run(witness, &receipts).unwrap(), journal(1).bytes());
}

#[test]
fn a_transaction_is_not_altered() {
    let alter: [fn(&mut BatchWitness); 6] = [
        |witness| apart(witness, 0).transaction.0[0] ^= 1,
        |witness| apart(witness, 0).accesses[0].after = Digest::ZERO,
        |witness| apart(witness, 0).accesses[1].resource.0[31] ^= 1,
        |witness| apart(witness, 1).exits[0].amount += 1,
        |witness| apart(witness, 1).exits.clear(),
        |witness| apart(witness, 0).accesses.swap(0, 1),
    ];
    for alter in alter {
        assert_refused(changed(alter), NO_PROOF);
    }
}

#[test]
fn a_false_failure_has_no_proof() {
    for outcome in [BAD_NONCE, OVERDRAFT] {
        let failed = changed(|witness| {
            let journal = apart(witness, 1);
            journal.outcome = outcome;
            journal.exits.clear();
            journal.accesses[0].after = journal.accesses[0].before;
        });
        assert_refused(failed, NO_PROOF);
    }
}

#[test]
fn endpoints_context_and_pins_are_bound() {
    assert_other(changed(|witness| witness.block.context.daa_score += 1));
    assert_other(changed(|witness| witness.block.context.timestamp_ms += 1 << 32));
    assert_other(changed(|witness| witness.block.context.blue_score += 1));
    assert_other(changed(|witness| witness.transactions[1].0.merge_index = 5));
    assert_other(changed(|witness| witness.tip_before = Digest([1; 32])));
    assert_other(changed(|witness| witness.pins.lane = Digest([8; 32])));
    // For another rollup the messages are empty.
    assert_refused(
        changed(|witness| witness.pins.covenant = Digest([8; 32])),
        "other facts than its bytes give",
    );
    assert_other(changed(|witness| witness.pins.deposit = account("mine")));
    let aggregate = development().programs().id(Kind::Aggregate);
    assert_other(changed(|witness| witness.pins.batch_program = aggregate));
    assert_refused(changed(|witness| witness.pins.transaction_program = aggregate), NO_PROOF);
}

fn whole(shown: &ShownTransaction) -> LaneTransaction {
    let ShownTransaction { merge_index, version, rest, payload } = shown.clone();
    match (rest, payload) {
        (ShownBytes::Whole(rest), ShownBytes::Whole(payload)) => {
            LaneTransaction { merge_index, version, rest, payload }
        }
        other => panic!("{other:?}"),
    }
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
        let altered = changed(|witness| {
            let mut accepted = whole(&witness.transactions[0].0);
            alter(&mut accepted);
            witness.transactions[0].0 = ShownTransaction::from(&accepted);
        });
        assert_refused(altered, facts);
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
    let with =
        |reopening: Option<Vec<u8>>| run(BatchWitness { reopening, ..first.clone() }, &chain.transactions[0]);
    let honest = with(first.reopening.clone()).unwrap();
    assert_eq!(honest, journal(0).bytes());
    assert_refused(with(None), "the L1's lane proof is missing");
    assert_refused(with(Some(vec![1; 70])), "the lane proof cannot be read");
    let AggregateEnd::Settle { lane_proof } = chain.fixture.aggregate_witness(&[0]).end else { panic!() };
    assert_refused(with(lane_proof), "the lane proof has the tip");
    // Another parent's absence is another beginning.
    let mut other = LaneProof::decode(first.reopening.as_ref().unwrap()).unwrap();
    other.parent_commitment.0[0] ^= 1;
    assert_ne!(with(Some(other.encode())).unwrap(), honest);
    // Where it has an entry it goes on from there.
    assert_refused(changed(|witness| witness.tip_before = Digest::ZERO), "the L1's lane proof is missing");
}

/// The lane proofs of a parent in which a lane with this tip has been silent for so many windows, the parent's first.
fn silence(tip: Digest, windows: usize) -> Vec<LaneProof> {
    let mut proof = LaneProof {
        lane: Some(LaneEntry { tip, blue_score: 7 }),
        merkle_proof: [&[0xff; 32][..], &[0]].concat(),
        inactivity_shortcut: Digest([1; 32]),
        payload_and_context_digest: Digest([2; 32]),
        parent_commitment: Digest([3; 32]),
    };
    let mut proofs = vec![proof.clone()];
    for _ in 0..windows {
        let inactivity_shortcut = proof.commitment(&pins().lane).unwrap();
        proof = LaneProof { lane: None, inactivity_shortcut, ..proof };
        proofs.insert(0, proof.clone());
    }
    proofs
}

#[test]
fn a_lane_goes_on_over_a_silence_that_its_proofs_lead_back_through_and_over_no_other() {
    let tip = Chain::get().fixture.batch_witness(LAST).tip_before;
    let over = |proofs: &[LaneProof]| {
        let bytes = proofs.iter().flat_map(LaneProof::encode).collect();
        changed(|witness| witness.reopening = Some(bytes))
    };
    for windows in 0..=3 {
        // It is a statement, and the one of a block that began the lane anew.
        assert_other(over(&silence(tip, windows)));
    }
    let honest = silence(tip, 3);
    let tips = "the lane proof has the tip";
    assert_refused(over(&honest[..3]), tips);
    assert_refused(over(&[&honest[..1], &honest[2..]].concat()), "but the shortcut before it names");
    assert_refused(over(&silence(Digest([9; 32]), 1)), tips);
    let mut past = silence(tip, 1);
    past.insert(0, silence(Digest([9; 32]), 0)[0].clone());
    assert_refused(over(&past), tips);
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
    assert_refused(changed(|witness| witness.paths[0].entries[0].value = Digest([1; 32])), STALE);
    assert_refused(changed(|witness| witness.paths[0].entries[0].resource = account("mine")), STALE);
    assert_refused(changed(|witness| witness.paths[0].entries.clear()), STALE);
    assert_refused(changed(|witness| witness.paths[0].slot ^= 1 << 20), "is not opened by the witness");
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
