//! How a command fails: its message, its advice, and its exit code.

use std::io::ErrorKind;

use reprise_chain::recording::RecordingError;
use reprise_disk::data_dir::LockError;
use reprise_disk::medium;
use reprise_node::pipeline::RunError;
use reprise_node::reading::ReadingError;
use reprise_node::settled::SettledError;
use reprise_node::stored::StoredError;
use reprise_node::wire::WireError;
use reprise_scheduler::snapshot::SnapshotError;
use reprise_store::OpenError;
use reprise_store::port::StoreError;

use crate::exit::Exit;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Wrong use.
    #[error("{0}")]
    Usage(String),
    /// A setting has no value of its kind.
    #[error("{0}")]
    Setting(String),
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
    #[error("{}", ended(.0))]
    Run(#[from] RunError),
    /// The states in the data directory cannot be read.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// The data directory cannot be read.
    #[error(transparent)]
    Reading(#[from] ReadingError),
    /// A snapshot cannot be used.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// There is no settled state.
    #[error(transparent)]
    Settled(#[from] SettledError),
    /// The processor cannot run this program.
    #[error("this program was compiled for processors with {missing}, and this one has none of that")]
    Processor {
        /// What it lacks.
        missing: String,
    },
    /// Something was sent, and what became of it is not known.
    #[cfg(feature = "kaspa")]
    #[error("{0}")]
    Unknown(String),
    /// Another error, with its whole message.
    #[error("{0}")]
    Other(String),
}

/// Why a run ended. Of a statement that was given up, the failure may name it once more.
fn ended(error: &RunError) -> String {
    let RunError::GivenUp { statement, failure } = error else { return error.to_string() };
    let failure = failure.to_string();
    let named = failure.strip_prefix(&statement.to_string());
    let why = named.map(|why| why.trim_start_matches(" is quarantined").trim_start_matches(": "));
    format!("{statement} was given up: {}", why.unwrap_or(&failure))
}

impl Failure {
    /// Wrong use, in words.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// What to do about it, where the message does not say it. `command` is what was called.
    pub(crate) fn hint(&self, command: &str) -> Option<String> {
        match self {
            Self::Setting(_) => Some(format!("`{command} --help` lists the flags and their values")),
            _ => self.advice().map(str::to_owned),
        }
    }

    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Processor { .. } => Some(
                "compile it on this machine, or without target-cpu in RUSTFLAGS: such a program runs everywhere",
            ),
            Self::Recording(RecordingError::Io { .. }) => Some(
                "give a file that `reprise record` wrote; `reprise run` alone replays the recording that ships with it",
            ),
            Self::Lock(LockError::Io { source, .. }) | Self::Open(OpenError::Io { source, .. })
                if medium::is_full(source) =>
            {
                Some(
                    "make room on the disk, or give a directory on another one, with --data-dir or REPRISE_DATA_DIR",
                )
            }
            Self::Lock(LockError::Io { source, .. }) | Self::Open(OpenError::Io { source, .. })
                if matches!(source.kind(), ErrorKind::NotADirectory | ErrorKind::AlreadyExists) =>
            {
                Some("a file is in the way: give a directory, with --data-dir or REPRISE_DATA_DIR")
            }
            Self::Open(OpenError::Io { source, .. }) if medium::is_unreadable(source) => Some(
                "the disk cannot read a part of it: where that stays so, `reprise backup COPY` copies what can be read, and                  `reprise run --data-dir COPY` goes on from the copy",
            ),
            Self::Open(OpenError::Io { doing: "read", .. }) => {
                Some("give a directory you may read, with --data-dir or REPRISE_DATA_DIR")
            }
            Self::Lock(LockError::Io { .. }) | Self::Open(OpenError::Io { .. }) => {
                Some("give a directory you may write to, with --data-dir or REPRISE_DATA_DIR")
            }
            Self::Snapshot(SnapshotError::Io { source, .. })
                if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) =>
            {
                Some(
                    "give a file that `reprise snapshot export` wrote, or a node into `snapshots` of its data directory",
                )
            }
            Self::Wire(WireError::Depths { .. }) => {
                Some("change --grace-depth, --retained-depth or --finality-depth")
            }
            Self::Store(_) | Self::Run(RunError::Store(_)) | Self::Wire(WireError::Store(_)) => Some(
                "check that the disk has room and works; every receipt that was stored is kept, and \
                 `reprise receipts verify` checks them",
            ),
            Self::Wire(WireError::Thread(_))
            | Self::Run(RunError::Thread(_))
            | Self::Open(OpenError::Thread { .. }) => {
                Some("the system starts no more threads: raise its limit of processes, or lower --permits")
            }
            Self::Run(RunError::GivenUp { .. }) => Some(
                "every finished receipt is kept; mend the cause, allow another attempt with `reprise attempts release \
                 STATEMENT`, and run again",
            ),
            Self::Run(RunError::ThreadGone) => {
                Some("every finished receipt is kept: run again to go on from here")
            }
            _ => None,
        }
    }

    /// How the program ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            #[cfg(feature = "kaspa")]
            Self::Unknown(_) => Exit::Unknown,
            Self::Usage(_) | Self::Setting(_) | Self::Wire(WireError::Depths { .. }) => Exit::WrongUse,
            // What was named is not there, or is something else: nothing was begun.
            Self::Recording(RecordingError::Io { action: "read", .. } | RecordingError::Foreign { .. })
            | Self::Snapshot(SnapshotError::Io { action: "open", .. } | SnapshotError::NoSnapshot { .. })
            | Self::Open(OpenError::NotAStore { .. }) => Exit::WrongUse,
            _ => Exit::Failed,
        }
    }
}
