//! What went wrong with a proof, and what is done about it: decided here and nowhere else.

use reprise_model::receipt::VerifyError;
use reprise_model::statement::StatementId;
use reprise_store::port::StoreError;

use crate::backend::ProveError;

/// How often a statement is begun again after failures that may pass.
pub const ATTEMPTS_MAX: u32 = 3;

/// What happened to a proof on its way.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// The backend made none.
    #[error(transparent)]
    Prove(#[from] ProveError),
    /// The backend made one that does not verify.
    #[error("the backend returned a proof that does not verify: {0}")]
    Invalid(#[from] VerifyError),
    /// A receipt it relies on is not to be had any more.
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
        /// What it said.
        message: String,
    },
}

/// What is done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response {
    /// Prove the lost assumption again; this job waits for it.
    Reprove(StatementId),
    /// Begin again, within the budget of attempts.
    Retry,
    /// Never: no attempt can end otherwise. Health is red.
    GiveUp,
}

impl Failure {
    /// What is done about this failure of a job that has begun `attempts` times.
    pub fn response(&self, attempts: u32) -> Response {
        let passing = match self {
            Self::AssumptionLost { assumption, .. } if attempts < ATTEMPTS_MAX => {
                return Response::Reprove(*assumption);
            }
            Self::AssumptionLost { .. } => false,
            Self::Prove(ProveError::Divergence { .. } | ProveError::Unprovable { .. }) => false,
            Self::Store(error) => error.is_transient(),
            Self::Prove(ProveError::Transient { .. }) | Self::Invalid(_) | Self::Panic { .. } => true,
        };
        if passing && attempts < ATTEMPTS_MAX { Response::Retry } else { Response::GiveUp }
    }
}
