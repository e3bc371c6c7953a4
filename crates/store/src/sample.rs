//! Sample receipts for benchmarks: batches of a proof system whose every seal verifies. For tests.

use reprise_model::coordinate::{Checkpoint, Coordinate, Position};
use reprise_model::digest::{BlockHash, ClaimDigest, PinsDigest, ProfileId, ProgramId};
use reprise_model::profile::SealKind;
use reprise_model::receipt::{Receipt, Verified, Verifier, VerifyError};
use reprise_model::statement::{Claim, Kind, Statement};

use crate::port::NewEntry;
use crate::provenance::Provenance;

/// The length of a seal of RISC Zero of one segment, in bytes.
pub const SEAL_LEN: usize = 217 << 10;

/// The pins of every sample.
pub const PINS: PinsDigest = PinsDigest([3; 32]);

/// Accepts every seal.
#[derive(Debug, Clone, Copy)]
pub struct Accepting;

impl Verifier for Accepting {
    fn verify(&self, _: &Receipt) -> Result<(), VerifyError> {
        Ok(())
    }
}

/// The batch at checkpoint `n`, with a seal of `seal_len` bytes that do not compress.
pub fn entry(n: u64, seal_len: usize) -> Result<NewEntry, VerifyError> {
    let claim = Claim { program: ProgramId([1; 32]), journal: n.to_le_bytes().to_vec() };
    let digest = ClaimDigest(*blake3::hash(&claim.journal).as_bytes());
    let statement = Statement { profile: ProfileId([2; 32]), claim: digest };
    let mut seal = vec![0; seal_len];
    blake3::Hasher::new_keyed(&digest.0).finalize_xof().fill(&mut seal);
    let coordinate = Coordinate {
        checkpoint: Checkpoint(n),
        block_hash: BlockHash(digest.0),
        position: Position::Batch { first: 0 },
        program: claim.program,
        profile: statement.profile,
        pins: PINS,
    };
    let receipt = Receipt { statement, claim, seal_kind: SealKind::Succinct, seal };
    Ok(NewEntry {
        receipt: Verified::check(receipt, &Accepting)?,
        kind: Kind::Batch,
        provenance: Provenance::default(),
        coordinates: vec![coordinate],
    })
}
