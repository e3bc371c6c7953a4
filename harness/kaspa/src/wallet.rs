//! Keys, coins, and the lane transactions they pay for.
//!
//! Everything is a function of its inputs, signatures included (BIP 340 with auxiliary zeros in place of
//! randomness), so that blocks made of these transactions have the same hash on every run. The keys are public:
//! they are for a simnet and for nothing else.

use std::collections::HashMap;

use kaspa_addresses::{Address, Prefix, Version};
use kaspa_consensus_core::config::params::Params;
use kaspa_consensus_core::constants::TX_VERSION_TOCCATA;
use kaspa_consensus_core::hashing::covenant_id::covenant_id;
use kaspa_consensus_core::hashing::sighash::{SigHashReusedValuesUnsync, calc_schnorr_signature_hash};
use kaspa_consensus_core::hashing::sighash_type::SIG_HASH_ALL;
use kaspa_consensus_core::mass::MassCalculator;
use kaspa_consensus_core::subnets::{SUBNETWORK_ID_NATIVE, SubnetworkId};
use kaspa_consensus_core::tx::{
    CovenantBinding, PopulatedTransaction, ScriptPublicKey, Transaction, TransactionId, TransactionInput,
    TransactionOutpoint, TransactionOutput, UtxoEntry,
};
use kaspa_hashes::Hash;
use kaspa_rpc_core::RpcError;
use kaspa_rpc_core::api::rpc::RpcApi;
use kaspa_txscript::script_builder::ScriptBuilderError;
use kaspa_txscript::{extract_script_pub_key_address, pay_to_address_script};
use kaspa_txscript_errors::TxScriptError;
use reprise_kaspa::names;
use reprise_kaspa::opening::opening;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::transaction;
use secp256k1::{Keypair, Message, SECP256K1};

/// The fee of every transaction, in sompi.
const FEE: u64 = 1_000_000;

/// The compute budget of a P2PK input: one signature.
const COMPUTE_BUDGET: u16 = 10;

/// Why there is no transaction.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// The node did not answer, or refused.
    #[error("the node did not list coins: {0}")]
    Node(#[from] RpcError),
    /// A coin too small.
    #[error("a coin of {coin} sompi cannot pay {outputs} sompi and the fee")]
    Short {
        /// The coin's value.
        coin: u64,
        /// What the outputs pay.
        outputs: u64,
    },
    /// There is no mature coin left.
    #[error("no mature coin left")]
    NoCoins,
    /// The signature could not be made.
    #[error("cannot sign: {0}")]
    Sign(#[from] secp256k1::Error),
    /// The spent transaction is too long to be shown.
    #[error("the transaction whose output is spent has {0} bytes, too many for a payload")]
    Opening(usize),
    /// Its mass cannot be computed.
    #[error("the transaction's mass cannot be computed")]
    Mass,
    /// The script could not be built.
    #[error("cannot build the script: {0}")]
    Script(#[from] ScriptBuilderError),
    /// The script has no address.
    #[error("the script has no address: {0}")]
    Address(#[from] TxScriptError),
}

/// An output that its owner can spend.
#[derive(Debug, Clone)]
pub struct Coin {
    outpoint: TransactionOutpoint,
    entry: UtxoEntry,
    /// Of the transaction that paid it.
    opening: Vec<u8>,
}

impl Coin {
    /// An output by its place and content.
    pub fn new(outpoint: TransactionOutpoint, entry: UtxoEntry) -> Self {
        Self { outpoint, entry, opening: vec![] }
    }

    /// The payload of a lane transaction that carries `message` to the rollup of a covenant and spends this output first: it opens
    /// the spent transaction.
    pub fn payload(&self, covenant: &Digest, message: &[u8]) -> Result<Vec<u8>, WalletError> {
        transaction::payload(&self.opening, covenant, message).ok_or(WalletError::Opening(self.opening.len()))
    }
}

/// A key.
#[derive(Debug, Clone, Copy)]
pub struct Wallet(Keypair);

impl Wallet {
    /// The key whose 32 secret bytes are all `seed`.
    pub fn new(seed: u8) -> Result<Self, WalletError> {
        Ok(Self(Keypair::from_seckey_slice(SECP256K1, &[seed; 32])?))
    }

    /// Its address on simnet.
    pub fn address(&self) -> Address {
        Address::new(Prefix::Simnet, Version::PubKey, &self.public_key())
    }

    /// Its Schnorr public key.
    pub fn public_key(&self) -> [u8; 32] {
        self.0.x_only_public_key().0.serialize()
    }

    /// Its ledger account.
    pub fn account(&self) -> ResourceId {
        names::account(&self.script())
    }

    /// Its mature coins, oldest first. The node needs its index of unspent outputs.
    pub async fn coins(&self, rpc: &dyn RpcApi, params: &Params) -> Result<Vec<Coin>, WalletError> {
        let now = rpc.get_server_info().await?.virtual_daa_score;
        let listed = rpc.get_utxos_by_addresses(vec![self.address()]).await?;
        let paying = transactions(rpc).await?;
        let coins = listed.into_iter().map(|it| {
            let outpoint = TransactionOutpoint::from(it.outpoint);
            let opening = paying.get(&outpoint.transaction_id).map(opening).unwrap_or_default();
            Coin { outpoint, entry: it.utxo_entry.into(), opening }
        });
        let mature = |coin: &Coin| {
            let age = if coin.entry.is_coinbase { params.coinbase_maturity() } else { 0 };
            coin.entry.block_daa_score + age <= now
        };
        let mut coins: Vec<Coin> = coins.filter(mature).collect();
        coins.sort_by_key(|coin| {
            (coin.entry.block_daa_score, coin.outpoint.transaction_id, coin.outpoint.index)
        });
        Ok(coins)
    }

    /// A transaction that founds a covenant with `value` in `script`, and the covenant's id.
    pub fn covenant(
        &self,
        params: &Params,
        coin: &Coin,
        value: u64,
        script: ScriptPublicKey,
    ) -> Result<(Transaction, Hash), WalletError> {
        let mut output = TransactionOutput::new(value, script);
        let id = covenant_id(coin.outpoint, std::iter::once((0, &output)));
        output.covenant = Some(CovenantBinding::new(0, id));
        Ok((self.transaction(params, SUBNETWORK_ID_NATIVE, coin, vec![output], vec![])?, id))
    }

    /// A transaction in `subnetwork`: carries `payload`, pays `outputs`, and what `coin` leaves back to this key.
    pub fn transaction(
        &self,
        params: &Params,
        subnetwork: SubnetworkId,
        coin: &Coin,
        mut outputs: Vec<TransactionOutput>,
        payload: Vec<u8>,
    ) -> Result<Transaction, WalletError> {
        let paid = outputs.iter().map(|output| output.value).sum();
        let short = WalletError::Short { coin: coin.entry.amount, outputs: paid };
        let change = coin.entry.amount.checked_sub(paid + FEE).ok_or(short)?;
        outputs.push(TransactionOutput::new(change, self.script()));
        let input = TransactionInput::new_with_compute_budget(coin.outpoint, vec![], 0, COMPUTE_BUDGET);
        let mut transaction =
            Transaction::new(TX_VERSION_TOCCATA, vec![input], outputs, 0, subnetwork, 0, payload);
        transaction.inputs[0].signature_script = self.sign(&transaction, coin)?;
        let masses = MassCalculator::new(
            params.mass_per_tx_byte,
            params.mass_per_script_pub_key_byte,
            params.storage_mass_parameter,
        )
        .calc_contextual_masses(&PopulatedTransaction::new(&transaction, vec![coin.entry.clone()]));
        transaction.set_storage_mass(masses.ok_or(WalletError::Mass)?.storage_mass);
        Ok(transaction)
    }

    /// The script that pays to it.
    pub fn script(&self) -> ScriptPublicKey {
        pay_to_address_script(&self.address())
    }

    /// The signature script of the only input.
    fn sign(&self, transaction: &Transaction, coin: &Coin) -> Result<Vec<u8>, WalletError> {
        let populated = PopulatedTransaction::new(transaction, vec![coin.entry.clone()]);
        let hash =
            calc_schnorr_signature_hash(&populated, 0, SIG_HASH_ALL, &SigHashReusedValuesUnsync::new());
        let message = Message::from_digest(hash.as_bytes());
        let signature = SECP256K1.sign_schnorr_no_aux_rand(&message, &self.0);
        // A push of 65 bytes: the signature and its hash type.
        Ok(std::iter::once(65).chain(*signature.as_ref()).chain([SIG_HASH_ALL.to_u8()]).collect())
    }
}

/// Every transaction in a block that the node has.
async fn transactions(rpc: &dyn RpcApi) -> Result<HashMap<TransactionId, Transaction>, WalletError> {
    let (mut found, mut low) = (HashMap::new(), None);
    loop {
        let page = rpc.get_blocks(low, true, true).await?;
        for transaction in page.blocks.into_iter().flat_map(|block| block.transactions) {
            let transaction = Transaction::try_from(transaction)?;
            found.insert(transaction.id(), transaction);
        }
        match page.block_hashes.last() {
            Some(last) if low != Some(*last) => low = Some(*last),
            _ => return Ok(found),
        }
    }
}

/// The covenants of the unspent outputs of `script`. The node needs its index of unspent outputs.
pub async fn covenants(rpc: &dyn RpcApi, script: &ScriptPublicKey) -> Result<Vec<Hash>, WalletError> {
    let address = extract_script_pub_key_address(script, Prefix::Simnet)?;
    let listed = rpc.get_utxos_by_addresses(vec![address]).await?;
    Ok(listed.into_iter().filter_map(|it| it.utxo_entry.covenant_id).collect())
}

/// The script that deposits are paid to in the shipped recording: pay-to-script-hash of a script that nothing
/// satisfies, since no program of a simnet pays out of it.
pub fn deposit_script() -> Result<ScriptPublicKey, WalletError> {
    Ok(names::locked_script(b"reprise deposit")?)
}
