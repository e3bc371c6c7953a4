//! Bids: how a transaction gets into a block where another, which waits in the node's mempool, spends what it is to spend.
//!
//! A node takes no second transaction that spends an output, unless it is sent as a replacement, pays a higher fee rate, and competes
//! with exactly one other. What came by RPC never expires there, and what a stranger sent may wait for a day. So whatever is sent
//! here, and competes with a transaction that has waited for [`BUMP_AFTER`](crate::conflict::BUMP_AFTER), replaces that one for more, up to its bound: whoever
//! sent it.

use std::time::Instant;

use kaspa_consensus_core::Hash;
use kaspa_consensus_core::tx::Transaction;
use kaspa_rpc_core::RpcTransaction;
use kaspa_rpc_core::api::rpc::RpcApi;

use crate::client::{Unanswered, unanswered};
use crate::coin::{Coin, FEERATE_MIN, Fees, Funding};
use crate::conflict::Conflict;
use crate::settlement::{BuildError, Settling};
use crate::utxos::{self, FeePriority, UtxoError};
use crate::wallet::Wallet;

/// The fee rate of a replacement, as a multiple of the replaced transaction's.
const FEE_FACTOR: f64 = 1.25;

/// The fee rate that the bound allows is a little less than its share of the bound: a signature more or less changes the mass.
const BELOW_BOUND: f64 = 0.999;

/// What a transaction is paid with, and the one in the mempool that it replaces.
#[derive(Debug)]
pub(crate) struct Bid {
    pub(crate) coins: Vec<Coin>,
    pub(crate) fees: Fees,
    pub(crate) replaces: Option<Conflict>,
}

impl Bid {
    /// A bid for the next minute, or, in place of a transaction that has waited already, for the next block.
    pub(crate) async fn of(
        rpc: &dyn RpcApi,
        wallet: &mut Wallet,
        settling: &Settling,
        fee_max: u64,
        replaces: Option<Conflict>,
    ) -> Result<Self, UtxoError> {
        let priority = if replaces.is_some() { FeePriority::Priority } else { FeePriority::Normal };
        Self::with_priority(rpc, wallet, settling, (priority, fee_max), replaces).await
    }

    /// A bid for that time.
    pub(crate) async fn with_priority(
        rpc: &dyn RpcApi,
        wallet: &mut Wallet,
        Settling { params, key, .. }: &Settling,
        (priority, fee_max): (FeePriority, u64),
        replaces: Option<Conflict>,
    ) -> Result<Self, UtxoError> {
        let outbids = replaces.as_ref().map_or(0.0, |conflict| conflict.feerate * FEE_FACTOR);
        let feerate = utxos::feerate(rpc, priority).await?.max(FEERATE_MIN).max(outbids);
        let coins = wallet.coins(rpc, params, key, replaces.as_ref().map(|conflict| conflict.id)).await?;
        Ok(Self { coins, fees: Fees { feerate, fee_max }, replaces })
    }

    /// The transaction that `build` makes of it, and its fee rate. Where that is above the bound, a replacement bids as much as the
    /// bound allows, if that is more than what waits pays.
    pub(crate) fn build<T>(
        &self,
        build: impl Fn(Funding<'_>) -> Result<T, BuildError>,
    ) -> Result<(T, f64), BuildError> {
        let at = |feerate: f64| {
            let fees = Fees { feerate, ..self.fees };
            build(Funding { coins: &self.coins, fees }).map(|transaction| (transaction, feerate))
        };
        match at(self.fees.feerate) {
            Err(BuildError::FeeTooHigh { fee, fee_max }) => {
                let most = self.fees.feerate * fee_max as f64 / fee as f64 * BELOW_BOUND;
                let outbids = self.replaces.as_ref().is_some_and(|conflict| most > conflict.feerate);
                if outbids { at(most) } else { Err(BuildError::FeeTooHigh { fee, fee_max }) }
            }
            built => built,
        }
    }

    /// Sends a transaction of this fee rate, in place of another if it competes with that. Returns it as one that waits, and what it
    /// replaced.
    pub(crate) async fn submit(
        &self,
        rpc: &dyn RpcApi,
        wallet: &mut Wallet,
        (transaction, feerate): (&Transaction, f64),
    ) -> Result<(Conflict, Option<Hash>), Unanswered> {
        let replaced = self.replaces.as_ref().filter(|conflict| conflict.competes(transaction));
        let id = match replaced {
            None => utxos::send(rpc, transaction).await?,
            Some(_) => {
                let replaced = rpc.submit_transaction_replacement(RpcTransaction::from(transaction)).await;
                replaced.map_err(unanswered("submit_transaction_replacement"))?.transaction_id
            }
        };
        wallet.sent(id, transaction);
        let spends = transaction.inputs.iter().map(|input| input.previous_outpoint).collect();
        let sent = Conflict { id, spends, feerate, since: Instant::now() };
        Ok((sent, replaced.map(|conflict| conflict.id)))
    }
}
