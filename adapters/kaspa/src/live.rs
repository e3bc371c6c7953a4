//! A live node as a chain source: a thread that follows it through reorgs, restarts and lost connections.
//!
//! # Asking
//!
//! A notification of a changed chain only wakes the thread. The thread then asks what changed since its tip, and also asks
//! from time to time without a notification. Any number of notifications while it is busy lead to one more request
//! ([`WakeUp`]). After a lost connection the thread reconnects, with growing waits, subscribes again, and catches up by the
//! same request. So it misses nothing that the node still has.
//!
//! The timeout is that of one answer, not of a page: a page of any length is taken in parts, and each part is kept once it
//! is checked.
//!
//! # Order
//!
//! An event is checked ([`follower`](crate::follower)), then written to the [`EventLog`], then sent to the pipeline. A
//! restart sends the events of the event log and continues from its tip.
//!
//! The pipeline's progress says what is final. The thread drops final blocks from memory, and compacts the event log there. Below
//! the snapshot that the next process begins with, it cuts the event log off. Where the disk has no room for that, the next process
//! passes over what lies below, and cuts it off once there is room.
//!
//! # Failures
//!
//! The thread waits for a node that is away, starting, behind or not synced. It also waits for a node whose answers
//! contradict themselves, lack a field or tell of a reorg below what is final: it drops the answer and asks again over another connection. One that shows nothing new
//! for a minute is replaced too: its node may have stopped where the address leads to others that go on. After
//! [`Options::wrong_answers_max`] such connections in a row, the source ends with a [`SourceError`] that names the block
//! and the field. Meanwhile [`ChainSource::connection`] reports the state by name ([`Hitch`]).

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
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
use reprise_chain::source::{
    self, ChainSource, Connection, Hitch, LaneSilence, Poll, Progress, Ready, SourceError,
};
use reprise_disk::data_dir::LockedPath;
use reprise_disk::log::LogError;
use reprise_model::anchor::AnchorDepth;
use reprise_model::block::{ChainBlock, ChainRoot, ObservedSettlement};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::client::{self, Client, ClientError};
use crate::covenant::{Rules, State};
use crate::follower::{FirstState, FollowError, Follower, StatementOf};
use crate::names;
use crate::node_chain::{Chain, WithTimeout};
use crate::root::{self, First, RootError};
use crate::track::Track;
use crate::wake::WakeUp;

const ANSWER_WITHIN: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_secs(2);
const WAIT_MIN: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(10);

/// The depth, in blue scores, of the block that a new chain is followed from, so that no reorg removes it.
pub const ROOT_CONFIRMATIONS: u64 = 100;

/// The wait before a founding that is not confirmed yet is looked at again.
const FRESH_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// How long a connection may show nothing new, unless somebody says otherwise: hundreds of blocks of a public network.
pub const QUIET_MAX: Duration = Duration::from_secs(60);

/// How many connections in a row may end in an answer that fails its checks: about ten minutes of them.
pub const WRONG_ANSWERS_MAX: u32 = 60;

/// How many events may wait for the pipeline before the thread stops asking.
const EVENTS_MAX: usize = 16;

/// The least number of newly final blocks that start a compaction. It also takes half of the number that was compacted
/// before, so that all compactions together write no more than a few times the file.
const COMPACT_MIN: u64 = 1024;

/// The wait after a failed compaction.
const COMPACT_RETRY: Duration = Duration::from_secs(300);

/// After how long an outage the node has to be caught up with anew.
const CATCH_UP_AFTER: Duration = Duration::from_secs(60);

/// The wait before an event is written again after its write failed.
const WRITE_RETRY: Duration = Duration::from_secs(1);

/// Wraps the node, so that a test sees or changes its answers.
pub type ChainWrapper = Arc<dyn Fn(Box<dyn Chain>) -> Box<dyn Chain> + Send + Sync>;

/// What to follow, and how.
#[derive(Clone)]
pub struct Options {
    /// The node's borsh wRPC server.
    pub url: String,
    /// The lane.
    pub lane: Lane,
    /// The block to start at where nothing was followed before. Without one, a block [`ROOT_CONFIRMATIONS`] below the
    /// node's tip.
    pub from: Option<BlockHash>,
    /// How many blue scores a block must lie below the node's tip to be followed; 0 follows the tip itself.
    pub confirmations: u64,
    /// Whether the L1 ends once the node's tip is reached and everything is proved and settled.
    pub until_idle: bool,
    /// How many connections in a row may end in an answer that fails its checks before the source ends.
    pub wrong_answers_max: u32,
    /// The network's finality depth, where its parameters are overridden: how long a lane's entry lasts, and how deep a block
    /// may lie for a settlement to be anchored in it.
    pub finality_depth: Option<u64>,
    /// The snapshot to start from where nothing was followed before, instead of a block.
    pub snapshot: Option<SnapshotStart>,
    /// How long a connection may show nothing new before another one is made, where it is not [`QUIET_MAX`]: one address may
    /// lead to several nodes, and this one lag behind.
    pub quiet_max: Option<Duration>,
    /// A wrapper around the node, for tests.
    pub through: Option<ChainWrapper>,
}

/// What a follower takes of a snapshot.
#[derive(Debug, Clone)]
pub struct SnapshotStart {
    /// Its block.
    pub block: ChainRoot,
    /// The block's checkpoint.
    pub checkpoint: Checkpoint,
    /// The state that the covenant had, or has, after the settlement which ends there.
    pub state: State,
}

/// A node that is about to be followed.
pub struct Prepared {
    options: Options,
    runtime: Runtime,
    follower: Follower,
    event_log: Option<EventLog>,
}

/// Why following cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ClientError),
    /// The node's first answers fail their checks.
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
    /// What was followed before began with a snapshot, and that is gone.
    #[error(
        "{path}: it begins with a snapshot, which is not in the data directory any more: import one (`reprise snapshot import \
         --replace`; see snapshots/ in the data directory)"
    )]
    NoSnapshot {
        /// The event log.
        path: String,
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
    messages: Option<Receiver<Result<Message, SourceError>>>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// A message of the thread.
enum Message {
    Event(SourceEvent),
    Final(BlockHash),
}

/// The state that the thread and its owner share.
struct Shared {
    /// Whether the node's tip was reached, since the start or a long outage.
    caught_up: AtomicBool,
    /// The pipeline's progress, as of its last poll.
    finalized: AtomicU64,
    /// Since when the node is not followed, and why; `None` while it is.
    lost: Mutex<Option<Outage>>,
    /// The timestamp of the last block handed on, in milliseconds; 0 before the first.
    last_block_ms: AtomicU64,
    /// The DAA scores of the last block handed on, and of the node's tip, when it was asked last.
    reached: AtomicU64,
    goal: AtomicU64,
    /// The settled block that the next process begins with, while the event log reaches further down.
    begins: Mutex<Option<(ChainRoot, Checkpoint)>>,
    /// How long the lane of a covenant has been silent, at the tip of what is followed.
    lane: Mutex<Option<LaneSilence>>,
    /// Why the last event is not written yet; `None` where it is.
    unwritten: Mutex<Option<String>>,
    /// Tells the pipeline that a message waits, once it has asked for that.
    ready: OnceLock<Ready>,
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
            begins: Mutex::default(),
            lost: Mutex::new(lost),
            last_block_ms: AtomicU64::default(),
            reached: AtomicU64::default(),
            goal: AtomicU64::default(),
            lane: Mutex::default(),
            unwritten: Mutex::default(),
            ready: OnceLock::new(),
        }
    }
}

impl Shared {
    fn delivered(&self, event: &SourceEvent) {
        if let Some(last) = event.added.last() {
            self.last_block_ms.store(last.metadata.timestamp_ms, Ordering::Relaxed);
            self.reached.store(last.metadata.daa_score, Ordering::Relaxed);
        }
    }

    fn unwritten(&self) -> MutexGuard<'_, Option<String>> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begins(&self) -> MutexGuard<'_, Option<(ChainRoot, Checkpoint)>> {
        self.begins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lane(&self) -> MutexGuard<'_, Option<LaneSilence>> {
        self.lane.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self) -> MutexGuard<'_, Option<Outage>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the node is not followed for so long.
    fn is_lost_for(&self, long: Duration) -> bool {
        self.lost().as_ref().is_some_and(|lost| lost.at.elapsed() >= long)
    }

    /// Nobody has asked the node yet: the time in which the event log is read is no outage.
    fn mark_not_asked(&self) {
        *self.lost() = Some(Outage::now(Hitch::Away, "not connected yet"));
    }

    /// Records that the node is not followed, and why. An outage that began before keeps its beginning.
    fn mark_lost(&self, hitch: Hitch, reason: &str) {
        let mut lost = self.lost();
        let now = Outage::now(hitch, reason);
        *lost = Some(match lost.take() {
            Some(before) => Outage { since: before.since, at: before.at, ..now },
            None => now,
        });
    }
}

impl Prepared {
    /// Reads the event log at `place`. Where there is none, asks the node for its chain and begins an event log.
    pub fn new(options: Options, place: Option<LockedPath>) -> Result<Self, LiveError> {
        let runtime = client::runtime()?;
        let (follower, event_log) = followed(&options, place, || runtime.block_on(start(&options)))?;
        Ok(Self { options, runtime, follower, event_log })
    }

    /// Network, lane and root, as a recording without events.
    pub fn head(&self) -> &Recording {
        self.follower.head()
    }

    /// How deep a block may lie for a settlement to be anchored in it.
    pub fn anchor_depth(&self) -> AnchorDepth {
        AnchorDepth(self.follower.track().expires_after())
    }

    /// Reads the settlements of the lane's covenant under these rules.
    pub fn watch(&mut self, rules: Rules, first: FirstState, statement_of: StatementOf) {
        self.follower.watch(rules, first, statement_of);
    }

    /// The block that carries a settlement, if the node's chain shows it above the block that is followed from. Asks the node, and
    /// takes no more than that.
    pub fn carrier_of(&self, settlement: &ObservedSettlement) -> Result<Option<BlockHash>, LiveError> {
        let mut follower = self.follower.clone();
        self.runtime.block_on(async {
            let client = client::connect(&self.options.url).await?;
            let node = chain(&self.options, &client);
            let found = loop {
                let Some(event) = follower.next_event(&node).await? else { break None };
                let carries = event.added.iter().find(|block| block.settlements.contains(settlement));
                if let Some(block) = carries {
                    break Some(block.metadata.block_hash);
                }
            };
            Ok(found)
        })
    }

    /// Starts the thread.
    pub fn start(self) -> io::Result<LiveL1> {
        let Self { options, runtime, follower, event_log } = self;
        let head = follower.head().clone();
        let (sender, messages) = bounded(EVENTS_MAX);
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared::default());
        let until_idle = options.until_idle;
        let begins = options.snapshot.as_ref().map(|snapshot| (snapshot.block.clone(), snapshot.checkpoint));
        let snapshot = begins.as_ref().map_or(Checkpoint(0), |(_, checkpoint)| *checkpoint);
        let logged_from = event_log.as_ref().map_or(snapshot, EventLog::checkpoint);
        if logged_from < snapshot {
            *shared.begins() = begins;
        }
        let first = logged_from.0;
        let following = FollowLoop {
            options,
            follower,
            event_log,
            first,
            logged_from: first,
            messages: sender,
            shared: shared.clone(),
            stopped,
            unwritten: None,
            compact_from: Instant::now(),
        };
        let run = move || following.run(&runtime);
        let thread = thread::Builder::new().name("kaspa follower".into()).spawn(run)?;
        Ok(LiveL1 { head, until_idle, shared, messages: Some(messages), stop, thread: Some(thread) })
    }
}

impl LiveL1 {
    /// Follows the node, from the tip of the event log at `place` where there is one. Without a place nothing is written.
    pub fn open(options: Options, place: Option<LockedPath>) -> Result<Self, LiveError> {
        Ok(Prepared::new(options, place)?.start()?)
    }

    /// Network, lane and root, as a recording without events.
    pub fn head(&self) -> &Recording {
        &self.head
    }

    /// The next event; `None` where none comes within `patience`.
    pub fn wait(&mut self, patience: Duration) -> Result<Option<SourceEvent>, SourceError> {
        let Some(messages) = &self.messages else { return Err(ended()) };
        let until = Instant::now() + patience;
        loop {
            match messages.recv_deadline(until) {
                Ok(Ok(Message::Event(event))) => return Ok(Some(event)),
                Ok(Ok(Message::Final(_))) => {}
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
        // Read before the queue: the events from before it was set are in the queue.
        let caught_up = self.shared.caught_up.load(Ordering::Acquire);
        let idle = self.until_idle && caught_up && progress.proved && progress.settled;
        let Some(messages) = &self.messages else { return Err(ended()) };
        match messages.try_recv() {
            Ok(Ok(Message::Event(event))) => Ok(Poll::Event(event)),
            Ok(Ok(Message::Final(block))) => Ok(Poll::Final(block)),
            Ok(Err(error)) => Err(error),
            Err(TryRecvError::Empty) if idle => Ok(Poll::End),
            Err(TryRecvError::Empty) => Ok(Poll::Pending),
            Err(TryRecvError::Disconnected) => Err(ended()),
        }
    }

    fn begin_at(&mut self, block: &ChainRoot, checkpoint: Checkpoint) {
        *self.shared.begins() = Some((block.clone(), checkpoint));
    }

    fn notify(&mut self, ready: Ready) {
        // A second consumer would be told by polling alone.
        let _ = self.shared.ready.set(ready);
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
            pages_behind: self.messages.as_ref().map_or(0, Receiver::len),
            caught_up: self.shared.caught_up.load(Ordering::Relaxed),
            reached: self.shared.reached.load(Ordering::Relaxed),
            goal: self.shared.goal.load(Ordering::Relaxed),
            lane: *self.shared.lane(),
        })
    }

    fn disk_error(&self) -> Option<String> {
        self.shared.unwritten().clone()
    }
}

impl Drop for LiveL1 {
    fn drop(&mut self) {
        // Sending fails where the thread has ended: nothing to stop.
        self.messages = None;
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn ended() -> SourceError {
    failed("the thread that follows the node ended early: see the log above".into())
}

fn failed(reason: String) -> SourceError {
    SourceError { source_name: "kaspa".into(), reason }
}

async fn start(options: &Options) -> Result<Follower, LiveError> {
    let client = client::connect(&options.url).await?;
    let depth = options.confirmations.max(ROOT_CONFIRMATIONS);
    let (node, lane) = (chain(options, &client), options.lane.clone());
    let follower = match &options.snapshot {
        Some(snapshot) => Follower::start_from(&node, lane, snapshot.block.clone()).await,
        None => Follower::start(&node, lane, options.from, depth).await,
    };
    let mut follower = follower?;
    follower.set_confirmations(options.confirmations);
    options.finality_depth.into_iter().for_each(|depth| follower.set_finality_depth(depth));
    Ok(follower)
}

/// A follower at the block where the event log's events begin.
/// The event log at `place`, and a follower that goes on from its end. Where there is none, `begin` asks the node for its chain. So
/// it does where the log is damaged in a part that only the node has again: from the snapshot on, as long as it shows that block.
pub fn followed(
    options: &Options,
    place: Option<LockedPath>,
    begin: impl FnOnce() -> Result<Follower, LiveError>,
) -> Result<(Follower, Option<EventLog>), LiveError> {
    let kept = match place.clone().map(EventLog::open).transpose() {
        Err(damage @ LogError::Damaged { .. }) if options.snapshot.is_some() => {
            tracing::warn!("{damage}: the chain is followed again from the snapshot");
            None
        }
        kept => kept?.flatten(),
    };
    if let Some(mut event_log) = kept {
        // An earlier process moved the beginning up, and had no time or no room to cut the log.
        if let Some(snapshot) = &options.snapshot {
            match event_log.begin_at(snapshot.block.clone(), snapshot.checkpoint) {
                // It is cut once there is room, and until then what lies below is passed over.
                Err(full) if full.is_full() => tracing::warn!("{full}; the event log stays as it was"),
                cut => drop(cut?),
            }
        }
        return Ok((resumed(options, &event_log)?, Some(event_log)));
    }
    let follower = begin()?;
    let head = follower.head().clone();
    if let Some(damaged) = place.as_ref().filter(|place| place.exists()) {
        let aside = damaged.put_aside(".damaged").map_err(|source| {
            let (path, what) = (damaged.path().to_path_buf(), "the event log");
            LogError::Io { path, action: "put aside", what, source }
        })?;
        tracing::warn!("{} is put aside as {}", damaged.path().display(), aside.display());
    }
    let checkpoint = options.snapshot.as_ref().map_or(Checkpoint(0), |snapshot| snapshot.checkpoint);
    let event_log = place.map(|place| EventLog::begin(place, head, checkpoint)).transpose()?;
    Ok((follower, event_log))
}

fn resumed(options: &Options, event_log: &EventLog) -> Result<Follower, LiveError> {
    let head = event_log.head();
    let other = |differs| LiveError::Other { path: event_log.path().display().to_string(), differs };
    if head.lane != options.lane {
        return Err(other("another lane, covenant or deposit script"));
    }
    if options.from.is_some_and(|from| from != head.root.metadata.block_hash) {
        return Err(other("another first block"));
    }
    let root = match &options.snapshot {
        Some(SnapshotStart { block, checkpoint, .. }) => {
            let begins = (block, *checkpoint) == (&head.root, event_log.checkpoint());
            // Or it lies further up, where the log could not be cut.
            let above = *checkpoint > event_log.checkpoint() && event_log.has(&block.metadata.block_hash)?;
            if !begins && !above {
                return Err(other("another first block than the snapshot's"));
            }
            block
        }
        None if event_log.checkpoint() > Checkpoint(0) => {
            return Err(LiveError::NoSnapshot { path: event_log.path().display().to_string() });
        }
        None => &head.root,
    };
    let network: NetworkId = head.network.parse().map_err(|_| other("a network that is unknown here"))?;
    let (height, base) = (event_log.compacted(), event_log.base());
    let window = options.finality_depth.unwrap_or_else(|| Track::window(network));
    let active = event_log.last_active();
    let track = Track::above(height, head.lane.key, window, base, active).map_err(FollowError::from)?;
    let mut follower = Follower::at(Recording { root: root.clone(), ..head.clone() }, track);
    follower.set_confirmations(options.confirmations);
    Ok(follower)
}

/// What the pipeline takes of an event log: the part above the block that it begins with, which is final. The log reaches further
/// down where it could not be cut.
struct Above {
    block: BlockHash,
    /// Whether what comes next lies above the block.
    is_reached: bool,
    /// How many events come before the one that adds the block for good, if an event does.
    before: Option<usize>,
}

impl Above {
    fn of(event_log: &EventLog, block: BlockHash) -> Result<Self, LogError> {
        let is_reached = event_log.head().root.metadata.block_hash == block;
        let mut above = Self { block, is_reached, before: None };
        if is_reached {
            return Ok(above);
        }
        for (number, event) in event_log.events().enumerate() {
            let event = event?;
            if event.removed.contains(&block) {
                above.before = None;
            }
            if above.position(&event.added).is_some() {
                above.before = Some(number);
            }
        }
        Ok(above)
    }

    fn position(&self, blocks: &[ChainBlock]) -> Option<usize> {
        blocks.iter().position(|it| it.metadata.block_hash == self.block)
    }

    /// The part of the next blocks of the compacted part.
    fn of_run(&mut self, mut run: Vec<ChainBlock>) -> Vec<ChainBlock> {
        if self.is_reached {
            return run;
        }
        let Some(at) = self.position(&run) else { return vec![] };
        self.is_reached = true;
        run.split_off(at + 1)
    }

    /// The part of the next event.
    fn of_event(&mut self, event: SourceEvent) -> SourceEvent {
        if self.is_reached {
            return event;
        }
        let nothing = SourceEvent { removed: vec![], added: vec![] };
        match self.before.as_mut() {
            Some(0) => SourceEvent { added: self.of_run(event.added), ..nothing },
            Some(before) => {
                *before -= 1;
                nothing
            }
            None => nothing,
        }
    }
}

/// The block to follow the lane's covenant from, for a data directory that does not know it. `rules` gives the covenant's
/// rules on the node's network, and `first` its first state. `None` where the network has no rules.
pub fn root_of_covenant(
    options: &Options,
    rules: &dyn Fn(NetworkId) -> Option<Rules>,
    first: First<'_>,
) -> Result<Option<BlockHash>, LiveError> {
    let runtime = client::runtime()?;
    runtime.block_on(async {
        let client = client::connect(&options.url).await?;
        let chain = chain(options, &client);
        let network = chain.server().await.map_err(FollowError::from)?.network_id;
        let Some(rules) = rules(network) else { return Ok(None) };
        tracing::info!("looking for the block that the covenant begins after");
        // A private network has no reorg that nobody made.
        let confirmations = if names::has_peers(network) { ROOT_CONFIRMATIONS } else { 0 };
        let found = loop {
            match root::find(&chain, &options.lane, &rules, first, confirmations).await {
                Err(fresh @ RootError::Fresh { .. }) => {
                    tracing::info!("{fresh}");
                    tokio::time::sleep(FRESH_AGAIN_AFTER).await;
                }
                found => break found,
            }
        };
        Ok(Some(found?))
    })
}

fn chain(options: &Options, client: &Client) -> WithTimeout<'static> {
    let rpc = client.rpc();
    let chain = match &options.through {
        Some(through) => through(Box::new(rpc)),
        None => Box::new(rpc),
    };
    WithTimeout { chain, timeout: ANSWER_WITHIN }
}

/// Why following over one connection ended.
enum Interruption {
    /// A passing cause: connect again.
    Passing(Hitch, String),
    /// Nothing new for long: another connection may lead to a node that has more.
    Quiet,
    /// An answer that fails its checks: connect again, a limited number of times.
    Wrong(String),
    /// The receiver was dropped.
    Stopped,
    /// An error that no reconnection mends.
    Fatal(String),
}

impl From<FollowError> for Interruption {
    fn from(error: FollowError) -> Self {
        let said = error.to_string();
        match error {
            FollowError::Behind { .. } => Self::Passing(Hitch::Behind, said),
            error if error.is_transient() => Self::Passing(Hitch::Away, said),
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

/// The state of the thread.
struct FollowLoop {
    options: Options,
    follower: Follower,
    event_log: Option<EventLog>,
    /// The checkpoint that the follower's heights count from, and the one that the event log's do. (Checkpoints count from the
    /// rollup's first block.)
    first: u64,
    logged_from: u64,
    messages: Sender<Result<Message, SourceError>>,
    shared: Arc<Shared>,
    stopped: watch::Receiver<bool>,
    /// An event that the follower has taken and that is not in the event log yet.
    unwritten: Option<SourceEvent>,
    /// The time of the next try to compact.
    compact_from: Instant,
}

/// When the next connection is made, and when there were enough wrong answers.
struct Reconnecting {
    wait: Duration,
    /// How many connections in a row ended in a wrong answer: none between them was good.
    wrong: u32,
    wrong_max: u32,
}

impl Reconnecting {
    fn new(wrong_max: u32) -> Self {
        Self { wait: WAIT_MIN, wrong: 0, wrong_max }
    }

    /// A connection has ended; `moved` says whether blocks came over it. Returns the wait before the next; `None` where there is to be
    /// none.
    fn ended(&mut self, lost: &Interruption, moved: bool) -> Option<Duration> {
        // A quiet one answered for a minute, and every answer passed its checks.
        if moved || matches!(lost, Interruption::Quiet) {
            (self.wait, self.wrong) = (WAIT_MIN, 0);
        }
        match lost {
            Interruption::Quiet => return Some(Duration::ZERO),
            Interruption::Passing(..) => {}
            Interruption::Wrong(_) => self.wrong += 1,
            Interruption::Stopped | Interruption::Fatal(_) => return None,
        }
        let wait = self.wait;
        self.wait = (wait * 2).min(WAIT_MAX);
        (self.wrong < self.wrong_max || self.wrong == 0).then_some(wait)
    }
}

/// The outcome of asking the node.
enum Asked {
    Event,
    Nothing,
    /// An event that cannot be written yet.
    Unwritten,
}

impl FollowLoop {
    fn run(mut self, runtime: &Runtime) {
        let (messages, shared) = (self.messages.clone(), self.shared.clone());
        // A panic of the client ends the source with an error, not the process.
        let ended = catch_unwind(AssertUnwindSafe(|| {
            self.replay()?;
            runtime.block_on(self.keep_following())
        }));
        let reason = match ended {
            Ok(Ok(()) | Err(Interruption::Stopped | Interruption::Quiet)) => return,
            Ok(Err(
                Interruption::Fatal(reason) | Interruption::Wrong(reason) | Interruption::Passing(_, reason),
            )) => reason,
            Err(_) => "the thread that follows the node panicked: see the log above".into(),
        };
        // The receiver may be gone.
        let _ = messages.send(Err(failed(reason)));
        shared.ready.get().inspect(|ready| ready());
    }

    /// Sends the events of the event log, above the block that the pipeline begins with.
    fn replay(&mut self) -> Result<(), Interruption> {
        let Some(event_log) = &self.event_log else { return Ok(()) };
        let mut above = Above::of(event_log, self.follower.head().root.metadata.block_hash)?;
        let tell = |event: SourceEvent| {
            if event.removed.is_empty() && event.added.is_empty() {
                return Ok(());
            }
            let sent = send(&self.messages, &self.shared, Message::Event(event));
            self.shared.mark_not_asked();
            sent
        };
        // This part was checked before it was compacted.
        for run in event_log.settled() {
            let run = run?;
            self.follower.pass(&run);
            tell(SourceEvent { removed: vec![], added: above.of_run(run) })?;
        }
        for event in event_log.events() {
            let event = event?;
            let refused = |e| {
                Interruption::Fatal(format!(
                    "{}: the event log fails its checks: {e}",
                    event_log.path().display()
                ))
            };
            self.follower.resume(&event).map_err(refused)?;
            let event = above.of_event(event);
            self.shared.delivered(&event);
            tell(event)?;
        }
        Ok(())
    }

    /// Drops final blocks from memory, cuts the event log below the snapshot that the next process begins with, and compacts what
    /// is final above.
    fn tidy(&mut self) {
        let finalized = self.shared.finalized.load(Ordering::Relaxed);
        self.follower.drop_below(finalized.saturating_sub(self.first));
        if Instant::now() < self.compact_from {
            return;
        }
        if let Err(error) = self.cut().and_then(|()| self.compact()) {
            // The file is unchanged, and goes on growing.
            tracing::warn!("{error}; the event log stays as it was");
            self.compact_from = Instant::now() + COMPACT_RETRY;
        }
    }

    fn cut(&mut self) -> Result<(), LogError> {
        let Some(event_log) = &mut self.event_log else { return Ok(()) };
        let begins = self.shared.begins().clone();
        let Some((block, checkpoint)) = begins.filter(|(_, at)| at.0 > self.logged_from) else {
            return Ok(());
        };
        if event_log.begin_at(block, checkpoint)? {
            self.logged_from = checkpoint.0;
            tracing::info!(%checkpoint, "{}: what lies below the snapshot is cut off", event_log.path().display());
        }
        *self.shared.begins() = None;
        Ok(())
    }

    fn compact(&mut self) -> Result<(), LogError> {
        let Some(event_log) = &mut self.event_log else { return Ok(()) };
        let below = self.logged_from - self.first;
        let height = self.shared.finalized.load(Ordering::Relaxed).saturating_sub(self.first);
        let done = below + event_log.compacted();
        // The compacted part must end in a block that the chain can be followed from: one with a lane proof.
        let Some(height) = self.follower.track().opened_below(height, done) else { return Ok(()) };
        if height.saturating_sub(done) < COMPACT_MIN.max((done - below) / 2) {
            return Ok(());
        }
        let depth = AnchorDepth(self.follower.track().expires_after());
        let compacted = event_log.compact(height - below, Some(depth))?;
        let blocks = event_log.compacted();
        self.follower.drop_opened(below + blocks);
        if compacted {
            tracing::info!("{}: {blocks} blocks are compacted", event_log.path().display());
        }
        Ok(())
    }

    /// Follows the node over one connection after another, until the receiver is dropped.
    async fn keep_following(&mut self) -> Result<(), Interruption> {
        let mut reconnecting = Reconnecting::new(self.options.wrong_answers_max);
        loop {
            self.tidy();
            let mut stopped = self.stopped.clone();
            let before = self.follower.track().tip().block_hash;
            let url = self.options.url.clone();
            let connected = tokio::select! {
                connected = client::connect(&url) => connected,
                () = stop_requested(&mut stopped) => return Ok(()),
            };
            let lost = match connected {
                Ok(client) => {
                    tracing::info!("connected to {url}");
                    if self.shared.is_lost_for(CATCH_UP_AFTER) {
                        // There is much to catch up with: what is known of the L1 until then is past.
                        self.shared.caught_up.store(false, Ordering::Release);
                    }
                    tokio::select! {
                        lost = self.follow(&client) => lost,
                        () = stop_requested(&mut stopped) => Interruption::Stopped,
                    }
                }
                Err(away) => Interruption::Passing(Hitch::Away, away.to_string()),
            };
            let moved = before != self.follower.track().tip().block_hash;
            let wait = reconnecting.ended(&lost, moved);
            let (wait, hitch, reason) = match (wait, lost) {
                (_, Interruption::Quiet) => continue,
                (Some(wait), Interruption::Passing(hitch, reason)) => (wait, hitch, reason),
                (Some(wait), Interruption::Wrong(reason)) => (wait, Hitch::Answers, reason),
                (_, other) => return Err(other),
            };
            self.shared.mark_lost(hitch, &reason);
            tracing::warn!("{reason}; connecting again in {wait:?}");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop_requested(&mut stopped) => return Ok(()),
            }
        }
    }

    /// Follows the node over one connection, until that fails.
    async fn follow(&mut self, client: &Client) -> Interruption {
        let chain = chain(&self.options, client);
        let wake = match subscribe(client).await {
            Ok(wake) => wake,
            Err(error) => return Interruption::Passing(Hitch::Away, error.to_string()),
        };
        if let Err(lost) = self.check_network(&chain).await {
            return classify(lost, client, &chain).await;
        }
        let (mut asked, mut news) = (Instant::now(), Instant::now());
        loop {
            loop {
                match self.ask(&chain).await {
                    Ok(Asked::Event) => news = Instant::now(),
                    Ok(Asked::Nothing) => break,
                    Ok(Asked::Unwritten) => {
                        tokio::time::sleep(WRITE_RETRY).await;
                        continue;
                    }
                    Err(lost) => return classify(lost, client, &chain).await,
                }
                *self.shared.lane() = self.lane_silence();
                // The node answers, and its answer passed the checks.
                *self.shared.lost() = None;
                if asked.elapsed() > ASK_EVERY {
                    asked = Instant::now();
                    if let Err(lost) = self.look_ahead(&chain).await {
                        return classify(lost, client, &chain).await;
                    }
                    self.tidy();
                }
            }
            *self.shared.lane() = self.lane_silence();
            if !self.shared.caught_up.load(Ordering::Relaxed) {
                // A node that is not synced has not reached its network's tip, even if it has nothing new.
                match self.look_ahead(&chain).await {
                    Ok(true) => self.shared.caught_up.store(true, Ordering::Release),
                    Ok(false) => self.shared.mark_lost(Hitch::Unsynced, "the node is not synced yet"),
                    Err(lost) => return classify(lost, client, &chain).await,
                }
            }
            if self.shared.caught_up.load(Ordering::Relaxed) {
                *self.shared.lost() = None;
            }
            self.tidy();
            if news.elapsed() >= self.options.quiet_max.unwrap_or(QUIET_MAX) {
                return Interruption::Quiet;
            }
            // With or without a notification, ask.
            wake.wait(ASK_EVERY).await;
            if !client.is_connected() {
                return Interruption::Passing(Hitch::Away, "the connection is lost".into());
            }
        }
    }

    /// How long the lane has been silent, where there is a covenant that depends on it.
    fn lane_silence(&self) -> Option<LaneSilence> {
        let (covenant, track) = (self.follower.head().lane.covenant, self.follower.track());
        let lasting = track.silence().filter(|_| covenant != Digest::ZERO)?;
        Some(LaneSilence { lasting, allowed: track.expires_after() })
    }

    /// Asks how far the node's chain goes. Returns whether the node is synced with its network.
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
        let event = match self.unwritten.take() {
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
            Ok(()) => *self.shared.unwritten() = None,
            Err(error) if error.is_transient() => {
                if self.shared.unwritten().replace(error.to_string()).is_none() {
                    tracing::warn!("{error}: no further block is taken until the event is written");
                }
                self.unwritten = Some(event);
                return Ok(Asked::Unwritten);
            }
            Err(error) => return Err(error.into()),
        }
        self.shared.delivered(&event);
        send(&self.messages, &self.shared, Message::Event(event))?;
        if let Some(block) = self.follower.newly_final() {
            send(&self.messages, &self.shared, Message::Final(block))?;
        }
        Ok(Asked::Event)
    }
}

/// Hands a message to the pipeline, once there is room for it.
fn send(
    messages: &Sender<Result<Message, SourceError>>,
    shared: &Shared,
    message: Message,
) -> Result<(), Interruption> {
    messages.send(Ok(message)).map_err(|_| Interruption::Stopped)?;
    shared.ready.get().inspect(|ready| ready());
    Ok(())
}

fn is_synced(info: &GetServerInfoResponse) -> bool {
    info.is_synced || !names::has_peers(info.network_id)
}

/// Classifies an interruption: an answer over a lost connection, or of a node that is not synced, proves nothing against
/// the node.
async fn classify(lost: Interruption, client: &Client, chain: &dyn Chain) -> Interruption {
    let (Interruption::Passing(_, said) | Interruption::Wrong(said) | Interruption::Fatal(said)) = &lost
    else {
        return lost;
    };
    match tokio::time::timeout(client::CONNECT_WITHIN, chain.server()).await {
        Ok(Ok(info)) if is_synced(&info) && client.is_connected() => lost,
        Ok(Ok(info)) if !is_synced(&info) => {
            Interruption::Passing(Hitch::Unsynced, format!("{said} (the node is not synced yet)"))
        }
        _ => Interruption::Passing(Hitch::Away, said.clone()),
    }
}

async fn stop_requested(stopped: &mut watch::Receiver<bool>) {
    // A dropped sender means the same.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn subscribe(client: &Client) -> Result<WakeUp, RpcError> {
    let (sender, receiver) = async_channel::unbounded();
    let listener = ChannelConnection::new("reprise", sender, ChannelType::Closable);
    let listener = client.register_new_listener(listener);
    client.start_notify(listener, Scope::VirtualChainChanged(VirtualChainChangedScope::new(false))).await?;
    Ok(WakeUp::on(receiver))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::CheckError;

    #[test]
    fn only_wrong_answers_in_a_row_are_too_many_and_a_good_connection_between_them_counts() {
        let wrong = || Interruption::Wrong("a field is missing".into());
        let away = || Interruption::Passing(Hitch::Away, "away".into());
        let mut reconnecting = Reconnecting::new(3);
        // One bad node behind an address that leads to good ones, for months.
        for _ in 0..100 {
            assert!(reconnecting.ended(&wrong(), false).is_some());
            assert!(reconnecting.ended(&wrong(), false).is_some());
            assert!(reconnecting.ended(&away(), true).is_some());
            assert!(reconnecting.ended(&wrong(), false).is_some());
            assert!(reconnecting.ended(&wrong(), false).is_some());
            assert!(reconnecting.ended(&Interruption::Quiet, false).is_some());
            assert!(reconnecting.ended(&wrong(), true).is_some());
            assert!(reconnecting.ended(&wrong(), false).is_some());
            assert!(reconnecting.ended(&Interruption::Quiet, true).is_some());
        }
        // And bad ones alone.
        assert!(reconnecting.ended(&wrong(), false).is_some());
        assert!(reconnecting.ended(&away(), false).is_some());
        assert!(reconnecting.ended(&wrong(), false).is_some());
        assert_eq!(reconnecting.ended(&wrong(), false), None);
    }

    #[test]
    fn a_node_of_another_chain_and_a_reorg_below_what_is_final_are_wrong_answers_as_another_connection_may_lead_to_a_better_one()
     {
        let block = BlockHash([1; 32]);
        for lost in [
            FollowError::NoCommonBlock { lowest: block },
            CheckError::Final { block }.into(),
            CheckError::BelowRoot { root: block }.into(),
        ] {
            let lost = Interruption::from(lost);
            assert!(matches!(lost, Interruption::Wrong(_)));
            let mut reconnecting = Reconnecting::new(2);
            assert!(reconnecting.ended(&lost, false).is_some());
            assert_eq!(reconnecting.ended(&lost, false), None, "and ends the source in the end");
        }
    }

    #[test]
    fn who_is_away_is_asked_again_later_and_later_and_at_once_after_a_good_connection() {
        let away = || Interruption::Passing(Hitch::Away, "away".into());
        let mut reconnecting = Reconnecting::new(3);
        let waits = |reconnecting: &mut Reconnecting| -> Vec<u128> {
            (0..8).filter_map(|_| reconnecting.ended(&away(), false)).map(|wait| wait.as_millis()).collect()
        };
        let expected = [250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000];
        assert_eq!(waits(&mut reconnecting), expected);
        assert_eq!(reconnecting.ended(&Interruption::Quiet, false), Some(Duration::ZERO));
        assert_eq!(waits(&mut reconnecting), expected);
    }
}
