//! A lane that accepts nothing for longer than its entry lasts.

use reprise_kaspa::follower::FollowError;
use reprise_kaspa::lane_proof::{LaneProof, Opening, of_parent};
use reprise_kaspa::track::CheckError;
use reprise_model::block::ChainBlock;

use crate::fake::{self, Block, Node, WINDOW};

/// A chain whose lane accepts something in its blocks of these numbers, and nothing in between; every block has its
/// inactivity shortcut.
fn chain(accepting: &[usize]) -> Vec<Block> {
    let mut chain: Vec<Block> = vec![];
    for number in 0..=accepting.iter().copied().max().unwrap() {
        let transactions: &[_] =
            if accepting.contains(&number) { &[fake::lane_transaction(number as u8)] } else { &[] };
        chain.push(fake::block_on(&chain, number as u8, transactions));
    }
    chain
}

/// The blocks of another fork above these, up to the last that accepts something.
fn chain_on(below: &[Block], accepting: &[usize]) -> Vec<Block> {
    let mut chain = below.to_vec();
    for number in below.len()..=accepting.iter().copied().max().unwrap() {
        let transactions: &[_] =
            if accepting.contains(&number) { &[fake::lane_transaction(77)] } else { &[] };
        chain.push(fake::block_on(&chain, number as u8 ^ 0x55, transactions));
    }
    chain.split_off(below.len())
}

async fn followed(page: usize, chain: &[Block], lowest: usize) -> Result<Vec<ChainBlock>, FollowError> {
    let mut node = Node::new(page);
    node.lowest = Some(chain[lowest].metadata.block_hash);
    node.adopt(chain.to_vec());
    let events = fake::recorder().follower.advance(&node).await?;
    Ok(events.into_iter().flat_map(|event| event.added).collect())
}

#[tokio::test]
async fn a_block_that_ends_a_silence_shows_the_tip_before_it_over_any_number_of_windows() {
    let window = WINDOW as usize;
    // At the end of the entry's life, one past it, and windows later.
    for silence in
        [window, window + 1, window + 2, 2 * window + 1, 2 * window + 2, 3 * window + 3, 5 * window]
    {
        for page in [7, 1_000] {
            let chain = chain(&[3, 3 + silence]);
            let blocks = followed(page, &chain, 0).await.unwrap();
            let (before, last) = (&blocks[3], blocks.last().unwrap());
            let reopening = of_parent(last.lane_proof.as_ref().unwrap());
            assert_eq!(reopening.is_some(), silence > window, "{silence}");
            let Some(reopening) = reopening else { continue };
            let key = fake::lane().key;
            let opening = Opening::of(&key, reopening).unwrap();
            let tip = Opening::of(&key, before.lane_proof.as_ref().unwrap()).unwrap().tip();
            assert_eq!(opening.tip(), tip, "{silence}");
            let parent = blocks[blocks.len() - 2].metadata;
            assert_eq!(opening.commitment, parent.sequencing_commitment);
            // Of silent blocks only the last of a part is proved, and those that a settlement may be anchored in.
            let proved = blocks.iter().filter(|block| block.lane_proof.is_some()).count();
            let (ends, anchors) = (blocks.len() / 64, blocks.len() / (window / 16));
            assert!(page < 1_000 || proved <= 6 + ends + anchors, "{proved} of {}", blocks.len());
        }
    }
}

#[tokio::test]
async fn a_silence_that_the_node_has_pruned_the_beginning_of_is_an_error_that_says_so() {
    let window = WINDOW as usize;
    let (chain, pruned) = (chain(&[3, 3 + 3 * window + 3]), window + 50);
    let error = followed(1_000, &chain, pruned).await.unwrap_err();
    let FollowError::Silent { block, lowest } = error else { panic!("{error}") };
    let expected = (chain[chain.len() - 2].metadata.block_hash, chain[pruned].metadata.block_hash);
    assert_eq!((block, lowest), expected);
}

#[tokio::test]
async fn what_is_removed_and_comes_back_shows_it_again() {
    let window = WINDOW as usize;
    // The block that the silence is bridged from lies below the fork, and above it.
    let (a, b) = (chain(&[3, 3 * window]), chain(&[3, 3 * window + 1]));
    let c = [&a[..window], &chain_on(&a[..window], &[3 * window])].concat();
    let node = Node::new(1_000);
    let mut recorder = fake::recorder();
    for chain in [&a, &b, &c, &b, &a] {
        node.adopt(chain.clone());
        recorder.events.extend(recorder.follower.advance(&node).await.unwrap());
    }
    let (first, last) = (&recorder.events[recorder.events.len() - 1], recorder.track().tip());
    assert_eq!(last.block_hash, a.last().unwrap().metadata.block_hash);
    assert!(of_parent(first.added.last().unwrap().lane_proof.as_ref().unwrap()).is_some());
}

#[tokio::test]
async fn earlier_proofs_that_are_none_are_refused_before_a_block_is_taken() {
    let mut chain = chain(&[3]);
    for number in 4..3 * WINDOW as usize {
        chain.push(fake::block_on(&chain, number as u8, &[]));
    }
    let node = Node::new(1_000);
    node.adopt(chain);
    let events = fake::recorder().follower.advance(&node).await.unwrap();
    let silent = |block: &ChainBlock| {
        let proof = block.lane_proof.as_deref();
        proof.is_some_and(|proof| proof.len() > 2 * 170 && LaneProof::decode(proof).unwrap().lane.is_none())
    };
    let at = events.iter().position(|event| event.added.iter().any(silent)).unwrap();
    let mut recorder = fake::recorder();
    events[..at].iter().for_each(|event| recorder.follower.resume(event).unwrap());
    let mut lying = events[at].clone();
    let block = lying.added.iter_mut().find(|block| silent(block)).unwrap();
    let proof = block.lane_proof.as_mut().unwrap();
    let last = proof.len() - 40;
    proof[last] ^= 1;
    let refused = recorder.follower.resume(&lying).unwrap_err();
    assert!(matches!(refused, FollowError::Check(CheckError::Unreadable { .. })), "{refused}");
    recorder.follower.resume(&events[at]).unwrap();
}
