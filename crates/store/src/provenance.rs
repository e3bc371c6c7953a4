//! How a receipt came to be: stored with it, and handed on with it.

use borsh::{BorshDeserialize, BorshSerialize};

/// How a receipt came to be.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct Provenance {
    /// Proved by this installation, or brought in.
    pub origin: Origin,
    /// Who proved it: backend and version.
    pub prover: String,
    /// Where: host and device.
    pub host: String,
    /// When, in milliseconds since the Unix epoch.
    pub proved_at_ms: u64,
    /// How long the proof took, in milliseconds.
    pub took_ms: u64,
    /// The cycles the program ran.
    pub cycles: u64,
}

/// Where a receipt was proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub enum Origin {
    /// By this installation.
    #[default]
    Proved,
    /// Elsewhere; it came by an archive or a shared tier, and was verified on the way in.
    Imported,
}
