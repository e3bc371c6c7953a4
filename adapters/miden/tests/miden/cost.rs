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

use crate::world::{backend, chain_of, ids};

/// Blocks of so many transfers.
fn transfers(counts: &[u32]) -> Fixture {
    let mut fixture = chain_of(ids(), usize::MAX);
    fixture.block(vec![fund(1, account("alice"), 1 << 40)]);
    let mut nonce = 0;
    for count in counts {
        let one = |index| {
            nonce += 1;
            transaction(index, "alice", 0, pay(Action::Transfer, nonce - 1, 1, account("bob")))
        };
        fixture.block((1..=*count).map(one).collect());
    }
    fixture
}

fn batch(fixture: &Fixture, block: usize, what: &str) -> Verified<Receipt> {
    let witness = Witness::Batch(fixture.batch_witness(block));
    measure(what, &fixture.batch_claim(block), &witness, &[])
}

#[test]
#[ignore = "a measurement of minutes"]
fn cost_of_batches() {
    let counts = [1, 4, 8, 16, 24, 32];
    let mut fixture = transfers(&counts);
    for (at, count) in counts.iter().enumerate() {
        batch(&fixture, at + 1, &format!("{count} inline"));
    }
    let foreign = |count: u32, length: usize| -> Vec<LaneTransaction> {
        (1..=count).map(|index| transaction(index, "m", 0, vec![7; length])).collect()
    };
    let long = LaneTransaction { payload: vec![1; 240_000], ..transaction(33, "m", 0, vec![]) };
    let disposed = [
        ("32 disposed of", foreign(32, 63)),
        ("and one of 240 KB", [foreign(32, 63), vec![long]].concat()),
        ("2 of 8 KB disposed of", foreign(2, 8_000)),
        ("8 of 8 KB disposed of", foreign(8, 8_000)),
    ];
    for (what, block) in disposed {
        fixture.block(block);
        batch(&fixture, fixture.batches.len() - 1, what);
    }
}

#[test]
#[ignore = "a measurement of minutes"]
fn cost_of_recursion() {
    let fixture = transfers(&[1, 1, 1, 1, 2]);
    let apart = [0, 1].map(|index| {
        let witness = Witness::Transaction(fixture.transaction_witness(5, index));
        measure("transaction", &fixture.transaction_claim(5, index), &witness, &[])
    });
    let mut witness = fixture.batch_witness(5);
    for (at, what) in [(0, "1 apart, 1 inline"), (1, "2 apart")] {
        witness.transactions[at].1 = Handling::Apart(fixture.batches[5].transactions[at].journal.clone());
        measure(what, &fixture.batch_claim(5), &Witness::Batch(witness.clone()), &apart[..=at]);
    }

    let batches: Vec<_> = (1..=4).map(|block| batch(&fixture, block, "1 inline")).collect();
    let parts = fixture.parts(&[1, 2, 3, 4]);
    for count in [2, 4] {
        let (claim, witness) = fixture.join(&parts[..count]);
        let what = format!("join of {count}");
        let joined = measure(&what, &claim, &Witness::Aggregate(witness), &batches[..count]);
        settle(&fixture, "settlement of that", &[Fixture::joined(&parts[..count])], &[joined]);
    }
    for count in [1, 2, 4] {
        settle(&fixture, &format!("settlement of {count}"), &parts[..count], &batches[..count]);
        settle(&fixture, &format!("{count} computed"), &Fixture::computed(&parts[..count]), &[]);
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
        "{what:<21} executed {executed:5.2} s  proved {wall:6.1} s  {cpu:6.1} CPU s  {bytes:7} bytes  verify {verify:5.1} ms  peak {:5} MB",
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
