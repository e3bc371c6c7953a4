//! A broken invariant, as a checker reports it.

use serde::Serialize;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which promise.
    pub promise: &'static str,
    /// By what.
    pub by: String,
}
