//! A job: one statement on its way to a durable receipt, and the phase that it is in.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use reprise_model::coordinate::Coordinate;
use reprise_model::order::Order;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::statement::StatementId;

use crate::failure::{Failure, FailureCounts};

/// How far a job is.
#[derive(Debug, Clone)]
pub(crate) enum Phase {
    Looking(Delay),
    Queued,
    Proving {
        device: usize,
        began: Duration,
        /// Since when nobody wants it.
        unwanted_since: Option<Duration>,
        /// Whether it was asked to end.
        cancelled: bool,
    },
    /// It failed so that its assumptions are being verified.
    Checking(Failure),
    Storing {
        receipt: Verified<Receipt>,
        /// How many of the requesters the write names; who asked later is placed when it is durable.
        named: usize,
        delay: Delay,
    },
    GivenUp,
}

/// How a store that fails holds up a look-up or a write.
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
    /// What holds it up, where a store can.
    pub(crate) fn delay(&self) -> Option<&Delay> {
        match self {
            Self::Looking(delay) | Self::Storing { delay, .. } => Some(delay),
            _ => None,
        }
    }

    /// Whether the job waits for nothing but its turn, and can be let go.
    pub(crate) fn is_queued(&self) -> bool {
        matches!(self, Self::Queued)
    }

    /// Whether it takes up room by itself.
    pub(crate) fn is_held(&self) -> bool {
        !matches!(self, Self::Queued | Self::GivenUp)
    }
}

/// One statement on its way to a durable receipt.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) order: Arc<Order>,
    pub(crate) phase: Phase,
    pub(crate) failed: FailureCounts,
    /// How often in a row the store failed it.
    pub(crate) held_up: u32,
    /// Not begun before, after a failure.
    pub(crate) not_before: Duration,
    /// Who asked, in order; all are served by the one receipt.
    pub(crate) requesters: Vec<Coordinate>,
    /// What it relies on and was stored since it began: to miss one of these is old news.
    pub(crate) renewed: BTreeSet<StatementId>,
}
