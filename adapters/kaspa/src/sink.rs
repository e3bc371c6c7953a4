//! The settlement sink: a thread that builds each settlement as a transaction of the covenant and sends it to the node.
//!
//! # Submissions
//!
//! The settler submits the oldest unsettled bundle at every new tip, until the chain shows that it settled. So the thread
//! keeps only the last transaction, the last failed job, which it tries again after a while, and the outcome of the last
//! try, which is the answer to a submission.
//!
//! | the last transaction | a new submission |
//! |---|---|
//! | waits in the mempool, for the same statement, or moves the covenant into its first state | does nothing; after `BUMP_AFTER` replaces it for a higher fee, up to the bound; at the bound it waits on, and that is the refusal |
//! | waits in the mempool, for another statement (a reorg formed the bundle again) | replaces it for a higher fee |
//! | left the mempool and was not accepted | builds and sends a new one |
//!
//! A transaction that an earlier process or somebody else sent, and that spends the covenant's output in the mempool, is taken for
//! the last one: what waits for long pays too little, whoever sent it (`bid`). So it is with all that the key sends. Where a settlement's
//! coins are in another transaction of the key's that has waited for long, and can be done without for a while (it pays exits, merges
//! coins or keeps the lane active), the settlement takes its place.
//!
//! Only a chain event says that a bundle settled.
//!
//! # The covenant's output
//!
//! The output is found by its script, which the state before the settlement determines. Where the node has no such output,
//! the covenant is in another state: a competitor moved it, or a reorg moved it back. Either comes as a chain event, and
//! the next submission is another one.
//!
//! A founded covenant is in its founder's key, which could move it elsewhere, and take every deposit. So a sink with that key moves it into
//! its first state as soon as nothing is to be sent, and at the latest with the first submission. In advance it does so only where the
//! chain is followed from the block that accepted the founding: any other first state would leave out what the lane accepted.
//!
//! # Fees
//!
//! Whoever sends transactions of the lane makes bundles, and each bundle is a settlement. So what settlements cost a day is
//! [bounded](crate::allowance). Where it is used up they wait, the oldest first, until enough has grown back. Nothing is lost by that: what
//! waits for too long is anchored in a later block, together with what comes after it.
//!
//! # Exits
//!
//! An [`ExitPayer`] pays the claims that settlements leave, whoever sent those settlements.
//!
//! # Two sinks
//!
//! A fake seal must not reach a covenant that moves value. [`KaspaSink`] takes real receipts. [`UnprovenKaspaSink`], for
//! mocked ones, is made only with an [`OwnNetwork`].

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use kaspa_addresses::Prefix;
use kaspa_consensus_core::Hash;
use kaspa_consensus_core::config::params::Params;
use kaspa_consensus_core::network::NetworkId;
use kaspa_consensus_core::subnets::SUBNETWORK_ID_NATIVE;
use kaspa_consensus_core::tx::ScriptPublicKey;
use kaspa_rpc_core::api::rpc::RpcApi;
use kaspa_txscript::script_builder::ScriptBuilder;
use reprise_chain::recording::Lane;
use reprise_disk::data_dir::LockedPath;
use reprise_model::artifact::SettlementArtifact;
use reprise_model::block::ObservedSettlement;
use reprise_model::digest::{BlockHash, Digest, StatementId};
use reprise_model::exit::Exit;
use reprise_model::receipt::{RealReceipt, Receipt, Verified};
use reprise_settler::{Cause, SettleError, SettlementSink, Taken, UnpaidExits, UnprovenSink};

use crate::allowance::Allowance;
use crate::bid::Bid;
use crate::claim;
use crate::client::{self, Client, ClientError, RETRY_AFTER, Unanswered, unanswered};
use crate::coin::{Coin, Fees, Funding};
use crate::conflict::Conflict;
use crate::covenant::{NotOwnError, OwnNetwork, Proof, SealReader, State};
use crate::digest;
use crate::exit_payer::{ExitPayer, PayError, PaymentContext, ShortError, SpentError};
use crate::keep_alive::{KeepAlive, KeepAliveError};
use crate::key::Key;
use crate::names::UnknownNetworkError;
use crate::settlement::{BuildError, Completed, Selected, Settling};
use crate::utxos::{self, FeePriority, Pending, UtxoError, feerate, pending, send, unspent};
use crate::wallet::Wallet;

/// How often a failed job is tried, until it is submitted again.
const TRIES_MAX: u32 = 30;

/// After how many tries a node that sees another chain is asked over another connection.
const OTHER_NODE_AFTER: u32 = 5;

/// How many submissions may wait. Only the last counts, and one that does not fit is submitted again at the next tip.
const JOBS_MAX: usize = 8;

const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How long an error may last before it is told, of what is done beside settling: most pass by themselves.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often coins are looked at to be merged.
const MERGE_EVERY: Duration = Duration::from_secs(60);

/// How often the covenant is looked for in the key: a reorg can bring it back there.
const ENTER_EVERY: Duration = Duration::from_secs(10);

/// Why a settlement was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ClientError),
    /// The node did not answer, or refused.
    #[error(transparent)]
    Node(#[from] Unanswered),
    /// The node does not answer.
    #[error("the node did not answer within {ANSWER_WITHIN:?}")]
    Silent,
    /// The node is of another network.
    #[error("the node is on {found}, but the covenant is on {expected}")]
    Network {
        /// The node's network.
        found: NetworkId,
        /// The covenant's.
        expected: NetworkId,
    },
    /// A network without known rules.
    #[error(transparent)]
    Unknown(#[from] UnknownNetworkError),
    /// A covenant without a proof on a public network.
    #[error(transparent)]
    NotOwn(#[from] NotOwnError),
    /// The covenant is in another state.
    #[error(
        "the covenant is not in the state that the settlement continues: somebody else settled, or a reorg moved \
         it, or it is not founded, or it demands another proof (--covenant-proof)"
    )]
    Elsewhere,
    /// The block is orphaned.
    #[error("{block} is not on the node's selected chain")]
    Orphaned {
        /// The block.
        block: BlockHash,
    },
    /// The block lies too deep.
    #[error("{block} lies {below} blue scores below the node's tip, and a transaction can ask for {depth}")]
    TooDeep {
        /// The block.
        block: BlockHash,
        /// How far it lies below the tip.
        below: u64,
        /// The finality depth.
        depth: u64,
    },
    /// There is no transaction.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The exits cannot be paid.
    #[error(transparent)]
    Short(#[from] ShortError),
    /// Exits wait for the next day.
    #[error(transparent)]
    Spent(#[from] SpentError),
    /// Settlements wait until the day's fees have grown back.
    #[error(
        "the settlement would cost {fee} sompi, and {left} are left of the {a_day} a day that this node pays for settlements \
         (--settlement-fees): it is sent once enough has grown back"
    )]
    Allowance {
        /// What it would cost: the fee, and what the covenant is given to hold.
        fee: u64,
        /// What is left.
        left: u64,
        /// The bound.
        a_day: u64,
    },
    /// The seal is not of the kind that the covenant verifies.
    #[error("the seal is not one that the covenant verifies: {reason}")]
    Seal {
        /// What is wrong with it.
        reason: String,
    },
    /// No thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// The coins cannot be listed.
    #[error(transparent)]
    Coins(UtxoError),
    /// Whether a covenant is founded is not known.
    #[error(
        "the node did not say whether it took {transaction}, which founds the covenant {covenant} ({source}): if it did, the value is in \
         that covenant; look whether a block accepts it before you found another one"
    )]
    Unsure {
        /// The covenant.
        covenant: Digest,
        /// Its founding.
        transaction: Hash,
        /// What came in place of an answer.
        source: Unanswered,
    },
    /// Exits are owed, and nobody can claim them.
    #[error(
        "exits are owed, but within {within:?} the node listed no claim to them and the chain showed no payment: whoever \
         settled without a proof left none, or the node lags"
    )]
    NoClaim {
        /// How long it was waited for.
        within: Duration,
    },
}

impl From<UtxoError> for SinkError {
    fn from(error: UtxoError) -> Self {
        match error {
            UtxoError::Node(unanswered) => Self::Node(unanswered),
            other => Self::Coins(other),
        }
    }
}

impl From<KeepAliveError> for SinkError {
    fn from(error: KeepAliveError) -> Self {
        match error {
            KeepAliveError::Node(error) => Self::Node(error),
            KeepAliveError::Coins(error) => error.into(),
            KeepAliveError::Build(error) => error.into(),
        }
    }
}

impl From<PayError> for SinkError {
    fn from(error: PayError) -> Self {
        match error {
            PayError::Coins(error) => error.into(),
            PayError::Build(error) => error.into(),
            PayError::Short(error) => error.into(),
            PayError::Spent(error) => error.into(),
        }
    }
}

impl SinkError {
    /// The cause, as the settler classifies it.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Connect(ClientError::NoIndex { .. }) => Cause::IndexOff,
            Self::Node(unanswered) if unanswered.is_index_off() => Cause::IndexOff,
            Self::Node(unanswered) if unanswered.is_too_heavy() => Cause::TooHeavy,
            Self::Node(unanswered) if unanswered.is_refusal() => Cause::NodeRefused,
            Self::Connect(_)
            | Self::Node(_)
            | Self::Silent
            | Self::Thread(_)
            | Self::NoClaim { .. }
            | Self::Unsure { .. } => Cause::NodeSilent,
            Self::Network { .. } | Self::Unknown(_) | Self::NotOwn(_) => Cause::WrongNetwork,
            Self::Elsewhere => Cause::Elsewhere,
            Self::Orphaned { .. } => Cause::Orphaned,
            Self::TooDeep { .. } => Cause::TooDeep,
            Self::Build(BuildError::InsufficientFunds { .. }) => Cause::NoCoins,
            Self::Build(BuildError::FeeTooHigh { .. }) | Self::Spent(_) | Self::Allowance { .. } => {
                Cause::FeeBound
            }
            Self::Build(BuildError::Mass | BuildError::TooHeavy { .. }) => Cause::TooHeavy,
            Self::Build(BuildError::Refused { .. } | BuildError::Script(_))
            | Self::Coins(_)
            | Self::Short(_) => Cause::ScriptRefused,
            Self::Seal { .. } => Cause::WrongSeal,
        }
    }
}

/// The part of a spending script that is the proof.
fn witness(proof: &Proof, read: SealReader, seal: &[u8]) -> Result<Vec<u8>, SinkError> {
    let refused = |reason: String| SinkError::Seal { reason };
    let mut script = ScriptBuilder::new();
    if let Some(demanded) = proof.demands() {
        let seal = read(seal).map_err(refused)?;
        if seal.kind() != demanded {
            return Err(refused(format!("it is {}, and the covenant demands {demanded}", seal.kind())));
        }
        for push in seal.pushes() {
            script.add_data(&push).map_err(BuildError::from)?;
        }
    }
    Ok(script.drain())
}

/// The key that pays for settlements.
#[derive(Debug, Clone)]
pub struct Payer {
    /// The key.
    pub key: Key,
    /// The most a transaction may pay, in sompi.
    pub fee_max: u64,
}

/// What a node pays in fees for exits a day, where nothing else is said: ten kaspa, in sompi.
pub const EXIT_FEES: u64 = 1_000_000_000;

/// What a node pays for settlements a day, where nothing else is said: fifty kaspa, in sompi. At the least fee rate that is a
/// hundred settlements under a succinct proof, one in a quarter of an hour; several thousand of what a private network settles.
pub const SETTLEMENT_FEES: u64 = 5_000_000_000;

/// How settlements are paid for and proved.
#[derive(Debug, Clone)]
pub struct SinkConfig {
    /// The node's borsh wRPC server.
    pub url: String,
    /// The prefix of addresses on the network.
    pub prefix: Prefix,
    /// The covenant, and the key that pays.
    pub settling: Settling,
    /// What the covenant demands.
    pub proof: Proof,
    /// Reads the backend's seals, where the covenant demands one.
    pub seal: SealReader,
    /// The state that the covenant is moved into once it is founded.
    pub first: State,
    /// The DAA score of the block that this state is of.
    pub first_at: u64,
    /// The most a transaction may pay, in sompi.
    pub fee_max: u64,
    /// The most that exits may cost in fees a day, in sompi.
    pub exit_fees: u64,
    /// The most that settlements may cost in fees a day, in sompi.
    pub settlement_fees: u64,
    /// Where it is kept what exits and settlements have cost of these.
    pub kept: Option<[LockedPath; 2]>,
    /// The lane, and how many blue scores its entry lasts.
    pub lane: (Lane, u64),
}

/// The outcome of the last try, and its statement.
type Verdict = Arc<Mutex<Option<(StatementId, Result<(), (Cause, String)>)>>>;

/// Since when something is not done, and why.
#[derive(Debug, Clone, Default)]
struct Lasting(Arc<Mutex<Option<(Instant, String)>>>);

impl Lasting {
    fn begin(&self, error: String) {
        let mut lasting = locked(&self.0);
        let since = lasting.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        *lasting = Some((since, error));
    }

    fn end(&self) {
        *locked(&self.0) = None;
    }

    /// The error, once it has lasted for longer than most do.
    fn told(&self) -> Option<String> {
        let error = locked(&self.0).clone();
        error.filter(|(since, _)| since.elapsed() >= PATIENCE).map(|(_, error)| error)
    }
}

/// The unpaid exits, where they changed.
type NewUnpaid = Arc<Mutex<Option<Vec<UnpaidExits>>>>;

/// A settlement to send.
struct Job {
    settlement: ObservedSettlement,
    exits: Vec<Exit>,
    seal: Vec<u8>,
}

/// A node that takes settlements.
pub struct KaspaSink {
    jobs: Option<Sender<Job>>,
    verdict: Verdict,
    new_unpaid: NewUnpaid,
    pay_error: Lasting,
    entry_error: Lasting,
    thread: Option<JoinHandle<()>>,
}

/// A [`KaspaSink`] on a private network, which takes fake seals too.
pub struct UnprovenKaspaSink(KaspaSink);

impl KaspaSink {
    /// Starts the thread.
    pub fn open(config: SinkConfig) -> Result<Self, io::Error> {
        let runtime = client::runtime()?;
        let (jobs, inbox) = bounded(JOBS_MAX);
        let settling = SettleLoop::new(config);
        let (verdict, new_unpaid) = (settling.verdict.clone(), settling.new_unpaid.clone());
        let (pay_error, entry_error) = (settling.pay_error.clone(), settling.entry_error.clone());
        let run = move || runtime.block_on(settling.run(&inbox));
        let thread = thread::Builder::new().name("kaspa settler".into()).spawn(run)?;
        Ok(Self { jobs: Some(jobs), verdict, new_unpaid, pay_error, entry_error, thread: Some(thread) })
    }

    /// The same sink on a private network, which takes fake seals too.
    pub fn into_unproven(self, _own: OwnNetwork) -> UnprovenKaspaSink {
        UnprovenKaspaSink(self)
    }

    fn keep_unpaid(&mut self, unpaid: &[&UnpaidExits]) {
        *locked(&self.new_unpaid) = Some(unpaid.iter().map(|unpaid| (*unpaid).clone()).collect());
    }

    fn take(
        &mut self,
        settlement: ObservedSettlement,
        exits: &[Exit],
        seal: &[u8],
    ) -> Result<Taken, SettleError> {
        let statement = settlement.statement;
        let refused = |(cause, said)| SettleError { statement, cause, said };
        let ended = || {
            refused((Cause::NodeSilent, "the thread that sends settlements ended: see the log above".into()))
        };
        // The outcome of the last try is the answer until the next try.
        let verdict = locked(&self.verdict).clone().filter(|(of, _)| *of == statement);
        let jobs = self.jobs.as_ref().ok_or_else(ended)?;
        match jobs.try_send(Job { settlement, exits: exits.to_vec(), seal: seal.to_vec() }) {
            Ok(()) | Err(TrySendError::Full(_)) => match verdict {
                None => Ok(Taken::Sending),
                Some((_, Ok(()))) => Ok(Taken::UnderWay),
                Some((_, Err(why))) => Err(refused(why)),
            },
            Err(TrySendError::Disconnected(_)) => Err(ended()),
        }
    }
}

impl Drop for KaspaSink {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread is in the log.
            let _ = thread.join();
        }
    }
}

impl SettlementSink for KaspaSink {
    fn submit(&mut self, settlement: SettlementArtifact<RealReceipt>) -> Result<Taken, SettleError> {
        let SettlementArtifact { end_block, journal, exits, receipt } = &settlement;
        let observed =
            ObservedSettlement { statement: receipt.id(), journal: *journal, end_block: *end_block };
        self.take(observed, exits, &receipt.seal)
    }

    fn set_unpaid(&mut self, unpaid: &[&UnpaidExits]) {
        self.keep_unpaid(unpaid);
    }

    fn exits_error(&self) -> Option<String> {
        self.pay_error.told()
    }

    fn entry_error(&self) -> Option<String> {
        self.entry_error.told()
    }
}

impl UnprovenSink for UnprovenKaspaSink {
    fn submit_unproven(
        &mut self,
        settlement: SettlementArtifact<Verified<Receipt>>,
    ) -> Result<Taken, SettleError> {
        let SettlementArtifact { end_block, journal, exits, receipt } = &settlement;
        let observed =
            ObservedSettlement { statement: receipt.id(), journal: *journal, end_block: *end_block };
        self.0.take(observed, exits, &receipt.seal)
    }

    fn set_unpaid(&mut self, unpaid: &[&UnpaidExits]) {
        self.0.keep_unpaid(unpaid);
    }

    fn exits_error(&self) -> Option<String> {
        self.0.exits_error()
    }

    fn entry_error(&self) -> Option<String> {
        self.0.entry_error()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The last transaction sent of those that spend the covenant's output, by this process or by whoever was there first.
#[derive(Debug, Clone)]
struct Sent {
    /// The statement that it settles; none where it moves the covenant into its first state.
    statement: Option<StatementId>,
    conflict: Conflict,
    /// What the next bid would have cost where that is not allowed: it waits at its bound.
    dear: Option<u64>,
}

/// The state of the thread.
struct SettleLoop {
    config: SinkConfig,
    client: Option<Client>,
    sent: Option<Sent>,
    verdict: Verdict,
    /// When the covenant was looked for in the key.
    looked_for_founded: Option<Instant>,
    entry_error: Lasting,
    exit_payer: ExitPayer,
    /// What settlements may cost.
    allowance: Allowance,
    keep_alive: KeepAlive,
    wallet: Wallet,
    merged: Option<Instant>,
    new_unpaid: NewUnpaid,
    pay_error: Lasting,
}

impl SettleLoop {
    fn new(config: SinkConfig) -> Self {
        let (lane, expires_after) = config.lane.clone();
        let a_day = [config.exit_fees, config.settlement_fees];
        let [exits, allowance] = match config.kept.clone() {
            Some([exits, settlements]) => {
                [Allowance::kept(a_day[0], exits), Allowance::kept(a_day[1], settlements)]
            }
            None => a_day.map(|a_day| Allowance::of(a_day, Instant::now())),
        };
        Self {
            keep_alive: KeepAlive::new(lane, expires_after),
            exit_payer: ExitPayer::within(exits),
            allowance,
            config,
            client: None,
            sent: None,
            verdict: Verdict::default(),
            looked_for_founded: None,
            entry_error: Lasting::default(),
            wallet: Wallet::default(),
            merged: None,
            new_unpaid: NewUnpaid::default(),
            pay_error: Lasting::default(),
        }
    }

    async fn run(mut self, inbox: &Receiver<Job>) {
        // A wrong address or network is reported at the start, not when the first proof is ready.
        if let Err(error) = self.connected().await {
            tracing::error!("settlements cannot be sent: {error}");
        }
        let (mut again, mut last, mut tries) = (None, None, 0);
        // Blocking is fine here: the connection's tasks run on another thread.
        loop {
            let job = match next(inbox, again.take()) {
                Next::Job(job) => job,
                Next::Nothing => {
                    self.enter_in_advance().await;
                    self.pay().await;
                    self.keep_alive().await;
                    self.merge_coins().await;
                    self.raise_own().await;
                    continue;
                }
                Next::Over => break,
            };
            let statement = job.settlement.statement;
            let outcome = answered(self.settle(&job)).await;
            self.tell(statement, &outcome);
            match outcome {
                Ok(Some(transaction)) => {
                    tracing::info!(%statement, "sent as {transaction}");
                }
                Ok(None) => {}
                Err(error) => {
                    match &error {
                        // Mostly the settlement was just accepted, and the chain event follows.
                        SinkError::Elsewhere => {
                            tracing::debug!(%statement, "the settlement was not sent: {error}")
                        }
                        _ => tracing::warn!(%statement, "the settlement could not be sent: {error}"),
                    }
                    self.drop_silent_connection(&error);
                    // Bounded: the chain may have moved on.
                    tries = if last == Some(statement) { tries + 1 } else { 1 };
                    if matches!(error, SinkError::Elsewhere | SinkError::Orphaned { .. })
                        && tries % OTHER_NODE_AFTER == 0
                    {
                        // One address may lead to several nodes, and this one lag behind.
                        self.client = None;
                    }
                    last = Some(statement);
                    again = (tries < TRIES_MAX).then_some(*job);
                }
            }
            self.pay().await;
            self.keep_alive().await;
            self.raise_own().await;
        }
    }

    /// The outcome of a try is the answer to the next submission.
    fn tell(&self, statement: StatementId, outcome: &Result<Option<Hash>, SinkError>) {
        let verdict = outcome.as_ref().map(drop).map_err(|error| (error.cause(), error.to_string()));
        *locked(&self.verdict) = Some((statement, verdict));
    }

    /// Moves the covenant into its first state in advance, where it is in the key.
    async fn enter_in_advance(&mut self) {
        if self.looked_for_founded.is_some_and(|looked| looked.elapsed() < ENTER_EVERY) {
            return;
        }
        self.looked_for_founded = Some(Instant::now());
        if let Err(error) = answered(self.look_for_founded()).await {
            self.drop_silent_connection(&error);
            tracing::debug!("the covenant was not looked for in the key: {error}");
        }
    }

    /// Pays the next exit, where one is unpaid.
    async fn pay(&mut self) {
        if let Some(unpaid) = locked(&self.new_unpaid).take() {
            self.exit_payer.set_unpaid(unpaid);
        }
        if self.exit_payer.is_idle() {
            self.pay_error.end();
            return;
        }
        match answered(self.pay_next()).await {
            Ok(Some(transaction)) => tracing::info!("an exit is being paid by {transaction}"),
            Ok(None) => {}
            Err(error) => {
                self.drop_silent_connection(&error);
                return self.pay_error.begin(error.to_string());
            }
        }
        self.pay_error.end();
    }

    /// Keeps the lane active, where it is time to.
    async fn keep_alive(&mut self) {
        if !self.keep_alive.is_due() {
            return;
        }
        self.keep_alive.looked();
        match answered(self.look_at_lane()).await {
            Ok(Some(transaction)) => tracing::info!("the lane is kept active by {transaction}"),
            Ok(None) => {}
            Err(error) => {
                self.drop_silent_connection(&error);
                tracing::warn!("the lane could not be looked at, to keep it active: {error}");
            }
        }
    }

    /// Merges coins, where there is nothing else to do and they are many.
    async fn merge_coins(&mut self) {
        if self.merged.is_some_and(|merged| merged.elapsed() < MERGE_EVERY) {
            return;
        }
        match answered(self.merge_next()).await {
            Ok(Some(transaction)) => {
                tracing::info!("small coins are merged by {transaction}");
                // There may be more.
                self.merged = None;
            }
            Ok(None) => {}
            Err(error) => {
                self.drop_silent_connection(&error);
                self.merged = Some(Instant::now());
                tracing::debug!("coins are not merged: {error}");
            }
        }
    }

    /// Raises the fee of what the key pays to itself, where that has waited for long.
    async fn raise_own(&mut self) {
        if !self.wallet.is_in_use() {
            return;
        }
        let raised = async {
            let client = self.connected().await?;
            self.raise_next(client.as_ref()).await
        };
        match answered(raised).await {
            Ok(Some(transaction)) => {
                tracing::info!("coins are merged, or the lane is kept active, by {transaction} for more")
            }
            Ok(None) => {}
            Err(error) => {
                self.drop_silent_connection(&error);
                tracing::debug!("the fee of what the key pays to itself is not raised: {error}");
            }
        }
    }

    async fn look_for_founded(&mut self) -> Result<(), SinkError> {
        let client = self.connected().await?;
        let rpc: &dyn RpcApi = client.as_ref();
        let Some(founded) = self.founded(rpc).await? else {
            self.entry_error.end();
            return Ok(());
        };
        let waiting = self.waiting(rpc).await;
        if waiting.as_ref().is_some_and(|sent| sent.statement.is_some() || sent.conflict.is_fresh()) {
            return Ok(());
        }
        if founded.entry.block_daa_score != self.config.first_at {
            self.entry_error.begin(
                "the chain is followed from another block than the one that accepted its founding".into(),
            );
            return Ok(());
        }
        if let Err(error) = self.enter(rpc, founded, waiting).await {
            self.drop_silent_connection(&error);
            self.entry_error.begin(error.to_string());
        }
        Ok(())
    }

    async fn merge_next(&mut self) -> Result<Option<Hash>, SinkError> {
        let client = self.connected().await?;
        let rpc: &dyn RpcApi = client.as_ref();
        let settling = &self.config.settling;
        let coins = self.wallet.coins(rpc, &settling.params, &settling.key, None).await?;
        // What is on its way is accepted soon, and then there is time.
        if self.wallet.is_in_use() {
            return Ok(None);
        }
        self.merged = Some(Instant::now());
        let fee_max = self.config.fee_max.min(self.allowance.left(Instant::now()));
        let fees = Fees { feerate: feerate(rpc, FeePriority::Low).await?, fee_max };
        let Some(completed) = settling.merge_small(&coins, fees)? else { return Ok(None) };
        let id = send(rpc, &completed.transaction).await?;
        self.wallet.sent(id, &completed.transaction);
        self.allowance.take((id, completed.cost()), None, Instant::now());
        Ok(Some(id))
    }

    /// Raises the fee of one of the transactions that merge coins or keep the lane active. They are in no hurry: it is raised where the
    /// node's estimate is above it by now.
    async fn raise_next(&mut self, rpc: &dyn RpcApi) -> Result<Option<Hash>, SinkError> {
        let Self { config: SinkConfig { settling, fee_max, .. }, wallet, allowance, .. } = self;
        for (conflict, transaction) in wallet.own(rpc, &settling.params, |it| settling.pays_itself(it)).await
        {
            let is_merge = transaction.subnetwork_id == SUBNETWORK_ID_NATIVE;
            let priority = if is_merge { FeePriority::Low } else { FeePriority::Normal };
            if conflict.is_fresh() || feerate(rpc, priority).await? <= conflict.feerate {
                continue;
            }
            let fee_max = (*fee_max).min(allowance.left_for(Some(conflict.id), Instant::now()));
            let mut bid =
                Bid::with_priority(rpc, wallet, settling, (priority, fee_max), Some(conflict.clone()))
                    .await?;
            bid.coins.retain(|coin| conflict.spends(&coin.outpoint));
            let again = bid.build(|Funding { coins, fees }| settling.again(&transaction, coins, fees));
            let (completed, feerate) = again?;
            let (sent, replaced) = bid.submit(rpc, wallet, (&completed.transaction, feerate)).await?;
            allowance.take((sent.id, completed.cost()), replaced, Instant::now());
            return Ok(Some(sent.id));
        }
        Ok(None)
    }

    async fn look_at_lane(&mut self) -> Result<Option<Hash>, SinkError> {
        let client = self.connected().await?;
        let SinkConfig { settling, fee_max, .. } = &self.config;
        let fee_max = (*fee_max).min(self.allowance.left(Instant::now()));
        let sent = self.keep_alive.step(client.as_ref(), settling, fee_max, &mut self.wallet).await?;
        if let Some(sent) = sent {
            self.allowance.take(sent, None, Instant::now());
        }
        Ok(sent.map(|(id, _)| id))
    }

    async fn pay_next(&mut self) -> Result<Option<Hash>, SinkError> {
        let client = self.connected().await?;
        let SinkConfig { settling, prefix, fee_max, .. } = &self.config;
        let context = PaymentContext { settling, prefix: *prefix, fee_max: *fee_max };
        let sent = self.exit_payer.step(client.as_ref(), context, &mut self.wallet).await;
        Ok(sent?)
    }

    /// Drops the connection where the node did not answer.
    fn drop_silent_connection(&mut self, error: &SinkError) {
        if matches!(error, SinkError::Node(_) | SinkError::Silent) {
            self.client = None;
        }
    }

    async fn connected(&mut self) -> Result<Client, SinkError> {
        match &self.client {
            Some(client) if client.is_connected() => Ok(client.clone()),
            _ => {
                let client = self.connect().await?;
                self.wallet.forget();
                Ok(self.client.insert(client).clone())
            }
        }
    }

    async fn connect(&self) -> Result<Client, SinkError> {
        let (client, found) = client::connect_indexed(&self.config.url).await?;
        let expected = self.config.settling.params.net;
        if found == expected { Ok(client) } else { Err(SinkError::Network { found, expected }) }
    }

    /// The covenant's output, if its script is this one.
    async fn covenant(&self, rpc: &dyn RpcApi, script: &ScriptPublicKey) -> Result<Option<Coin>, SinkError> {
        let id = Some(self.config.settling.covenant);
        let at = unspent(rpc, script, self.config.prefix).await?;
        Ok(at.into_iter().find(|coin| coin.entry.covenant_id == id))
    }

    /// The claims of the covenant whose exits are all paid: a few of them.
    async fn claims_to_nothing(&self, rpc: &dyn RpcApi) -> Result<Vec<Coin>, SinkError> {
        let id = Some(self.config.settling.covenant);
        let script = claim::script(&Digest::ZERO).map_err(BuildError::from)?;
        let mut coins = unspent(rpc, &script, self.config.prefix).await?;
        coins.retain(|coin| coin.entry.covenant_id == id);
        coins.truncate(claim::TAKEN_BACK_MAX);
        Ok(coins)
    }

    async fn send(&mut self, rpc: &dyn RpcApi, job: &Job) -> Result<Option<Hash>, SinkError> {
        let (settlement, settling) = (&job.settlement, &self.config.settling);
        let waiting = self.waiting(rpc).await;
        let fresh = waiting.as_ref().filter(|sent| sent.conflict.is_fresh());
        if let Some(sent) = fresh.filter(|sent| sent.statement == Some(settlement.statement)) {
            return match sent.dear {
                None => Ok(None),
                Some(fee) => Err(self.too_dear(fee)),
            };
        }
        // A node that does not have the block lags, and would hand on nothing that is sent to it.
        let end = selected(rpc, &settling.params, settlement.end_block).await;
        let Some(covenant) = self.covenant(rpc, &settling.spends(settlement)).await? else {
            let Some(founded) = self.founded(rpc).await? else { return Err(SinkError::Elsewhere) };
            if !matches!(end, Err(SinkError::TooDeep { .. })) {
                end?;
            }
            return match fresh {
                // It is on its way into its first state.
                Some(Sent { statement: None, .. }) => Ok(None),
                _ => self.enter(rpc, founded, waiting).await,
            };
        };
        let end = end?;
        if waiting.is_none() && self.is_spent(rpc, &covenant, Some(settlement.statement)).await? {
            return Ok(None);
        }
        let proof = witness(&self.config.proof, self.config.seal, &job.seal)?;
        let root = claim::tree(&job.exits).root();
        let claims = if root == Digest::ZERO { &[][..] } else { &[root] };
        let taken_back = self.claims_to_nothing(rpc).await?;
        let settle = |settling: &Settling, taken_back: &[Coin], funding: Funding<'_>| {
            let (covenant, proof) = (covenant.clone(), proof.clone());
            settling.settle(covenant, settlement, (claims, taken_back), proof, end, funding)
        };
        let build = |settling: &Settling, funding: Funding<'_>| match settle(settling, &taken_back, funding) {
            // A proof leaves room for few of them.
            Err(BuildError::TooHeavy { .. }) if !taken_back.is_empty() => settle(settling, &[], funding),
            settled => settled,
        };
        self.submit(rpc, waiting, Some(settlement.statement), build).await
    }

    /// The covenant's output, if the key has it.
    async fn founded(&mut self, rpc: &dyn RpcApi) -> Result<Option<Coin>, SinkError> {
        let Settling { params, covenant, key, .. } = &self.config.settling;
        Ok(self.wallet.of_covenant(rpc, params, key, *covenant).await?)
    }

    /// Moves the covenant out of the key into its first state, where nobody's transaction in the mempool does.
    async fn enter(
        &mut self,
        rpc: &dyn RpcApi,
        founded: Coin,
        waiting: Option<Sent>,
    ) -> Result<Option<Hash>, SinkError> {
        if waiting.is_none() && self.is_spent(rpc, &founded, None).await? {
            return Ok(None);
        }
        let first = self.config.first;
        let enter =
            |settling: &Settling, funding: Funding<'_>| settling.enter(founded.clone(), first, funding);
        let id = self.submit(rpc, waiting, None, enter).await?;
        if let Some(id) = id {
            tracing::info!("the covenant is moved into its first state by {id}");
        }
        Ok(id)
    }

    /// Whether a transaction that this process did not send spends the covenant's output in the mempool. That one is the last sent then:
    /// it is waited for, and outbid where it waits for long.
    async fn is_spent(
        &mut self,
        rpc: &dyn RpcApi,
        covenant: &Coin,
        statement: Option<StatementId>,
    ) -> Result<bool, SinkError> {
        let SinkConfig { settling, prefix, .. } = &self.config;
        let mut pending = pending(rpc, &covenant.entry.script_public_key, *prefix).await?.into_iter();
        let spends = |(transaction, _): &Pending| {
            transaction.inputs.iter().any(|input| input.previous_outpoint == covenant.outpoint)
        };
        let Some(found) = pending.find(spends) else { return Ok(false) };
        let conflict = self.wallet.conflict(&settling.params, &found);
        tracing::info!("{} moves the covenant, and waits in the node's mempool", conflict.id);
        self.sent = Some(Sent { statement, conflict, dear: None });
        Ok(true)
    }

    /// Sends the transaction that `build` makes, which spends the covenant's output, for a statement if it is for one, in place of
    /// another if that waits: one for another statement is outdated, and one that waits for long pays too little. `None` where the coins
    /// that it needs are in a transaction of the key's that may be in the next block.
    async fn submit(
        &mut self,
        rpc: &dyn RpcApi,
        replaces: Option<Sent>,
        statement: Option<StatementId>,
        build: impl Fn(&Settling, Funding<'_>) -> Result<Completed, BuildError>,
    ) -> Result<Option<Hash>, SinkError> {
        let Self { config: SinkConfig { settling, fee_max, .. }, wallet, allowance, .. } = self;
        let spends_covenant = replaces.map(|sent| sent.conflict);
        let left = allowance.left_for(spends_covenant.as_ref().map(|conflict| conflict.id), Instant::now());
        let fee_max = (*fee_max).min(left);
        let mut bid = Bid::of(rpc, wallet, settling, fee_max, spends_covenant).await?;
        let mut built = bid.build(|funding| build(settling, funding));
        if matches!(built, Err(BuildError::InsufficientFunds { .. })) && bid.replaces.is_none() {
            for (conflict, _) in wallet.own(rpc, &settling.params, |it| settling.is_upkeep(it)).await {
                let is_fresh = conflict.is_fresh();
                let instead = Bid::of(rpc, wallet, settling, fee_max, Some(conflict)).await?;
                let with_its_coins = instead.build(|funding| build(settling, funding));
                if matches!(with_its_coins, Err(BuildError::InsufficientFunds { .. })) {
                    continue;
                }
                if is_fresh {
                    return Ok(None);
                }
                (bid, built) = (instead, with_its_coins);
                break;
            }
        }
        let (completed, feerate) = match built {
            Ok(built) => built,
            Err(BuildError::FeeTooHigh { fee, .. }) => return Err(self.too_dear(fee)),
            Err(error) => return Err(error.into()),
        };
        let cost = completed.cost();
        if cost > left {
            return Err(SinkError::Allowance { fee: cost, left, a_day: allowance.a_day() });
        }
        let (conflict, replaced) = bid.submit(rpc, wallet, (&completed.transaction, feerate)).await?;
        let id = conflict.id;
        allowance.take((id, cost), replaced, Instant::now());
        self.sent = Some(Sent { statement, conflict, dear: None });
        Ok(Some(id))
    }

    /// The refusal of a transaction that would cost so much.
    fn too_dear(&mut self, fee: u64) -> SinkError {
        let fee_max = self.config.fee_max;
        match fee <= fee_max {
            true => {
                let left = self.allowance.left(Instant::now());
                SinkError::Allowance { fee, left, a_day: self.allowance.a_day() }
            }
            false => BuildError::FeeTooHigh { fee, fee_max }.into(),
        }
    }

    /// Sends the settlement where it is not in the mempool, or waits there for too long. Returns the id of the transaction
    /// sent.
    async fn settle(&mut self, job: &Job) -> Result<Option<Hash>, SinkError> {
        if self.sent_before(job).is_some() {
            // The node may be one of several at one address, and the only one that has heard of the transaction.
            self.client = None;
        }
        let client = self.connected().await?;
        self.settle_over(client.as_ref(), job).await
    }

    /// The transaction that was sent for the settlement, where it has waited for long.
    fn sent_before(&self, job: &Job) -> Option<Sent> {
        let of_job = |sent: &&Sent| sent.statement == Some(job.settlement.statement);
        self.sent.as_ref().filter(of_job).filter(|sent| !sent.conflict.is_fresh()).cloned()
    }

    /// The same over a connection.
    async fn settle_over(&mut self, rpc: &dyn RpcApi, job: &Job) -> Result<Option<Hash>, SinkError> {
        let before = self.sent_before(job);
        let sent = self.send(rpc, job).await;
        let (Err(error), Some(before)) = (&sent, before) else { return sent };
        let dear = match error {
            SinkError::Build(BuildError::FeeTooHigh { fee, .. }) | SinkError::Allowance { fee, .. } => {
                Some(*fee)
            }
            // It may have been accepted just now.
            SinkError::Node(_) => None,
            _ => return sent,
        };
        if self.waiting(rpc).await.is_none() {
            return sent;
        }
        tracing::warn!(statement = %job.settlement.statement, "the fee of the settlement is not raised: {error}");
        let conflict = Conflict { since: Instant::now(), ..before.conflict };
        self.sent = Some(Sent { conflict, dear, ..before });
        // At its bound it waits on, and whoever set the bound has to know.
        if dear.is_some() { sent } else { Ok(None) }
    }

    /// The last transaction sent, while the node's mempool has it.
    async fn waiting(&self, rpc: &dyn RpcApi) -> Option<Sent> {
        let sent = self.sent.clone()?;
        utxos::waiting(rpc, sent.conflict.id).await.map(|_| sent)
    }
}

/// What is asked of a node, within the time that it has for it.
async fn answered<T>(asked: impl Future<Output = Result<T, SinkError>>) -> Result<T, SinkError> {
    tokio::time::timeout(ANSWER_WITHIN, asked).await.unwrap_or(Err(SinkError::Silent))
}

/// The next thing to do.
enum Next {
    Job(Box<Job>),
    /// Nothing came for a while.
    Nothing,
    Over,
}

/// The latest submission; after `RETRY_AFTER` the failed job, even if it is submitted again meanwhile; `Nothing` where
/// there is neither.
fn next(inbox: &Receiver<Job>, failed: Option<Job>) -> Next {
    let until = Instant::now() + RETRY_AFTER;
    let came = loop {
        let came = inbox.recv_deadline(until);
        let came = came.map(|job| inbox.try_iter().last().unwrap_or(job));
        let same = |job: &Job| failed.as_ref().is_some_and(|it| it.settlement == job.settlement);
        if !came.as_ref().is_ok_and(same) {
            break came;
        }
    };
    match (came, failed) {
        (Ok(job), _) => Next::Job(Box::new(job)),
        (Err(RecvTimeoutError::Timeout), Some(failed)) => Next::Job(Box::new(failed)),
        (Err(RecvTimeoutError::Timeout), None) => Next::Nothing,
        (Err(RecvTimeoutError::Disconnected), _) => Next::Over,
    }
}

/// The block, if a transaction of the next block may ask for its commitment.
async fn selected(rpc: &dyn RpcApi, params: &Params, block: BlockHash) -> Result<Selected, SinkError> {
    let asked = rpc.get_block(Hash::from_bytes(block.0), false).await;
    let known = asked.map_err(unanswered("get_block"))?;
    if !known.verbose_data.is_some_and(|data| data.is_chain_block) {
        return Err(SinkError::Orphaned { block });
    }
    let tip = rpc.get_sink_blue_score().await.map_err(unanswered("get_sink_blue_score"))?;
    let (below, depth) = (tip.saturating_sub(known.header.blue_score), params.finality_depth());
    match below >= depth {
        true => Err(SinkError::TooDeep { block, below, depth }),
        false => Ok(Selected { block, commitment: digest(known.header.accepted_id_merkle_root) }),
    }
}

#[cfg(test)]
mod tests {
    use kaspa_consensus_core::config::params::SIMNET_PARAMS;
    use kaspa_consensus_core::subnets::SubnetworkId;
    use kaspa_consensus_core::tx::{Transaction, TransactionOutpoint, UtxoEntry};
    use reprise_model::digest::{PinsDigest, ResourceId};
    use reprise_model::journal::{AggregateJournal, Commitment, Transition};

    use super::*;
    use crate::coin::FEERATE_MIN;
    use crate::conflict::BUMP_AFTER;
    use crate::covenant::{Rules, STATE_VALUE};
    use crate::exit_payer::tests::owed;
    use crate::fake_node::FakeNode;
    use crate::names;

    const KASPA: u64 = 100_000_000;
    const COVENANT: Hash = Hash::from_bytes([4; 32]);
    const BEFORE: State = State { root: Digest([10; 32]), tip: Digest([20; 32]) };

    /// A process that has just started, whose transactions may pay so much.
    fn started(fee_max: u64) -> SettleLoop {
        let (params, key) = (SIMNET_PARAMS, Key::parse(&"07".repeat(32), "a test").unwrap());
        let proof = Proof::None(params.net.try_into().unwrap());
        let rules = Rules::new(PinsDigest([6; 32]), &proof).unwrap();
        let lane = names::lane([7; 20], Digest(COVENANT.as_bytes()), ResourceId([5; 32]));
        SettleLoop::new(SinkConfig {
            url: "ws://127.0.0.1:1".into(),
            prefix: params.net.into(),
            settling: Settling { params, covenant: COVENANT, rules, key },
            proof,
            seal: |_| Err("none is demanded".into()),
            first: BEFORE,
            first_at: 1,
            fee_max,
            exit_fees: EXIT_FEES,
            settlement_fees: SETTLEMENT_FEES,
            kept: None,
            lane: (lane, 1_000),
        })
    }

    fn job() -> Job {
        let transition = Transition {
            pins: PinsDigest([6; 32]),
            root_before: BEFORE.root,
            root_after: Digest([11; 32]),
            tip_before: BEFORE.tip,
            tip_after: Digest([21; 32]),
            exits: Digest::ZERO,
        };
        let commitment = Digest([9; 32]);
        let journal = AggregateJournal { transition, commitment: Commitment::Bound(commitment) };
        let (statement, end_block) = (StatementId([3; 32]), BlockHash([8; 32]));
        Job { settlement: ObservedSettlement { statement, journal, end_block }, exits: vec![], seal: vec![] }
    }

    /// A node with the covenant's output under a script, and coins of the key's.
    fn node(of: &SettleLoop, script: ScriptPublicKey) -> FakeNode {
        let key = of.config.settling.key.script();
        let covenant = UtxoEntry::new(10 * KASPA, script, 1, false, Some(COVENANT));
        let own = [20, 15, 10].map(|amount| UtxoEntry::new(amount * KASPA, key.clone(), 1, false, None));
        let coins = std::iter::once(covenant).chain(own).zip(0..).map(|(entry, number)| Coin {
            outpoint: TransactionOutpoint::new(Hash::from_bytes([5; 32]), number),
            entry,
        });
        FakeNode::new(of.config.settling.params.clone(), coins.collect(), Digest([9; 32]))
    }

    fn only(node: &FakeNode, of: &SettleLoop) -> Transaction {
        let covenant = TransactionOutpoint::new(Hash::from_bytes([5; 32]), 0);
        let moves = |it: &Transaction| it.inputs[0].previous_outpoint == covenant;
        let [moving] = node.mempool().into_iter().filter(moves).collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(of.sent.as_ref().unwrap().conflict.id, moving.id());
        moving
    }

    fn wait_for_long(settling: &mut SettleLoop) {
        settling.sent.iter_mut().for_each(|sent| sent.conflict.since -= BUMP_AFTER);
        settling.wallet.wait_for_long();
    }

    #[tokio::test]
    async fn what_an_earlier_process_sent_for_too_little_is_outbid_whether_it_settles_or_leaves_the_key() {
        let Settling { rules, key, .. } = started(KASPA).config.settling;
        for script in [rules.script(BEFORE), key.script()] {
            let mut earlier = started(KASPA);
            let node = node(&earlier, script);
            // Another of its transactions waits too, and spends the largest coin.
            let Settling { params, key, .. } = earlier.config.settling.clone();
            let coins = earlier.wallet.coins(&node, &params, &key, None).await.unwrap();
            let funding = Funding { coins: &coins[..1], fees: Fees { feerate: FEERATE_MIN, fee_max: KASPA } };
            let other = earlier
                .config
                .settling
                .keep_alive(SubnetworkId::from_bytes([7; 20]), funding)
                .unwrap()
                .transaction;
            earlier.wallet.sent(send(&node, &other).await.unwrap(), &other);
            earlier.send(&node, &job()).await.unwrap().unwrap();
            let first = only(&node, &earlier);
            let (fee, feerate) = node.paid(&first);

            node.set_feerate(10.0 * FEERATE_MIN);
            let mut again = started(KASPA);
            assert_eq!(again.send(&node, &job()).await.unwrap(), None, "it may be in the next block");
            assert_eq!(only(&node, &again), first);
            assert_eq!(again.send(&node, &job()).await.unwrap(), None);
            wait_for_long(&mut again);
            let second = again.send(&node, &job()).await.unwrap();
            assert_eq!(second, Some(only(&node, &again).id()));
            assert!(node.paid(&only(&node, &again)).1 >= 10.0 * feerate, "as soon as what goes first");
            assert_eq!(node.mempool().len(), 2, "the other one waits on");

            // Up to the bound, and not above it.
            let most = node.paid(&only(&node, &again)).0 + fee;
            let mut bounded = started(most);
            node.set_feerate(100.0 * FEERATE_MIN);
            assert_eq!(bounded.send(&node, &job()).await.unwrap(), None);
            wait_for_long(&mut bounded);
            bounded.send(&node, &job()).await.unwrap().unwrap();
            let paid = node.paid(&only(&node, &bounded)).0;
            assert!(paid <= most && paid > most - fee / 2, "{paid} of {most}");
            wait_for_long(&mut bounded);
            let refused = bounded.send(&node, &job()).await.unwrap_err();
            assert!(matches!(refused, SinkError::Build(BuildError::FeeTooHigh { .. })), "{refused}");
        }
    }

    #[tokio::test]
    async fn what_a_settlement_gives_a_claim_to_hold_counts_as_paid_and_no_fee_bound_is_about_it() {
        let mut settling = started(KASPA);
        let state = settling.config.settling.rules.script(BEFORE);
        let node = node(&settling, state.clone());
        let exits = owed(1, KASPA).exits;
        let mut owes = job();
        owes.settlement.journal.transition.exits = claim::tree(&exits).root();
        owes.exits = exits;
        // The covenant holds what it must: the key gives the claim its two kaspa.
        node.set_value(&state, STATE_VALUE);
        let before = settling.allowance.left(Instant::now());
        settling.allowance.stand_still();
        settling.send(&node, &owes).await.unwrap().unwrap();
        let fee = node.paid(&only(&node, &settling)).0;
        assert!(fee < KASPA, "{fee}");
        assert_eq!(before - settling.allowance.left(Instant::now()), fee + claim::CLAIM_VALUE);
        node.drop_all();
        settling.sent = None;
        settling.allowance = Allowance::of(fee + claim::CLAIM_VALUE - 1, Instant::now());
        settling.allowance.stand_still();
        let refused = settling.send(&node, &owes).await.unwrap_err();
        assert!(matches!(refused, SinkError::Allowance { .. }), "{refused}");
        assert_eq!(node.mempool().len(), 0);
    }

    #[tokio::test]
    async fn a_settlement_that_waits_at_its_bound_is_refused_for_it_until_it_may_pay_more_or_is_accepted() {
        let mut settling = started(KASPA);
        let node = node(&settling, settling.config.settling.rules.script(BEFORE));
        let job = job();
        let settle = async |settling: &mut SettleLoop| {
            let outcome = settling.settle_over(&node, &job).await;
            settling.tell(job.settlement.statement, &outcome);
            let (_, verdict) = locked(&settling.verdict).clone().unwrap();
            verdict.map_err(|(cause, said)| {
                assert!(said.contains("--fee-max"), "{said}");
                cause
            })
        };
        assert_eq!(settle(&mut settling).await, Ok(()));
        let first = only(&node, &settling);
        // Fees rise beyond what is allowed. It is raised to the bound, and then waits for somebody who raises that.
        settling.config.fee_max = 2 * node.paid(&first).0;
        node.set_feerate(100.0 * FEERATE_MIN);
        wait_for_long(&mut settling);
        assert_eq!(settle(&mut settling).await, Ok(()));
        let second = only(&node, &settling);
        assert_ne!(first, second);
        assert_eq!(settle(&mut settling).await, Ok(()), "it may be in the next block");
        for _ in 0..3 {
            wait_for_long(&mut settling);
            for _ in 0..3 {
                assert_eq!(settle(&mut settling).await, Err(Cause::FeeBound));
                assert_eq!(only(&node, &settling), second, "it waits on");
            }
        }
        // What is wrong with an answer is no news of the fee.
        settling.config.fee_max = 100 * KASPA;
        wait_for_long(&mut settling);
        assert_eq!(settle(&mut settling).await, Ok(()));
        assert_ne!(only(&node, &settling), second);
    }

    #[tokio::test]
    async fn settlements_wait_where_the_day_s_fees_are_used_up_and_go_on_once_enough_has_grown_back() {
        let mut settling = started(KASPA);
        let node = node(&settling, settling.config.settling.rules.script(BEFORE));
        settling.allowance.stand_still();
        settling.settle_over(&node, &job()).await.unwrap().unwrap();
        let first = only(&node, &settling);
        let (fee, left) = (node.paid(&first).0, settling.allowance.left(Instant::now()));
        assert!((SETTLEMENT_FEES - left).abs_diff(fee) < 10, "{fee}");
        // A replacement takes what it pays more, and no more than is left.
        let mut allowance = Allowance::of(2 * fee, Instant::now());
        allowance.stand_still();
        allowance.take((first.id(), fee), None, Instant::now());
        settling.allowance = allowance;
        node.set_feerate(100.0 * FEERATE_MIN);
        settling.config.fee_max = 1_000 * KASPA;
        wait_for_long(&mut settling);
        settling.settle_over(&node, &job()).await.unwrap().unwrap();
        let second = only(&node, &settling);
        assert!((fee + 1..=2 * fee).contains(&node.paid(&second).0));
        for _ in 0..2 {
            wait_for_long(&mut settling);
            let refused = settling.settle_over(&node, &job()).await.unwrap_err();
            assert_eq!(refused.cause(), Cause::FeeBound);
            assert!(refused.to_string().contains("--settlement-fees"), "{refused}");
        }
        assert_eq!(only(&node, &settling), second, "it waits on");
        // The next one is not sent at all, until enough has grown back.
        node.set_feerate(FEERATE_MIN);
        node.drop_all();
        settling.sent = None;
        let refused = settling.settle_over(&node, &job()).await.unwrap_err();
        assert!(matches!(refused, SinkError::Allowance { a_day, .. } if a_day == 2 * fee), "{refused}");
        assert!(node.mempool().is_empty());
        settling.allowance = Allowance::of(2 * fee, Instant::now());
        assert!(settling.settle_over(&node, &job()).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_settlement_takes_the_place_of_what_can_wait_where_that_has_the_key_s_only_coin() {
        let lane = SubnetworkId::from_bytes([7; 20]);
        for what in ["keeps the lane active", "merges", "pays an exit", "is a deposit"] {
            let mut settling = started(KASPA);
            let node = node(&settling, settling.config.settling.rules.script(BEFORE));
            let Settling { params, key, .. } = settling.config.settling.clone();
            node.keep_one(&key.script());
            let coins = settling.wallet.coins(&node, &params, &key, None).await.unwrap();
            let fees = Fees { feerate: FEERATE_MIN, fee_max: KASPA };
            let funding = Funding { coins: &coins, fees };
            let of = &settling.config.settling;
            let other = match what {
                "keeps the lane active" => of.keep_alive(lane, funding).unwrap().transaction,
                "merges" => of.again(&Transaction::default(), &coins, fees).unwrap().transaction,
                "pays an exit" => {
                    let unpaid = owed(1, KASPA);
                    node.owe(&unpaid, COVENANT, 5 * KASPA);
                    settling.exit_payer.set_unpaid(vec![unpaid]);
                    let context =
                        PaymentContext { settling: of, prefix: of.params.net.into(), fee_max: KASPA };
                    settling.exit_payer.step(&node, context, &mut settling.wallet).await.unwrap().unwrap();
                    node.mempool().remove(0)
                }
                _ => {
                    let mut deposit = of.keep_alive(lane, funding).unwrap().transaction;
                    deposit.payload = vec![1];
                    deposit.finalize();
                    deposit
                }
            };
            if what != "pays an exit" {
                settling.wallet.sent(send(&node, &other).await.unwrap(), &other);
            }
            let sent = settling.settle_over(&node, &job()).await;
            if what == "is a deposit" {
                wait_for_long(&mut settling);
                let refused = settling.settle_over(&node, &job()).await.unwrap_err();
                assert_eq!((refused.cause(), node.mempool().len()), (Cause::NoCoins, 1), "{what}");
                continue;
            }
            assert_eq!(sent.unwrap(), None, "{what}: its coins are in the next block perhaps");
            wait_for_long(&mut settling);
            let sent = settling.settle_over(&node, &job()).await.unwrap();
            assert_eq!(sent, Some(only(&node, &settling).id()), "{what}");
            assert_eq!(node.mempool().len(), 1, "{what}");
        }
    }

    #[tokio::test]
    async fn what_the_key_pays_to_itself_pays_more_once_it_has_waited_and_fees_have_risen_also_after_a_restart()
     {
        let lane = SubnetworkId::from_bytes([7; 20]);
        for is_merge in [false, true] {
            let mut earlier = started(KASPA);
            let node = node(&earlier, earlier.config.settling.rules.script(BEFORE));
            let Settling { params, key, .. } = earlier.config.settling.clone();
            let coins = earlier.wallet.coins(&node, &params, &key, None).await.unwrap();
            let fees = Fees { feerate: FEERATE_MIN, fee_max: KASPA };
            let of = &earlier.config.settling;
            let first = match is_merge {
                true => of.again(&Transaction::default(), &coins, fees).unwrap().transaction,
                false => of.keep_alive(lane, Funding { coins: &coins, fees }).unwrap().transaction,
            };
            send(&node, &first).await.unwrap();
            let mut again = started(KASPA);
            again.wallet.coins(&node, &params, &key, None).await.unwrap();
            wait_for_long(&mut again);
            assert_eq!(again.raise_next(&node).await.unwrap(), None, "fees have not risen");
            node.set_feerate(5.0 * FEERATE_MIN);
            let raised = again.raise_next(&node).await.unwrap();
            let [second] = node.mempool().try_into().unwrap();
            assert_eq!(raised, Some(second.id()));
            assert_eq!(second.subnetwork_id, first.subnetwork_id);
            assert_eq!(second.inputs.len(), first.inputs.len());
            assert!(node.paid(&second).1 > 4.9 * node.paid(&first).1);
            assert_eq!(again.raise_next(&node).await.unwrap(), None, "it may be in the next block");
        }
    }
}
