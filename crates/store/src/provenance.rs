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

/// The longest word that is kept of what somebody else says, in characters.
const WORD_LEN_MAX: usize = 120;

/// The longest time that is believed of a proof made elsewhere: sums of these stay far from what a number holds.
const TOOK_MS_MAX: u64 = 30 * 24 * 3600 * 1000;

/// The most cycles that are believed of a proof made elsewhere.
const CYCLES_MAX: u64 = 1 << 48;

impl Provenance {
    /// What somebody else says of a receipt that is verified itself: nobody vouches for this. Its words are bounded, and a terminal
    /// can print them; its numbers are bounded.
    #[must_use]
    pub fn reported(self) -> Self {
        let word = |text: String| {
            let plain = |c: char| if c.is_control() { ' ' } else { c };
            text.chars().map(plain).take(WORD_LEN_MAX).collect()
        };
        Self {
            origin: Origin::Imported,
            prover: word(self.prover),
            host: word(self.host),
            proved_at_ms: self.proved_at_ms,
            took_ms: self.took_ms.min(TOOK_MS_MAX),
            cycles: self.cycles.min(CYCLES_MAX),
        }
    }
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
