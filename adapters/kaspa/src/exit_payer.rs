//! The exit payer: pays the exits of settlements, several in a transaction, one transaction at a time.
//!
//! A settlement leaves a [claim] to its exits. Whoever knows the exits can pay them, and they follow from the chain
//! (`node::debts`), whoever sent the settlement. So the caller gives the exit payer what is unpaid on the chain. The exit payer pays
//! the claims that the node lists as unspent. Others may pay too, in any order: where the node is ahead of
//! the chain that is followed, the exit payer finds what was paid in its own order, and waits for the chain to show the rest.
//!
//! # What a stranger can make of it
//!
//! Whoever has coins in the rollup can make exits of them without end, each for a fraction of what it costs to pay it. So the work of
//! a step does not grow with the number of exits, what a day costs is [bounded](crate::allowance), and large exits come first: what is left
//! waits for the next day, or for whoever pays it.
//!
//! Anybody may pay exits and merge coins of the vault, for as little as nodes relay. What waits in the mempool for long is outbid,
//! whoever sent it (`bid`): by a payment out of the same claim, or with the same coins of the vault. A node lets a
//! transaction replace one other. So one that spends a claim which somebody's transaction spends leaves alone the coins that a third one
//! spends; where nothing else is left in the vault, one that waits is replaced by a merge of its coins, and they are free in the next
//! block.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use kaspa_addresses::Prefix;
use kaspa_consensus_core::Hash;
use kaspa_consensus_core::tx::ScriptPublicKey;
use kaspa_rpc_core::api::rpc::RpcApi;
use kaspa_txscript::script_builder::ScriptBuilderError;
use reprise_model::digest::Digest;
use reprise_model::exit::{Payee, Tree};
pub use reprise_settler::UnpaidExits;

use crate::allowance::Allowance;
use crate::bid::Bid;
use crate::claim::{self, COINS_MAX, ClaimStep, EXITS_MAX};
use crate::client::Unanswered;
use crate::coin::{Coin, Funding};
use crate::conflict::{BUMP_AFTER, Conflict};
use crate::digest;
use crate::draft::CHANGE_MIN;
use crate::settlement::{BuildError, Completed, Settling};
use crate::utxos::{self, Pending, UtxoError};
use crate::wallet::Wallet;

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

/// A day's fees for exits are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "exits are unpaid: the next payment costs {fee} sompi, and {left} are left of the {a_day} a day that this node pays for exits \
     (--exit-fees). It goes on when enough is left; `reprise claims pay` pays them now"
)]
pub struct SpentError {
    /// What the next payment costs.
    pub fee: u64,
    /// What is left.
    pub left: u64,
    /// The bound.
    pub a_day: u64,
}

/// Why an exit is not paid.
#[derive(Debug, thiserror::Error)]
pub enum PayError {
    /// The coins cannot be listed, or the transaction cannot be sent.
    #[error(transparent)]
    Coins(#[from] UtxoError),
    /// There is no transaction.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The vault holds less than the exit.
    #[error(transparent)]
    Short(#[from] ShortError),
    /// The fees of a day are used up.
    #[error(transparent)]
    Spent(#[from] SpentError),
}

impl PayError {
    /// Whether it is one claim's own: the exits of others can be paid all the same.
    fn is_of_one_claim(&self) -> bool {
        match self {
            Self::Short(_) => true,
            Self::Build(BuildError::InsufficientFunds { .. } | BuildError::FeeTooHigh { .. }) => false,
            Self::Build(_) => true,
            Self::Coins(_) | Self::Spent(_) => false,
        }
    }
}

impl From<Unanswered> for PayError {
    fn from(unanswered: Unanswered) -> Self {
        Self::Coins(unanswered.into())
    }
}

/// Why the exits of one settlement wait, while those of another may be paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// The fees of a day are used up.
    Spent(SpentError),
    /// At this fee rate they cost more than one transaction may pay. Larger ones cost less.
    Dear { fee: u64, fee_max: u64 },
    /// The vault holds less.
    Short(ShortError),
}

impl Waits {
    /// What an error of a payment means where a transaction may pay at most `fee_max`, and `left` of `a_day` is left. An error that
    /// would meet the other settlements too is given back.
    fn of(error: PayError, fee_max: u64, (left, a_day): (u64, u64)) -> Result<Self, PayError> {
        match error {
            PayError::Build(BuildError::FeeTooHigh { fee, .. }) if fee <= fee_max => {
                Ok(Self::Spent(SpentError { fee, left, a_day }))
            }
            PayError::Build(BuildError::FeeTooHigh { fee, .. }) => Ok(Self::Dear { fee, fee_max }),
            PayError::Short(short) => Ok(Self::Short(short)),
            other => Err(other),
        }
    }
}

impl From<Waits> for PayError {
    fn from(waits: Waits) -> Self {
        match waits {
            Waits::Spent(spent) => spent.into(),
            Waits::Dear { fee, fee_max } => BuildError::FeeTooHigh { fee, fee_max }.into(),
            Waits::Short(short) => short.into(),
        }
    }
}

/// How many settlements one step looks at.
const SETTLEMENTS_MAX: usize = 16;

/// How far ahead of the chain a claim is looked for, in exits: how many are paid before the chain shows the first of them.
const AHEAD_MAX: usize = 256;

/// How many scripts a node is asked for at a time.
const SCRIPTS_MAX: usize = 128;

/// How long it rests once all of what it looked at waits.
const REST: Duration = Duration::from_secs(60);

/// The claim of one settlement.
#[derive(Debug)]
struct PendingClaim {
    unpaid: UnpaidExits,
    /// The places of the exits in the order in which they are paid. The last ones are others', which only show what somebody else
    /// may have taken.
    order: Vec<usize>,
    /// How many of them are to be paid.
    due: usize,
    /// The scripts of the claim as one exit after another is paid in this order, where they were needed.
    scripts: Option<Vec<ScriptPublicKey>>,
}

/// Pays claims. See the [module documentation](self).
#[derive(Debug, Default)]
pub struct ExitPayer {
    /// Whose exits alone are paid; `None` for everybody's.
    payee: Option<Payee>,
    /// What fees it pays; `None` for any.
    allowance: Option<Allowance>,
    /// Until when it rests, and why.
    rests: Option<(Instant, Waits)>,
    pending: Vec<PendingClaim>,
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

    /// Pays so much in fees.
    pub fn within(allowance: Allowance) -> Self {
        Self { allowance: Some(allowance), ..Self::default() }
    }

    /// Sets all unpaid exits.
    pub fn set_unpaid(&mut self, unpaid: Vec<UnpaidExits>) {
        let payee = self.payee;
        self.pending = unpaid.into_iter().filter_map(|unpaid| PendingClaim::of(unpaid, payee)).collect();
        self.rests = None;
    }

    /// Whether nothing is left to be paid.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether a transaction of it was in the node's mempool when it was looked for last.
    pub fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Sends the next transaction, where there is something to pay and none is under way that may be in the next block. Returns its
    /// id.
    pub async fn step(
        &mut self,
        rpc: &dyn RpcApi,
        context: PaymentContext<'_>,
        wallet: &mut Wallet,
    ) -> Result<Option<Hash>, PayError> {
        if let Some(sent) = self.under_way {
            if utxos::waiting(rpc, sent).await.is_none() {
                self.under_way = None;
            } else if wallet.since(sent).elapsed() < BUMP_AFTER {
                return Ok(None);
            }
        }
        if let Some((_, waits)) = self.rests.filter(|(until, _)| Instant::now() < *until) {
            return Err(waits.into());
        }
        let (mut waiting, mut stuck, mut poor) = (None, None, None);
        for _ in 0..SETTLEMENTS_MAX.min(self.pending.len()) {
            let at = self.next % self.pending.len().max(1);
            let Some(claim) = self.pending.get_mut(at) else { break };
            self.next = at + 1;
            // Where there is none: not settled on the node's chain yet, paid, or paid in another order, which the chain will show.
            let found = claim.find(rpc, context.settling.covenant, context.prefix).await?;
            let Some((claimed, paid)) = found.filter(|(_, paid)| *paid < claim.due.min(AHEAD_MAX)) else {
                continue;
            };
            let mut payer = Payer { rpc, context, wallet: &mut *wallet, allowance: self.allowance.as_mut() };
            let payment = match payer.pay(&claimed, (claim, paid)).await {
                Ok(Some(payment)) => payment,
                // Somebody's transaction is on its way, which may be in the next block.
                Ok(None) => continue,
                // What another settlement's payment replaces has coins.
                Err(error @ PayError::Build(BuildError::InsufficientFunds { .. }))
                    if payer.wallet.is_in_use() =>
                {
                    poor = poor.or(Some(error));
                    continue;
                }
                Err(error) => {
                    let (left, a_day) = payer.left(None);
                    // Another settlement may have a larger exit, which costs less, or a smaller one, which takes less.
                    match Waits::of(error, context.fee_max, (left, a_day)) {
                        Ok(waits) => waiting = waiting.or(Some(waits)),
                        Err(error) if error.is_of_one_claim() => stuck = stuck.or(Some(error)),
                        Err(error) => return Err(error),
                    }
                    continue;
                }
            };
            let Payment { bid, completed: Completed { transaction, fee, .. }, feerate } = payment;
            // A claim whose payment the node refuses keeps no other waiting.
            let (sent, replaced) = bid.submit(rpc, wallet, (&transaction, feerate)).await?;
            if let Some(allowance) = &mut self.allowance {
                allowance.take((sent.id, fee), replaced, Instant::now());
            }
            self.under_way = Some(sent.id);
            return Ok(Some(sent.id));
        }
        if let Some(waits) = waiting {
            self.rests = Some((Instant::now() + REST, waits));
        }
        match stuck.or(poor).or(waiting.map(PayError::from)) {
            None => Ok(None),
            Some(error) => Err(error),
        }
    }
}

impl PendingClaim {
    /// The claim of a settlement; `None` where nothing is left.
    fn of(unpaid: UnpaidExits, payee: Option<Payee>) -> Option<Self> {
        let exits = &unpaid.exits;
        let is_due = |at: &usize| payee.is_none_or(|payee| exits[*at].payee == payee);
        let left = (0..exits.len()).filter(|at| !unpaid.tree.is_paid(*at));
        let (mut order, others): (Vec<usize>, Vec<usize>) = left.partition(is_due);
        // Large ones first, by their number of digits: neighbours take less to be opened.
        order.sort_by_key(|at| Reverse(exits[*at].amount.checked_ilog10()));
        let due = order.len();
        order.extend(others);
        (due > 0).then_some(Self { unpaid, order, due, scripts: None })
    }

    /// The tree once so many exits are paid in this order.
    fn tree_after(&self, paid: usize) -> Tree {
        let mut tree = self.unpaid.tree.clone();
        self.order[..paid].iter().for_each(|place| claim::pay(&mut tree, *place));
        tree
    }

    /// The scripts of the claim as one exit after another is paid.
    fn scripts(&mut self) -> Result<Vec<ScriptPublicKey>, ScriptBuilderError> {
        if let Some(scripts) = &self.scripts {
            return Ok(scripts.clone());
        }
        let mut tree = self.unpaid.tree.clone();
        let mut scripts = vec![claim::script(&tree.root())?];
        for place in self.order.iter().take(AHEAD_MAX) {
            claim::pay(&mut tree, *place);
            // Claims to nothing have one script, whosever they are.
            if tree.root() != Digest::ZERO {
                scripts.push(claim::script(&tree.root())?);
            }
        }
        Ok(self.scripts.insert(scripts).clone())
    }

    /// The claim that the node lists as unspent, and how many exits are paid in it.
    async fn find(
        &mut self,
        rpc: &dyn RpcApi,
        covenant: Hash,
        prefix: Prefix,
    ) -> Result<Option<(Coin, usize)>, PayError> {
        let scripts = self.scripts().map_err(BuildError::from)?;
        for several in scripts.chunks(SCRIPTS_MAX) {
            let there = utxos::unspent_of(rpc, several, prefix).await?;
            if let Some(coin) = there.into_iter().find(|coin| coin.entry.covenant_id == Some(covenant)) {
                let at = scripts.iter().position(|script| *script == coin.entry.script_public_key);
                return Ok(at.map(|at| (coin, at)));
            }
        }
        Ok(None)
    }
}

/// A transaction that pays exits, or merges coins of the vault for that.
struct Payment {
    bid: Bid,
    completed: Completed,
    feerate: f64,
}

/// What pays the exits of a claim.
struct Payer<'a> {
    rpc: &'a dyn RpcApi,
    context: PaymentContext<'a>,
    wallet: &'a mut Wallet,
    allowance: Option<&'a mut Allowance>,
}

/// A claim as the node lists it, and its settlement's exits, of which so many are paid.
type Claimed<'a> = (&'a Coin, &'a PendingClaim, usize);

impl Payer<'_> {
    /// What is left of the day's fees, and what there is for a day, for a transaction in place of this one.
    fn left(&mut self, replaced: Option<Hash>) -> (u64, u64) {
        let left =
            |allowance: &mut Allowance| (allowance.left_for(replaced, Instant::now()), allowance.a_day());
        self.allowance.as_deref_mut().map_or((u64::MAX, u64::MAX), left)
    }

    async fn bid(&mut self, replaces: Option<&Conflict>) -> Result<Bid, PayError> {
        let (left, _) = self.left(replaces.map(|conflict| conflict.id));
        let fee_max = self.context.fee_max.min(left);
        Ok(Bid::of(self.rpc, self.wallet, self.context.settling, fee_max, replaces.cloned()).await?)
    }

    /// The transaction that pays the next exits where so many are paid, or one that first merges coins of the vault where too many were
    /// needed. `None` where a transaction that spends what is needed may be in the next block.
    async fn pay(
        &mut self,
        claimed: &Coin,
        (claim, paid): (&PendingClaim, usize),
    ) -> Result<Option<Payment>, PayError> {
        let PaymentContext { settling, prefix, .. } = self.context;
        let script = &claimed.entry.script_public_key;
        let on_claim =
            self.conflicts(script).await?.into_iter().find(|conflict| conflict.spends(&claimed.outpoint));
        if on_claim.as_ref().is_some_and(Conflict::is_fresh) {
            return Ok(None);
        }
        let vault = claim::vault(digest(settling.covenant)).map_err(BuildError::from)?;
        let held = utxos::unspent(self.rpc, &vault, prefix).await?;
        // One that cannot be spent yet would have the node refuse the payment.
        let mut held = utxos::mature(self.rpc, &settling.params, held).await?;
        held.sort_by_key(|coin| (coin.entry.amount, coin.outpoint.index));
        let mut others = self.conflicts(&vault).await?;
        others.retain(|conflict| on_claim.as_ref().is_none_or(|on_claim| on_claim.id != conflict.id));
        let claimed = (claimed, claim, paid);
        let free = beside(&held, &others, None);
        let short = match self.pay_out_of(&free, on_claim.as_ref(), claimed).await {
            Err(PayError::Short(short)) => short,
            paying => return paying.map(Some),
        };
        if sum(&held) < short.taken {
            return Err(ShortError { held: sum(&held), ..short }.into());
        }
        // The rest is spent by transactions that wait.
        let spent_by = |conflict: &Conflict| -> Vec<Coin> {
            held.iter().filter(|coin| conflict.spends(&coin.outpoint)).cloned().collect()
        };
        others.sort_by_key(|conflict| (conflict.is_fresh(), Reverse(sum(&spent_by(conflict)))));
        let with = |conflict: &Conflict| beside(&held, &others, Some(conflict));
        let has_enough = |conflict: &&Conflict| on_claim.is_none() && sum(&with(conflict)) >= short.taken;
        if let Some(conflict) = others.iter().find(has_enough) {
            return match conflict.is_fresh() {
                true => Ok(None),
                false => self.pay_out_of(&with(conflict), Some(conflict), claimed).await.map(Some),
            };
        }
        let Some(conflict) = others.first().filter(|conflict| !conflict.is_fresh()) else { return Ok(None) };
        let coins = spent_by(conflict);
        let largest = coins[coins.len().saturating_sub(COINS_MAX)..].to_vec();
        self.merge(largest, Some(conflict)).await.map(Some)
    }

    /// What waits in the mempool and spends outputs of a script.
    async fn conflicts(&mut self, script: &ScriptPublicKey) -> Result<Vec<Conflict>, PayError> {
        let pending = utxos::pending(self.rpc, script, self.context.prefix).await?;
        let params = &self.context.settling.params;
        Ok(pending.iter().map(|pending: &Pending| self.wallet.conflict(params, pending)).collect())
    }

    /// Pays the next exits out of these coins, or fewer of them, or merges coins first.
    async fn pay_out_of(
        &mut self,
        held: &[Coin],
        replaces: Option<&Conflict>,
        (claimed, claim, paid): Claimed<'_>,
    ) -> Result<Payment, PayError> {
        let settling = self.context.settling;
        let bid = self.bid(replaces).await?;
        let next = &claim.order[paid..claim.due.min(paid + EXITS_MAX)];
        let tree = claim.tree_after(paid);
        let mut count = next.len();
        loop {
            let step = ClaimStep::take_first(&mut tree.clone(), &claim.unpaid.exits, &next[..count]);
            let step = step.ok_or(BuildError::Mass)?;
            count = step.exits.len();
            let taken = step.amount();
            let fewer = match enough(held, taken) {
                Held::Enough(coins) => {
                    let build = |funding: Funding<'_>| {
                        settling.claim_exits(claimed.clone(), &step, coins.clone(), funding)
                    };
                    match bid.build(build) {
                        Err(BuildError::TooHeavy { .. } | BuildError::FeeTooHigh { .. }) if count > 1 => {
                            count / 2
                        }
                        built => {
                            let (completed, feerate) = built?;
                            return Ok(Payment { bid, completed, feerate });
                        }
                    }
                }
                Held::InMany(coins) => return self.merge(coins, replaces).await,
                Held::Less(_) if count > 1 => count / 2,
                Held::Less(held) => return Err(ShortError { held, taken }.into()),
            };
            count = fewer;
        }
    }

    /// Merges coins of the vault, in place of a transaction if that spends any of them.
    async fn merge(&mut self, coins: Vec<Coin>, replaces: Option<&Conflict>) -> Result<Payment, PayError> {
        let settling = self.context.settling;
        let competes = |conflict: &&Conflict| coins.iter().any(|coin| conflict.spends(&coin.outpoint));
        let bid = self.bid(replaces.filter(competes)).await?;
        let (completed, feerate) = bid.build(|funding| settling.merge(coins.clone(), funding))?;
        Ok(Payment { bid, completed, feerate })
    }
}

/// The coins that a transaction can spend which replaces this one: a node lets it compete with no other.
fn beside(held: &[Coin], others: &[Conflict], replaced: Option<&Conflict>) -> Vec<Coin> {
    let is_free = |coin: &&Coin| {
        let mut others = others.iter().filter(|conflict| Some(conflict.id) != replaced.map(|it| it.id));
        !others.any(|conflict| conflict.spends(&coin.outpoint))
    };
    held.iter().filter(is_free).cloned().collect()
}

fn sum(coins: &[Coin]) -> u64 {
    coins.iter().fold(0, |sum, coin| sum.saturating_add(coin.entry.amount))
}

/// What the vault holds against what is taken.
enum Held {
    /// These coins hold enough.
    Enough(Vec<Coin>),
    /// All coins hold enough, and no few of them; these are to be merged first.
    InMany(Vec<Coin>),
    /// It holds only so much.
    Less(u64),
}

/// Chooses coins of the vault, which are given the smallest first. Small ones go along: they become part of the change, and cost
/// nothing beside what exits weigh.
///
/// To a change that is too small for an output the key would have to add, and whoever makes an exit chooses how much. So that is the
/// last way, where all that the vault holds leaves no more.
fn enough(held: &[Coin], taken: u64) -> Held {
    let change = |coins: &[Coin]| sum(coins).checked_sub(taken);
    let fits = |coins: &&[Coin]| change(coins).is_some_and(|change| change == 0 || change >= CHANGE_MIN);
    let several = COINS_MAX.min(held.len());
    if let Some(coins) = (1..=several).rev().find_map(|count| held.windows(count).find(fits)) {
        return Held::Enough(coins.to_vec());
    }
    let largest = &held[held.len() - several..];
    match (change(held), change(largest)) {
        (None, _) => Held::Less(sum(held)),
        (Some(change), Some(_)) if change < CHANGE_MIN || several == held.len() => {
            Held::Enough(largest.to_vec())
        }
        (Some(_), _) => Held::InMany(largest.to_vec()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use kaspa_consensus_core::config::params::SIMNET_PARAMS;
    use kaspa_consensus_core::tx::{Transaction, TransactionOutpoint, UtxoEntry};
    use reprise_model::block::ObservedSettlement;
    use reprise_model::digest::{BlockHash, Digest, PinsDigest, StatementId};
    use reprise_model::exit::{Exit, ScriptClass};
    use reprise_model::journal::{AggregateJournal, Commitment, Transition};

    use super::*;
    use crate::claim::CLAIM_VALUE;
    use crate::coin::{FEERATE_MIN, Fees};
    use crate::covenant::{Proof, Rules};
    use crate::fake_node::FakeNode;
    use crate::key::Key;

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
        claim::pay(&mut partly.tree, 1);
        exit_payer.set_unpaid(vec![unpaid(1, exits.clone()), unpaid(3, vec![]), partly]);
        let due = |exit_payer: &ExitPayer| -> Vec<Vec<u64>> {
            let amounts = |claim: &PendingClaim| {
                claim.order.iter().map(|place| claim.unpaid.exits[*place].amount).collect()
            };
            exit_payer.pending.iter().map(amounts).collect()
        };
        assert_eq!(due(&exit_payer), [vec![1, 2, 3], vec![1, 3]]);
        // Of one script alone.
        let mine = Payee { bytes: Digest([8; 32]), ..payee };
        let mixed = [(payee, 1), (mine, 2), (payee, 3), (mine, 4)];
        let mixed = mixed.map(|(payee, amount)| Exit { payee, amount }).to_vec();
        let mut own = ExitPayer::of(mine);
        own.set_unpaid(vec![unpaid(1, exits.clone()), unpaid(5, mixed)]);
        assert_eq!(due(&own), [[2, 4, 1, 3]], "the others' only show where the claim is");
        assert_eq!(own.pending[0].due, 2);
        exit_payer.set_unpaid(vec![]);
        assert!(exit_payer.is_idle(), "a reorg took the settlement away");
    }

    fn exit(amount: u64) -> Exit {
        Exit { payee: Payee { class: ScriptClass::PublicKey, bytes: Digest([9; 32]) }, amount }
    }

    /// A settlement that owes one exit.
    pub(crate) fn owed(number: u8, amount: u64) -> UnpaidExits {
        unpaid(number, vec![exit(amount)])
    }

    #[test]
    fn what_a_step_looks_at_does_not_grow_with_the_exits_of_a_settlement_and_large_ones_come_first() {
        // Ten thousand of a stranger's, and three of others between them.
        let mut exits = vec![exit(20_000_000); 10_000];
        for (at, amount) in [(17, 300_000_000), (4_711, 20_000_000_000), (9_998, 500_000_000)] {
            exits[at].amount = amount;
        }
        let mut pending = PendingClaim::of(unpaid(1, exits), None).unwrap();
        assert_eq!((pending.due, pending.order.len()), (10_000, 10_000));
        assert_eq!(pending.order[..5], [4_711, 17, 9_998, 0, 1], "and then in the order of the tree");
        let scripts = pending.scripts().unwrap();
        assert_eq!(scripts.len(), AHEAD_MAX + 1, "however many there are");
        // The first of them is the claim as it is on the chain, and each next has one exit less.
        let mut tree = pending.unpaid.tree.clone();
        for (script, place) in scripts.iter().zip(&pending.order) {
            assert_eq!(*script, claim::script(&tree.root()).unwrap());
            claim::pay(&mut tree, *place);
        }
        assert_eq!(pending.tree_after(AHEAD_MAX + 1), tree);
        // A claim to nothing is every settlement's, and is not looked for.
        let mut few = PendingClaim::of(unpaid(1, vec![exit(1), exit(2)]), None).unwrap();
        assert_eq!(few.scripts().unwrap().len(), 2);
    }

    #[test]
    fn what_is_wrong_with_one_claim_keeps_no_other_waiting() {
        let own = |error: PayError| error.is_of_one_claim();
        assert!(own(ShortError { held: 1, taken: 2 }.into()));
        assert!(own(BuildError::TooHeavy { mass: 2, mass_max: 1 }.into()));
        assert!(own(BuildError::Refused { reason: "no".into() }.into()));
        assert!(own(BuildError::Mass.into()));
        // Of these every claim has as much.
        let address = "kaspasim:q".into();
        assert!(!own(BuildError::InsufficientFunds { address, found: 1, needed: 2 }.into()));
        assert!(!own(BuildError::FeeTooHigh { fee: 2, fee_max: 1 }.into()));
        assert!(!own(SpentError { fee: 2, left: 1, a_day: 3 }.into()));
    }

    #[test]
    fn exits_that_wait_keep_none_of_another_settlement_waiting() {
        let (fee_max, allowed) = (100, (40, 1_000));
        let of = |error| Waits::of(error, fee_max, allowed);
        let dear = |fee| PayError::from(BuildError::FeeTooHigh { fee, fee_max: 40 });
        let spent = SpentError { fee: 70, left: 40, a_day: 1_000 };
        assert_eq!(of(dear(70)).unwrap(), Waits::Spent(spent), "the day's are used up");
        // What a stranger's small exits cost at a high fee rate is too much for a transaction, whatever is left.
        assert_eq!(of(dear(101)).unwrap(), Waits::Dear { fee: 101, fee_max: 100 });
        let short = ShortError { held: 1, taken: 2 };
        assert_eq!(of(short.into()).unwrap(), Waits::Short(short));
        // Without coins for fees nothing is paid at all.
        let poor = BuildError::InsufficientFunds { address: "kaspa:".into(), found: 0, needed: 1 };
        assert!(of(poor.into()).is_err());
        let said = PayError::from(Waits::Dear { fee: 101, fee_max: 100 }).to_string();
        assert!(said.contains("--fee-max"), "{said}");
    }

    #[test]
    fn small_deposits_of_a_stranger_are_spent_along_and_cost_few_merges() {
        let coin = |amount: u64| {
            let entry = UtxoEntry::new(amount, ScriptPublicKey::default(), 0, false, None);
            Coin { outpoint: TransactionOutpoint::default(), entry }
        };
        let sum = |coins: &[Coin]| coins.iter().map(|coin| coin.entry.amount).sum::<u64>();
        let kaspa = 100_000_000;
        // Beside a large coin, as many of them go along as there may be.
        let mut held: Vec<Coin> = vec![coin(kaspa / 5); 100];
        held.push(coin(1_000 * kaspa));
        let Held::Enough(chosen) = enough(&held, 30 * kaspa) else { panic!("it holds enough") };
        assert_eq!((chosen.len(), sum(&chosen)), (COINS_MAX, 1_000 * kaspa + 7 * kaspa / 5));
        let Held::Enough(chosen) = enough(&held, kaspa) else { panic!("it holds enough") };
        assert_eq!(sum(&chosen), 8 * kaspa / 5, "the smallest that hold enough");
        assert!(matches!(enough(&held, 1_021 * kaspa), Held::Less(held) if held == 1_020 * kaspa));
        assert!(matches!(enough(&[], 1), Held::Less(0)));
        // Five thousand deposits of 0.2 KAS, and nothing else: one exit of all of them.
        let mut held: Vec<Coin> = vec![coin(kaspa / 5); 5_000];
        let mut merges = 0;
        while let Held::InMany(several) = enough(&held, 1_000 * kaspa) {
            held.truncate(held.len() - several.len());
            held.push(coin(sum(&several)));
            held.sort_by_key(|coin| coin.entry.amount);
            merges += 1;
        }
        assert!(matches!(enough(&held, 1_000 * kaspa), Held::Enough(_)));
        assert!(merges <= 5_000 / (COINS_MAX - 1), "{merges}");
    }

    const COVENANT: Hash = Hash::from_bytes([4; 32]);

    fn settling() -> Settling {
        let (params, key) = (SIMNET_PARAMS, Key::parse(&"07".repeat(32), "a test").unwrap());
        let rules = Rules::new(PinsDigest([6; 32]), &Proof::None(params.net.try_into().unwrap())).unwrap();
        Settling { params, covenant: COVENANT, rules, key }
    }

    /// A node with the claims of these settlements, a vault of these coins, and three coins of the key's.
    fn node(settling: &Settling, unpaid: &[&UnpaidExits], vault: &[u64]) -> FakeNode {
        let claims = unpaid.iter().map(|unpaid| {
            let script = claim::script(&unpaid.tree.root()).unwrap();
            UtxoEntry::new(CLAIM_VALUE, script, 1, false, Some(COVENANT))
        });
        let script = claim::vault(digest(COVENANT)).unwrap();
        let vault = vault.iter().map(|amount| UtxoEntry::new(*amount, script.clone(), 1, false, None));
        let own = UtxoEntry::new(1_000_000_000, settling.key.script(), 1, false, None);
        let entries = claims.chain(vault).chain([own.clone(), own.clone(), own]);
        let coins = entries.zip(0..).map(|(entry, number)| Coin {
            outpoint: TransactionOutpoint::new(Hash::from_bytes([5; 32]), number),
            entry,
        });
        FakeNode::new(settling.params.clone(), coins.collect(), Digest::ZERO)
    }

    #[tokio::test]
    async fn what_the_key_adds_to_a_change_that_is_too_small_is_taken_of_the_day_s_and_bounded_like_a_fee() {
        let (settling, kaspa) = (settling(), 100_000_000);
        let context = PaymentContext { settling: &settling, prefix: Prefix::Simnet, fee_max: kaspa };
        let stranger = |amount| unpaid(1, vec![exit(amount)]);
        // Of eight coins nothing else can be made; of nine they are merged first, and the key adds nothing.
        for (coins, added) in [(8, CHANGE_MIN - 1), (9, 0)] {
            let unpaid = stranger(8 * CHANGE_MIN - 1);
            let node = node(&settling, &[&unpaid], &vec![CHANGE_MIN; coins]);
            let mut exit_payer = ExitPayer::within(Allowance::of(kaspa, Instant::now()));
            exit_payer.allowance.as_mut().unwrap().stand_still();
            exit_payer.set_unpaid(vec![unpaid]);
            let before = node.held(&settling.key.script());
            let (mut fees, mut wallet) = (0, Wallet::default());
            while exit_payer.step(&node, context, &mut wallet).await.unwrap().is_some() {
                fees += node.paid(&node.mempool()[0]).0;
                node.mine();
            }
            let lost = before - node.held(&settling.key.script());
            assert_eq!(lost, fees + added, "of {coins} coins");
            let left = exit_payer.allowance.unwrap().left(Instant::now());
            assert_eq!(lost, kaspa - left, "of {coins} coins: what the key loses is what the day's pay");
            assert_eq!(node.held(&claim::payee(&exit(1))), 8 * CHANGE_MIN - 1);
        }
        // Where less is left, or a transaction may pay less, it waits.
        for (a_day, fee_max) in [(CHANGE_MIN - 1, kaspa), (kaspa, CHANGE_MIN - 1)] {
            let unpaid = stranger(8 * CHANGE_MIN - 1);
            let node = node(&settling, &[&unpaid], &[CHANGE_MIN; 8]);
            let mut exit_payer = ExitPayer::within(Allowance::of(a_day, Instant::now()));
            exit_payer.set_unpaid(vec![unpaid]);
            let context = PaymentContext { fee_max, ..context };
            exit_payer.step(&node, context, &mut Wallet::default()).await.unwrap_err();
            assert!(node.mempool().is_empty());
        }
    }

    const KASPA: u64 = 100_000_000;

    fn context(settling: &Settling) -> PaymentContext<'_> {
        PaymentContext { settling, prefix: Prefix::Simnet, fee_max: KASPA }
    }

    fn payer_of(unpaid: &[&UnpaidExits]) -> ExitPayer {
        let mut exit_payer = ExitPayer::within(Allowance::of(10 * KASPA, Instant::now()));
        exit_payer.allowance.as_mut().unwrap().stand_still();
        exit_payer.set_unpaid(unpaid.iter().map(|unpaid| (*unpaid).clone()).collect());
        exit_payer
    }

    /// The key of somebody else, who may do what anybody may.
    fn stranger(settling: &Settling) -> Settling {
        Settling { key: Key::parse(&"08".repeat(32), "a test").unwrap(), ..settling.clone() }
    }

    fn spends(transaction: &Transaction, outpoint: TransactionOutpoint) -> bool {
        transaction.inputs.iter().any(|input| input.previous_outpoint == outpoint)
    }

    /// The output of this number that the node began with.
    fn output(number: u32) -> TransactionOutpoint {
        TransactionOutpoint::new(Hash::from_bytes([5; 32]), number)
    }

    #[tokio::test]
    async fn a_claim_that_a_waiting_transaction_spends_keeps_no_other_waiting_and_is_outbid_once_that_has_waited()
     {
        let settling = settling();
        let (first, second) = (unpaid(1, vec![exit(KASPA)]), unpaid(2, vec![exit(2 * KASPA)]));
        let node = node(&settling, &[&first, &second], &[5 * KASPA; 10]);
        let other_settling = stranger(&settling);
        node.give(&other_settling.key.script(), &[10 * KASPA]);
        // Somebody else pays the first, for so little that it waits.
        let mut other = ExitPayer::default();
        other.set_unpaid(vec![first.clone()]);
        other.step(&node, context(&other_settling), &mut Wallet::default()).await.unwrap().unwrap();
        let [theirs] = node.mempool().try_into().unwrap();
        let (mut exit_payer, mut wallet) = (payer_of(&[&first, &second]), Wallet::default());
        node.set_feerate(3.0 * FEERATE_MIN);
        let sent = exit_payer.step(&node, context(&settling), &mut wallet).await.unwrap();
        assert_eq!(node.mempool()[0], theirs, "it may be in the next block");
        assert_eq!(sent, Some(node.mempool()[1].id()), "of the second settlement");
        node.mine_only(sent.unwrap());
        exit_payer.set_unpaid(vec![first]);
        wallet.forget();
        assert_eq!(exit_payer.step(&node, context(&settling), &mut wallet).await.unwrap(), None);
        wallet.wait_for_long();
        let sent = exit_payer.step(&node, context(&settling), &mut wallet).await.unwrap();
        let [ours] = node.mempool().try_into().unwrap();
        assert_eq!(sent, Some(ours.id()));
        assert!(node.paid(&ours).1 >= 3.0 * node.paid(&theirs).1 * 0.99);
        node.mine();
        assert_eq!(node.held(&claim::payee(&exit(1))), 3 * KASPA);
    }

    #[tokio::test]
    async fn a_payment_of_its_own_that_waits_is_outbid_up_to_the_bound_also_after_a_restart_and_with_its_only_coin()
     {
        let settling = settling();
        let unpaid = unpaid(1, vec![exit(KASPA)]);
        for restarts in [false, true] {
            let node = node(&settling, &[&unpaid], &[5 * KASPA]);
            node.keep_one(&settling.key.script());
            let (mut exit_payer, mut wallet) = (payer_of(&[&unpaid]), Wallet::default());
            exit_payer.step(&node, context(&settling), &mut wallet).await.unwrap().unwrap();
            let [first] = node.mempool().try_into().unwrap();
            node.set_feerate(4.0 * FEERATE_MIN);
            if restarts {
                (exit_payer, wallet) = (payer_of(&[&unpaid]), Wallet::default());
            }
            assert_eq!(exit_payer.step(&node, context(&settling), &mut wallet).await.unwrap(), None);
            wallet.wait_for_long();
            exit_payer.step(&node, context(&settling), &mut wallet).await.unwrap().unwrap();
            let [second] = node.mempool().try_into().unwrap();
            assert!(node.paid(&second).1 >= 3.9 * node.paid(&first).1);
            let (paid, left) =
                (node.paid(&second).0, exit_payer.allowance.as_mut().unwrap().left(Instant::now()));
            assert_eq!(left, 10 * KASPA - paid, "one of the two is mined, and one is paid");
            // A bound that is below the bid, and above what waits: as much as is allowed. Then it is an error, and not before.
            node.set_feerate(100.0 * FEERATE_MIN);
            let bounded = PaymentContext { fee_max: paid + paid / 10, ..context(&settling) };
            wallet.wait_for_long();
            exit_payer.step(&node, bounded, &mut wallet).await.unwrap().unwrap();
            let [third] = node.mempool().try_into().unwrap();
            assert!((paid + 1..=paid + paid / 10).contains(&node.paid(&third).0));
            assert_eq!(exit_payer.step(&node, bounded, &mut wallet).await.unwrap(), None);
            wallet.wait_for_long();
            let refused = exit_payer.step(&node, bounded, &mut wallet).await.unwrap_err();
            assert!(refused.to_string().contains("--fee-max"), "{refused}");
            node.mine();
            assert_eq!(node.held(&claim::payee(&exit(1))), KASPA);
        }
    }

    #[tokio::test]
    async fn a_vault_that_a_stranger_merges_for_too_little_pays_all_the_same_and_no_transaction_competes_with_two()
     {
        let settling = settling();
        let other = stranger(&settling);
        let merge = async |node: &FakeNode, numbers: &[u32]| {
            let coins = node.coins(&other.key.script());
            let vault = node.coins(&claim::vault(digest(COVENANT)).unwrap());
            let merged = vault.into_iter().filter(|coin| numbers.contains(&coin.outpoint.index)).collect();
            let spent: Vec<_> = node.mempool().iter().flat_map(|it| it.inputs.clone()).collect();
            let free = coins.iter().find(|coin| spent.iter().all(|it| it.previous_outpoint != coin.outpoint));
            let fees = Fees { feerate: FEERATE_MIN, fee_max: KASPA };
            let funding = Funding { coins: std::slice::from_ref(free.unwrap()), fees };
            let merge = other.merge(merged, funding).unwrap().transaction;
            utxos::send(node, &merge).await.unwrap()
        };
        // The claim is output 0, and the vault's coins are 1 to 4.
        let stolen = |sets: &'static [&'static [u32]]| sets;
        for (sets, amount, sends) in [
            // One that takes all: it is replaced by the payment.
            (stolen(&[&[1, 2, 3, 4]]), 6, 1),
            // Two that share the vault, of which one has enough.
            (stolen(&[&[1], &[2, 3, 4]]), 6, 1),
            // None has enough: both coins are made one by one.
            (stolen(&[&[1, 2], &[3, 4]]), 10, 2),
        ] {
            let unpaid = unpaid(1, vec![exit(amount * KASPA)]);
            let node = node(&settling, &[&unpaid], &[3 * KASPA; 4]);
            node.give(&other.key.script(), &[10 * KASPA; 2]);
            for numbers in sets {
                merge(&node, numbers).await;
            }
            node.set_feerate(3.0 * FEERATE_MIN);
            let (mut exit_payer, mut wallet) = (payer_of(&[&unpaid]), Wallet::default());
            assert_eq!(exit_payer.step(&node, context(&settling), &mut wallet).await.unwrap(), None);
            for sent in 1..=sends {
                wallet.wait_for_long();
                let id = exit_payer.step(&node, context(&settling), &mut wallet).await.unwrap();
                let id = id.unwrap_or_else(|| panic!("{sets:?}: {sent}"));
                node.mine_only(id);
                wallet.forget();
            }
            assert_eq!(node.held(&claim::payee(&exit(1))), amount * KASPA, "{sets:?}");
        }
    }

    #[tokio::test]
    async fn one_transaction_never_competes_with_what_spends_the_claim_and_with_what_spends_the_vault() {
        let settling = settling();
        let other = stranger(&settling);
        let unpaid = unpaid(1, vec![exit(2 * KASPA), exit(2 * KASPA)]);
        let node = node(&settling, &[&unpaid], &[3 * KASPA; 4]);
        node.give(&other.key.script(), &[10 * KASPA; 2]);
        let coins = node.coins(&other.key.script());
        let vault = node.coins(&claim::vault(digest(COVENANT)).unwrap());
        let fees = Fees { feerate: FEERATE_MIN, fee_max: KASPA };
        // One stranger pays one exit out of one coin, another merges the other coins.
        let mut tree = unpaid.tree.clone();
        let step = ClaimStep::take(&mut tree, &unpaid.exits, &[0]).unwrap();
        let claimed = node.coins(&claim::script(&unpaid.tree.root()).unwrap()).remove(0);
        let funding = |number: usize| Funding { coins: &coins[number..=number], fees };
        let paid = other.claim_exits(claimed, &step, vec![vault[0].clone()], funding(0)).unwrap().transaction;
        utxos::send(&node, &paid).await.unwrap();
        let merged = other.merge(vault[1..].to_vec(), funding(1)).unwrap().transaction;
        utxos::send(&node, &merged).await.unwrap();
        node.set_feerate(3.0 * FEERATE_MIN);
        let (mut exit_payer, mut wallet) = (payer_of(&[&unpaid]), Wallet::default());
        assert_eq!(exit_payer.step(&node, context(&settling), &mut wallet).await.unwrap(), None);
        wallet.wait_for_long();
        let sent = exit_payer.step(&node, context(&settling), &mut wallet).await.unwrap().unwrap();
        let mempool = node.mempool();
        assert!(mempool.contains(&merged) && !mempool.contains(&paid), "the one on the claim is replaced");
        let ours = mempool.iter().find(|it| it.id() == sent).unwrap();
        assert!(spends(ours, output(0)) && spends(ours, vault[0].outpoint));
    }
}
