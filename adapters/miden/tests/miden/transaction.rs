//! The transaction program against native execution, without proving.

use reprise_conformance::fixture::{EXIT, account, fund, list, pay, transaction};
use reprise_conformance::generated::Random;
use reprise_ledger::{Account, Action, BAD_NONCE, EXPIRED, OVERDRAFT, OVERFLOW, STEPS_MAX};
use reprise_miden::{MidenError, Poseidon2};
use reprise_model::digest::ResourceId;
use reprise_model::exit::{AMOUNT_MIN, ScriptClass};
use reprise_model::journal::{Journal, Outcome};
use reprise_model::transaction::{BYTES_MAX, LaneTransaction, Price};
use reprise_model::witness::{TransactionWitness, Witness};

use crate::world::{CONTEXT, Values, assert_refused, backend, pins};

const FOREIGN: &str = "the transaction is none of the workload's";

/// Native execution and the program agree on the journal, or that there is none; how it ended.
fn agree(values: &mut Values, tx: &LaneTransaction) -> Outcome {
    match values.execute(tx) {
        Ok(done) => {
            let committed = backend().execute(&Witness::Transaction(done.witness), &[]).unwrap();
            assert_eq!(committed, done.journal.digest(&Poseidon2), "{:?}", done.journal);
            done.journal.outcome
        }
        Err(outcome) => {
            let mut transaction = tx.cells(&tx.read(&pins().rollup()));
            if tx.is_too_long() {
                transaction.push([0; 8]);
            }
            // Whatever the values are said to be.
            for before in [vec![], vec![None; 2], vec![Some(Account::new(9, 0).cells()); 2]] {
                let transaction = transaction.clone();
                let witness = Witness::Transaction(TransactionWitness { transaction, before, context: None });
                assert_refused(backend().execute(&witness, &[]), FOREIGN);
            }
            outcome
        }
    }
}

/// What Alice has: enough to withdraw something.
const MANY: u64 = AMOUNT_MIN + 100;

fn funded() -> Values {
    Values::with(&[("alice", MANY, 3), ("bob", 7, 0), ("rich", u64::MAX, u64::MAX)])
}

#[test]
fn every_action_succeeds_as_it_does_natively() {
    let mut values = funded();
    let (bob, new) = (account("bob"), account("new"));
    let mut run = |name, deposit, message| agree(&mut values, &transaction(1, name, deposit, message));
    assert_eq!(run("alice", 0, pay(Action::Transfer, 3, AMOUNT_MIN + 60, bob)), Outcome::SUCCESS);
    assert_eq!(run("alice", 0, pay(Action::Transfer, 4, 40, new)), Outcome::SUCCESS);
    assert_eq!(run("alice", 0, pay(Action::Transfer, 5, 0, bob)), Outcome::SUCCESS);
    assert_eq!(run("bob", 0, pay(EXIT, 0, AMOUNT_MIN + 67, account("out"))), Outcome::SUCCESS);
    assert_eq!(run("carol", 5_000_000_000, pay(Action::Deposit, 9, 9, bob)), Outcome::SUCCESS);
    assert_eq!(run("carol", 1, pay(Action::Deposit, 0, 0, account("carol"))), Outcome::SUCCESS);
    assert_eq!(run("rich", 0, pay(EXIT, u64::MAX, u64::MAX, bob)), Outcome::SUCCESS);
    assert_eq!(run("nobody", 0, pay(Action::Transfer, 0, 0, bob)), Outcome::SUCCESS);
    assert_eq!(values.account("bob"), Some(Account::new(5_000_000_000, 1)));
}

#[test]
fn every_failure_is_the_native_one() {
    let mut values = funded();
    let (bob, rich) = (account("bob"), account("rich"));
    let mut run = |name, deposit, message| agree(&mut values, &transaction(1, name, deposit, message));
    assert_eq!(run("alice", 0, pay(Action::Transfer, 2, 1, bob)), BAD_NONCE);
    assert_eq!(run("alice", 0, pay(Action::Transfer, 3 + (1 << 32), 1000 * AMOUNT_MIN, bob)), BAD_NONCE);
    assert_eq!(run("alice", 0, pay(EXIT, 4, 1000 * AMOUNT_MIN, bob)), BAD_NONCE);
    assert_eq!(run("nobody", 0, pay(EXIT, 1, AMOUNT_MIN, bob)), BAD_NONCE);
    assert_eq!(run("alice", 0, pay(Action::Transfer, 3, MANY + 1, rich)), OVERDRAFT);
    assert_eq!(run("alice", 0, pay(EXIT, 3, u64::MAX, bob)), OVERDRAFT);
    assert_eq!(run("nobody", 0, pay(Action::Transfer, 0, 1, bob)), OVERDRAFT);
    assert_eq!(run("alice", 0, pay(Action::Transfer, 3, 1, rich)), OVERFLOW);
    assert_eq!(run("alice", 1, pay(Action::Deposit, 3, 0, rich)), OVERFLOW);
    assert_eq!(run("rich", 1, vec![]), OVERFLOW);
}

#[test]
fn lists_and_deadlines_are_the_native_ones() {
    let mut values = funded();
    let (bob, rich, new) = (account("bob"), account("rich"), account("new"));
    let mut run = |message| agree(&mut values, &transaction(1, "alice", 0, message));
    let transfer = |amount, to| (Action::Transfer, amount, to);
    let exit = (EXIT, AMOUNT_MIN, account("out"));
    assert_eq!(run(list(3, 0, &[transfer(1, bob), exit, transfer(100, new)])), OVERDRAFT);
    assert_eq!(run(list(3, 0, &[exit, transfer(1, rich), transfer(99, new)])), OVERFLOW);
    assert_eq!(
        run(list(3, 0, &[transfer(30, bob), exit, transfer(1, new), transfer(20, bob)])),
        Outcome::SUCCESS
    );
    assert_eq!(run(list(4, 0, &[transfer(1, bob); 49])), Outcome::SUCCESS);
    assert_eq!(run(list(5, 0, &[transfer(0, bob); STEPS_MAX])), Outcome::SUCCESS);
    let seven: Vec<_> = (0..7).map(|n| transfer(0, account(&n.to_string()))).collect();
    assert_eq!(run(list(6, 0, &seven)), Outcome::SUCCESS);
    assert_eq!(values.account("bob"), Some(Account::new(7 + 50 + 49, 0)));
    assert_eq!(values.account("alice"), Some(Account::new(0, 7)));

    let score = CONTEXT.daa_score;
    let mut until = |nonce, deadline| {
        agree(&mut values, &transaction(1, "alice", 0, list(nonce, deadline, &[transfer(0, bob)])))
    };
    assert_eq!(until(7, score), Outcome::SUCCESS);
    assert_eq!(until(8, u64::MAX), Outcome::SUCCESS);
    assert_eq!(until(9, score - 1), EXPIRED);
    assert_eq!(until(9, 1), EXPIRED);
    assert_eq!(until(8, 1), BAD_NONCE);
}

#[test]
fn deposits_of_less_than_they_want_are_the_senders() {
    let mut values = funded();
    let least = |amount| pay(Action::Deposit, 0, amount, account("bob"));
    for (paid, asked) in [(5, 5), (5, 6), (1 << 32, 1 << 32), (1 << 32, (1 << 32) + 1), (9, 1 << 32)] {
        let deposit = transaction(1, "alice", paid, least(asked));
        assert_eq!(agree(&mut values, &deposit), Outcome::SUCCESS);
    }
    assert_eq!(values.account("bob"), Some(Account::new(7 + 5 + (1 << 32), 0)));
    assert_eq!(values.account("alice"), Some(Account::new(MANY + 5 + (1 << 32) + 9, 3)));
}

#[test]
fn the_price_and_its_collection_are_the_native_ones() {
    let mut values = funded();
    values.put("rich", Account { balance: 1, nonce: 0, fees: u64::MAX - 10 });
    let price = Price { amount: 7, collector: account("carol") };
    let mut run = |name, message| {
        let tx = transaction(1, name, 0, message);
        let mut read = tx.read(&pins().rollup());
        read.facts.price = price;
        let done = values.execute_as(&tx, &read).unwrap();
        let committed = backend().execute(&Witness::Transaction(done.witness), &[]).unwrap();
        assert_eq!(committed, done.journal.digest(&Poseidon2), "{:?}", done.journal);
        done.journal.outcome
    };
    let (bob, transfer) = (account("bob"), |amount, to| (Action::Transfer, amount, to));
    let collect = |from: &str| (Action::Collect, 0, account(from));
    assert_eq!(run("alice", list(3, 0, &[transfer(40, bob), transfer(39, bob)])), Outcome::SUCCESS);
    assert_eq!(run("bob", list(0, 0, &[transfer(1, account("alice")); 12])), OVERDRAFT);
    assert_eq!(run("bob", list(0, 0, &[transfer(1, account("alice")); 13])), Outcome::UNDERPAID);
    assert_eq!(run("rich", list(0, 0, &[transfer(0, bob)])), Outcome::UNDERPAID);
    assert_eq!(
        run("carol", list(0, 0, &[collect("alice"), collect("bob"), transfer(4, bob)])),
        Outcome::SUCCESS
    );
    assert_eq!(run("carol", list(1, 0, &[collect("rich")])), Outcome::SUCCESS);
    assert_eq!(run("carol", list(2, 0, &[collect("alice")])), Outcome::SUCCESS);
    assert_eq!(values.account("alice"), Some(Account::new(AMOUNT_MIN + 100 - 79 - 14, 4)));
    assert_eq!(values.account("bob"), Some(Account::new(7 + 79 + 4, 0)));
    assert_eq!(values.account("carol"), Some(Account::new(u64::MAX, 3)));
}

/// Messages of Alice's that are not well-formed.
fn malformed() -> Vec<Vec<u8>> {
    let good = pay(Action::Transfer, 3, 1, account("bob"));
    let with = |at: usize, byte: u8| {
        let mut message = good.clone();
        message[at] = byte;
        message
    };
    let nobody = ResourceId([0; 32]);
    let mut classless = pay(EXIT, 3, AMOUNT_MIN, account("bob"));
    classless[44] = 4;
    vec![
        vec![],
        vec![1],
        good[..32].to_vec(),
        good[..64].to_vec(),
        good[..95].to_vec(),
        [good.clone(), vec![0]].concat(),
        [good.clone(), vec![0; 200]].concat(),
        vec![0; 64],
        vec![255; 64],
        vec![7; 5000],
        with(0, 0),
        with(3, 0),
        with(4, 0),
        with(4, 2),
        with(7, 1),
        with(24, 1),
        with(28, 1),
        with(31, 255),
        with(32, 0),
        with(32, 4),
        with(32, 5),
        with(35, 1),
        with(44, 1),
        with(48, 1),
        with(63, 255),
        // A deposit is alone, and has no deadline.
        list(3, 0, &[(Action::Transfer, 1, account("bob")), (Action::Deposit, 0, account("bob"))]),
        list(3, 1 << 60, &[(Action::Deposit, 0, account("bob"))]),
        // Too many steps, accounts, exits.
        list(3, 0, &[(Action::Transfer, 0, account("bob")); STEPS_MAX + 1]),
        list(3, 0, &(0..8).map(|n| (Action::Transfer, 0, account(&n.to_string()))).collect::<Vec<_>>()),
        list(3, 0, &[(EXIT, AMOUNT_MIN, account("bob")); 9]),
        // Nobody collects who is not pinned.
        list(3, 0, &[(Action::Collect, 0, account("bob"))]),
        // To oneself.
        pay(Action::Transfer, 3, 1, account("alice")),
        // To nobody.
        pay(Action::Transfer, 3, 1, nobody),
        pay(EXIT, 3, AMOUNT_MIN, nobody),
        pay(Action::Deposit, 3, 1, nobody),
        // Of too little.
        pay(EXIT, 3, 0, account("bob")),
        pay(EXIT, 3, AMOUNT_MIN - 1, account("bob")),
        // To no class of scripts.
        classless,
    ]
}

#[test]
fn what_is_none_of_the_ledgers_has_no_proof() {
    let mut values = funded();
    for message in malformed() {
        assert_eq!(agree(&mut values, &transaction(1, "alice", 0, message)), Outcome::MALFORMED);
    }
    // A deposit of nothing.
    let deposit = pay(Action::Deposit, 0, 5, account("bob"));
    assert_eq!(agree(&mut values, &transaction(1, "alice", 0, deposit)), Outcome::MALFORMED);
    // Only a transfer minds to whom it goes.
    let exit = pay(EXIT, 3, AMOUNT_MIN, account("alice"));
    assert_eq!(agree(&mut values, &transaction(1, "alice", 0, exit)), Outcome::SUCCESS);
    let deposit = pay(Action::Deposit, 0, 0, account("alice"));
    assert_eq!(agree(&mut values, &transaction(1, "alice", 2, deposit)), Outcome::SUCCESS);
}

#[test]
fn what_pays_the_deposit_script_is_a_deposit_whatever_it_says() {
    let mut values = funded();
    let others = [pay(Action::Transfer, 3, 1, account("bob")), pay(EXIT, 3, AMOUNT_MIN, account("bob"))];
    let messages = malformed().into_iter().chain(others);
    for (count, message) in messages.enumerate() {
        assert_eq!(agree(&mut values, &transaction(1, "alice", 2, message)), Outcome::SUCCESS);
        let balance = MANY + 2 + 2 * count as u64;
        assert_eq!(values.account("alice"), Some(Account::new(balance, 3)), "the sender's");
    }
    assert_eq!(values.account("bob"), Some(Account::new(7, 0)));
}

#[test]
fn what_is_too_long_has_no_proof() {
    let mut values = funded();
    let whole = fund(1, account("alice"), 100);
    let long_payload = LaneTransaction { payload: vec![1; BYTES_MAX + 1], ..whole.clone() };
    let mut rest = whole.rest.clone();
    rest.resize(BYTES_MAX + 1, 0);
    let long_rest = LaneTransaction { rest, ..whole };
    for tx in [long_payload, long_rest] {
        assert_eq!(agree(&mut values, &tx), Outcome::TOO_LONG);
    }
}

#[test]
fn the_longest_message_that_is_read_is_hashed_as_it_is_natively() {
    let mut values = funded();
    let mut tx = transaction(1, "alice", 2, vec![]);
    for length in [BYTES_MAX - 1, BYTES_MAX] {
        tx.payload.resize(length, 5);
        assert!(tx.message(&pins().covenant).len() > BYTES_MAX - 400);
        assert_eq!(agree(&mut values, &tx), Outcome::SUCCESS);
    }
}

#[test]
fn a_transaction_is_made_of_its_cells() {
    let done =
        funded().execute(&transaction(1, "alice", 0, pay(EXIT, 3, AMOUNT_MIN, account("bob")))).unwrap();
    let run = |change: &dyn Fn(&mut TransactionWitness)| {
        let mut witness = done.witness.clone();
        change(&mut witness);
        backend().execute(&Witness::Transaction(witness), &[])
    };
    let honest = done.journal.digest(&Poseidon2);
    assert_eq!(run(&|_| ()), Ok(honest));
    // Every word is part of the digest, whether the program looks at it or not.
    for cell in 0..7 {
        for word in 0..8 {
            let other = run(&|witness| witness.transaction[cell][word] ^= 1);
            assert_ne!(other, Ok(honest), "cell {cell}, word {word}");
        }
    }
    assert_ne!(run(&|witness| witness.transaction.truncate(6)), Ok(honest));
    let changes: [fn(&mut TransactionWitness); 3] = [
        |witness| witness.before.clear(),
        |witness| witness.transaction[2][0] = BYTES_MAX as u32 + 1,
        |witness| witness.transaction[2][4] = 2,
    ];
    for change in changes {
        let refused = run(&change);
        assert!(matches!(refused, Err(MidenError::Refused { .. })), "{refused:?}");
    }
    let two_cells = run(&|witness| witness.before[0] = Some(vec![[0; 8]; 2]));
    assert!(matches!(two_cells, Err(MidenError::Refused { .. })), "{two_cells:?}");
    let no_cells = run(&|witness| witness.before[0] = Some(vec![]));
    assert!(matches!(no_cells, Err(MidenError::Witness { .. })), "{no_cells:?}");
}

#[test]
fn thousands_of_random_transactions_agree() {
    let mut random = Random(20_261_122);
    let names = ["a", "b", "c", "d", "e"];
    let mut seen = std::collections::BTreeMap::new();
    let mut values = Values::default();
    for round in 0..2500u32 {
        if round % 50 == 0 {
            values = Values::default();
            for name in &names[..4] {
                values.put(name, Account::new(random.amount(), random.below(2)));
            }
        }
        let (from, to) = (names[random.place(5)], names[random.place(5)]);
        let action = [Action::Transfer, Action::Exit(ScriptClass::ALL[random.place(4)]), Action::Deposit]
            [random.place(3)];
        let held = values.account(from);
        let nonce = held.map_or(0, |held| held.nonce) + u64::from(random.one_in(6));
        let amount = match (random.below(3), held) {
            (0, Some(held)) => held.balance.wrapping_add(random.below(3)).wrapping_sub(1),
            (1, Some(held)) => held.balance >> random.below(8),
            _ => random.amount(),
        };
        let mut message = pay(action, nonce, amount, account(to));
        match random.below(12) {
            0 => message[random.below(32) as usize] ^= 1 << random.below(8),
            1 => message.truncate(random.below(65) as usize),
            2 => message.resize(64 + random.below(100) as usize, 3),
            _ => (),
        }
        let deposit = if random.one_in(3) { random.amount() } else { 0 };
        let outcome = agree(&mut values, &transaction(round, from, deposit, message));
        *seen.entry(outcome).or_insert(0) += 1;
    }
    for outcome in [Outcome::SUCCESS, Outcome::MALFORMED, BAD_NONCE, OVERDRAFT, OVERFLOW] {
        assert!(seen.get(&outcome).is_some_and(|count| *count > 20), "{seen:?}");
    }
}
