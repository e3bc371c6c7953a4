//! Settlements that are refused for a while: the node waits with a reason, and settles when the cause ends.

use reprise_kaspa::block_hash;
use reprise_kaspa::l1::Payer;
use reprise_kaspa_harness::proxy::Proxy;
use reprise_kaspa_harness::rollup::{ails, end, mended, start};
use reprise_kaspa_harness::simnet::{self, KASPA, Simnet, key, settlements};
use reprise_node::health::Level;

use crate::{POOR, SETTLER, gave, level};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn an_empty_wallet_is_waited_for_and_filled_it_pays() {
    let mut simnet = Simnet::founded(SETTLER, &[]).await.unwrap();
    let (rich, poor) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let run = start(simnet.plan(rich.path(), SETTLER, 1).unwrap()).await.unwrap();
    simnet.deposit().await.unwrap();
    simnet.settled(&run).await.unwrap();
    end(run).await.unwrap();

    let run = start(simnet.plan(poor.path(), POOR, 1).unwrap()).await.unwrap();
    let tip = simnet.deposit().await.unwrap();
    simnet::wait(&run, tip).await.unwrap();
    let health = simnet.ails(&run, "no_coins").await.unwrap();
    assert!(health.to_string().contains("kaspasim:"), "it names the address to pay to: {health}");
    let proved = run.backend.prove_calls();
    simnet.pay(POOR, &[15 * KASPA; 3]).await.unwrap();
    let settlement = simnet.settled(&run).await.unwrap();
    assert_eq!(settlement.end_block, block_hash(tip));
    simnet.mended(&run, "no_coins").await.unwrap();
    let report = end(run).await.unwrap();
    assert_eq!((report.settlements, report.prove_calls, proved), (2, 3, 3), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn a_fee_above_its_bound_is_waited_for_and_a_higher_bound_settles_what_is_proved() {
    let mut simnet = Simnet::founded(SETTLER, &[]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut stingy = simnet.plan(directory.path(), SETTLER, 1).unwrap();
    stingy.payer = Some(Payer { key: key(SETTLER).unwrap(), fee_max: 1_000 });
    let run = start(stingy).await.unwrap();
    simnet.deposit().await.unwrap();
    let health = simnet.ails(&run, "fee_bound").await.unwrap();
    assert!(health.to_string().contains("--fee-max"), "{health}");
    let report = end(run).await.unwrap();
    assert_eq!((report.settlements, report.prove_calls), (0, 3), "{report:?}");
    let run = start(simnet.plan(directory.path(), SETTLER, 1).unwrap()).await.unwrap();
    simnet.settled(&run).await.unwrap();
    let report = end(run).await.unwrap();
    assert_eq!((report.settlements, report.prove_calls), (1, 0), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn a_node_that_lists_no_coins_is_named_and_once_it_lists_them_the_settlement_goes_out() {
    let mut simnet = Simnet::founded(SETTLER, &[]).await.unwrap();
    simnet.rpc = simnet.node.start_again_with(false).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let run = start(simnet.plan(directory.path(), SETTLER, 1).unwrap()).await.unwrap();
    simnet.deposit().await.unwrap();
    let health = simnet.ails(&run, "index_off").await.unwrap();
    assert!(health.to_string().contains("--utxoindex"), "{health}");
    simnet.rpc = simnet.node.start_again_with(true).await.unwrap();
    simnet.settled(&run).await.unwrap();
    simnet.mended(&run, "index_off").await.unwrap();
    let report = end(run).await.unwrap();
    assert_eq!((report.settlements, report.prove_calls), (1, 3), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn a_settlement_that_confirmations_hide_is_no_trouble() {
    const CONFIRMATIONS: usize = 6;
    let mut simnet = Simnet::founded(SETTLER, &[]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut plan = simnet.plan(directory.path(), SETTLER, 1).unwrap();
    plan.options.confirmations = CONFIRMATIONS as u64;
    let run = start(plan).await.unwrap();
    // The covenant is moved into its first state.
    simnet.sent().await.unwrap();
    simnet.deposit().await.unwrap();
    for _ in 0..=CONFIRMATIONS {
        simnet.mine(&[]).await.unwrap();
    }
    // The settlement is mined while the node may not see it.
    simnet.sent().await.unwrap();
    simnet.mine(&[]).await.unwrap();
    simnet.mine(&[]).await.unwrap();
    assert_eq!(settlements(&run), vec![], "it is hidden");
    for _ in 0..2 * CONFIRMATIONS {
        simnet.mine(&[]).await.unwrap();
        let followed = simnet.blocks[simnet.blocks.len() - CONFIRMATIONS - 2];
        simnet::wait(&run, followed).await.unwrap();
    }
    assert_eq!(settlements(&run).len(), 1);
    assert!(!gave(&run, "covenant_elsewhere"), "a settlement that is just hidden ails nobody");
    let report = end(run).await.unwrap();
    assert_eq!((report.settlements, report.prove_calls), (1, 3), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node; takes more than a minute, which is how long silence may last before it is told"]
async fn a_node_that_answers_nothing_is_red_after_a_minute_and_green_when_it_answers() {
    let mut simnet = Simnet::founded(SETTLER, &[]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(simnet.node.url()).await.unwrap();
    let mut plan = simnet.plan(directory.path(), SETTLER, 1).unwrap();
    plan.options.url = proxy.url();
    let run = start(plan).await.unwrap();
    let tip = simnet.deposit().await.unwrap();
    simnet::wait(&run, tip).await.unwrap();
    simnet.sent().await.unwrap();
    proxy.cut();
    let health = ails(&run, "l1_away").await.unwrap();
    assert_eq!(level(&health, "l1_away"), Some(Level::Red), "{health}");
    proxy.restore();
    mended(&run, "l1_away").await.unwrap();
    simnet.settled(&run).await.unwrap();
    let report = end(run).await.unwrap();
    assert_eq!((report.settlements, report.prove_calls), (1, 3), "{report:?}");
}
