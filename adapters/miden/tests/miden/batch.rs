//! The batch program over proved transactions, without proving the batch: what it commits, what it refuses.

use reprise_ledger::{Account, Action, BAD_NONCE, OVERDRAFT};
use reprise_miden::{MidenError, Poseidon2};
use reprise_model::digest::Digest;
use reprise_model::journal::Journal;
use reprise_model::receipt::{Receipt, Verified, VerifiedMark};
use reprise_model::state;
use reprise_model::transaction::{LaneTransaction, TransactionFacts};
use reprise_model::witness::{BatchWitness, Witness};

use crate::chain::Chain;
use crate::world::{Executed, World, account, backend, pay, prove, transaction};

fn run(witness: &BatchWitness, receipts: &[Verified<Receipt>]) -> Result<Digest, MidenError> {
    backend().execute(&Witness::Batch(witness.clone()), receipts)
}

/// The last block's witness, changed, over its receipts.
fn changed(change: impl FnOnce(&mut BatchWitness)) -> Result<Digest, MidenError> {
    let (block, receipts) = Chain::get().last();
    let mut witness = block.witness.clone();
    change(&mut witness);
    assert_ne!(witness, block.witness);
    run(&witness, receipts)
}

#[track_caller]
fn assert_refused(result: Result<Digest, MidenError>, why: &str) {
    match result {
        Err(MidenError::Refused { reason, .. }) => assert!(reason.contains(why), "{reason}"),
        other => panic!("{other:?}"),
    }
}

/// It is a statement, but not the block's.
#[track_caller]
fn assert_other(result: Result<Digest, MidenError>) {
    assert_ne!(result.unwrap(), Chain::get().last().0.journal.digest(&Poseidon2));
}

const NO_PROOF: &str = "not present in the advice map";
const STALE: &str = "a leaf before is not the one in the state";

#[test]
fn a_block_commits_what_it_does_natively() {
    let chain = Chain::get();
    for (block, receipts) in chain.blocks.iter().zip(&chain.transactions) {
        assert_eq!(run(&block.witness, receipts).unwrap(), block.journal.digest(&Poseidon2));
    }
    // Receipts are found by their claims, wherever they lie and whatever lies beside them.
    let (block, _) = chain.last();
    let all: Vec<_> = chain.transactions.iter().rev().flatten().rev().cloned().collect();
    assert_eq!(run(&block.witness, &all).unwrap(), block.journal.digest(&Poseidon2));
}

#[test]
fn a_transaction_is_neither_dropped_nor_inserted_nor_reordered() {
    assert_refused(changed(|witness| drop(witness.transactions.remove(0))), STALE);
    assert_other(changed(|witness| drop(witness.transactions.pop())));
    assert_refused(changed(|witness| witness.transactions.clear()), "a batch without transactions");
    assert_refused(changed(|witness| witness.transactions.swap(0, 1)), STALE);
    assert_refused(changed(|witness| witness.transactions[1].0.merge_index = 1), "merge indices do not rise");
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
            let (transaction, again) = witness.transactions[1].clone();
            witness.transactions.push((LaneTransaction { merge_index: 5, ..transaction }, again));
        }),
        STALE,
    );
    // One without effects could stand anywhere in the state: the lane tip tells where it stood.
    let chain = Chain::get();
    let (first, failed) = (&chain.blocks[0], &chain.blocks[1].transactions[0]);
    let receipts = [chain.transactions[0][0].clone(), chain.transactions[1][0].clone()];
    let mut witness = first.witness.clone();
    let transaction = LaneTransaction { merge_index: 3, ..witness.transactions[0].0.clone() };
    witness.transactions.push((transaction, failed.journal.clone()));
    let committed = run(&witness, &receipts).unwrap();
    assert_ne!(committed, first.journal.digest(&Poseidon2));
    witness.transactions.pop();
    assert_eq!(run(&witness, &receipts).unwrap(), first.journal.digest(&Poseidon2));
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

/// A proof over another pre-state than the block's, and the block over it.
fn over(tx: &LaneTransaction, mut world: World) -> (Executed, Result<Digest, MidenError>) {
    let executed = world.execute(tx);
    let receipt = prove(&executed.claim(), &executed.witness(), &[]);
    let forged = executed.journal.clone();
    let result = {
        let mut witness = Chain::get().blocks[0].witness.clone();
        witness.transactions[0].1 = forged;
        run(&witness, &[receipt])
    };
    (executed, result)
}

#[test]
fn a_false_pre_image_has_a_proof_and_no_path() {
    let tx = transaction(2, "alice", 0, pay(Action::Transfer, 0, 60, account("bob")));
    // Alice poor, alice absent, alice rich.
    let poor = World::with(&[("alice", 59, 0), ("bob", 7, 0)]);
    let (executed, result) = over(&tx, poor);
    assert_eq!(executed.journal.outcome, OVERDRAFT);
    assert_refused(result, STALE);
    let (executed, result) = over(&tx, World::with(&[("bob", 7, 0)]));
    assert_eq!(executed.journal.outcome, OVERDRAFT);
    assert_refused(result, STALE);
    // A present slot shown as another's.
    let mut taken = Chain::genesis();
    let mut twin = account("bob");
    twin.0[30] ^= 1;
    taken.put(state::slot(&twin), Account { id: twin, balance: 7, nonce: 0 }.cells());
    assert_refused(over(&tx, taken).1, STALE);
}

#[test]
fn a_forged_authority_ends_in_another_lane_tip() {
    // What Alice's transaction would do if it were Bob's.
    let honest = transaction(2, "alice", 0, pay(Action::Transfer, 0, 5, account("carol")));
    let transactions = [honest];
    let forged = |tx: &LaneTransaction| TransactionFacts {
        authority: account("bob"),
        ..tx.facts(&Chain::get().blocks[0].witness.pins.deposit)
    };
    let expected = Chain::genesis().block(&transactions).journal;
    let block = Chain::genesis().block_as(&transactions, forged);
    let done = &block.transactions[0];
    let receipt = prove(&done.claim(), &done.witness(), &[]);
    let committed = run(&block.witness, &[receipt]).unwrap();
    assert_eq!(committed, block.journal.digest(&Poseidon2));
    assert_ne!(block.journal.0.tip_after, expected.0.tip_after);
}

#[test]
fn endpoints_context_and_pins_are_bound() {
    assert_other(changed(|witness| witness.context.daa_score += 1));
    assert_other(changed(|witness| witness.context.timestamp_ms += 1 << 32));
    assert_other(changed(|witness| witness.context.blue_score += 1));
    assert_other(changed(|witness| witness.transactions[1].0.merge_index = 5));
    assert_other(changed(|witness| witness.tip_before = Digest::ZERO));
    assert_other(changed(|witness| witness.pins.lane = Digest([8; 32])));
    assert_other(changed(|witness| witness.pins.covenant = Digest([8; 32])));
    assert_other(changed(|witness| witness.pins.deposit = account("mine")));
    assert_other(changed(|witness| witness.pins.batch_program = backend().programs().aggregate()));
    let other_program = |witness: &mut BatchWitness| {
        witness.pins.transaction_program = backend().programs().batch();
    };
    assert_refused(changed(other_program), NO_PROOF);
    let no_program = |witness: &mut BatchWitness| witness.pins.transaction_program.0 = [255; 32];
    assert_refused(changed(no_program), "a digest's cell is not canonical");
}

#[test]
fn another_state_has_no_path() {
    let stale = &Chain::get().blocks[0].witness;
    let root = changed(|witness| witness.root_before = stale.root_before);
    assert!(matches!(root, Err(MidenError::Refused { .. })), "{root:?}");
    let (root, paths) = (stale.root_before, stale.paths.clone());
    let replaced = changed(|witness| (witness.root_before, witness.paths) = (root, paths));
    assert_refused(replaced, STALE);
    let missing = changed(|witness| witness.paths.truncate(1));
    assert!(matches!(missing, Err(MidenError::Refused { .. })), "{missing:?}");
    let short = changed(|witness| witness.paths[0].siblings.truncate(62));
    assert!(matches!(short, Err(MidenError::Witness { .. })), "{short:?}");
}

#[test]
fn an_inner_proof_that_fails_is_refused() {
    let (block, receipts) = Chain::get().last();
    assert_refused(run(&block.witness, &receipts[..1]), NO_PROOF);

    // Another transaction's seal under this one's claim, and a seal with one bit flipped, each past a mark
    // that says they were verified.
    let trusted = |receipt: Receipt| {
        let mark = VerifiedMark { checksum: receipt.checksum(), at_ms: 0 };
        Verified::recall(receipt, &mark).unwrap()
    };
    let foreign = Receipt { seal: receipts[0].seal.clone(), ..receipts[1].clone().into_inner() };
    let result = run(&block.witness, &[receipts[0].clone(), trusted(foreign)]);
    assert!(matches!(result, Err(MidenError::Refused { .. } | MidenError::Assumption { .. })), "{result:?}");
    let bytes = receipts[1].seal.len();
    for at in [bytes / 3, bytes / 2, bytes - 100] {
        let mut flipped = receipts[1].clone().into_inner();
        flipped.seal[at] ^= 1;
        let result = run(&block.witness, &[receipts[0].clone(), trusted(flipped)]);
        assert!(
            matches!(result, Err(MidenError::Refused { .. } | MidenError::Assumption { .. })),
            "{result:?}"
        );
    }
}
