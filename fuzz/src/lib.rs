//! What the fuzz targets share: receipts of a proof system whose seal is a hash of the claim, and edits.

use std::sync::Arc;

use reprise_model::coordinate::{Checkpoint, Coordinate, Position};
use reprise_model::digest::{BlockHash, ClaimDigest, Digest, PinsDigest, ProgramId};
use reprise_model::profile::{ProofProfile, SealKind};
use reprise_model::receipt::{Receipt, Verified, Verifier, VerifyError};
use reprise_model::statement::{Claim, Kind, Statement};
use reprise_store::port::NewEntry;
use reprise_store::provenance::Provenance;
use reprise_store::{Options, Store};

/// How many receipts a store of [`filled`] holds: three of each kind.
pub const FILLED: u64 = 9;

/// The proof system.
pub struct Hashed;

/// Its profile.
pub fn profile() -> ProofProfile {
    ProofProfile {
        system: "hashed".into(),
        version: "1".into(),
        seal: SealKind::Succinct,
        hash: "blake3".into(),
        security_bits: 96,
        parameters: String::new(),
    }
}

fn claim_digest(claim: &Claim) -> ClaimDigest {
    ClaimDigest(*blake3::Hasher::new().update(&claim.program.0).update(&claim.journal).finalize().as_bytes())
}

fn seal(claim: &ClaimDigest) -> Vec<u8> {
    let mut seal = vec![0; 64];
    blake3::Hasher::new_keyed(&claim.0).finalize_xof().fill(&mut seal);
    seal
}

impl Verifier for Hashed {
    fn verify(&self, receipt: &Receipt) -> Result<(), VerifyError> {
        let statement = receipt.id();
        if receipt.statement.profile != profile().id() {
            return Err(VerifyError::ForeignProfile { statement });
        }
        if receipt.statement.claim != claim_digest(&receipt.claim) {
            return Err(VerifyError::ClaimMismatch { statement });
        }
        if receipt.seal != seal(&receipt.statement.claim) {
            return Err(VerifyError::BadSeal { statement, reason: "not the hash".into() });
        }
        Ok(())
    }
}

/// The `n`-th receipt.
pub fn receipt(n: u64) -> Receipt {
    let claim = Claim { program: ProgramId([7; 32]), journal: n.to_le_bytes().to_vec() };
    let digest = claim_digest(&claim);
    let statement = Statement { profile: profile().id(), claim: digest };
    Receipt { statement, claim, seal_kind: SealKind::Succinct, seal: seal(&digest) }
}

/// The `n`-th entry, used at a place of its own.
pub fn entry(n: u64) -> NewEntry {
    let kind = Kind::ALL[n as usize % 3];
    let position = match kind {
        Kind::Transaction => Position::Transaction { merge_index: n as u32 },
        Kind::Batch => Position::Batch { first: 0 },
        Kind::Aggregate => Position::Settlement { start: Checkpoint(1), commitment: Digest([5; 32]) },
    };
    let coordinate = Coordinate {
        checkpoint: Checkpoint(n + 1),
        block_hash: BlockHash([n as u8; 32]),
        position,
        program: ProgramId([7; 32]),
        profile: profile().id(),
        pins: PinsDigest([1; 32]),
    };
    let receipt = Verified::check(receipt(n), &Hashed).expect("it verifies");
    NewEntry { receipt, kind, provenance: Provenance::default(), coordinates: vec![coordinate] }
}

/// A store in memory that holds nothing.
pub fn memory() -> Store {
    Store::in_memory(Arc::new(Hashed), Options::default()).expect("memory is there")
}

/// Spoils bytes as the input says: the first byte of five names the edit, two its place, two what with.
pub fn edit(bytes: &mut Vec<u8>, input: &[u8]) {
    for step in input.chunks_exact(5) {
        if bytes.is_empty() {
            return;
        }
        let at = usize::from(u16::from_le_bytes([step[1], step[2]])) % bytes.len();
        let with = usize::from(u16::from_le_bytes([step[3], step[4]]));
        let end = at.saturating_add(with % 256).min(bytes.len());
        match step[0] % 6 {
            0 => bytes[at] ^= step[3].max(1),
            1 => bytes[at..end].fill(0),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let copy = bytes[at..end].to_vec();
                let to = with % bytes.len();
                bytes.splice(to..to, copy);
            }
            _ => bytes[at] = step[3],
        }
    }
}
