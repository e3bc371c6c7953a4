//! Blocks divided into batches that execute their transactions, against native execution, without proving.

use std::collections::BTreeSet;
use std::sync::Arc;

use reprise_conformance::fixture::{EXIT, Fixture, account, fund, pay, transaction};
use reprise_conformance::generated::Compared;
use reprise_ledger::{Action, BAD_NONCE, EXPIRED, Ledger, OVERDRAFT};
use reprise_miden::Poseidon2;
use reprise_model::digest::Digest;
use reprise_model::exit::AMOUNT_MIN;
use reprise_model::journal::{Journal, Outcome};
use reprise_model::lane::OpenBlock;
use reprise_model::program;
use reprise_model::transaction::{BYTES_MAX, LaneTransaction};
use reprise_model::witness::Witness;

use crate::world::{assert_refused, backend, chain_of, ids, run_batch};

/// Every batch's program commits what native execution says, and so does the native program.
fn agree(fixture: &Fixture) {
    for (at, block) in fixture.batches.iter().enumerate() {
        for index in 0..block.batches.len() {
            let witness = fixture.batch_witness_at(at, index);
            let expected = fixture.span_at(at, index).journal;
            assert_eq!(program::batch(&Poseidon2, &Ledger, &witness), Ok(expected));
            let committed = run_batch(&witness, &[]).unwrap();
            assert_eq!(committed, expected.digest(&Poseidon2), "block {at}, batch {index}");
        }
    }
}

#[test]
fn runs_of_a_block_commit_what_they_do_natively() {
    let mut fixture = chain_of(ids(), 3);
    let (alice, bob, out) = (account("alice"), account("bob"), account("out"));
    let long = LaneTransaction { payload: vec![1; 240_000], ..transaction(9, "mallory", 0, vec![]) };
    fixture.block(vec![
        fund(1, alice, 100 * AMOUNT_MIN),
        transaction(2, "alice", 0, pay(Action::Transfer, 0, 60 * AMOUNT_MIN, bob)),
        transaction(3, "mallory", 0, vec![1]),
        transaction(4, "bob", 0, pay(EXIT, 0, 7 * AMOUNT_MIN, out)),
        transaction(5, "bob", 0, pay(EXIT, 0, 7 * AMOUNT_MIN, out)),
        transaction(6, "carol", 40, vec![9; 100]),
        transaction(7, "carol", 0, vec![]),
        transaction(8, "bob", 0, pay(EXIT, 1, 53 * AMOUNT_MIN, out)),
        long,
    ]);
    assert_eq!(fixture.batches[0].batches.len(), 3);
    agree(&fixture);
}

#[test]
fn a_run_of_what_is_disposed_of_moves_the_lane_and_nothing_else() {
    let mut fixture = chain_of(ids(), 2);
    let long =
        |index| LaneTransaction { payload: vec![1; BYTES_MAX + 1], ..transaction(index, "m", 0, vec![]) };
    fixture.block(vec![long(1), transaction(2, "m", 0, vec![3; 63]), long(u32::MAX)]);
    agree(&fixture);
    let [first, last] = [0, 1].map(|index| fixture.span_at(0, index).journal);
    assert_eq!(first.transition.root_before, last.transition.root_after);
    assert_eq!(first.transition.tip_before, first.transition.tip_after);
    assert_ne!(last.transition.tip_before, last.transition.tip_after);
    assert_eq!((first.open_before, last.open_after), (Digest::ZERO, Digest::ZERO));
    assert_eq!(first.open_after, last.open_before);
}

#[test]
fn generated_blocks_commit_what_they_do_natively_however_they_are_divided() {
    let agrees = |witness: &Witness, expected: Option<&dyn Journal>| {
        let committed = backend().execute(witness, &[]);
        let expected = expected.map(|journal| journal.digest(&Poseidon2));
        assert_eq!(committed.as_ref().ok(), expected.as_ref(), "{committed:?}");
    };
    let compared = Compared { hasher: Arc::new(Poseidon2), programs: ids(), prover: None, agrees: &agrees };
    let mut outcomes = BTreeSet::new();
    for (seed, price) in [(20_261_129, 0), (2, 3), (3, 1 << 20), (4, u32::MAX)] {
        outcomes.extend(compared.check(seed, 40, price).into_keys());
    }
    for outcome in [Outcome::SUCCESS, Outcome::MALFORMED, Outcome::UNDERPAID, BAD_NONCE, OVERDRAFT, EXPIRED] {
        assert!(outcomes.contains(&outcome), "{outcome:?} is not drawn: {outcomes:?}");
    }
}

#[test]
fn a_batch_within_a_block_is_bound_to_what_is_proved_of_the_block_before_it() {
    let mut fixture = chain_of(ids(), 2);
    let block = |height: u32| (1..=4).map(|at| transaction(at * 2, "m", 0, vec![height as u8])).collect();
    fixture.block(block(1));
    fixture.block(block(2));
    let (first, last) = (fixture.span_at(0, 0).journal, fixture.batch_witness_at(0, 1));
    assert_eq!(first.open_after, last.block.digest(&Poseidon2));
    // The state and the lane tip are the same all along, and only the open block tells.
    let other = fixture.batch_witness_at(1, 1).block;
    let changes: [&dyn Fn(&mut OpenBlock); 6] = [
        &|block| *block = other.clone(),
        &|block| block.activity.nodes.clone_from(&other.activity.nodes),
        &|block| block.activity.count += 1,
        &|block| block.last_index += 1,
        &|block| block.context.daa_score += 1,
        &|block| *block = OpenBlock::new(block.context),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut witness = last.clone();
        change(&mut witness.block);
        let native = program::batch(&Poseidon2, &Ledger, &witness).unwrap();
        assert_eq!(run_batch(&witness, &[]).unwrap(), native.digest(&Poseidon2), "change {at}");
        assert_ne!(native.open_before, first.open_after, "change {at}");
    }
    // Its indices rise above those before it.
    let mut witness = last.clone();
    witness.transactions[0].0.merge_index = witness.block.last_index;
    assert!(program::batch(&Poseidon2, &Ledger, &witness).is_err());
    assert_refused(run_batch(&witness, &[]), "merge indices do not rise");
}
