//! Settlements as transactions: built and read. Each carries its settlement as its [`payload`].
//!
//! # Building
//!
//! Input 0 is the covenant's output; claims to nothing and coins of the key that pays follow. Output 0 continues the covenant; where there
//! are exits, output 1 is the [claim] to them; then comes the change of the key. A [`draft`] is paid for, measured and signed.
//!
//! # Reading
//!
//! A settlement is an accepted transaction that spends the script of its journal's state before, and continues the
//! covenant with the script of its state after. Consensus ran the rules then. That the transaction was accepted is taken
//! on the node's word. Where the node does not say (`acceptance`) which script was spent, the rules do: only out of a state can the
//! covenant get into one, as soon as it has left its founder's key.

use kaspa_consensus_core::Hash;
use kaspa_consensus_core::config::params::Params;
use kaspa_consensus_core::hashing::covenant_id::covenant_id;
use kaspa_consensus_core::subnets::{SUBNETWORK_ID_NATIVE, SubnetworkId};
use kaspa_consensus_core::tx::{CovenantBinding, ScriptPublicKey, Transaction, TransactionOutput};
use kaspa_rpc_core::{RpcOptionalTransaction, RpcOptionalTransactionInput, RpcOptionalUtxoEntry};
use kaspa_txscript::pay_to_script_hash_signature_script;
use kaspa_txscript::script_builder::ScriptBuilderError;
use kaspa_txscript::script_class::ScriptClass;
use reprise_model::block::{ObservedClaim, ObservedSettlement};
use reprise_model::digest::{BlockHash, Digest, PinsDigest};
use reprise_model::journal::{AggregateJournal, Transition};

use crate::claim::{self, ClaimStep};
use crate::coin::{Coin, FEERATE_MIN, Fees, Funding};
use crate::covenant::{Rules, STATE_VALUE, State};
use crate::draft::{self, CHANGE_MIN, Draft};
pub use crate::draft::{BuildError, Completed, Selected};
use crate::key::Key;
use crate::payload;

fn before(transition: &Transition) -> State {
    State { root: transition.root_before, tip: transition.tip_before }
}

fn after(transition: &Transition) -> State {
    State { root: transition.root_after, tip: transition.tip_after }
}

/// The covenant, and the key that pays for its transactions.
#[derive(Debug, Clone)]
pub struct Settling {
    /// The network's parameters.
    pub params: Params,
    /// The covenant's id.
    pub covenant: Hash,
    /// The covenant's rules.
    pub rules: Rules,
    /// The key that pays.
    pub key: Key,
}

const NATIVE: SubnetworkId = SUBNETWORK_ID_NATIVE;

/// How many coins the key may have before the smaller ones are merged: more than are spent while one is on its way.
pub const COINS_MAX: usize = 32;

/// How many coins are merged at a time: far from what a block holds.
const MERGED_MAX: usize = 100;

/// The mass that a further coin of the key adds to a transaction, in grams, rounded up.
const INPUT_MASS: u64 = 2_000;

impl Settling {
    /// A transaction on the lane that founds a covenant of `value` with one of `coins`, and the covenant's id.
    ///
    /// The lane has a tip then in the block that accepts it: the first state names it, so that no settlement can leave out what
    /// the lane accepts from there on.
    pub fn found_covenant(
        params: &Params,
        key: &Key,
        lane: SubnetworkId,
        value: u64,
        funding: Funding<'_>,
    ) -> Result<(Transaction, Hash), BuildError> {
        let first = funding.coins.iter().max_by_key(|coin| coin.entry.amount);
        let Some(first) = first.filter(|coin| coin.entry.amount > value) else {
            let found = funding.coins.iter().map(|coin| coin.entry.amount).max().unwrap_or_default();
            return Err(BuildError::InsufficientFunds {
                address: draft::address(params, key),
                found,
                needed: value,
            });
        };
        let mut output = TransactionOutput::new(value, key.script());
        let id = covenant_id(first.outpoint, std::iter::once((0, &output)));
        output.covenant = Some(CovenantBinding::new(0, id));
        let (outputs, payload, subnetwork) = (vec![output], vec![], lane);
        let draft = Draft { outputs, payload, ..Draft::of(subnetwork) };
        let funding = Funding { coins: std::slice::from_ref(first), ..funding };
        let transaction = draft.complete(params, key, funding, None)?.transaction;
        Ok((transaction, id))
    }

    /// A transaction of the lane that asks for nothing.
    pub fn keep_alive(&self, lane: SubnetworkId, funding: Funding<'_>) -> Result<Completed, BuildError> {
        let draft = Draft::of(lane);
        self.complete(&draft, funding, None)
    }

    /// A transaction that moves the founded covenant into its first state.
    pub fn enter(&self, founded: Coin, state: State, funding: Funding<'_>) -> Result<Completed, BuildError> {
        let output = self.continuation(founded.entry.amount, state);
        let founded = Some((founded, None));
        let draft = Draft { first: founded, outputs: vec![output], ..Draft::of(NATIVE) };
        self.complete(&draft, funding, None)
    }

    /// A transaction that settles, and leaves claims under these roots: one, where there are exits. What it takes back of claims to
    /// nothing goes into these and the state; what is missing for them the key adds, and does not get back. `proof` is the script that
    /// pushes the proof.
    pub fn settle(
        &self,
        covenant: Coin,
        settlement: &ObservedSettlement,
        (claims, taken_back): (&[Digest], &[Coin]),
        proof: Vec<u8>,
        end: Selected,
        funding: Funding<'_>,
    ) -> Result<Completed, BuildError> {
        let transition = &settlement.journal.transition;
        let redeem = self.rules.redeem(before(transition));
        let script = pay_to_script_hash_signature_script(redeem, proof)?;
        let brought = taken_back.iter().map(|coin| coin.entry.amount).sum::<u64>() + covenant.entry.amount;
        let kept = brought.saturating_sub(claims.len() as u64 * claim::CLAIM_VALUE);
        let mut outputs = vec![self.continuation(kept.max(STATE_VALUE), after(transition))];
        for root in claims {
            outputs.push(self.claim(claim::CLAIM_VALUE, root)?);
        }
        let nothing = pay_to_script_hash_signature_script(claim::redeem(&Digest::ZERO)?, vec![])?;
        let others = taken_back.iter().map(|coin| (coin.clone(), nothing.clone())).collect();
        let payload = payload::encode(settlement);
        let kept_by_covenant: u64 = outputs.iter().map(|output| output.value).sum();
        let lent = kept_by_covenant.saturating_sub(brought);
        let first = Some((covenant, Some(script)));
        let draft = Draft { first, others, outputs, payload, lent, ..Draft::of(NATIVE) };
        self.complete(&draft, funding, Some(&end))
    }

    /// A transaction that pays exits of a claim out of coins of the vault.
    pub fn claim_exits(
        &self,
        claim: Coin,
        step: &ClaimStep,
        vault: Vec<Coin>,
        funding: Funding<'_>,
    ) -> Result<Completed, BuildError> {
        let value = claim.entry.amount;
        let script = pay_to_script_hash_signature_script(claim::redeem(&step.before)?, step.witness()?)?;
        let next = self.claim(value, &step.after)?;
        let exits = step.exits.iter();
        let mut outputs: Vec<TransactionOutput> =
            exits.map(|exit| TransactionOutput::new(exit.amount, claim::payee(exit))).collect();
        let held: u64 = vault.iter().map(|coin| coin.entry.amount).sum();
        let mut added = 0;
        // The exits come from output 1 on, after the change where there is any.
        match (held.saturating_sub(step.amount()), vault.first()) {
            (0, _) | (_, None) => outputs.insert(0, next),
            (change, Some(coin)) => {
                let script = coin.entry.script_public_key.clone();
                added = CHANGE_MIN.saturating_sub(change);
                outputs.insert(0, TransactionOutput::new(change.max(CHANGE_MIN), script));
                outputs.push(next);
            }
        }
        let others = self.of_vault(vault)?;
        let draft = Draft { first: Some((claim, Some(script))), others, outputs, added, ..Draft::of(NATIVE) };
        draft.complete(&self.params, &self.key, funding, None)
    }

    /// Coins of the vault, and the scripts that spend them.
    fn of_vault(&self, coins: Vec<Coin>) -> Result<Vec<(Coin, Vec<u8>)>, BuildError> {
        let redeem = claim::vault_redeem(crate::digest(self.covenant))?;
        let script = pay_to_script_hash_signature_script(redeem, vec![])?;
        Ok(coins.into_iter().map(|coin| (coin, script.clone())).collect())
    }

    /// A transaction that merges the smaller of the key's many coins into one; `None` where they are few. `coins` are given the
    /// largest first. One that is worth less than what it costs to spend is dust, and stays.
    pub fn merge_small(&self, coins: &[Coin], fees: Fees) -> Result<Option<Completed>, BuildError> {
        let cost = (INPUT_MASS as f64 * fees.feerate.max(FEERATE_MIN)) as u64;
        let worth = coins.partition_point(|coin| coin.entry.amount > 2 * cost);
        if worth <= COINS_MAX {
            return Ok(None);
        }
        // One more, for all of them to become one coin.
        let small = &coins[COINS_MAX - 1..worth];
        let small = &small[small.len().saturating_sub(MERGED_MAX)..];
        let draft = Draft { spends_all: true, ..Draft::of(NATIVE) };
        self.complete(&draft, Funding { coins: small, fees }, None).map(Some)
    }

    /// A transaction that merges coins of the vault into one.
    pub fn merge(&self, coins: Vec<Coin>, funding: Funding<'_>) -> Result<Completed, BuildError> {
        let value = coins.iter().map(|coin| coin.entry.amount).sum();
        let mut others = self.of_vault(coins)?.into_iter();
        let first = others.next().map(|(coin, script)| (coin, Some(script)));
        let script = claim::vault(crate::digest(self.covenant))?;
        let (others, outputs) = (others.collect(), vec![TransactionOutput::new(value, script)]);
        let draft = Draft { first, others, outputs, ..Draft::of(NATIVE) };
        draft.complete(&self.params, &self.key, funding, None)
    }

    /// What the key pays to itself once more, out of these coins of the same transaction, for another fee.
    pub(crate) fn again(
        &self,
        transaction: &Transaction,
        coins: &[Coin],
        fees: Fees,
    ) -> Result<Completed, BuildError> {
        let draft = Draft { spends_all: true, ..Draft::of(transaction.subnetwork_id) };
        self.complete(&draft, Funding { coins, fees }, None)
    }

    /// Whether a transaction does nothing but pay the key out of the key: it merges coins, or keeps a lane active.
    pub(crate) fn pays_itself(&self, transaction: &Transaction) -> bool {
        let to_key = |output: &TransactionOutput| {
            output.covenant.is_none() && output.script_public_key == self.key.script()
        };
        transaction.payload.is_empty() && transaction.outputs.iter().all(to_key)
    }

    /// Whether a transaction of the key can be done without for a while: it pays exits, merges coins or keeps the lane active. What else
    /// the key sent, a deposit or another covenant's settlement, cannot.
    pub(crate) fn is_upkeep(&self, transaction: &Transaction) -> bool {
        let vault = claim::vault_redeem(crate::digest(self.covenant));
        let script = vault.and_then(|redeem| pay_to_script_hash_signature_script(redeem, vec![]));
        let of_vault = script
            .is_ok_and(|script| transaction.inputs.iter().any(|input| input.signature_script == script));
        of_vault || self.pays_itself(transaction)
    }

    /// The output that is a claim to the exits under a root.
    pub fn claim(&self, value: u64, root: &Digest) -> Result<TransactionOutput, ScriptBuilderError> {
        let binding = CovenantBinding::new(0, self.covenant);
        Ok(TransactionOutput::with_covenant(value, claim::script(root)?, Some(binding)))
    }

    /// The script of the output that a settlement spends.
    pub fn spends(&self, settlement: &ObservedSettlement) -> ScriptPublicKey {
        self.rules.script(before(&settlement.journal.transition))
    }

    fn complete(
        &self,
        draft: &Draft,
        funding: Funding<'_>,
        end: Option<&Selected>,
    ) -> Result<Completed, BuildError> {
        draft.complete(&self.params, &self.key, funding, end)
    }

    fn continuation(&self, value: u64, state: State) -> TransactionOutput {
        let binding = CovenantBinding::new(0, self.covenant);
        TransactionOutput::with_covenant(value, self.rules.script(state), Some(binding))
    }
}

/// The end block and the journal of an accepted transaction, if it settles the covenant under these rules.
pub fn observed(
    transaction: &RpcOptionalTransaction,
    covenant: Hash,
    rules: &Rules,
) -> Option<(BlockHash, AggregateJournal)> {
    let settlement = payload::parse(transaction.payload.as_ref()?)?;
    let transition = &settlement.1.transition;
    let spends = transaction.inputs.iter().any(|input| {
        let entry = input.verbose_data.as_ref().and_then(|data| data.utxo_entry.as_ref());
        entry.is_some_and(|entry| {
            let spent = entry.script_public_key.as_ref();
            entry.covenant_id == Some(covenant)
                && spent.is_none_or(|script| *script == rules.script(before(transition)))
        })
    });
    let next = rules.script(after(transition));
    let continues = continues(transaction, covenant).any(|script| script == Some(&next));
    (spends && continues).then_some(settlement)
}

/// The claims of the covenant's exits that an accepted transaction makes, one an exit. A claim is input 0: it spends a claim to the
/// exits before, and leaves one to those after. A signature script alone tells neither: no id commits to it.
pub fn claimed(transaction: &RpcOptionalTransaction, covenant: Hash) -> Vec<ObservedClaim> {
    let of_claim = |input: &RpcOptionalTransactionInput| {
        let entry = input.verbose_data.as_ref()?.utxo_entry.as_ref()?;
        let script = input.signature_script.as_ref().filter(|_| entry.covenant_id == Some(covenant))?;
        let claims = claim::observed(script);
        let (before, after) = (claims.first()?.before, claims.last()?.after);
        let spent = entry.script_public_key.as_ref()? == &claim::script(&before).ok()?;
        let left = claim::script(&after).ok()?;
        let is_left = continues(transaction, covenant).any(|script| script == Some(&left));
        (spent && is_left).then_some(claims)
    };
    transaction.inputs.first().and_then(of_claim).unwrap_or_default()
}

/// The pins of an accepted transaction that settles the covenant, where they are others than the rules'. Consensus ran
/// the covenant's own rules over them.
///
/// A claim is an output of the covenant too. Anybody can spend one, and its script reads no payload.
pub fn other_pins(transaction: &RpcOptionalTransaction, covenant: Hash, rules: &Rules) -> Option<PinsDigest> {
    if !spends(transaction, covenant) {
        return None;
    }
    let (_, journal) = payload::parse(transaction.payload.as_ref()?)?;
    let claim = claim::code().ok()?;
    let is_state = |input: &RpcOptionalTransactionInput| {
        let entry = input.verbose_data.as_ref().and_then(|data| data.utxo_entry.as_ref());
        let of_covenant = entry.filter(|entry| entry.covenant_id == Some(covenant));
        let by_script =
            of_covenant.is_some_and(|entry| entry.script_public_key.as_ref().is_none_or(is_script_hash));
        by_script && !input.signature_script.as_ref().is_some_and(|script| script.ends_with(claim))
    };
    let pins = journal.transition.pins;
    (transaction.inputs.iter().any(is_state) && pins != rules.pins()).then_some(pins)
}

/// The scripts of the outputs of the covenant that a transaction leaves which spends it out of a key: `None` of any other.
///
/// No script has judged the covenant until then. With a second output the founder could make a claim to exits that nobody proved,
/// and empty the vault.
pub(crate) fn out_of_key(
    transaction: &RpcOptionalTransaction,
    covenant: Hash,
) -> Option<Vec<Option<&ScriptPublicKey>>> {
    let entries =
        transaction.inputs.iter().filter_map(|input| input.verbose_data.as_ref()?.utxo_entry.as_ref());
    let mut of_covenant = entries.filter(|entry| entry.covenant_id == Some(covenant));
    let held = |entry: &RpcOptionalUtxoEntry| {
        entry.script_public_key.as_ref().is_some_and(|script| !is_script_hash(script))
    };
    of_covenant.any(held).then(|| continues(transaction, covenant).collect())
}

/// Whether a script pays to a script hash.
pub(crate) fn is_script_hash(script: &ScriptPublicKey) -> bool {
    ScriptClass::is_pay_to_script_hash(script.script())
}

/// Whether an accepted transaction spends an output of the covenant.
pub(crate) fn spends(transaction: &RpcOptionalTransaction, covenant: Hash) -> bool {
    transaction.inputs.iter().any(|input| {
        let entry = input.verbose_data.as_ref().and_then(|data| data.utxo_entry.as_ref());
        entry.is_some_and(|entry| entry.covenant_id == Some(covenant))
    })
}

/// Whether it spends one of which the node does not say the script.
pub(crate) fn spends_unsaid(transaction: &RpcOptionalTransaction, covenant: Hash) -> bool {
    transaction.inputs.iter().any(|input| {
        let entry = input.verbose_data.as_ref().and_then(|data| data.utxo_entry.as_ref());
        entry.is_some_and(|entry| entry.covenant_id == Some(covenant) && entry.script_public_key.is_none())
    })
}

/// The scripts of the outputs of an accepted transaction that are the covenant's.
pub(crate) fn continues(
    transaction: &RpcOptionalTransaction,
    covenant: Hash,
) -> impl Iterator<Item = Option<&ScriptPublicKey>> {
    let outputs = transaction.outputs.iter().filter(move |output| {
        output.covenant.as_ref().is_some_and(|binding| {
            binding.0.as_ref().is_some_and(|binding| binding.0.covenant_id == covenant)
        })
    });
    outputs.map(|output| output.script_public_key.as_ref())
}
