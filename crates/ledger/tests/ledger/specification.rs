//! One test a line of the specification, and conservation over random histories.

use std::collections::HashMap;

use proptest::prelude::*;
use reprise_ledger::{
    Account, Action, BAD_NONCE, Ledger, NOTHING_DEPOSITED, OVERDRAFT, OVERFLOW, Payload, SLOT_TAKEN,
};
use reprise_model::cell::Cell;
use reprise_model::digest::{ProgramId, ResourceId};
use reprise_model::journal::{Exit, Outcome, TransactionEffects};
use reprise_model::lane::BlockContext;
use reprise_model::state;
use reprise_model::transaction::{self, LaneTransaction, TransactionFacts};
use reprise_scheduler::processor::{Processor, ResourceView};

const ALICE: ResourceId = ResourceId([1; 32]);
const BOB: ResourceId = ResourceId([2; 32]);

fn ledger() -> Ledger {
    let id = |n| ProgramId([n; 32]);
    Ledger { transaction: id(1), batch: id(2), aggregate: id(3) }
}

fn account(id: ResourceId, balance: u64, nonce: u64) -> Account {
    Account { id, balance, nonce }
}

/// An account that is not `of` and has its slot.
fn squatter(of: ResourceId) -> Account {
    let mut id = of;
    id.0[31] ^= 1;
    assert_eq!(state::slot(&id), state::slot(&of));
    account(id, 1_000, 0)
}

fn payload(action: Action, nonce: u64, amount: u64, counterparty: ResourceId) -> Vec<u8> {
    Payload { action, nonce, amount, counterparty }.encode()
}

/// Executes `payload` by Alice over a state of one account a slot.
fn execute(payload: &[u8], deposit: u64, state: &[Account]) -> TransactionEffects {
    let slots: HashMap<u64, Vec<Cell>> = state.iter().map(|a| (state::slot(&a.id), a.cells())).collect();
    run(payload, ALICE, deposit, &slots)
}

fn run(
    payload: &[u8],
    authority: ResourceId,
    deposit: u64,
    slots: &HashMap<u64, Vec<Cell>>,
) -> TransactionEffects {
    let payload = transaction::payload(&[], payload).unwrap();
    let transaction = LaneTransaction { merge_index: 1, version: 1, rest: vec![], payload };
    let facts = TransactionFacts { authority, deposit };
    let declared = ledger().declare(&transaction, &facts);
    let view = ResourceView::new(declared.into_iter().map(|id| (id, slots.get(&state::slot(&id)).cloned())));
    let context = BlockContext { timestamp_ms: 1, daa_score: 2, blue_score: 3 };
    ledger().execute(&transaction, &facts, &context, &view)
}

fn outcome(payload: &[u8], deposit: u64, state: &[Account]) -> Outcome {
    let effects = execute(payload, deposit, state);
    assert!(effects.outcome.is_success() || effects == TransactionEffects::failure(effects.outcome));
    effects.outcome
}

fn written(effects: &TransactionEffects) -> Vec<Account> {
    effects.writes.iter().map(|(_, cells)| Account::from_cells(cells).unwrap()).collect()
}

#[test]
fn a_transfer_moves_the_amount_and_raises_the_nonce_of_its_authority_alone() {
    let effects =
        execute(&payload(Action::Transfer, 7, 30, BOB), 0, &[account(ALICE, 100, 7), account(BOB, 5, 2)]);
    assert_eq!(effects.outcome, Outcome::SUCCESS);
    assert_eq!(written(&effects), vec![account(ALICE, 70, 8), account(BOB, 35, 2)]);
    assert_eq!(effects.exits, vec![]);
}

#[test]
fn a_transfer_makes_the_account_it_pays() {
    let effects = execute(&payload(Action::Transfer, 0, 100, BOB), 0, &[account(ALICE, 100, 0)]);
    assert_eq!(written(&effects), vec![account(ALICE, 0, 1), account(BOB, 100, 0)]);
}

#[test]
fn an_exit_burns_the_amount_and_withdraws_it() {
    let effects = execute(&payload(Action::Exit, 0, 30, BOB), 0, &[account(ALICE, 100, 0)]);
    assert_eq!(written(&effects), vec![account(ALICE, 70, 1)]);
    assert_eq!(effects.exits, vec![Exit { destination: BOB, amount: 30 }]);
}

#[test]
fn a_deposit_credits_what_was_paid_and_ignores_nonce_and_amount() {
    let effects = execute(&payload(Action::Deposit, 9, 1 << 60, BOB), 40, &[account(BOB, 2, 5)]);
    assert_eq!(effects.outcome, Outcome::SUCCESS);
    assert_eq!(written(&effects), vec![account(BOB, 42, 5)]);
}

#[test]
fn each_failure_comes_before_the_ones_after_it_in_the_specification() {
    let (alice, bob) = (account(ALICE, 10, 3), account(BOB, u64::MAX, 0));
    let transfer = |nonce, amount| payload(Action::Transfer, nonce, amount, BOB);
    // Everything is wrong at first; each line repairs what the one before complained of.
    let taken = [squatter(ALICE), squatter(BOB)];
    assert_eq!(outcome(&transfer(9, 99), 0, &taken), SLOT_TAKEN);
    assert_eq!(outcome(&transfer(9, 99), 0, &[alice, squatter(BOB)]), SLOT_TAKEN);
    assert_eq!(outcome(&transfer(9, 99), 0, &[alice, bob]), BAD_NONCE);
    assert_eq!(outcome(&transfer(3, 99), 0, &[alice, bob]), OVERDRAFT);
    assert_eq!(outcome(&transfer(3, 9), 0, &[alice, bob]), OVERFLOW);
    assert_eq!(outcome(&transfer(3, 9), 0, &[alice, account(BOB, u64::MAX - 9, 0)]), Outcome::SUCCESS);

    let exit = |nonce, amount| payload(Action::Exit, nonce, amount, BOB);
    assert_eq!(outcome(&exit(9, 99), 0, &[squatter(ALICE)]), SLOT_TAKEN);
    assert_eq!(outcome(&exit(9, 99), 0, &[alice]), BAD_NONCE);
    assert_eq!(outcome(&exit(3, 99), 0, &[alice]), OVERDRAFT);
    assert_eq!(outcome(&exit(3, 10), 0, &[alice]), Outcome::SUCCESS);

    let deposit = payload(Action::Deposit, 0, 0, BOB);
    assert_eq!(outcome(&deposit, 0, &[squatter(BOB)]), SLOT_TAKEN);
    assert_eq!(outcome(&deposit, 0, &[bob]), NOTHING_DEPOSITED);
    assert_eq!(outcome(&deposit, 1, &[bob]), OVERFLOW);
    assert_eq!(outcome(&deposit, 1, &[]), Outcome::SUCCESS);
}

#[test]
fn a_future_and_a_past_nonce_are_both_refused() {
    for nonce in [0, 2, u64::MAX] {
        let transfer = payload(Action::Transfer, nonce, 0, BOB);
        assert_eq!(outcome(&transfer, 0, &[account(ALICE, 1, 1)]), BAD_NONCE);
    }
}

#[test]
fn what_is_not_a_payload_is_malformed_and_declares_nothing() {
    let good = payload(Action::Transfer, 0, 1, BOB);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let mut malformed: Vec<Vec<u8>> = vec![vec![], good[..63].to_vec(), good[..32].to_vec()];
    malformed.push([&good[..], &[0]].concat());
    malformed.push([&good[..], &[0; 32]].concat());
    malformed.extend((0..4).map(|at| with(at, good[at] ^ 1)));
    malformed.extend([0, 4, 255].map(|action| with(4, action)));
    malformed.extend((5..8).map(|at| with(at, 1)));
    malformed.extend((24..32).map(|at| with(at, 1)));
    malformed.push(payload(Action::Transfer, 0, 1, ALICE));
    malformed.push(payload(Action::Transfer, 0, 1, squatter(ALICE).id));
    for bytes in malformed {
        assert_eq!(outcome(&bytes, 0, &[account(ALICE, 9, 0)]), Outcome::MALFORMED, "{bytes:02x?}");
        let payload = transaction::payload(&[], &bytes).unwrap();
        let transaction = LaneTransaction { merge_index: 1, version: 1, rest: vec![], payload };
        let facts = TransactionFacts { authority: ALICE, deposit: 0 };
        assert_eq!(ledger().declare(&transaction, &facts), vec![]);
    }
}

#[test]
fn only_a_transfer_minds_that_both_accounts_share_a_slot() {
    let own = [account(ALICE, 9, 0)];
    assert_eq!(outcome(&payload(Action::Exit, 0, 1, ALICE), 0, &own), Outcome::SUCCESS);
    assert_eq!(outcome(&payload(Action::Deposit, 0, 0, ALICE), 1, &own), Outcome::SUCCESS);
}

#[test]
fn a_value_that_is_no_account_takes_its_slot() {
    let slots = HashMap::from([(state::slot(&ALICE), vec![[1; 8]])]);
    assert_eq!(run(&payload(Action::Exit, 0, 0, BOB), ALICE, 0, &slots).outcome, SLOT_TAKEN);
}

fn actions() -> impl Strategy<Value = Action> {
    prop_oneof![Just(Action::Transfer), Just(Action::Exit), Just(Action::Deposit)]
}

proptest! {
    #[test]
    fn a_payload_reads_back_as_it_was_written(
        action in actions(), nonce: u64, amount: u64, counterparty: [u8; 32],
    ) {
        let written = Payload { action, nonce, amount, counterparty: ResourceId(counterparty) };
        prop_assert_eq!(Payload::decode(&written.encode()), Some(written));
        let account = Account { id: written.counterparty, balance: amount, nonce };
        prop_assert_eq!(Account::from_cells(&account.cells()), Some(account));
    }

    #[test]
    fn bytes_that_read_as_a_payload_are_the_ones_it_writes(mut bytes: [u8; 64], action in 0u8..5, tidy: bool) {
        bytes[..8].copy_from_slice(&[b'L', b'D', b'G', b'1', action, 0, 0, 0]);
        if tidy {
            bytes[24..32].fill(0);
        }
        match Payload::decode(&bytes) {
            Some(payload) => prop_assert_eq!(payload.encode(), bytes.to_vec()),
            None => prop_assert!(!tidy || !(1..=3).contains(&action)),
        }
    }

    #[test]
    fn the_balances_are_what_was_deposited_less_what_left(
        history in proptest::collection::vec(
            (0u8..4, actions(), 0u64..3, prop_oneof![0u64..60, Just(u64::MAX - 20)], 0u8..4, 0u64..80), 0..60,
        ),
    ) {
        let id = |n: u8| ResourceId([n + 1; 32]);
        let mut slots: HashMap<u64, Vec<Cell>> = HashMap::new();
        let balances = |slots: &HashMap<u64, Vec<Cell>>| -> u128 {
            slots.values().map(|cells| u128::from(Account::from_cells(cells).unwrap().balance)).sum()
        };
        let (mut deposited, mut left) = (0u128, 0u128);
        for (by, action, skew, amount, to, paid) in history {
            // Mostly the right nonce, so that something happens.
            let held = slots.get(&state::slot(&id(by))).and_then(|cells| Account::from_cells(cells));
            let nonce = held.map_or(0, |account| account.nonce) + u64::from(skew == 2);
            let paid = if amount > 100 { amount } else { paid };
            let effects = run(&payload(action, nonce, amount, id(to)), id(by), paid, &slots);
            if action == Action::Deposit && effects.outcome.is_success() {
                deposited += u128::from(paid);
            }
            left += effects.exits.iter().map(|exit| u128::from(exit.amount)).sum::<u128>();
            for (resource, value) in effects.writes {
                slots.insert(state::slot(&resource), value);
            }
            prop_assert_eq!(balances(&slots) + left, deposited);
        }
    }
}
