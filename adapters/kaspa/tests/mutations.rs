//! A test of the checks of a catch-up: each deliberate bug of the follower is caught by a simulated node whose connection
//! breaks. `just mutations` runs it. It is a binary of its own, because one bug at a time is enabled for a whole process.

// Tests fail by panicking, in their helpers too.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "kaspa/fake.rs"]
#[allow(dead_code, reason = "the other tests need more of it")]
mod fake;

use std::time::Duration;

use fake::{Block, Node, Slow};
use reprise_model::mutation::{Mutation, make};

/// How many connections a catch-up may take.
const CONNECTIONS_MAX: usize = 100;

/// Blocks of which every 20th accepts a transaction of the lane.
fn chain(length: usize) -> Vec<Block> {
    let mut chain: Vec<Block> = vec![];
    for number in 0..length {
        let (parent, lane) =
            chain.last().map_or((fake::root(), None), |last| (last.metadata, last.proof.lane));
        let transactions: &[_] = if number % 20 == 0 { &[fake::lane_transaction(number as u8)] } else { &[] };
        chain.push(fake::block(&parent, lane, number as u8, transactions));
    }
    chain
}

/// How many connections, each of which breaks after 40 answers, a catch-up with pages of 1,000 blocks takes; `None` where it
/// is not over after [`CONNECTIONS_MAX`].
async fn connections() -> Option<usize> {
    let node = Node::new(1_000);
    node.adopt(chain(2_000));
    let mut recorder = fake::recorder();
    for connection in 1..=CONNECTIONS_MAX {
        let slow = Slow { cut_after: 40, ..Slow::new(&node, Duration::from_millis(60)) };
        let ended = loop {
            match recorder.follower.next_event(&slow).await {
                Ok(Some(_)) => {}
                other => break other,
            }
        };
        if ended.is_ok() {
            assert!(recorder.track().blocks().eq(node.confirmed(0)));
            return Some(connection);
        }
    }
    None
}

#[tokio::test(start_paused = true)]
async fn a_page_that_never_ends_is_caught_and_without_the_bug_a_catch_up_ends() {
    make(None);
    let honest = connections().await;
    assert!(honest.is_some_and(|connections| connections < CONNECTIONS_MAX / 2), "{honest:?}");
    for mutation in Mutation::OF_FOLLOWER {
        make(Some(mutation));
        assert_eq!(connections().await, None, "{mutation:?} escapes");
        make(None);
    }
}
