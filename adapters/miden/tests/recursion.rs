//! Proofs of proofs.

use reprise_ledger::Action;
use reprise_miden::Poseidon2;
use reprise_model::journal::{AggregateJournal, Commitment, Journal};
use reprise_model::statement::Claim;
use reprise_model::witness::Witness;

use crate::world::{self, World, account, backend, pay, transaction};

#[test]
#[ignore]
fn measure() {
    let mut world = World::with(&[("alice", 100, 0), ("bob", 7, 0)]);
    let bob = account("bob");
    let tx = |i: u32| transaction(i, "alice", 0, pay(Action::Transfer, u64::from(i) - 1, 1, bob));
    let mut batches = vec![];
    let mut at = 1;
    for n in [1u32, 2, 4] {
        let txs: Vec<_> = (at..at + n).map(tx).collect();
        at += n;
        let block = world.block(&txs);
        let receipts: Vec<_> =
            block.transactions.iter().map(|t| world::prove(&t.claim(), &t.witness(), &[])).collect();
        batches.push((world::prove(&block.claim(), &block.witness(), &receipts), block));
    }
    for n in 1..=3 {
        let blocks: Vec<_> = batches[..n].iter().map(|(_, block)| block).collect();
        let receipts: Vec<_> = batches[..n].iter().map(|(receipt, _)| receipt.clone()).collect();
        let journals: Vec<_> = blocks.iter().map(|block| block.journal).collect();
        let journal = AggregateJournal::over(&Poseidon2, &journals, Commitment::Unbound).unwrap();
        let claim = Claim { program: backend().programs().aggregate(), journal: journal.bytes() };
        world::prove(&claim, &Witness::Aggregate(world::aggregate(&blocks)), &receipts);
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        eprintln!("{}", status.lines().find(|l| l.starts_with("VmHWM")).unwrap());
    }
}
