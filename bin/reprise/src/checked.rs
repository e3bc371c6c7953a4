//! One line of `doctor`'s report on a node.

/// The finding about one thing that a running node was asked about.
pub(crate) struct Checked {
    /// The thing examined.
    pub(crate) what: &'static str,
    /// `ok`, `warning` or `failed`.
    pub(crate) verdict: &'static str,
    /// Whether a run does not work with it.
    pub(crate) failed: bool,
    /// The finding, in words.
    pub(crate) said: String,
    /// What to do about it; empty where it is good.
    pub(crate) advice: &'static str,
}
