//! A workload that is not the ledger: the counters that `reprise new` begins with, whose values have two cells and are deleted.
//! Their Miden module against native execution, on generated blocks, without proving.

use std::collections::BTreeSet;
use std::sync::Arc;

use reprise_client::Message as _;
use reprise_conformance::fixture::{Fixture, account, transaction};
use reprise_conformance::generated::Random;
use reprise_miden::{MidenBackend, Poseidon2, Sources};
use reprise_model::digest::ResourceId;
use reprise_model::journal::{Journal, Outcome};
use reprise_model::limits::{Limits, ProveApart};
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::state;
use reprise_model::statement::Claim;
use reprise_model::transaction::BYTES_MAX;
use reprise_model::witness::Witness;
use reprise_prover::backend::Backend;
use reprise_scheduler::execution::Division;

use crate::semantics::{ABSENT, Action, Counters, Message, NOT_THE_OWNER, OVERFLOW, TAKEN};

const USERS: [&str; 3] = ["alice", "bob", "carol"];

fn backend() -> MidenBackend {
    let sources = Sources::of(include_str!("../../../../guests/counters/workload.masm"));
    MidenBackend::new(&sources, Arc::new(Counters)).unwrap()
}

/// A message that is mostly well-formed.
fn message(random: &mut Random) -> Vec<u8> {
    let counter = ResourceId([1 + random.below(3) as u8; 32]);
    let action = match random.below(8) {
        0 | 1 => Action::Open,
        2 => Action::Close,
        3 => Action::Give(account(USERS[random.below(3) as usize])),
        4 => Action::Add(u64::MAX - random.below(3)),
        _ => Action::Add(random.below(1 << 40)),
    };
    let mut bytes = Message { counter, action }.encode();
    match random.below(12) {
        0 => bytes.truncate(random.below(bytes.len() as u64) as usize),
        1 => bytes[random.below(32) as usize] ^= 1 << random.below(8),
        2 => bytes.extend([0; 32]),
        3 => bytes = vec![7; BYTES_MAX],
        _ => {}
    }
    bytes
}

#[test]
fn the_counters_programs_commit_what_native_execution_says_of_generated_blocks() {
    let (backend, mut random) = (backend(), Random(17));
    let limits = Limits { transactions: 4, ..Limits::NONE };
    let division = Division { limits, apart: ProveApart::Never };
    let programs = Backend::programs(&backend);
    let mut fixture = Fixture::executing(Arc::new(Counters), Arc::new(Poseidon2), programs, division);
    let (mut outcomes, mut deleted) = (BTreeSet::new(), 0);
    for block in 0..120 {
        let one = |merge_index| {
            let by = USERS[random.below(3) as usize];
            transaction(merge_index, by, random.below(2) * 5, message(&mut random))
        };
        let accepted = (1..=1 + block as u32 % 7).map(one).collect();
        let scheduled = fixture.block(accepted).clone();
        for (index, scheduled) in scheduled.transactions.iter().enumerate() {
            let journal = &scheduled.journal;
            outcomes.insert(journal.outcome);
            let absent = state::value(&Poseidon2, None);
            deleted += journal.accesses.iter().filter(|it| it.before != absent && it.after == absent).count();
            if journal.accesses.is_empty() {
                continue;
            }
            let witness = Witness::Transaction(fixture.transaction_witness(block, index));
            let committed = backend.execute(&witness, &[]).unwrap();
            assert_eq!(committed, journal.digest(&Poseidon2), "block {block}, transaction {index}");
        }
        for index in 0..scheduled.batches.len() {
            let witness = Witness::Batch(fixture.batch_witness_at(block, index));
            let committed = backend.execute(&witness, &[]).unwrap();
            let expected = fixture.span_at(block, index).journal.digest(&Poseidon2);
            assert_eq!(committed, expected, "block {block}, batch {index}");
        }
    }
    for outcome in
        [Outcome::SUCCESS, Outcome::MALFORMED, Outcome::TOO_LONG, TAKEN, ABSENT, NOT_THE_OWNER, OVERFLOW]
    {
        assert!(outcomes.contains(&outcome), "{outcome:?} is not drawn: {outcomes:?}");
    }
    assert!(deleted > 5, "{deleted} counters are closed");
}

#[test]
#[ignore = "two real proofs of a workload that is not the ledger: 80 CPU seconds"]
fn a_block_of_counters_is_proved_and_settled() {
    let backend = backend();
    let division = Division { limits: Limits::NONE, apart: ProveApart::Never };
    let programs = Backend::programs(&backend);
    let mut fixture = Fixture::executing(Arc::new(Counters), Arc::new(Poseidon2), programs, division);
    let counter = ResourceId([1; 32]);
    let sent =
        |merge_index, by: &str, action| transaction(merge_index, by, 0, Message { counter, action }.encode());
    fixture.block(vec![
        sent(1, "alice", Action::Open),
        sent(2, "alice", Action::Add(7)),
        sent(3, "bob", Action::Close),
        sent(4, "alice", Action::Give(account("bob"))),
        sent(5, "bob", Action::Close),
    ]);
    let prove = |claim: Claim, witness, assumptions: &[Verified<Receipt>]| {
        Verified::check(backend.prove(&claim, &witness, assumptions).unwrap(), &backend).unwrap()
    };
    let batch = prove(fixture.batch_claim(0), Witness::Batch(fixture.batch_witness(0)), &[]);
    let witness = Witness::Aggregate(fixture.aggregate_witness(&[0]));
    prove(fixture.aggregate_claim(&[0]), witness, &[batch]);
}

#[test]
fn the_programs_of_two_workloads_are_all_different() {
    let (counters, ledger) = (Backend::programs(&backend()), crate::world::ids());
    assert_ne!(counters[0], ledger[0]);
    assert_ne!(counters[1], ledger[1]);
    assert_ne!(counters[2], ledger[2], "an aggregate may compute a batch");
}
