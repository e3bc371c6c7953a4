//! A recorder kept on a node that comes and goes.
//!
//! The node's notification of a changed chain is only a trigger: whatever it says, the recorder asks what changed
//! since its tip, and it asks now and then without one. After a lost connection it connects again, waiting longer
//! each time, subscribes again and catches up by the same question, so nothing is missed unless the node forgets.
//!
//! The file is written whole every few seconds and at the end, so that a crash costs seconds.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant};

use async_channel::Receiver;
use kaspa_rpc_core::RpcError;
use kaspa_rpc_core::api::rpc::RpcApi;
use kaspa_wrpc_client::prelude::{
    ChannelConnection, ChannelType, Notification, Scope, VirtualChainChangedScope,
};
use reprise_chain::recording::{Lane, RecordingError};
use reprise_model::digest::BlockHash;

use crate::client::{self, Client, ClientError};
use crate::listing::Figures;
use crate::recorder::{RecordError, Recorder};

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_secs(2);
const SAVE_EVERY: Duration = Duration::from_secs(5);
const WAIT_MIN: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What is to be recorded.
#[derive(Debug, Clone)]
pub struct Order {
    /// The node.
    pub url: String,
    /// The file.
    pub out: PathBuf,
    /// The lane.
    pub lane: Lane,
    /// The block to start at; the node's tip where there is none.
    pub from: Option<BlockHash>,
    /// Stop after so many added blocks.
    pub blocks_max: Option<usize>,
    /// Give up after so many failed connections in a row.
    pub attempts_max: u32,
}

/// Why recording a live node ends before it should.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The node stays away.
    #[error("gave up after {attempts} attempts: {source}")]
    Away {
        /// How many.
        attempts: u32,
        /// The last error.
        source: ClientError,
    },
    /// The recorder cannot go on.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The file cannot be written.
    #[error(transparent)]
    File(#[from] RecordingError),
    /// No signal handler.
    #[error("cannot wait for Ctrl-C: {0}")]
    Signal(#[from] io::Error),
}

/// Why a connection is of no more use.
enum Lost {
    /// Connect again.
    Connection(String),
    /// Stop.
    Error(LiveError),
}

impl From<RecordingError> for Lost {
    fn from(error: RecordingError) -> Self {
        Self::Error(error.into())
    }
}

/// A recording of a live node.
struct Session<'a> {
    order: &'a Order,
    recorder: Option<Recorder>,
    blocks: usize,
    saved: Instant,
    progress: &'a mut dyn FnMut(&str),
}

/// Records until enough blocks are added or `stop` is ready; `None` where that was before the node's first answer.
/// The file is written in either case, and also where an error ends it later than that.
pub async fn record(
    order: &Order,
    stop: impl Future<Output = io::Result<()>>,
    progress: &mut dyn FnMut(&str),
) -> Result<Option<Figures>, LiveError> {
    let mut session = Session { order, recorder: None, blocks: 0, saved: Instant::now(), progress };
    let ended = {
        let work = pin!(session.run());
        tokio::select! {
            ended = work => ended,
            stopped = stop => stopped.map_err(Into::into),
        }
    };
    let saved = session.save();
    ended?;
    saved?;
    Ok(session.recorder.map(|recorder| Figures::of(recorder.recording())))
}

impl Session<'_> {
    async fn run(&mut self) -> Result<(), LiveError> {
        let (mut attempts, mut wait) = (0, WAIT_MIN);
        loop {
            let reason = match client::connect(&self.order.url, CONNECT_WITHIN).await {
                Ok(client) => {
                    (self.progress)(&format!("connected to {}", self.order.url));
                    (attempts, wait) = (0, WAIT_MIN);
                    let ended = self.follow(&client).await;
                    // A connection that is gone cannot be closed, and need not be.
                    let _ = tokio::time::timeout(CONNECT_WITHIN, client.disconnect()).await;
                    match ended {
                        Ok(()) => return Ok(()),
                        Err(Lost::Error(error)) => return Err(error),
                        Err(Lost::Connection(reason)) => reason,
                    }
                }
                Err(source) => {
                    attempts += 1;
                    if attempts >= self.order.attempts_max {
                        return Err(LiveError::Away { attempts, source });
                    }
                    source.to_string()
                }
            };
            (self.progress)(&format!("{reason}; connecting again in {wait:?}"));
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    /// Follows the node; `Ok` once enough blocks are added.
    async fn follow(&mut self, client: &Client) -> Result<(), Lost> {
        let notifications = subscribe(client).await.map_err(|e| Lost::Connection(e.to_string()))?;
        loop {
            let asked = tokio::time::timeout(ANSWER_WITHIN, self.ask(client.as_ref())).await;
            match asked {
                Err(_) => return Err(Lost::Connection(format!("no answer within {ANSWER_WITHIN:?}"))),
                Ok(Err(RecordError::Node(unanswered))) if !client.is_connected() => {
                    return Err(Lost::Connection(unanswered.to_string()));
                }
                Ok(Err(error)) => return Err(Lost::Error(error.into())),
                Ok(Ok(())) => {}
            }
            if self.order.blocks_max.is_some_and(|blocks| self.blocks >= blocks) {
                return Ok(());
            }
            if self.saved.elapsed() >= SAVE_EVERY {
                self.save()?;
            }
            // Either answer means the same: ask. A closed channel must not make this spin.
            match tokio::time::timeout(ASK_EVERY, notifications.recv()).await {
                Ok(Err(_)) => tokio::time::sleep(ASK_EVERY).await,
                _ => while notifications.try_recv().is_ok() {},
            }
            if !client.is_connected() {
                return Err(Lost::Connection("the connection is lost".into()));
            }
        }
    }

    /// Takes everything new.
    async fn ask(&mut self, rpc: &dyn RpcApi) -> Result<(), RecordError> {
        let recorder = match &mut self.recorder {
            Some(recorder) => recorder,
            None => {
                let recorder = Recorder::start(rpc, self.order.lane.clone(), self.order.from).await?;
                (self.progress)(&format!("recording from {}", recorder.track().tip().block_hash));
                self.recorder.insert(recorder)
            }
        };
        let enough = |blocks| self.order.blocks_max.is_some_and(|max| blocks >= max);
        while !enough(self.blocks) && recorder.advance_page(rpc).await? {
            let Some(event) = recorder.recording().events.last() else { continue };
            self.blocks += event.added.len();
            let accepted: usize = event.added.iter().map(|block| block.accepted.len()).sum();
            let (removed, added, tip) = (event.removed.len(), event.added.len(), recorder.track().tip());
            let tip = format!("{} blue {}", tip.block_hash, tip.blue_score);
            (self.progress)(&format!("-{removed} +{added} blocks, {accepted} transactions, tip {tip}"));
        }
        Ok(())
    }

    fn save(&mut self) -> Result<(), RecordingError> {
        self.saved = Instant::now();
        self.recorder.as_ref().map_or(Ok(()), |recorder| recorder.recording().save(&self.order.out))
    }
}

async fn subscribe(client: &Client) -> Result<Receiver<Notification>, RpcError> {
    let (sender, receiver) = async_channel::unbounded();
    let listener = ChannelConnection::new("reprise recorder", sender, ChannelType::Closable);
    let listener = client.register_new_listener(listener);
    client.start_notify(listener, Scope::VirtualChainChanged(VirtualChainChangedScope::new(false))).await?;
    Ok(receiver)
}
