//! The port to an L1: its events, in order. The consumer polls.

use std::time::Duration;

use reprise_model::block::ChainRoot;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::BlockHash;

use crate::event::SourceEvent;

/// A source of an L1's events.
pub trait ChainSource: Send {
    /// The next change of the canonical chain.
    ///
    /// A source may use `progress` to pace itself (a recording under [`Pace::Proved`] does) and to drop the part of the
    /// chain that is no longer needed. Never blocks.
    fn poll(&mut self, progress: Progress) -> Result<Poll, SourceError>;

    /// Takes what the source calls when a poll may answer with more than [`Poll::Pending`] although nothing else happened. A
    /// source whose answers follow from `progress` alone never calls it.
    fn notify(&mut self, ready: Ready) {
        let _ = ready;
    }

    /// From now on the data directory's chain begins with this settled block, at this checkpoint: a source that keeps events may
    /// drop what lies below.
    fn begin_at(&mut self, block: &ChainRoot, checkpoint: Checkpoint) {
        let _ = (block, checkpoint);
    }

    /// The state of the connection to the L1; `None` for a source without one.
    fn connection(&self) -> Option<Connection> {
        None
    }

    /// A passing error of the disk that keeps the source from writing its next event. Until it passes the source answers
    /// [`Poll::Pending`].
    fn disk_error(&self) -> Option<String> {
        None
    }
}

/// Tells the consumer of a source to poll it. Cheap, and never blocks.
pub type Ready = Box<dyn Fn() + Send + Sync>;

/// How far the pipeline has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Every needed statement is stored.
    pub proved: bool,
    /// No settlement is still to be submitted or observed.
    pub settled: bool,
    /// The L1 refuses what is to be settled next.
    pub refused: bool,
    /// No block at or below this checkpoint can leave the view any more.
    pub finalized: Checkpoint,
}

/// The state of the connection to a live L1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Why the L1 is not followed, where it is not.
    pub lost: Option<Disconnection>,
    /// When the last block that was taken from the L1 was mined, by its own header, since the Unix epoch.
    pub last_block: Option<Duration>,
    /// Pages of blocks that wait to be followed.
    pub pages_behind: usize,
    /// Whether the L1 had nothing new when it was asked last.
    pub caught_up: bool,
    /// How far it is followed, and how far the L1 goes, both in the L1's own count of blocks; 0 where that is unknown.
    pub reached: u64,
    /// See [`reached`](Self::reached).
    pub goal: u64,
    /// How long the lane has been silent; `None` where that is of no account, or unknown.
    pub lane: Option<LaneSilence>,
}

/// The silence of a lane whose entry on the L1 expires: in blocks, by the L1's own count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneSilence {
    /// How long the lane has accepted nothing.
    pub lasting: u64,
    /// How long it may, before its entry expires.
    pub allowed: u64,
}

impl LaneSilence {
    /// Whether the lane has lost its entry.
    pub fn has_expired(&self) -> bool {
        self.lasting > self.allowed
    }

    /// Whether less than an eighth of the time is left. Whoever keeps the lane active has had an eighth to do so.
    pub fn expires_soon(&self) -> bool {
        !self.has_expired() && self.lasting > self.allowed - self.allowed / 8
    }
}

/// What keeps an L1 from being followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hitch {
    /// There is no connection, or no answer over it.
    Away,
    /// The node is catching up with its network.
    Unsynced,
    /// The node's chain ends below what was followed.
    Behind,
    /// The node's answers fail their checks.
    Answers,
}

impl Hitch {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Away, Self::Unsynced, Self::Behind, Self::Answers];
}

/// An outage of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnection {
    /// The cause.
    pub hitch: Hitch,
    /// Since when, since the Unix epoch.
    pub since: Duration,
    /// How long by now.
    pub lasting: Duration,
    /// The error in words.
    pub reason: String,
}

/// The answer to a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Poll {
    /// The chain changed.
    Event(SourceEvent),
    /// The L1 itself never removes this block, or any below it.
    Final(BlockHash),
    /// No event now: poll again after progress.
    Pending,
    /// No event will follow.
    End,
}

/// How a recording is fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pace {
    /// Before an event that removes blocks, and at the end, wait until every needed statement is stored, so
    /// that a flip is a flip of proved blocks.
    #[default]
    Proved,
    /// Without waiting.
    Free,
}

/// The source has failed and yields no further event.
#[derive(Debug, thiserror::Error)]
#[error("the L1 source `{source_name}` failed: {reason}")]
pub struct SourceError {
    /// Which source.
    pub source_name: String,
    /// What failed.
    pub reason: String,
}
