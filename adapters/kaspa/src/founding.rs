//! The founding of a covenant: sent, and awaited.

use kaspa_consensus_core::subnets::SubnetworkId;
use kaspa_rpc_core::api::rpc::RpcApi;
use reprise_model::digest::Digest;

use crate::coin::{Fees, Funding};
use crate::covenant::{OwnNetwork, Proof};
use crate::key::Key;
use crate::settlement::Settling;
use crate::sink::SinkError;
use crate::utxos::{FeePriority, coins, feerate, send, unspent};
use crate::{client, digest, kaspa_hash, names};

/// Founds a covenant of `value` sompi on a lane of the node's network, paid by `key`. Returns its id once the transaction is
/// sent.
///
/// Without `proof` only on a private network: elsewhere nothing could settle it, and the value would be lost.
pub fn found_covenant(
    url: &str,
    key: &Key,
    proof: Option<&Proof>,
    lane: [u8; 20],
    (value, fee_max): (u64, u64),
) -> Result<Digest, SinkError> {
    let runtime = client::runtime();
    runtime.map_err(SinkError::Thread)?.block_on(async {
        let (client, network) = client::connect_indexed(url).await?;
        let rpc: &dyn RpcApi = client.as_ref();
        if proof.is_none() {
            OwnNetwork::try_from(network)?;
        }
        let params = names::params(network)?;
        let coins = coins(rpc, &params, key, network.into()).await?;
        let fees = Fees { feerate: feerate(rpc, FeePriority::Normal).await?, fee_max };
        let funding = Funding { coins: &coins, fees };
        let (transaction, covenant) =
            Settling::found_covenant(&params, key, SubnetworkId::from_bytes(lane), value, funding)?;
        match send(rpc, &transaction).await {
            Err(source) if !source.is_refusal() => {
                let transaction = transaction.id();
                Err(SinkError::Unsure { covenant: digest(covenant), transaction, source })
            }
            sent => Ok(sent.map(|_| digest(covenant))?),
        }
    })
}

/// Waits until a block has accepted the founding of a covenant by `key`.
pub fn wait_for_founding(url: &str, key: &Key, covenant: Digest) -> Result<(), SinkError> {
    let runtime = client::runtime();
    runtime.map_err(SinkError::Thread)?.block_on(async {
        loop {
            match is_founded(url, key, covenant).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error @ (SinkError::Connect(_) | SinkError::Node(_))) => {
                    tracing::warn!("waiting for the founding of {covenant}: {error}");
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(client::RETRY_AFTER).await;
        }
    })
}

async fn is_founded(url: &str, key: &Key, covenant: Digest) -> Result<bool, SinkError> {
    let (client, network) = client::connect_indexed(url).await?;
    let unspent = unspent(client.as_ref(), &key.script(), network.into()).await?;
    Ok(unspent.iter().any(|it| it.entry.covenant_id == Some(kaspa_hash(covenant))))
}
