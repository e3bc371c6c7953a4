//! A live node followed through crashes, restarts, pruning and reorgs. Needs `kaspad`: `cargo test --locked -- --ignored`.

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use kaspa_consensus_core::config::params::SIMNET_PARAMS;
use kaspa_consensus_core::subnets::SubnetworkId;
use kaspa_rpc_core::api::rpc::RpcApi;
use reprise_chain::event::SourceEvent;
use reprise_chain::recording::{Lane, Recording};
use reprise_chain::source::{ChainSource, Poll, Progress};
use reprise_disk::data_dir::DataDir;
use reprise_kaspa::block_hash;
use reprise_kaspa::follower::Follower;
use reprise_kaspa::live::{LiveL1, Options};
use reprise_kaspa::names;
use reprise_kaspa::track::Track;
use reprise_kaspa_harness::miner;
use reprise_kaspa_harness::node::Node;
use reprise_kaspa_harness::scenario::{A_FIRST, B_FLIP, Fork, Stage};
use reprise_kaspa_harness::wallet::Wallet;
use reprise_model::block::ChainBlockMetadata;
use reprise_model::digest::{BlockHash, Digest, PinsDigest, ResourceId};

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

fn open(url: &str, from: Option<BlockHash>, dir: Option<&Path>) -> LiveL1 {
    let (url, lane) = (url.into(), lane());
    let options = Options {
        url,
        lane,
        from,
        confirmations: 0,
        until_idle: false,
        wrong_answers_max: 1,
        finality_depth: None,
        snapshot: None,
        quiet_max: None,
        through: None,
    };
    let place = dir.map(|dir| DataDir::lock(dir).unwrap().event_log(&PinsDigest([1; 32])));
    LiveL1::open(options, place).unwrap()
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
async fn a_node_that_crashes_and_restarts_is_followed_on_and_so_it_is_after_a_restart_of_reprise() {
    let (mut node, rpc) = Node::start(&SIMNET_PARAMS).await.unwrap();
    mine(rpc.as_ref(), 1..6).await;
    let directory = tempfile::tempdir().unwrap();
    let event_log = directory.path().join("chronicle");
    let url = node.url().to_owned();
    let opened = event_log.clone();
    let root = Some(block_hash(rpc.get_sink().await.unwrap().sink));
    let mut live = tokio::task::spawn_blocking(move || open(&url, root, Some(&opened))).await.unwrap();
    mine(rpc.as_ref(), 6..16).await;
    let (mut events, mut live) =
        tokio::task::spawn_blocking(move || (follow(&mut live, 10), live)).await.unwrap();
    node.stop();
    let rpc = node.start_again().await.unwrap();
    mine(rpc.as_ref(), 16..26).await;
    let (more, live) = tokio::task::spawn_blocking(move || (follow(&mut live, 10), live)).await.unwrap();
    events.extend(more);
    let recording = Recording { events: events.clone(), ..live.head().clone() };
    assert_eq!((recording.network.as_str(), recording.root.metadata.blue_score), ("simnet", 5));
    assert_eq!(Track::over(&recording, SIMNET_PARAMS.finality_depth()).unwrap().height(), 20);

    let restarted = tokio::task::spawn_blocking(move || {
        drop(live);
        open("ws://127.0.0.1:1", root, Some(&event_log))
    });
    let mut live = restarted.await.unwrap();
    assert_eq!(*live.head(), Recording { events: vec![], ..recording });
    let again = tokio::task::spawn_blocking(move || follow(&mut live, 20)).await.unwrap();
    assert_eq!(again, events, "the event log alone tells it again, without the node");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node, and mines for a minute"]
async fn a_chain_longer_than_one_answer_is_followed_from_genesis_in_pages() {
    const BLOCKS: u64 = 3_000;
    let (_node, rpc) = Node::start(&SIMNET_PARAMS).await.unwrap();
    mine(rpc.as_ref(), 1..BLOCKS + 1).await;
    let genesis = BlockHash(SIMNET_PARAMS.genesis.hash.as_bytes());
    let chain = rpc.rpc();
    let mut follower = Follower::start(&chain, lane(), Some(genesis), 0).await.unwrap();
    let pages = follower.advance(&chain).await.unwrap().len();
    assert!(pages > 1, "{pages} pages");
    assert_eq!(follower.track().height(), BLOCKS);
}

/// The messages of a source.
struct Messages {
    live: LiveL1,
    chain: Vec<ChainBlockMetadata>,
    /// The last block that it reported as final.
    last: Option<BlockHash>,
}

impl Messages {
    /// Polls until `enough` holds.
    async fn until(mut self, enough: impl Fn(&Self) -> bool + Send + 'static) -> Self {
        let listen = move || {
            let began = Instant::now();
            while !enough(&self) {
                match self.live.poll(Progress::default()).unwrap() {
                    Poll::Event(event) => self.chain.extend(event.added.iter().map(|block| block.metadata)),
                    Poll::Final(block) => self.last = Some(block),
                    Poll::Pending => {
                        let (blocks, last) = (self.chain.len(), self.last);
                        assert!(began.elapsed() < Duration::from_secs(60), "{blocks} blocks, {last:?}");
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    Poll::End => unreachable!("it is not asked to end"),
                }
            }
            self
        };
        tokio::task::spawn_blocking(listen).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn the_pruning_point_of_a_real_node_is_final_before_the_depth_says_so() {
    // Not where a new one is named: which block is the tip may be known a little later.
    const BLOCKS: u64 = 170;
    let mut params = SIMNET_PARAMS;
    params.blockrate.finality_depth = 20;
    params.blockrate.merge_depth = 10;
    params.blockrate.pruning_depth = 60;
    let (node, rpc) = Node::start(&params).await.unwrap();
    mine(rpc.as_ref(), 1..6).await;
    let url = node.url().to_owned();
    let root = Some(block_hash(rpc.get_sink().await.unwrap().sink));
    let live = tokio::task::spawn_blocking(move || open(&url, root, None)).await.unwrap();
    let mut messages = Messages { chain: vec![live.head().root.metadata], last: None, live };
    // No faster than it is followed: a pruned block cannot be followed any more.
    for from in (6..=BLOCKS).step_by(33) {
        mine(rpc.as_ref(), from..from + 33).await;
        messages = messages.until(move |messages| messages.chain.len() as u64 == from + 33 - 5).await;
    }
    let sink = rpc.get_sink().await.unwrap().sink;
    let named = block_hash(rpc.get_block(sink, false).await.unwrap().header.pruning_point);
    let Messages { chain, .. } = messages.until(move |messages| messages.last == Some(named)).await;
    let score = chain.iter().find(|block| block.block_hash == named).unwrap().blue_score;
    assert!(score >= 20 && score + 60 <= BLOCKS, "{score}");
    // The node prunes asynchronously.
    let pruned = async || block_hash(rpc.get_block_dag_info().await.unwrap().pruning_point_hash);
    for _ in 0..1_500 {
        if pruned().await == named {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the node's pruning point is {}, and {named} was said to be", pruned().await);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts three nodes"]
async fn of_a_real_flip_only_blocks_with_their_confirmations_are_followed() {
    const CONFIRMATIONS: u64 = 2;
    let stage = Stage::set(&mut |_| ()).await.unwrap();
    let chain = stage.observer.rpc.rpc();
    let mut follower =
        Follower::start(&chain, stage.lane.clone(), Some(stage.root), CONFIRMATIONS).await.unwrap();
    let mut removed = 0;
    for (fork, blocks) in [
        (Fork::A, &stage.common[..]),
        (Fork::A, &stage.blocks(Fork::A)[..A_FIRST]),
        (Fork::B, &stage.blocks(Fork::B)[..B_FLIP]),
        (Fork::A, &stage.blocks(Fork::A)[A_FIRST..A_FIRST + 3]),
    ] {
        stage.show(fork, blocks).await.unwrap();
        let events = follower.advance(&chain).await.unwrap();
        removed += events.iter().map(|event| event.removed.len()).sum::<usize>();
        let sink = chain.get_block(blocks[blocks.len() - 1], false).await.unwrap().header.blue_score;
        assert_eq!(follower.track().tip().blue_score, sink - CONFIRMATIONS - 1);
    }
    assert_eq!(removed, (A_FIRST - 3) + (B_FLIP - 3), "of each fork, what had its confirmations");
}
