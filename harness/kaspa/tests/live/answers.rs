//! A node that is not synced, stands still, lags behind a load balancer, or blanks a field.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kaspa_consensus_core::network::{NetworkId, NetworkType};
use kaspa_rpc_core::api::rpc::RpcApi;
use kaspa_rpc_core::{GetServerInfoResponse, GetVirtualChainFromBlockV2Response as Answer};
use reprise_kaspa::client;
use reprise_kaspa_harness::altered::{Alter, Altered};
use reprise_kaspa_harness::miner;
use reprise_kaspa_harness::proxy::Proxy;
use reprise_kaspa_harness::rollup::{ails, end, mended, start};
use reprise_kaspa_harness::simnet::{self, Simnet, blocking};
use reprise_model::digest::Digest;

use crate::SETTLER;

/// How many blocks a node lags behind.
const LAG: usize = 20;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts two nodes"]
async fn of_two_nodes_behind_one_address_the_one_that_lags_removes_nothing_and_the_other_is_settled_on() {
    let mut simnet = Simnet::founded(SETTLER, &[]).await.unwrap();
    let lagging = simnet.builder(simnet.blocks.len()).await.unwrap();
    for _ in 0..LAG {
        simnet.mine(&[]).await.unwrap();
    }
    let proxy = Proxy::start(simnet.node.url()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut plan = simnet.plan(directory.path(), SETTLER, 1).unwrap();
    plan.options.url = proxy.url();
    let run = start(plan).await.unwrap();
    simnet::wait(&run, simnet.tip()).await.unwrap();
    // Every new connection leads to the node that lags, and later to either in turn.
    proxy.lead_to(&[lagging.url()]);
    proxy.cut();
    proxy.restore();
    ails(&run, "l1_behind").await.unwrap();
    proxy.lead_to(&[lagging.url(), simnet.node.url()]);
    mended(&run, "l1_behind").await.unwrap();
    let tip = simnet.deposit().await.unwrap();
    simnet::wait(&run, tip).await.unwrap();
    simnet.settled(&run).await.unwrap();
    let report = end(run).await.unwrap();
    assert_eq!((report.settlements, report.prove_calls), (1, 3), "{report:?}");
    assert_eq!(report.reorgs, 0, "the node that lags removes nothing");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts two nodes"]
async fn a_node_on_a_shorter_fork_behind_the_same_address_removes_nothing() {
    let mut simnet = Simnet::founded(SETTLER, &[]).await.unwrap();
    let mut lagging = simnet.builder(simnet.blocks.len()).await.unwrap();
    lagging.mine(&[&[], &[]]).await.unwrap();
    for _ in 0..LAG {
        simnet.mine(&[]).await.unwrap();
    }
    let proxy = Proxy::start(simnet.node.url()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut plan = simnet.plan(directory.path(), SETTLER, 1).unwrap();
    plan.options.url = proxy.url();
    let run = start(plan).await.unwrap();
    simnet::wait(&run, simnet.tip()).await.unwrap();
    proxy.lead_to(&[lagging.url()]);
    proxy.cut();
    proxy.restore();
    ails(&run, "l1_behind").await.unwrap();
    proxy.lead_to(&[simnet.node.url()]);
    mended(&run, "l1_behind").await.unwrap();
    let tip = simnet.deposit().await.unwrap();
    simnet::wait(&run, tip).await.unwrap();
    assert_eq!(end(run).await.unwrap().reorgs, 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts two nodes"]
async fn a_node_that_has_stopped_is_left_for_one_behind_the_same_address_that_goes_on() {
    let mut simnet = Simnet::founded(SETTLER, &[]).await.unwrap();
    let stopped = simnet.builder(simnet.blocks.len()).await.unwrap();
    let at = simnet.tip();
    let tip = simnet.deposit().await.unwrap();
    let proxy = Proxy::start(stopped.url()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut plan = simnet.plan(directory.path(), SETTLER, 1).unwrap();
    (plan.options.url, plan.options.quiet_max) = (proxy.url(), Some(Duration::from_secs(1)));
    let run = start(plan).await.unwrap();
    // Nothing tells it from a chain on which nothing happens.
    simnet::wait(&run, at).await.unwrap();
    proxy.lead_to(&[simnet.node.url()]);
    simnet::wait(&run, tip).await.unwrap();
    simnet.settled(&run).await.unwrap();
    let report = end(run).await.unwrap();
    assert_eq!((report.settlements, report.reorgs), (1, 0), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn a_connection_that_is_lost_stays_lost_and_one_that_nobody_has_is_closed() {
    let simnet = Simnet::founded(SETTLER, &[]).await.unwrap();
    let proxy = Proxy::start(simnet.node.url()).await.unwrap();
    let client = client::connect(&proxy.url()).await.unwrap();
    assert!(client.is_connected() && client.get_server_info().await.is_ok());
    proxy.cut();
    proxy.restore();
    simnet::until("it is lost", async || Ok(!client.is_connected())).await.unwrap();
    // What Kaspa's client makes by itself is closed.
    simnet::until("no connection is open", async || Ok(proxy.open() == 0)).await.unwrap();
    assert!(client.get_server_info().await.is_err());
    let next = client::connect(&proxy.url()).await.unwrap();
    assert!(next.is_connected() && proxy.open() == 1 && !client.is_connected());
    drop(next);
    simnet::until("it is closed", async || Ok(proxy.open() == 0)).await.unwrap();
}

/// Blanks a field of the next pages, as many as are left.
struct Blank(AtomicUsize);

impl Alter for Blank {
    fn page(&self, answer: &mut Answer) {
        let is_empty = answer.chain_block_accepted_transactions.is_empty();
        let left = || self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if !is_empty && left().is_ok() {
            let blocks = Arc::make_mut(&mut answer.chain_block_accepted_transactions);
            blocks.iter_mut().for_each(|block| block.chain_block_header.blue_score = None);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn a_node_that_blanks_a_field_for_a_while_is_asked_again_and_named_meanwhile() {
    let mut simnet = Simnet::founded(SETTLER, &[]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let blank = Arc::new(Blank(AtomicUsize::new(0)));
    let mut plan = simnet.plan(directory.path(), SETTLER, 1).unwrap();
    (plan.options.through, plan.options.wrong_answers_max) = (Some(Altered::wrapper(blank.clone())), 60);
    let run = start(plan).await.unwrap();
    simnet::wait(&run, simnet.tip()).await.unwrap();
    blank.0.store(usize::MAX, Ordering::SeqCst);
    let tip = simnet.deposit().await.unwrap();
    let health = ails(&run, "l1_answers").await.unwrap();
    assert!(health.to_string().contains("blue_score"), "it names the field: {health}");
    blank.0.store(0, Ordering::SeqCst);
    mended(&run, "l1_answers").await.unwrap();
    simnet::wait(&run, tip).await.unwrap();
    simnet.settled(&run).await.unwrap();
    let report = end(run).await.unwrap();
    assert_eq!((report.settlements, report.prove_calls), (1, 3), "{report:?}");
}

/// A node of a network with peers, which is synced or not.
struct Syncing(AtomicBool);

impl Alter for Syncing {
    fn server(&self, info: &mut GetServerInfoResponse) {
        info.network_id = NetworkId::with_suffix(NetworkType::Testnet, 10);
        info.is_synced = self.0.load(Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn a_run_until_idle_waits_for_a_node_in_its_initial_download_and_ends_once_that_is_done() {
    let mut simnet = Simnet::founded(SETTLER, &[]).await.unwrap();
    simnet.deposit().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let syncing = Arc::new(Syncing(AtomicBool::new(false)));
    let mut plan = simnet.plan(directory.path(), SETTLER, 1).unwrap();
    (plan.payer, plan.options.until_idle) = (None, true);
    plan.options.lane.covenant = Digest::ZERO;
    plan.options.through = Some(Altered::wrapper(syncing.clone()));
    let run = start(plan).await.unwrap();
    simnet::wait(&run, simnet.tip()).await.unwrap();
    ails(&run, "l1_unsynced").await.unwrap();
    assert!(!run.is_over(), "whatever it has proved");
    syncing.0.store(true, Ordering::SeqCst);
    let run = Arc::into_inner(run).unwrap();
    let ended = blocking(|| run.ended().unwrap()).await.unwrap();
    // A transaction, its batch; what it would settle is formed and not sent.
    assert_eq!((ended.violations, ended.report.prove_calls), (vec![], 3));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn an_l1_that_stands_still_is_told_until_it_shows_a_block_of_now() {
    let mut simnet = Simnet::founded(SETTLER, &[]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let run = start(simnet.plan(directory.path(), SETTLER, 1).unwrap()).await.unwrap();
    // The simnet's blocks bear a time that is long past.
    simnet.ails(&run, "l1_still").await.unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let block = miner::mine(simnet.rpc(), &simnet.miner.address(), &[], now).await.unwrap();
    simnet.blocks.push(block);
    simnet::wait(&run, block).await.unwrap();
    mended(&run, "l1_still").await.unwrap();
    end(run).await.unwrap();
}
