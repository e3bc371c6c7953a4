//! What a node says of unspent outputs and fees, and how a transaction is sent to it.

use kaspa_addresses::Prefix;
use kaspa_consensus_core::Hash;
use kaspa_consensus_core::config::params::Params;
use kaspa_consensus_core::tx::{ScriptPublicKey, Transaction};
use kaspa_rpc_core::RpcTransaction;
use kaspa_rpc_core::RpcUtxosByAddressesEntry;
use kaspa_rpc_core::api::rpc::RpcApi;
use kaspa_txscript::extract_script_pub_key_address;

use crate::client::{Unanswered, unanswered};
use crate::coin::Coin;
use crate::key::Key;

/// Why coins cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
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

/// Sends a transaction; one that the node has already is sent.
pub async fn send(rpc: &dyn RpcApi, transaction: &Transaction) -> Result<Hash, Unanswered> {
    match rpc.submit_transaction(RpcTransaction::from(transaction), false).await {
        Ok(id) => Ok(id),
        Err(_) if rpc.get_mempool_entry(transaction.id(), true, false).await.is_ok() => Ok(transaction.id()),
        Err(refused) => Err(unanswered("submit_transaction")(refused)),
    }
}

/// What nodes take for inclusion within a minute, in sompi a gram.
pub async fn feerate(rpc: &dyn RpcApi) -> Result<f64, Unanswered> {
    let estimate = rpc.get_fee_estimate().await.map_err(unanswered("get_fee_estimate"))?;
    Ok(estimate.normal_buckets.first().map_or(0.0, |bucket| bucket.feerate))
}

/// The unspent outputs of a script. The node needs its index of them (`--utxoindex`).
pub async fn unspent(
    rpc: &dyn RpcApi,
    script: &ScriptPublicKey,
    prefix: Prefix,
) -> Result<Vec<Coin>, WalletError> {
    unspent_of(rpc, std::slice::from_ref(script), prefix).await
}

/// The same of several scripts.
pub async fn unspent_of(
    rpc: &dyn RpcApi,
    scripts: &[ScriptPublicKey],
    prefix: Prefix,
) -> Result<Vec<Coin>, WalletError> {
    let address = |script: &ScriptPublicKey| {
        extract_script_pub_key_address(script, prefix).map_err(|error| WalletError::Address {
            script: Box::new(script.clone()),
            reason: error.to_string(),
        })
    };
    let addresses = scripts.iter().map(address).collect::<Result<Vec<_>, _>>()?;
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
) -> Result<Vec<Coin>, WalletError> {
    let info = rpc.get_server_info().await.map_err(unanswered("get_server_info"))?;
    let maturity = params.coinbase_maturity();
    let mut coins = unspent(rpc, &key.script(), prefix).await?;
    coins.retain(|coin| {
        let age = if coin.entry.is_coinbase { maturity } else { 0 };
        coin.entry.covenant_id.is_none() && coin.entry.block_daa_score + age <= info.virtual_daa_score
    });
    Ok(coins)
}
