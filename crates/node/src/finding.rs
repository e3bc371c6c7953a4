//! A finding: one line of what `doctor` reports.

/// The verdict on one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Good.
    Ok,
    /// A run works, and somebody should look.
    Warning,
    /// A run does not work with it.
    Failed,
}

impl Verdict {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// The finding about one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The thing examined.
    pub what: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// The finding, in words.
    pub said: String,
    /// What to do about it; empty where the verdict is [`Verdict::Ok`].
    pub advice: &'static str,
}
