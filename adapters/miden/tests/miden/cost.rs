//! What proving costs here: `cargo test --release -p reprise-miden -- --ignored --nocapture cost`.

use std::time::Instant;

use reprise_ledger::Action;
use reprise_miden::Poseidon2;
use reprise_model::journal::{AggregateJournal, Commitment, Journal};
use reprise_model::receipt::{Receipt, Verified, Verifier};
use reprise_model::statement::Claim;
use reprise_model::witness::Witness;

use crate::world::{Block, World, account, aggregate, backend, pay, transaction};

#[test]
#[ignore = "a measurement of minutes"]
fn cost() {
    let mut world = World::with(&[("alice", 100, 0), ("bob", 7, 0)]);
    let mut nonce = 0;
    let mut batches = vec![];
    for count in [1, 1, 1, 2, 4] {
        let transfers: Vec<_> = (1..=count)
            .map(|merge_index| {
                nonce += 1;
                let payload = pay(Action::Transfer, nonce - 1, 1, account("bob"));
                transaction(merge_index, "alice", 0, payload)
            })
            .collect();
        let block = world.block(&transfers);
        let receipts: Vec<_> = block
            .transactions
            .iter()
            .map(|done| measure("transaction", &done.claim(), &done.witness(), &[]))
            .collect();
        let what = format!("batch of {count}");
        batches.push((measure(&what, &block.claim(), &block.witness(), &receipts), block));
    }
    for count in 1..=3 {
        let blocks: Vec<&Block> = batches[..count].iter().map(|(_, block)| block).collect();
        let receipts: Vec<_> = batches[..count].iter().map(|(receipt, _)| receipt.clone()).collect();
        let journals: Vec<_> = blocks.iter().map(|block| block.journal).collect();
        let journal = AggregateJournal::over(&Poseidon2, &journals, Commitment::Unbound).unwrap();
        let claim = Claim { program: backend().programs().aggregate(), journal: journal.bytes() };
        measure(&format!("aggregate of {count}"), &claim, &Witness::Aggregate(aggregate(&blocks)), &receipts);
    }
}

fn measure(
    what: &str,
    claim: &Claim,
    witness: &Witness,
    receipts: &[Verified<Receipt>],
) -> Verified<Receipt> {
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let receipt = backend().prove(claim, witness, receipts).unwrap();
    let (wall, cpu, bytes) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu, receipt.seal.len());
    let start = Instant::now();
    backend().verify(&receipt).unwrap();
    let verify = start.elapsed().as_secs_f64() * 1e3;
    println!("{what:<16} {wall:6.1} s  {cpu:6.1} CPU s  {bytes:7} bytes  verify {verify:4.1} ms  {}", peak());
    Verified::check(receipt, backend()).unwrap()
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}

fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().replace('\t', " ")
}
