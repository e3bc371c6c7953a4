//! The rules of the game, and the rollup through everything that an L1, a disk and a prover can do to it.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, and a long one says what it saw"
)]

use reprise::{ResourceId, account};
use reprise_client::Message as _;
use reprise_example_game::semantics::{
    Action, FIELD_TAKEN, Game, ID_USED, Message, NO_GAME, NOT_A_PLAYER, NOT_YOUR_TURN, Record, TURN,
    TURN_RUNS, game_id,
};
use reprise_example_game::workload;
use reprise_model::journal::Outcome;
use reprise_testing::{Blocks, Fault, Sandbox, Worlds, flips_back, replays};

const GAME: ResourceId = ResourceId([1; 32]);

fn other(player: &str) -> &'static str {
    if player == "alice" { "bob" } else { "alice" }
}

fn send(sandbox: &mut Sandbox, by: &str, action: Action) -> Outcome {
    let message = Message { game: GAME, opponent: account(other(by)), action }.encode();
    sandbox.send(by, &message, 0)
}

fn record(sandbox: &Sandbox, player: &str) -> Record {
    sandbox.read(&account(player)).and_then(Record::from_cells).unwrap_or_default()
}

fn played(fields: &[u32]) -> Sandbox {
    let mut sandbox = Sandbox::of(Game);
    assert_eq!(send(&mut sandbox, "alice", Action::Open), Outcome::SUCCESS);
    for (turn, field) in fields.iter().enumerate() {
        let by = ["alice", "bob"][turn % 2];
        assert_eq!(send(&mut sandbox, by, Action::Move(*field)), Outcome::SUCCESS, "{by} plays {field}");
    }
    sandbox
}

#[test]
fn three_in_a_row_win_and_the_game_is_deleted() {
    let sandbox = played(&[0, 3, 1, 4, 2]);
    assert_eq!(sandbox.read(&game_id(&GAME)), None);
    assert_eq!(record(&sandbox, "alice"), Record { won: 1, lost: 0, drawn: 0 });
    assert_eq!(record(&sandbox, "bob"), Record { won: 0, lost: 1, drawn: 0 });
}

#[test]
fn a_full_board_is_a_draw() {
    let sandbox = played(&[0, 1, 2, 4, 3, 5, 7, 6, 8]);
    assert_eq!(sandbox.read(&game_id(&GAME)), None);
    for player in ["alice", "bob"] {
        assert_eq!(record(&sandbox, player), Record { won: 0, lost: 0, drawn: 1 });
    }
}

#[test]
fn players_take_turns_on_free_fields_of_their_own_game() {
    let mut sandbox = played(&[4]);
    assert_eq!(send(&mut sandbox, "alice", Action::Move(0)), NOT_YOUR_TURN);
    assert_eq!(send(&mut sandbox, "bob", Action::Move(4)), FIELD_TAKEN);
    assert_eq!(send(&mut sandbox, "bob", Action::Open), ID_USED);
    let foreign = Message { game: GAME, opponent: account("alice"), action: Action::Move(0) }.encode();
    assert_eq!(sandbox.send("mallory", &foreign, 0), NO_GAME);
    let alone = Message { game: GAME, opponent: account("bob"), action: Action::Open }.encode();
    assert_eq!(sandbox.send("bob", &alone, 0), Outcome::MALFORMED, "nobody plays against oneself");
    let itself = Message { game: GAME, opponent: game_id(&GAME), action: Action::Open }.encode();
    assert_eq!(sandbox.send("bob", &itself, 0), Outcome::MALFORMED, "nor against the game");
    assert_eq!(send(&mut sandbox, "bob", Action::Resign), Outcome::SUCCESS);
    assert_eq!((record(&sandbox, "alice").won, record(&sandbox, "bob").lost), (1, 1));
    assert_eq!(send(&mut sandbox, "bob", Action::Resign), NO_GAME);
}

#[test]
fn who_takes_no_turn_loses_when_the_opponent_claims_it() {
    let mut sandbox = played(&[4]);
    assert_eq!(send(&mut sandbox, "alice", Action::Claim), TURN_RUNS, "bob has time left");
    sandbox.context().daa_score += TURN - 1;
    assert_eq!(send(&mut sandbox, "alice", Action::Claim), TURN_RUNS, "to the last block");
    sandbox.context().daa_score += 1;
    assert_eq!(send(&mut sandbox, "bob", Action::Claim), TURN_RUNS, "it is his own turn");
    assert_eq!(send(&mut sandbox, "alice", Action::Claim), Outcome::SUCCESS);
    assert_eq!(record(&sandbox, "alice"), Record { won: 1, lost: 0, drawn: 0 });
    assert_eq!(record(&sandbox, "bob"), Record { won: 0, lost: 1, drawn: 0 });
    // A move in time begins the next turn.
    let mut sandbox = played(&[4]);
    sandbox.context().daa_score += 2 * TURN;
    assert_eq!(send(&mut sandbox, "bob", Action::Move(0)), Outcome::SUCCESS, "nobody claimed it");
    assert_eq!(send(&mut sandbox, "bob", Action::Claim), TURN_RUNS);
}

#[test]
fn no_game_lies_where_a_record_does() {
    let mut sandbox = played(&[0, 3, 1, 4, 2]);
    let over = Message { game: account("alice"), opponent: account("bob"), action: Action::Open }.encode();
    assert_eq!(sandbox.send("carol", &over, 0), Outcome::SUCCESS);
    assert_eq!(record(&sandbox, "alice").won, 1);
}

#[test]
fn no_record_is_written_over_a_game() {
    let mut sandbox = played(&[4]);
    let other = ResourceId([2; 32]);
    let message = |action| Message { game: other, opponent: game_id(&GAME), action }.encode();
    assert_eq!(sandbox.send("mallory", &message(Action::Open), 0), Outcome::SUCCESS);
    assert_eq!(sandbox.send("mallory", &message(Action::Resign), 0), NOT_A_PLAYER);
    assert_eq!(send(&mut sandbox, "bob", Action::Move(0)), Outcome::SUCCESS, "the game goes on");
}

#[test]
fn generated_blocks_are_proved_as_they_are_executed() {
    let agreed = Blocks::of(&workload()).count(300).check();
    let failures =
        [ID_USED, NO_GAME, NOT_YOUR_TURN, FIELD_TAKEN, NOT_A_PLAYER, TURN_RUNS, Outcome::MALFORMED];
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
