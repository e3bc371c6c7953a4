//! The policies of a store: how durable a put is, and when a stored receipt is verified again.

use std::fmt;
use std::str::FromStr;

/// When a put is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// After a flush of its own.
    Every,
    /// After a flush that it shares with the puts that came meanwhile. None is acknowledged before it.
    #[default]
    Group,
    /// Once the operating system has it: a crash of the process loses nothing, a power cut may.
    None,
}

/// Who makes writes durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WriterMode {
    /// A thread of the store's, as soon as something is queued.
    #[default]
    ByThread,
    /// The caller that waits for a write, and [`Store::flush`](crate::Store::flush). The store has no thread, and a
    /// submission stays queued until then. For simulations.
    ByCaller,
}

/// When a stored receipt is verified in full again before it is handed out. Checksum, statement and claim
/// are compared always.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum VerifyPolicy {
    /// Where no verified-at mark of this directory covers the same bytes.
    #[default]
    Once,
    /// As `Once`, and always for receipts that were proved elsewhere.
    Imported,
    /// As `Once`, and for this share of the hits, 0 to 1. Which hits is a function of the statement and of
    /// the number of hits so far, so that a run repeats.
    Sample(f64),
    /// At every hit.
    Always,
}

/// A text that names no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no such policy: say {expected}")]
pub struct ParsePolicyError {
    /// What was given.
    pub text: String,
    /// What is understood.
    pub expected: &'static str,
}

impl FromStr for Durability {
    type Err = ParsePolicyError;
    fn from_str(text: &str) -> Result<Self, ParsePolicyError> {
        match text {
            "every" => Ok(Self::Every),
            "group" => Ok(Self::Group),
            "none" => Ok(Self::None),
            _ => Err(ParsePolicyError { text: text.into(), expected: "every, group or none" }),
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Every => "every",
            Self::Group => "group",
            Self::None => "none",
        })
    }
}

impl FromStr for VerifyPolicy {
    type Err = ParsePolicyError;
    fn from_str(text: &str) -> Result<Self, ParsePolicyError> {
        let share = |p: &str| p.parse().ok().filter(|p| (0.0..=1.0).contains(p)).map(Self::Sample);
        match (text, text.strip_prefix("sample:").and_then(share)) {
            ("once", _) => Ok(Self::Once),
            ("imported", _) => Ok(Self::Imported),
            ("always", _) => Ok(Self::Always),
            (_, Some(sample)) => Ok(sample),
            _ => {
                let expected = "once, imported, always or sample:P with P from 0 to 1";
                Err(ParsePolicyError { text: text.into(), expected })
            }
        }
    }
}

impl fmt::Display for VerifyPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Once => f.write_str("once"),
            Self::Imported => f.write_str("imported"),
            Self::Sample(share) => write!(f, "sample:{share}"),
            Self::Always => f.write_str("always"),
        }
    }
}
