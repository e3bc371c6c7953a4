//! The chain of the shipped recording: two forks, and a flip back, on three real nodes.
//!
//! Builders MA and MB share a common chain and then build a fork each, without knowing of one another: a node
//! that knows both forks would merge them. The observer O gets their blocks by copy, in an order that makes its
//! canonical chain A1…A5, then B1…B7, then A1…A8 and on: the recording is what O says.
//!
//! A block's transactions are accepted by the chain block that merges it, here the next. Keys, timestamps and
//! signatures are fixed, so blocks, hashes and the file are the same on every run.
//!
//! | accepted by | transactions |
//! |---|---|
//! | C2 | deposits: 30 to Alice, 20 to Bob |
//! | C4 | deposit: 10 to Carol |
//! | A1 and B1 | Alice to Bob 5; the blocks are siblings with one context, so the whole batch is one statement |
//! | A2 and B2 | Carol pays Bob and Dave in one list of 128 steps: worth a proof of its own, which both forks use |
//! | A3 | Bob to Carol 8; Carol to Alice 3 (conflicts); deposit: 4 to Dave (does not); Alice overdraws (conflicts) |
//! | A5 | Bob exits 6, to his own key |
//! | B4 | the same Bob to Carol 8, over the same accounts; Alice to Dave 7, with a deadline |
//! | A7 | Dave to Alice 2; a malformed payload of Carol's |

use std::sync::Arc;

use kaspa_consensus_core::config::params::{Params, SIMNET_PARAMS};
use kaspa_consensus_core::subnets::SubnetworkId;
use kaspa_consensus_core::tx::{Transaction, TransactionOutput};
use kaspa_hashes::Hash;
use kaspa_rpc_core::api::rpc::RpcApi;
use reprise_chain::recording::{Lane, Recording};
use reprise_kaspa::client::Client;
use reprise_kaspa::follower::{FollowError, Follower};
use reprise_kaspa::node_chain::Chain;
use reprise_kaspa::{block_hash, digest, names};
use reprise_ledger::{Action, Payload, STEPS_MAX, Step};
use reprise_model::block::ChainBlock;
use reprise_model::digest::{BlockHash, Digest, ResourceId};
use reprise_model::exit::ScriptClass;

use crate::miner::{self, MineError};
use crate::node::{Node, NodeError};
use crate::wallet::{self, Coin, Wallet, WalletError};

/// The lane's namespace.
pub const NAMESPACE: [u8; 4] = *b"rpri";

/// Sompi in one kaspa.
const KASPA: u64 = 100_000_000;

/// Blocks between a coinbase and its spending; simnet's own is 1,000.
const MATURITY: u64 = 10;

/// Rounds of the funding chain, in each of which every actor mines a block.
const ROUNDS: u64 = 6;

/// The DAA score up to which Alice's transfer to Dave is to take effect: past the end of the chain.
const DEADLINE: u64 = 1_000;

/// Blocks of the funding chain: the rounds, those that mature the last coins, and the covenant's two.
const FUNDING: usize = (ROUNDS * 5 + MATURITY + 2) as usize;

/// Recorded blocks before the fork.
const COMMON: usize = 6;
/// Blocks of A that the observer sees first.
pub const A_FIRST: usize = 5;
/// Blocks of B that overtake them.
pub const B_FLIP: usize = 6;
/// All blocks of B.
const B_LEN: usize = 7;
/// Blocks of A that overtake all of B.
const A_FLIP: usize = 8;
/// All blocks of A.
const A_LEN: usize = 18;

/// Why there is no recording.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// A node did not start.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A transaction was not made.
    #[error(transparent)]
    Wallet(#[from] WalletError),
    /// A block was not made.
    #[error(transparent)]
    Mine(#[from] MineError),
    /// The observer could not be followed.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// The covenant was not founded.
    #[error("the builder did not accept the founding of the covenant {covenant}")]
    Covenant {
        /// Its id.
        covenant: Digest,
    },
    /// The observer saw something else than the scenario plans.
    #[error("the observer saw reorgs of {found:?} blocks where {planned:?} are planned")]
    Reorgs {
        /// What it saw.
        found: Vec<usize>,
        /// What is planned.
        planned: Vec<usize>,
    },
}

/// A builder or the observer.
pub struct Party {
    /// A connection to its node.
    pub rpc: Client,
    /// Its node.
    pub node: Node,
}

impl Party {
    async fn start(params: &Params) -> Result<Self, NodeError> {
        let (node, rpc) = Node::start(params).await?;
        Ok(Self { rpc, node })
    }

    /// The node's side of the connection.
    pub fn rpc(&self) -> &dyn RpcApi {
        self.rpc.as_ref()
    }
}

/// The wallets of the scenario.
struct Actors {
    alice: Wallet,
    bob: Wallet,
    carol: Wallet,
    dave: Wallet,
    miner_a: Wallet,
    miner_b: Wallet,
}

impl Actors {
    fn new() -> Result<Self, WalletError> {
        Ok(Self {
            alice: Wallet::new(1)?,
            bob: Wallet::new(2)?,
            carol: Wallet::new(3)?,
            dave: Wallet::new(4)?,
            miner_a: Wallet::new(11)?,
            miner_b: Wallet::new(12)?,
        })
    }
}

/// The lane transactions, each paid by a coin of the funding chain, so that each is valid on both forks.
struct Cast {
    deposit_alice: Transaction,
    deposit_bob: Transaction,
    deposit_carol: Transaction,
    alice_to_bob: Transaction,
    bob_to_carol: Transaction,
    carol_pays: Transaction,
    carol_to_alice: Transaction,
    deposit_dave: Transaction,
    alice_overdraws: Transaction,
    bob_exits: Transaction,
    alice_to_dave: Transaction,
    dave_to_alice: Transaction,
    malformed: Transaction,
}

/// An actor with the coins it has left, oldest last.
struct Spender<'a> {
    params: &'a Params,
    covenant: Digest,
    wallet: Wallet,
    coins: Vec<Coin>,
}

impl<'a> Spender<'a> {
    async fn open(
        rpc: &dyn RpcApi,
        params: &'a Params,
        covenant: Digest,
        wallet: Wallet,
    ) -> Result<Self, WalletError> {
        let mut coins = wallet.coins(rpc, params).await?;
        coins.reverse();
        Ok(Self { params, covenant, wallet, coins })
    }

    fn send(&mut self, outputs: Vec<TransactionOutput>, message: &[u8]) -> Result<Transaction, WalletError> {
        let coin = self.coins.pop().ok_or(WalletError::NoCoins)?;
        let lane = SubnetworkId::from_namespace(NAMESPACE);
        self.wallet.transaction(self.params, lane, &coin, outputs, coin.payload(&self.covenant, message)?)
    }

    fn deposit(&mut self, kaspa: u64) -> Result<Transaction, WalletError> {
        let counterparty = self.wallet.account();
        let payload = Payload::one(Action::Deposit, 0, 0, counterparty);
        let output = TransactionOutput::new(kaspa * KASPA, wallet::deposit_script()?);
        self.send(vec![output], &payload.encode())
    }

    fn act(
        &mut self,
        action: Action,
        nonce: u64,
        kaspa: u64,
        to: ResourceId,
    ) -> Result<Transaction, WalletError> {
        self.list(Payload::one(action, nonce, kaspa * KASPA, to))
    }

    fn list(&mut self, payload: Payload) -> Result<Transaction, WalletError> {
        self.send(vec![], &payload.encode())
    }

    /// To the actor's own public key.
    fn exit(&mut self, nonce: u64, kaspa: u64) -> Result<Transaction, WalletError> {
        let key = ResourceId(self.wallet.public_key());
        self.act(Action::Exit(ScriptClass::PublicKey), nonce, kaspa, key)
    }
}

impl Cast {
    async fn new(
        rpc: &dyn RpcApi,
        params: &Params,
        covenant: Digest,
        actors: &Actors,
    ) -> Result<Self, WalletError> {
        let mut alice = Spender::open(rpc, params, covenant, actors.alice).await?;
        let mut bob = Spender::open(rpc, params, covenant, actors.bob).await?;
        let mut carol = Spender::open(rpc, params, covenant, actors.carol).await?;
        let mut dave = Spender::open(rpc, params, covenant, actors.dave).await?;
        let [to_alice, to_bob, to_carol, to_dave] =
            [actors.alice, actors.bob, actors.carol, actors.dave].map(|wallet| wallet.account());
        let paid = |at: usize| {
            let counterparty = [to_bob, to_dave][at % 2];
            Step { action: Action::Transfer, amount: KASPA / 100, counterparty }
        };
        let paid = (0..STEPS_MAX).map(paid).collect();
        let to_dave_in_time = Step { action: Action::Transfer, amount: 7 * KASPA, counterparty: to_dave };
        Ok(Self {
            deposit_alice: alice.deposit(30)?,
            deposit_bob: bob.deposit(20)?,
            deposit_carol: carol.deposit(10)?,
            alice_to_bob: alice.act(Action::Transfer, 0, 5, to_bob)?,
            bob_to_carol: bob.act(Action::Transfer, 0, 8, to_carol)?,
            carol_pays: carol.list(Payload { nonce: 0, deadline: 0, steps: paid })?,
            carol_to_alice: carol.act(Action::Transfer, 1, 3, to_alice)?,
            deposit_dave: dave.deposit(4)?,
            alice_overdraws: alice.act(Action::Transfer, 1, 1_000, to_bob)?,
            bob_exits: bob.exit(1, 6)?,
            alice_to_dave: alice.list(Payload {
                nonce: 1,
                deadline: DEADLINE,
                steps: vec![to_dave_in_time],
            })?,
            dave_to_alice: dave.act(Action::Transfer, 0, 2, to_alice)?,
            malformed: carol.send(vec![], b"not a payload of the ledger")?,
        })
    }

    /// What the bodies of the common blocks, of A's and of B's carry.
    fn bodies(&self) -> [Vec<Vec<Transaction>>; 3] {
        let mut common = vec![vec![]; COMMON];
        let (mut a, mut b) = (vec![vec![]; A_LEN], vec![vec![]; B_LEN]);
        common[0] = vec![self.deposit_alice.clone(), self.deposit_bob.clone()];
        common[2] = vec![self.deposit_carol.clone()];
        common[5] = vec![self.alice_to_bob.clone()];
        a[0] = vec![self.carol_pays.clone()];
        a[1] = vec![
            self.bob_to_carol.clone(),
            self.carol_to_alice.clone(),
            self.deposit_dave.clone(),
            self.alice_overdraws.clone(),
        ];
        a[3] = vec![self.bob_exits.clone()];
        a[5] = vec![self.dave_to_alice.clone(), self.malformed.clone()];
        b[0] = vec![self.carol_pays.clone()];
        b[2] = vec![self.bob_to_carol.clone(), self.alice_to_dave.clone()];
        [common, a, b]
    }
}

/// A builder's chain.
struct Builder<'a> {
    party: &'a Party,
    miner: Wallet,
    /// The height of the next block.
    height: u64,
}

impl Builder<'_> {
    /// One block for each of `bodies`, a tenth of a second apart.
    async fn build(&mut self, bodies: &[Vec<Transaction>]) -> Result<Vec<Hash>, MineError> {
        let mut blocks = vec![];
        for body in bodies {
            let timestamp_ms = SIMNET_PARAMS.genesis.timestamp + self.height * 100;
            blocks.push(miner::mine(self.party.rpc(), &self.miner.address(), body, timestamp_ms).await?);
            self.height += 1;
        }
        Ok(blocks)
    }
}

/// The parameters of the three nodes: simnet's, with coins that mature soon.
pub fn params() -> Params {
    let mut params = SIMNET_PARAMS;
    params.blockrate.coinbase_maturity = MATURITY;
    params
}

/// A fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// The one that the observer sees first.
    A,
    /// The other.
    B,
}

/// Three nodes: two builders with a fork each, and an observer that knows nothing above the root yet.
pub struct Stage {
    params: Params,
    ma: Party,
    mb: Party,
    /// The one that is followed.
    pub observer: Party,
    miners: [Wallet; 2],
    /// The last block of the funding chain.
    pub root: BlockHash,
    /// The lane, with the covenant that the funding chain founded.
    pub lane: Lane,
    /// The blocks that both forks build on.
    pub common: Vec<Hash>,
    forks: [Vec<Hash>; 2],
}

impl Stage {
    /// Starts the nodes and builds both forks. `progress` is called with each stage.
    pub async fn set(progress: &mut dyn FnMut(&str)) -> Result<Self, ScenarioError> {
        let params = params();
        progress("three nodes: two builders and the observer");
        let start = || Party::start(&params);
        let (ma, mb, observer) = tokio::try_join!(start(), start(), start())?;
        let actors = Actors::new()?;

        progress("the funding chain");
        let mut builder_a = Builder { party: &ma, miner: actors.miner_a, height: 1 };
        let (funding, covenant) = fund(&mut builder_a, &actors, &params).await?;
        let cast = Cast::new(ma.rpc(), &params, digest(covenant), &actors).await?;
        let [common, a, b] = cast.bodies();

        progress("the common chain and both forks");
        let common = builder_a.build(&common).await?;
        for blocks in [&funding, &common] {
            miner::copy(ma.rpc(), mb.rpc(), blocks).await?;
        }
        let mut builder_b = Builder { party: &mb, miner: actors.miner_b, height: builder_a.height };
        let forks = [builder_a.build(&a).await?, builder_b.build(&b).await?];
        miner::copy(ma.rpc(), observer.rpc(), &funding).await?;
        let deposit = names::account(&wallet::deposit_script()?);
        let subnetwork = SubnetworkId::from_namespace(NAMESPACE).into_bytes();
        let lane = names::lane(subnetwork, digest(covenant), deposit);
        let root = funding.last().copied().map(block_hash).unwrap_or_default();
        let miners = [actors.miner_a, actors.miner_b];
        Ok(Self { params, ma, mb, observer, miners, root, lane, common, forks })
    }

    /// The parameters of the nodes.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The builder of a fork.
    pub fn builder(&self, fork: Fork) -> &dyn RpcApi {
        match fork {
            Fork::A => self.ma.rpc(),
            Fork::B => self.mb.rpc(),
        }
    }

    /// The blocks of a fork.
    pub fn blocks(&self, fork: Fork) -> &[Hash] {
        &self.forks[fork as usize]
    }

    /// Shows blocks of a builder to the observer.
    pub async fn show(&self, fork: Fork, blocks: &[Hash]) -> Result<(), MineError> {
        miner::copy(self.builder(fork), self.observer.rpc(), blocks).await
    }

    /// Adds a block to a fork.
    pub async fn extend(&mut self, fork: Fork, body: &[Transaction]) -> Result<Hash, MineError> {
        let party = if fork == Fork::A { &self.ma } else { &self.mb };
        let built = FUNDING + self.common.len() + self.blocks(fork).len();
        let mut builder = Builder { party, miner: self.miners[fork as usize], height: built as u64 + 1 };
        let blocks = builder.build(&[body.to_vec()]).await?;
        self.forks[fork as usize].extend(&blocks);
        Ok(blocks[0])
    }
}

/// Makes the recording. `progress` is called with each stage.
pub async fn make(progress: &mut dyn FnMut(&str)) -> Result<Recording, ScenarioError> {
    let stage = Stage::set(progress).await?;
    progress("the observer sees A, flips to B, and flips back to A");
    let chain = stage.observer.rpc.rpc();
    let mut follower = Follower::start(&chain, stage.lane.clone(), Some(stage.root), 0).await?;
    let mut events = vec![];
    // Every slice is copied whole before the observer is asked: at equal work it chooses by hash.
    let single = |blocks: &'_ [Hash]| blocks.iter().map(|block| vec![*block]).collect::<Vec<_>>();
    let (a, b) = (stage.blocks(Fork::A), stage.blocks(Fork::B));
    let stages: [(Fork, Vec<Vec<Hash>>); 6] = [
        (Fork::A, single(&stage.common)),
        (Fork::A, single(&a[..A_FIRST])),
        (Fork::B, vec![b[..B_FLIP].to_vec()]),
        (Fork::B, single(&b[B_FLIP..])),
        (Fork::A, vec![a[A_FIRST..A_FLIP].to_vec()]),
        (Fork::A, single(&a[A_FLIP..])),
    ];
    for (fork, slices) in stages {
        for slice in slices {
            stage.show(fork, &slice).await?;
            let mut event = follower.advance(&chain).await?;
            for block in event.iter_mut().flat_map(|event| &mut event.added) {
                prove_lane(&chain, &stage.lane.key, block).await?;
            }
            events.extend(event);
        }
    }
    let recording = Recording { events, ..follower.head().clone() };
    let found: Vec<_> =
        recording.events.iter().map(|event| event.removed.len()).filter(|removed| *removed > 0).collect();
    let planned = vec![A_FIRST, B_LEN];
    if found != planned {
        return Err(ScenarioError::Reorgs { found, planned });
    }
    Ok(recording)
}

/// Asks for the lane proof that a follower did without: a recording has one of every block.
async fn prove_lane(
    chain: &Arc<dyn RpcApi>,
    lane: &Digest,
    block: &mut ChainBlock,
) -> Result<(), FollowError> {
    if block.lane_proof.is_none() {
        let proof = Chain::lane_proof(chain, block.metadata.block_hash, *lane).await?;
        block.lane_proof = Some(proof.ok_or(FollowError::Unstable)?.encode());
    }
    Ok(())
}

/// The chain before the recorded one: coins for every actor, a covenant, and blocks until all of it is mature.
async fn fund(
    builder: &mut Builder<'_>,
    actors: &Actors,
    params: &Params,
) -> Result<(Vec<Hash>, Hash), ScenarioError> {
    let miner = builder.miner;
    let mut blocks = vec![];
    for _ in 0..ROUNDS {
        for actor in [actors.alice, actors.bob, actors.carol, actors.dave, miner] {
            builder.miner = actor;
            blocks.extend(builder.build(&[vec![]]).await?);
        }
    }
    builder.miner = miner;
    blocks.extend(builder.build(&vec![vec![]; MATURITY as usize]).await?);
    let coins = miner.coins(builder.party.rpc(), params).await?;
    let coin = coins.first().ok_or(WalletError::NoCoins)?;
    let script = names::locked_script(b"reprise covenant").map_err(WalletError::from)?;
    let (founding, covenant) = miner.covenant(params, coin, KASPA * 2, script.clone())?;
    blocks.extend(builder.build(&[vec![founding], vec![]]).await?);
    match wallet::covenants(builder.party.rpc(), &script).await?.contains(&covenant) {
        true => Ok((blocks, covenant)),
        false => Err(ScenarioError::Covenant { covenant: digest(covenant) }),
    }
}
