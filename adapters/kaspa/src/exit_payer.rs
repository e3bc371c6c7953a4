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
//! a step does not grow with the number of exits, what a day costs is [bounded](Allowance), and large exits come first: what is left
//! waits for the next day, or for whoever pays it.

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

use crate::claim::{self, COINS_MAX, ClaimStep, EXITS_MAX};
use crate::client::Unanswered;
use crate::coin::{Coin, Fees, Funding};
use crate::digest;
use crate::draft::CHANGE_MIN;
use crate::purse::Purse;
use crate::settlement::{BuildError, Completed, Settling};
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
    Coins(#[from] WalletError),
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

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a node pays for exits, in fees and what it adds to the vault: so much a day, and never more at once.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    a_day: u64,
    left: u64,
    since: Instant,
}

impl Allowance {
    /// So many sompi a day, all of which are left now.
    pub fn of(a_day: u64, now: Instant) -> Self {
        Self { a_day, left: a_day, since: now }
    }

    /// What is left.
    pub fn left(&mut self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.since).min(DAY);
        let grown = u128::from(self.a_day) * since.as_millis() / DAY.as_millis();
        let left = u128::from(self.left).saturating_add(grown).min(self.a_day.into());
        self.left = u64::try_from(left).unwrap_or(u64::MAX);
        self.since = now;
        self.left
    }

    /// So much was paid.
    pub fn take(&mut self, fee: u64, now: Instant) {
        self.left = self.left(now).saturating_sub(fee);
    }
}

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
        if let Some((_, waits)) = self.rests.filter(|(until, _)| Instant::now() < *until) {
            return Err(waits.into());
        }
        let (mut waiting, mut stuck) = (None, None);
        for _ in 0..SETTLEMENTS_MAX.min(self.pending.len()) {
            let at = self.next % self.pending.len().max(1);
            let Some(claim) = self.pending.get_mut(at) else { break };
            // Where there is none: not settled on the node's chain yet, paid, or paid in another order, which the chain will show.
            let found = claim.find(rpc, context.settling.covenant, context.prefix).await?;
            let Some((claimed, paid)) = found.filter(|(_, paid)| *paid < claim.due.min(AHEAD_MAX)) else {
                self.next = at + 1;
                continue;
            };
            let allowed =
                self.allowance.as_mut().map(|allowance| (allowance.left(Instant::now()), allowance.a_day));
            let (left, a_day) = allowed.unwrap_or((u64::MAX, u64::MAX));
            let bounded = PaymentContext { fee_max: context.fee_max.min(left), ..context };
            let paying = pay(rpc, bounded, &claimed, (claim, paid), purse).await;
            let Completed { transaction, fee, .. } = match paying {
                Ok(completed) => completed,
                Err(error) => {
                    // Another settlement may have a larger exit, which costs less, or a smaller one, which takes less.
                    match Waits::of(error, context.fee_max, (left, a_day)) {
                        Ok(waits) => waiting = waiting.or(Some(waits)),
                        Err(error) if error.is_of_one_claim() => stuck = stuck.or(Some(error)),
                        Err(error) => return Err(error),
                    }
                    self.next = at + 1;
                    continue;
                }
            };
            // A claim whose payment the node refuses keeps no other waiting.
            self.next = at + 1;
            let sent = wallet::send(rpc, &transaction).await?;
            if let Some(allowance) = &mut self.allowance {
                allowance.take(fee, Instant::now());
            }
            purse.sent(sent, &transaction);
            self.under_way = Some(sent);
            return Ok(Some(sent));
        }
        if let Some(waits) = waiting {
            self.rests = Some((Instant::now() + REST, waits));
        }
        match stuck.or(waiting.map(PayError::from)) {
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
            let there = wallet::unspent_of(rpc, several, prefix).await?;
            if let Some(coin) = there.into_iter().find(|coin| coin.entry.covenant_id == Some(covenant)) {
                let at = scripts.iter().position(|script| *script == coin.entry.script_public_key);
                return Ok(at.map(|at| (coin, at)));
            }
        }
        Ok(None)
    }
}

/// The transaction that pays the next exits where so many are paid, or one that first merges coins of the vault where too many were
/// needed.
async fn pay(
    rpc: &dyn RpcApi,
    context: PaymentContext<'_>,
    claimed: &Coin,
    (claim, paid): (&PendingClaim, usize),
    purse: &mut Purse,
) -> Result<Completed, PayError> {
    let PaymentContext { settling, prefix, fee_max } = context;
    let paying = purse.coins(rpc, &settling.params, &settling.key, None).await?;
    let feerate = wallet::feerate(rpc, Haste::Normal).await?;
    let funding = Funding { coins: &paying, fees: Fees { feerate, fee_max } };
    let vault = claim::vault(digest(settling.covenant)).map_err(BuildError::from)?;
    let held = wallet::unspent(rpc, &vault, prefix).await?;
    // One that cannot be spent yet would have the node refuse the payment.
    let mut held = wallet::mature(rpc, &settling.params, held).await?;
    held.sort_by_key(|coin| (coin.entry.amount, coin.outpoint.index));
    // What another payment spends, which waits, is left alone as long as the rest holds enough.
    let waiting = wallet::pending(rpc, &vault, prefix).await?;
    let spent = |coin: &Coin| {
        let inputs = waiting.iter().flat_map(|(transaction, _)| &transaction.inputs);
        inputs.map(|input| input.previous_outpoint).any(|outpoint| outpoint == coin.outpoint)
    };
    let free: Vec<Coin> = held.iter().filter(|coin| !spent(coin)).cloned().collect();
    let next = &claim.order[paid..claim.due.min(paid + EXITS_MAX)];
    let tree = claim.tree_after(paid);
    let mut count = next.len();
    loop {
        let step = ClaimStep::take_first(&mut tree.clone(), &claim.unpaid.exits, &next[..count]);
        let step = step.ok_or(BuildError::Mass)?;
        count = step.exits.len();
        let taken = step.amount();
        let chosen = match enough(&free, taken) {
            Held::Less(_) => enough(&held, taken),
            chosen => chosen,
        };
        let fewer = match chosen {
            Held::Enough(coins) => match settling.claim_exits(claimed.clone(), &step, coins, funding) {
                Err(BuildError::TooHeavy { .. } | BuildError::FeeTooHigh { .. }) if count > 1 => count / 2,
                done => return Ok(done?),
            },
            Held::InMany(coins) => return Ok(settling.merge(coins, funding)?),
            Held::Less(_) if count > 1 => count / 2,
            Held::Less(held) => return Err(ShortError { held, taken }.into()),
        };
        count = fewer;
    }
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
    let sum = |coins: &[Coin]| coins.iter().fold(0u64, |sum, coin| sum.saturating_add(coin.entry.amount));
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
mod tests {
    use kaspa_consensus_core::config::params::SIMNET_PARAMS;
    use kaspa_consensus_core::tx::{TransactionOutpoint, UtxoEntry};
    use reprise_model::block::ObservedSettlement;
    use reprise_model::digest::{BlockHash, Digest, PinsDigest, StatementId};
    use reprise_model::exit::{Exit, ScriptClass};
    use reprise_model::journal::{AggregateJournal, Commitment, Transition};

    use super::*;
    use crate::claim::CLAIM_VALUE;
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
    fn fees_for_exits_stay_within_the_day_s_and_grow_back_evenly() {
        let begin = Instant::now();
        let mut allowance = Allowance::of(1_000, begin);
        assert_eq!(allowance.left(begin), 1_000);
        allowance.take(1_000, begin);
        assert_eq!(allowance.left(begin), 0);
        assert_eq!(allowance.left(begin + DAY / 4), 250);
        allowance.take(250, begin + DAY / 4);
        assert_eq!(allowance.left(begin + DAY / 2), 250);
        assert_eq!(allowance.left(begin + 9 * DAY), 1_000, "and no more than a day's at once");
        // Looked at every second, it grows as if it were looked at once.
        let mut often = Allowance::of(86_400_000, begin);
        often.take(86_400_000, begin);
        let last = (1..=3_600).map(|second| often.left(begin + Duration::from_secs(second))).last();
        assert_eq!(last, Some(3_600_000));
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
            // Nothing grows back while the test runs.
            exit_payer.allowance.as_mut().unwrap().since += DAY;
            exit_payer.set_unpaid(vec![unpaid]);
            let before = node.held(&settling.key.script());
            let (mut fees, mut purse) = (0, Purse::default());
            while exit_payer.step(&node, context, &mut purse).await.unwrap().is_some() {
                fees += node.paid(&node.mempool()[0]).0;
                node.mine();
            }
            let lost = before - node.held(&settling.key.script());
            assert_eq!(lost, fees + added, "of {coins} coins");
            let left = exit_payer.allowance.unwrap().left;
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
            exit_payer.step(&node, context, &mut Purse::default()).await.unwrap_err();
            assert!(node.mempool().is_empty());
        }
    }

    #[tokio::test]
    async fn a_claim_whose_payment_the_node_refuses_keeps_no_other_waiting() {
        let settling = settling();
        let context = PaymentContext { settling: &settling, prefix: Prefix::Simnet, fee_max: 100_000_000 };
        let (first, second) = (unpaid(1, vec![exit(100_000_000)]), unpaid(2, vec![exit(200_000_000)]));
        let node = node(&settling, &[&first, &second], &[500_000_000; 10]);
        // Somebody else pays the first, for so little that it waits.
        let mut other = ExitPayer::default();
        other.set_unpaid(vec![first.clone()]);
        other.step(&node, context, &mut Purse::default()).await.unwrap().unwrap();
        let waits = node.mempool();
        let (mut exit_payer, mut purse) = (ExitPayer::default(), Purse::default());
        exit_payer.set_unpaid(vec![first, second]);
        exit_payer.step(&node, context, &mut purse).await.unwrap_err();
        let sent = exit_payer.step(&node, context, &mut purse).await;
        assert!(sent.is_ok(), "{sent:?}");
        assert_eq!(node.mempool()[..1], waits);
        assert_eq!(node.mempool().len(), 2);
    }
}
