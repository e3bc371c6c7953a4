//! The transaction program against native execution, without proving.

use std::collections::BTreeMap;

use reprise_conformance::generated::Random;
use reprise_ledger::{Account, Action, BAD_NONCE, OVERDRAFT, OVERFLOW};
use reprise_model::exit::AMOUNT_MIN;
use reprise_model::journal::{Journal, Outcome};
use reprise_model::scheduled::ProvedBy;
use reprise_model::transaction::{BYTES_MAX, LaneTransaction, NOBODY};
use reprise_model::witness::{TransactionWitness, Witness};

use crate::fixture::{
    EXIT, Fixture, account, assert_refused, development, fixture, fund, list, pay, transaction,
};

const FOREIGN: &str = "the transaction is none of the workload's";
const NO_TRANSACTION: &str = "the cells are not a transaction's encoding";

/// Native execution and the program agree on the journal of a block's transactions, and on which are none of the workload's; how
/// they ended.
fn agree(fixture: &mut Fixture, accepted: Vec<LaneTransaction>) -> Vec<Outcome> {
    let transactions = fixture.block(accepted).transactions.clone();
    let block = fixture.batches.len() - 1;
    for (index, scheduled) in transactions.iter().enumerate() {
        let journal = &scheduled.journal;
        let witness = Witness::Transaction(fixture.transaction_witness(block, index));
        let committed = development().execute(&witness, &[]).map(|done| done.journal);
        match (scheduled.proved_by, journal.outcome) {
            (ProvedBy::Disposal, Outcome::TOO_LONG) => assert_refused(committed, NO_TRANSACTION),
            (ProvedBy::Disposal, _) => assert_refused(committed, FOREIGN),
            _ => assert_eq!(committed.unwrap(), journal.bytes(), "{journal:?}"),
        }
    }
    transactions.iter().map(|scheduled| scheduled.journal.outcome).collect()
}

fn one(fixture: &mut Fixture, name: &str, deposit: u64, payload: Vec<u8>) -> Outcome {
    agree(fixture, vec![transaction(1, name, deposit, payload)])[0]
}

/// What Alice has: enough to withdraw something.
const MANY: u64 = AMOUNT_MIN + 100;

/// Alice has [`MANY`] and nonce 3, Bob 7, Rich as much as there can be.
fn funded() -> Fixture {
    let mut fixture = fixture();
    let nothing = |nonce: u32| {
        transaction(3 + nonce, "alice", 0, pay(Action::Transfer, nonce.into(), 0, account("bob")))
    };
    let first = vec![
        fund(0, account("alice"), MANY),
        fund(1, account("bob"), 7),
        fund(2, account("rich"), u64::MAX),
        nothing(0),
        nothing(1),
        nothing(2),
    ];
    assert_eq!(agree(&mut fixture, first), [Outcome::SUCCESS; 6]);
    fixture
}

#[test]
fn every_action_succeeds_as_it_does_natively() {
    let mut fixture = funded();
    let (bob, new) = (account("bob"), account("new"));
    let mut run = |name, deposit, payload| one(&mut fixture, name, deposit, payload);
    assert_eq!(run("alice", 0, pay(Action::Transfer, 3, AMOUNT_MIN + 60, bob)), Outcome::SUCCESS);
    assert_eq!(run("alice", 0, pay(Action::Transfer, 4, 40, new)), Outcome::SUCCESS);
    assert_eq!(run("alice", 0, pay(Action::Transfer, 5, 0, bob)), Outcome::SUCCESS);
    assert_eq!(run("bob", 0, pay(EXIT, 0, AMOUNT_MIN + 67, account("out"))), Outcome::SUCCESS);
    assert_eq!(run("bob", 0, pay(Action::Transfer, 1, 0, new)), Outcome::SUCCESS);
    assert_eq!(run("carol", 5_000_000_000, pay(Action::Deposit, 9, 9, bob)), Outcome::SUCCESS);
    assert_eq!(run("carol", 1, pay(Action::Deposit, 0, 0, account("carol"))), Outcome::SUCCESS);
    assert_eq!(run("rich", 0, pay(EXIT, 0, u64::MAX, bob)), Outcome::SUCCESS);
    assert_eq!(run("nobody", 0, pay(Action::Transfer, 0, 0, bob)), Outcome::SUCCESS);
}

#[test]
fn every_failure_is_the_native_one() {
    let mut fixture = funded();
    let (bob, rich) = (account("bob"), account("rich"));
    let mut run = |name, deposit, payload| one(&mut fixture, name, deposit, payload);
    assert_eq!(run("alice", 0, pay(Action::Transfer, 2, 1, bob)), BAD_NONCE);
    assert_eq!(run("alice", 0, pay(Action::Transfer, 3 + (1 << 32), 1000, bob)), BAD_NONCE);
    assert_eq!(run("alice", 0, pay(EXIT, 4, 1000 * AMOUNT_MIN, bob)), BAD_NONCE);
    assert_eq!(run("nobody", 0, pay(EXIT, 1, AMOUNT_MIN, bob)), BAD_NONCE);
    assert_eq!(run("alice", 0, pay(Action::Transfer, 3, MANY + 1, rich)), OVERDRAFT);
    assert_eq!(run("alice", 0, pay(EXIT, 3, u64::MAX, bob)), OVERDRAFT);
    assert_eq!(run("nobody", 0, pay(Action::Transfer, 0, 1, bob)), OVERDRAFT);
    assert_eq!(run("alice", 0, pay(Action::Transfer, 3, 1, rich)), OVERFLOW);
    assert_eq!(run("alice", 1, pay(Action::Deposit, 3, 0, rich)), OVERFLOW);
}

/// None of these is well-formed by Alice.
fn malformed() -> Vec<Vec<u8>> {
    let good = pay(Action::Transfer, 3, 1, account("bob"));
    let with = |at: usize, byte: u8| {
        let mut message = good.clone();
        message[at] = byte;
        message
    };
    vec![
        vec![],
        vec![1],
        good[..32].to_vec(),
        good[..63].to_vec(),
        [good.clone(), vec![0]].concat(),
        [good.clone(), vec![0; 200]].concat(),
        vec![255; 64],
        with(0, 0),
        with(4, 0),
        with(4, 4),
        with(24, 1),
        with(31, 255),
        with(32, 5),
        with(44, 1),
        with(63, 255),
        list(3, 1 << 60, &[(Action::Deposit, 0, account("bob"))]),
        list(3, 0, &[(EXIT, AMOUNT_MIN, account("bob")); 9]),
        list(3, 0, &[(Action::Collect, 0, account("bob"))]),
        pay(Action::Transfer, 3, 1, account("alice")),
        pay(Action::Transfer, 3, 1, NOBODY),
        pay(EXIT, 3, AMOUNT_MIN, NOBODY),
        pay(EXIT, 3, 0, account("out")),
        pay(EXIT, 3, AMOUNT_MIN - 1, account("out")),
    ]
}

#[test]
fn what_is_malformed_and_deposits_nothing_declares_nothing_and_has_no_proof_of_its_own() {
    let mut fixture = funded();
    let messages = [malformed(), vec![pay(Action::Deposit, 0, 5, account("bob"))]].concat();
    let block = (1..).zip(messages).map(|(index, message)| transaction(index, "alice", 0, message));
    let outcomes = agree(&mut fixture, block.collect());
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::MALFORMED), "{outcomes:?}");
    assert!(fixture.batches[1].transactions.iter().all(|tx| tx.journal.accesses.is_empty()));
    let long = [vec![0; BYTES_MAX], vec![0; 240_000]].map(|message| transaction(1, "alice", 9, message));
    for long in long {
        assert_eq!(agree(&mut fixture, vec![long]), [Outcome::TOO_LONG]);
    }
}

#[test]
fn what_deposits_credits_its_sender_unless_it_is_a_well_formed_deposit() {
    let mut fixture = funded();
    let asked = [pay(Action::Transfer, 3, 60, account("bob")), pay(EXIT, 3, AMOUNT_MIN, account("out"))];
    let to_nobody = pay(Action::Deposit, 0, 0, NOBODY);
    let messages = [malformed(), asked.to_vec(), vec![to_nobody]].concat();
    let count = messages.len() as u64;
    let block = (1..).zip(messages).map(|(index, message)| transaction(index, "alice", 5, message));
    let outcomes = agree(&mut fixture, block.collect());
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::SUCCESS), "{outcomes:?}");
    let accessed = |tx: &reprise_model::scheduled::ScheduledTransaction| tx.journal.accesses[0].resource;
    assert!(fixture.batches[1].transactions.iter().all(|tx| accessed(tx) == account("alice")));
    let last = fixture.block(vec![transaction(1, "alice", 0, pay(EXIT, 3, AMOUNT_MIN, account("out")))]);
    assert_eq!(last.transactions[0].journal.outcome, Outcome::SUCCESS);
    let before = fixture.transaction_witness(2, 0).before[0].clone();
    assert_eq!(before, Some(Account::new(MANY + 5 * count, 3).cells()));
}

#[test]
fn hundreds_of_random_transactions_agree() {
    let mut random = Random(20_261_122);
    let names = ["a", "b", "c", "d", "e"];
    let mut seen = BTreeMap::new();
    for _ in 0..30 {
        let mut fixture = fixture();
        let funds: Vec<_> =
            (0..).zip(&names[..4]).map(|(at, name)| fund(at, account(name), random.amount())).collect();
        fixture.block(funds);
        for _ in 0..6 {
            let mut block = vec![];
            for index in 0..4 {
                let (from, to) = (names[random.below(5) as usize], names[random.below(5) as usize]);
                let action = [Action::Transfer, EXIT, Action::Deposit][random.below(3) as usize];
                let mut payload = pay(action, random.below(3), random.amount(), account(to));
                match random.below(12) {
                    0 => payload[random.below(32) as usize] ^= 1 << random.below(8),
                    1 => payload.truncate(random.below(65) as usize),
                    2 => payload.resize(64 + random.below(100) as usize, 3),
                    _ => (),
                }
                let deposit = if random.below(3) == 0 { random.amount() } else { 0 };
                block.push(transaction(index, from, deposit, payload));
            }
            for outcome in agree(&mut fixture, block) {
                *seen.entry(outcome).or_insert(0) += 1;
            }
        }
    }
    for outcome in [Outcome::SUCCESS, Outcome::MALFORMED, BAD_NONCE, OVERDRAFT, OVERFLOW] {
        assert!(seen.get(&outcome).is_some_and(|count| *count > 3), "{seen:?}");
    }
}

#[test]
fn what_is_no_transaction_is_refused_and_another_pre_image_is_another_journal() {
    let mut fixture = funded();
    let payload = pay(Action::Transfer, 3, 60, account("bob"));
    fixture.block(vec![transaction(1, "alice", 0, payload)]);
    let honest = fixture.batches[1].transactions[0].journal.bytes();
    let run = |change: &dyn Fn(&mut TransactionWitness)| {
        let mut witness = fixture.transaction_witness(1, 0);
        change(&mut witness);
        development().execute(&Witness::Transaction(witness), &[])
    };
    assert_eq!(run(&|_| ()).unwrap().journal, honest);

    type Change<'a> = (&'a str, &'a dyn Fn(&mut TransactionWitness));
    let refused: [Change<'_>; 9] = [
        (NO_TRANSACTION, &|w| w.transaction.clear()),
        (NO_TRANSACTION, &|w| w.transaction.truncate(4)),
        (NO_TRANSACTION, &|w| w.transaction.push([0; 8])),
        (NO_TRANSACTION, &|w| w.transaction[2][4] = 1),
        (NO_TRANSACTION, &|w| w.transaction[2][7] = 1),
        (FOREIGN, &|w| w.transaction[4][0] ^= 1),
        // It is a deposit then, and declares one account.
        ("2 values, and the transaction declares 1", &|w| w.transaction[2][2] ^= 1),
        ("1 values, and the transaction declares 2", &|w| drop(w.before.pop())),
        ("3 values, and the transaction declares 2", &|w| w.before.push(None)),
    ];
    for (why, change) in refused {
        assert_refused(run(change).map(|done| done.journal), why);
    }
    // A byte less of the message is another cell's content, or another message.
    assert_refused(run(&|w| w.transaction[2][0] -= 1).map(|done| done.journal), "");

    let rich = || Some(Account::new(1 << 40, 3).cells());
    let other: [&dyn Fn(&mut TransactionWitness); 10] = [
        &|w| w.transaction[0][0] ^= 1,
        &|w| w.before[0] = rich(),
        &|w| w.before[0] = None,
        &|w| w.before.swap(0, 1),
        &|w| w.before[1].as_mut().unwrap()[0][4] = 1,
        &|w| w.transaction[1][0] ^= 1,
        &|w| w.transaction[2][1] ^= 1,
        &|w| w.transaction[3][0] ^= 1,
        &|w| w.transaction[4][2] ^= 1,
        &|w| {
            w.transaction[2][2] ^= 1;
            w.before.truncate(1);
        },
    ];
    for change in other {
        assert_ne!(run(change).unwrap().journal, honest);
    }
}
