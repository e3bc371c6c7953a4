//! The tests for workloads, tested: a sound workload passes, and each defect is found by its name.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use reprise_model::digest::ResourceId;
use reprise_model::hash::Blake3;
use reprise_model::journal::{Outcome, TransactionEffects};
use reprise_model::processor::{Processor, ResourceView};
use reprise_model::statement::Kind;
use reprise_model::transaction::TransactionFacts;
use reprise_node::dev;
use reprise_node::rng::Rng;
use reprise_node::traffic::{Draft, State, Traffic};
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_testing::{Blocks, Disagreement, Fault, Workload, Worlds, WorldsFailed, flips_back, replays};

/// Writes what `word` gives to the value of whoever signs.
struct Writes(fn(&[u8]) -> Option<u32>);

impl Processor for Writes {
    fn declare(&self, _: &[u8], facts: &TransactionFacts) -> Option<Vec<ResourceId>> {
        Some(vec![facts.authority])
    }

    fn execute(&self, message: &[u8], facts: &TransactionFacts, _: &ResourceView<'_>) -> TransactionEffects {
        let Some(word) = (self.0)(message) else {
            return TransactionEffects::failure(Outcome(Outcome::FIRST_OF_WORKLOAD));
        };
        let writes = vec![(facts.authority, Some(vec![[word, 0, 0, 0, 0, 0, 0, 0]]))];
        TransactionEffects { outcome: Outcome::SUCCESS, writes, exits: vec![] }
    }
}

struct Bytes;

impl Traffic for Bytes {
    fn draw(&self, rng: &mut Rng, _: &State) -> Draft {
        let by = *rng.pick(&["alice", "bob", "carol"]).unwrap();
        Draft { by: by.into(), message: vec![rng.among(0..50) as u8], deposit: 0 }
    }
}

fn workload(word: fn(&[u8]) -> Option<u32>) -> Workload {
    Workload::new("writes", Writes(word)).with_traffic(Bytes)
}

/// What was said before, whoever said it: a state beside the state.
static BEFORE: AtomicU32 = AtomicU32::new(0);

fn sound(message: &[u8]) -> Option<u32> {
    message.first().filter(|byte| **byte > 3).map(|byte| u32::from(*byte))
}

fn panics(message: &[u8]) -> Option<u32> {
    assert!(message != [7], "a defect");
    message.first().map(|byte| u32::from(*byte))
}

fn remembers(message: &[u8]) -> Option<u32> {
    message.first().map(|byte| BEFORE.fetch_add(u32::from(*byte), Ordering::Relaxed))
}

#[test]
fn a_sound_workload_passes_every_test() {
    let workload = workload(sound);
    let agreed = Blocks::of(&workload).count(40).check();
    assert_eq!(agreed.blocks, 40);
    assert!(agreed.proofs.iter().all(|proofs| *proofs > 0), "{agreed:?}");
    assert_eq!(agreed.outcomes.values().sum::<usize>(), agreed.transactions);
    assert_eq!(flips_back(&workload).proofs_after_flip, 0);
    let sums = Worlds::of(&workload).seeds(1..5).blocks(60).check();
    assert_eq!((sums.worlds, sums.violations), (4, 0));
    assert!(sums.outcomes[&0] > 0 && sums.outcomes[&Outcome::FIRST_OF_WORKLOAD] > 0, "{sums:?}");
}

#[test]
fn a_change_of_meaning_shows_in_the_state_that_a_recorded_chain_ends_in() {
    let recording = dev::flip(&workload(sound)).unwrap().encode();
    let report = replays(&workload(sound), &recording);
    assert_eq!((report.flips, report.proofs_after_flip), (1, 0));
    assert_eq!(report.state_root, flips_back(&workload(sound)).state_root);
    let other = |message: &[u8]| sound(message).map(|word| word + 1);
    assert_ne!(replays(&workload(other), &recording).state_root, report.state_root);
    let nothing: fn(&[u8]) -> Option<u32> = |_| None;
    let refused = std::panic::catch_unwind(|| replays(&workload(nothing), &recording)).unwrap_err();
    let said = refused.downcast_ref::<&str>().copied().unwrap_or_default();
    assert!(said.contains("another meaning"), "{said}");
    let mut older = recording;
    older[8] -= 1;
    let refused = std::panic::catch_unwind(|| replays(&workload(sound), &older)).unwrap_err();
    assert!(refused.downcast_ref::<String>().unwrap().contains("record it again"), "{refused:?}");
}

#[test]
fn the_same_seed_draws_the_same_blocks() {
    let workload = workload(sound);
    let blocks = || Blocks::of(&workload).count(12);
    assert_eq!(blocks().seed(5).check(), blocks().seed(5).check());
    assert_ne!(blocks().seed(5).check(), blocks().seed(6).check());
}

#[test]
fn a_panic_is_reported_as_the_workloads_defect_with_the_message_that_causes_it() {
    let workload = workload(panics);
    let refused = Blocks::of(&workload).run().unwrap_err();
    assert!(matches!(&refused, Disagreement::Panicked { message, .. } if message == "07"), "{refused}");
    let failed = match Worlds::of(&workload).seeds(1..9).run() {
        Err(WorldsFailed::Violated(failed)) => failed,
        other => panic!("{other:?}"),
    };
    assert!(failed[0].violation.by.contains("the message 07"), "{:?}", failed[0]);
    assert_eq!(failed[0].violation.promise, "the workload does not panic");
}

#[test]
fn a_workload_that_reads_something_else_than_its_arguments_is_found() {
    let refused = Blocks::of(&workload(remembers)).run().unwrap_err();
    assert!(matches!(refused, Disagreement::NotDeterministic { .. }), "{refused}");
    Worlds::of(&workload(remembers)).seeds(1..3).blocks(60).run().unwrap_err();
}

/// Leaves a list that may become empty.
struct Lists;

impl Processor for Lists {
    fn declare(&self, _: &[u8], facts: &TransactionFacts) -> Option<Vec<ResourceId>> {
        Some(vec![facts.authority])
    }

    fn execute(&self, message: &[u8], facts: &TransactionFacts, _: &ResourceView<'_>) -> TransactionEffects {
        let list = message.iter().take_while(|byte| **byte > 40).map(|byte| [u32::from(*byte); 8]).collect();
        TransactionEffects {
            outcome: Outcome::SUCCESS,
            writes: vec![(facts.authority, Some(list))],
            exits: vec![],
        }
    }
}

#[test]
fn a_value_of_no_cells_is_refused_because_no_program_of_miden_reads_it() {
    let lists = Workload::new("lists", Lists).with_traffic(Bytes);
    let refused = Blocks::of(&lists).run().unwrap_err();
    assert!(matches!(refused, Disagreement::EmptyValue { .. }), "{refused}");
}

#[test]
fn a_program_of_another_meaning_is_found_by_the_messages_that_it_executes_otherwise() {
    let meant = workload(sound);
    // The backend runs a program that forgets what the message 13 does.
    let forgets = |message: &[u8]| sound(message).filter(|word| *word != 0x13);
    let hasher = Arc::new(Blake3);
    let other = workload(forgets).processor();
    let config = MockConfig { workload: "writes".into(), ..MockConfig::default() };
    let program = Arc::new(MockBackend::new(config, hasher.clone(), other));
    let refused = Blocks::of(&meant).proved_by(program, hasher).run().unwrap_err();
    let Disagreement::NotProved { kind: Kind::Batch, executed, .. } = &refused else { panic!("{refused}") };
    assert!((1..=3).contains(&executed.len()), "as many as a batch has: {refused}");
    let culprit = executed.iter().find(|executed| executed.message == "13").unwrap();
    assert_eq!((culprit.outcome, culprit.accesses.len()), (Outcome::SUCCESS, 1));
    let said = format!("natively 13 ends as Outcome(0) and changes {}", culprit.accesses[0].resource);
    assert!(refused.to_string().contains(&said), "{refused}");
}

#[test]
fn traffic_of_which_nothing_succeeds_tests_nothing_and_is_refused() {
    let never = workload(|_| None);
    let refused = Blocks::of(&never).count(10).run().unwrap_err();
    assert!(matches!(refused, Disagreement::NothingSucceeded { .. }), "{refused}");
    let worlds = Worlds::of(&never).seeds(1..3).blocks(30).faults([Fault::Flip]);
    assert!(matches!(worlds.run(), Err(WorldsFailed::NothingSucceeded(_))));
    let bare = Workload::new("bare", Writes(sound));
    assert!(matches!(Blocks::of(&bare).run(), Err(Disagreement::NoTraffic { .. })));
    assert!(matches!(Worlds::of(&bare).run(), Err(WorldsFailed::World(_))));
}

#[test]
fn generated_blocks_of_the_ledger_are_proved_as_they_are_executed() {
    Blocks::of(&reprise_sim::ledger::workload()).check();
}

#[test]
#[ignore = "minutes"]
fn ten_thousand_generated_blocks_of_the_ledger_are_proved_as_they_are_executed() {
    // A seed a thousand blocks: what is compared grows with the state.
    for seed in 1..=10 {
        println!("{:?}", Blocks::of(&reprise_sim::ledger::workload()).seed(seed).count(1_000).check());
    }
}
