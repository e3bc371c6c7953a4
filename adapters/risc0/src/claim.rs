//! Claims: what a RISC Zero proof of ours makes public, and its digest.
//!
//! A proof makes public the memory that the program began and ended with, how it ended, its input and its
//! output: the journal and the assumptions that are still open. Ours begin as the program's image, halt with
//! zero, have no input, and leave nothing open. The digest is the proof system's own over all of that.

use reprise_model::digest::ClaimDigest;
use reprise_model::profile::{ProofProfile, SealKind};
use reprise_model::statement::{Claim, ClaimScheme};
use reprise_risc0_guests::hash;
use risc0_zkvm::sha::Digestible;
use risc0_zkvm::{Digest, MaybePruned, ReceiptClaim, VerifierContext};

/// The conjectured security of the proof system's weakest part, by its own account
/// (dev.risczero.com/api/security-model), in bits.
pub const SECURITY_BITS: u16 = 96;

/// The claims of RISC Zero 3.0 under one kind of seal.
#[derive(Debug, Clone)]
pub struct Risc0Scheme {
    profile: ProofProfile,
}

impl Risc0Scheme {
    /// The scheme whose proofs end in `seal`.
    ///
    /// The profile's parameters name the verifier's own: the digest over every circuit and control id that it
    /// accepts. A proof system that accepts other circuits is another profile.
    pub fn new(seal: SealKind) -> Self {
        let (security_bits, parameters) = match seal {
            SealKind::Fake => (0, String::new()),
            SealKind::Composite | SealKind::Succinct | SealKind::Groth16 => (SECURITY_BITS, accepted(seal)),
        };
        let profile = ProofProfile {
            system: "risc0".into(),
            version: "3.0".into(),
            seal,
            hash: "poseidon2".into(),
            security_bits,
            parameters,
        };
        Self { profile }
    }
}

/// The digest of what the verifier of such seals accepts.
fn accepted(seal: SealKind) -> String {
    let context = VerifierContext::default();
    let digest: Option<Digest> = match seal {
        SealKind::Groth16 => context.groth16_verifier_parameters.as_ref().map(Digestible::digest),
        SealKind::Succinct => context.succinct_verifier_parameters.as_ref().map(Digestible::digest),
        SealKind::Composite | SealKind::Fake => {
            context.composite_verifier_parameters().as_ref().map(Digestible::digest)
        }
    };
    digest.map(|digest| format!("verifier {digest}")).unwrap_or_default()
}

impl ClaimScheme for Risc0Scheme {
    fn profile(&self) -> &ProofProfile {
        &self.profile
    }

    fn claim_digest(&self, claim: &Claim) -> ClaimDigest {
        hash::digest(&stated(claim).digest()).into()
    }
}

/// The claim as RISC Zero states it.
pub(crate) fn stated(claim: &Claim) -> ReceiptClaim {
    let program = *hash::words(&claim.program.digest());
    ReceiptClaim::ok(program, MaybePruned::Value(claim.journal.clone()))
}
