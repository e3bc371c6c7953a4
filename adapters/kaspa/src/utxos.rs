//! Unspent outputs and fees as a node reports them, and how a transaction is sent.

use kaspa_addresses::{Address, Prefix};
use kaspa_consensus_core::Hash;
use kaspa_consensus_core::config::params::Params;
use kaspa_consensus_core::tx::{ScriptPublicKey, Transaction};
use kaspa_rpc_core::api::rpc::RpcApi;
use kaspa_rpc_core::{
    RpcFeeEstimate, RpcFeerateBucket, RpcMempoolEntry, RpcTransaction, RpcUtxosByAddressesEntry,
};
use kaspa_txscript::extract_script_pub_key_address;

use crate::client::{Unanswered, unanswered};
use crate::coin::Coin;
use crate::key::Key;

/// Why coins cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum UtxoError {
    /// The node did not answer, or refused.
    #[error(transparent)]
    Node(#[from] Unanswered),
    /// The script has no address.
    #[error("the script {script:?} has no address: {reason}")]
    Address {
        /// The script.
        script: Box<ScriptPublicKey>,
        /// Why.
        reason: String,
    },
}

/// Sends a transaction. One that is in the node's mempool already counts as sent.
pub async fn send(rpc: &dyn RpcApi, transaction: &Transaction) -> Result<Hash, Unanswered> {
    match rpc.submit_transaction(RpcTransaction::from(transaction), false).await {
        Ok(id) => Ok(id),
        Err(_) if rpc.get_mempool_entry(transaction.id(), true, false).await.is_ok() => Ok(transaction.id()),
        Err(refused) => Err(unanswered("submit_transaction")(refused)),
    }
}

/// A transaction in the node's mempool, with its fee in sompi.
pub type Pending = (Transaction, u64);

/// The transactions in the node's mempool that spend outputs of a script, whoever sent them. Orphans are none: they spend nothing yet.
pub async fn pending(
    rpc: &dyn RpcApi,
    script: &ScriptPublicKey,
    prefix: Prefix,
) -> Result<Vec<Pending>, UtxoError> {
    let asked = "get_mempool_entries_by_addresses";
    let listed = rpc.get_mempool_entries_by_addresses(vec![address(script, prefix)?], false, false).await;
    let entries = listed.map_err(unanswered(asked))?.into_iter().flat_map(|it| it.sending);
    let read = |entry: RpcMempoolEntry| {
        let transaction = Transaction::try_from(entry.transaction).map_err(unanswered(asked))?;
        Ok((transaction, entry.fee))
    };
    entries.map(read).collect()
}

/// A transaction of the node's mempool, if it is there.
pub async fn waiting(rpc: &dyn RpcApi, id: Hash) -> Option<Pending> {
    let entry = rpc.get_mempool_entry(id, true, false).await.ok()?;
    Some((Transaction::try_from(entry.transaction).ok()?, entry.fee))
}

/// How soon a transaction should be in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeePriority {
    /// Within an hour.
    Low,
    /// Within a minute.
    Normal,
    /// At once: one has waited already.
    Priority,
}

/// The node's estimate of the fee rate for that, in sompi a gram.
pub async fn feerate(rpc: &dyn RpcApi, priority: FeePriority) -> Result<f64, Unanswered> {
    let estimate = rpc.get_fee_estimate().await.map_err(unanswered("get_fee_estimate"))?;
    Ok(feerate_in(&estimate, priority))
}

/// The fee rate that an estimate gives, and never less than the next lower one's.
fn feerate_in(estimate: &RpcFeeEstimate, priority: FeePriority) -> f64 {
    let first = |buckets: &[RpcFeerateBucket]| buckets.first().map_or(0.0, |bucket| bucket.feerate);
    let low = first(&estimate.low_buckets);
    let normal = first(&estimate.normal_buckets).max(low);
    match priority {
        FeePriority::Low => low,
        FeePriority::Normal => normal,
        FeePriority::Priority => normal.max(estimate.priority_bucket.feerate),
    }
}

fn address(script: &ScriptPublicKey, prefix: Prefix) -> Result<Address, UtxoError> {
    extract_script_pub_key_address(script, prefix)
        .map_err(|error| UtxoError::Address { script: Box::new(script.clone()), reason: error.to_string() })
}

/// The unspent outputs of a script. The node needs its index of them (`--utxoindex`).
pub async fn unspent(
    rpc: &dyn RpcApi,
    script: &ScriptPublicKey,
    prefix: Prefix,
) -> Result<Vec<Coin>, UtxoError> {
    unspent_of(rpc, std::slice::from_ref(script), prefix).await
}

/// The same of several scripts.
pub async fn unspent_of(
    rpc: &dyn RpcApi,
    scripts: &[ScriptPublicKey],
    prefix: Prefix,
) -> Result<Vec<Coin>, UtxoError> {
    let addresses = scripts.iter().map(|script| address(script, prefix)).collect::<Result<Vec<_>, _>>()?;
    let listed = rpc.get_utxos_by_addresses(addresses).await.map_err(unanswered("get_utxos_by_addresses"))?;
    let coin =
        |it: RpcUtxosByAddressesEntry| Coin { outpoint: it.outpoint.into(), entry: it.utxo_entry.into() };
    let mut coins: Vec<Coin> = listed.into_iter().map(coin).collect();
    // A node lists them in no order; what is made of them is the same each time.
    coins.sort_by_key(|coin| (coin.outpoint.transaction_id, coin.outpoint.index));
    Ok(coins)
}

/// The coins that the key can pay with: mature, and of no covenant.
pub async fn coins(
    rpc: &dyn RpcApi,
    params: &Params,
    key: &Key,
    prefix: Prefix,
) -> Result<Vec<Coin>, UtxoError> {
    paying(rpc, params, unspent(rpc, &key.script(), prefix).await?).await
}

/// Those of a key's coins that can pay: mature, and of no covenant.
pub async fn paying(rpc: &dyn RpcApi, params: &Params, coins: Vec<Coin>) -> Result<Vec<Coin>, UtxoError> {
    let mut coins = mature(rpc, params, coins).await?;
    coins.retain(|coin| coin.entry.covenant_id.is_none());
    Ok(coins)
}

/// Those of the coins that the next block may spend. A miner is paid to any script, the vault's too.
pub async fn mature(rpc: &dyn RpcApi, params: &Params, mut coins: Vec<Coin>) -> Result<Vec<Coin>, UtxoError> {
    let info = rpc.get_server_info().await.map_err(unanswered("get_server_info"))?;
    coins.retain(|coin| is_mature(coin, params.coinbase_maturity(), info.virtual_daa_score));
    Ok(coins)
}

/// Whether a block of this DAA score may spend a coin, where a miner's takes so long.
fn is_mature(coin: &Coin, maturity: u64, daa_score: u64) -> bool {
    let age = if coin.entry.is_coinbase { maturity } else { 0 };
    coin.entry.block_daa_score.saturating_add(age) <= daa_score
}

#[cfg(test)]
mod tests {
    use kaspa_consensus_core::tx::{TransactionOutpoint, UtxoEntry};

    use super::*;

    #[test]
    fn what_a_miner_was_paid_is_spent_once_it_is_mature_and_any_other_coin_at_once() {
        let coin = |is_coinbase| {
            let entry = UtxoEntry::new(1, ScriptPublicKey::default(), 1_000, is_coinbase, None);
            Coin { outpoint: TransactionOutpoint::default(), entry }
        };
        assert!(!is_mature(&coin(true), 100, 1_099) && is_mature(&coin(true), 100, 1_100));
        assert!(!is_mature(&coin(false), 100, 999) && is_mature(&coin(false), 100, 1_000));
    }

    #[test]
    fn who_has_waited_pays_what_goes_first_and_nobody_less_than_who_waits_longer() {
        let bucket = |feerate| RpcFeerateBucket { feerate, estimated_seconds: 1.0 };
        let (priority_bucket, low_buckets) = (bucket(900.0), vec![bucket(100.0)]);
        let normal_buckets = vec![bucket(300.0), bucket(200.0)];
        let mut estimate = RpcFeeEstimate { priority_bucket, normal_buckets, low_buckets };
        let all = [FeePriority::Low, FeePriority::Normal, FeePriority::Priority];
        assert_eq!(all.map(|priority| feerate_in(&estimate, priority)), [100.0, 300.0, 900.0]);
        estimate.normal_buckets.clear();
        estimate.priority_bucket = bucket(50.0);
        assert_eq!(all.map(|priority| feerate_in(&estimate, priority)), [100.0, 100.0, 100.0]);
    }
}
