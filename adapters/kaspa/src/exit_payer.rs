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

use crate::claim::{self, ClaimStep};
use crate::client::Unanswered;
use crate::coin::{Coin, Fees, Funding};
use crate::digest;
use crate::settlement::{BuildError, Settling};
use crate::vault::ShortError;
use crate::wallet::{self, WalletError};

/// Why an exit is not paid.
#[derive(Debug, thiserror::Error)]
pub enum PayError {
    /// The coins cannot be listed, or the transaction cannot be sent.
    #[error(transparent)]
    Coins(#[from] WalletError),
    /// There is no transaction.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The vault holds less than the exit.
    #[error(transparent)]
    Short(#[from] ShortError),
}

impl From<Unanswered> for PayError {
    fn from(unanswered: Unanswered) -> Self {
        Self::Coins(unanswered.into())
    }
}

/// Settlements whose claims are remembered; of more, the oldest are forgotten.
const UNPAID_MAX: usize = 64;

/// The claims of one settlement.
#[derive(Debug)]
struct UnpaidExits {
    statement: StatementId,
    /// What is peeled first comes first.
    claim_steps: Vec<ClaimStep>,
    /// Whether a claim to some of it was there.
    seen: bool,
}

/// Pays claims.
#[derive(Debug, Default)]
pub struct ExitPayer {
    unpaid: VecDeque<UnpaidExits>,
    under_way: Option<Hash>,
}

/// Where and with what claims are paid.
#[derive(Debug, Clone, Copy)]
pub struct PaymentContext<'a> {
    /// The covenant, and who pays for inclusion.
    pub settling: &'a Settling,
    /// The prefix of addresses on the network.
    pub prefix: Prefix,
    /// The most a transaction may pay, in sompi.
    pub fee_max: u64,
}

impl ExitPayer {
    /// A settlement was sent whose batches have these exits, oldest first.
    pub fn add(&mut self, statement: StatementId, batches: &[Vec<Exit>]) {
        let claim_steps = claim::claim_steps(batches);
        if claim_steps.is_empty() || self.unpaid.iter().any(|unpaid| unpaid.statement == statement) {
            return;
        }
        self.unpaid.push_back(UnpaidExits { statement, claim_steps, seen: false });
        if self.unpaid.len() > UNPAID_MAX {
            self.unpaid.pop_front();
        }
    }

    /// Whether nothing is left to be paid.
    pub fn is_idle(&self) -> bool {
        self.unpaid.is_empty()
    }

    /// Sends the next transaction, where there is something to pay and nothing is under way: its id.
    pub async fn step(
        &mut self,
        rpc: &dyn RpcApi,
        context: PaymentContext<'_>,
    ) -> Result<Option<Hash>, PayError> {
        if let Some(sent) = self.under_way {
            if rpc.get_mempool_entry(sent, true, false).await.is_ok() {
                return Ok(None);
            }
            self.under_way = None;
        }
        let mut number = 0;
        while let Some(unpaid) = self.unpaid.get_mut(number) {
            let scripts = unpaid.claim_steps.iter().map(|step| claim::script(&step.before));
            let scripts: Vec<ScriptPublicKey> =
                scripts.collect::<Result<_, _>>().map_err(BuildError::from)?;
            let covenant = Some(context.settling.covenant);
            let there = wallet::unspent_of(rpc, &scripts, context.prefix).await?;
            let claimed = there.into_iter().find(|coin| coin.entry.covenant_id == covenant);
            let Some(claimed) = claimed else {
                // It is paid, or not settled yet.
                match unpaid.seen {
                    true => drop(self.unpaid.remove(number)),
                    false => number += 1,
                }
                continue;
            };
            unpaid.seen = true;
            let at = scripts.iter().position(|script| *script == claimed.entry.script_public_key);
            let Some(step) = at.and_then(|at| unpaid.claim_steps.get(at)).copied() else {
                number += 1;
                continue;
            };
            let transaction = pay(rpc, context, claimed, &step).await?;
            self.under_way = Some(wallet::send(rpc, &transaction).await?);
            return Ok(self.under_way);
        }
        Ok(None)
    }
}

/// The transaction that peels an exit off, or one that first makes a coin that is large enough.
async fn pay(
    rpc: &dyn RpcApi,
    context: PaymentContext<'_>,
    claimed: Coin,
    step: &ClaimStep,
) -> Result<Transaction, PayError> {
    let PaymentContext { settling, prefix, fee_max } = context;
    let paying = wallet::coins(rpc, &settling.params, &settling.key, prefix).await?;
    let funding = Funding { coins: &paying, fees: Fees { feerate: wallet::feerate(rpc).await?, fee_max } };
    if !step.is_paid() {
        return Ok(settling.claim_exit(claimed, step, None, funding)?);
    }
    let vault = claim::vault(digest(settling.covenant)).map_err(BuildError::from)?;
    let mut held = wallet::unspent(rpc, &vault, prefix).await?;
    held.sort_by_key(|coin| (coin.entry.amount, coin.outpoint.index));
    let taken = step.exit.amount;
    match held.iter().position(|coin| coin.entry.amount >= taken) {
        Some(enough) => Ok(settling.claim_exit(claimed, step, Some(held.swap_remove(enough)), funding)?),
        None => match (held.pop(), held.pop()) {
            (Some(largest), Some(next)) => Ok(settling.merge([largest, next], funding)?),
            (largest, _) => {
                let held = largest.map_or(0, |coin| coin.entry.amount);
                Err(ShortError { held, taken }.into())
            }
        },
    }
}
