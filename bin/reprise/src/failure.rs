//! How a command fails: what it says, what it advises, and its exit code.

use std::process::ExitCode;

use reprise_chain::recording::RecordingError;
use reprise_disk::data_dir::LockError;
use reprise_node::pipeline::RunError;
use reprise_node::wire::WireError;
use reprise_store::OpenError;
use reprise_store::port::StoreError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It was said wrongly.
    #[error("{0}")]
    Usage(String),
    /// The recording cannot be read.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// The data directory cannot be held.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node cannot be made.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The run ended early.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Something else, told in full.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// Wrong use, in words.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// What to do about it, where the message does not say so itself.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Usage(_) => Some("`reprise --help` and `reprise COMMAND --help` list what can be said"),
            Self::Lock(LockError::Io { .. }) => {
                Some("give a directory you may write to, with --data-dir or REPRISE_DATA_DIR")
            }
            Self::Run(RunError::GivenUp { .. }) => {
                Some("every finished receipt is kept: run again to go on from here")
            }
            _ => None,
        }
    }

    /// 2 for wrong use, else 1.
    pub(crate) fn code(&self) -> ExitCode {
        let wrong_use = matches!(self, Self::Usage(_) | Self::Wire(WireError::Depths { .. }));
        ExitCode::from(if wrong_use { 2 } else { 1 })
    }
}
