//! A settlement that no block takes.

use std::sync::Arc;
use std::time::Duration;

use kaspa_hashes::Hash;
use reprise_kaspa::l1::Payer;
use reprise_kaspa_harness::probe::Run;
use reprise_kaspa_harness::rollup::{end, start};
use reprise_kaspa_harness::simnet::{self, FEE_MAX, Simnet, key};

use crate::{SETTLER, gave};

/// How many blocks may pass while the settlement waits: far more than in the half minute after which its fee is raised.
const BLOCKS_MAX: usize = 400;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts two nodes; takes half a minute, which is how long a settlement waits before its fee is raised"]
async fn a_settlement_that_no_block_takes_is_replaced_for_a_higher_fee() {
    let mut simnet = Simnet::founded(SETTLER, &[]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let run = start(simnet.plan(directory.path(), SETTLER, 1).unwrap()).await.unwrap();
    let sent = one_settled_and_one_sent(&mut simnet, &run).await;
    replaced(&mut simnet, &run, &sent).await;
    simnet.settled(&run).await.unwrap();
    let report = end(run).await.unwrap();
    assert_eq!((report.settlements, report.prove_calls), (2, 6), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts two nodes; takes half a minute, which is how long a settlement waits before its fee is raised"]
async fn a_settlement_that_waits_since_an_earlier_run_is_replaced_by_the_next_with_a_higher_bound() {
    let mut simnet = Simnet::founded(SETTLER, &[]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let run = start(simnet.plan(directory.path(), SETTLER, 1).unwrap()).await.unwrap();
    let sent = one_settled_and_one_sent(&mut simnet, &run).await;
    end(run).await.unwrap();
    assert_eq!(simnet.in_mempool().await.unwrap(), sent, "it waits on");
    let mut generous = simnet.plan(directory.path(), SETTLER, 1).unwrap();
    generous.payer = Some(Payer { key: key(SETTLER).unwrap(), fee_max: 2 * FEE_MAX });
    let run = start(generous).await.unwrap();
    replaced(&mut simnet, &run, &sent).await;
    simnet.settled(&run).await.unwrap();
    assert!(!gave(&run, "node_refused"));
    let report = end(run).await.unwrap();
    assert_eq!(report.prove_calls, 0, "{report:?}");
}

/// Has one settlement land, and the next one sent. Returns what waits in the mempool.
async fn one_settled_and_one_sent(simnet: &mut Simnet, run: &Arc<Run>) -> Vec<Hash> {
    simnet.deposit().await.unwrap();
    simnet.settled(run).await.unwrap();
    let tip = simnet.deposit().await.unwrap();
    simnet::wait(run, tip).await.unwrap();
    simnet.sent().await.unwrap();
    simnet.in_mempool().await.unwrap()
}

/// Mines without the mempool's transactions until another one is there in place of the one that was sent.
async fn replaced(simnet: &mut Simnet, run: &Arc<Run>, sent: &[Hash]) {
    // Somebody mines who takes no transaction.
    let mut builder = simnet.builder(simnet.blocks.len()).await.unwrap();
    let mut replaced = vec![];
    for _ in 0..BLOCKS_MAX {
        let blocks = builder.mine(&[&[]]).await.unwrap();
        simnet.show(&builder, &blocks).await.unwrap();
        simnet.blocks.extend(blocks);
        simnet::wait(run, simnet.tip()).await.unwrap();
        replaced = simnet.in_mempool().await.unwrap();
        if replaced != sent {
            break;
        }
        // As fast as blocks come, not as fast as they can be made.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(replaced.len() == 1 && replaced != sent, "{sent:?} is replaced");
}
