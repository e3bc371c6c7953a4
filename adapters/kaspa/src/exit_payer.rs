//! The exit payer: pays the exits of settlements, one transaction at a time.
//!
//! A settlement leaves a [claim] to its exits. Whoever knows the exits can pay them, and they follow from the chain
//! (`node::debts`), whoever sent the settlement. So the caller gives the exit payer what is unpaid on the chain. The exit payer pays
//! the claims that the node lists as unspent, one exit after another. Others may pay too, in any order: where the node is ahead of
//! the chain that is followed, the exit payer finds what was paid in its own order, and waits for the chain to show the rest.

use kaspa_addresses::Prefix;
use kaspa_consensus_core::Hash;
use kaspa_consensus_core::tx::{ScriptPublicKey, Transaction};
use kaspa_rpc_core::api::rpc::RpcApi;
use reprise_model::exit::Payee;
pub use reprise_settler::UnpaidExits;

use crate::claim::{self, ClaimStep};
use crate::client::Unanswered;
use crate::coin::{Coin, Fees, Funding};
use crate::digest;
use crate::purse::Purse;
use crate::settlement::{BuildError, Settling};
use crate::wallet::{self, Haste, WalletError};

/// The vault holds less than an exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the vault holds {held} sompi, but the exit takes {taken}: deposits must go to the vault (--deposit vault)"
)]
pub struct ShortError {
    /// The value that it holds, in sompi.
    pub held: u64,
    /// The value of the exit, in sompi.
    pub taken: u64,
}

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

/// How many settlements one step looks at.
const SETTLEMENTS_MAX: usize = 16;

/// The claims of one settlement.
#[derive(Debug)]
struct PendingClaims {
    /// The steps, the next to take first.
    claim_steps: Vec<ClaimStep>,
    /// How many of them are to be taken; the others only show what somebody else may have taken.
    due: usize,
}

/// How many scripts a node is asked for at a time: a settlement may have any number of exits.
const SCRIPTS_MAX: usize = 128;

/// Pays claims. See the [module documentation](self).
#[derive(Debug, Default)]
pub struct ExitPayer {
    /// Whose exits alone are paid; `None` for everybody's.
    payee: Option<Payee>,
    pending: Vec<PendingClaims>,
    /// The index in `pending` of the next to look at.
    next: usize,
    under_way: Option<Hash>,
}

/// What a payment needs.
#[derive(Debug, Clone, Copy)]
pub struct PaymentContext<'a> {
    /// The covenant, and the key that pays the fees.
    pub settling: &'a Settling,
    /// The prefix of addresses on the network.
    pub prefix: Prefix,
    /// The most a transaction may pay, in sompi.
    pub fee_max: u64,
}

impl ExitPayer {
    /// Pays the exits to one script alone.
    pub fn of(payee: Payee) -> Self {
        Self { payee: Some(payee), ..Self::default() }
    }

    /// Sets all unpaid exits.
    pub fn set_unpaid(&mut self, unpaid: &[UnpaidExits]) {
        let payee = self.payee;
        let pending = unpaid.iter().filter_map(|unpaid| PendingClaims::of(unpaid, payee));
        self.pending = pending.collect();
    }

    /// Whether nothing is left to be paid.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether a transaction of it was in the node's mempool when it was looked for last.
    pub fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Sends the next transaction, where there is something to pay and no transaction is under way. Returns its id.
    pub async fn step(
        &mut self,
        rpc: &dyn RpcApi,
        context: PaymentContext<'_>,
        purse: &mut Purse,
    ) -> Result<Option<Hash>, PayError> {
        if let Some(sent) = self.under_way {
            if rpc.get_mempool_entry(sent, true, false).await.is_ok() {
                return Ok(None);
            }
            self.under_way = None;
        }
        for _ in 0..SETTLEMENTS_MAX.min(self.pending.len()) {
            let at = self.next % self.pending.len().max(1);
            let Some(claims) = self.pending.get(at) else { break };
            match claims.find_claim(rpc, context.settling.covenant, context.prefix).await? {
                // Not settled on the node's chain yet, paid, or paid in another order, which the chain will show.
                None => self.next = at + 1,
                Some((_, number)) if number >= claims.due => self.next = at + 1,
                Some((claimed, number)) => {
                    let transaction = pay(rpc, context, claimed, &claims.claim_steps[number], purse).await?;
                    let sent = wallet::send(rpc, &transaction).await?;
                    purse.sent(sent, &transaction);
                    self.under_way = Some(sent);
                    return Ok(Some(sent));
                }
            }
        }
        Ok(None)
    }
}

impl PendingClaims {
    /// The claims of a settlement; `None` where nothing is left.
    fn of(unpaid: &UnpaidExits, payee: Option<Payee>) -> Option<Self> {
        let UnpaidExits { exits, tree, .. } = unpaid;
        let is_due = |at: &usize| payee.is_none_or(|payee| exits[*at].payee == payee);
        let (mut order, others): (Vec<usize>, Vec<usize>) = (0..exits.len()).partition(is_due);
        let due = order.iter().filter(|at| !tree.is_paid(**at)).count();
        order.extend(others);
        let claim_steps = claim::claim_steps(exits, tree.clone(), &order);
        (due > 0).then_some(Self { claim_steps, due })
    }

    /// The claim that the node lists as unspent, and the index of its next step.
    async fn find_claim(
        &self,
        rpc: &dyn RpcApi,
        covenant: Hash,
        prefix: Prefix,
    ) -> Result<Option<(Coin, usize)>, PayError> {
        let scripts = self.claim_steps.iter().map(|step| claim::script(&step.before));
        let scripts: Vec<ScriptPublicKey> = scripts.collect::<Result<_, _>>().map_err(BuildError::from)?;
        for several in scripts.chunks(SCRIPTS_MAX) {
            let there = wallet::unspent_of(rpc, several, prefix).await?;
            if let Some(coin) = there.into_iter().find(|coin| coin.entry.covenant_id == Some(covenant)) {
                let at = scripts.iter().position(|script| *script == coin.entry.script_public_key);
                return Ok(at.map(|at| (coin, at)));
            }
        }
        Ok(None)
    }
}

/// The transaction that pays an exit, or one that first merges two coins of the vault where none is large enough.
async fn pay(
    rpc: &dyn RpcApi,
    context: PaymentContext<'_>,
    claimed: Coin,
    step: &ClaimStep,
    purse: &mut Purse,
) -> Result<Transaction, PayError> {
    let PaymentContext { settling, prefix, fee_max } = context;
    let paying = purse.coins(rpc, &settling.params, &settling.key, None).await?;
    let feerate = wallet::feerate(rpc, Haste::Normal).await?;
    let funding = Funding { coins: &paying, fees: Fees { feerate, fee_max } };
    let vault = claim::vault(digest(settling.covenant)).map_err(BuildError::from)?;
    let mut held = wallet::unspent(rpc, &vault, prefix).await?;
    held.sort_by_key(|coin| (coin.entry.amount, coin.outpoint.index));
    let taken = step.exit.amount;
    match held.iter().position(|coin| coin.entry.amount >= taken) {
        Some(enough) => Ok(settling.claim_exit(claimed, step, held.swap_remove(enough), funding)?),
        None => match (held.pop(), held.pop()) {
            (Some(largest), Some(next)) => Ok(settling.merge([largest, next], funding)?),
            (largest, _) => {
                let held = largest.map_or(0, |coin| coin.entry.amount);
                Err(ShortError { held, taken }.into())
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use reprise_model::block::ObservedSettlement;
    use reprise_model::digest::{BlockHash, Digest, PinsDigest, StatementId};
    use reprise_model::exit::{Exit, ScriptClass};
    use reprise_model::journal::{AggregateJournal, Commitment, Transition};

    use super::*;

    fn unpaid(number: u8, exits: Vec<Exit>) -> UnpaidExits {
        let tree = claim::tree(&exits);
        let transition = Transition {
            pins: PinsDigest([1; 32]),
            root_before: Digest::ZERO,
            root_after: Digest::ZERO,
            tip_before: Digest::ZERO,
            tip_after: Digest::ZERO,
            exits: tree.root(),
        };
        let journal = AggregateJournal { transition, commitment: Commitment::Unbound };
        let (statement, end_block) = (StatementId([number; 32]), BlockHash([2; 32]));
        let settlement = ObservedSettlement { statement, journal, end_block };
        UnpaidExits { settlement, carrier: BlockHash([3; 32]), is_final: true, exits, tree }
    }

    #[test]
    fn the_unpaid_exits_are_replaced_as_a_whole_and_those_that_are_paid_are_left_out() {
        let payee = Payee { class: ScriptClass::PublicKey, bytes: Digest([9; 32]) };
        let exits: Vec<Exit> = (1..4).map(|amount| Exit { payee, amount }).collect();
        let mut exit_payer = ExitPayer::default();
        let mut partly = unpaid(4, exits.clone());
        ClaimStep::take(&mut partly.tree, &exits, 1).unwrap();
        exit_payer.set_unpaid(&[unpaid(1, exits.clone()), unpaid(3, vec![]), partly]);
        let due = |exit_payer: &ExitPayer| -> Vec<Vec<u64>> {
            let amounts =
                |claims: &PendingClaims| claims.claim_steps.iter().map(|it| it.exit.amount).collect();
            exit_payer.pending.iter().map(amounts).collect()
        };
        assert_eq!(due(&exit_payer), [vec![1, 2, 3], vec![1, 3]]);
        // Of one script alone.
        let mine = Payee { bytes: Digest([8; 32]), ..payee };
        let mixed = [(payee, 1), (mine, 2), (payee, 3), (mine, 4)];
        let mixed = mixed.map(|(payee, amount)| Exit { payee, amount }).to_vec();
        let mut own = ExitPayer::of(mine);
        own.set_unpaid(&[unpaid(1, exits.clone()), unpaid(5, mixed)]);
        assert_eq!(due(&own), [[2, 4, 1, 3]], "the others' only show where the claim is");
        assert_eq!(own.pending[0].due, 2);
        exit_payer.set_unpaid(&[]);
        assert!(exit_payer.is_idle(), "a reorg took the settlement away");
    }
}
