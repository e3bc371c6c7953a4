//! Proof profiles: how a claim is proved. A proof under one profile never stands for a proof under another.

use alloc::string::String;
use core::fmt;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::digest::ProfileId;

/// The kind of seal that a proof ends in, from no proof at all to the cheapest to verify on an L1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum SealKind {
    /// No proof. A fake seal is bound to its claim, so tampering is found. Every real L1 refuses it.
    Fake,
    /// One proof for each segment, and the proofs of the assumptions.
    Composite,
    /// One recursive proof of constant size.
    Succinct,
    /// One pairing-based proof of a few hundred bytes.
    Groth16,
}

impl fmt::Display for SealKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fake => "fake",
            Self::Composite => "composite",
            Self::Succinct => "succinct",
            Self::Groth16 => "groth16",
        })
    }
}

/// How a claim is proved: everything in which two proofs of one claim can differ.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ProofProfile {
    /// The proof system: `miden`, `risc0`, `mock`.
    pub system: String,
    /// The version of the verifier or circuit that accepts the proof.
    pub version: String,
    /// The kind of seal.
    pub seal: SealKind,
    /// The hash inside the proof.
    pub hash: String,
    /// The conjectured security level, in bits; 0 for a fake seal.
    pub security_bits: u16,
    /// The other parameters of the proof system, in its own notation.
    pub parameters: String,
}

impl ProofProfile {
    /// The digest that stands for this profile in statements and coordinates.
    pub fn id(&self) -> ProfileId {
        let bytes = borsh::to_vec(self).unwrap_or_default();
        ProfileId(blake3::derive_key("reprise 2026-11 proof profile", &bytes))
    }
}

impl fmt::Display for ProofProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { system, version, seal, hash, security_bits, parameters } = self;
        write!(f, "{system} {version} {seal} {hash} {security_bits} bits")?;
        if !parameters.is_empty() {
            write!(f, " {parameters}")?;
        }
        Ok(())
    }
}
