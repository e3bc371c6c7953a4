//! A settlement that no block takes.

use std::time::Duration;

use reprise_kaspa_harness::rollup::{end, start};
use reprise_kaspa_harness::simnet::{self, Simnet};

use crate::SETTLER;

/// How many blocks may pass while the settlement waits: far more than in the half minute after which its fee is raised.
const BLOCKS_MAX: usize = 400;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts two nodes; takes half a minute, which is how long a settlement waits before its fee is raised"]
async fn a_settlement_that_no_block_takes_is_replaced_for_a_higher_fee() {
    let mut simnet = Simnet::founded(SETTLER, &[]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let run = start(simnet.plan(directory.path(), SETTLER, 1).unwrap()).await.unwrap();
    simnet.deposit().await.unwrap();
    simnet.settled(&run).await.unwrap();
    let tip = simnet.deposit().await.unwrap();
    simnet::wait(&run, tip).await.unwrap();
    simnet.sent().await.unwrap();
    let sent = simnet.in_mempool().await.unwrap();
    // Somebody mines who takes no transaction.
    let mut builder = simnet.builder(simnet.blocks.len()).await.unwrap();
    let mut replaced = vec![];
    for _ in 0..BLOCKS_MAX {
        let blocks = builder.mine(&[&[]]).await.unwrap();
        simnet.show(&builder, &blocks).await.unwrap();
        simnet.blocks.extend(blocks);
        simnet::wait(&run, simnet.tip()).await.unwrap();
        replaced = simnet.in_mempool().await.unwrap();
        if replaced != sent {
            break;
        }
        // As fast as blocks come, not as fast as they can be made.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(replaced.len() == 1 && replaced != sent, "{sent:?} is replaced");
    simnet.settled(&run).await.unwrap();
    let report = end(run).await.unwrap();
    assert_eq!((report.settlements, report.prove_calls), (2, 6), "{report:?}");
}
