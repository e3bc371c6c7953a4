//! The failures of proofs, and the response to each. Every decision about a failure is here.
//!
//! | what happened | cost | what is done |
//! |---|---|---|
//! | the device or process failed, a panic, timed out | expensive | again, after a wait |
//! | the proof does not verify | expensive | its assumptions are verified, then again; counted against the device |
//! | the program disagrees or refuses | expensive | its assumptions are verified; if all are good, given up |
//! | an assumption is lost | cheap | that one is proved again, then this |
//! | the store panicked | cheap | again, after a wait |
//! | the store cannot be written or read just now: a full disk, one that fails | none | again, after a wait, without a limit |
//! | cancelled | none | again if it is wanted; otherwise the job is removed |
//! | quarantined by an earlier process | none | given up |
//!
//! Transient failures, proofs that do not verify and attempts that hang count against their device too. A failure on a
//! device that is [suspended](crate::devices) for that is the device's. It costs the statement nothing while nothing else is proved, and a
//! cheap one where something was proved since its last such failure: it may be what makes every device fail.
//!
//! A statement that used up its [`Budget`] of cheap failures, expensive failures or interruptions is given up. Expensive
//! failures and interruptions count over all processes of a data directory ([`Engine::recall`](crate::engine::Engine::recall)):
//! a statement that was given up for them is *quarantined* until it is released.

use std::fmt;
use std::time::Duration;

use reprise_model::receipt::VerifyError;
use reprise_model::statement::StatementId;
use reprise_store::port::StoreError;

use crate::backend::ProveError;
use crate::policy::{ALONE_AFTER, Budget};

/// A failure of a job.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// The backend made none.
    #[error(transparent)]
    Prove(ProveError),
    /// The backend made one that does not verify.
    #[error("the backend returned a proof that does not verify: {0}")]
    Invalid(#[from] VerifyError),
    /// A receipt it relies on is lost.
    #[error("{assumption}: a receipt this proof relies on is gone from the store: {reason}")]
    AssumptionLost {
        /// The receipt's statement.
        assumption: StatementId,
        /// Why.
        reason: String,
    },
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The thread that proved panicked.
    #[error("the prover panicked: {message}")]
    Panic {
        /// The panic's message.
        message: String,
    },
    /// It ran longer than proofs of its kind may. Its thread is written off.
    #[error("{statement}: the prover hangs: no proof within {} s", after.as_secs_f64())]
    TimedOut {
        /// The statement.
        statement: StatementId,
        /// How long it ran.
        after: Duration,
    },
    /// It was asked to end.
    #[error("{statement}: the proof was cancelled")]
    Cancelled {
        /// The statement.
        statement: StatementId,
    },
    /// An earlier process gave it up, or ended too often while it was proved.
    #[error("{statement} is quarantined: {reason}")]
    Quarantined {
        /// The statement.
        statement: StatementId,
        /// Why.
        reason: String,
    },
}

impl From<ProveError> for Failure {
    fn from(error: ProveError) -> Self {
        match error {
            ProveError::Cancelled { statement } => Self::Cancelled { statement },
            ProveError::TimedOut { statement, after } => Self::TimedOut { statement, after },
            other => Self::Prove(other),
        }
    }
}

/// What a failed attempt cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// Nothing.
    None,
    /// No proof.
    Cheap,
    /// Up to a whole proof.
    Expensive,
}

/// How often a statement has failed so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FailureCounts {
    /// Failures that cost no proof.
    pub cheap: u32,
    /// Failures that cost up to a whole proof each.
    pub expensive: u32,
    /// How often the process ended while it was proved.
    pub interrupted: u32,
}

impl fmt::Display for FailureCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cheap, expensive, interrupted } = self;
        write!(f, "{} failed attempts, {interrupted} interrupted", cheap + expensive)
    }
}

impl FailureCounts {
    /// Counts one more.
    pub fn add(&mut self, cost: Cost) {
        self.cheap += u32::from(cost == Cost::Cheap);
        self.expensive += u32::from(cost == Cost::Expensive);
    }

    /// Over all.
    pub fn total(&self) -> u32 {
        self.cheap.saturating_add(self.expensive).saturating_add(self.interrupted)
    }

    /// Whether the budget allows another attempt.
    pub fn within(&self, budget: &Budget) -> bool {
        self.cheap < budget.cheap
            && self.expensive < budget.expensive
            && self.interrupted < budget.interrupted
    }

    /// Whether it is proved only while nothing else is.
    pub(crate) fn is_alone(&self) -> bool {
        self.interrupted >= ALONE_AFTER
    }
}

/// What is done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response {
    /// Verify its assumptions in full: bad ones are proved again, and then this.
    VerifyAssumptions,
    /// Prove the lost assumption again; this job waits for it.
    Reprove(StatementId),
    /// Begin again, after a wait.
    Retry,
    /// Never try again: every attempt would end the same, or too many failed. Health is red.
    GiveUp,
}

impl Failure {
    /// What it cost.
    pub fn cost(&self) -> Cost {
        match self {
            Self::Cancelled { .. } | Self::Quarantined { .. } => Cost::None,
            Self::Store(error) if error.is_transient() => Cost::None,
            Self::AssumptionLost { .. } | Self::Store(_) => Cost::Cheap,
            Self::Prove(_) | Self::Invalid(_) | Self::Panic { .. } | Self::TimedOut { .. } => Cost::Expensive,
        }
    }

    /// Whether the device may be the cause, rather than the statement.
    pub fn is_device_fault(&self) -> bool {
        matches!(self, Self::Prove(ProveError::Transient { .. }) | Self::Invalid(_) | Self::TimedOut { .. })
    }

    /// What is done about this failure of a job that has failed so often, this one included. `unverified`
    /// says that it relies on receipts that were not verified in full since it failed.
    pub fn response(&self, failed: &FailureCounts, budget: &Budget, unverified: bool) -> Response {
        let retry = if failed.within(budget) { Response::Retry } else { Response::GiveUp };
        match self {
            Self::Prove(ProveError::Divergence { .. } | ProveError::Unprovable { .. }) if unverified => {
                Response::VerifyAssumptions
            }
            Self::Prove(ProveError::Divergence { .. } | ProveError::Unprovable { .. }) => Response::GiveUp,
            Self::Invalid(_) if unverified => Response::VerifyAssumptions,
            Self::AssumptionLost { assumption, .. } if retry == Response::Retry => {
                Response::Reprove(*assumption)
            }
            Self::AssumptionLost { .. } => Response::GiveUp,
            Self::Store(error) if error.is_transient() => Response::Retry,
            Self::Store(StoreError::Panicked)
            | Self::Prove(_)
            | Self::Invalid(_)
            | Self::Panic { .. }
            | Self::TimedOut { .. } => retry,
            Self::Store(_) => Response::GiveUp,
            Self::Cancelled { .. } => Response::Retry,
            Self::Quarantined { .. } => Response::GiveUp,
        }
    }
}
