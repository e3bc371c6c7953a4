//! Claims: the public values of a Miden proof, and their digest.
//!
//! The public values are the program, the kernel, sixteen inputs and sixteen outputs. Our programs have no kernel and
//! no inputs. Their outputs are the digest of the journal, on top of twelve zeros. A proof with a deferred obligation,
//! which would be public too, is refused.

use miden_core::crypto::hash::Poseidon2 as Sponge;
use miden_core::program::{ExecutionClaim, KernelDescriptor, StackInputs, StackOutputs};
use miden_core::proof::HashFunction;
use miden_core::{Felt, Word};
use reprise_model::cell;
use reprise_model::digest::{ClaimDigest, Digest, ProgramId};
use reprise_model::hash::{Domain, Hasher};
use reprise_model::journal::AggregateJournal;
use reprise_model::profile::{ProofProfile, SealKind};
use reprise_model::statement::{Claim, ClaimScheme};

use crate::hash::{self, Poseidon2};

/// The conjectured security of every proof, in bits. The programs require it of the proofs that they verify.
pub const SECURITY_BITS: u16 = 96;

/// The claims of Miden 0.36: recursive proofs of constant size.
///
/// A proof that a program of ours verifies is made under Poseidon2, which the VM hashes natively. No program
/// verifies a settlement's proof, so that one is made under BLAKE3, for a third of the cost. The claim decides
/// which of the two is used, so one profile covers both.
#[derive(Debug, Clone)]
pub struct MidenScheme {
    profile: ProofProfile,
    aggregate: ProgramId,
}

impl MidenScheme {
    /// The scheme in which `aggregate` is the program that settles.
    pub fn new(aggregate: ProgramId) -> Self {
        let profile = ProofProfile {
            system: "miden".into(),
            version: "0.36".into(),
            seal: SealKind::Succinct,
            hash: Poseidon2.name().into(),
            security_bits: SECURITY_BITS,
            parameters: "settlement under blake3".into(),
        };
        Self { profile, aggregate }
    }

    /// The hash under which a proof of `claim` is made.
    pub(crate) fn hash(&self, claim: &Claim) -> HashFunction {
        match claim.program == self.aggregate && AggregateJournal::decode(&claim.journal).is_some() {
            true => HashFunction::Blake3_256,
            false => HashFunction::Poseidon2,
        }
    }
}

impl ClaimScheme for MidenScheme {
    fn profile(&self) -> &ProofProfile {
        &self.profile
    }

    fn claim_digest(&self, claim: &Claim) -> ClaimDigest {
        let digest = match execution(claim) {
            Some(execution) => execution.commitment(),
            None => unprovable(claim),
        };
        hash::digest(&digest).into()
    }
}

/// The digest of a journal's bytes; `None` where they are not whole cells.
pub(crate) fn journal_digest(journal: &[u8]) -> Option<Digest> {
    Some(Poseidon2.hash(Domain::Journal, &cell::from_bytes(journal)?))
}

/// The claim in Miden's form; `None` if no proof can have it.
pub(crate) fn execution(claim: &Claim) -> Option<ExecutionClaim> {
    let program = hash::word(&claim.program.digest())?;
    let outputs = hash::word(&journal_digest(&claim.journal)?)?;
    let outputs = StackOutputs::new(outputs.as_elements()).ok()?;
    let (kernel, inputs) = (KernelDescriptor::default(), StackInputs::default());
    Some(ExecutionClaim::new(program, kernel, inputs, outputs))
}

/// The digest of a claim that no proof can have: its program is not a word, or its journal is not whole cells. It is a
/// hash in a domain of its own, so it differs from the digest of every provable claim.
fn unprovable(claim: &Claim) -> Word {
    const DOMAIN: u32 = u32::from_le_bytes(*b"none");
    let journal = cell::of_bytes(&claim.journal);
    let length = Felt::from_u32(claim.journal.len() as u32);
    let mut elements = hash::felts(&[cell::digest(claim.program.digest())]);
    elements.push(length);
    elements.extend(hash::felts(&journal));
    Sponge::hash_elements_in_domain(&elements, Felt::from_u32(DOMAIN))
}
