//! A broken invariant, as a checker reports it.

use serde::Serialize;

/// An invariant that was broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which one.
    pub promise: &'static str,
    /// What broke it.
    pub by: String,
}
