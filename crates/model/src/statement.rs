//! Statements: a claim and a proof profile, known before the proof. A statement's digest is the identity of the
//! receipt that proves it.

use core::fmt;

use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};

use crate::derivation;
use crate::digest::{ClaimDigest, ProfileId, ProgramId};
use crate::profile::ProofProfile;

pub use crate::digest::StatementId;

/// The version of the rule that makes a [`StatementId`]. Another rule has another version, so that the ids of two
/// rules are never equal.
pub const KEY_FORMAT_VERSION: u8 = 1;

/// The three kinds of statement, in the order in which their proofs nest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum Kind {
    /// One lane transaction, whichever block accepts it.
    Transaction,
    /// A run of lane transactions of one chain block.
    Batch,
    /// Consecutive batches, aggregated for a settlement or for another aggregate.
    Aggregate,
}

impl Kind {
    /// The number of kinds: the length of an array with one value for each.
    pub const COUNT: usize = 3;

    /// All kinds, inner first.
    pub const ALL: [Self; Self::COUNT] = [Self::Transaction, Self::Batch, Self::Aggregate];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transaction => "transaction",
            Self::Batch => "batch",
            Self::Aggregate => "aggregate",
        })
    }
}

/// What a verified receipt attests: this program ran to its end and committed this journal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Claim {
    /// The program that ran.
    pub program: ProgramId,
    /// The public bytes that it committed.
    pub journal: Vec<u8>,
}

/// The part of a proof system that computes what a proof makes public, without running or proving anything.
pub trait ClaimScheme: Send + Sync {
    /// The profile under which this scheme's claims are proved.
    fn profile(&self) -> &ProofProfile;

    /// The digest of that profile. A scheme that makes many statements keeps it.
    fn profile_id(&self) -> ProfileId {
        self.profile().id()
    }

    /// The proof system's own digest over everything the proof of `claim` makes public: program, inputs,
    /// outputs, exit code, and the absence of open assumptions.
    fn claim_digest(&self, claim: &Claim) -> ClaimDigest;

    /// The statement of `claim` under this scheme's profile.
    fn statement(&self, claim: &Claim) -> Statement {
        Statement { profile: self.profile_id(), claim: self.claim_digest(claim) }
    }
}

/// A claim to be proved under a profile. Its digest is the key of the receipt. No coordinate is part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Statement {
    /// The proof profile.
    pub profile: ProfileId,
    /// The digest of the claim.
    pub claim: ClaimDigest,
}

impl Statement {
    /// `H(domain, key-format version, profile digest, claim digest)`, by BLAKE3 in key-derivation mode.
    pub fn id(&self) -> StatementId {
        let mut hasher = derivation::STATEMENT.hasher();
        hasher.update(&[KEY_FORMAT_VERSION]).update(&self.profile.0).update(&self.claim.0);
        StatementId(*hasher.finalize().as_bytes())
    }
}
