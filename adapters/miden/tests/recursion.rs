//! Proofs of proofs.

use reprise_ledger::Action;
use reprise_model::journal::{AggregateJournal, Commitment, Journal};
use reprise_model::statement::Claim;
use reprise_model::witness::Witness;
use reprise_miden::Poseidon2;

use crate::world::{self, World, account, backend, pay, transaction};

#[test]
#[ignore]
fn measure() {
    let mut world = World::with(&[("alice", 100, 0), ("bob", 7, 0)]);
    let bob = account("bob");
    let tx = |i: u32| transaction(i, "alice", 0, pay(Action::Transfer, u64::from(i) - 1, 1, bob));
    let mut batches = vec![];
    let mut at = 1;
    for n in [1u32, 1, 2] {
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

#[test]
#[ignore]
fn heights() {
    let show = |what: &str, w: &Witness, r: &[reprise_model::receipt::Verified<reprise_model::receipt::Receipt>]| {
        let (vm, _) = backend().run(w, r).unwrap().into_parts();
        let trace = miden_vm::trace::build_trace(vm).unwrap();
        let s = trace.trace_len_summary();
        let c = s.chiplets_trace_len();
        eprintln!("{what}: core {} range {} chiplets {} (hash {} bit {} mem {} ace {}) p2 {} padded {:?}", s.core_trace_len(), s.range_trace_len(), c.trace_len(), c.hash_chiplet_len(), c.bitwise_chiplet_len(), c.memory_chiplet_len(), c.ace_chiplet_len(), s.poseidon2_permutation_trace_len(), s.padded_heights());
    };
    let mut world = World::with(&[("alice", 100, 0), ("bob", 7, 0)]);
    let bob = account("bob");
    let tx = |i: u32| transaction(i, "alice", 0, pay(Action::Transfer, u64::from(i) - 1, 1, bob));
    let mut at = 1;
    for n in [1u32, 2] {
        let txs: Vec<_> = (at..at + n).map(tx).collect();
        at += n;
        let block = world.block(&txs);
        show("transaction", &block.transactions[0].witness(), &[]);
        let receipts: Vec<_> =
            block.transactions.iter().map(|t| world::prove(&t.claim(), &t.witness(), &[])).collect();
        show(&format!("batch of {n}"), &block.witness(), &receipts);
        let batch = world::prove(&block.claim(), &block.witness(), &receipts);
        let w = Witness::Aggregate(world::aggregate(&[&block]));
        show(&format!("aggregate of 1 of {n}"), &w, &[batch]);
    }
}
