//! One test a line of the specification, and conservation over random histories.

use std::collections::HashMap;

use proptest::prelude::*;
use reprise_ledger::{
    Account, Action, BAD_NONCE, EXPIRED, Ledger, OVERDRAFT, OVERFLOW, Payload, STEPS_MAX, Step,
};
use reprise_model::cell::Cell;
use reprise_model::context::BlockContext;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::exit::{AMOUNT_MIN, Exit, Payee, ScriptClass};
use reprise_model::hash::Blake3;
use reprise_model::journal::{Outcome, TransactionEffects};
use reprise_model::processor;
use reprise_model::program;
use reprise_model::transaction::{self, LaneTransaction, NOBODY, Price, TransactionFacts, TransactionRead};
use reprise_model::witness::TransactionWitness;

const ALICE: ResourceId = ResourceId([1; 32]);
const BOB: ResourceId = ResourceId([2; 32]);
const COVENANT: Digest = Digest([9; 32]);
const CAROL: ResourceId = ResourceId([3; 32]);
const CONTEXT: BlockContext = BlockContext { timestamp_ms: 1 << 50, daa_score: 1000, blue_score: 1 << 40 };
const EXIT: Action = Action::Exit(ScriptClass::PublicKey);

type State = HashMap<ResourceId, Account>;

fn account(balance: u64, nonce: u64) -> Account {
    Account::new(balance, nonce)
}

fn message(action: Action, nonce: u64, amount: u64, counterparty: ResourceId) -> Vec<u8> {
    Payload::one(action, nonce, amount, counterparty).encode()
}

/// A lane transaction with this message.
fn lane_transaction(message: &[u8]) -> LaneTransaction {
    let payload = transaction::payload(&[], &COVENANT, message).unwrap();
    LaneTransaction { merge_index: 1, version: 1, rest: vec![], payload }
}

/// The facts of a transaction that costs nothing.
fn facts(authority: ResourceId, deposit: u64) -> TransactionFacts {
    TransactionFacts { authority, deposit, price: Price::FREE }
}

/// What it declares; the outcome where it is disposed of.
fn declared(message: &[u8], authority: ResourceId, deposit: u64) -> Result<Vec<ResourceId>, Outcome> {
    declared_by(message, facts(authority, deposit))
}

fn declared_by(message: &[u8], facts: TransactionFacts) -> Result<Vec<ResourceId>, Outcome> {
    let read = TransactionRead { facts, message: message.to_vec() };
    processor::declared(&Ledger, &lane_transaction(message), &read)
}

/// Executes a message, natively and as a transaction's program does, over these accounts.
fn run(message: &[u8], authority: ResourceId, deposit: u64, state: &State) -> TransactionEffects {
    run_by(message, facts(authority, deposit), state)
}

fn run_by(message: &[u8], facts: TransactionFacts, state: &State) -> TransactionEffects {
    let read = TransactionRead { facts, message: message.to_vec() };
    let declared = match declared_by(message, facts) {
        Ok(declared) => declared,
        Err(outcome) => return TransactionEffects::failure(outcome),
    };
    let values: Vec<Option<Vec<Cell>>> =
        declared.iter().map(|id| state.get(id).map(Account::cells)).collect();
    let before: Vec<_> = declared.into_iter().zip(values.iter().map(Option::as_deref)).collect();
    let context = processor::asks_context(&Ledger, &read).then_some(CONTEXT);
    let effects = processor::execute(&Ledger, message, &read.facts, &before, context);
    let cells = lane_transaction(message).cells(&read);
    let witness = TransactionWitness { transaction: cells, before: values.clone(), context };
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
fn a_deposit_credits_what_was_paid_where_it_is_at_least_what_is_asked_for_and_ignores_the_nonce() {
    let (alice, bob) = ((ALICE, account(1, 0)), (BOB, account(2, 5)));
    for least in [0, 39, 40] {
        let effects = execute(&message(Action::Deposit, 9, least, BOB), 40, &[alice, bob]);
        assert_eq!(effects.outcome, Outcome::SUCCESS);
        assert_eq!(written(&effects), [(BOB, account(42, 5))]);
    }
    for least in [41, u64::MAX] {
        let effects = execute(&message(Action::Deposit, 9, least, BOB), 40, &[alice, bob]);
        assert_eq!(written(&effects), [(ALICE, account(41, 0))], "it is the sender's");
    }
}

fn step(action: Action, amount: u64, counterparty: ResourceId) -> Step {
    Step { action, amount, counterparty }
}

fn steps(nonce: u64, deadline: u64, steps: &[Step]) -> Vec<u8> {
    Payload { nonce, deadline, steps: steps.to_vec() }.encode()
}

#[test]
fn the_steps_of_a_list_take_effect_together_each_over_what_the_ones_before_it_left() {
    let state = [(ALICE, account(AMOUNT_MIN + 100, 7)), (BOB, account(5, 2))];
    let list = steps(
        7,
        0,
        &[
            step(Action::Transfer, 30, BOB),
            step(EXIT, AMOUNT_MIN, BOB),
            step(Action::Transfer, 20, CAROL),
            step(Action::Transfer, 50, BOB),
        ],
    );
    assert_eq!(declared(&list, ALICE, 0), Ok(vec![ALICE, BOB, CAROL]));
    let effects = execute(&list, 0, &state);
    let expected = [(ALICE, account(0, 8)), (BOB, account(85, 2)), (CAROL, account(20, 0))];
    assert_eq!((effects.outcome, &written(&effects)[..]), (Outcome::SUCCESS, &expected[..]));
    assert_eq!(effects.exits.len(), 1);
}

#[test]
fn where_one_step_fails_the_whole_list_fails_and_the_first_failure_counts() {
    let (alice, rich) = ((ALICE, account(AMOUNT_MIN + 100, 0)), (CAROL, account(u64::MAX - 5, 0)));
    let good = [step(EXIT, AMOUNT_MIN, BOB), step(Action::Transfer, 50, BOB)];
    let with = |more: &[Step]| outcome(&steps(0, 0, &[&good, more].concat()), 0, &[alice, rich]);
    assert_eq!(with(&[]), Outcome::SUCCESS);
    assert_eq!(with(&[step(Action::Transfer, 51, BOB)]), OVERDRAFT);
    assert_eq!(with(&[step(Action::Transfer, 6, CAROL)]), OVERFLOW);
    assert_eq!(with(&[step(Action::Transfer, 6, CAROL), step(Action::Transfer, 99, BOB)]), OVERFLOW);
    assert_eq!(with(&[step(Action::Transfer, 99, BOB), step(Action::Transfer, 6, CAROL)]), OVERDRAFT);
}

#[test]
fn a_list_has_at_most_so_many_steps_accounts_and_exits() {
    let to = |n: usize| ResourceId([10 + n as u8; 32]);
    let transfers = |count: usize, accounts: usize| {
        steps(0, 0, &(0..count).map(|at| step(Action::Transfer, 1, to(at % accounts))).collect::<Vec<_>>())
    };
    let exits = |count: usize| steps(0, 0, &vec![step(EXIT, AMOUNT_MIN, BOB); count]);
    assert_eq!(declared(&transfers(STEPS_MAX, 7), ALICE, 0).unwrap().len(), 8);
    assert_eq!(declared(&transfers(8, 8), ALICE, 0), Err(Outcome::MALFORMED));
    assert_eq!(declared(&transfers(STEPS_MAX + 1, 1), ALICE, 0), Err(Outcome::MALFORMED));
    assert_eq!(declared(&steps(0, 0, &[]), ALICE, 0), Err(Outcome::MALFORMED));
    assert_eq!(declared(&exits(8), ALICE, 0), Ok(vec![ALICE]));
    assert_eq!(declared(&exits(9), ALICE, 0), Err(Outcome::MALFORMED));
    // The largest of all is within every bound of the programs.
    let largest =
        [vec![step(EXIT, AMOUNT_MIN, BOB); 8], vec![step(Action::Transfer, 1, CAROL); STEPS_MAX - 8]]
            .concat();
    assert_eq!(
        outcome(&steps(0, 1000, &largest), 0, &[(ALICE, account(9 * AMOUNT_MIN, 0))]),
        Outcome::SUCCESS
    );
}

#[test]
fn a_list_takes_effect_up_to_its_deadline() {
    let alice = (ALICE, account(10, 0));
    let until = |deadline| outcome(&steps(0, deadline, &[step(Action::Transfer, 1, BOB)]), 0, &[alice]);
    for deadline in [0, CONTEXT.daa_score, CONTEXT.daa_score + 1, u64::MAX] {
        assert_eq!(until(deadline), Outcome::SUCCESS, "{deadline}");
    }
    for deadline in [1, CONTEXT.daa_score - 1] {
        assert_eq!(until(deadline), EXPIRED, "{deadline}");
    }
    let asks = |message: Vec<u8>, deposit| {
        let read = TransactionRead { facts: facts(ALICE, deposit), message };
        processor::asks_context(&Ledger, &read)
    };
    let timely = steps(0, 1, &[step(Action::Transfer, 1, BOB)]);
    assert!(asks(timely.clone(), 0));
    assert!(!asks(timely, 5), "a deposit is never late");
    assert!(!asks(message(Action::Transfer, 0, 1, BOB), 0));
    assert!(!asks(steps(0, 1, &[step(Action::Transfer, 1, ALICE)]), 0), "it is none of the ledger's");
    // A deposit has no deadline.
    let late = steps(0, 1, &[step(Action::Deposit, 0, BOB)]);
    assert_eq!(written(&execute(&late, 40, &[alice])), [(ALICE, account(50, 0))]);
}

#[test]
fn the_price_is_set_aside_with_the_sender_and_is_the_collectors() {
    let price = Price { amount: 3, collector: CAROL };
    let by = |authority, deposit| TransactionFacts { authority, deposit, price };
    let state =
        |balance, fees| State::from([(ALICE, Account { balance, nonce: 0, fees }), (CAROL, account(50, 4))]);
    let two = steps(0, 0, &[step(Action::Transfer, 10, BOB), step(Action::Transfer, 5, BOB)]);
    // No account is shared but by who pays whom.
    assert_eq!(declared_by(&two, by(ALICE, 0)), Ok(vec![ALICE, BOB]));
    let effects = run_by(&two, by(ALICE, 0), &state(21, 2));
    let expected = [(ALICE, Account { balance: 0, nonce: 1, fees: 8 }), (BOB, account(15, 0))];
    assert_eq!((effects.outcome, &written(&effects)[..]), (Outcome::SUCCESS, &expected[..]));
    assert_eq!(run_by(&two, by(ALICE, 0), &state(20, 0)).outcome, OVERDRAFT);
    assert_eq!(run_by(&two, by(ALICE, 0), &state(6, 0)).outcome, OVERDRAFT);
    assert_eq!(run_by(&two, by(ALICE, 0), &state(5, 0)).outcome, Outcome::UNDERPAID);
    assert_eq!(run_by(&two, by(ALICE, 0), &state(21, u64::MAX - 5)).outcome, OVERFLOW);
    // A deposit pays nothing.
    let effects = run_by(&message(Action::Deposit, 0, 0, BOB), by(ALICE, 40), &State::new());
    assert_eq!(written(&effects), [(BOB, account(40, 0))]);

    let collect = |from| steps(4, 0, &[step(Action::Collect, 0, from), step(Action::Transfer, 1, BOB)]);
    assert_eq!(declared_by(&collect(ALICE), by(CAROL, 0)), Ok(vec![CAROL, ALICE, BOB]));
    let effects = run_by(&collect(ALICE), by(CAROL, 0), &state(7, 9));
    let expected = [(CAROL, account(58, 5)), (ALICE, account(7, 0)), (BOB, account(1, 0))];
    assert_eq!((effects.outcome, &written(&effects)[..]), (Outcome::SUCCESS, &expected[..]));
    assert_eq!(run_by(&collect(ALICE), by(CAROL, 0), &state(7, u64::MAX)).outcome, OVERFLOW);
    // Nobody else collects, and nobody from oneself.
    let others = [(ALICE, BOB), (NOBODY, ALICE), (CAROL, CAROL), (CAROL, NOBODY)];
    for (authority, from) in others {
        assert_eq!(declared_by(&collect(from), by(authority, 0)), Err(Outcome::MALFORMED));
    }
    let amount = steps(4, 0, &[step(Action::Collect, 1, ALICE)]);
    assert_eq!(declared_by(&amount, by(CAROL, 0)), Err(Outcome::MALFORMED));
}

#[test]
fn a_list_that_fails_pays_nothing_and_what_is_set_aside_for_nobody_is_anybodys() {
    let price = Price { amount: 3, collector: NOBODY };
    let by = |authority| TransactionFacts { authority, deposit: 0, price };
    let state = State::from([(ALICE, Account { balance: 5, nonce: 7, fees: 9 })]);
    let list = |nonce, amount| steps(nonce, 0, &[step(Action::Transfer, amount, BOB)]);
    for (list, outcome) in [(list(8, 1), BAD_NONCE), (list(7, 3), OVERDRAFT)] {
        assert_eq!(run_by(&list, by(ALICE), &state), TransactionEffects::failure(outcome));
    }
    let taken = steps(0, 0, &[step(Action::Collect, 0, ALICE), step(Action::Transfer, 9, BOB)]);
    let effects = run_by(&taken, by(NOBODY), &state);
    let expected = [(NOBODY, account(0, 1)), (ALICE, account(5, 7)), (BOB, account(9, 0))];
    assert_eq!((effects.outcome, &written(&effects)[..]), (Outcome::SUCCESS, &expected[..]));
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
    let mut malformed: Vec<Vec<u8>> =
        vec![vec![], good[..95].to_vec(), good[..64].to_vec(), good[..32].to_vec()];
    malformed.push([&good[..], &[0]].concat());
    malformed.push([&good[..], &[0; 32]].concat());
    malformed.extend((0..4).map(|at| with(at, good[at] ^ 1)));
    malformed.extend([0, 2, 255].map(|count| with(4, count)));
    malformed.extend((5..8).map(|at| with(at, 1)));
    malformed.extend((24..32).map(|at| with(at, 1)));
    malformed.extend([0, 4, 5, 255].map(|action| with(32, action)));
    malformed.extend((33..36).chain(44..64).map(|at| with(at, 1)));
    malformed.push(steps(0, 0, &[step(Action::Deposit, 0, BOB), step(Action::Transfer, 1, BOB)]));
    malformed.push(steps(0, 0, &[step(Action::Transfer, 1, BOB), step(Action::Transfer, 1, ALICE)]));
    malformed.push(message(Action::Transfer, 0, 1, ALICE));
    malformed.extend([0, 1, AMOUNT_MIN - 1].map(|amount| message(EXIT, 0, amount, BOB)));
    malformed.extend([Action::Transfer, EXIT].map(|action| message(action, 0, AMOUNT_MIN, NOBODY)));
    let mut classless = message(EXIT, 0, AMOUNT_MIN, BOB);
    classless[44] = 4;
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
    prop_oneof![Just(Action::Transfer), exit, Just(Action::Deposit), Just(Action::Collect)]
}

proptest! {
    #[test]
    fn a_payload_reads_back_as_it_was_written(
        list in proptest::collection::vec((actions(), any::<u64>(), any::<[u8; 32]>()), 1..=STEPS_MAX), nonce: u64, amount: u64,
        deadline: u64,
    ) {
        let steps = list.into_iter().map(|(action, amount, id)| step(action, amount, ResourceId(id))).collect();
        let written = Payload { nonce, deadline, steps };
        prop_assert_eq!(Payload::decode(&written.encode()), Some(written));
        let account = Account { balance: amount, nonce, fees: deadline };
        prop_assert_eq!(Account::from_cells(&account.cells()), Some(account));
        prop_assert_eq!(account.cells().len(), 1);
        let ([mut longer, mut other], more) = ([account.cells(), account.cells()], account.cells());
        longer.extend(more);
        other[0][6 + (nonce % 2) as usize] = 1;
        prop_assert_eq!([longer, other, vec![]].map(|cells| Account::from_cells(&cells)), [None; 3]);
    }

    #[test]
    fn bytes_that_read_as_a_payload_are_the_ones_it_writes(
        mut bytes in proptest::array::uniform32(any::<[u8; 3]>()), action in 0u8..6, class in 0u8..4, tidy: bool,
    ) {
        let bytes = bytes.as_flattened_mut();
        bytes[..8].copy_from_slice(&[b'L', b'D', b'G', b'3', 1, 0, 0, 0]);
        if tidy {
            bytes[24..36].fill(0);
            bytes[44..64].fill(0);
            bytes[32] = action;
            bytes[44] = if action == 2 { class } else { 0 };
        }
        match Payload::decode(bytes) {
            Some(payload) => prop_assert_eq!(payload.encode(), bytes.to_vec()),
            None => prop_assert!(!tidy || !(1..=4).contains(&action)),
        }
    }

    #[test]
    fn every_sompi_that_was_deposited_is_on_an_account_or_has_left(
        history in proptest::collection::vec(
            (
                0u8..5,
                proptest::collection::vec(
                    (actions(), prop_oneof![0u64..60, AMOUNT_MIN..AMOUNT_MIN + 60, Just(u64::MAX - 20)], 0u8..5), 1..4,
                ),
                0u64..3, prop_oneof![3 => Just(0u64), 1 => 999u64..1002],
                prop_oneof![2 => Just(0u64), 2 => 0u64..3 * AMOUNT_MIN, 1 => Just(u64::MAX - 20)], 0u8..6,
            ),
            0..60,
        ),
        price in prop_oneof![Just(0u32), 1u32..9, Just(u32::MAX)],
    ) {
        // The first is nobody, the last collects.
        let id = |n: u8| ResourceId([n; 32]);
        let price = Price { amount: price, collector: id(4) };
        let mut state = State::new();
        let held = |state: &State| -> u128 {
            state.values().map(|it| u128::from(it.balance) + u128::from(it.fees)).sum()
        };
        let (mut deposited, mut left) = (0u128, 0u128);
        for (by, list, skew, deadline, paid, garbled) in history {
            // Mostly the right nonce, so that something happens.
            let nonce = state.get(&id(by)).copied().unwrap_or_default().nonce + u64::from(skew == 2);
            let step = |&(action, amount, to): &(Action, u64, u8)| {
                step(action, if action == Action::Collect { 0 } else { amount }, id(to))
            };
            let list: Vec<Step> = list.iter().map(step).collect();
            let mut bytes = steps(nonce, deadline, &list);
            if garbled == 0 {
                bytes[0] ^= 1;
            }
            let facts = TransactionFacts { authority: id(by), deposit: paid, price };
            let effects = run_by(&bytes, facts, &state);
            // A deposit fails where what is credited would not fit, and is not lost otherwise, whatever it asks for.
            let asked = list.first().filter(|first| {
                let alone = list.len() == 1 && deadline == 0 && garbled != 0;
                alone && first.action == Action::Deposit && first.counterparty != NOBODY && first.amount <= paid
            });
            if paid > 0 {
                let credited = asked.map_or(id(by), |first| first.counterparty);
                let fits = state.get(&credited).is_none_or(|it| it.balance.checked_add(paid).is_some());
                prop_assert_eq!(effects.outcome, if fits { Outcome::SUCCESS } else { OVERFLOW });
                prop_assert_eq!(effects.exits.len(), 0);
            }
            if effects.outcome.is_success() {
                deposited += u128::from(paid);
            }
            left += effects.exits.iter().map(|exit| u128::from(exit.amount)).sum::<u128>();
            state.extend(written(&effects));
            prop_assert_eq!(held(&state) + left, deposited);
        }
    }
}
