//! Blocks divided into batches that execute their transactions, against native execution, without proving.

use reprise_conformance::fixture::{EXIT, Fixture, account, fund, pay, transaction};
use reprise_ledger::{Action, Ledger};
use reprise_miden::Poseidon2;
use reprise_model::digest::Digest;
use reprise_model::exit::AMOUNT_MIN;
use reprise_model::journal::{Journal, Outcome, Span};
use reprise_model::lane::OpenBlock;
use reprise_model::program;
use reprise_model::transaction::{BYTES_MAX, LaneTransaction};

use crate::world::{Random, assert_refused, chain_of, ids, run_batch};

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

/// Blocks of anything that a lane accepts.
fn generated(random: &mut Random, outcomes: &mut Vec<Outcome>) -> Vec<Vec<LaneTransaction>> {
    let names = ["a", "b", "c", "d", "e"];
    // Most nonces are right: they are counted on a chain of a block each.
    let mut counted = chain_of(ids(), usize::MAX);
    let mut nonces = [0u64; 5];
    let mut blocks = vec![];
    for _ in 0..2 + random.below(2) {
        let mut merge_index = 0;
        let mut block = vec![];
        for _ in 0..1 + random.below(9) {
            merge_index += 1 + random.below(3) as u32;
            let (from, to) = (random.place(5), random.place(5));
            let action = [Action::Transfer, EXIT, Action::Deposit][random.place(3)];
            let nonce = nonces[from] + u64::from(random.one_in(5));
            let amount = if random.one_in(4) { random.amount() } else { random.below(50) };
            let mut message = pay(action, nonce, amount, account(names[to]));
            match random.below(12) {
                0 => message[random.place(64)] ^= 1 << random.below(8),
                1 => message.truncate(random.place(64)),
                2 => message.resize(64 + random.place(100), 3),
                _ => (),
            }
            let pays = random.one_in(3) || action == Action::Deposit && !random.one_in(5);
            let deposit = if pays { random.below(1000) } else { 0 };
            let mut made = transaction(merge_index, names[from], deposit, message);
            if random.one_in(15) {
                made.payload.resize(BYTES_MAX + 1 + random.place(20_000), 9);
            }
            if random.one_in(20) {
                made.rest.resize(BYTES_MAX + 1, 0);
            }
            let done = &counted.block(vec![made.clone()]).transactions[0].journal;
            if deposit == 0 && action != Action::Deposit && done.outcome.is_success() {
                nonces[from] += 1;
            }
            outcomes.push(done.outcome);
            block.push(made);
        }
        blocks.push(block);
    }
    blocks
}

#[test]
fn any_division_of_generated_blocks_commits_what_it_does_natively() {
    let mut random = Random(20_261_129);
    let mut outcomes = vec![];
    for _ in 0..12 {
        let blocks = generated(&mut random, &mut outcomes);
        let mut wholes: Vec<Span> = vec![];
        for transactions in [usize::MAX, 1, 2, 3, 5] {
            let mut fixture = chain_of(ids(), transactions);
            for block in &blocks {
                fixture.block(block.clone());
            }
            agree(&fixture);
            let every: Vec<usize> = (0..blocks.len()).collect();
            wholes.push(fixture.part_span(&Fixture::joined(&fixture.parts(&every))).unwrap());
        }
        // However it is divided, the same was done.
        assert!(wholes.windows(2).all(|pair| pair[0] == pair[1]));
    }
    outcomes.sort();
    outcomes.dedup();
    assert!(outcomes.len() >= 5, "{outcomes:?}");
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
