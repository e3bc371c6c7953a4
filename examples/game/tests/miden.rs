//! The game's programs in Miden: against native execution, and proved.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, and a long one says what it saw"
)]

use std::env;
use std::sync::{Arc, LazyLock};

use reprise_client::Message as _;
use reprise_conformance::fixture::{account, transaction};
use reprise_conformance::suite::{self, ProofCase};
use reprise_example_game::semantics::{Action, Game, Message};
use reprise_example_game::{miden, workload};
use reprise_miden::{MidenBackend, Poseidon2};
use reprise_model::digest::ResourceId;
use reprise_prover::backend::Backend;
use reprise_testing::Blocks;

static BACKEND: LazyLock<MidenBackend> =
    LazyLock::new(|| MidenBackend::new(&miden(), Arc::new(Game)).unwrap());

/// How many generated blocks are compared: few, or so many as somebody asks for.
fn blocks() -> usize {
    env::var("REPRISE_TEST_BLOCKS").map_or(150, |count| count.parse().unwrap())
}

#[test]
fn the_programs_commit_what_native_execution_says_of_generated_blocks() {
    let workload = workload();
    let execute = |witness: &_| BACKEND.execute(witness, &[]).map_err(|error| error.to_string());
    let programs = Backend::programs(&*BACKEND);
    // A seed a thousand blocks: what is compared grows with the state.
    for seed in 1..=blocks().div_ceil(1_000) {
        let count = (blocks() - (seed - 1) * 1_000).min(1_000);
        let blocks = Blocks::of(&workload).seed(seed as u64).count(count);
        let agreed = blocks.executed_by(programs, Arc::new(Poseidon2), Arc::new(execute)).check();
        println!("{agreed:?}");
    }
}

#[test]
#[ignore = "six real proofs: 90 CPU seconds"]
fn real_proofs_of_the_game_keep_what_every_backend_keeps() {
    let sent = [
        ("alice", "bob", Action::Open),
        ("alice", "bob", Action::Move(4)),
        ("bob", "alice", Action::Move(0)),
    ];
    let sent = sent.map(|(by, opponent, action)| {
        let message = Message { game: ResourceId([1; 32]), opponent: account(opponent), action };
        transaction(0, by, 0, message.encode())
    });
    let accepted = ProofCase::made_of(sent);
    let programs = Backend::programs(&*BACKEND);
    suite::check(
        &*BACKEND,
        &ProofCase::of_workload(Arc::new(Game), accepted, Arc::new(Poseidon2), programs, None),
    );
}
