//! Drafts: transactions that are paid for, measured and signed here.
//!
//! Every script is run first: that measures its compute budget, and finds a transaction that consensus would refuse before it
//! is sent. Coins of the key pay for the fee; what they hold beyond it is the last output.

use kaspa_consensus_core::Hash;
use kaspa_consensus_core::config::params::Params;
use kaspa_consensus_core::constants::TX_VERSION_TOCCATA;
use kaspa_consensus_core::hashing::sighash::SigHashReusedValuesUnsync;
use kaspa_consensus_core::mass::{ComputeBudget, ContextualMasses, Mass, MassCalculator, ScriptUnits};
use kaspa_consensus_core::subnets::SubnetworkId;
use kaspa_consensus_core::tx::{
    PopulatedTransaction, Transaction, TransactionInput, TransactionOutput, UtxoEntry,
};
use kaspa_txscript::caches::Cache;
use kaspa_txscript::covenants::CovenantsContext;
use kaspa_txscript::script_builder::ScriptBuilderError;
use kaspa_txscript::{EngineCtx, EngineFlags, SeqCommitAccessor, TxScriptEngine};
use reprise_model::digest::{BlockHash, Digest};

use crate::coin::{Coin, FEERATE_MIN, Funding};
use crate::key::Key;

/// The compute budget of an input that a signature spends.
const SIGNATURE_BUDGET: u16 = 10;

/// The least value of a change output, in sompi: a smaller one costs more in storage mass than it holds.
pub(crate) const CHANGE_MIN: u64 = 20_000_000;

/// After how many rounds a fee that has not converged is rounded up.
const ROUNDS: usize = 8;

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

/// A transaction without its funding: fee, change and signatures.
pub(crate) struct Draft {
    /// Input 0, and the script that spends it: `None` where the key's signature does.
    pub(crate) first: Option<(Coin, Option<Vec<u8>>)>,
    /// Further inputs, and the scripts that spend them; only beside a first one with a script.
    pub(crate) others: Vec<(Coin, Vec<u8>)>,
    /// What it pays, before the change of the key.
    pub(crate) outputs: Vec<TransactionOutput>,
    /// Its payload.
    pub(crate) payload: Vec<u8>,
    /// Its subnetwork.
    pub(crate) subnetwork: SubnetworkId,
    /// The least value of the change, in sompi.
    pub(crate) change_min: u64,
    /// Whether it spends every coin of the funding.
    pub(crate) spends_all: bool,
    /// What the key pays of the outputs beside the fee, and does not get back, in sompi.
    pub(crate) added: u64,
    /// What it pays of them beyond that, which no bound of a fee is about: the value of a claim, in sompi.
    pub(crate) lent: u64,
}

pub(crate) fn address(params: &Params, key: &Key) -> String {
    key.address(params.net.into()).to_string()
}

/// A transaction that is funded, measured and signed.
#[derive(Debug, Clone)]
pub struct Completed {
    /// The transaction.
    pub transaction: Transaction,
    /// Its mass, in grams.
    pub mass: u64,
    /// What it costs the key, in sompi: its fee, and what the key adds to outputs that are not its own.
    pub fee: u64,
    /// What the key gives the covenant to hold beyond that, in sompi.
    pub lent: u64,
}

impl Completed {
    /// What the key has less by it, in sompi.
    pub fn cost(&self) -> u64 {
        self.fee.saturating_add(self.lent)
    }
}

impl Draft {
    /// One of a subnetwork that spends and pays nothing yet.
    pub(crate) fn of(subnetwork: SubnetworkId) -> Self {
        let (first, others, outputs, payload) = (None, vec![], vec![], vec![]);
        let (change_min, spends_all, added, lent) = (CHANGE_MIN, false, 0, 0);
        Self { first, others, outputs, payload, subnetwork, change_min, spends_all, added, lent }
    }

    /// Adds coins for the fee, change, budgets, masses and signatures.
    pub(crate) fn complete(
        &self,
        params: &Params,
        key: &Key,
        funding: Funding<'_>,
        end: Option<&Selected>,
    ) -> Result<Completed, BuildError> {
        let Funding { coins, fees } = funding;
        let mut coins: Vec<&Coin> = coins.iter().collect();
        coins.sort_by_key(|coin| std::cmp::Reverse((coin.entry.amount, coin.outpoint.index)));
        let mut fee = 0;
        // The fee depends on the mass, and the mass on the coins that pay the fee: a few rounds converge. Where the change is so small that
        // each sompi of the fee makes it heavier they do so slowly, and a little more than is needed is paid.
        for round in 0..2 * ROUNDS {
            let (transaction, mass) = attempt(params, key, self, &coins, fee, end)?;
            let needed = (mass as f64 * fees.feerate.max(FEERATE_MIN)).ceil() as u64;
            let cost = |fee: u64| fee.saturating_add(self.added);
            if cost(needed) > fees.fee_max {
                return Err(BuildError::FeeTooHigh { fee: cost(needed), fee_max: fees.fee_max });
            }
            if needed <= fee {
                return Ok(Completed { transaction, mass, fee: cost(fee), lent: self.lent });
            }
            let more = if round < ROUNDS { 0 } else { needed / 16 };
            fee = needed.saturating_add(more).min(fees.fee_max.saturating_sub(self.added));
        }
        Err(BuildError::Mass)
    }
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
    let needed = paid.saturating_add(fee).saturating_add(draft.change_min);
    for coin in coins {
        if held >= needed && spent.len() > given && !draft.spends_all {
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
    let (mass, mass_max) = (mass(params, &transaction), params.block_mass_limits.reference());
    if mass > mass_max {
        return Err(BuildError::TooHeavy { mass, mass_max });
    }
    Ok((transaction, mass))
}

/// The mass of a transaction that says its storage mass, in grams.
pub(crate) fn mass(params: &Params, transaction: &Transaction) -> u64 {
    let calculator = MassCalculator::new_with_consensus_params(params);
    let contextual = ContextualMasses::new(transaction.storage_mass());
    let mass = Mass::new(calculator.calc_non_contextual_masses(transaction), contextual);
    mass.normalized_max(&params.block_mass_limits.cofactors())
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
