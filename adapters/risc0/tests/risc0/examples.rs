//! The examples' programs: against native execution in the executor, and proved. `guests/build examples/NAME/risc0 DIR/NAME` makes their
//! images, and `REPRISE_TEST_EXAMPLES` names DIR:
//!
//! ```sh
//! REPRISE_TEST_EXAMPLES=DIR cargo test --release --test risc0 examples -- --ignored
//! ```

use std::env;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use reprise_client::Message as _;
use reprise_conformance::suite::{self, ProofCase};
use reprise_example_exchange::semantics as exchange;
use reprise_example_game::semantics as game;
use reprise_model::digest::ResourceId;
use reprise_model::exit::{AMOUNT_MIN, Payee, ScriptClass};
use reprise_model::profile::SealKind;
use reprise_model::transaction::LaneTransaction;
use reprise_node::workload::Workload;
use reprise_prover::backend::Backend;
use reprise_risc0::{Images, Risc0Backend, Sha256};
use reprise_testing::Blocks;

use crate::fixture::{account, lanes, transaction};

/// The backend of an example's programs.
fn backend(name: &str, seal: SealKind) -> Risc0Backend {
    let dir = PathBuf::from(env::var("REPRISE_TEST_EXAMPLES").unwrap()).join(name);
    let read = |program: &str| -> &'static [u8] { fs::read(dir.join(program)).unwrap().leak() };
    let images = Images {
        transaction: read("transaction.elf"),
        batch: read("batch.elf"),
        aggregate: read("aggregate.elf"),
    };
    Risc0Backend::new(seal, &images).unwrap()
}

/// How many generated blocks are compared: few, or so many as somebody asks for.
fn blocks() -> usize {
    env::var("REPRISE_TEST_BLOCKS").map_or(100, |count| count.parse().unwrap())
}

fn case(workload: &Workload, sent: [LaneTransaction; 3], backend: &Risc0Backend) -> ProofCase {
    let (accepted, programs) = (ProofCase::made_of(sent), Backend::programs(backend));
    ProofCase::of_workload(workload.processor(), accepted, Arc::new(Sha256), programs, Some(lanes))
}

fn trades() -> [LaneTransaction; 3] {
    let say = |action| exchange::Message(vec![action]).encode();
    let payee = Payee { class: ScriptClass::PublicKey, bytes: account("alice").digest() };
    let place =
        exchange::Action::Place { number: 1, side: exchange::Side::Buy, price: 3, amount: 5, until: 7 };
    [
        transaction(0, "alice", 2 * AMOUNT_MIN, vec![]),
        transaction(0, "alice", 0, say(place)),
        transaction(0, "alice", 0, say(exchange::Action::Exit { payee, amount: AMOUNT_MIN })),
    ]
}

fn turns() -> [LaneTransaction; 3] {
    use game::Action;
    let turns = [
        ("alice", "bob", Action::Open),
        ("alice", "bob", Action::Move(4)),
        ("bob", "alice", Action::Move(0)),
    ];
    turns.map(|(by, opponent, action)| {
        let message = game::Message { game: ResourceId([1; 32]), opponent: account(opponent), action };
        transaction(0, by, 0, message.encode())
    })
}

fn agrees(name: &str, workload: &Workload) {
    let backend = Arc::new(backend(name, SealKind::Fake));
    // A seed a thousand blocks: what is compared grows with the state.
    for seed in 1..=blocks().div_ceil(1_000) {
        let count = (blocks() - (seed - 1) * 1_000).min(1_000);
        let blocks = Blocks::of(workload).seed(seed as u64).count(count).on_lanes(lanes);
        println!("{name}: {:?}", blocks.proved_by(backend.clone(), Arc::new(Sha256)).check());
    }
}

#[test]
#[ignore = "needs the images of the examples: see the module"]
fn the_examples_programs_keep_what_every_backend_keeps() {
    for (name, workload, sent) in [
        ("exchange", reprise_example_exchange::workload(), trades()),
        ("game", reprise_example_game::workload(), turns()),
    ] {
        let backend = backend(name, SealKind::Fake);
        suite::check(&backend, &case(&workload, sent, &backend));
    }
}

#[test]
#[ignore = "needs the images of the examples: see the module"]
fn the_exchanges_programs_commit_what_native_execution_says_of_generated_blocks() {
    agrees("exchange", &reprise_example_exchange::workload());
}

#[test]
#[ignore = "needs the images of the examples: see the module"]
fn the_games_programs_commit_what_native_execution_says_of_generated_blocks() {
    agrees("game", &reprise_example_game::workload());
}

#[test]
#[ignore = "needs the images of the examples, and makes twelve real succinct proofs: an hour of CPU"]
fn succinct_proofs_of_the_examples_keep_what_every_backend_keeps() {
    for (name, workload, sent) in [
        ("exchange", reprise_example_exchange::workload(), trades()),
        ("game", reprise_example_game::workload(), turns()),
    ] {
        let backend = backend(name, SealKind::Succinct);
        suite::check(&backend, &case(&workload, sent, &backend));
    }
}
