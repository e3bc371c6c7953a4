//! Receipts, and the only two ways to make a verified one.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Deref;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::derivation;
use crate::digest::Digest;
use crate::mutation::{self, Mutation};
use crate::profile::SealKind;
use crate::statement::{Claim, Statement, StatementId};

/// A claim, with its journal, and a seal. A receipt is immutable, and is trusted only when it is [`Verified`].
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Receipt {
    /// The statement that it claims to prove.
    pub statement: Statement,
    /// The program and the journal.
    pub claim: Claim,
    /// The kind of seal it carries.
    pub seal_kind: SealKind,
    /// The bytes of the proof.
    pub seal: Vec<u8>,
}

/// So many bytes are sixteen of BLAKE3's chunks.
const FIRST_BYTES: usize = 16 << 10;

impl Receipt {
    /// The key that it is stored under.
    pub fn id(&self) -> StatementId {
        self.statement.id()
    }

    /// BLAKE3 over the whole receipt. A [mark](VerifiedMark) is bound to it.
    pub fn checksum(&self) -> Digest {
        let Self { statement, claim, seal_kind, seal } = self;
        let mut first = borsh::to_vec(&(statement, claim, seal_kind)).unwrap_or_default();
        first.extend((seal.len() as u32).to_le_bytes());
        // These are the receipt's bytes in borsh. Every cache hit computes this, so the seal is not copied but for its beginning: what
        // BLAKE3 is shown then begins where it hashes many chunks at a time.
        let (copied, rest) = seal.split_at(FIRST_BYTES.saturating_sub(first.len()).min(seal.len()));
        first.extend(copied);
        let mut hasher = derivation::RECEIPT.hasher();
        hasher.update(&first).update(rest);
        Digest(*hasher.finalize().as_bytes())
    }
}

/// Why a receipt does not verify.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The receipt is of another proof system, version or kind of seal.
    #[error("{statement}: the receipt is of another proof profile than this verifier's")]
    ForeignProfile {
        /// The receipt's statement.
        statement: StatementId,
    },
    /// The statement of the receipt is not that of its claim.
    #[error("{statement}: the receipt's claim does not hash to its statement")]
    ClaimMismatch {
        /// The receipt's statement.
        statement: StatementId,
    },
    /// The seal does not prove the claim.
    #[error("{statement}: the seal does not verify: {reason}")]
    BadSeal {
        /// The receipt's statement.
        statement: StatementId,
        /// The reason, as the proof system reports it.
        reason: String,
    },
    /// The mark of an earlier verification is for other bytes.
    #[error("{statement}: the verified-at mark is for another checksum")]
    ForeignMark {
        /// The receipt's statement.
        statement: StatementId,
    },
}

/// Cryptographic verification of receipts of one profile.
pub trait Verifier: Send + Sync {
    /// Accepts a receipt if and only if its claim hashes to its statement and its seal proves the claim.
    fn verify(&self, receipt: &Receipt) -> Result<(), VerifyError>;
}

/// The record that a receipt with this checksum was verified. The store that verified the receipt keeps it beside the receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct VerifiedMark {
    /// [`Receipt::checksum`] of what was verified.
    pub checksum: Digest,
    /// The time of the verification, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// A receipt that verified: now, or earlier, in this data directory, with the same checksum.
///
/// Only [`Verified::check`] and [`Verified::recall`] make one, so an interface that takes it gets no unverified receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<R>(R);

impl Verified<Receipt> {
    /// Verifies the receipt now.
    pub fn check(receipt: Receipt, verifier: &dyn Verifier) -> Result<Self, VerifyError> {
        verifier.verify(&receipt)?;
        Ok(Self(receipt))
    }

    /// Trusts the mark of an earlier verification, if it is for the same bytes.
    pub fn recall(receipt: Receipt, mark: &VerifiedMark) -> Result<Self, VerifyError> {
        if receipt.checksum() != mark.checksum && !mutation::is(Mutation::UncheckedRead) {
            return Err(VerifyError::ForeignMark { statement: receipt.id() });
        }
        Ok(Self(receipt))
    }

    /// The receipt without its guarantee.
    pub fn into_inner(self) -> Receipt {
        self.0
    }
}

impl<R> Deref for Verified<R> {
    type Target = R;
    fn deref(&self) -> &R {
        &self.0
    }
}

/// A verified receipt whose seal is a proof. A receipt with a fake seal does not convert, so it cannot reach an L1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RealReceipt(Verified<Receipt>);

/// A receipt with a fake seal was to be settled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{statement}: a fake seal proves nothing and cannot be settled")]
pub struct FakeSealError {
    /// The receipt's statement.
    pub statement: StatementId,
}

impl TryFrom<Verified<Receipt>> for RealReceipt {
    type Error = FakeSealError;

    fn try_from(receipt: Verified<Receipt>) -> Result<Self, FakeSealError> {
        match receipt.seal_kind {
            SealKind::Fake => Err(FakeSealError { statement: receipt.id() }),
            SealKind::Composite | SealKind::Succinct | SealKind::Groth16 => Ok(Self(receipt)),
        }
    }
}

impl Deref for RealReceipt {
    type Target = Receipt;
    fn deref(&self) -> &Receipt {
        &self.0
    }
}
