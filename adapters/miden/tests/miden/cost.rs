//! What proving costs here:
//! `cargo test --release --workspace --test miden -- --ignored --nocapture cost`.

use std::time::Instant;

use reprise_conformance::fixture::{Fixture, account, fund, pay, transaction};
use reprise_ledger::Action;
use reprise_miden::Poseidon2;
use reprise_model::journal::{AggregateJournal, Commitment, Journal};
use reprise_model::order::PartRef;
use reprise_model::receipt::{Receipt, Verified, Verifier};
use reprise_model::statement::Claim;
use reprise_model::transaction::LaneTransaction;
use reprise_model::witness::{Handling, Witness};

use crate::world::{backend, chain_of, ids, run_batch};

#[test]
#[ignore = "a measurement of minutes"]
fn cost() {
    let mut fixture = chain_of(ids(), usize::MAX);
    fixture.block(vec![fund(1, account("alice"), 1 << 40)]);
    let mut nonce = 0;
    let mut transfers = |count: u32| -> Vec<LaneTransaction> {
        let one = |index| {
            nonce += 1;
            transaction(index, "alice", 0, pay(Action::Transfer, nonce - 1, 1, account("bob")))
        };
        (1..=count).map(one).collect()
    };
    let counts = [1, 1, 1, 1, 2, 4, 16, 32];
    for count in counts {
        fixture.block(transfers(count));
    }
    let foreign = |length: usize| (1..=32).map(move |index| transaction(index, "m", 0, vec![7; length]));
    fixture.block(foreign(63).collect());
    fixture.block(
        foreign(63)
            .chain([LaneTransaction { payload: vec![1; 240_000], ..transaction(33, "m", 0, vec![]) }])
            .collect(),
    );
    fixture.block(foreign(7_800).take(8).collect());

    // Execution alone: the most that any of these takes of the VM.
    for block in 1..fixture.batches.len() {
        let witness = fixture.batch_witness(block);
        let start = Instant::now();
        run_batch(&witness, &[]).unwrap();
        let (count, wall) = (witness.transactions.len(), start.elapsed().as_secs_f64());
        println!("block {block:>2}: a batch of {count:>2} is executed in {wall:.2} s");
    }

    let batch = |block: usize, what: &str| {
        let witness = Witness::Batch(fixture.batch_witness(block));
        measure(what, &fixture.batch_claim(block), &witness, &[])
    };
    let batches: Vec<_> = (1..=4).map(|block| batch(block, "batch of 1 inline")).collect();
    batch(6, "batch of 4 inline");
    batch(7, "batch of 16 inline");
    batch(8, "batch of 32 inline");
    batch(9, "batch of 32 disposed of");
    batch(10, "and one of 240 KB");
    batch(11, "8 disposed of, 64 KB");

    let apart = [0, 1].map(|index| {
        let witness = Witness::Transaction(fixture.transaction_witness(5, index));
        measure("transaction", &fixture.transaction_claim(5, index), &witness, &[])
    });
    let mut witness = fixture.batch_witness(5);
    for ((_, handling), scheduled) in witness.transactions.iter_mut().zip(&fixture.batches[5].transactions) {
        *handling = Handling::Apart(scheduled.journal.clone());
    }
    let mut one = witness.clone();
    one.transactions[1].1 = fixture.batch_witness(5).transactions[1].1.clone();
    measure("batch of 1 apart, 1 inline", &fixture.batch_claim(5), &Witness::Batch(one), &apart[..1]);
    measure("batch of 2 apart", &fixture.batch_claim(5), &Witness::Batch(witness), &apart);

    let parts = fixture.parts(&[1, 2, 3, 4]);
    for count in [2, 4] {
        let (claim, witness) = fixture.join(&parts[..count]);
        let joined =
            measure(&format!("join of {count}"), &claim, &Witness::Aggregate(witness), &batches[..count]);
        if count == 2 {
            settle(&fixture, "settlement of a join", &[Fixture::joined(&parts[..2])], &[joined]);
        }
    }
    for count in [1, 2, 4] {
        settle(&fixture, &format!("settlement of {count}"), &parts[..count], &batches[..count]);
    }
}

fn settle(fixture: &Fixture, what: &str, parts: &[PartRef], receipts: &[Verified<Receipt>]) {
    let spans: Vec<_> = parts.iter().map(|part| fixture.part_span(part).unwrap()).collect();
    let journal = AggregateJournal::over(&Poseidon2, &spans, Commitment::Unbound).unwrap();
    let claim = Claim { program: ids()[2], journal: journal.bytes() };
    measure(what, &claim, &Witness::Aggregate(fixture.settlement_witness(parts)), receipts);
}

fn measure(
    what: &str,
    claim: &Claim,
    witness: &Witness,
    receipts: &[Verified<Receipt>],
) -> Verified<Receipt> {
    reset_peak();
    let start = Instant::now();
    backend().execute(witness, receipts).unwrap();
    let executed = start.elapsed().as_secs_f64();
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let receipt = backend().prove(claim, witness, receipts).unwrap();
    let (wall, cpu, bytes) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu, receipt.seal.len());
    let start = Instant::now();
    backend().verify(&receipt).unwrap();
    let verify = start.elapsed().as_secs_f64() * 1e3;
    println!(
        "{what:<27} executed {executed:5.2} s  proved {wall:6.1} s  {cpu:6.1} CPU s  {bytes:7} bytes  verify {verify:5.1} ms  peak {:5} MB",
        peak()
    );
    Verified::check(receipt, backend()).unwrap()
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}

/// Lets the peak be of what follows, where the system can.
fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// In megabytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() / 1024
}
