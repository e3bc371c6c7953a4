//! Keeping a lane active: a transaction of the lane, before its entry expires.
//!
//! A lane that accepts nothing for the network's finality depth loses its entry. The programs bridge that by
//! [lane proofs](crate::lane_proof#silence) of earlier blocks, as long as a node still has them. So a node that settles sends
//! an empty transaction of the lane when the entry has lasted for three quarters of its time and nobody else has sent one. On
//! mainnet that is one in nine hours of silence, for some 0.003 KAS. It asks for nothing, and the workload disposes of it.

use std::time::{Duration, Instant};

use kaspa_consensus_core::Hash;
use kaspa_consensus_core::subnets::SubnetworkId;
use kaspa_rpc_core::api::rpc::RpcApi;
use reprise_chain::recording::Lane;

use crate::client::{Unanswered, unanswered};
use crate::coin::{Fees, Funding};
use crate::kaspa_hash;
use crate::settlement::{BuildError, Settling};
use crate::utxos::{FeePriority, UtxoError, feerate, send};
use crate::wallet::Wallet;

/// How often the lane is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Why a lane is not kept active.
#[derive(Debug, thiserror::Error)]
pub enum KeepAliveError {
    /// The node did not answer, or refused.
    #[error(transparent)]
    Node(#[from] Unanswered),
    /// The coins cannot be listed.
    #[error(transparent)]
    Coins(#[from] UtxoError),
    /// The transaction cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// A lane to keep active.
#[derive(Debug)]
pub struct KeepAlive {
    lane: Lane,
    /// How many blue scores its entry lasts.
    expires_after: u64,
    looked: Option<Instant>,
    /// The blue score of the tip when a transaction was sent last.
    sent_at: Option<u64>,
}

impl KeepAlive {
    /// A lane whose entries last so many blue scores.
    pub fn new(lane: Lane, expires_after: u64) -> Self {
        Self { lane, expires_after, looked: None, sent_at: None }
    }

    /// Whether it is time to look at the lane again.
    pub fn is_due(&self) -> bool {
        self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY)
    }

    /// It is being looked at.
    pub fn looked(&mut self) {
        self.looked = Some(Instant::now());
    }

    /// Sends a transaction where the lane's entry is about to expire. Returns its id and what it costs.
    pub async fn step(
        &mut self,
        rpc: &dyn RpcApi,
        settling: &Settling,
        fee_max: u64,
        wallet: &mut Wallet,
    ) -> Result<Option<(Hash, u64)>, KeepAliveError> {
        let sink = rpc.get_sink().await.map_err(unanswered("get_sink"))?.sink;
        let tip = rpc.get_block(sink, false).await.map_err(unanswered("get_block"))?.header.blue_score;
        let proof = rpc.get_seq_commit_lane_proof(sink, kaspa_hash(self.lane.key)).await;
        let entry = proof.map_err(unanswered("get_seq_commit_lane_proof"))?.lane;
        let Some(entry) = entry else {
            // The proofs over a silence are had from a node that is asked soon: nobody may be there to ask. The follower tells
            // the node's health.
            return Ok(None);
        };
        if !expires_soon(entry.blue_score, tip, self.expires_after) {
            return Ok(None);
        }
        // The last one may be on its way. One that was lost is sent again in time.
        if self.sent_at.is_some_and(|sent| tip.saturating_sub(sent) < self.expires_after / 8) {
            return Ok(None);
        }
        let coins = wallet.coins(rpc, &settling.params, &settling.key, None).await?;
        let feerate = feerate(rpc, FeePriority::Normal).await?;
        let funding = Funding { coins: &coins, fees: Fees { feerate, fee_max } };
        let completed = settling.keep_alive(SubnetworkId::from_bytes(self.lane.subnetwork), funding)?;
        let id = send(rpc, &completed.transaction).await?;
        wallet.sent(id, &completed.transaction);
        self.sent_at = Some(tip);
        Ok(Some((id, completed.cost())))
    }
}

/// Whether an entry of this blue score is about to expire in a block of blue score `tip`.
fn expires_soon(entry: u64, tip: u64, expires_after: u64) -> bool {
    tip.saturating_sub(entry) > expires_after - expires_after / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_renewed_in_the_last_quarter_of_its_time() {
        let of = |age: u64| expires_soon(1_000, 1_000 + age, 400);
        assert!(!of(0) && !of(300));
        assert!(of(301) && of(400));
    }
}
