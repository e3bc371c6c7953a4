//! What the store could not do just now, and when it is asked again.
//!
//! A look-up and a write of a receipt are the engine's, which tries them again by itself. What the pipeline asks
//! the store directly, it postpones: places of stored statements, in order, a prune, and the look at a bundle that
//! is to be settled. A disk that is full is waited for as long as it is; any other trouble as often as the budget
//! for cheap failures says.

use std::collections::VecDeque;
use std::time::Duration;

use reprise_model::coordinate::{Checkpoint, Coordinate};
use reprise_model::digest::StatementId;
use reprise_prover::engine::Request;
use reprise_prover::policy::Policy;
use reprise_store::port::StoreError;

/// What waits for the store.
#[derive(Debug, Default)]
pub(crate) struct Postponed {
    /// Stored statements at further coordinates.
    pub(crate) places: VecDeque<(Coordinate, StatementId, Request)>,
    /// Below which everything is to be let go.
    pub(crate) floor: Option<Checkpoint>,
    failures: u32,
    trouble: Option<StoreError>,
    again_at: Option<Duration>,
}

impl Postponed {
    /// What is wrong with the store, as far as it was asked here.
    pub(crate) fn trouble(&self) -> Option<&StoreError> {
        self.trouble.as_ref()
    }

    /// When the store is asked again.
    pub(crate) fn again_at(&self) -> Option<Duration> {
        self.again_at
    }

    /// Hears that the wait is over.
    pub(crate) fn is_over(&mut self) {
        self.again_at = None;
    }

    /// Hears that the store failed. An error where waiting helps no more.
    pub(crate) fn failed(
        &mut self,
        error: StoreError,
        now: Duration,
        policy: &Policy,
    ) -> Result<(), StoreError> {
        let patient = error.is_full() || self.failures < policy.budget.cheap;
        if !error.is_transient() || !patient {
            return Err(error);
        }
        if self.trouble.is_none() {
            tracing::warn!(%error, "the receipt store fails: what it is asked waits");
        }
        self.failures = self.failures.saturating_add(1);
        let wait = policy.backoff.wait(&[0; 32], self.failures);
        (self.trouble, self.again_at) = (Some(error), Some(now + wait));
        Ok(())
    }

    /// Hears that the store did what it was asked.
    pub(crate) fn is_well(&mut self) {
        (self.failures, self.trouble, self.again_at) = (0, None, None);
    }
}
