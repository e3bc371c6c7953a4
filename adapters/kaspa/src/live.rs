//! A live node as an L1: a thread that follows it through its reorgs, restarts and absences.
//!
//! The node's notification of a changed chain only wakes the thread: whatever it says, the thread asks what changed
//! since its tip, and it asks now and then without one; any number of notifications while it is busy are one more
//! question ([`WakeUp`]). After a lost connection it connects again, waiting longer
//! each time, subscribes again and catches up by the same question. So nothing is missed that the node still knows.
//!
//! What the node says is checked ([`follower`](crate::follower)), then kept in the [`EventLog`], then handed on, in
//! that order. A restart sends what the event log holds and continues from its tip.
//!
//! What is final it need not remember, and what is settled for good the event log keeps in short: the pipeline's
//! progress says how far. What it handed on last, and how the connection is, is told to whoever asks
//! ([`ChainSource::connection`]).
//!
//! A node that is away, starting, behind or catching up itself is waited for. So is one whose answers contradict
//! themselves or lack a field: what it said is dropped, and asked again over another connection; where that has
//! happened for many connections in a row ([`Options::wrong_answers_max`]), the source ends with one [`SourceError`] that
//! names the block and the field. How it is meanwhile is said by name ([`Hitch`]).
//!
//! The limit of time is an answer's, never a page's: a page of any length is taken part by part, each kept when it is
//! checked.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use kaspa_consensus_core::network::NetworkId;
use kaspa_rpc_core::api::rpc::RpcApi;
use kaspa_rpc_core::{GetServerInfoResponse, RpcError};
use kaspa_wrpc_client::prelude::{ChannelConnection, ChannelType, Scope, VirtualChainChangedScope};
use reprise_chain::event::SourceEvent;
use reprise_chain::event_log::EventLog;
use reprise_chain::recording::{Lane, Recording};
use reprise_chain::source::{self, ChainSource, Connection, Hitch, Poll, Progress, SourceError};
use reprise_disk::data_dir::LockedPath;
use reprise_disk::log::LogError;
use reprise_model::digest::BlockHash;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::client::{self, Client, ClientError};
use crate::covenant::Rules;
use crate::follower::{Chain, FollowError, Follower, Patient};
use crate::names;
use crate::root::{self, First, RootError};
use crate::track::Track;
use crate::vault::Scripts;
use crate::wake::WakeUp;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_secs(2);
const WAIT_MIN: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(10);

/// How many blue scores the block that a chain is followed from lies below the node's tip, so that no reorg removes it.
pub const ROOT_CONFIRMATIONS: u64 = 100;

/// How many connections in a row may end in an answer that does not check: some ten minutes of them.
pub const WRONG_ANSWERS_MAX: u32 = 60;

/// Events that wait for the pipeline; then the node is asked no further. Each is one page of the node's.
const EVENTS_MAX: usize = 16;

/// How many blocks must have become final and settled before the event log is compacted: no fewer than these, and no
/// fewer than half of what was compacted before, so that all rewriting together costs no more than a few times the file.
const COMPACT_MIN: u64 = 1024;

/// How long after a compaction that failed the next one is tried.
const COMPACT_AGAIN: Duration = Duration::from_secs(300);

/// How long an event waits that could not be written to the event log.
const KEEP_AGAIN: Duration = Duration::from_secs(1);

/// What stands between the node's answers and the follower.
pub type ChainWrapper = Arc<dyn Fn(Box<dyn Chain>) -> Box<dyn Chain> + Send + Sync>;

/// What is followed.
#[derive(Clone)]
pub struct Options {
    /// The node's borsh wRPC server.
    pub url: String,
    /// The lane.
    pub lane: Lane,
    /// The block to start at where nothing was followed before; where there is none, one that lies
    /// [`ROOT_CONFIRMATIONS`] below the node's tip.
    pub from: Option<BlockHash>,
    /// How many blue scores a block must lie below the node's tip to be followed; 0 follows the tip itself.
    pub confirmations: u64,
    /// Whether the L1 ends once the node's tip is reached and everything is proved and settled.
    pub until_idle: bool,
    /// How many connections in a row may end in an answer that does not check before the source ends.
    pub wrong_answers_max: u32,
    /// For those who want to see, or to change, what the node says.
    pub through: Option<ChainWrapper>,
}

/// A node that is about to be followed.
pub struct Prepared {
    options: Options,
    runtime: Runtime,
    follower: Follower,
    event_log: Option<EventLog>,
    scripts: Option<Scripts>,
}

/// Why a node cannot be followed from the start.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ClientError),
    /// The node's first answers are of no use.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// There is no block to follow the covenant from.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The event log cannot be read or written.
    #[error(transparent)]
    EventLog(#[from] LogError),
    /// What was followed before is another chain.
    #[error("{path}: this data directory follows another chain ({differs}): use another data directory")]
    Other {
        /// The event log.
        path: String,
        /// In what it differs.
        differs: &'static str,
    },
    /// No thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

/// A followed node.
pub struct LiveL1 {
    head: Recording,
    until_idle: bool,
    shared: Arc<Shared>,
    scripts: Option<Scripts>,
    told: Option<Receiver<Result<Told, SourceError>>>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread sends.
enum Told {
    Event(SourceEvent),
    Final(BlockHash),
}

/// What both sides of the thread know.
struct Shared {
    /// Whether the node's tip was reached since the start.
    caught_up: AtomicBool,
    /// The pipeline's, as of its last poll.
    finalized: AtomicU64,
    floor: AtomicU64,
    /// Since when the node is not followed, and why; none where it is.
    lost: Mutex<Option<Outage>>,
    /// The timestamp of the last block handed on, in milliseconds; 0 before the first.
    last_block_ms: AtomicU64,
    /// The DAA scores of the last block handed on, and of the node's tip, when it was asked last.
    reached: AtomicU64,
    goal: AtomicU64,
    /// Why the last event cannot be kept yet; none where it is.
    unkept: Mutex<Option<String>>,
}

struct Outage {
    since: SystemTime,
    at: Instant,
    hitch: Hitch,
    reason: String,
}

impl Outage {
    fn now(hitch: Hitch, reason: &str) -> Self {
        Self { since: SystemTime::now(), at: Instant::now(), hitch, reason: reason.into() }
    }
}

impl Default for Shared {
    fn default() -> Self {
        let lost = Some(Outage::now(Hitch::Away, "not connected yet"));
        Self {
            caught_up: AtomicBool::default(),
            finalized: AtomicU64::default(),
            floor: AtomicU64::default(),
            lost: Mutex::new(lost),
            last_block_ms: AtomicU64::default(),
            reached: AtomicU64::default(),
            goal: AtomicU64::default(),
            unkept: Mutex::default(),
        }
    }
}

impl Shared {
    fn hand_on(&self, event: &SourceEvent) {
        if let Some(last) = event.added.last() {
            self.last_block_ms.store(last.metadata.timestamp_ms, Ordering::Relaxed);
            self.reached.store(last.metadata.daa_score, Ordering::Relaxed);
        }
    }

    fn unkept(&self) -> MutexGuard<'_, Option<String>> {
        self.unkept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self) -> MutexGuard<'_, Option<Outage>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node is not followed, for this reason; since now, unless it was not before.
    fn lose(&self, hitch: Hitch, reason: &str) {
        let mut lost = self.lost();
        let now = Outage::now(hitch, reason);
        *lost = Some(match lost.take() {
            Some(before) => Outage { since: before.since, at: before.at, ..now },
            None => now,
        });
    }
}

impl Prepared {
    /// Reads the event log at `place`; where there is none, asks the node where its chain is, and begins one.
    pub fn new(options: Options, place: Option<LockedPath>) -> Result<Self, LiveError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let kept = place.clone().map(EventLog::open).transpose()?.flatten();
        let (follower, event_log) = match kept {
            Some(event_log) => (resumed(&options, &event_log)?, Some(event_log)),
            None => {
                let follower = runtime.block_on(start(&options))?;
                let head = follower.head().clone();
                (follower, place.map(|place| EventLog::begin(place, head)).transpose()?)
            }
        };
        Ok(Self { options, runtime, follower, event_log, scripts: None })
    }

    /// Network, lane and root, as a recording without events.
    pub fn head(&self) -> &Recording {
        self.follower.head()
    }

    /// Reads the settlements of the lane's covenant under these rules.
    pub fn watch(&mut self, rules: Rules) {
        self.follower.watch(rules);
    }

    /// Tells the scripts of the accounts that act on the lane.
    pub fn teach(&mut self, scripts: Scripts) {
        self.scripts = Some(scripts);
    }

    /// Starts the thread.
    pub fn start(self) -> io::Result<LiveL1> {
        let Self { options, runtime, follower, event_log, scripts } = self;
        let head = follower.head().clone();
        let (sender, told) = bounded(EVENTS_MAX);
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared::default());
        let until_idle = options.until_idle;
        let following = FollowLoop {
            options,
            follower,
            event_log,
            told: sender,
            shared: shared.clone(),
            stopped,
            unkept: None,
            compact_from: Instant::now(),
        };
        let run = move || following.run(&runtime);
        let thread = thread::Builder::new().name("kaspa follower".into()).spawn(run)?;
        Ok(LiveL1 { head, until_idle, shared, scripts, told: Some(told), stop, thread: Some(thread) })
    }
}

impl LiveL1 {
    /// Follows the node, from the tip of the event log at `place` where there is one; without a place nothing is kept.
    pub fn open(options: Options, place: Option<LockedPath>) -> Result<Self, LiveError> {
        Ok(Prepared::new(options, place)?.start()?)
    }

    /// Network, lane and root, as a recording without events.
    pub fn head(&self) -> &Recording {
        &self.head
    }

    /// The next event; `None` where there is none within `patience`.
    pub fn wait(&mut self, patience: Duration) -> Result<Option<SourceEvent>, SourceError> {
        let Some(told) = &self.told else { return Err(ended()) };
        let until = Instant::now() + patience;
        loop {
            match told.recv_deadline(until) {
                Ok(Ok(Told::Event(event))) => return Ok(Some(event)),
                Ok(Ok(Told::Final(_))) => {}
                Ok(Err(error)) => return Err(error),
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => return Err(ended()),
            }
        }
    }
}

impl ChainSource for LiveL1 {
    fn poll(&mut self, progress: Progress) -> Result<Poll, SourceError> {
        self.shared.finalized.store(progress.finalized.0, Ordering::Relaxed);
        self.shared.floor.store(progress.floor.0, Ordering::Relaxed);
        // Before the queue is looked at: what was said before it is in the queue.
        let caught_up = self.shared.caught_up.load(Ordering::Acquire);
        let idle = self.until_idle && caught_up && progress.proved && progress.settled;
        let Some(told) = &self.told else { return Err(ended()) };
        match told.try_recv() {
            Ok(Ok(Told::Event(event))) => {
                self.scripts.iter().for_each(|scripts| event.added.iter().for_each(|it| scripts.learn(it)));
                Ok(Poll::Event(event))
            }
            Ok(Ok(Told::Final(block))) => Ok(Poll::Final(block)),
            Ok(Err(error)) => Err(error),
            Err(TryRecvError::Empty) if idle => Ok(Poll::End),
            Err(TryRecvError::Empty) => Ok(Poll::Pending),
            Err(TryRecvError::Disconnected) => Err(ended()),
        }
    }

    fn connection(&self) -> Option<Connection> {
        let lost = self.shared.lost().as_ref().map(|lost| source::Disconnection {
            hitch: lost.hitch,
            since: lost.since.duration_since(UNIX_EPOCH).unwrap_or_default(),
            lasting: lost.at.elapsed(),
            reason: lost.reason.clone(),
        });
        let last_block = Some(self.shared.last_block_ms.load(Ordering::Relaxed)).filter(|ms| *ms > 0);
        Some(Connection {
            lost,
            last_block: last_block.map(Duration::from_millis),
            pages_behind: self.told.as_ref().map_or(0, Receiver::len),
            caught_up: self.shared.caught_up.load(Ordering::Relaxed),
            reached: self.shared.reached.load(Ordering::Relaxed),
            goal: self.shared.goal.load(Ordering::Relaxed),
        })
    }

    fn disk_error(&self) -> Option<String> {
        self.shared.unkept().clone()
    }
}

impl Drop for LiveL1 {
    fn drop(&mut self) {
        // A thread that has ended receives neither.
        self.told = None;
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn ended() -> SourceError {
    failed("the following thread ended early: see the log above".into())
}

fn failed(reason: String) -> SourceError {
    SourceError { source_name: "kaspa".into(), reason }
}

async fn start(options: &Options) -> Result<Follower, LiveError> {
    let client = client::connect(&options.url, CONNECT_WITHIN).await?;
    let depth = options.confirmations.max(ROOT_CONFIRMATIONS);
    let follower = Follower::start(&chain(options, &client), options.lane.clone(), options.from, depth).await;
    disconnect(&client).await;
    let mut follower = follower?;
    follower.confirm(options.confirmations);
    Ok(follower)
}

/// A follower where the event log's events begin.
fn resumed(options: &Options, event_log: &EventLog) -> Result<Follower, LiveError> {
    let head = event_log.head();
    let other = |differs| LiveError::Other { path: event_log.path().display().to_string(), differs };
    if head.lane != options.lane {
        return Err(other("another lane, covenant or deposit script"));
    }
    if options.from.is_some_and(|from| from != head.root.metadata.block_hash) {
        return Err(other("another first block"));
    }
    let network: NetworkId = head.network.parse().map_err(|_| other("a network that is unknown here"))?;
    let (height, base) = (event_log.compacted(), event_log.base());
    let track =
        Track::above(height, head.lane.key, Track::window(network), base).map_err(FollowError::from)?;
    let mut follower = Follower::at(head.clone(), track);
    follower.confirm(options.confirmations);
    Ok(follower)
}

/// The block that the lane's covenant is followed from by whom nothing is known of it yet: `rules` and `first` say what
/// it is on the node's network. None where there are no rules there.
pub fn root_of_covenant(
    options: &Options,
    rules: &dyn Fn(NetworkId) -> Option<Rules>,
    first: First<'_>,
) -> Result<Option<BlockHash>, LiveError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let client = client::connect(&options.url, CONNECT_WITHIN).await?;
        let chain = chain(options, &client);
        let network = chain.server().await.map_err(FollowError::from)?.network_id;
        let Some(rules) = rules(network) else { return Ok(None) };
        tracing::info!("looking for the block that the covenant begins after");
        let found = root::find(&chain, &options.lane, &rules, first).await;
        disconnect(&client).await;
        Ok(Some(found?))
    })
}

fn chain(options: &Options, client: &Client) -> Patient<Box<dyn Chain>> {
    let rpc: Arc<dyn RpcApi> = client.clone();
    let chain = match &options.through {
        Some(through) => through(Box::new(rpc)),
        None => Box::new(rpc),
    };
    Patient { chain, within: ANSWER_WITHIN }
}

async fn disconnect(client: &Client) {
    // A connection that is gone cannot be closed, and need not be.
    let _ = tokio::time::timeout(CONNECT_WITHIN, client.disconnect()).await;
}

/// Why a connection is of no more use.
enum Interruption {
    /// Connect again.
    Passing(Hitch, String),
    /// What the node answered does not check: connect again, but not for ever.
    Wrong(String),
    /// The receiver is gone.
    Stopped,
    /// For good.
    Fatal(String),
}

impl From<FollowError> for Interruption {
    fn from(error: FollowError) -> Self {
        let said = error.to_string();
        match error {
            FollowError::Behind { .. } => Self::Passing(Hitch::Behind, said),
            error if error.passes() => Self::Passing(Hitch::Away, said),
            error if error.is_final() => Self::Fatal(said),
            _ => Self::Wrong(said),
        }
    }
}

impl From<LogError> for Interruption {
    fn from(error: LogError) -> Self {
        Self::Fatal(error.to_string())
    }
}

/// The thread's.
struct FollowLoop {
    options: Options,
    follower: Follower,
    event_log: Option<EventLog>,
    told: Sender<Result<Told, SourceError>>,
    shared: Arc<Shared>,
    stopped: watch::Receiver<bool>,
    /// An event that the follower has taken and the event log not yet.
    unkept: Option<SourceEvent>,
    /// No compaction is tried before.
    compact_from: Instant,
}

/// What came of asking the node.
enum Asked {
    Event,
    Nothing,
    /// An event that cannot be kept yet.
    Unkept,
}

impl FollowLoop {
    fn run(mut self, runtime: &Runtime) {
        let told = self.told.clone();
        // No panic of the client's crosses the thread, whatever a node says.
        let ended = catch_unwind(AssertUnwindSafe(|| {
            self.replay()?;
            runtime.block_on(self.stay())
        }));
        let reason = match ended {
            Ok(Ok(()) | Err(Interruption::Stopped)) => return,
            Ok(Err(
                Interruption::Fatal(reason) | Interruption::Wrong(reason) | Interruption::Passing(_, reason),
            )) => reason,
            Err(_) => "the following thread panicked: see the log above".into(),
        };
        // Nobody may be listening any more.
        let _ = told.send(Err(failed(reason)));
    }

    /// Sends what the event log holds.
    fn replay(&mut self) -> Result<(), Interruption> {
        let Some(event_log) = &self.event_log else { return Ok(()) };
        let tell = |event| self.told.send(Ok(Told::Event(event))).map_err(|_| Interruption::Stopped);
        // This part was checked when it came, before it was compacted.
        for run in event_log.settled() {
            tell(SourceEvent { removed: vec![], added: run? })?;
        }
        for event in event_log.events() {
            let event = event?;
            let refused = |e| {
                Interruption::Fatal(format!(
                    "{}: the event log does not check: {e}",
                    event_log.path().display()
                ))
            };
            self.follower.resume(&event).map_err(refused)?;
            self.shared.hand_on(&event);
            tell(event)?;
        }
        Ok(())
    }

    /// Forgets what is final, and compacts what is settled for good.
    fn tidy(&mut self) {
        self.follower.forget_below(self.shared.finalized.load(Ordering::Relaxed));
        let Some(event_log) = &mut self.event_log else { return };
        let height = self.shared.floor.load(Ordering::Relaxed).saturating_sub(1);
        let done = event_log.compacted();
        // What is compacted ends in a block that the chain can be followed on from.
        let Some(height) = self.follower.track().opened_below(height, done) else { return };
        if height.saturating_sub(done) < COMPACT_MIN.max(done / 2) || Instant::now() < self.compact_from {
            return;
        }
        let path = event_log.path().display().to_string();
        let compacted = event_log.compact(height);
        self.follower.forget_opened(event_log.compacted());
        match compacted {
            Ok(true) => tracing::info!("{path}: {} blocks are compacted", event_log.compacted()),
            Ok(false) => {}
            // It is as it was, and goes on growing.
            Err(error) => {
                tracing::warn!("{error}; it stays as it was");
                self.compact_from = Instant::now() + COMPACT_AGAIN;
            }
        }
    }

    /// Stays with the node for as long as anybody listens.
    async fn stay(&mut self) -> Result<(), Interruption> {
        let (mut wait, mut wrong) = (WAIT_MIN, 0);
        loop {
            self.tidy();
            let mut stopped = self.stopped.clone();
            let before = self.follower.track().tip().block_hash;
            let url = self.options.url.clone();
            let connected = tokio::select! {
                connected = client::connect(&url, CONNECT_WITHIN) => connected,
                () = stop_requested(&mut stopped) => return Ok(()),
            };
            let (hitch, reason) = match connected {
                Ok(client) => {
                    tracing::info!("connected to {url}");
                    let lost = tokio::select! {
                        lost = self.follow(&client) => lost,
                        () = stop_requested(&mut stopped) => Interruption::Stopped,
                    };
                    disconnect(&client).await;
                    match lost {
                        Interruption::Passing(hitch, reason) => (hitch, reason),
                        Interruption::Wrong(reason) => {
                            let moved = before != self.follower.track().tip().block_hash;
                            wrong = if moved { 1 } else { wrong + 1 };
                            if wrong >= self.options.wrong_answers_max {
                                return Err(Interruption::Wrong(reason));
                            }
                            (Hitch::Answers, reason)
                        }
                        other => return Err(other),
                    }
                }
                Err(away) => (Hitch::Away, away.to_string()),
            };
            if before != self.follower.track().tip().block_hash {
                wait = WAIT_MIN;
            }
            self.shared.lose(hitch, &reason);
            tracing::warn!("{reason}; connecting again in {wait:?}");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop_requested(&mut stopped) => return Ok(()),
            }
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    /// Follows the node over one connection, until that is of no more use.
    async fn follow(&mut self, client: &Client) -> Interruption {
        let chain = chain(&self.options, client);
        let wake = match subscribe(client).await {
            Ok(wake) => wake,
            Err(error) => return Interruption::Passing(Hitch::Away, error.to_string()),
        };
        if let Err(lost) = self.check_network(&chain).await {
            return judged(lost, client, &chain).await;
        }
        let mut asked = Instant::now();
        loop {
            loop {
                match self.ask(&chain).await {
                    Ok(Asked::Event) => {}
                    Ok(Asked::Nothing) => break,
                    Ok(Asked::Unkept) => {
                        tokio::time::sleep(KEEP_AGAIN).await;
                        continue;
                    }
                    Err(lost) => return judged(lost, client, &chain).await,
                }
                // It answers, and what it answers checks.
                *self.shared.lost() = None;
                if asked.elapsed() > ASK_EVERY {
                    asked = Instant::now();
                    if let Err(lost) = self.look_ahead(&chain).await {
                        return judged(lost, client, &chain).await;
                    }
                    self.tidy();
                }
            }
            if !self.shared.caught_up.load(Ordering::Relaxed) {
                // Nothing new from a node that is catching up itself is not its network's tip.
                match self.look_ahead(&chain).await {
                    Ok(true) => self.shared.caught_up.store(true, Ordering::Release),
                    Ok(false) => self.shared.lose(Hitch::Unsynced, "the node is not synced yet"),
                    Err(lost) => return judged(lost, client, &chain).await,
                }
            }
            if self.shared.caught_up.load(Ordering::Relaxed) {
                *self.shared.lost() = None;
            }
            self.tidy();
            // Woken or not: ask.
            wake.wait(ASK_EVERY).await;
            if !client.is_connected() {
                return Interruption::Passing(Hitch::Away, "the connection is lost".into());
            }
        }
    }

    /// Asks how far the node's chain goes; whether the node is synced with its network.
    async fn look_ahead(&self, chain: &dyn Chain) -> Result<bool, Interruption> {
        let info = chain.server().await.map_err(FollowError::from)?;
        self.shared.goal.store(info.virtual_daa_score, Ordering::Relaxed);
        Ok(is_synced(&info))
    }

    async fn check_network(&self, chain: &dyn Chain) -> Result<(), Interruption> {
        let info = chain.server().await.map_err(FollowError::from)?;
        self.shared.goal.store(info.virtual_daa_score, Ordering::Relaxed);
        let found = info.network_id.to_string();
        let expected = self.follower.head().network.clone();
        if found != expected {
            return Err(FollowError::Network { found, expected }.into());
        }
        Ok(())
    }

    /// Takes one part of a page.
    async fn ask(&mut self, chain: &dyn Chain) -> Result<Asked, Interruption> {
        let event = match self.unkept.take() {
            Some(event) => event,
            None => match self.follower.next_event(chain).await {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(Asked::Nothing),
                Err(error) => return Err(error.into()),
            },
        };
        let (removed, added) = (event.removed.len(), event.added.len());
        tracing::debug!("-{removed} +{added} blocks, tip {}", self.follower.track().tip().block_hash);
        match self.event_log.as_mut().map_or(Ok(()), |event_log| event_log.append(&event)) {
            Ok(()) => *self.shared.unkept() = None,
            Err(error) if error.is_transient() => {
                if self.shared.unkept().replace(error.to_string()).is_none() {
                    tracing::warn!("{error}: the L1 waits");
                }
                self.unkept = Some(event);
                return Ok(Asked::Unkept);
            }
            Err(error) => return Err(error.into()),
        }
        self.shared.hand_on(&event);
        self.told.send(Ok(Told::Event(event))).map_err(|_| Interruption::Stopped)?;
        if let Some(block) = self.follower.newly_final() {
            self.told.send(Ok(Told::Final(block))).map_err(|_| Interruption::Stopped)?;
        }
        Ok(Asked::Event)
    }
}

fn is_synced(info: &GetServerInfoResponse) -> bool {
    info.is_synced || !names::has_peers(info.network_id)
}

/// What a node says over a connection that is gone is no answer, nor is that of a node that is catching up itself.
async fn judged(lost: Interruption, client: &Client, chain: &dyn Chain) -> Interruption {
    let (Interruption::Passing(_, said) | Interruption::Wrong(said) | Interruption::Fatal(said)) = &lost
    else {
        return lost;
    };
    match tokio::time::timeout(CONNECT_WITHIN, chain.server()).await {
        Ok(Ok(info)) if is_synced(&info) && client.is_connected() => lost,
        Ok(Ok(info)) if !is_synced(&info) => {
            Interruption::Passing(Hitch::Unsynced, format!("{said} (the node is not synced yet)"))
        }
        _ => Interruption::Passing(Hitch::Away, said.clone()),
    }
}

async fn stop_requested(stopped: &mut watch::Receiver<bool>) {
    // Whoever could say it is gone: the same.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn subscribe(client: &Client) -> Result<WakeUp, RpcError> {
    let (sender, receiver) = async_channel::unbounded();
    let listener = ChannelConnection::new("reprise", sender, ChannelType::Closable);
    let listener = client.register_new_listener(listener);
    client.start_notify(listener, Scope::VirtualChainChanged(VirtualChainChangedScope::new(false))).await?;
    Ok(WakeUp::on(receiver))
}
