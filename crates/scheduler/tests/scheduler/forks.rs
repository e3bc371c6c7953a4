//! Several forks: each is executed as if it were alone, and every witness matches the roots in its journal.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use reprise_model::block::{BatchMetadata, ChainBlock};
use reprise_model::digest::BlockHash;
use reprise_model::hash::Blake3;
use reprise_model::journal::Span;
use reprise_model::program;
use reprise_model::scheduled::{ProvedBy, ScheduledBlock};
use reprise_model::state;
use reprise_model::transaction::BYTES_MAX;
use reprise_model::witness::{BatchWitness, Witness};
use reprise_scheduler::record::MemoryLog;
use reprise_scheduler::scheduler::{Scheduler, SchedulerError};

use crate::execution::{accepted, asks, divisions};
use crate::fixture::{self, Ask, ROOT, Uneven, WHOLE};

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

fn batch_witness(scheduler: &Scheduler, block: BlockHash, index: usize) -> BatchWitness {
    match scheduler.batch_witness(&fixture::batch(block, index)).unwrap() {
        Witness::Batch(witness) => witness,
        other => panic!("{other:?}"),
    }
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
        let busy = seen.values().filter(|block| !block.batches.is_empty()).count();
        prop_assert_eq!(shared.executed(), busy as u64, "each block is executed once");
    }

    #[test]
    fn every_witness_opens_in_the_roots_that_the_journals_name(world in worlds(), division in divisions()) {
        let (uneven, log) = (Arc::new(Uneven), Box::new(MemoryLog::default()));
        let mut scheduler = fixture::divided(uneven, division, log).unwrap();
        let all: Vec<_> = world.iter().collect();
        for block in schedule(&mut scheduler, &all) {
            let hash = block.metadata.block_hash();
            for (index, transaction) in block.transactions.iter().enumerate() {
                let Witness::Transaction(witness) = scheduler.transaction_witness(&hash, index).unwrap() else {
                    panic!("not a transaction's")
                };
                let values: Vec<_> =
                    witness.before.iter().map(|value| state::value(&Blake3, value.as_deref())).collect();
                let named: Vec<_> = transaction.journal.accesses.iter().map(|access| access.before).collect();
                prop_assert_eq!(values, named);
                let proved = program::transaction(&Blake3, &Uneven, &witness);
                match transaction.proved_by {
                    ProvedBy::Disposal => prop_assert!(proved.is_err(), "nothing proves it apart"),
                    _ => prop_assert_eq!(proved.unwrap(), transaction.journal.clone()),
                }
            }
            for (index, batch) in block.batches.iter().enumerate() {
                let transition = batch.journal.transition;
                let witness = batch_witness(&scheduler, hash, index);
                prop_assert_eq!(witness.root_before, transition.root_before);
                prop_assert_eq!(witness.tip_before, transition.tip_before);
                for path in &witness.paths {
                    prop_assert_eq!(path.root(&Blake3), transition.root_before);
                }
                for access in block.transactions[batch.range()].iter().flat_map(|tx| &tx.journal.accesses) {
                    let slot = state::slot(&Blake3, &access.resource);
                    prop_assert_eq!(witness.paths.iter().filter(|path| path.slot == slot).count(), 1);
                }
                prop_assert_eq!(program::batch(&Blake3, &Uneven, &witness), Ok(batch.journal));
            }
            let past = fixture::batch(hash, block.batches.len());
            prop_assert!(scheduler.batch_witness(&past).is_err(), "an empty block has no witness");
        }
    }

    #[test]
    fn however_a_block_is_divided_its_batches_join_to_the_batch_of_the_whole(
        asks in asks(), long in any::<prop::sample::Index>(), division in divisions(),
    ) {
        let funds: Vec<_> = (0..5).map(|to| fixture::deposit(to, 60)).collect();
        let (first, funding) = fixture::block(ROOT, 1, 0, accepted(&funds));
        let mut transactions = accepted(&asks);
        if !transactions.is_empty() {
            let at = long.index(transactions.len());
            transactions[at].payload.resize(BYTES_MAX + 1, 0);
        }
        let (metadata, block) = fixture::block(first.block_hash(), 2, 0, transactions);
        let scheduled = |division| {
            let (uneven, log) = (Arc::new(Uneven), Box::new(MemoryLog::default()));
            let mut scheduler = fixture::divided(uneven, division, log).unwrap();
            scheduler.schedule([(first, &funding), (metadata, &block)]).unwrap().remove(1)
        };
        let (whole, parts) = (scheduled(WHOLE), scheduled(division));
        prop_assert_eq!((whole.root_after, whole.tip_after), (parts.root_after, parts.tip_after));
        let journals = |block: &ScheduledBlock| -> Vec<_> {
            block.transactions.iter().map(|it| (it.merge_index, it.journal.clone())).collect()
        };
        prop_assert_eq!(journals(&whole), journals(&parts));

        let spans = |block: &ScheduledBlock| -> Vec<Span> {
            block.batches.iter().map(|batch| block.span(batch)).collect()
        };
        prop_assert_eq!(Span::join(&Blake3, &spans(&parts)), spans(&whole).pop());
        // Each transaction is in one batch, and each batch within its limits.
        let covered: Vec<usize> = parts.batches.iter().flat_map(|batch| batch.range()).collect();
        prop_assert_eq!(covered, (0..asks.len()).collect::<Vec<_>>());
        for batch in &parts.batches {
            let within = &parts.transactions[batch.range()];
            let apart = within.iter().filter(|it| it.proved_by == ProvedBy::Itself).count();
            prop_assert!((1..=division.limits.transactions).contains(&within.len()));
            prop_assert!(apart <= division.limits.proofs);
            let pieces = block.accepted[batch.range()].iter().flat_map(|it| [it.rest.len(), it.payload.len()]);
            // Of what is longer, a few nodes are shown.
            let bytes: usize = pieces.filter(|length| *length <= BYTES_MAX).sum();
            prop_assert!(bytes <= division.limits.bytes || within.len() == 1);
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
