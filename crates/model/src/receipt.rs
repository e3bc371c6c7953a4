//! Receipts, and the only two ways to hold a verified one.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Deref;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::digest::Digest;
use crate::mutation::{self, Mutation};
use crate::profile::SealKind;
use crate::statement::{Claim, Statement, StatementId};

/// Claim, journal and seal: immutable, and worth nothing until [`Verified`].
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Receipt {
    /// What it says it proves.
    pub statement: Statement,
    /// The program and the journal.
    pub claim: Claim,
    /// The kind of seal it carries.
    pub seal_kind: SealKind,
    /// The cryptographic bytes.
    pub seal: Vec<u8>,
}

impl Receipt {
    /// The key it is stored under.
    pub fn id(&self) -> StatementId {
        self.statement.id()
    }

    /// BLAKE3 over the whole receipt: what a verified-at mark is bound to.
    pub fn checksum(&self) -> Digest {
        let Self { statement, claim, seal_kind, seal } = self;
        let small = borsh::to_vec(&(statement, claim, seal_kind)).unwrap_or_default();
        let mut hasher = blake3::Hasher::new_derive_key("reprise 2026-11 receipt checksum");
        // The bytes of the whole in borsh, without a copy of the seal: it is hashed on every hit.
        hasher.update(&small).update(&(seal.len() as u32).to_le_bytes()).update(seal);
        Digest(*hasher.finalize().as_bytes())
    }
}

/// Why a receipt is not what it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// It belongs to another proof system, version or seal kind.
    #[error("{statement}: the receipt is of another proof profile than this verifier's")]
    ForeignProfile {
        /// The receipt's statement.
        statement: StatementId,
    },
    /// Its statement is not the one its claim has.
    #[error("{statement}: the receipt's claim does not hash to its statement")]
    ClaimMismatch {
        /// The receipt's statement.
        statement: StatementId,
    },
    /// The cryptography says no.
    #[error("{statement}: the seal does not verify: {reason}")]
    BadSeal {
        /// The receipt's statement.
        statement: StatementId,
        /// The proof system's own words.
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
    /// Accepts exactly the receipts whose claim hashes to their statement and whose seal proves it.
    fn verify(&self, receipt: &Receipt) -> Result<(), VerifyError>;
}

/// The record that a receipt with this checksum was verified, kept beside it by the store that verified it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct VerifiedMark {
    /// [`Receipt::checksum`] of what was verified.
    pub checksum: Digest,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// A receipt that verified: now, or once in this directory over the same checksum.
///
/// Only [`Verified::check`] and [`Verified::recall`] make one, so no unverified receipt crosses a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<R>(R);

impl Verified<Receipt> {
    /// Verifies now.
    pub fn check(receipt: Receipt, verifier: &dyn Verifier) -> Result<Self, VerifyError> {
        verifier.verify(&receipt)?;
        Ok(Self(receipt))
    }

    /// Trusts an earlier verification of the same bytes.
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

/// A verified receipt whose seal is a proof. A fake one does not convert, so it cannot reach an L1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RealReceipt(Verified<Receipt>);

/// A fake seal was to become a settlement proof.
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
