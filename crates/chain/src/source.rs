//! The port to an L1: its events, in order, as fast as the consumer keeps up.

use crate::event::SourceEvent;

/// Where an L1's events come from.
pub trait ChainSource: Send {
    /// The next change of the canonical chain.
    ///
    /// `idle` says that everything the pipeline wants is stored and every settlement it made is observed or
    /// refused: a source that paces itself by the prover (a recording under [`Pace::Proved`]) goes on then.
    /// Never blocks.
    fn poll(&mut self, progress: Progress) -> Result<Poll, SourceError>;
}

/// How far the pipeline has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Every needed statement is stored.
    pub proved: bool,
    /// Nothing is waiting to be settled or observed.
    pub settled: bool,
}

/// What a source answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Poll {
    /// The chain changed.
    Event(SourceEvent),
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
