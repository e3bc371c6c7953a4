//! The transaction program against native execution, without proving.

use reprise_ledger::{Account, Action};
use reprise_ledger::{BAD_NONCE, NOTHING_DEPOSITED, OVERDRAFT, OVERFLOW, SLOT_TAKEN};
use reprise_miden::Poseidon2;
use reprise_model::digest::ResourceId;
use reprise_model::journal::{Journal, Outcome};
use reprise_model::state;
use reprise_model::transaction::LaneTransaction;

use crate::world::{World, account, backend, pay, transaction};

/// Native execution and the program agree on the journal; how it ended.
fn agree(world: &mut World, tx: &LaneTransaction) -> Outcome {
    let executed = world.execute(tx);
    let committed = backend().execute(&executed.witness(), &[]).unwrap();
    assert_eq!(committed, executed.journal.digest(&Poseidon2), "{:?}", executed.journal);
    executed.journal.outcome
}

fn funded() -> World {
    World::with(&[("alice", 100, 3), ("bob", 7, 0), ("rich", u64::MAX, u64::MAX)])
}

#[test]
fn every_action_succeeds_as_it_does_natively() {
    let mut world = funded();
    let (bob, new) = (account("bob"), account("new"));
    let mut run = |name, deposit, payload| agree(&mut world, &transaction(1, name, deposit, payload));
    assert_eq!(run("alice", 0, pay(Action::Transfer, 3, 60, bob)), Outcome::SUCCESS);
    assert_eq!(run("alice", 0, pay(Action::Transfer, 4, 40, new)), Outcome::SUCCESS);
    assert_eq!(run("alice", 0, pay(Action::Transfer, 5, 0, bob)), Outcome::SUCCESS);
    assert_eq!(run("bob", 0, pay(Action::Exit, 0, 67, account("out"))), Outcome::SUCCESS);
    assert_eq!(run("bob", 0, pay(Action::Exit, 1, 0, bob)), Outcome::SUCCESS);
    assert_eq!(run("carol", 5_000_000_000, pay(Action::Deposit, 9, 9, bob)), Outcome::SUCCESS);
    assert_eq!(run("carol", 1, pay(Action::Deposit, 0, 0, account("carol"))), Outcome::SUCCESS);
    assert_eq!(run("rich", 0, pay(Action::Exit, u64::MAX, u64::MAX, bob)), Outcome::SUCCESS);
    assert_eq!(run("nobody", 0, pay(Action::Transfer, 0, 0, bob)), Outcome::SUCCESS);
}

#[test]
fn every_failure_is_the_native_one() {
    let mut world = funded();
    let (bob, rich) = (account("bob"), account("rich"));
    let mut run = |name, deposit, payload| agree(&mut world, &transaction(1, name, deposit, payload));
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
    // Same slot, another account: they differ past the first eight bytes, or in the bit that is no slot's.
    let other = |name: &str, byte: usize, bit: u8| {
        let mut id = account(name);
        id.0[byte] ^= bit;
        id
    };
    for (byte, bit) in [(7, 0x80), (8, 1), (31, 1)] {
        for name in ["alice", "bob"] {
            let mut world = funded();
            let id = other(name, byte, bit);
            world.put(state::slot(&id), Account { id, balance: 1000, nonce: 3 }.cells());
            let mut run = |deposit, payload| agree(&mut world, &transaction(1, "alice", deposit, payload));
            assert_eq!(run(0, pay(Action::Transfer, 3, 1, account("bob"))), SLOT_TAKEN);
            let exit = run(0, pay(Action::Exit, 9, 1, account("bob")));
            assert_eq!(exit, if name == "alice" { SLOT_TAKEN } else { BAD_NONCE });
            let deposit = run(0, pay(Action::Deposit, 0, 0, account("bob")));
            assert_eq!(deposit, if name == "bob" { SLOT_TAKEN } else { NOTHING_DEPOSITED });
        }
    }
}

#[test]
fn a_malformed_payload_declares_nothing() {
    let mut world = funded();
    let good = pay(Action::Transfer, 3, 1, account("bob"));
    let with = |at: usize, byte: u8| {
        let mut payload = good.clone();
        payload[at] = byte;
        payload
    };
    let mut malformed = vec![
        vec![],
        vec![1],
        good[..32].to_vec(),
        good[..63].to_vec(),
        [good.clone(), vec![0]].concat(),
        [good.clone(), vec![0; 200]].concat(),
        vec![255; 64],
        with(0, 0),
        with(3, 0),
        with(4, 0),
        with(4, 4),
        with(7, 1),
        with(24, 1),
        with(28, 1),
        with(31, 255),
    ];
    // To oneself, and to another account in one's slot.
    malformed.push(pay(Action::Transfer, 3, 1, account("alice")));
    let mut twin: ResourceId = account("alice");
    twin.0[7] ^= 0x80;
    twin.0[20] ^= 1;
    malformed.push(pay(Action::Transfer, 3, 1, twin));
    for payload in malformed {
        assert_eq!(agree(&mut world, &transaction(1, "alice", 1, payload)), Outcome::MALFORMED);
    }
    // Only a transfer minds.
    let exit = pay(Action::Exit, 3, 1, account("alice"));
    assert_eq!(agree(&mut world, &transaction(1, "alice", 0, exit)), Outcome::SUCCESS);
    let deposit = pay(Action::Deposit, 0, 0, account("alice"));
    assert_eq!(agree(&mut world, &transaction(1, "alice", 2, deposit)), Outcome::SUCCESS);
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
fn thousands_of_random_transactions_agree() {
    let mut random = Random(20_261_122);
    let names = ["a", "b", "c", "d", "e"];
    let mut seen = std::collections::BTreeMap::new();
    let mut world = World::new();
    for round in 0..2500u32 {
        if round % 50 == 0 {
            world = World::new();
            for name in &names[..4] {
                let id = account(name);
                let (balance, nonce) = (random.amount(), random.below(2));
                let taken = random.below(10) == 0;
                let mut holder = id;
                holder.0[9] ^= u8::from(taken);
                world.put(state::slot(&id), Account { id: holder, balance, nonce }.cells());
            }
        }
        let (from, to) = (names[random.below(5) as usize], names[random.below(5) as usize]);
        let action = [Action::Transfer, Action::Exit, Action::Deposit][random.below(3) as usize];
        let held = world.values.get(&state::slot(&account(from))).and_then(|v| Account::from_cells(v));
        let nonce = held.map_or(0, |held| held.nonce) + u64::from(random.below(6) == 0);
        let amount = match (random.below(3), held) {
            (0, Some(held)) => held.balance.wrapping_add(random.below(3)).wrapping_sub(1),
            (1, Some(held)) => held.balance >> random.below(8),
            _ => random.amount(),
        };
        let mut payload = pay(action, nonce, amount, account(to));
        match random.below(12) {
            0 => payload[random.below(32) as usize] ^= 1 << random.below(8),
            1 => payload.truncate(random.below(65) as usize),
            2 => payload.resize(64 + random.below(100) as usize, 3),
            _ => (),
        }
        let deposit = if random.below(3) == 0 { random.amount() } else { 0 };
        let outcome = agree(&mut world, &transaction(round, from, deposit, payload));
        *seen.entry(outcome).or_insert(0) += 1;
    }
    let outcomes =
        [Outcome::SUCCESS, Outcome::MALFORMED, SLOT_TAKEN, BAD_NONCE, OVERDRAFT, NOTHING_DEPOSITED, OVERFLOW];
    for outcome in outcomes {
        assert!(seen.get(&outcome).is_some_and(|count| *count > 20), "{seen:?}");
    }
}
