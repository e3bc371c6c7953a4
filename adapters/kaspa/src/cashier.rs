//! The cashier: has the exits of proved settlements paid, one after the other.
//!
//! What a settlement leaves is a [claim] to its exits. Whoever can name them can peel them off; this is who does so for the
//! settlements that this process sent. One transaction is under way at a time. Whether it was accepted is seen by what
//! the node has unspent: the claim to the rest. A claim is forgotten once it was seen and is gone; one that a reorg
//! brings back later, or that an earlier process left, is anybody's to pay.

use std::collections::VecDeque;

use kaspa_addresses::Prefix;
use kaspa_consensus_core::Hash;
use kaspa_consensus_core::tx::{ScriptPublicKey, Transaction};
use kaspa_rpc_core::api::rpc::RpcApi;
use reprise_model::digest::StatementId;
use reprise_model::journal::Exit;

use crate::claim::{self, Peel};
use crate::digest;
use crate::settlement::{BuildError, Coin, Fees, Purse, Settling};
use crate::sink::{SinkError, coins, feerate, send, unspent, unspent_of};
use crate::vault::ShortError;

/// Settlements whose claims are remembered; of more, the oldest are forgotten.
const OWED_MAX: usize = 64;

/// The claims of one settlement.
#[derive(Debug)]
struct Owed {
    statement: StatementId,
    /// What is peeled first comes first.
    peels: Vec<Peel>,
    /// Whether a claim to some of it was there.
    seen: bool,
}

/// Pays claims.
#[derive(Debug, Default)]
pub struct Cashier {
    owed: VecDeque<Owed>,
    under_way: Option<Hash>,
}

/// Where and with what claims are paid.
#[derive(Debug, Clone, Copy)]
pub struct Means<'a> {
    /// The covenant, and who pays for inclusion.
    pub settling: &'a Settling,
    /// The prefix of addresses on the network.
    pub prefix: Prefix,
    /// The most a transaction may pay, in sompi.
    pub fee_max: u64,
}

impl Cashier {
    /// A settlement was sent whose batches have these exits, oldest first.
    pub fn owe(&mut self, statement: StatementId, batches: &[Vec<Exit>]) {
        let peels = claim::peels(batches);
        if peels.is_empty() || self.owed.iter().any(|owed| owed.statement == statement) {
            return;
        }
        self.owed.push_back(Owed { statement, peels, seen: false });
        if self.owed.len() > OWED_MAX {
            self.owed.pop_front();
        }
    }

    /// Whether nothing is left to be paid.
    pub fn is_idle(&self) -> bool {
        self.owed.is_empty()
    }

    /// Sends the next transaction, where there is something to pay and nothing is under way: its id.
    pub async fn turn(&mut self, rpc: &dyn RpcApi, means: Means<'_>) -> Result<Option<Hash>, SinkError> {
        if let Some(sent) = self.under_way {
            if rpc.get_mempool_entry(sent, true, false).await.is_ok() {
                return Ok(None);
            }
            self.under_way = None;
        }
        let mut number = 0;
        while let Some(owed) = self.owed.get_mut(number) {
            let scripts = owed.peels.iter().map(|peel| claim::script(&peel.before));
            let scripts: Vec<ScriptPublicKey> =
                scripts.collect::<Result<_, _>>().map_err(BuildError::from)?;
            let covenant = Some(means.settling.covenant);
            let there = unspent_of(rpc, &scripts, means.prefix).await?;
            let claimed = there.into_iter().find(|coin| coin.entry.covenant_id == covenant);
            let Some(claimed) = claimed else {
                // It is paid, or not settled yet.
                match owed.seen {
                    true => drop(self.owed.remove(number)),
                    false => number += 1,
                }
                continue;
            };
            owed.seen = true;
            let at = scripts.iter().position(|script| *script == claimed.entry.script_public_key);
            let Some(peel) = at.and_then(|at| owed.peels.get(at)).copied() else {
                number += 1;
                continue;
            };
            let transaction = pay(rpc, means, claimed, &peel).await?;
            self.under_way = Some(send(rpc, &transaction).await?);
            return Ok(self.under_way);
        }
        Ok(None)
    }
}

/// The transaction that peels an exit off, or one that first makes a coin that is large enough.
async fn pay(
    rpc: &dyn RpcApi,
    means: Means<'_>,
    claimed: Coin,
    peel: &Peel,
) -> Result<Transaction, SinkError> {
    let Means { settling, prefix, fee_max } = means;
    let paying = coins(rpc, &settling.params, &settling.key, prefix).await?;
    let purse = Purse { coins: &paying, fees: Fees { feerate: feerate(rpc).await?, fee_max } };
    if !peel.is_paid() {
        return Ok(settling.peel(claimed, peel, None, purse)?);
    }
    let vault = claim::vault(digest(settling.covenant)).map_err(BuildError::from)?;
    let mut held = unspent(rpc, &vault, prefix).await?;
    held.sort_by_key(|coin| (coin.entry.amount, coin.outpoint.index));
    let taken = peel.exit.amount;
    match held.iter().position(|coin| coin.entry.amount >= taken) {
        Some(enough) => Ok(settling.peel(claimed, peel, Some(held.swap_remove(enough)), purse)?),
        None => match (held.pop(), held.pop()) {
            (Some(largest), Some(next)) => Ok(settling.merge([largest, next], purse)?),
            (largest, _) => {
                let held = largest.map_or(0, |coin| coin.entry.amount);
                Err(ShortError { held, taken }.into())
            }
        },
    }
}
