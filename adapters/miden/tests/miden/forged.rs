//! Batch witnesses that nobody honest makes, at random: the program says of them what is said natively.

use std::collections::BTreeMap;

use reprise_conformance::fixture::{EXIT, account, fund, pay, transaction};
use reprise_conformance::generated::Random;
use reprise_ledger::{Account, Action, Ledger};
use reprise_miden::{MidenError, Poseidon2};
use reprise_model::digest::Digest;
use reprise_model::exit::AMOUNT_MIN;
use reprise_model::journal::Journal;
use reprise_model::program::{self, Refusal};
use reprise_model::state::Entry;
use reprise_model::transaction::{BYTES_MAX, LaneTransaction, ShownBytes};
use reprise_model::witness::{BatchWitness, Handling};

use crate::world::{chain_of, ids, run_batch};

/// Batches over all that a block can hold.
fn pool() -> Vec<BatchWitness> {
    let (alice, bob, out) = (account("alice"), account("bob"), account("out"));
    let long = LaneTransaction { payload: vec![1; BYTES_MAX + 1], ..transaction(14, "mallory", 0, vec![]) };
    let mut fixture = chain_of(ids(), 4);
    fixture.block(vec![fund(1, alice, 100 * AMOUNT_MIN), fund(2, bob, 7 * AMOUNT_MIN)]);
    fixture.block(vec![
        transaction(2, "alice", 0, pay(Action::Transfer, 0, 60 * AMOUNT_MIN, bob)),
        transaction(3, "mallory", 0, vec![1]),
        transaction(5, "bob", 0, pay(Action::Transfer, 0, 1, account("new"))),
        transaction(6, "bob", 0, pay(Action::Transfer, 1, 1000 * AMOUNT_MIN, alice)),
        transaction(8, "carol", 40 * AMOUNT_MIN, vec![9; 100]),
        transaction(9, "carol", 0, pay(EXIT, 0, 40 * AMOUNT_MIN, out)),
        transaction(10, "alice", 0, pay(EXIT, 1, 3 * AMOUNT_MIN, out)),
        transaction(12, "bob", 0, pay(EXIT, 0, 3 * AMOUNT_MIN, out)),
        long,
        transaction(20, "alice", 0, pay(Action::Transfer, 2, 1, bob)),
    ]);
    let batches = [(0, 0), (1, 0), (1, 1), (1, 2)];
    batches.map(|(block, index)| fixture.batch_witness_at(block, index)).into()
}

fn flip(random: &mut Random, bytes: &mut ShownBytes) {
    if let ShownBytes::Whole(bytes) = bytes
        && !bytes.is_empty()
    {
        // The message is last.
        let from = bytes.len() - bytes.len().min(96);
        let at = if random.one_in(4) {
            random.place(bytes.len())
        } else {
            from + random.place(bytes.len() - from)
        };
        bytes[at] ^= 1 << random.below(8);
    }
}

fn any(random: &mut Random) -> Digest {
    Digest(std::array::from_fn(|at| if at % 8 == 7 { 0 } else { random.below(256) as u8 }))
}

/// Changes what is said of the transactions.
fn forge_transactions(random: &mut Random, witness: &mut BatchWitness, other: &BatchWitness) {
    let at = random.place(witness.transactions.len());
    match random.below(10) {
        0 => drop(witness.transactions.remove(at)),
        1 => {
            let index = [0, at].map(|at| witness.transactions[at].0.merge_index);
            witness.transactions.swap(0, at);
            if random.one_in(2) {
                (witness.transactions[0].0.merge_index, witness.transactions[at].0.merge_index) =
                    (index[0], index[1]);
            }
        }
        2 => {
            let (mut shown, handling) = witness.transactions[at].clone();
            shown.merge_index = 1000 + random.below(3) as u32;
            witness.transactions.push((shown, handling));
        }
        3 => {
            let index = &mut witness.transactions[at].0.merge_index;
            *index = if random.one_in(2) { *index + 1 } else { index.saturating_sub(1) };
        }
        4 => witness.transactions[at].1 = Handling::Disposed,
        5 => {
            if let Handling::Inline(values) = &mut witness.transactions[at].1
                && !values.is_empty()
            {
                let account = Account::new(random.amount(), random.below(3));
                let value = random.place(values.len());
                values[value] = if random.one_in(3) { None } else { Some(account.cells()) };
            }
        }
        6 => {
            if let Handling::Inline(values) = &mut witness.transactions[at].1 {
                values.resize(random.place(4), None);
            }
        }
        7 => flip(random, &mut witness.transactions[at].0.payload),
        8 => flip(random, &mut witness.transactions[at].0.rest),
        _ => {
            let (mut shown, handling) = other.transactions[random.place(other.transactions.len())].clone();
            shown.merge_index = witness.transactions[at].0.merge_index;
            witness.transactions[at] = (shown, handling);
        }
    }
}

/// Changes what is said of where the batch begins, of its block and of the state.
fn forge_position(random: &mut Random, witness: &mut BatchWitness, other: &BatchWitness) {
    let path = if witness.paths.is_empty() { 0 } else { random.place(witness.paths.len()) };
    let some = !witness.paths.is_empty();
    match random.below(15) {
        0 => witness.closes ^= true,
        1 => witness.tip_before = any(random),
        2 => witness.block.context.daa_score = random.number(),
        3 => witness.block.activity.count = random.below(4) as u32,
        4 => witness.block.last_index = random.below(12) as u32,
        5 => witness.block.activity.nodes.iter_mut().for_each(|node| *node = any(random)),
        6 => witness.block = other.block.clone(),
        7 => witness.pins.deposit = account("mine"),
        8 => witness.root_before = other.root_before,
        9 => (witness.root_before, witness.paths) = (other.root_before, other.paths.clone()),
        10 if some => drop(witness.paths.remove(path)),
        11 if some => witness.paths[path].siblings[random.place(63)] = any(random),
        12 if some => witness.paths[path].entries.clear(),
        13 if some => {
            let entry = Entry { resource: account("stranger"), value: any(random) };
            let entries = &mut witness.paths[path].entries;
            entries.insert(random.place(entries.len() + 1), entry);
        }
        _ => {
            if let Some(entry) = witness.paths.get_mut(path).and_then(|path| path.entries.first_mut()) {
                entry.value = any(random);
            }
        }
    }
}

#[test]
fn whatever_a_witness_says_the_program_commits_what_is_said_natively() {
    let pool = pool();
    let mut random = Random(11);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for round in 0..700 {
        let [mut witness, other] = [0; 2].map(|_| pool[random.place(pool.len())].clone());
        let honest_paths = witness.paths.clone();
        match random.one_in(3) {
            true => forge_position(&mut random, &mut witness, &other),
            false => {
                for _ in 0..1 + random.below(2) {
                    if !witness.transactions.is_empty() {
                        forge_transactions(&mut random, &mut witness, &other);
                    }
                }
            }
        }
        // Without a fold nothing is proved of a block, and with one something is.
        if (witness.block.activity.count == 0) != witness.block.activity.nodes.is_empty() {
            continue;
        }
        let native = program::batch(&Poseidon2, &Ledger, &witness);
        let committed = run_batch(&witness, &[]);
        match (&native, &committed) {
            (Ok(native), Ok(committed)) => assert_eq!(*committed, native.digest(&Poseidon2), "round {round}"),
            (Err(_), Err(MidenError::Refused { .. } | MidenError::Witness { .. })) => (),
            // An opening that is wrong or missing, and is not needed: the program finds the nodes in the others.
            (Err(Refusal::Root | Refusal::Unopened { .. }), Ok(committed)) => {
                let honest = BatchWitness { paths: honest_paths, ..witness };
                match program::batch(&Poseidon2, &Ledger, &honest) {
                    Ok(native) => assert_eq!(*committed, native.digest(&Poseidon2), "round {round}"),
                    Err(why) => assert!(matches!(why, Refusal::Unopened { .. }), "round {round}: {why:?}"),
                }
            }
            _ => panic!("round {round}: {native:?}, {committed:?}"),
        }
        let kind = native.map_or_else(|why| format!("{why:?}"), |_| "Ok".into());
        *seen.entry(kind.split([' ', '(']).next().unwrap_or_default().into()).or_default() += 1;
    }
    for kind in ["Ok", "Stale", "Disposed", "Foreign", "Lane", "Root", "Values", "Unopened"] {
        assert!(seen.contains_key(kind), "{kind}: {seen:?}");
    }
}
