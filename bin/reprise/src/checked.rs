//! What `doctor` finds of one thing outside: a line of its answer.

/// How one thing is that a living node was asked about.
pub(crate) struct Checked {
    /// What was looked at.
    pub(crate) what: &'static str,
    /// `ok`, `warning` or `failed`.
    pub(crate) verdict: &'static str,
    /// Whether a run does not get on with it.
    pub(crate) failed: bool,
    /// How it is, in words.
    pub(crate) said: String,
    /// What to do about it; empty where it is as it should be.
    pub(crate) advice: &'static str,
}
