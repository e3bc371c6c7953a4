//! Settlements as transactions: built and read. Each carries its settlement as its [`payload`].
//!
//! # Building
//!
//! Input 0 is the covenant's output; then come coins of the [vault](crate::vault) where exits are paid, and coins of the
//! key that pays. Output 0 continues the covenant with its whole value; then come the exits, the change of the vault and
//! the change of the key. Under a proof the exits are not paid here: output 1 is the [claim] to them. Every script is run
//! here first: that measures its compute budget, and finds a transaction that consensus would refuse before it is sent.
//!
//! # Reading
//!
//! A settlement is an accepted transaction that spends the script of its journal's state before, and continues the
//! covenant with the script of its state after. Consensus ran the rules then. That the transaction was accepted is taken
//! on the node's word.

use kaspa_consensus_core::Hash;
use kaspa_consensus_core::config::params::Params;
use kaspa_consensus_core::constants::TX_VERSION_TOCCATA;
use kaspa_consensus_core::hashing::covenant_id::covenant_id;
use kaspa_consensus_core::hashing::sighash::SigHashReusedValuesUnsync;
use kaspa_consensus_core::mass::{ComputeBudget, Mass, MassCalculator, ScriptUnits};
use kaspa_consensus_core::subnets::{SUBNETWORK_ID_NATIVE, SubnetworkId};
use kaspa_consensus_core::tx::{
    CovenantBinding, PopulatedTransaction, ScriptPublicKey, Transaction, TransactionInput, TransactionOutput,
    UtxoEntry,
};
use kaspa_rpc_core::{RpcOptionalTransaction, RpcOptionalTransactionInput, RpcOptionalUtxoEntry};
use kaspa_txscript::caches::Cache;
use kaspa_txscript::covenants::CovenantsContext;
use kaspa_txscript::script_builder::ScriptBuilderError;
use kaspa_txscript::script_class::ScriptClass;
use kaspa_txscript::{
    EngineCtx, EngineFlags, SeqCommitAccessor, TxScriptEngine, pay_to_script_hash_signature_script,
};
use reprise_model::block::ObservedSettlement;
use reprise_model::digest::{BlockHash, Digest, PinsDigest};
use reprise_model::journal::{AggregateJournal, Transition};

use crate::claim::{self, ClaimStep, RemainingExits};
use crate::coin::{Coin, FEERATE_MIN, Funding};
use crate::covenant::{Rules, State};
use crate::key::Key;
use crate::payload;
use crate::vault::Payout;

/// The compute budget of an input that a signature spends.
const SIGNATURE_BUDGET: u16 = 10;

/// The least value of a change output, in sompi: a smaller one costs more in storage mass than it holds.
const CHANGE_MIN: u64 = 20_000_000;

/// Why a transaction cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The coins do not pay for it.
    #[error(
        "the coins of {address} hold {found} sompi, but {needed} are needed for fee and change: send coins to it"
    )]
    InsufficientFunds {
        /// The key's address.
        address: String,
        /// The value of the coins, in sompi.
        found: u64,
        /// The value that is needed, in sompi.
        needed: u64,
    },
    /// The fee is over the bound.
    #[error("the fee would be {fee} sompi, but at most {fee_max} are allowed: raise --fee-max")]
    FeeTooHigh {
        /// The fee.
        fee: u64,
        /// The bound.
        fee_max: u64,
    },
    /// The covenant's script refuses it.
    #[error("the covenant's script refuses the transaction: {reason}")]
    Refused {
        /// The script engine's error.
        reason: String,
    },
    /// It cannot be written as a script.
    #[error("the script cannot be built: {0}")]
    Script(#[from] ScriptBuilderError),
    /// No block has room for it.
    #[error("the transaction's mass is {mass}, and a block holds {mass_max}")]
    TooHeavy {
        /// Its mass.
        mass: u64,
        /// The most that a block holds.
        mass_max: u64,
    },
    /// Its mass cannot be computed.
    #[error("the transaction's mass cannot be computed, or its script costs more than any budget")]
    Mass,
}

/// A block that is known to be on the selected chain, with its sequencing commitment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selected {
    /// The block.
    pub block: BlockHash,
    /// Its commitment.
    pub commitment: Digest,
}

impl SeqCommitAccessor for Selected {
    fn is_chain_ancestor_from_pov(&self, block: Hash) -> Option<bool> {
        Some(block.as_bytes() == self.block.0)
    }

    fn seq_commitment_within_depth(&self, block: Hash) -> Option<Hash> {
        (block.as_bytes() == self.block.0).then(|| Hash::from_bytes(self.commitment.0))
    }
}

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

/// A transaction without its funding: fee, change and signatures.
struct Draft {
    /// Input 0, and the script that spends it: `None` where the key's signature does.
    first: Option<(Coin, Option<Vec<u8>>)>,
    /// Further inputs, and the scripts that spend them; only beside a first one with a script.
    others: Vec<(Coin, Vec<u8>)>,
    outputs: Vec<TransactionOutput>,
    payload: Vec<u8>,
    subnetwork: SubnetworkId,
}

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
                address: address(params, key),
                found,
                needed: value,
            });
        };
        let mut output = TransactionOutput::new(value, key.script());
        let id = covenant_id(first.outpoint, std::iter::once((0, &output)));
        output.covenant = Some(CovenantBinding::new(0, id));
        let (outputs, payload, subnetwork) = (vec![output], vec![], lane);
        let draft = Draft { first: None, others: vec![], outputs, payload, subnetwork };
        let funding = Funding { coins: std::slice::from_ref(first), ..funding };
        let transaction = complete(params, key, &draft, funding, None)?;
        Ok((transaction, id))
    }

    /// A transaction of the lane that asks for nothing.
    pub fn keep_alive(&self, lane: SubnetworkId, funding: Funding<'_>) -> Result<Transaction, BuildError> {
        let draft = Draft { first: None, others: vec![], outputs: vec![], payload: vec![], subnetwork: lane };
        complete(&self.params, &self.key, &draft, funding, None)
    }

    /// A transaction that moves the founded covenant into its first state.
    pub fn enter(
        &self,
        founded: Coin,
        state: State,
        funding: Funding<'_>,
    ) -> Result<Transaction, BuildError> {
        let output = self.continuation(founded.entry.amount, state);
        let founded = Some((founded, None));
        let draft = Draft {
            first: founded,
            others: vec![],
            outputs: vec![output],
            payload: vec![],
            subnetwork: NATIVE,
        };
        complete(&self.params, &self.key, &draft, funding, None)
    }

    /// A transaction that settles and pays out. `proof` is the script that pushes the proof.
    pub fn settle(
        &self,
        covenant: Coin,
        settlement: &ObservedSettlement,
        proof: Vec<u8>,
        payout: Payout,
        end: Selected,
        funding: Funding<'_>,
    ) -> Result<Transaction, BuildError> {
        let transition = &settlement.journal.transition;
        let redeem = self.rules.redeem(before(transition));
        let script = pay_to_script_hash_signature_script(redeem, proof)?;
        let output = self.continuation(covenant.entry.amount, after(transition));
        let mut outputs = vec![output];
        if self.rules.claims() && transition.exits != Digest::ZERO {
            outputs.push(self.claim(claim::CLAIM_VALUE, &RemainingExits::all(transition.exits))?);
        }
        outputs.extend(payout.outputs);
        let opened = pay_to_script_hash_signature_script(payout.redeem, vec![])?;
        let others = payout.coins.into_iter().map(|coin| (coin, opened.clone())).collect();
        let payload = payload::encode(settlement);
        let draft =
            Draft { first: Some((covenant, Some(script))), others, outputs, payload, subnetwork: NATIVE };
        complete(&self.params, &self.key, &draft, funding, Some(&end))
    }

    /// A transaction that peels an exit off a claim, and pays it out of a coin of the vault if it is at least
    /// [`EXIT_MIN`](crate::vault::EXIT_MIN).
    pub fn claim_exit(
        &self,
        claim: Coin,
        step: &ClaimStep,
        coin: Option<Coin>,
        funding: Funding<'_>,
    ) -> Result<Transaction, BuildError> {
        let value = claim.entry.amount;
        let script = pay_to_script_hash_signature_script(claim::redeem(&step.before)?, step.witness()?)?;
        let first = match step.after.is_nothing() {
            true => TransactionOutput::new(value, self.key.script()),
            false => self.claim(value, &step.after)?,
        };
        let paid = if step.is_paid() { step.exit.amount } else { CHANGE_MIN };
        let payee = if step.is_paid() { claim::payee(&step.exit) } else { self.key.script() };
        let mut outputs = vec![first, TransactionOutput::new(paid, payee)];
        let mut others = vec![];
        match coin {
            Some(coin) => {
                let rest = coin.entry.amount.saturating_sub(if step.is_paid() { paid } else { 0 });
                if rest > 0 {
                    let script = coin.entry.script_public_key.clone();
                    outputs.push(TransactionOutput::new(rest.max(CHANGE_MIN), script));
                }
                let redeem = claim::vault_redeem(crate::digest(self.covenant))?;
                others.push((coin, pay_to_script_hash_signature_script(redeem, vec![])?));
            }
            // The largest of the key's coins is input 1, and returns whole.
            None => {
                let largest = funding.coins.iter().map(|coin| coin.entry.amount).max().unwrap_or_default();
                outputs.push(TransactionOutput::new(largest, self.key.script()));
            }
        }
        let draft = Draft {
            first: Some((claim, Some(script))),
            others,
            outputs,
            payload: vec![],
            subnetwork: NATIVE,
        };
        complete(&self.params, &self.key, &draft, funding, None)
    }

    /// A transaction that merges two coins of the vault into one.
    pub fn merge(&self, coins: [Coin; 2], funding: Funding<'_>) -> Result<Transaction, BuildError> {
        let [first, second] = coins;
        let value = first.entry.amount + second.entry.amount;
        let output = TransactionOutput::new(value, first.entry.script_public_key.clone());
        let redeem = claim::vault_redeem(crate::digest(self.covenant))?;
        let script = pay_to_script_hash_signature_script(redeem, vec![])?;
        let (first, others) = (Some((first, Some(script.clone()))), vec![(second, script)]);
        complete(
            &self.params,
            &self.key,
            &Draft { first, others, outputs: vec![output], payload: vec![], subnetwork: NATIVE },
            funding,
            None,
        )
    }

    /// The output that is a claim to the exits that are left.
    pub fn claim(&self, value: u64, left: &RemainingExits) -> Result<TransactionOutput, ScriptBuilderError> {
        let binding = CovenantBinding::new(0, self.covenant);
        Ok(TransactionOutput::with_covenant(value, claim::script(left)?, Some(binding)))
    }

    /// The script of the output that a settlement spends.
    pub fn spends(&self, settlement: &ObservedSettlement) -> ScriptPublicKey {
        self.rules.script(before(&settlement.journal.transition))
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
            entry.covenant_id == Some(covenant)
                && entry.script_public_key.as_ref() == Some(&rules.script(before(transition)))
        })
    });
    let next = rules.script(after(transition));
    let continues = continues(transaction, covenant).any(|script| script == Some(&next));
    (spends && continues).then_some(settlement)
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
            of_covenant.and_then(|entry| entry.script_public_key.as_ref()).is_some_and(is_script_hash);
        by_script && !input.signature_script.as_ref().is_some_and(|script| script.ends_with(&claim))
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
    let held = |entry: &RpcOptionalUtxoEntry| !entry.script_public_key.as_ref().is_some_and(is_script_hash);
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

fn address(params: &Params, key: &Key) -> String {
    key.address(params.net.into()).to_string()
}

/// Adds coins for the fee, change, budgets, masses and signatures.
fn complete(
    params: &Params,
    key: &Key,
    draft: &Draft,
    funding: Funding<'_>,
    end: Option<&Selected>,
) -> Result<Transaction, BuildError> {
    let Funding { coins, fees } = funding;
    let mut coins: Vec<&Coin> = coins.iter().collect();
    coins.sort_by_key(|coin| std::cmp::Reverse((coin.entry.amount, coin.outpoint.index)));
    let mut fee = 0;
    // The fee depends on the mass, and the mass on the coins that pay the fee: a few rounds converge.
    for _ in 0..8 {
        let (transaction, masses) = attempt(params, key, draft, &coins, fee, end)?;
        let needed = (masses as f64 * fees.feerate.max(FEERATE_MIN)).ceil() as u64;
        if needed > fees.fee_max {
            return Err(BuildError::FeeTooHigh { fee: needed, fee_max: fees.fee_max });
        }
        if needed <= fee {
            return Ok(transaction);
        }
        fee = needed;
    }
    Err(BuildError::Mass)
}

/// The transaction that pays exactly `fee`, and its mass.
fn attempt(
    params: &Params,
    key: &Key,
    draft: &Draft,
    coins: &[&Coin],
    fee: u64,
    end: Option<&Selected>,
) -> Result<(Transaction, u64), BuildError> {
    let (first, script) = match &draft.first {
        Some((coin, script)) => (Some(coin), script.as_ref()),
        None => (None, None),
    };
    let paid: u64 = draft.outputs.iter().map(|output| output.value).sum();
    let mut spent: Vec<&Coin> = first.into_iter().chain(draft.others.iter().map(|(coin, _)| coin)).collect();
    let (given, brought) = (spent.len(), spent.iter().map(|coin| coin.entry.amount).sum::<u64>());
    let mut held = brought;
    let needed = paid + fee + CHANGE_MIN;
    for coin in coins {
        if held >= needed && spent.len() > given {
            break;
        }
        held += coin.entry.amount;
        spent.push(coin);
    }
    if held < needed {
        let found = coins.iter().map(|coin| coin.entry.amount).sum();
        let needed = needed.saturating_sub(brought);
        return Err(BuildError::InsufficientFunds { address: address(params, key), found, needed });
    }
    let input =
        |coin: &&Coin| TransactionInput::new_with_compute_budget(coin.outpoint, vec![], 0, SIGNATURE_BUDGET);
    let mut outputs = draft.outputs.clone();
    outputs.push(TransactionOutput::new(held - paid - fee, key.script()));
    let inputs = spent.iter().map(input).collect();
    let payload = draft.payload.clone();
    let subnetwork = draft.subnetwork;
    let mut transaction = Transaction::new(TX_VERSION_TOCCATA, inputs, outputs, 0, subnetwork, 0, payload);
    let entries: Vec<UtxoEntry> = spent.iter().map(|coin| coin.entry.clone()).collect();
    if let Some(script) = script {
        transaction.inputs[0].signature_script = script.clone();
        for (input, (_, script)) in transaction.inputs[1..].iter_mut().zip(&draft.others) {
            input.signature_script = script.clone();
        }
        for input in 0..given {
            let units = run(&transaction, &entries, input, end)?;
            let budget = ComputeBudget::checked_covering_script_units(units).ok_or(BuildError::Mass)?;
            transaction.inputs[input].compute_commit = budget.into();
        }
    }
    let signed = if script.is_some() { given } else { 0 };
    let signatures: Vec<Vec<u8>> = {
        let populated = PopulatedTransaction::new(&transaction, entries.clone());
        (signed..entries.len()).map(|input| key.sign(&populated, input)).collect()
    };
    for (input, signature) in transaction.inputs[signed..].iter_mut().zip(signatures) {
        input.signature_script = signature;
    }
    let calculator = MassCalculator::new_with_consensus_params(params);
    let contextual = calculator.calc_contextual_masses(&PopulatedTransaction::new(&transaction, entries));
    let contextual = contextual.ok_or(BuildError::Mass)?;
    transaction.set_storage_mass(contextual.storage_mass);
    transaction.finalize();
    let mass = Mass::new(calculator.calc_non_contextual_masses(&transaction), contextual);
    let (mass, mass_max) =
        (mass.normalized_max(&params.block_mass_limits.cofactors()), params.block_mass_limits.reference());
    if mass > mass_max {
        return Err(BuildError::TooHeavy { mass, mass_max });
    }
    Ok((transaction, mass))
}

/// Runs the script of an input. Returns the script units that it uses.
fn run(
    transaction: &Transaction,
    entries: &[UtxoEntry],
    input: usize,
    end: Option<&Selected>,
) -> Result<ScriptUnits, BuildError> {
    let refused = |reason: String| BuildError::Refused { reason };
    let populated = PopulatedTransaction::new(transaction, entries.to_vec());
    let covenants = CovenantsContext::from_tx(&populated).map_err(|e| refused(e.to_string()))?;
    let (reused, cache) = (SigHashReusedValuesUnsync::new(), Cache::new(1));
    let accessor = end.map(|end| end as &dyn SeqCommitAccessor);
    let context = EngineCtx::new(&cache)
        .with_reused(&reused)
        .with_covenants_ctx(&covenants)
        .with_seq_commit_accessor_opt(accessor);
    let mut engine = TxScriptEngine::from_transaction_input(
        &populated,
        &transaction.inputs[input],
        input,
        &entries[input],
        context,
        EngineFlags::default(),
    );
    engine.execute().map_err(|e| refused(e.to_string()))?;
    Ok(engine.used_script_units())
}
