//! The recorder on a real node. Needs `kaspad`: `cargo test --locked -- --ignored`.

use std::future;

use kaspa_consensus_core::config::params::SIMNET_PARAMS;
use kaspa_rpc_core::api::rpc::RpcApi;
use reprise_chain::recording::Recording;
use reprise_kaspa_harness::live::{self, Order};
use reprise_kaspa_harness::miner;
use reprise_kaspa_harness::node::Node;
use reprise_kaspa_harness::recorder::Recorder;
use reprise_kaspa_harness::track::Track;
use reprise_kaspa_harness::wallet::Wallet;
use reprise_model::digest::BlockHash;

use crate::fake;

async fn mine(rpc: &dyn RpcApi, heights: std::ops::Range<u64>) {
    let miner = Wallet::new(1).unwrap().address();
    for height in heights {
        let timestamp_ms = SIMNET_PARAMS.genesis.timestamp + height * 100;
        miner::mine(rpc, &miner, &[], timestamp_ms).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn a_recorder_goes_on_after_its_node_crashed_and_came_back() {
    let (mut node, rpc) = Node::start(&SIMNET_PARAMS).await.unwrap();
    mine(rpc.as_ref(), 1..6).await;
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("live.reprise");
    let order = Order {
        url: node.url().into(),
        out: out.clone(),
        lane: fake::lane(),
        from: None,
        blocks_max: Some(20),
        attempts_max: 30,
    };
    let (progress, told) = async_channel::unbounded();
    let mut progress = |line: &str| progress.try_send(line.to_string()).unwrap();
    let record = live::record(&order, future::pending(), &mut progress);
    let crash = async {
        while !told.recv().await.unwrap().starts_with("recording from") {}
        mine(rpc.as_ref(), 6..16).await;
        node.stop();
        while !told.recv().await.unwrap().contains("connecting again") {}
        let rpc = node.start_again().await.unwrap();
        mine(rpc.as_ref(), 16..26).await;
    };
    let (figures, ()) = tokio::join!(record, crash);
    assert_eq!(figures.unwrap().unwrap().blocks, 20);
    let recording = Recording::open(&out).unwrap();
    assert_eq!((recording.network.as_str(), recording.root.blue_score), ("simnet", 5));
    assert_eq!(Track::over(&recording, SIMNET_PARAMS.finality_depth()).unwrap().height(), 20);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node, and mines for a minute"]
async fn a_chain_longer_than_one_answer_is_recorded_from_genesis_in_pages() {
    const BLOCKS: u64 = 3_000;
    let (_node, rpc) = Node::start(&SIMNET_PARAMS).await.unwrap();
    let rpc: &dyn RpcApi = rpc.as_ref();
    mine(rpc, 1..BLOCKS + 1).await;
    let genesis = BlockHash(SIMNET_PARAMS.genesis.hash.as_bytes());
    let mut recorder = Recorder::start(rpc, fake::lane(), Some(genesis)).await.unwrap();
    let pages = recorder.advance(rpc).await.unwrap();
    assert!(pages > 1, "{pages} pages");
    assert_eq!(recorder.track().height() as u64, BLOCKS);
}
