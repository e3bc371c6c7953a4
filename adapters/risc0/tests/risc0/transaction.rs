//! The transaction program against native execution, without proving.

use std::collections::BTreeMap;

use reprise_ledger::{Account, Action, BAD_NONCE, NOTHING_DEPOSITED, OVERDRAFT, OVERFLOW, SLOT_TAKEN};
use reprise_model::digest::ResourceId;
use reprise_model::journal::{Journal, Outcome};
use reprise_model::transaction::LaneTransaction;
use reprise_model::witness::{TransactionWitness, Witness};
use reprise_risc0::Risc0Error;

use crate::fixture::{Fixture, account, development, fixture, fund, pay, transaction};

/// Native execution and the program agree on the journal of a block's transactions; how they ended.
fn agree(fixture: &mut Fixture, accepted: Vec<LaneTransaction>) -> Vec<Outcome> {
    let journals: Vec<_> = fixture.block(accepted).transactions.iter().map(|tx| tx.journal.clone()).collect();
    let block = fixture.batches.len() - 1;
    for (index, journal) in journals.iter().enumerate() {
        let witness = Witness::Transaction(fixture.transaction_witness(block, index));
        let committed = development().execute(&witness, &[]).unwrap().journal;
        assert_eq!(committed, journal.bytes(), "{journal:?}");
    }
    journals.iter().map(|journal| journal.outcome).collect()
}

/// Another account in the slot of `of`.
fn squatter(of: ResourceId) -> ResourceId {
    let mut id = of;
    id.0[31] ^= 1;
    id
}

fn one(fixture: &mut Fixture, name: &str, deposit: u64, payload: Vec<u8>) -> Outcome {
    agree(fixture, vec![transaction(1, name, deposit, payload)])[0]
}

/// Alice has 100 and nonce 3, Bob 7, Rich as much as there can be.
fn funded() -> Fixture {
    let mut fixture = fixture();
    let nothing =
        |nonce: u32| transaction(3 + nonce, "alice", 0, pay(Action::Exit, nonce.into(), 0, account("out")));
    let first = vec![
        fund(0, account("alice"), 100),
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
    assert_eq!(run("alice", 0, pay(Action::Transfer, 3, 60, bob)), Outcome::SUCCESS);
    assert_eq!(run("alice", 0, pay(Action::Transfer, 4, 40, new)), Outcome::SUCCESS);
    assert_eq!(run("alice", 0, pay(Action::Transfer, 5, 0, bob)), Outcome::SUCCESS);
    assert_eq!(run("bob", 0, pay(Action::Exit, 0, 67, account("out"))), Outcome::SUCCESS);
    assert_eq!(run("bob", 0, pay(Action::Exit, 1, 0, bob)), Outcome::SUCCESS);
    assert_eq!(run("carol", 5_000_000_000, pay(Action::Deposit, 9, 9, bob)), Outcome::SUCCESS);
    assert_eq!(run("carol", 1, pay(Action::Deposit, 0, 0, account("carol"))), Outcome::SUCCESS);
    assert_eq!(run("rich", 0, pay(Action::Exit, 0, u64::MAX, bob)), Outcome::SUCCESS);
    assert_eq!(run("nobody", 0, pay(Action::Transfer, 0, 0, bob)), Outcome::SUCCESS);
}

#[test]
fn every_failure_is_the_native_one() {
    let mut fixture = funded();
    let (bob, rich) = (account("bob"), account("rich"));
    let mut run = |name, deposit, payload| one(&mut fixture, name, deposit, payload);
    assert_eq!(run("alice", 0, pay(Action::Transfer, 2, 1, bob)), BAD_NONCE);
    assert_eq!(run("alice", 0, pay(Action::Transfer, 3 + (1 << 32), 1000, bob)), BAD_NONCE);
    assert_eq!(run("alice", 0, pay(Action::Exit, 4, 1000, bob)), BAD_NONCE);
    assert_eq!(run("nobody", 0, pay(Action::Exit, 1, 0, bob)), BAD_NONCE);
    assert_eq!(run("alice", 0, pay(Action::Transfer, 3, 101, rich)), OVERDRAFT);
    assert_eq!(run("alice", 0, pay(Action::Exit, 3, u64::MAX, bob)), OVERDRAFT);
    assert_eq!(run("nobody", 0, pay(Action::Transfer, 0, 1, bob)), OVERDRAFT);
    assert_eq!(run("alice", 0, pay(Action::Deposit, 0, 5, bob)), NOTHING_DEPOSITED);
    assert_eq!(run("alice", 0, pay(Action::Transfer, 3, 1, rich)), OVERFLOW);
    assert_eq!(run("alice", 1, pay(Action::Deposit, 3, 0, rich)), OVERFLOW);
}

#[test]
fn a_slot_that_another_account_holds_is_taken() {
    let mut fixture = fixture();
    let (alice, bob) = (account("alice"), account("bob"));
    assert_eq!(
        agree(&mut fixture, vec![fund(1, squatter(bob), 50), fund(2, alice, 9)]),
        [Outcome::SUCCESS; 2]
    );
    let mut run = |name, deposit, payload| one(&mut fixture, name, deposit, payload);
    assert_eq!(run("alice", 0, pay(Action::Transfer, 0, 1, bob)), SLOT_TAKEN);
    assert_eq!(run("bob", 0, pay(Action::Transfer, 0, 1, alice)), SLOT_TAKEN);
    assert_eq!(run("bob", 0, pay(Action::Exit, 9, 1, alice)), SLOT_TAKEN);
    assert_eq!(run("alice", 0, pay(Action::Exit, 9, 1, bob)), BAD_NONCE);
    assert_eq!(run("alice", 1, pay(Action::Deposit, 0, 0, bob)), SLOT_TAKEN);
}

#[test]
fn a_malformed_payload_declares_nothing() {
    let mut fixture = funded();
    let good = pay(Action::Transfer, 3, 1, account("bob"));
    let with = |at: usize, byte: u8| {
        let mut payload = good.clone();
        payload[at] = byte;
        payload
    };
    let malformed = [
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
        pay(Action::Transfer, 3, 1, account("alice")),
        pay(Action::Transfer, 3, 1, squatter(account("alice"))),
    ];
    let block = (1..).zip(malformed).map(|(index, payload)| transaction(index, "alice", 1, payload));
    let outcomes = agree(&mut fixture, block.collect());
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::MALFORMED), "{outcomes:?}");
    assert!(fixture.batches[1].transactions.iter().all(|tx| tx.journal.accesses.is_empty()));
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Numbers where carries and overflows live.
    fn amount(&mut self) -> u64 {
        match self.below(5) {
            0 => self.below(4),
            1 => u64::MAX - self.below(3),
            2 => (1u64 << 32).wrapping_sub(2) + self.below(4),
            3 => self.next() >> self.below(64),
            _ => self.below(1 << 34),
        }
    }
}

#[test]
fn hundreds_of_random_transactions_agree() {
    let mut random = Random(20_261_122);
    let names = ["a", "b", "c", "d", "e"];
    let mut seen = BTreeMap::new();
    for _ in 0..30 {
        let mut fixture = fixture();
        let holder = |random: &mut Random, name| match random.below(6) {
            0 => squatter(account(name)),
            _ => account(name),
        };
        let funds: Vec<_> = (0..)
            .zip(&names[..4])
            .map(|(at, name)| fund(at, holder(&mut random, name), random.amount()))
            .collect();
        fixture.block(funds);
        for _ in 0..6 {
            let mut block = vec![];
            for index in 0..4 {
                let (from, to) = (names[random.below(5) as usize], names[random.below(5) as usize]);
                let action = [Action::Transfer, Action::Exit, Action::Deposit][random.below(3) as usize];
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
    let outcomes =
        [Outcome::SUCCESS, Outcome::MALFORMED, SLOT_TAKEN, BAD_NONCE, OVERDRAFT, NOTHING_DEPOSITED, OVERFLOW];
    for outcome in outcomes {
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

    let refused: [&dyn Fn(&mut TransactionWitness); 7] = [
        &|w| w.transaction.clear(),
        &|w| w.transaction.truncate(4),
        &|w| w.transaction.push([0; 8]),
        &|w| w.transaction[1][0] -= 1,
        &|w| w.transaction[1][7] = 1,
        &|w| drop(w.before.pop()),
        &|w| w.before.push(None),
    ];
    for change in refused {
        let result = run(change);
        assert!(matches!(result, Err(Risc0Error::Refused { .. })), "{result:?}");
    }

    let rich = |id: ResourceId| Some(Account { id, balance: 1 << 40, nonce: 3 }.cells());
    let other: [&dyn Fn(&mut TransactionWitness); 7] = [
        &|w| w.before[0] = rich(account("alice")),
        &|w| w.before[0] = None,
        &|w| w.before.swap(0, 1),
        &|w| w.transaction[0][0] ^= 1,
        &|w| w.transaction[1][2] ^= 1,
        &|w| w.transaction[2][0] ^= 1,
        &|w| w.transaction[3][4] ^= 1,
    ];
    for change in other {
        assert_ne!(run(change).unwrap().journal, honest);
    }
}
