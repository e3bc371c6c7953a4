//! A simnet of one node on which blocks are mined one by one, with coins for users of the lane and for settlers.
//!
//! Timestamps, keys and signatures are fixed, so the same calls make the same lane transactions, lane tips and commitments
//! on every run. So the statements are the same too, and receipts of one run answer the next.

use std::ops::AsyncFn;
use std::sync::Arc;
use std::time::Duration;

use kaspa_consensus_core::config::params::{Params, SIMNET_PARAMS};
use kaspa_consensus_core::constants::TX_VERSION_TOCCATA;
use kaspa_consensus_core::mass::MassCalculator;
use kaspa_consensus_core::subnets::{SUBNETWORK_ID_NATIVE, SubnetworkId};
use kaspa_consensus_core::tx::{
    PopulatedTransaction, ScriptPublicKey, Transaction, TransactionInput, TransactionOutput,
};
use kaspa_hashes::Hash;
use kaspa_rpc_core::api::rpc::RpcApi;
use kaspa_rpc_core::{RpcError, RpcTransaction};
use kaspa_txscript::opcodes::codes::OpTrue;
use kaspa_txscript::script_builder::ScriptBuilderError;
use kaspa_txscript::{pay_to_script_hash_script, pay_to_script_hash_signature_script};
use reprise_chain::recording::Lane;
use reprise_kaspa::client::Client;
use reprise_kaspa::coin::{Fees, Funding};
use reprise_kaspa::covenant::Proof;
use reprise_kaspa::founding;
use reprise_kaspa::key::{Key, KeyError};
use reprise_kaspa::sink::SinkError;
use reprise_kaspa::user::{self, UserError};
use reprise_kaspa::{block_hash, claim, coin, names};
use reprise_ledger::{Action, Payload};
use reprise_model::block::ObservedSettlement;
use reprise_model::digest::{BlockHash, Digest, ResourceId};
use reprise_model::exit::{Payee, ScriptClass};
use reprise_node::event::PipelineEvent;

use crate::miner::{self, MineError};
use crate::node::{Node, NodeError};
use crate::probe::Run;
use crate::scenario::{self, NAMESPACE};
use crate::wallet::{Coin, Wallet, WalletError};

/// Sompi in one kaspa.
pub const KASPA: u64 = 100_000_000;

/// The most a settler pays for a transaction, in sompi.
pub const FEE_MAX: u64 = KASPA;

/// The value of a founded covenant, in sompi.
const COVENANT_VALUE: u64 = 10 * KASPA;

/// The value of one of a settler's coins, in sompi.
const SETTLER_COIN: u64 = 15 * KASPA;

const ALICE: u8 = 1;
const BOB: u8 = 2;
const MINER: u8 = 11;
const OTHER_MINER: u8 = 12;
/// Alice's coins: each pays for one lane transaction.
const ALICE_COINS: usize = 16;

/// How often, and at which interval, a node is polled for what it does asynchronously: half a minute in all.
const ASKED: u32 = 1_500;
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// How many pairs of blocks may pass until a settlement is observed: the covenant's first state, the settlement, and
/// delays.
const ROUNDS_MAX: usize = 8;

/// Why a simnet cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SimnetError {
    /// A node did not start.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A transaction was not made.
    #[error(transparent)]
    Wallet(#[from] WalletError),
    /// A block was not made.
    #[error(transparent)]
    Mine(#[from] MineError),
    /// The covenant was not founded.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// A settler's key cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A user's message was not sent.
    #[error(transparent)]
    User(#[from] UserError),
    /// A script could not be built.
    #[error("cannot build the script: {0}")]
    Script(#[from] ScriptBuilderError),
    /// The node refused a question.
    #[error("the node did not answer: {0}")]
    Rpc(#[from] RpcError),
    /// The operating system refused.
    #[error("cannot open a port: {0}")]
    Io(#[from] std::io::Error),
    /// A thread of this process panicked.
    #[error("a thread panicked: {0}")]
    Thread(#[from] tokio::task::JoinError),
    /// A Reprise node ended or made no progress.
    #[error("{0}")]
    Run(String),
    /// Something did not happen in time.
    #[error("{what}: not within {within:?}")]
    Late {
        /// What was waited for.
        what: &'static str,
        /// How long.
        within: Duration,
    },
}

/// A node, its chain so far, and the wallets on it.
pub struct Simnet {
    /// The node.
    pub node: Node,
    /// A connection to it.
    pub rpc: Client,
    /// The nodes' parameters.
    pub params: Params,
    /// The user of the lane.
    pub alice: Wallet,
    /// The miner.
    pub miner: Wallet,
    /// The blocks above the genesis, oldest first.
    pub blocks: Vec<Hash>,
    /// The lane, with the covenant once it is founded.
    pub lane: Lane,
    /// The block from which the lane is followed: the tip when the covenant was founded.
    pub root: BlockHash,
    /// Whether blocks are [mined for no address](miner::mine_for_no_address).
    pub for_no_address: bool,
    height: u64,
    coins: Vec<Coin>,
}

/// A node that knows the chain up to a block, and goes on from there by itself.
pub struct Builder {
    /// A connection to it.
    pub rpc: Client,
    node: Node,
    height: u64,
    miner: Wallet,
}

/// The key of a settler: 32 bytes that are all `seed`.
pub fn key(seed: u8) -> Result<Key, KeyError> {
    Key::parse(&format!("{seed:02x}").repeat(32), "the simnet's settler")
}

/// A script that anybody satisfies, the output script that pays to its hash, and that hash as an exit names it.
pub fn anybody() -> (Vec<u8>, ScriptPublicKey, Payee) {
    let redeem = vec![OpTrue];
    let script = pay_to_script_hash_script(&redeem);
    let mut hash = [0; 32];
    hash.copy_from_slice(&script.script()[2..34]);
    (redeem, script, Payee { class: ScriptClass::ScriptHash, bytes: Digest(hash) })
}

/// Spends a coin that is [`anybody`]'s, half of it to `to`; the other half is the fee.
pub fn spend(params: &Params, coin: coin::Coin, to: ScriptPublicKey) -> Result<Transaction, SimnetError> {
    let (redeem, ..) = anybody();
    let script = pay_to_script_hash_signature_script(redeem, vec![])?;
    let input = TransactionInput::new_with_compute_budget(coin.outpoint, script, 0, 10);
    let output = TransactionOutput::new(coin.entry.amount / 2, to);
    let spending =
        Transaction::new(TX_VERSION_TOCCATA, vec![input], vec![output], 0, SUBNETWORK_ID_NATIVE, 0, vec![]);
    let populated = PopulatedTransaction::new(&spending, vec![coin.entry]);
    let masses = MassCalculator::new_with_consensus_params(params).calc_contextual_masses(&populated);
    spending.set_storage_mass(masses.ok_or(WalletError::Mass)?.storage_mass);
    Ok(spending)
}

/// The settlements that a run has observed, as often as it did, oldest first.
pub fn settlements(run: &Run) -> Vec<ObservedSettlement> {
    let settled = |event| match event {
        PipelineEvent::Settled(settlement) => Some(*settlement),
        _ => None,
    };
    run.heard().into_iter().filter_map(settled).collect()
}

/// Runs what blocks on a thread where that is allowed.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SimnetError> {
    Ok(tokio::task::spawn_blocking(work).await?)
}

/// Waits for something that a node does in its own time.
pub async fn until(
    what: &'static str,
    so: impl AsyncFn() -> Result<bool, SimnetError>,
) -> Result<(), SimnetError> {
    for _ in 0..ASKED {
        if so().await? {
            return Ok(());
        }
        tokio::time::sleep(ASK_AGAIN_AFTER).await;
    }
    Err(SimnetError::Late { what, within: ASK_AGAIN_AFTER * ASKED })
}

/// Waits until a run has followed the chain up to `tip` and proved what it wants.
pub async fn wait(run: &Arc<Run>, tip: Hash) -> Result<(), SimnetError> {
    let run = run.clone();
    blocking(move || run.wait(block_hash(tip), false)).await?.map_err(SimnetError::Run)
}

impl Simnet {
    /// A chain on which Alice has coins for lane transactions, and each of `settlers` three for fees. No covenant is
    /// founded yet. The node's borsh wRPC server listens on `port`, or on one that is free.
    pub async fn start(settlers: &[Key], port: Option<u16>) -> Result<Self, SimnetError> {
        Self::start_with(scenario::params(), settlers, port).await
    }

    /// The same on a network with other parameters.
    pub async fn start_with(
        params: Params,
        settlers: &[Key],
        port: Option<u16>,
    ) -> Result<Self, SimnetError> {
        let (node, rpc) = Node::start_on(&params, port).await?;
        let subnetwork = SubnetworkId::from_namespace(NAMESPACE).into_bytes();
        let lane = names::lane(subnetwork, Default::default(), Default::default());
        let (miner, alice) = (Wallet::new(MINER)?, Wallet::new(ALICE)?);
        let (blocks, coins, root) = (vec![], vec![], BlockHash::default());
        let for_no_address = false;
        let mut simnet =
            Self { node, rpc, params, alice, miner, blocks, lane, root, for_no_address, height: 0, coins };
        for _ in 0..ALICE_COINS {
            simnet.mine_for(alice, &[]).await?;
            simnet.mine(&[]).await?;
        }
        for _ in 0..simnet.params.coinbase_maturity() + 2 {
            simnet.mine(&[]).await?;
        }
        simnet.coins = alice.coins(simnet.rpc(), &simnet.params).await?;
        let coins = miner.coins(simnet.rpc(), &simnet.params).await?;
        for (settler, coin) in settlers.iter().zip(&coins) {
            let outputs = vec![TransactionOutput::new(SETTLER_COIN, settler.script()); 3];
            let paid = miner.transaction(&simnet.params, SUBNETWORK_ID_NATIVE, coin, outputs, vec![])?;
            simnet.mine(&[paid]).await?;
        }
        simnet.mine(&[]).await?;
        Ok(simnet)
    }

    /// Founds a covenant that demands `proof`, or none; the lane's deposits go to its vault from here on.
    pub async fn found(&mut self, founder: Key, proof: Option<&Proof>) -> Result<(), SimnetError> {
        let (url, proof) = (self.node.url().to_owned(), proof.cloned());
        let (lane, paid) = (self.lane.subnetwork, (COVENANT_VALUE, FEE_MAX));
        let founded = move || founding::found_covenant(&url, &founder, proof.as_ref(), lane, paid);
        let covenant = blocking(founded).await??;
        self.mine(&[]).await?;
        self.root = block_hash(self.mine(&[]).await?);
        let vault = names::account(&claim::vault(covenant)?);
        self.lane = names::lane(self.lane.subnetwork, covenant, vault);
        Ok(())
    }

    /// The node's side of the connection.
    pub fn rpc(&self) -> &dyn RpcApi {
        self.rpc.as_ref()
    }

    /// The last block.
    pub fn tip(&self) -> Hash {
        self.blocks.last().copied().unwrap_or(SIMNET_PARAMS.genesis.hash)
    }

    /// Mines a block with these transactions and those of the mempool.
    pub async fn mine(&mut self, transactions: &[Transaction]) -> Result<Hash, SimnetError> {
        self.mine_for(self.miner, transactions).await
    }

    /// The same, with the reward for `miner`.
    pub async fn mine_for(
        &mut self,
        miner: Wallet,
        transactions: &[Transaction],
    ) -> Result<Hash, SimnetError> {
        self.height += 1;
        let (to, at) = (miner.address(), timestamp_ms(self.height));
        let block = match self.for_no_address {
            true => miner::mine_for_no_address(self.rpc(), &to, transactions, at).await?,
            false => miner::mine(self.rpc(), &to, transactions, at).await?,
        };
        self.blocks.push(block);
        Ok(block)
    }

    /// A lane transaction of Alice's, paid by a coin of hers.
    pub fn lane_transaction(
        &mut self,
        action: Action,
        nonce: u64,
        amount: u64,
        counterparty: ResourceId,
        outputs: Vec<TransactionOutput>,
    ) -> Result<Transaction, SimnetError> {
        let message = Payload::one(action, nonce, amount, counterparty).encode();
        let coin = self.coins.pop().ok_or(WalletError::NoCoins)?;
        let payload = coin.payload(&self.lane.covenant, &message)?;
        let lane = SubnetworkId::from_bytes(self.lane.subnetwork);
        Ok(self.alice.transaction(&self.params, lane, &coin, outputs, payload)?)
    }

    /// A node that knows the chain up to the first `height` blocks, and mines on from there.
    pub async fn builder(&self, height: usize) -> Result<Builder, SimnetError> {
        let (node, rpc) = Node::start(&self.params).await?;
        miner::copy(self.rpc(), rpc.as_ref(), &self.blocks[..height]).await?;
        Ok(Builder { rpc, node, height: height as u64, miner: Wallet::new(OTHER_MINER)? })
    }

    /// Shows a builder's blocks to the node.
    pub async fn show(&mut self, builder: &Builder, blocks: &[Hash]) -> Result<(), SimnetError> {
        miner::copy(builder.rpc.as_ref(), self.rpc(), blocks).await?;
        self.height = self.height.max(builder.height);
        Ok(())
    }

    /// The ids of the transactions in the node's mempool.
    pub async fn in_mempool(&self) -> Result<Vec<Hash>, SimnetError> {
        let entries = self.rpc().get_mempool_entries(false, false).await?;
        let id = |transaction: RpcTransaction| Transaction::try_from(transaction).map(|it| it.id());
        Ok(entries.into_iter().map(|entry| id(entry.transaction)).collect::<Result<_, _>>()?)
    }

    /// Waits until the node's mempool holds a transaction.
    pub async fn sent(&self) -> Result<(), SimnetError> {
        until("a transaction is sent", async || Ok(!self.in_mempool().await?.is_empty())).await
    }

    /// Mines what is sent until the run observes a new settlement, and returns that.
    pub async fn settled(&mut self, run: &Arc<Run>) -> Result<ObservedSettlement, SimnetError> {
        let before = settlements(run).len();
        for _ in 0..ROUNDS_MAX {
            wait(run, self.tip()).await?;
            if let Some(settlement) = settlements(run).get(before) {
                return Ok(settlement.clone());
            }
            // The transactions of a block are accepted by the next one.
            self.sent().await?;
            self.mine(&[]).await?;
            self.mine(&[]).await?;
        }
        wait(run, self.tip()).await?;
        settlements(run)
            .get(before)
            .cloned()
            .ok_or_else(|| SimnetError::Run("no settlement is observed".into()))
    }
}

/// A user of a simnet that mines by itself.
pub struct User<'a> {
    rpc: &'a dyn RpcApi,
    user: user::User,
}

/// The user that Alice transfers to.
pub fn bob() -> Result<Wallet, SimnetError> {
    Ok(Wallet::new(BOB)?)
}

impl<'a> User<'a> {
    /// Alice, on the node behind the connection.
    pub fn alice(rpc: &'a dyn RpcApi, covenant: Digest) -> Result<Self, SimnetError> {
        let lane = SubnetworkId::from_namespace(NAMESPACE);
        Ok(Self { rpc, user: user::User { params: scenario::params(), key: key(ALICE)?, lane, covenant } })
    }

    /// The user's ledger account.
    pub fn account(&self) -> ResourceId {
        names::account(&self.user.key.script())
    }

    /// Sends a lane transaction, waits until a block accepts it, and returns its id.
    pub async fn act(&self, payload: Payload, outputs: Vec<TransactionOutput>) -> Result<Hash, SimnetError> {
        let (rpc, user) = (self.rpc, &self.user);
        let network = rpc.get_server_info().await?.network_id;
        let pending = user::pending(rpc, user, network).await.map_err(UserError::from)?;
        let coins = user::spendable(rpc, user, network, &pending).await.map_err(UserError::from)?;
        let funding = Funding { coins: &coins, fees: Fees { feerate: coin::FEERATE_MIN, fee_max: FEE_MAX } };
        let pair = user.build(&payload.encode(), &outputs, funding, pending.last.as_ref())?;
        user::send_pair(rpc, &pair).await?;
        let accepted = async || {
            let at = user::accepted_at(rpc, &user.key, network, &pair).await.map_err(UserError::from)?;
            Ok(at.is_some())
        };
        until("a block accepts the transaction", accepted).await?;
        Ok(pair.acting.transaction.id())
    }
}

impl Builder {
    /// The address of its node.
    pub fn url(&self) -> &str {
        self.node.url()
    }

    /// Mines a block for each of `bodies` on what it knows.
    pub async fn mine(&mut self, bodies: &[&[Transaction]]) -> Result<Vec<Hash>, SimnetError> {
        let mut blocks = vec![];
        for body in bodies {
            self.height += 1;
            let at = timestamp_ms(self.height);
            blocks.push(miner::mine(self.rpc.as_ref(), &self.miner.address(), body, at).await?);
        }
        Ok(blocks)
    }

    /// Copies blocks of the simnet that this node does not have.
    pub async fn copy(&mut self, simnet: &Simnet, blocks: &[Hash]) -> Result<(), SimnetError> {
        miner::copy(simnet.rpc(), self.rpc.as_ref(), blocks).await?;
        self.height = self.height.max(simnet.height);
        Ok(())
    }
}

fn timestamp_ms(height: u64) -> u64 {
    SIMNET_PARAMS.genesis.timestamp + height * 100
}
