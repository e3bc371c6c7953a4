//! The fork tree against a model that is obviously right: a map of ids and a list.

use std::collections::HashMap;

use proptest::prelude::*;
use reprise_chain::event::{ChainEvent, SourceEvent};
use reprise_chain::tree::{ChainError, ForkTree};
use reprise_model::block::{BatchMetadata, BlockId, ChainBlock, ChainBlockMetadata};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest};

/// A block named by `name` on `parent`; its header is a function of both.
fn block(parent: BlockHash, name: u8) -> ChainBlock {
    let mut hash = blake3::Hasher::new();
    hash.update(&parent.0).update(&[name]);
    let metadata = ChainBlockMetadata {
        block_hash: BlockHash(*hash.finalize().as_bytes()),
        parent_hash: parent,
        blue_score: u64::from(name),
        daa_score: 1,
        timestamp_ms: 2,
        parent_timestamp_ms: 3,
        sequencing_commitment: Digest([name; 32]),
    };
    ChainBlock { metadata, accepted: vec![], lane_proof: None, settlements: vec![], claims: vec![] }
}

fn root() -> ChainBlockMetadata {
    block(BlockHash([0; 32]), 0).metadata
}

/// Blocks with these names, each on the one before.
fn run(parent: BlockHash, names: &[u8]) -> Vec<ChainBlock> {
    let mut tip = parent;
    let mut grow = |name: &u8| {
        let next = block(tip, *name);
        tip = next.metadata.block_hash;
        next
    };
    names.iter().map(&mut grow).collect()
}

fn add(added: Vec<ChainBlock>) -> SourceEvent {
    SourceEvent { removed: vec![], added }
}

/// The answers of a fork tree to every question.
fn shape(tree: &ForkTree) -> (Vec<BatchMetadata>, Checkpoint) {
    (tree.view().copied().collect(), tree.finalized())
}

/// A step of an L1: how many blocks leave, and which names join.
fn steps() -> impl Strategy<Value = Vec<(usize, Vec<u8>)>> {
    let step = (0usize..5, proptest::collection::vec(0u8..3, 0..5));
    proptest::collection::vec(step, 1..24)
}

proptest! {
    #[test]
    fn a_walk_over_forks_is_followed_as_a_list_and_a_map_follow_it(steps in steps(), depth in 1u64..40) {
        let mut tree = ForkTree::new(root(), depth);
        let mut ids: HashMap<BlockHash, BlockId> = HashMap::from([(root().block_hash, BlockId(0))]);
        let mut view = vec![root()];
        let mut final_height = 0;
        for (leave, join) in steps {
            let kept = view.len().saturating_sub(leave).max(1);
            let removed: Vec<_> = view[kept..].iter().rev().map(|b| b.block_hash).collect();
            let added = run(view[kept - 1].block_hash, &join);
            let before = shape(&tree);
            let known: Vec<bool> = added.iter().map(|b| ids.contains_key(&b.metadata.block_hash)).collect();
            let answer = tree.apply(SourceEvent { removed: removed.clone(), added: added.clone() });

            if !removed.is_empty() && kept - 1 < final_height {
                prop_assert!(matches!(answer, Err(ChainError::Final { .. })), "{:?}", answer);
                prop_assert_eq!(shape(&tree), before);
                continue;
            }
            let event = answer.unwrap();
            view.truncate(kept);
            view.extend(added.iter().map(|b| b.metadata));
            final_height = final_height.max((view.len() - 1).saturating_sub(depth as usize));
            for (added, known) in event.added.iter().zip(known) {
                prop_assert_eq!(added.returning, known);
                let fresh = BlockId(ids.len() as u64);
                let id = *ids.entry(added.metadata.block_hash()).or_insert(fresh);
                prop_assert_eq!(added.metadata.id, id);
            }
            let left: Vec<_> = event.removed.iter().map(BatchMetadata::block_hash).collect();
            prop_assert_eq!(left, removed);
            let kept: Vec<_> = tree.view().map(|b| b.block).collect();
            prop_assert_eq!(&kept[..], &view[final_height..], "from the highest final block on");
            prop_assert!(tree.seen() <= ids.len() - final_height, "what is below is dropped");
            for (height, block) in (final_height as u64..).zip(tree.view()) {
                prop_assert_eq!(block.checkpoint, Checkpoint(height));
                prop_assert_eq!(tree.at(Checkpoint(height)), Some(block));
            }
            prop_assert_eq!(tree.at(Checkpoint(view.len() as u64)), None);
            prop_assert_eq!(tree.tip().block, view[view.len() - 1]);
            prop_assert_eq!(event.finalized, Checkpoint(final_height as u64));
        }
    }

    #[test]
    fn an_event_that_cannot_be_followed_changes_nothing(
        names in proptest::collection::vec(0u8..3, 1..8), leave in 0usize..4, fault in 0usize..5,
        at: prop::sample::Index,
    ) {
        let mut tree = ForkTree::new(root(), 100);
        let chain = run(root().block_hash, &names);
        tree.apply(add(chain.clone())).unwrap();
        let leave = leave.min(chain.len());
        let mut removed: Vec<_> = chain.iter().rev().take(leave).map(|b| b.metadata.block_hash).collect();
        let fork = removed.len();
        let parent = chain.iter().rev().nth(fork).map_or(root().block_hash, |b| b.metadata.block_hash);
        let mut added = run(parent, &[7, 8, 9]);
        match fault {
            // A block that is not there leaves.
            0 => removed.insert(at.index(fork + 1), BlockHash([1; 32])),
            // A block is missing among those that join.
            1 => { added.remove(at.index(2)); }
            // The root leaves.
            2 => {
                removed = chain.iter().rev().map(|b| b.metadata.block_hash).collect();
                removed.push(root().block_hash);
            }
            // The last of those that join is on another parent.
            3 => added[2].metadata.parent_hash = BlockHash([2; 32]),
            // A known block returns with another header.
            _ => {
                let mut changed = chain[chain.len() - 1].clone();
                changed.metadata.daa_score += 1;
                removed = vec![changed.metadata.block_hash];
                added = vec![changed];
            }
        }
        let before = shape(&tree);
        let mut untouched = tree.clone();
        let answer = tree.apply(SourceEvent { removed, added });
        prop_assert!(answer.is_err());
        prop_assert_eq!(shape(&tree), before);
        // Not even the next id is another one.
        let next = add(run(untouched.tip().block_hash(), &[5, 6]));
        prop_assert_eq!(tree.apply(next.clone()).unwrap(), untouched.apply(next).unwrap());
    }

    #[test]
    fn a_restored_tree_gives_every_block_the_id_it_had_and_new_blocks_new_ones(
        a in proptest::collection::vec(0u8..3, 1..8), b in proptest::collection::vec(3u8..6, 1..8),
    ) {
        let mut first = ForkTree::new(root(), 100);
        let (a, b) = (run(root().block_hash, &a), run(root().block_hash, &b));
        let hashes = |chain: &[ChainBlock]| chain.iter().rev().map(|x| x.metadata.block_hash).collect::<Vec<_>>();
        let mut known = first.apply(add(a.clone())).unwrap().added;
        known.extend(first.apply(SourceEvent { removed: hashes(&a), added: b.clone() }).unwrap().added);
        let ids: HashMap<_, _> = known.iter().map(|x| (x.metadata.block_hash(), x.metadata.id)).collect();

        let mut second = ForkTree::new(root(), 100);
        second.restore(known.iter().map(|x| x.metadata));
        // In the other order than the one they were first seen in.
        let mut again = second.apply(add(b.clone())).unwrap().added;
        again.extend(second.apply(SourceEvent { removed: hashes(&b), added: a }).unwrap().added);
        for block in &again {
            prop_assert!(block.returning);
            prop_assert_eq!(block.metadata.id, ids[&block.metadata.block_hash()]);
        }
        let fresh = second.apply(add(run(second.tip().block_hash(), &[9]))).unwrap().added.remove(0);
        prop_assert!(!fresh.returning);
        prop_assert!(ids.values().all(|id| *id < fresh.metadata.id));
    }
}

#[test]
fn a_block_that_was_final_stays_final_when_the_tip_retreats() {
    let mut tree = ForkTree::new(root(), 2);
    let chain = run(root().block_hash, &[0; 10]);
    let hash = |height: usize| chain[height - 1].metadata.block_hash;
    tree.apply(add(chain.clone())).unwrap();
    assert_eq!(tree.finalized(), Checkpoint(8));
    let event = tree.apply(SourceEvent { removed: vec![hash(10), hash(9)], added: vec![] }).unwrap();
    assert_eq!(event.finalized, Checkpoint(8), "what is final never becomes less");
    let answer = tree.apply(SourceEvent { removed: vec![hash(8)], added: vec![] });
    assert!(matches!(answer, Err(ChainError::Final { .. })), "{answer:?}");
}

#[test]
fn what_the_l1_calls_final_is_final_where_it_is_canonical_and_higher_than_what_was() {
    let mut tree = ForkTree::new(root(), 8);
    let (a, b) = (run(root().block_hash, &[0; 10]), run(root().block_hash, &[1; 11]));
    tree.apply(add(a.clone())).unwrap();
    let hashes = |blocks: &[ChainBlock]| blocks.iter().rev().map(|it| it.metadata.block_hash).collect();
    tree.apply(SourceEvent { removed: hashes(&a[2..]), added: vec![] }).unwrap();
    assert_eq!(tree.finalized(), Checkpoint(2), "by depth");
    for unknown in [a[1].metadata.block_hash, a[9].metadata.block_hash, b[3].metadata.block_hash] {
        assert_eq!(tree.finalize(&unknown), None);
    }
    tree.apply(add(a[2..].to_vec())).unwrap();
    let event = tree.finalize(&a[6].metadata.block_hash).unwrap();
    assert_eq!(event, ChainEvent { finalized: Checkpoint(7), ..ChainEvent::default() });
    assert_eq!(tree.finalize(&a[4].metadata.block_hash), None, "what is final never becomes less");
    let refused = tree.apply(SourceEvent { removed: hashes(&a[6..]), added: vec![] });
    assert!(matches!(refused, Err(ChainError::Final { .. })), "{refused:?}");
    tree.apply(SourceEvent { removed: hashes(&a[7..]), added: vec![] }).unwrap();
}

#[test]
fn an_event_that_adds_a_block_twice_is_refused() {
    let mut tree = ForkTree::new(root(), 10);
    let first = run(root().block_hash, &[1]);
    let hash = first[0].metadata.block_hash;
    // The same hash as its own parent, so that it chains.
    let mut again = block(hash, 2);
    again.metadata.block_hash = hash;
    let before = shape(&tree);
    let refused = tree.apply(add(vec![first[0].clone(), again]));
    assert_eq!(refused, Err(ChainError::Twice { block: hash }));
    assert_eq!(shape(&tree), before);
}

#[test]
fn siblings_share_their_checkpoint_and_not_their_id() {
    let mut tree = ForkTree::new(root(), 100);
    let (a, b) = (block(root().block_hash, 1), block(root().block_hash, 2));
    let first = tree.apply(add(vec![a.clone()])).unwrap().added.remove(0).metadata;
    let swap = SourceEvent { removed: vec![a.metadata.block_hash], added: vec![b] };
    let second = tree.apply(swap).unwrap().added.remove(0).metadata;
    assert_eq!(first.checkpoint, second.checkpoint);
    assert_ne!(first.id, second.id);
}
