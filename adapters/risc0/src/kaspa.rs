//! How receipts settle on Kaspa: what a covenant demands of them, and their seals as its script takes them.
//!
//! Kaspa verifies RISC Zero's succinct and Groth16 receipts in an opcode of its own. A composite receipt is too large
//! for a transaction, and a fake one is none; a covenant can demand neither.

use ark_bn254::{Bn254, G1Affine, G2Affine};
use ark_groth16::{Proof as Points, VerifyingKey};
use ark_serialize::{CanonicalDeserialize, CanonicalSerialize};
use reprise_kaspa::covenant::{Groth16, Proof, Seal, SealReader, Succinct, SuccinctSeal};
use reprise_model::digest::ProgramId;
use reprise_model::profile::SealKind;
use reprise_risc0_guests::hash;
use risc0_zkvm::sha::Digestible;
use risc0_zkvm::{Groth16ReceiptVerifierParameters, InnerReceipt};

use crate::backend::{Risc0Error, read};
use crate::recursion;

/// Why aggregates cannot settle on Kaspa.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettlesError {
    /// Kaspa verifies no such seals.
    #[error("Kaspa verifies no {seal} receipts: run with --backend risc0-succinct or risc0-groth16")]
    Unverified {
        /// The kind of seal.
        seal: SealKind,
    },
    /// This build makes no such receipts.
    #[error(transparent)]
    Unmade(#[from] Risc0Error),
    /// The proof system's own key cannot be written as the script takes it.
    #[error("the proof system's Groth16 key cannot be encoded: {reason}")]
    Key {
        /// Why.
        reason: String,
    },
}

/// What a covenant demands of the proofs of `aggregate`, the workload's program, with such a seal, and what reads theirs, where
/// this build can make them.
pub fn settles(seal: SealKind, aggregate: ProgramId) -> Result<(Proof, SealReader), SettlesError> {
    let demands = demands(seal, aggregate)?;
    recursion::can_make(seal).map_err(|missing| Risc0Error::Seal { seal, missing })?;
    Ok(demands)
}

/// The same, whether or not this build can make them: what an observer reads settlements by.
pub fn demands(seal: SealKind, image: ProgramId) -> Result<(Proof, SealReader), SettlesError> {
    match seal {
        SealKind::Fake | SealKind::Composite => Err(SettlesError::Unverified { seal }),
        SealKind::Succinct => Ok((Proof::Succinct(Succinct { image }), succinct)),
        SealKind::Groth16 => {
            let Groth16ReceiptVerifierParameters { control_root, bn254_control_id, .. } = parameters();
            let [control_root, bn254_control_id] =
                [control_root, bn254_control_id].map(|it| hash::digest(&it));
            let verifying_key = verifying_key().map_err(|reason| SettlesError::Key { reason })?;
            let groth16 = Groth16 { image, verifying_key, control_root, bn254_control_id };
            Ok((Proof::Groth16(groth16), self::groth16))
        }
    }
}

fn parameters() -> Groth16ReceiptVerifierParameters {
    Groth16ReceiptVerifierParameters::default()
}

/// Reads a succinct receipt's seal.
pub fn succinct(seal: &[u8]) -> Result<Seal, String> {
    let InnerReceipt::Succinct(receipt) = read(seal, SealKind::Succinct)? else {
        return Err("not a succinct receipt".into());
    };
    if receipt.hashfn != "poseidon2" {
        return Err(format!("it is over {}, and Kaspa verifies what is over poseidon2", receipt.hashfn));
    }
    let proof = &receipt.control_inclusion_proof;
    Ok(Seal::Succinct(SuccinctSeal {
        control_id: receipt.control_id.into(),
        claim: receipt.claim.digest().into(),
        control_index: proof.index,
        control_digests: proof.digests.iter().map(|digest| (*digest).into()).collect(),
        words: receipt.seal,
    }))
}

/// Reads a Groth16 receipt's seal.
pub fn groth16(seal: &[u8]) -> Result<Seal, String> {
    let InnerReceipt::Groth16(receipt) = read(seal, SealKind::Groth16)? else {
        return Err("not a Groth16 receipt".into());
    };
    Ok(Seal::Groth16(compressed(&receipt.seal)?))
}

/// The proof's three points, compressed. RISC Zero writes their coordinates big-endian, the higher one of a pair first:
/// each point is its affine encoding, reversed coordinate by coordinate.
fn compressed(seal: &[u8]) -> Result<Vec<u8>, String> {
    let seal: &[u8; 256] =
        seal.try_into().map_err(|_| format!("a Groth16 proof is 256 bytes, not {}", seal.len()))?;
    let coordinate = |at: usize| seal[32 * at..32 * (at + 1)].iter().rev().copied();
    let point =
        |coordinates: &[usize]| -> Vec<u8> { coordinates.iter().flat_map(|at| coordinate(*at)).collect() };
    let wrong = |error: ark_serialize::SerializationError| error.to_string();
    let points = Points::<Bn254> {
        a: G1Affine::deserialize_uncompressed(&*point(&[0, 1])).map_err(wrong)?,
        b: G2Affine::deserialize_uncompressed(&*point(&[3, 2, 5, 4])).map_err(wrong)?,
        c: G1Affine::deserialize_uncompressed(&*point(&[6, 7])).map_err(wrong)?,
    };
    let mut bytes = vec![];
    points.serialize_compressed(&mut bytes).map_err(wrong)?;
    Ok(bytes)
}

/// RISC Zero's verifying key, compressed. The library hands it out only through `serde`, as bytes that are not.
fn verifying_key() -> Result<Vec<u8>, String> {
    let words = risc0_zkvm::serde::to_vec(&parameters().verifying_key).map_err(|e| e.to_string())?;
    let bytes: Vec<u8> = risc0_zkvm::serde::from_slice(&words).map_err(|e| e.to_string())?;
    let key = VerifyingKey::<Bn254>::deserialize_uncompressed(&*bytes).map_err(|e| e.to_string())?;
    let mut bytes = vec![];
    key.serialize_compressed(&mut bytes).map_err(|e| e.to_string())?;
    Ok(bytes)
}
