//! The coins of the key that pays: told of, not listed again, and merged where they are many.

use kaspa_addresses::Prefix;
use reprise_kaspa::settlement::COINS_MAX;
use reprise_kaspa::utxos;
use reprise_kaspa::wallet::Wallet;
use reprise_kaspa_harness::rollup::{end, start};
use reprise_kaspa_harness::simnet::{self, KASPA, Simnet, key};

use crate::SETTLER;

/// How many payments of twenty coins each the settler gets: more coins than are merged at a time.
const PAYMENTS: usize = 7;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn coins_are_listed_once_and_what_comes_and_goes_is_heard() {
    let mut simnet = Simnet::founded(SETTLER, &[]).await.unwrap();
    let (settler, params) = (key(SETTLER).unwrap(), simnet.params.clone());
    let mut wallet = Wallet::default();
    let before = wallet.coins(simnet.rpc(), &params, &settler, None).await.unwrap();
    simnet.pay(SETTLER, &[KASPA, 7 * KASPA]).await.unwrap();
    let heard = async |wallet: &mut Wallet, simnet: &Simnet| {
        let coins = wallet.coins(simnet.rpc(), &params, &settler, None).await.unwrap();
        let mut listed = utxos::coins(simnet.rpc(), &params, &settler, Prefix::Simnet).await.unwrap();
        listed.sort_by_key(|coin| {
            (std::cmp::Reverse(coin.entry.amount), coin.outpoint.transaction_id, coin.outpoint.index)
        });
        (coins.len(), coins == listed)
    };
    simnet::until("what came is heard", async || {
        Ok(heard(&mut Wallet::default(), &simnet).await.0 == before.len() + 2)
    })
    .await
    .unwrap();
    while heard(&mut wallet, &simnet).await != (before.len() + 2, true) {
        tokio::task::yield_now().await;
    }
    // What a settlement spends goes, and its change comes.
    let directory = tempfile::tempdir().unwrap();
    let run = start(simnet.plan(directory.path(), SETTLER, 1).unwrap()).await.unwrap();
    simnet.deposit().await.unwrap();
    simnet.settled(&run).await.unwrap();
    end(run).await.unwrap();
    while !heard(&mut wallet, &simnet).await.1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(wallet.listings(), 1);
    wallet.forget();
    assert!(heard(&mut wallet, &simnet).await.1);
    assert_eq!(wallet.listings(), 2, "over another connection");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn many_small_coins_are_merged_while_nothing_is_to_be_settled_and_the_largest_stay() {
    let mut simnet = Simnet::founded(SETTLER, &[]).await.unwrap();
    for _ in 0..PAYMENTS {
        simnet.pay(SETTLER, &[2 * KASPA; 20]).await.unwrap();
    }
    let settler = key(SETTLER).unwrap();
    let coins = async |simnet: &Simnet| {
        utxos::coins(simnet.rpc(), &simnet.params, &settler, Prefix::Simnet).await.unwrap()
    };
    let value = async |simnet: &Simnet| coins(simnet).await.iter().map(|coin| coin.entry.amount).sum::<u64>();
    let (many, before) = (coins(&simnet).await.len(), value(&simnet).await);
    assert!(many > COINS_MAX + 100, "{many}");
    let directory = tempfile::tempdir().unwrap();
    let run = start(simnet.plan(directory.path(), SETTLER, 1).unwrap()).await.unwrap();
    while coins(&simnet).await.len() > COINS_MAX {
        simnet.sent().await.unwrap();
        simnet.mine(&[]).await.unwrap();
        simnet.mine(&[]).await.unwrap();
    }
    let fees = before - value(&simnet).await;
    assert!(fees < KASPA, "{fees}");
    // And a settlement goes out.
    simnet.deposit().await.unwrap();
    simnet.settled(&run).await.unwrap();
    end(run).await.unwrap();
}
