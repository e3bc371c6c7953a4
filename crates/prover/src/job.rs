//! A job: one statement on its way to a durable receipt, and the phase that it is in.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use reprise_model::coordinate::Coordinate;
use reprise_model::order::Order;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::statement::StatementId;

use crate::failure::Failure;

/// The phase of a job.
#[derive(Debug, Clone)]
pub(crate) enum Phase {
    Looking(Delay),
    Queued,
    Proving {
        device: usize,
        began: Duration,
        /// When it counts as hung.
        until: Duration,
        /// Where it is wanted, as far as its executor was told.
        place: Option<Coordinate>,
        /// Since when it is unwanted.
        unwanted_since: Option<Duration>,
        /// Whether it was asked to end.
        cancelled: bool,
    },
    /// It failed so that its assumptions are being verified.
    Checking(Failure),
    Storing {
        receipt: Verified<Receipt>,
        /// How many of the requesters the write names. The coordinates of later ones are added once it is durable.
        named: usize,
        delay: Delay,
    },
    GivenUp,
}

/// The delay of a look-up or a write by a failing store.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Delay {
    /// Whether the last attempt failed.
    pub(crate) failed: bool,
    /// When the next one begins, if it does not run.
    pub(crate) again_at: Option<Duration>,
}

impl Delay {
    /// Whether it is time for the next attempt.
    pub(crate) fn is_over(&self, now: Duration) -> bool {
        self.again_at.is_some_and(|at| now >= at)
    }
}

impl Phase {
    /// Its delay by the store, in the phases where the store can fail it.
    pub(crate) fn delay(&self) -> Option<&Delay> {
        match self {
            Self::Looking(delay) | Self::Storing { delay, .. } => Some(delay),
            _ => None,
        }
    }

    /// Whether the job only waits, and can be removed.
    pub(crate) fn is_queued(&self) -> bool {
        matches!(self, Self::Queued)
    }

    /// Whether it is neither queued nor given up.
    pub(crate) fn is_held(&self) -> bool {
        !matches!(self, Self::Queued | Self::GivenUp)
    }
}

/// One statement on its way to a durable receipt.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) order: Arc<Order>,
    pub(crate) phase: Phase,
    /// How often in a row the store failed it.
    pub(crate) held_up: u32,
    /// The time before which it is not begun, after a failure.
    pub(crate) not_before: Duration,
    /// The requesters, in order. The one receipt serves all.
    pub(crate) requesters: Vec<Coordinate>,
    /// The last of its failures on a device that keeps failing, among those of all jobs; 0 where there is none.
    pub(crate) trial: u64,
    /// How many proofs had been made then.
    pub(crate) made_before: u64,
    /// The assumptions that were stored since it began: a report that one of them is missing is outdated.
    pub(crate) renewed: BTreeSet<StatementId>,
}
