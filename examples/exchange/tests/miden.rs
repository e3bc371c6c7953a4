//! The exchange's programs in Miden: against native execution, and proved.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, and a long one says what it saw"
)]

use std::env;
use std::sync::{Arc, LazyLock};

use reprise_client::Message as _;
use reprise_conformance::fixture::transaction;
use reprise_conformance::suite::{self, ProofCase};
use reprise_example_exchange::semantics::{Action, Exchange, Message, Side};
use reprise_example_exchange::{miden, workload};
use reprise_miden::{MidenBackend, Poseidon2};
use reprise_model::exit::{AMOUNT_MIN, Payee, ScriptClass};
use reprise_prover::backend::Backend;
use reprise_testing::Blocks;

static BACKEND: LazyLock<MidenBackend> =
    LazyLock::new(|| MidenBackend::new(&miden(), Arc::new(Exchange::example())).unwrap());

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
fn real_proofs_of_the_exchange_keep_what_every_backend_keeps() {
    let say = |actions: &[Action]| Message(actions.to_vec()).encode();
    let payee = Payee { class: ScriptClass::PublicKey, bytes: reprise::account("alice").digest() };
    let sent = [
        transaction(0, "alice", 2 * AMOUNT_MIN, vec![]),
        transaction(
            0,
            "alice",
            0,
            say(&[Action::Place { number: 1, side: Side::Buy, price: 3, amount: 5, until: 7 }]),
        ),
        transaction(0, "alice", 0, say(&[Action::Exit { payee, amount: AMOUNT_MIN }])),
    ];
    let accepted = ProofCase::made_of(sent);
    let programs = Backend::programs(&*BACKEND);
    let exchange = Arc::new(Exchange::example());
    suite::check(&*BACKEND, &ProofCase::of_workload(exchange, accepted, Arc::new(Poseidon2), programs, None));
}
