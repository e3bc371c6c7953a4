//! What the disk could not do just now, and when it is asked again.
//!
//! A look-up and a write of a receipt are the engine's, which tries them again by itself. What the pipeline asks
//! the store directly, it postpones: places of stored statements, in order, a prune, and the look at a bundle that
//! is to be settled; and a change of the view whose batch records cannot be written, before anything follows from it. A
//! disk that is full is waited for as long as it is; any other trouble as often as the budget for cheap failures
//! says.

use std::collections::VecDeque;
use std::time::Duration;

use reprise_chain::event::ChainEvent;
use reprise_disk::log::LogError;
use reprise_model::coordinate::Coordinate;
use reprise_model::digest::StatementId;
use reprise_prover::engine::Request;
use reprise_prover::policy::Policy;
use reprise_store::port::{Floor, StoreError};

/// What is wrong with the disk.
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

    fn is_full(&self) -> bool {
        match self {
            Self::Store(error) => error.is_full(),
            Self::Records(error) => error.is_full(),
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
    /// Below which everything is to be let go.
    pub(crate) floor: Option<Floor>,
    failures: u32,
    error: Option<DiskError>,
    again_at: Option<Duration>,
}

impl Deferred {
    /// What is wrong with the disk, as far as it was asked here.
    pub(crate) fn error(&self) -> Option<&DiskError> {
        self.error.as_ref()
    }

    /// When it is asked again.
    pub(crate) fn again_at(&self) -> Option<Duration> {
        self.again_at
    }

    /// Hears that the wait is over.
    pub(crate) fn is_over(&mut self) {
        self.again_at = None;
    }

    /// Hears that it failed. An error where waiting helps no more.
    pub(crate) fn failed(
        &mut self,
        error: impl Into<DiskError>,
        now: Duration,
        policy: &Policy,
    ) -> Result<(), DiskError> {
        let error = error.into();
        let patient = error.is_full() || self.failures < policy.budget.cheap;
        if !error.is_transient() || !patient {
            return Err(error);
        }
        if self.error.is_none() {
            tracing::warn!(%error, "the disk fails: what it is asked waits");
        }
        self.failures = self.failures.saturating_add(1);
        let wait = policy.backoff.wait(&[0; 32], self.failures);
        (self.error, self.again_at) = (Some(error), Some(now + wait));
        Ok(())
    }

    /// Hears that it did what it was asked.
    pub(crate) fn is_well(&mut self) {
        (self.failures, self.error, self.again_at) = (0, None, None);
    }
}
