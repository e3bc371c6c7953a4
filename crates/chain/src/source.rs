//! The port to an L1: its events, in order, as fast as the consumer keeps up.

use std::time::Duration;

use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::BlockHash;

use crate::event::SourceEvent;

/// Where an L1's events come from.
pub trait ChainSource: Send {
    /// The next change of the canonical chain.
    ///
    /// `progress` is what a source may pace itself by (a recording under [`Pace::Proved`] does), and what tells it
    /// how much of the chain it may forget. Never blocks.
    fn poll(&mut self, progress: Progress) -> Result<Poll, SourceError>;

    /// How the connection to the L1 is; none where there is no connection to lose.
    fn connection(&self) -> Option<Connection> {
        None
    }

    /// What keeps it from going on where that can pass: a disk that what it tells cannot be kept on. Until then it
    /// answers [`Poll::Pending`].
    fn disk_error(&self) -> Option<String> {
        None
    }
}

/// How far the pipeline has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Every needed statement is stored.
    pub proved: bool,
    /// Nothing is waiting to be settled or observed.
    pub settled: bool,
    /// The L1 refuses what is to be settled next.
    pub refused: bool,
    /// No block at or below this checkpoint can leave the view any more.
    pub finalized: Checkpoint,
    /// Everything below this checkpoint is settled for good, and is wanted never again.
    pub floor: Checkpoint,
}

/// How the connection to a live L1 is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Why the L1 is not followed, where it is not.
    pub lost: Option<Disconnection>,
    /// When the last block that was taken from the L1 was mined, by its own header, since the Unix epoch.
    pub last_block: Option<Duration>,
    /// Pages of the L1's that wait to be followed.
    pub pages_behind: usize,
    /// Whether the L1 had nothing new when it was asked last.
    pub caught_up: bool,
    /// How far it is followed, and how far the L1 goes, both in the L1's own count of blocks; 0 where that is unknown.
    pub reached: u64,
    /// See [`reached`](Self::reached).
    pub goal: u64,
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
    /// What the node answers does not check.
    Answers,
}

impl Hitch {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Away, Self::Unsynced, Self::Behind, Self::Answers];
}

/// A connection that is lost, or of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnection {
    /// What is in the way.
    pub hitch: Hitch,
    /// Since when, since the Unix epoch.
    pub since: Duration,
    /// How long by now.
    pub lasting: Duration,
    /// Why it was lost, or could not be had.
    pub reason: String,
}

/// What a source answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Poll {
    /// The chain changed.
    Event(SourceEvent),
    /// The L1 itself will never remove this block, nor any below it.
    Final(BlockHash),
    /// Nothing now: ask again after progress.
    Pending,
    /// Nothing ever again.
    End,
}

/// How a recording is fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pace {
    /// Before an event that removes blocks, and at the end, wait until every needed statement is stored, so
    /// that a flip is a flip of proved blocks.
    #[default]
    Proved,
    /// As they come.
    Free,
}

/// The source is of no more use; starting again may help where `hint` says so.
#[derive(Debug, thiserror::Error)]
#[error("the L1 source `{source_name}` failed: {reason}")]
pub struct SourceError {
    /// Which source.
    pub source_name: String,
    /// What was wrong.
    pub reason: String,
}
