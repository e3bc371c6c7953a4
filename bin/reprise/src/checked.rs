//! One line of `doctor`'s report.

/// The verdict on one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// Good.
    Ok,
    /// A run works, and somebody should look.
    Warning,
    /// A run does not work with it.
    Failed,
}

impl Verdict {
    /// One word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// The finding about one thing.
pub(crate) struct Checked {
    /// The thing examined.
    pub(crate) what: &'static str,
    /// The verdict.
    pub(crate) verdict: Verdict,
    /// The finding, in words.
    pub(crate) said: String,
    /// What to do about it; empty where it is good.
    pub(crate) advice: &'static str,
}
