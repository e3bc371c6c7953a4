//! How the program ends: its exit codes.

use std::process::ExitCode;

/// How a command ended. Every exit code of the program is one of these, except a panic's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// It failed, or a run broke an invariant.
    Failed = 1,
    /// Wrong use; nothing was done.
    WrongUse = 2,
    /// Something was sent, and what became of it is not known.
    Unknown = 3,
    /// The user stopped it at once.
    Stopped = 130,
}

impl Exit {
    /// All of them.
    pub(crate) const ALL: [Self; 5] =
        [Self::Done, Self::Failed, Self::WrongUse, Self::Unknown, Self::Stopped];

    /// Done, or failed.
    pub(crate) fn done_if(done: bool) -> Self {
        if done { Self::Done } else { Self::Failed }
    }

    /// The number that the shell sees.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    /// Its meaning, for `--help`.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed or violated",
            Self::WrongUse => "wrong use",
            Self::Unknown => "sent and not known to be accepted",
            Self::Stopped => "stopped at once by a second Ctrl-C",
        }
    }

    /// All exit codes in one line.
    pub(crate) fn line() -> String {
        let all = Self::ALL.map(|exit| format!("{} {}", exit.code(), exit.meaning()));
        format!("Exit codes: {}.", all.join(", "))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
