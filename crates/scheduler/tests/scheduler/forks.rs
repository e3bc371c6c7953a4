//! Several forks: each as if it were alone, and every witness true to the roots its journal names.

use std::collections::HashMap;

use proptest::prelude::*;
use reprise_model::block::{BatchMetadata, ChainBlock};
use reprise_model::digest::BlockHash;
use reprise_model::hash::Blake3;
use reprise_model::scheduled::ScheduledBlock;
use reprise_model::state;
use reprise_model::witness::Witness;
use reprise_scheduler::record::MemoryLog;
use reprise_scheduler::scheduler::{Scheduler, SchedulerError};

use crate::execution::{accepted, asks};
use crate::fixture::{self, Ask, ROOT};

/// A tree of blocks: each on the root or on an earlier one.
fn worlds() -> impl Strategy<Value = Vec<(BatchMetadata, ChainBlock)>> {
    let block = (any::<prop::sample::Index>(), asks());
    proptest::collection::vec(block, 1..10).prop_map(|drawn| {
        let mut blocks: Vec<(BatchMetadata, ChainBlock)> = vec![];
        for (name, (parent, asks)) in (1u8..).zip(drawn) {
            let parent = parent.index(blocks.len() + 1).checked_sub(1).map(|i| blocks[i].0);
            let (hash, height) = parent.map_or((ROOT, 0), |p| (p.block_hash(), p.checkpoint.0));
            let funds: Vec<Ask> = (0..2).map(|to| fixture::deposit(to, 40)).collect();
            let asks: Vec<Ask> = if name % 3 == 0 { vec![] } else { [funds, asks].concat() };
            blocks.push(fixture::block(hash, height + 1, name, accepted(&asks)));
        }
        blocks
    })
}

fn fresh() -> Scheduler {
    fixture::open(fixture::ledger(), Box::new(MemoryLog::default())).unwrap()
}

/// The blocks from the root to `tip`, oldest first.
fn branch(world: &[(BatchMetadata, ChainBlock)], tip: BlockHash) -> Vec<&(BatchMetadata, ChainBlock)> {
    let find = |hash: &BlockHash| world.iter().find(|(metadata, _)| metadata.block_hash() == *hash);
    let mut branch: Vec<_> =
        std::iter::successors(find(&tip), |(metadata, _)| find(&metadata.block.parent_hash)).collect();
    branch.reverse();
    branch
}

fn schedule(scheduler: &mut Scheduler, blocks: &[&(BatchMetadata, ChainBlock)]) -> Vec<ScheduledBlock> {
    scheduler.schedule(blocks.iter().map(|(metadata, block)| (*metadata, block))).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn forks_followed_in_any_order_are_as_if_each_were_alone(
        world in worlds(), order in proptest::collection::vec(any::<prop::sample::Index>(), 1..8),
    ) {
        let mut shared = fresh();
        let mut seen: HashMap<BlockHash, ScheduledBlock> = HashMap::new();
        for tip in order {
            let tip = world[tip.index(world.len())].0.block_hash();
            let path = branch(&world, tip);
            let batches = schedule(&mut shared, &path);
            let alone = schedule(&mut fresh(), &path);
            prop_assert_eq!(&batches, &alone);
            for batch in batches {
                let before = seen.insert(batch.metadata.block_hash(), batch.clone());
                prop_assert!(before.is_none_or(|before| before == batch));
            }
        }
        prop_assert_eq!(shared.executed(), seen.len() as u64, "each block is executed once");
    }

    #[test]
    fn every_witness_opens_in_the_roots_that_the_journals_name(world in worlds()) {
        let mut scheduler = fresh();
        let all: Vec<_> = world.iter().collect();
        for batch in schedule(&mut scheduler, &all) {
            let hash = batch.metadata.block_hash();
            for (index, transaction) in batch.transactions.iter().enumerate() {
                let Witness::Transaction(witness) = scheduler.transaction_witness(&hash, index).unwrap() else {
                    panic!("not a transaction's")
                };
                let leaves: Vec<_> =
                    witness.before.iter().map(|value| state::leaf(&Blake3, value.as_deref())).collect();
                let named: Vec<_> = transaction.journal.accesses.iter().map(|access| access.before).collect();
                prop_assert_eq!(leaves, named);
                let digest = reprise_model::hash::Hasher::hash(
                    &Blake3, reprise_model::hash::Domain::Transaction, &witness.transaction,
                );
                prop_assert_eq!(digest, transaction.journal.transaction);
            }
            let Some(journal) = batch.journal else {
                prop_assert!(scheduler.batch_witness(&hash).is_err(), "an empty block has no witness");
                continue;
            };
            let Witness::Batch(witness) = scheduler.batch_witness(&hash).unwrap() else {
                panic!("not a batch's")
            };
            prop_assert_eq!(witness.root_before, journal.0.root_before);
            prop_assert_eq!(witness.tip_before, journal.0.tip_before);
            for path in &witness.paths {
                prop_assert_eq!(path.root(&Blake3), journal.0.root_before);
            }
            for access in batch.transactions.iter().flat_map(|tx| &tx.journal.accesses) {
                let slot = state::slot(&access.resource);
                prop_assert_eq!(witness.paths.iter().filter(|path| path.slot == slot).count(), 1);
            }
        }
    }
}

#[test]
fn a_block_whose_parent_was_never_executed_is_refused_by_the_parents_name() {
    let mut scheduler = fresh();
    let parent = BlockHash([9; 32]);
    let (metadata, block) = fixture::block(parent, 2, 1, vec![]);
    let refused = scheduler.schedule([(metadata, &block)]);
    assert!(matches!(refused, Err(SchedulerError::Unknown { block }) if block == parent));
}
