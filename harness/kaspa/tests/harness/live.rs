//! A live node followed through what happens to nodes. Needs `kaspad`: `cargo test --locked -- --ignored`.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kaspa_consensus_core::config::params::SIMNET_PARAMS;
use kaspa_consensus_core::subnets::SubnetworkId;
use kaspa_rpc_core::api::rpc::RpcApi;
use reprise_chain::event::SourceEvent;
use reprise_chain::recording::{Lane, Recording};
use reprise_kaspa::follower::Follower;
use reprise_kaspa::live::{LiveL1, Options};
use reprise_kaspa::names;
use reprise_kaspa::track::Track;
use reprise_kaspa_harness::miner;
use reprise_kaspa_harness::node::Node;
use reprise_kaspa_harness::wallet::Wallet;
use reprise_model::digest::{BlockHash, Digest, ResourceId};

fn lane() -> Lane {
    let subnetwork = SubnetworkId::from_namespace(*b"test").into_bytes();
    names::lane(subnetwork, Digest::ZERO, ResourceId([5; 32]))
}

async fn mine(rpc: &dyn RpcApi, heights: Range<u64>) {
    let miner = Wallet::new(1).unwrap().address();
    for height in heights {
        let timestamp_ms = SIMNET_PARAMS.genesis.timestamp + height * 100;
        miner::mine(rpc, &miner, &[], timestamp_ms).await.unwrap();
    }
}

fn open(url: &str, chronicle: Option<&Path>) -> LiveL1 {
    let (url, lane) = (url.into(), lane());
    let options = Options { url, lane, from: None, confirmations: 0, until_idle: false, through: None };
    LiveL1::open(options, chronicle).unwrap()
}

/// The events until `blocks` are added.
fn follow(live: &mut LiveL1, blocks: usize) -> Vec<SourceEvent> {
    let (mut events, mut added): (Vec<SourceEvent>, usize) = (vec![], 0);
    while added < blocks {
        let event = live.wait(Duration::from_secs(60)).unwrap().unwrap();
        added += event.added.len();
        events.push(event);
    }
    assert_eq!(added, blocks);
    events
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn a_node_that_crashes_and_comes_back_is_followed_on_and_so_it_is_after_a_restart_of_ours() {
    let (mut node, rpc) = Node::start(&SIMNET_PARAMS).await.unwrap();
    mine(rpc.as_ref(), 1..6).await;
    let directory = tempfile::tempdir().unwrap();
    let chronicle = directory.path().join("chronicle");
    let url = node.url().to_owned();
    let opened = chronicle.clone();
    let mut live = tokio::task::spawn_blocking(move || open(&url, Some(&opened))).await.unwrap();
    mine(rpc.as_ref(), 6..16).await;
    let (mut events, mut live) =
        tokio::task::spawn_blocking(move || (follow(&mut live, 10), live)).await.unwrap();
    node.stop();
    let rpc = node.start_again().await.unwrap();
    mine(rpc.as_ref(), 16..26).await;
    let (more, live) = tokio::task::spawn_blocking(move || (follow(&mut live, 10), live)).await.unwrap();
    events.extend(more);
    let recording = Recording { events: events.clone(), ..live.head().clone() };
    assert_eq!((recording.network.as_str(), recording.root.blue_score), ("simnet", 5));
    assert_eq!(Track::over(&recording, SIMNET_PARAMS.finality_depth()).unwrap().height(), 20);

    let restarted = tokio::task::spawn_blocking(move || {
        drop(live);
        open("ws://127.0.0.1:1", Some(&chronicle))
    });
    let mut live = restarted.await.unwrap();
    assert_eq!(*live.head(), Recording { events: vec![], ..recording });
    let again = tokio::task::spawn_blocking(move || follow(&mut live, 20)).await.unwrap();
    assert_eq!(again, events, "the chronicle alone tells it again, without the node");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node, and mines for a minute"]
async fn a_chain_longer_than_one_answer_is_followed_from_genesis_in_pages() {
    const BLOCKS: u64 = 3_000;
    let (_node, rpc) = Node::start(&SIMNET_PARAMS).await.unwrap();
    mine(rpc.as_ref(), 1..BLOCKS + 1).await;
    let genesis = BlockHash(SIMNET_PARAMS.genesis.hash.as_bytes());
    let chain: Arc<dyn RpcApi> = rpc;
    let mut follower = Follower::start(&chain, lane(), Some(genesis), 0).await.unwrap();
    let pages = follower.advance(&chain).await.unwrap().len();
    assert!(pages > 1, "{pages} pages");
    assert_eq!(follower.track().height(), BLOCKS);
}
