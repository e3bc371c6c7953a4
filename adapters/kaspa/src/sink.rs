//! Where settlements go: a thread that builds each as a transaction of the covenant and sends it to the node.
//!
//! The settler submits the oldest unsettled bundle again at every new tip, until the chain shows it; so the thread
//! keeps nothing but what it sent last, and what failed last, which it tries again. What is submitted again and still waits in the node's mempool is left alone;
//! what is gone from there, and not accepted, is built and sent anew; what waits there for a bundle that a reorg formed
//! anew is replaced for a higher fee. Whether it settled is for the chain to say.
//!
//! A covenant that is founded and not in its first state yet is moved there by the first settlement's submission.
//!
//! The covenant's output is found by its script, which the state before the settlement determines. Where the node has
//! no such output, the covenant is elsewhere: a competitor moved it, or a reorg moved it back. Either comes as a chain
//! event, and what is wanted changes.
//!
//! What a settlement under a proof leaves to its exits is paid from here as well, by an [`ExitPayer`].
//!
//! Two sinks, so that a fake seal cannot reach a covenant that moves value: [`KaspaSink`] takes real receipts;
//! [`UnprovenKaspaSink`], for what is mocked, is made only with an [`OwnNetwork`].

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use kaspa_addresses::Prefix;
use kaspa_consensus_core::Hash;
use kaspa_consensus_core::network::NetworkId;
use kaspa_consensus_core::tx::ScriptPublicKey;
use kaspa_rpc_core::RpcTransaction;
use kaspa_rpc_core::api::rpc::RpcApi;
use kaspa_txscript::script_builder::ScriptBuilder;
use reprise_model::artifact::SettlementArtifact;
use reprise_model::block::ObservedSettlement;
use reprise_model::digest::{BlockHash, Digest, StatementId};
use reprise_model::journal::Exit;
use reprise_model::receipt::{RealReceipt, Receipt, Verified};
use reprise_settler::{SettleError, SettlementSink, UnprovenSink};

use crate::client::{self, Client, ClientError, Unanswered, unanswered};
use crate::coin::{Coin, FEERATE_MIN, Fees, Funding};
use crate::covenant::{NotOwnError, OwnNetwork, Proof, SealReader, State};
use crate::digest;
use crate::exit_payer::{ExitPayer, PayError, PaymentContext};
use crate::key::Key;
use crate::names::{self, UnknownNetworkError};
use crate::settlement::{BuildError, Selected, Settling};
use crate::vault::{self, Payout, Scripts, ShortError};
use crate::wallet::{WalletError, coins, feerate, send, unspent};

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// What failed is tried again after so long: a node's index of unspent outputs lags behind its tip.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How often, until it is submitted again.
const TRIES_MAX: u32 = 30;

/// Submissions that wait; only the last of them counts. What does not fit is submitted again at the next tip.
const JOBS_MAX: usize = 8;

/// How much more than what it replaces a transaction pays a gram.
const OUTBID: f64 = 1.25;

const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Why a settlement is not under way.
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
    /// The covenant would do without a proof.
    #[error(transparent)]
    NotOwn(#[from] NotOwnError),
    /// The covenant is elsewhere.
    #[error(
        "the covenant is not where the settlement starts: it was settled by another, or a reorg moved it, or it \
         is not founded, or it demands another proof (--covenant-proof)"
    )]
    Elsewhere,
    /// The block is orphaned.
    #[error("{block} is not on the node's selected chain")]
    Orphaned {
        /// The block.
        block: BlockHash,
    },
    /// There is no transaction.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The exits cannot be paid.
    #[error(transparent)]
    Short(#[from] ShortError),
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
    Coins(WalletError),
}

impl From<WalletError> for SinkError {
    fn from(error: WalletError) -> Self {
        match error {
            WalletError::Node(unanswered) => Self::Node(unanswered),
            other => Self::Coins(other),
        }
    }
}

impl From<PayError> for SinkError {
    fn from(error: PayError) -> Self {
        match error {
            PayError::Coins(error) => error.into(),
            PayError::Build(error) => error.into(),
            PayError::Short(error) => error.into(),
        }
    }
}

/// The part of a spending script that proves.
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

/// How settlements are paid for and proved.
#[derive(Debug, Clone)]
pub struct SinkConfig {
    /// The node's borsh wRPC server.
    pub url: String,
    /// The prefix of addresses on the network.
    pub prefix: Prefix,
    /// The covenant, and who pays.
    pub settling: Settling,
    /// What the covenant demands.
    pub proof: Proof,
    /// What the backend's seals are read with, where one is demanded.
    pub seal: SealReader,
    /// The state that the covenant is moved into once it is founded.
    pub first: State,
    /// The most a transaction may pay, in sompi.
    pub fee_max: u64,
    /// The scripts that exits are paid to; none where exits are not paid from here.
    pub scripts: Option<Scripts>,
}

/// Why what was submitted last is not under way, if it is not.
type Verdict = Arc<Mutex<Option<(StatementId, String)>>>;

/// What is to be settled.
struct Job {
    settlement: ObservedSettlement,
    exits: Vec<Vec<Exit>>,
    seal: Vec<u8>,
}

/// A node that takes settlements.
pub struct KaspaSink {
    jobs: Option<Sender<Job>>,
    verdict: Verdict,
    thread: Option<JoinHandle<()>>,
}

/// A [`KaspaSink`] of a network of one's own, which takes fake seals too.
pub struct UnprovenKaspaSink(KaspaSink);

impl KaspaSink {
    /// Starts the thread.
    pub fn open(config: SinkConfig) -> Result<Self, io::Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (jobs, inbox) = bounded(JOBS_MAX);
        let verdict = Verdict::default();
        let verdict_of = verdict.clone();
        let settling = SettleLoop {
            config,
            client: None,
            sent: None,
            verdict: verdict_of,
            exit_payer: ExitPayer::default(),
            unpaid: None,
        };
        let run = move || runtime.block_on(settling.run(&inbox));
        let thread = thread::Builder::new().name("kaspa settler".into()).spawn(run)?;
        Ok(Self { jobs: Some(jobs), verdict, thread: Some(thread) })
    }

    /// For a network of one's own: fake seals are taken too.
    pub fn into_unproven(self, _own: OwnNetwork) -> UnprovenKaspaSink {
        UnprovenKaspaSink(self)
    }

    fn take(
        &mut self,
        settlement: ObservedSettlement,
        exits: &[Vec<Exit>],
        seal: &[u8],
    ) -> Result<(), SettleError> {
        let statement = settlement.statement;
        let refused = |reason: String| SettleError::Refused { statement, reason };
        // What became of it when it was submitted last.
        let verdict =
            locked(&self.verdict).take().filter(|(of, _)| *of == statement).map(|(_, reason)| reason);
        let Some(jobs) = &self.jobs else { return Err(refused("the settling thread ended".into())) };
        match jobs.try_send(Job { settlement, exits: exits.to_vec(), seal: seal.to_vec() }) {
            Ok(()) | Err(TrySendError::Full(_)) => verdict.map_or(Ok(()), |reason| Err(refused(reason))),
            Err(TrySendError::Disconnected(_)) => Err(refused("the settling thread ended".into())),
        }
    }
}

impl Drop for KaspaSink {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl SettlementSink for KaspaSink {
    fn submit(&mut self, settlement: SettlementArtifact<RealReceipt>) -> Result<(), SettleError> {
        let SettlementArtifact { end_block, journal, exits, receipt } = &settlement;
        let observed =
            ObservedSettlement { statement: receipt.id(), journal: *journal, end_block: *end_block };
        self.take(observed, exits, &receipt.seal)
    }
}

impl UnprovenSink for UnprovenKaspaSink {
    fn submit_unproven(
        &mut self,
        settlement: SettlementArtifact<Verified<Receipt>>,
    ) -> Result<(), SettleError> {
        let SettlementArtifact { end_block, journal, exits, receipt } = &settlement;
        let observed =
            ObservedSettlement { statement: receipt.id(), journal: *journal, end_block: *end_block };
        self.0.take(observed, exits, &receipt.seal)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was sent last.
#[derive(Debug, Clone, Copy)]
struct Sent {
    statement: StatementId,
    transaction: Hash,
    feerate: f64,
}

/// The thread's.
struct SettleLoop {
    config: SinkConfig,
    client: Option<Client>,
    sent: Option<Sent>,
    verdict: Verdict,
    exit_payer: ExitPayer,
    /// Why exits are not being paid, as it was said last.
    unpaid: Option<String>,
}

impl SettleLoop {
    async fn run(mut self, inbox: &Receiver<Job>) {
        let (mut again, mut last, mut tries) = (None, None, 0);
        // Blocking here holds up nobody: the connection's own tasks have a thread of theirs.
        loop {
            let job = match next(inbox, again.take(), !self.exit_payer.is_idle()) {
                Next::Job(job) => job,
                Next::Nothing => {
                    self.pay().await;
                    continue;
                }
                Next::Over => break,
            };
            let statement = job.settlement.statement;
            let outcome = match tokio::time::timeout(ANSWER_WITHIN, self.settle(&job)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(SinkError::Silent),
            };
            match outcome {
                Ok(Some(transaction)) => {
                    tracing::info!(%statement, "sent as {transaction}");
                    if self.config.settling.rules.claims() {
                        self.exit_payer.add(statement, &job.exits);
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    match &error {
                        // Most often it has just landed, and the chain event is on its way.
                        SinkError::Elsewhere => tracing::debug!(%statement, "not under way: {error}"),
                        _ => tracing::warn!(%statement, "the settlement is not under way: {error}"),
                    }
                    self.judge(&error).await;
                    *locked(&self.verdict) = Some((statement, error.to_string()));
                    // Not for ever: the chain may have gone on without it.
                    tries = if last == Some(statement) { tries + 1 } else { 1 };
                    last = Some(statement);
                    again = (tries < TRIES_MAX).then_some(*job);
                }
            }
            self.pay().await;
        }
        self.disconnect().await;
    }

    /// Has the next exit paid, where one is owed.
    async fn pay(&mut self) {
        if self.exit_payer.is_idle() {
            return;
        }
        let outcome = match tokio::time::timeout(ANSWER_WITHIN, self.pay_next()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(SinkError::Silent),
        };
        match outcome {
            Ok(Some(transaction)) => tracing::info!("an exit is being paid by {transaction}"),
            Ok(None) => {}
            Err(error) => {
                self.judge(&error).await;
                let error = error.to_string();
                if self.unpaid.as_ref() != Some(&error) {
                    tracing::warn!("exits are not being paid: {error}");
                    self.unpaid = Some(error);
                }
                return;
            }
        }
        self.unpaid = None;
    }

    async fn pay_next(&mut self) -> Result<Option<Hash>, SinkError> {
        let client = self.connected().await?;
        let SinkConfig { settling, prefix, fee_max, .. } = &self.config;
        let context = PaymentContext { settling, prefix: *prefix, fee_max: *fee_max };
        Ok(self.exit_payer.step(client.as_ref(), context).await?)
    }

    /// Connects again where the node did not answer.
    async fn judge(&mut self, error: &SinkError) {
        if matches!(error, SinkError::Node(_) | SinkError::Silent) {
            self.disconnect().await;
        }
    }

    async fn connected(&mut self) -> Result<Client, SinkError> {
        match &self.client {
            Some(client) if client.is_connected() => Ok(client.clone()),
            _ => Ok(self.client.insert(self.connect().await?).clone()),
        }
    }

    async fn connect(&self) -> Result<Client, SinkError> {
        let client = client::connect(&self.config.url, CONNECT_WITHIN).await?;
        let found = client.get_server_info().await.map_err(unanswered("get_server_info"))?.network_id;
        let expected = self.config.settling.params.net;
        match found == expected {
            true => Ok(client),
            false => Err(SinkError::Network { found, expected }),
        }
    }

    async fn disconnect(&mut self) {
        if let Some(client) = self.client.take() {
            // A connection that is gone cannot be closed, and need not be.
            let _ = tokio::time::timeout(CONNECT_WITHIN, client.disconnect()).await;
        }
    }

    /// The covenant's output, if its script is this one.
    async fn covenant(&self, rpc: &dyn RpcApi, script: &ScriptPublicKey) -> Result<Option<Coin>, SinkError> {
        let id = Some(self.config.settling.covenant);
        let at = unspent(rpc, script, self.config.prefix).await?;
        Ok(at.into_iter().find(|coin| coin.entry.covenant_id == id))
    }

    /// What is paid out of the vault.
    async fn payout(&self, rpc: &dyn RpcApi, batches: &[Vec<Exit>]) -> Result<Payout, SinkError> {
        let exits = batches.concat();
        let (Some(scripts), false) = (&self.config.scripts, exits.is_empty()) else {
            return Ok(Payout::default());
        };
        let covenant = digest(self.config.settling.covenant);
        let script = vault::script(covenant).map_err(BuildError::from)?;
        let coins = unspent(rpc, &script, self.config.prefix).await?;
        Ok(vault::pay(&exits, scripts, covenant, coins).map_err(BuildError::from)??)
    }

    /// Sends it where it is not under way: the transaction.
    async fn settle(&mut self, job: &Job) -> Result<Option<Hash>, SinkError> {
        let client = self.connected().await?;
        let rpc: &dyn RpcApi = client.as_ref();
        let (settlement, SinkConfig { settling, prefix, .. }) = (&job.settlement, &self.config);
        let waiting = match self.sent {
            Some(sent) if rpc.get_mempool_entry(sent.transaction, true, false).await.is_ok() => Some(sent),
            _ => None,
        };
        if waiting.is_some_and(|sent| sent.statement == settlement.statement) {
            return Ok(None);
        }
        // What waits for another statement is outdated, and a node replaces it for more.
        let outbids = waiting.map_or(0.0, |sent| sent.feerate * OUTBID);
        let feerate = feerate(rpc).await?.max(FEERATE_MIN).max(outbids);
        let fees = Fees { feerate, fee_max: self.config.fee_max };
        let coins = coins(rpc, &settling.params, &settling.key, *prefix).await?;
        let funding = Funding { coins: &coins, fees };
        let transaction = match self.covenant(rpc, &settling.spends(settlement)).await? {
            Some(covenant) => {
                let end = selected(rpc, settlement.end_block).await?;
                let proof = witness(&self.config.proof, self.config.seal, &job.seal)?;
                let payout = self.payout(rpc, &job.exits).await?;
                settling.settle(covenant, settlement, proof, payout, end, funding)?
            }
            None => match self.covenant(rpc, &settling.key.script()).await? {
                Some(founded) => {
                    tracing::info!("the covenant is moved into its first state");
                    settling.enter(founded, self.config.first, funding)?
                }
                None => return Err(SinkError::Elsewhere),
            },
        };
        let transaction = match waiting {
            None => send(rpc, &transaction).await?,
            Some(_) => {
                let replaced = rpc.submit_transaction_replacement(RpcTransaction::from(&transaction)).await;
                replaced.map_err(unanswered("submit_transaction_replacement"))?.transaction_id
            }
        };
        self.sent = Some(Sent { statement: settlement.statement, transaction, feerate });
        Ok(Some(transaction))
    }
}

/// Founds a covenant of `value` sompi on the node's network, paid by `key`: its id, once the transaction is sent.
///
/// Where no `proof` will be demanded, only on a network where that may be: another's would hold the value for ever.
pub fn found(
    url: &str,
    key: &Key,
    proof: Option<&Proof>,
    value: u64,
    fee_max: u64,
) -> Result<Digest, SinkError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.map_err(SinkError::Thread)?.block_on(async {
        let client = client::connect(url, CONNECT_WITHIN).await?;
        let rpc: &dyn RpcApi = client.as_ref();
        let info = rpc.get_server_info().await.map_err(unanswered("get_server_info"))?;
        if proof.is_none() {
            OwnNetwork::try_from(info.network_id)?;
        }
        let params = names::params(info.network_id)?;
        let coins = coins(rpc, &params, key, info.network_id.into()).await?;
        let fees = Fees { feerate: feerate(rpc).await?, fee_max };
        let funding = Funding { coins: &coins, fees };
        let (transaction, covenant) = Settling::found(&params, key, value, funding)?;
        send(rpc, &transaction).await?;
        Ok(digest(covenant))
    })
}

/// What to do next.
enum Next {
    Job(Box<Job>),
    /// Nothing came for a while.
    Nothing,
    Over,
}

/// The latest of what is to be settled; after a while, what failed; nothing where there is none and something is `owed`.
fn next(inbox: &Receiver<Job>, failed: Option<Job>, unpaid: bool) -> Next {
    let came = match failed.is_some() || unpaid {
        true => inbox.recv_timeout(AGAIN_AFTER),
        false => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
    };
    match (came, failed) {
        (Ok(job), _) => Next::Job(Box::new(inbox.try_iter().last().unwrap_or(job))),
        (Err(RecvTimeoutError::Timeout), Some(failed)) => Next::Job(Box::new(failed)),
        (Err(RecvTimeoutError::Timeout), None) => Next::Nothing,
        (Err(RecvTimeoutError::Disconnected), _) => Next::Over,
    }
}

async fn selected(rpc: &dyn RpcApi, block: BlockHash) -> Result<Selected, SinkError> {
    let asked = rpc.get_block(Hash::from_bytes(block.0), false).await;
    let known = asked.map_err(unanswered("get_block"))?;
    match known.verbose_data {
        Some(data) if data.is_chain_block => {
            Ok(Selected { block, commitment: digest(known.header.accepted_id_merkle_root) })
        }
        _ => Err(SinkError::Orphaned { block }),
    }
}
