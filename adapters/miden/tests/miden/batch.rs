//! The batch program, without proving the batch: over proved transactions and over those that it executes, what it
//! commits and what it refuses.

use reprise_conformance::fixture::{EXIT, account, fund, list, pay, transaction};
use reprise_ledger::{Account, Action, BAD_NONCE, Ledger, OVERDRAFT};
use reprise_miden::{MidenError, Poseidon2};
use reprise_model::context::BlockContext;
use reprise_model::digest::Digest;
use reprise_model::exit::{self, AMOUNT_MIN};
use reprise_model::journal::{Journal, Pins, TransactionJournal};
use reprise_model::lane::{Step, WorkloadHasher as _};
use reprise_model::program;
use reprise_model::statement::Claim;
use reprise_model::transaction::{Accepted, ShownBytes, ShownTransaction, TransactionFacts, TransactionRead};
use reprise_model::witness::{BatchWitness, Handling, TransactionWitness, Witness};

use crate::anything;
use crate::chain::{Chain, LAST};
use crate::world::{
    NO_PROOF, STALE, Values, assert_refused, backend, chain_of, ids, prove, run_batch, trusted,
};

/// The last block's first batch, both of whose transactions are proved apart: changed.
fn changed(change: impl FnOnce(&mut BatchWitness)) -> Result<Digest, MidenError> {
    let chain = Chain::get();
    let mut witness = chain.proved_apart();
    change(&mut witness);
    assert_ne!(witness, chain.proved_apart());
    run_batch(&witness, &chain.apart)
}

/// The same batch, which executes both itself: changed.
fn changed_inline(change: impl FnOnce(&mut BatchWitness)) -> Result<Digest, MidenError> {
    let honest = Chain::get().fixture.batch_witness_at(LAST, 0);
    let mut witness = honest.clone();
    change(&mut witness);
    assert_ne!(witness, honest);
    run_batch(&witness, &[])
}

/// Its journal's digest.
fn honest() -> Digest {
    Chain::get().fixture.span_at(LAST, 0).journal.digest(&Poseidon2)
}

/// It is a statement, but not the batch's.
#[track_caller]
fn assert_other(result: Result<Digest, MidenError>) {
    assert_ne!(result.unwrap(), honest());
}

/// The journal of a transaction that is proved apart.
fn apart(witness: &mut BatchWitness, at: usize) -> &mut TransactionJournal {
    match &mut witness.transactions[at].1 {
        Handling::Apart(journal) => journal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_batch_commits_what_it_does_natively_however_its_transactions_are_proved() {
    let chain = Chain::get();
    assert_eq!(run_batch(&chain.proved_apart(), &chain.apart).unwrap(), honest());
    // Receipts are found by their claims, wherever they lie and whatever lies beside them.
    let others = chain.batches().iter().chain(chain.apart.iter().rev()).cloned();
    assert_eq!(run_batch(&chain.proved_apart(), &others.collect::<Vec<_>>()).unwrap(), honest());

    let inline = chain.fixture.batch_witness_at(LAST, 0);
    assert_eq!(run_batch(&inline, &[]).unwrap(), honest());
    for at in [0, 1] {
        let mut mixed = inline.clone();
        mixed.transactions[at].1 = chain.proved_apart().transactions[at].1.clone();
        assert_eq!(run_batch(&mixed, &chain.apart[at..=at]).unwrap(), honest());
    }
}

#[test]
fn a_transaction_is_neither_dropped_nor_inserted_nor_reordered() {
    for changed in [changed, changed_inline] as [fn(fn(&mut BatchWitness)) -> _; 2] {
        assert_refused(changed(|witness| witness.transactions.clear()), "a batch without transactions");
        assert_other(changed(|witness| drop(witness.transactions.pop())));
        assert_refused(
            changed(|witness| witness.transactions[1].0.merge_index = 1),
            "merge indices do not rise",
        );
    }
    assert_refused(changed(|witness| drop(witness.transactions.remove(0))), STALE);
    assert_refused(changed(|witness| witness.transactions.swap(0, 1)), STALE);
    let swapped = |witness: &mut BatchWitness| {
        witness.transactions.swap(0, 1);
        witness.transactions[0].0.merge_index = 1;
        witness.transactions[1].0.merge_index = 4;
    };
    assert_refused(changed(swapped), STALE);
    assert_refused(changed_inline(swapped), STALE);
    let repeated = |witness: &mut BatchWitness| {
        let (transaction, again) = witness.transactions[1].clone();
        witness.transactions.push((ShownTransaction { merge_index: 5, ..transaction }, again));
    };
    assert_refused(changed(repeated), STALE);
    assert_refused(changed_inline(repeated), STALE);

    // One without effects could stand anywhere in the state: what is left of the block, or the lane tip, tells where it
    // stood.
    let failed = transaction(5, "alice", 0, pay(Action::Transfer, 0, 1, account("bob")));
    let mut values = Values::with(&[("alice", 60 * AMOUNT_MIN, 1), ("bob", 17 * AMOUNT_MIN, 2)]);
    let done = values.execute(&failed).unwrap();
    assert_eq!(done.journal.outcome, BAD_NONCE);
    let insert = |at: usize, index: u32| {
        let inline = Handling::Inline(done.witness.before.clone());
        let shown = ShownTransaction { merge_index: index, ..ShownTransaction::from(&failed) };
        changed_inline(|witness| witness.transactions.insert(at, (shown, inline)))
    };
    assert_other(insert(2, 5));
    assert_refused(insert(1, 2), STALE);
    let malformed = (ShownTransaction::from(&transaction(2, "m", 0, vec![])), Handling::Disposed);
    assert_other(changed(|witness| witness.transactions.insert(1, malformed)));
}

#[test]
fn a_transaction_that_is_proved_apart_is_not_altered() {
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
fn a_transaction_that_is_executed_is_what_its_bytes_say() {
    let (mut ran, mut tips) = (0, vec![honest()]);
    let bytes = Chain::get().fixture.batch_witness_at(LAST, 0).transactions[1].0.payload.clone();
    let ShownBytes::Whole(bytes) = bytes else { panic!("{bytes:?}") };
    // The whole message, and some of the opening.
    for at in (0..bytes.len() - 96).step_by(23).chain(bytes.len() - 96..bytes.len()) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        let other = changed_inline(|witness| {
            witness.transactions[1].0.payload = ShownBytes::Whole(bytes);
            // Of another account nothing is known.
            witness.transactions[1].1 = Handling::Disposed;
        });
        let executed = changed_inline(|witness| {
            let ShownBytes::Whole(bytes) = &mut witness.transactions[1].0.payload else { panic!() };
            bytes[at] ^= 1;
        });
        for committed in [other, executed].into_iter().flatten() {
            assert!(!tips.contains(&committed), "byte {at}");
            tips.push(committed);
            ran += 1;
        }
    }
    assert!(ran > 64, "{ran}");
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
fn a_false_pre_image_has_no_path() {
    // Bob poor, Bob absent, Bob with another nonce, Bob rich. A program may be told so, and says what follows.
    let bobs = [
        Some(Account::new(19 * AMOUNT_MIN, 0)),
        None,
        Some(Account::new(67 * AMOUNT_MIN, 1)),
        Some(Account::new(1 << 40, 0)),
    ];
    for (at, bob) in bobs.into_iter().enumerate() {
        let value = bob.map(|bob| bob.cells());
        let inline = changed_inline(|witness| {
            let Handling::Inline(values) = &mut witness.transactions[0].1 else { panic!() };
            values[0] = value;
        });
        assert_refused(inline, STALE);
        let Some(bob) = bob.filter(|_| at == 0) else { continue };
        // One of them with a proof of its own.
        let mut values = Values::with(&[("alice", 40 * AMOUNT_MIN, 1)]);
        values.put("bob", bob);
        let first = transaction(1, "bob", 0, pay(Action::Transfer, 0, 20 * AMOUNT_MIN, account("alice")));
        let poor = values.execute(&first).unwrap();
        assert_eq!(poor.journal.outcome, OVERDRAFT);
        let receipt = poor.prove();
        let mut witness = Chain::get().proved_apart();
        *apart(&mut witness, 0) = poor.journal;
        assert_refused(run_batch(&witness, &[receipt, Chain::get().apart[1].clone()]), STALE);
    }
}

#[test]
fn a_forged_authority_ends_in_another_open_block_or_lane_tip() {
    // What Carol's transaction would do if it were Bob's, in the place of his: it withdraws as much, to her.
    let (chain, hasher) = (Chain::get(), &Poseidon2);
    let theft = transaction(6, "carol", 0, pay(EXIT, 2, 5 * AMOUNT_MIN, account("carol")));
    let honest = chain.fixture.batch_witness_at(LAST, 1);
    let read = theft.read(&honest.pins.rollup());
    let facts = TransactionFacts { authority: account("bob"), ..read.facts };
    let forged = TransactionRead { facts, ..read.clone() };
    let done = Values::with(&[("bob", 17 * AMOUNT_MIN, 2)]).execute_as(&theft, &forged).unwrap();
    assert!(done.journal.outcome.is_success());
    let receipt = done.prove();

    // The block as the L1 accepted it, and as it is proved.
    let disposed = honest.transactions[0].0.read(hasher, &honest.pins.rollup()).unwrap().accepted;
    let [by_carol, by_bob] = [read, forged].map(|read| {
        let mut block = honest.block.clone();
        block.accept(hasher, &disposed).unwrap();
        block.accept(hasher, &Accepted::of(hasher, &theft, &read)).unwrap();
        block
    });
    let tip = |block| {
        let (lane, tip) = (&honest.pins.lane, &honest.tip_before);
        hasher.lane().after(hasher, &Step { lane, tip, reopening: None, block }).unwrap()
    };
    assert_ne!(by_carol.digest(hasher), by_bob.digest(hasher));
    assert_ne!(tip(&by_carol), tip(&by_bob));
    for closes in [false, true] {
        let mut witness = honest.clone();
        witness.closes = closes;
        witness.transactions[1] = (ShownTransaction::from(&theft), Handling::Apart(done.journal.clone()));
        let mut expected = chain.fixture.span_at(LAST, 1).journal;
        expected.transition.exits = exit::root(hasher, &done.journal.exits);
        (expected.transition.tip_after, expected.open_after) = match closes {
            true => (tip(&by_bob), Digest::ZERO),
            false => (honest.tip_before, by_bob.digest(hasher)),
        };
        let stolen = run_batch(&witness, std::slice::from_ref(&receipt)).unwrap();
        assert_eq!(stolen, expected.digest(hasher));
    }
}

#[test]
fn endpoints_context_and_pins_are_bound() {
    for changed in [changed, changed_inline] as [fn(fn(&mut BatchWitness)) -> _; 2] {
        assert_other(changed(|witness| witness.block.context.daa_score += 1));
        assert_other(changed(|witness| witness.block.context.timestamp_ms += 1 << 32));
        assert_other(changed(|witness| witness.block.context.blue_score += 1));
        assert_other(changed(|witness| witness.transactions[1].0.merge_index = 5));
        assert_other(changed(|witness| witness.tip_before = Digest::ZERO));
        assert_other(changed(|witness| witness.closes = true));
        assert_other(changed(|witness| witness.pins.lane = Digest([8; 32])));
        // For another rollup the messages are empty.
        assert_ne!(changed(|witness| witness.pins.covenant = Digest([8; 32])), Ok(honest()));
        assert_other(changed(|witness| witness.pins.deposit = account("mine")));
        assert_other(changed(|witness| witness.pins.batch_program = backend().programs().transaction()));
        assert_other(changed(|witness| witness.pins.aggregate_program = backend().programs().batch()));
        let halves: [fn(&mut Pins); 2] =
            [|pins| pins.lane.0[7] ^= 0x80, |pins| pins.aggregate_program.0[31] ^= 0x80];
        for half in halves {
            let committed = changed_with(half);
            assert_ne!(committed, honest());
        }
    }
    let other_program = |witness: &mut BatchWitness| {
        witness.pins.transaction_program = backend().programs().batch();
    };
    assert_refused(changed(other_program), NO_PROOF);
    assert_other(changed_inline(other_program));
    let no_program = |witness: &mut BatchWitness| witness.pins.transaction_program.0 = [255; 32];
    assert_refused(changed(no_program), "a digest's cell is not canonical");
}

fn changed_with(change: fn(&mut Pins)) -> Digest {
    changed_inline(|witness| change(&mut witness.pins)).unwrap()
}

#[test]
fn another_state_has_no_path() {
    fn stale() -> BatchWitness {
        Chain::get().fixture.batch_witness_at(1, 0)
    }
    for changed in [changed, changed_inline] as [fn(fn(&mut BatchWitness)) -> _; 2] {
        let root = changed(|witness| witness.root_before = stale().root_before);
        assert!(matches!(root, Err(MidenError::Refused { .. })), "{root:?}");
        let replaced = changed(|witness| {
            (witness.root_before, witness.paths) = (stale().root_before, stale().paths);
        });
        assert_refused(replaced, STALE);
        let missing = changed(|witness| witness.paths.truncate(1));
        assert!(matches!(missing, Err(MidenError::Refused { .. })), "{missing:?}");
        let short = changed(|witness| witness.paths[0].siblings.truncate(62));
        assert!(matches!(short, Err(MidenError::Witness { .. })), "{short:?}");
    }
    // What a slot is said to hold is opened.
    let invented = changed(|witness| {
        for path in &mut witness.paths {
            path.entries[0].value = Digest::ZERO;
        }
    });
    assert!(matches!(invented, Err(MidenError::Refused { .. })), "{invented:?}");
}

#[test]
fn what_is_well_formed_is_executed_though_it_is_said_to_be_disposed_of() {
    for at in [0, 1] {
        let refused = changed_inline(|witness| witness.transactions[at].1 = Handling::Disposed);
        assert!(matches!(refused, Err(MidenError::Refused { .. })), "{refused:?}");
    }
    // What is none of the ledger's is executed to nothing: it has no values, and needs none.
    let chain = Chain::get();
    let honest = chain.fixture.batch_witness_at(LAST, 1);
    assert_eq!(honest.transactions[0].1, Handling::Disposed);
    for handling in [Handling::Inline(vec![]), Handling::Inline(vec![None])] {
        let mut witness = honest.clone();
        witness.transactions[0].1 = handling;
        let refused = run_batch(&witness, &[]);
        assert!(matches!(refused, Err(MidenError::Witness { .. })), "{refused:?}");
    }
    let mut proved = honest.clone();
    proved.transactions[0].1 = Handling::Apart(chain.fixture.batches[LAST].transactions[2].journal.clone());
    assert_refused(run_batch(&proved, &chain.apart), NO_PROOF);
}

#[test]
fn a_transaction_that_asks_for_its_blocks_context_is_proved_in_no_other() {
    let mut fixture = chain_of(ids(), 8);
    fixture.block(vec![fund(1, account("alice"), 9)]);
    let context = fixture.next_context();
    let late = list(0, context.daa_score - 1, &[(Action::Transfer, 5, account("bob"))]);
    fixture.block(vec![transaction(1, "alice", 0, late)]);
    let honest = fixture.span(1).journal.digest(&Poseidon2);
    let witness = fixture.batch_witness(1);
    assert_eq!(run_batch(&witness, &[]).unwrap(), honest);

    // In an earlier block it would have taken effect, which is proved, of that.
    let mut earlier = context;
    earlier.daa_score -= 1;
    let forged = TransactionWitness { context: Some(earlier), ..fixture.transaction_witness(1, 0) };
    let journal = program::transaction(&Poseidon2, &Ledger, &forged).unwrap();
    assert!(journal.outcome.is_success());
    let claim = Claim { program: ids()[0], journal: journal.bytes() };
    let receipt = prove(&claim, &Witness::Transaction(forged), &[]);
    let apart = |journal, receipt| {
        let mut witness = witness.clone();
        witness.transactions[0].1 = Handling::Apart(journal);
        run_batch(&witness, &[receipt])
    };
    assert_refused(apart(journal, receipt), "a transaction's context is not its block's");

    // Whatever word of the context is another. The program of transactions would not say so.
    let anything = Pins { transaction_program: anything::id(), ..witness.pins.clone() };
    let own = fixture.batches[1].transactions[0].journal.clone();
    let under = |journal: TransactionJournal| {
        let mut witness = BatchWitness { pins: anything.clone(), ..witness.clone() };
        let receipt = anything::prove(&journal);
        witness.transactions[0].1 = Handling::Apart(journal);
        run_batch(&witness, &[receipt])
    };
    under(own.clone()).unwrap();
    let others: [fn(&mut BlockContext); 3] = [
        |context| context.timestamp_ms ^= 1 << 40,
        |context| context.daa_score += 1,
        |context| context.blue_score ^= 1 << 33,
    ];
    for change in others {
        let mut other = context;
        change(&mut other);
        let journal = TransactionJournal { context: Some(other), ..own.clone() };
        assert_refused(under(journal), "a transaction's context is not its block's");
    }
    // One that does not ask is free of it.
    under(TransactionJournal { context: None, ..own }).unwrap();
}

#[test]
fn an_inner_proof_that_fails_is_refused() {
    let chain = Chain::get();
    let (witness, receipts) = (chain.proved_apart(), &chain.apart);
    assert_refused(run_batch(&witness, &receipts[..1]), NO_PROOF);

    // Another transaction's seal under this one's claim, and a seal with one bit flipped, each past a mark
    // that says they were verified.
    let mut foreign = receipts[1].clone().into_inner();
    foreign.seal.clone_from(&receipts[0].seal);
    let bytes = receipts[1].seal.len();
    let flipped = [bytes / 3, bytes / 2, bytes - 100].map(|at| {
        let mut flipped = receipts[1].clone().into_inner();
        flipped.seal[at] ^= 1;
        flipped
    });
    for forged in [foreign].into_iter().chain(flipped) {
        let result = run_batch(&witness, &[receipts[0].clone(), trusted(forged)]);
        let refused = matches!(result, Err(MidenError::Refused { .. } | MidenError::Assumption { .. }));
        assert!(refused, "{result:?}");
    }
}
