//! The rules of the exchange, and the rollup through everything that an L1, a disk and a prover can do to it.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, and a long one says what it saw"
)]

use reprise::account;
use reprise_client::Message as _;
use reprise_example_exchange::semantics::{
    Account, Action, EXPIRED, Exchange, Message, NO_ORDER, NOT_AN_ACCOUNT, NOT_THE_ISSUER, NUMBER_USED,
    OVERFLOW, Order, Side, TOO_LITTLE, order_id,
};
use reprise_example_exchange::workload;
use reprise_model::exit::{AMOUNT_MIN, Payee, ScriptClass};
use reprise_model::journal::Outcome;
use reprise_testing::{Blocks, Fault, Sandbox, Worlds, flips_back, replays};

/// Alice has 1,000 sompi, Bob 100 tokens.
fn funded() -> Sandbox {
    let mut sandbox = Sandbox::of(Exchange::example());
    assert_eq!(sandbox.send("alice", b"", 1_000), Outcome::SUCCESS);
    let issue = Action::Issue { to: account("bob"), amount: 100 };
    assert_eq!(send(&mut sandbox, "issuer", &[issue]), Outcome::SUCCESS);
    sandbox
}

fn send(sandbox: &mut Sandbox, by: &str, actions: &[Action]) -> Outcome {
    sandbox.send(by, &Message(actions.to_vec()).encode(), 0)
}

fn has(sandbox: &Sandbox, trader: &str) -> (u64, u64) {
    let account = sandbox.read(&account(trader)).and_then(Account::from_cells).unwrap_or_default();
    (account.kas, account.token)
}

fn left(sandbox: &Sandbox, owner: &str, number: u64) -> Option<u64> {
    sandbox.read(&order_id(&account(owner), number)).and_then(Order::from_cells).map(|order| order.left)
}

const UNTIL: u64 = u64::MAX;
const SELL: Action = Action::Place { number: 1, side: Side::Sell, price: 10, amount: 60, until: UNTIL };
const BUY: Action = Action::Place { number: 1, side: Side::Buy, price: 10, amount: 60, until: UNTIL };

fn take(owner: &str, amount: u64) -> Action {
    Action::Take { owner: account(owner), number: 1, amount }
}

#[test]
fn an_order_is_filled_in_parts_and_deleted_when_nothing_is_left() {
    let mut sandbox = funded();
    assert_eq!(send(&mut sandbox, "bob", &[SELL]), Outcome::SUCCESS);
    assert_eq!(
        (has(&sandbox, "bob"), left(&sandbox, "bob", 1)),
        ((0, 40), Some(60)),
        "it holds what it sells"
    );
    assert_eq!(send(&mut sandbox, "alice", &[take("bob", 25)]), Outcome::SUCCESS);
    assert_eq!((has(&sandbox, "alice"), has(&sandbox, "bob")), ((750, 25), (250, 40)));
    assert_eq!(left(&sandbox, "bob", 1), Some(35));
    assert_eq!(send(&mut sandbox, "alice", &[take("bob", 1_000)]), Outcome::SUCCESS, "as far as it goes");
    assert_eq!((has(&sandbox, "alice"), has(&sandbox, "bob")), ((400, 60), (600, 40)));
    assert_eq!(sandbox.read(&order_id(&account("bob"), 1)), None);
    assert_eq!(send(&mut sandbox, "alice", &[take("bob", 1)]), NO_ORDER);
}

#[test]
fn a_buyer_pays_when_the_order_is_placed_and_gets_the_rest_back() {
    let mut sandbox = funded();
    assert_eq!(send(&mut sandbox, "alice", &[BUY]), Outcome::SUCCESS);
    assert_eq!(has(&sandbox, "alice"), (400, 0));
    assert_eq!(send(&mut sandbox, "alice", &[BUY]), NUMBER_USED);
    assert_eq!(send(&mut sandbox, "bob", &[take("alice", 20)]), Outcome::SUCCESS);
    assert_eq!((has(&sandbox, "alice"), has(&sandbox, "bob")), ((400, 20), (200, 80)));
    assert_eq!(send(&mut sandbox, "bob", &[Action::Cancel { number: 1 }]), NO_ORDER, "it is not his");
    assert_eq!(send(&mut sandbox, "alice", &[Action::Cancel { number: 1 }]), Outcome::SUCCESS);
    assert_eq!((has(&sandbox, "alice"), left(&sandbox, "alice", 1)), ((800, 20), None));
}

#[test]
fn the_actions_of_a_list_take_effect_together_or_not_at_all() {
    let mut sandbox = funded();
    assert_eq!(send(&mut sandbox, "bob", &[SELL]), Outcome::SUCCESS);
    assert_eq!(sandbox.send("alice", b"", AMOUNT_MIN), Outcome::SUCCESS);
    let payee = Payee { class: ScriptClass::PublicKey, bytes: account("anywhere").digest() };
    let exit = |amount| Action::Exit { payee, amount: AMOUNT_MIN + amount };
    assert_eq!(send(&mut sandbox, "alice", &[take("bob", 10), exit(900), exit(1)]), TOO_LITTLE);
    let all = AMOUNT_MIN + 1_000;
    assert_eq!((has(&sandbox, "alice"), left(&sandbox, "bob", 1)), ((all, 0), Some(60)));
    let resell = Action::Place { number: 7, side: Side::Sell, price: 20, amount: 10, until: UNTIL };
    assert_eq!(send(&mut sandbox, "alice", &[take("bob", 10), resell, exit(900)]), Outcome::SUCCESS);
    assert_eq!((has(&sandbox, "alice"), left(&sandbox, "alice", 7)), ((0, 0), Some(10)));
    assert_eq!(sandbox.read(&account("alice")), None, "nothing of either asset is no account");
}

#[test]
fn an_order_is_taken_up_to_its_deadline_and_cancelled_after_it() {
    let mut sandbox = funded();
    let until = sandbox.context().daa_score + 10;
    let sell = Action::Place { number: 1, side: Side::Sell, price: 10, amount: 60, until };
    assert_eq!(send(&mut sandbox, "bob", &[sell]), Outcome::SUCCESS);
    sandbox.context().daa_score = until;
    assert_eq!(send(&mut sandbox, "alice", &[take("bob", 1)]), Outcome::SUCCESS);
    sandbox.context().daa_score += 1;
    assert_eq!(send(&mut sandbox, "alice", &[take("bob", 1)]), EXPIRED);
    assert_eq!(send(&mut sandbox, "bob", &[Action::Cancel { number: 1 }]), Outcome::SUCCESS);
    assert_eq!((has(&sandbox, "bob"), left(&sandbox, "bob", 1)), ((10, 99), None));
}

#[test]
fn taking_ones_own_order_gains_nothing() {
    let mut sandbox = funded();
    assert_eq!(send(&mut sandbox, "alice", &[BUY]), Outcome::SUCCESS);
    assert_eq!(
        send(&mut sandbox, "issuer", &[Action::Issue { to: account("alice"), amount: 5 }]),
        Outcome::SUCCESS
    );
    assert_eq!(send(&mut sandbox, "alice", &[take("alice", 5)]), Outcome::SUCCESS);
    assert_eq!(has(&sandbox, "alice"), (450, 5));
}

#[test]
fn nothing_is_made_out_of_nothing() {
    let mut sandbox = funded();
    let huge = Action::Place { number: 1, side: Side::Buy, price: u64::MAX, amount: 2, until: UNTIL };
    assert_eq!(send(&mut sandbox, "alice", &[huge]), OVERFLOW);
    assert_eq!(send(&mut sandbox, "alice", &[SELL]), TOO_LITTLE);
    let issue = Action::Issue { to: account("alice"), amount: 1 };
    assert_eq!(send(&mut sandbox, "alice", &[issue]), NOT_THE_ISSUER);
    assert_eq!(has(&sandbox, "alice"), (1_000, 0));
}

#[test]
fn no_account_is_written_over_an_order() {
    let mut sandbox = funded();
    assert_eq!(send(&mut sandbox, "bob", &[SELL]), Outcome::SUCCESS);
    let order = order_id(&account("bob"), 1);
    let issue = |to| Action::Issue { to, amount: 1 };
    assert_eq!(send(&mut sandbox, "issuer", &[issue(order)]), NOT_AN_ACCOUNT);
    assert_eq!(left(&sandbox, "bob", 1), Some(60));
    // Nor one over the other in one message.
    let own = order_id(&account("issuer"), 7);
    let place = Action::Place { number: 7, side: Side::Sell, price: 1, amount: 1, until: UNTIL };
    assert_eq!(send(&mut sandbox, "issuer", &[issue(account("issuer")), place, issue(own)]), NOT_AN_ACCOUNT);
    assert_eq!(sandbox.read(&own), None);
    // What lies where an order would is in its way, and no more.
    assert_eq!(send(&mut sandbox, "issuer", &[issue(account("issuer")), issue(own)]), Outcome::SUCCESS);
    assert_eq!(send(&mut sandbox, "issuer", &[place]), NOT_AN_ACCOUNT);
}

#[test]
fn a_message_has_one_encoding_and_nothing_else_is_one() {
    for actions in [vec![SELL], vec![BUY, take("bob", 1), Action::Cancel { number: u64::MAX }]] {
        let message = Message(actions);
        let bytes = message.encode();
        assert_eq!(Message::decode(&bytes), Some(message));
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 0x40;
            let read = Message::decode(&other);
            assert!(read.is_none_or(|read| read.encode() == other), "byte {at}");
        }
    }
    let refused = |actions: &[Action]| Message::decode(&Message(actions.to_vec()).encode()).is_none();
    assert!(refused(&[]));
    assert!(refused(&[SELL; 4]), "too many actions");
    assert!(refused(&[take("bob", 0)]), "an action of nothing");
}

#[test]
fn generated_blocks_are_proved_as_they_are_executed() {
    let agreed = Blocks::of(&workload()).count(300).check();
    let failures = [
        TOO_LITTLE,
        NUMBER_USED,
        NO_ORDER,
        OVERFLOW,
        NOT_THE_ISSUER,
        NOT_AN_ACCOUNT,
        EXPIRED,
        Outcome::MALFORMED,
    ];
    assert!(failures.iter().all(|it| agreed.outcomes.contains_key(it)), "{:?}", agreed.outcomes);
}

#[test]
fn a_flip_back_costs_no_proof() {
    flips_back(&workload());
}

#[test]
fn the_recorded_flip_ends_in_the_state_that_it_ended_in_when_it_was_recorded() {
    let report = replays(&workload(), include_bytes!("../recordings/flip.reprise"));
    assert_eq!((report.reorgs, report.flips, report.proofs_after_flip), (2, 1, 0));
    assert_eq!(report.state_root, include_str!("../recordings/flip.root").trim());
}

#[test]
fn forks_flips_kills_and_lying_provers_break_nothing() {
    let faults = [Fault::Flip, Fault::Crash, Fault::Invalid, Fault::Late];
    Worlds::of(&workload()).seeds(1..9).faults(faults).check();
    Worlds::of(&workload()).seeds(100..115).check();
}

#[test]
#[ignore = "minutes"]
fn ten_thousand_generated_blocks_are_proved_as_they_are_executed() {
    // A seed a thousand blocks: what is compared grows with the state.
    for seed in 1..=10 {
        println!("{:?}", Blocks::of(&workload()).seed(seed).count(1_000).check());
    }
}

#[test]
#[ignore = "minutes"]
fn three_hundred_worlds_break_nothing() {
    println!("{:?}", Worlds::of(&workload()).seeds(1_000..1_300).check());
}
