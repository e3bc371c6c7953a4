//! Catching up with a node that is slow, far ahead or behind, or whose connection breaks.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use reprise_kaspa::follower::{FollowError, PART_MAX, PROOFS_MAX};
use reprise_kaspa::node_chain::{Chain, WithTimeout};
use reprise_kaspa::track::CheckError;
use reprise_model::digest::BlockHash;
use tokio::time::Instant;

use crate::fake::{self, Block, Node, Recorder, Script, Slow};

/// The delay of an answer from the other side of the world.
const DELAY: Duration = Duration::from_millis(60);

/// Blocks of which every 50th accepts a transaction of the lane, so that the lane's entry does not expire.
fn long_chain(length: usize) -> Vec<Block> {
    let mut chain: Vec<Block> = vec![];
    for number in 0..length {
        let (parent, lane) =
            chain.last().map_or((fake::root(), None), |last| (last.metadata, last.proof.lane));
        let transactions: &[_] = if number % 50 == 0 { &[fake::lane_transaction(number as u8)] } else { &[] };
        chain.push(fake::block(&parent, lane, number as u8, transactions));
    }
    chain
}

/// A node at the end of a long chain, whose pages are of 1,000 blocks, and the chain.
fn far_ahead(length: usize) -> (Node, Vec<BlockHash>) {
    let node = Node::new(1_000);
    node.adopt(long_chain(length));
    let hashes = node.confirmed(0);
    (node, hashes)
}

#[tokio::test(start_paused = true)]
async fn three_thousand_blocks_are_caught_up_with_at_sixty_milliseconds_an_answer() {
    let (node, hashes) = far_ahead(3_000);
    let slow = Slow::new(&node, DELAY);
    // As on a network where an entry lasts for half a day.
    let (mut recorder, began) = (fake::recorder_lasting(fake::lane(), 432_000), Instant::now());
    let events = recorder.follower.advance(&slow).await.unwrap();
    assert!(recorder.track().blocks().eq(hashes));
    assert!(events.iter().all(|event| event.added.len() <= PART_MAX));
    // With everything asked for at once: a page, its proofs, and the empty page.
    let unlimited = DELAY * (3 * 2 + 1);
    let took = began.elapsed();
    assert!(took <= unlimited * 3 / 2, "{took:?}, and {unlimited:?} at best");
    let proofs = slow.proofs.lock().unwrap().len();
    assert!(proofs < 250, "{proofs} lane proofs of 3,000 blocks");
}

#[tokio::test(start_paused = true)]
async fn a_lane_without_an_entry_is_proved_absent_in_every_block_several_at_a_time() {
    let node = Node::new(1_000);
    let mut chain: Vec<Block> = vec![];
    for number in 0..600_usize {
        let parent = chain.last().map_or(fake::root(), |last| last.metadata);
        chain.push(fake::block(&parent, None, number as u8, &[]));
    }
    node.adopt(chain);
    let slow = Slow::new(&node, DELAY);
    let (mut recorder, began) = (fake::recorder(), Instant::now());
    let events = recorder.follower.advance(&slow).await.unwrap();
    let added: Vec<_> = events.into_iter().flat_map(|event| event.added).collect();
    assert!(added.len() == 600 && added.iter().all(|block| block.lane_proof.is_some()));
    let rounds = 600_usize.div_ceil(PROOFS_MAX) as u32 + 2;
    assert!(began.elapsed() <= DELAY * rounds, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_before_a_connection_breaks_is_never_asked_for_again() {
    let (node, hashes) = far_ahead(2_000);
    let mut recorder = fake::recorder();
    let (mut cuts, mut asked) = (0, vec![]);
    loop {
        let slow = Slow { cut_after: 40, ..Slow::new(&node, DELAY) };
        let mut taken = recorder.track().height();
        let ended = loop {
            match recorder.follower.next_event(&slow).await {
                Ok(Some(_)) => taken = recorder.track().height(),
                other => break other,
            }
        };
        asked.extend(slow.proofs.into_inner().unwrap());
        match ended {
            Ok(_) => break,
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                assert_eq!(recorder.track().height(), taken, "what was taken is kept");
                cuts += 1;
            }
        }
        assert!(cuts < 100, "it makes no progress");
    }
    assert!(recorder.track().blocks().eq(hashes));
    let distinct: HashSet<_> = asked.iter().collect();
    let again = asked.len() - distinct.len();
    assert!(cuts > 1 && again <= cuts * PROOFS_MAX, "{cuts} cuts, {again} proofs asked for again");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_is_an_error_after_the_timeout_of_one_answer() {
    let (node, _) = far_ahead(10);
    let within = Duration::from_secs(60);
    let silent = WithTimeout { chain: Box::new(Slow::new(&node, Duration::MAX)), timeout: within };
    let (mut recorder, began) = (fake::recorder(), Instant::now());
    let error = recorder.follower.next_event(&silent).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("no answer within 60s"), "{error}");
    // Once for the page, and once for the request that tells whether the node answers at all.
    assert_eq!(began.elapsed(), within * 2);
}

#[tokio::test]
async fn a_transaction_hidden_in_a_block_without_a_proof_is_found_and_its_block_is_named() {
    let mut chain = long_chain(60);
    let liar = chain[50].metadata.block_hash;
    chain[50].answer.accepted_transactions.clear();
    let node = Node::new(1_000);
    node.adopt(chain);
    let mut recorder = fake::recorder();
    let error = recorder.follower.next_event(&node).await.unwrap_err();
    let FollowError::Check(CheckError::Lane { block, .. }) = error else { panic!("{error}") };
    assert_eq!(block, liar);
    assert_eq!(recorder.track().height(), 0, "nothing of the part is taken");
}

/// A recorder that has followed this chain.
fn followed(chain: &[Block]) -> Recorder {
    let mut recorder = fake::recorder();
    recorder.accept(&fake::answer(&[], chain), &fake::proofs(chain)).unwrap();
    recorder
}

#[tokio::test]
async fn a_node_that_is_behind_removes_nothing_whether_it_knows_the_followed_tip_or_not() {
    let chain = long_chain(30);
    let tip = chain[9].metadata.block_hash;
    let knowing = Node::new(1_000);
    knowing.adopt(chain.clone());
    knowing.adopt(chain[..10].to_vec());
    let unknowing = Script {
        answers: Mutex::new([(tip, fake::answer(&[], &[]))].into()),
        knows: Some(
            std::iter::once(fake::root().block_hash)
                .chain(chain[..10].iter().map(|it| it.metadata.block_hash))
                .collect(),
        ),
        tip: Some(tip),
        ..Script::default()
    };
    for backend in [&knowing as &dyn Chain, &unknowing] {
        for confirmations in [0, 3] {
            let mut recorder = followed(&chain);
            recorder.follower.set_confirmations(if backend.tip().await.is_ok() { confirmations } else { 0 });
            unknowing.answers.lock().unwrap().clear();
            unknowing.answers.lock().unwrap().push_back((tip, fake::answer(&[], &[])));
            let behind = recorder.follower.next_event(backend).await.unwrap_err();
            assert!(matches!(behind, FollowError::Behind { .. }) && behind.is_transient(), "{behind}");
            assert_eq!(*recorder.track().tip(), chain[29].metadata);
            // The next answer comes from a backend that is not.
            let ahead = Node::new(1_000);
            ahead.adopt(long_chain(40));
            recorder.follower.set_confirmations(0);
            let [event] = recorder.follower.advance(&ahead).await.unwrap().try_into().unwrap();
            assert_eq!((event.removed.len(), event.added.len()), (0, 10));
        }
    }
}
