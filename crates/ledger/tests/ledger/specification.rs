//! One test a line of the specification, and conservation over random histories.

use std::collections::HashMap;

use proptest::prelude::*;
use reprise_ledger::{Account, Action, BAD_NONCE, Ledger, OVERDRAFT, OVERFLOW, Payload};
use reprise_model::cell::Cell;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::exit::{AMOUNT_MIN, Exit, Payee, ScriptClass};
use reprise_model::hash::Blake3;
use reprise_model::journal::{Outcome, TransactionEffects};
use reprise_model::processor;
use reprise_model::program;
use reprise_model::transaction::{self, LaneTransaction, NOBODY, TransactionFacts, TransactionRead};
use reprise_model::witness::TransactionWitness;

const ALICE: ResourceId = ResourceId([1; 32]);
const BOB: ResourceId = ResourceId([2; 32]);
const COVENANT: Digest = Digest([9; 32]);
const EXIT: Action = Action::Exit(ScriptClass::PublicKey);

type State = HashMap<ResourceId, Account>;

fn account(balance: u64, nonce: u64) -> Account {
    Account { balance, nonce }
}

fn message(action: Action, nonce: u64, amount: u64, counterparty: ResourceId) -> Vec<u8> {
    Payload { action, nonce, amount, counterparty }.encode()
}

/// A lane transaction with this message.
fn lane_transaction(message: &[u8]) -> LaneTransaction {
    let payload = transaction::payload(&[], &COVENANT, message).unwrap();
    LaneTransaction { merge_index: 1, version: 1, rest: vec![], payload }
}

/// What is read of it, with these facts.
fn read(message: &[u8], authority: ResourceId, deposit: u64) -> TransactionRead {
    TransactionRead { facts: TransactionFacts { authority, deposit }, message: message.to_vec() }
}

/// What it declares; the outcome where it is disposed of.
fn declared(message: &[u8], authority: ResourceId, deposit: u64) -> Result<Vec<ResourceId>, Outcome> {
    processor::declared(&Ledger, &lane_transaction(message), &read(message, authority, deposit))
}

/// Executes a message, natively and as a transaction's program does, over these accounts.
fn run(message: &[u8], authority: ResourceId, deposit: u64, state: &State) -> TransactionEffects {
    let read = read(message, authority, deposit);
    let declared = match declared(message, authority, deposit) {
        Ok(declared) => declared,
        Err(outcome) => return TransactionEffects::failure(outcome),
    };
    let values: Vec<Option<Vec<Cell>>> =
        declared.iter().map(|id| state.get(id).map(Account::cells)).collect();
    let before: Vec<_> = declared.into_iter().zip(values.iter().map(Option::as_deref)).collect();
    let effects = processor::execute(&Ledger, message, &read.facts, &before);
    let cells = lane_transaction(message).cells(&read);
    let witness = TransactionWitness { transaction: cells, before: values.clone() };
    let proved = program::transaction(&Blake3, &Ledger, &witness).unwrap();
    assert_eq!((proved.outcome, &proved.exits), (effects.outcome, &effects.exits));
    effects
}

fn execute(message: &[u8], deposit: u64, state: &[(ResourceId, Account)]) -> TransactionEffects {
    run(message, ALICE, deposit, &state.iter().copied().collect())
}

fn outcome(message: &[u8], deposit: u64, state: &[(ResourceId, Account)]) -> Outcome {
    let effects = execute(message, deposit, state);
    assert!(effects.outcome.is_success() || effects == TransactionEffects::failure(effects.outcome));
    effects.outcome
}

fn written(effects: &TransactionEffects) -> Vec<(ResourceId, Account)> {
    let read = |cells: &Option<Vec<Cell>>| Account::from_cells(cells.as_deref().unwrap()).unwrap();
    effects.writes.iter().map(|(id, cells)| (*id, read(cells))).collect()
}

#[test]
fn a_transfer_moves_the_amount_and_raises_the_nonce_of_its_authority_alone() {
    let state = [(ALICE, account(100, 7)), (BOB, account(5, 2))];
    let effects = execute(&message(Action::Transfer, 7, 30, BOB), 0, &state);
    assert_eq!(effects.outcome, Outcome::SUCCESS);
    assert_eq!(written(&effects), [(ALICE, account(70, 8)), (BOB, account(35, 2))]);
    assert_eq!(effects.exits, []);
}

#[test]
fn a_transfer_makes_the_account_it_pays() {
    let effects = execute(&message(Action::Transfer, 0, 100, BOB), 0, &[(ALICE, account(100, 0))]);
    assert_eq!(written(&effects), [(ALICE, account(0, 1)), (BOB, account(100, 0))]);
}

#[test]
fn an_exit_burns_the_amount_and_withdraws_it() {
    let (amount, alice) = (AMOUNT_MIN + 30, (ALICE, account(AMOUNT_MIN + 100, 0)));
    for class in ScriptClass::ALL {
        let effects = execute(&message(Action::Exit(class), 0, amount, BOB), 0, &[alice]);
        assert_eq!(written(&effects), [(ALICE, account(70, 1))]);
        let payee = Payee { class, bytes: BOB.digest() };
        assert_eq!(effects.exits, [Exit { payee, amount }]);
    }
}

#[test]
fn a_deposit_credits_what_was_paid_and_ignores_nonce_and_amount() {
    let effects = execute(&message(Action::Deposit, 9, 1 << 60, BOB), 40, &[(BOB, account(2, 5))]);
    assert_eq!(effects.outcome, Outcome::SUCCESS);
    assert_eq!(written(&effects), [(BOB, account(42, 5))]);
}

#[test]
fn a_transaction_that_pays_the_deposit_script_is_a_deposit_whatever_its_message_asks_for() {
    let alice = (ALICE, account(10, 3));
    let asked = [
        message(Action::Transfer, 3, 5, BOB),
        message(Action::Transfer, 3, 5, ALICE),
        message(EXIT, 3, AMOUNT_MIN, BOB),
        message(EXIT, 3, 0, BOB),
        message(Action::Deposit, 0, 0, NOBODY),
        vec![],
        vec![7],
        vec![0; 64],
        vec![1; 9_000],
    ];
    for message in asked {
        let effects = execute(&message, 40, &[alice]);
        assert_eq!(effects.outcome, Outcome::SUCCESS, "{message:02x?}");
        assert_eq!(written(&effects), [(ALICE, account(50, 3))], "{message:02x?}");
        assert_eq!(effects.exits, []);
    }
    // Where nobody is shown whom it acts for, it is nobody's.
    let effects = run(&[], NOBODY, 40, &State::new());
    assert_eq!(written(&effects), [(NOBODY, account(40, 0))]);
}

#[test]
fn each_failure_comes_before_the_ones_after_it_in_the_specification() {
    let (alice, bob) = ((ALICE, account(10, 3)), (BOB, account(u64::MAX, 0)));
    let transfer = |nonce, amount| message(Action::Transfer, nonce, amount, BOB);
    // Everything is wrong at first; each line repairs what the one before complained of.
    assert_eq!(outcome(&transfer(9, 99), 0, &[alice, bob]), BAD_NONCE);
    assert_eq!(outcome(&transfer(3, 99), 0, &[alice, bob]), OVERDRAFT);
    assert_eq!(outcome(&transfer(3, 9), 0, &[alice, bob]), OVERFLOW);
    assert_eq!(outcome(&transfer(3, 9), 0, &[alice, (BOB, account(u64::MAX - 9, 0))]), Outcome::SUCCESS);

    let exit = |nonce, amount| message(EXIT, nonce, amount, BOB);
    let alice = (ALICE, account(AMOUNT_MIN, 3));
    assert_eq!(outcome(&exit(9, AMOUNT_MIN - 1), 0, &[alice]), Outcome::MALFORMED);
    assert_eq!(outcome(&exit(9, AMOUNT_MIN + 1), 0, &[alice]), BAD_NONCE);
    assert_eq!(outcome(&exit(3, AMOUNT_MIN + 1), 0, &[alice]), OVERDRAFT);
    assert_eq!(outcome(&exit(3, AMOUNT_MIN), 0, &[alice]), Outcome::SUCCESS);

    let deposit = message(Action::Deposit, 0, 0, BOB);
    assert_eq!(outcome(&deposit, 1, &[bob]), OVERFLOW);
    assert_eq!(outcome(&deposit, 1, &[]), Outcome::SUCCESS);
}

#[test]
fn a_future_and_a_past_nonce_are_both_refused() {
    for nonce in [0, 2, u64::MAX] {
        let transfer = message(Action::Transfer, nonce, 0, BOB);
        assert_eq!(outcome(&transfer, 0, &[(ALICE, account(1, 1))]), BAD_NONCE);
    }
}

/// Messages that are not well-formed, by Alice.
fn malformed() -> Vec<Vec<u8>> {
    let good = message(Action::Transfer, 0, 1, BOB);
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
    malformed.push(message(Action::Transfer, 0, 1, ALICE));
    malformed.extend([0, 1, AMOUNT_MIN - 1].map(|amount| message(EXIT, 0, amount, BOB)));
    malformed.extend([Action::Transfer, EXIT].map(|action| message(action, 0, AMOUNT_MIN, NOBODY)));
    let mut classless = message(EXIT, 0, AMOUNT_MIN, BOB);
    classless[24] = 4;
    malformed.push(classless);
    malformed
}

#[test]
fn what_is_not_well_formed_or_deposits_nothing_is_disposed_of() {
    let mut bytes = malformed();
    bytes.extend([BOB, ALICE, NOBODY].map(|id| message(Action::Deposit, 0, 5, id)));
    for bytes in bytes {
        assert_eq!(declared(&bytes, ALICE, 0), Err(Outcome::MALFORMED), "{bytes:02x?}");
        // Nothing is disposed of that deposits something.
        assert_eq!(declared(&bytes, ALICE, 1).unwrap().len(), 1);
    }
    let of_nobody = message(Action::Transfer, 0, 1, BOB);
    assert_eq!(declared(&of_nobody, NOBODY, 0), Ok(vec![NOBODY, BOB]), "anybody can act for nobody");
}

#[test]
fn nothing_is_sent_to_nobody() {
    let rich = State::from([(ALICE, account(AMOUNT_MIN, 0))]);
    for action in [Action::Transfer, EXIT, Action::Deposit] {
        for deposit in [0, 7] {
            let effects = run(&message(action, 0, AMOUNT_MIN, NOBODY), ALICE, deposit, &rich);
            assert!(effects.writes.iter().all(|(id, _)| *id != NOBODY), "{action:?}");
            assert_eq!(effects.exits, []);
        }
    }
}

#[test]
fn only_a_transfer_minds_that_both_accounts_are_one() {
    let own = [(ALICE, account(AMOUNT_MIN, 0))];
    assert_eq!(outcome(&message(EXIT, 0, AMOUNT_MIN, ALICE), 0, &own), Outcome::SUCCESS);
    assert_eq!(outcome(&message(Action::Deposit, 0, 0, ALICE), 1, &own), Outcome::SUCCESS);
    assert_eq!(outcome(&message(Action::Transfer, 0, 1, ALICE), 0, &own), Outcome::MALFORMED);
}

#[test]
fn what_is_past_a_bound_is_an_outcome_and_no_transaction_of_the_ledger_is() {
    for (authority, deposit) in [(ALICE, 0), (NOBODY, 0), (ALICE, u64::MAX)] {
        for action in [Action::Transfer, EXIT, Action::Deposit] {
            let declared = declared(&message(action, 0, 1, BOB), authority, deposit);
            assert!(declared.is_ok() || declared == Err(Outcome::MALFORMED), "{declared:?}");
        }
    }
}

fn actions() -> impl Strategy<Value = Action> {
    let exit = (0..4u32).prop_map(|class| Action::Exit(ScriptClass::of(class).unwrap()));
    prop_oneof![Just(Action::Transfer), exit, Just(Action::Deposit)]
}

proptest! {
    #[test]
    fn a_payload_reads_back_as_it_was_written(
        action in actions(), nonce: u64, amount: u64, counterparty: [u8; 32],
    ) {
        let written = Payload { action, nonce, amount, counterparty: ResourceId(counterparty) };
        prop_assert_eq!(Payload::decode(&written.encode()), Some(written));
        let account = Account { balance: amount, nonce };
        prop_assert_eq!(Account::from_cells(&account.cells()), Some(account));
        prop_assert_eq!(account.cells().len(), 1);
        let ([mut longer, mut other], more) = ([account.cells(), account.cells()], account.cells());
        longer.extend(more);
        other[0][4 + (nonce % 4) as usize] = 1;
        prop_assert_eq!([longer, other, vec![]].map(|cells| Account::from_cells(&cells)), [None; 3]);
    }

    #[test]
    fn bytes_that_read_as_a_payload_are_the_ones_it_writes(mut bytes: [u8; 64], action in 0u8..5, class in 0u8..4, tidy: bool) {
        bytes[..8].copy_from_slice(&[b'L', b'D', b'G', b'2', action, 0, 0, 0]);
        if tidy {
            bytes[24..32].fill(0);
            bytes[24] = if action == 2 { class } else { 0 };
        }
        match Payload::decode(&bytes) {
            Some(payload) => prop_assert_eq!(payload.encode(), bytes.to_vec()),
            None => prop_assert!(!tidy || !(1..=3).contains(&action)),
        }
    }

    #[test]
    fn every_sompi_that_was_deposited_is_on_an_account_or_has_left(
        history in proptest::collection::vec(
            (
                0u8..5, actions(), 0u64..3, prop_oneof![0u64..60, AMOUNT_MIN..AMOUNT_MIN + 60, Just(u64::MAX - 20)], 0u8..5,
                prop_oneof![2 => Just(0u64), 2 => 0u64..3 * AMOUNT_MIN, 1 => Just(u64::MAX - 20)], 0u8..6,
            ),
            0..60,
        ),
    ) {
        // The first is nobody.
        let id = |n: u8| ResourceId([n; 32]);
        let mut state = State::new();
        let balances = |state: &State| -> u128 { state.values().map(|it| u128::from(it.balance)).sum() };
        let (mut deposited, mut left) = (0u128, 0u128);
        for (by, action, skew, amount, to, paid, garbled) in history {
            // Mostly the right nonce, so that something happens.
            let held = state.get(&id(by)).copied().unwrap_or_default();
            let mut bytes = message(action, held.nonce + u64::from(skew == 2), amount, id(to));
            if garbled == 0 {
                bytes[0] ^= 1;
            }
            let effects = run(&bytes, id(by), paid, &state);
            // A deposit fails where what is credited would not fit, and is not lost otherwise, whatever it asks for.
            let credited = if action == Action::Deposit && to != 0 && garbled != 0 { to } else { by };
            if paid > 0 {
                let fits = state.get(&id(credited)).is_none_or(|it| it.balance.checked_add(paid).is_some());
                prop_assert_eq!(effects.outcome, if fits { Outcome::SUCCESS } else { OVERFLOW });
                prop_assert_eq!(effects.exits.len(), 0);
            }
            if effects.outcome.is_success() {
                deposited += u128::from(paid);
            }
            left += effects.exits.iter().map(|exit| u128::from(exit.amount)).sum::<u128>();
            state.extend(written(&effects));
            prop_assert_eq!(balances(&state) + left, deposited);
        }
    }
}
