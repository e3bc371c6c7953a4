//! Work that is deferred because the disk failed, and when it is tried again.
//!
//! The engine repeats its own look-ups and writes of receipts. The pipeline defers what it asks the store itself:
//! coordinates of stored statements, in order; a prune; the look-up of a bundle that is to be settled; and, at the
//! beginning, the description of the backend's profile. It also defers a change of the view whose batch records cannot
//! be written, before anything depends on it. While the disk is full, or fails otherwise, it waits: for as long as that lasts.

use std::collections::VecDeque;
use std::time::Duration;

use reprise_chain::event::ChainEvent;
use reprise_disk::log::LogError;
use reprise_model::coordinate::Coordinate;
use reprise_model::digest::StatementId;
use reprise_prover::engine::Request;
use reprise_prover::policy::Backoff;
use reprise_store::port::{Floor, StoreError};

/// An error of the disk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Records(#[from] LogError),
}

impl DiskError {
    fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Records(error) => error.is_transient(),
        }
    }
}

/// What waits for the disk.
#[derive(Debug, Default)]
pub(crate) struct Deferred {
    /// A change of the view that is not recorded yet. No other is taken meanwhile.
    pub(crate) view: Option<ChainEvent>,
    /// Stored statements at further coordinates.
    pub(crate) coordinates: VecDeque<(Coordinate, StatementId, Request)>,
    /// The floor below which everything of these pins is to be pruned.
    pub(crate) floor: Option<Floor>,
    /// Whether the backend's profile is described.
    pub(crate) is_described: bool,
    failures: u32,
    error: Option<DiskError>,
    again_at: Option<Duration>,
}

impl Deferred {
    /// The error because of which work is deferred, if any.
    pub(crate) fn error(&self) -> Option<&DiskError> {
        self.error.as_ref()
    }

    /// When the work is tried again.
    pub(crate) fn again_at(&self) -> Option<Duration> {
        self.again_at
    }

    /// Ends the wait.
    pub(crate) fn end_wait(&mut self) {
        self.again_at = None;
    }

    /// The disk failed. Returns the error if waiting cannot help.
    pub(crate) fn failed(
        &mut self,
        error: impl Into<DiskError>,
        now: Duration,
        backoff: &Backoff,
    ) -> Result<(), DiskError> {
        let error = error.into();
        if !error.is_transient() {
            return Err(error);
        }
        if self.error.is_none() {
            tracing::warn!(%error, "the disk failed: reads and writes wait until it works again");
        }
        self.failures = self.failures.saturating_add(1);
        let wait = backoff.wait(&[0; 32], self.failures);
        (self.error, self.again_at) = (Some(error), Some(now + wait));
        Ok(())
    }

    /// The disk works.
    pub(crate) fn succeeded(&mut self) {
        (self.failures, self.error, self.again_at) = (0, None, None);
    }
}
