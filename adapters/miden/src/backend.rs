//! The backend: runs a program, compares its claim with the expected one, and only then proves it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use miden_core::program::ExecutionClaim;
use miden_core::proof::{ExecutionProof, PrecompileStatus};
use miden_core_lib::CoreLibrary;
use miden_verifier::recursive::RecursiveVerifierInputs;
use miden_vm::advice::AdviceInputs;
use miden_vm::{
    DefaultHost, ExecutionError, ExecutionOptions, ExecutionWitness, FastProcessor, Prover, ProverError,
    StackInputs, Verifier as StarkVerifier,
};
use reprise_model::digest::{Digest, ProgramId};
use reprise_model::processor::Processor;
use reprise_model::profile::SealKind;
use reprise_model::receipt::{Receipt, Verified, Verifier, VerifyError};
use reprise_model::statement::{Claim, ClaimScheme, Kind};
use reprise_model::witness::Witness;
use reprise_prover::backend::{catch_panic, check_scheme};

use crate::advice::{self, WitnessError};
use crate::claim::{self, MidenScheme, SECURITY_BITS};
use crate::hash;
use crate::programs::{AssemblyError, Programs, Sources};

/// Why there is no proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MidenError {
    /// The programs do not assemble.
    #[error(transparent)]
    Assembly(#[from] AssemblyError),
    /// The witness cannot be given to the program.
    #[error("the {kind}'s witness is none that the workload's programs read: {reason}")]
    Witness {
        /// What was to be proved.
        kind: Kind,
        /// What is wrong with it.
        reason: WitnessError,
    },
    /// The expected claim names another program than the one that proves such a witness.
    #[error("the {kind}'s claim names {claimed}, and {ours} is the program here that proves one")]
    ForeignProgram {
        /// What was to be proved.
        kind: Kind,
        /// The claim's program.
        claimed: ProgramId,
        /// The program for this witness.
        ours: ProgramId,
    },
    /// The expected claim cannot be proved: its journal is not whole cells.
    #[error("the {kind}'s expected journal is {bytes} bytes, not whole cells of 32")]
    ForeignJournal {
        /// What was to be proved.
        kind: Kind,
        /// The journal's length.
        bytes: usize,
    },
    /// An assumption cannot be verified inside the program.
    #[error("the {kind}'s assumption {assumption} is not a proof that a program can verify: {reason}")]
    Assumption {
        /// What was to be proved.
        kind: Kind,
        /// The index of the assumption.
        assumption: usize,
        /// The reason.
        reason: String,
    },
    /// The program exceeds a limit of the VM or of the prover, so it cannot be proved here.
    #[error("the {kind} is past a limit of the proof system: {reason}")]
    Limit {
        /// What was to be proved.
        kind: Kind,
        /// The message of the proof system.
        reason: String,
    },
    /// The program refused its witness or its assumptions.
    #[error("the {kind} program refused: {reason}")]
    Refused {
        /// What was to be proved.
        kind: Kind,
        /// The message of the VM.
        reason: String,
    },
    /// The program committed another journal than the expected one. Nothing was proved.
    #[error("the {kind} program committed journal {committed}, and native execution expected {expected}")]
    Divergence {
        /// What was to be proved.
        kind: Kind,
        /// The digest of the journal that native execution expected.
        expected: Digest,
        /// The digest that the program committed.
        committed: Digest,
    },
    /// The prover failed.
    #[error("the {kind}'s proof failed: {reason}")]
    Prover {
        /// What was to be proved.
        kind: Kind,
        /// The message of the prover.
        reason: String,
    },
}

/// What a proof may take in memory, where nobody says: by Miden's own estimate a join of four proofs takes 2.3 GB.
const MEMORY_BYTES: u64 = 4 << 30;

/// Whether an error means that a limit is exceeded, and not that the program refused.
fn is_limit(error: &ExecutionError) -> bool {
    matches!(
        error,
        ExecutionError::CycleLimitExceeded(_)
            | ExecutionError::StackDepthLimitExceeded { .. }
            | ExecutionError::TraceLenExceeded(_)
            | ExecutionError::ProverMemoryExceeded { .. }
    )
}

/// Proves a workload's statements in Miden, and verifies their proofs.
///
/// ```
/// use std::sync::Arc;
/// use reprise_miden::{MidenBackend, Sources};
///
/// let sources = Sources::of(include_str!("../../../guests/ledger/workload.masm"));
/// // What the programs commit is compared with what this executes.
/// let backend = MidenBackend::new(&sources, Arc::new(reprise_ledger::Ledger))?;
/// println!("transactions are proved by {}", backend.programs().transaction());
/// # Ok::<_, reprise_miden::MidenError>(())
/// ```
#[derive(Clone)]
pub struct MidenBackend {
    programs: Arc<Programs>,
    processor: Arc<dyn Processor>,
    scheme: MidenScheme,
    core: CoreLibrary,
    verifier: StarkVerifier,
    calls: Arc<AtomicU64>,
    /// How many bytes of memory a proof may take.
    memory: u64,
}

impl MidenBackend {
    /// The backend of a workload that these programs prove and that `processor` executes natively.
    pub fn new(sources: &Sources, processor: Arc<dyn Processor>) -> Result<Self, MidenError> {
        let (programs, bits) = (Arc::new(Programs::assemble(sources)?), u32::from(SECURITY_BITS));
        Ok(Self {
            scheme: MidenScheme::new(programs.aggregate()),
            programs,
            processor,
            core: CoreLibrary::default(),
            verifier: StarkVerifier::new().with_min_conjectured_security_level_per_stark(bits),
            calls: Arc::new(AtomicU64::new(0)),
            memory: MEMORY_BYTES,
        })
    }

    /// The same, of which a proof may take so many bytes of memory; 4 GiB otherwise. What needs more is [`MidenError::Limit`].
    #[must_use]
    pub fn with_memory(self, bytes: u64) -> Self {
        Self { memory: bytes, ..self }
    }

    /// The programs it proves.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// The scheme of its claims, and the profile of its proofs.
    pub fn scheme(&self) -> &MidenScheme {
        &self.scheme
    }

    /// How many proofs were begun.
    pub(crate) fn calls(&self) -> &AtomicU64 {
        &self.calls
    }

    /// Runs the program on the witness without proving: the digest of the journal it commits.
    ///
    /// An inner proof is verified in the program, so `assumptions` must hold the receipt of each statement
    /// that the witness builds on, in any order.
    pub fn execute(
        &self,
        witness: &Witness,
        assumptions: &[Verified<Receipt>],
    ) -> Result<Digest, MidenError> {
        let executed = self.run(witness, assumptions)?;
        Ok(committed(&executed.claim()))
    }

    /// Proves `expected` from the witness and the receipts it assumes.
    ///
    /// The program runs first. If it does not commit what was expected, nothing is proved.
    pub fn prove(
        &self,
        expected: &Claim,
        witness: &Witness,
        assumptions: &[Verified<Receipt>],
    ) -> Result<Receipt, MidenError> {
        let kind = witness.kind();
        let ours = self.programs.of(kind).id();
        if expected.program != ours {
            return Err(MidenError::ForeignProgram { kind, claimed: expected.program, ours });
        }
        let foreign = || MidenError::ForeignJournal { kind, bytes: expected.journal.len() };
        let journal = claim::journal_digest(&expected.journal).ok_or_else(foreign)?;
        let execution = claim::execution(expected).ok_or_else(foreign)?;

        let executed = self.run(witness, assumptions)?;
        if executed.claim() != execution {
            let committed = committed(&executed.claim());
            return Err(MidenError::Divergence { kind, expected: journal, committed });
        }
        let prover =
            Prover::new().with_hash_fn(self.scheme.hash(expected)).with_max_prover_memory_bytes(self.memory);
        let failed = |reason| MidenError::Prover { kind, reason };
        let proof =
            catch_panic(|| Ok(prover.prove(executed))).map_err(failed)?.map_err(|error| match error {
                ProverError::TraceGeneration(cause) | ProverError::VmProofGeneration(cause)
                    if is_limit(&cause) =>
                {
                    MidenError::Limit { kind, reason: cause.to_string() }
                }
                error => failed(error.to_string()),
            })?;
        Ok(Receipt {
            statement: self.scheme.statement(expected),
            claim: expected.clone(),
            seal_kind: SealKind::Succinct,
            seal: proof.to_bytes(),
        })
    }

    fn run(
        &self,
        witness: &Witness,
        assumptions: &[Verified<Receipt>],
    ) -> Result<ExecutionWitness, MidenError> {
        let kind = witness.kind();
        let refused = |reason: String| MidenError::Refused { kind, reason };
        let advice = match witness {
            Witness::Transaction(witness) => advice::transaction(witness),
            Witness::Batch(witness) => advice::batch(self.processor.as_ref(), witness),
            Witness::Aggregate(witness) => advice::aggregate(self.processor.as_ref(), witness),
        };
        let mut advice = advice.map_err(|reason| MidenError::Witness { kind, reason })?;
        for (at, assumption) in assumptions.iter().enumerate() {
            let foreign = |reason| MidenError::Assumption { kind, assumption: at, reason };
            advice.extend(catch_panic(|| self.assume(assumption)).map_err(foreign)?);
        }

        let mut host = DefaultHost::default();
        host.load_library(self.core.mast_forest()).map_err(|error| refused(error.to_string()))?;
        let options = ExecutionOptions::default();
        let processor = FastProcessor::new_with_options(StackInputs::default(), advice, options)
            .map_err(|error| refused(error.to_string()))?;
        let program = self.programs.of(kind);
        let executed = catch_panic(|| Ok(program.execute(processor, &mut host))).map_err(refused)?;
        executed.map_err(|error| match is_limit(&error) {
            true => MidenError::Limit { kind, reason: error.to_string() },
            false => refused(error.to_string()),
        })
    }

    /// The advice from which a program verifies a receipt.
    fn assume(&self, receipt: &Receipt) -> Result<AdviceInputs, String> {
        let execution = claim::execution(&receipt.claim).ok_or("no proof can exist of its claim")?;
        let proof = ExecutionProof::read_from_bytes(&receipt.seal).map_err(|error| error.to_string())?;
        let root = self.core.vm_recursive_verifier_root();
        let inputs = RecursiveVerifierInputs::for_request(root, &proof, &execution)
            .map_err(|error| error.to_string())?;
        Ok(inputs.into_parts().0)
    }

    /// Whether the seal proves the claim in the way that the profile names.
    fn check(&self, receipt: &Receipt) -> Result<(), String> {
        let execution = claim::execution(&receipt.claim).ok_or("no proof can exist of its claim")?;
        let proof = ExecutionProof::read_from_bytes(&receipt.seal).map_err(|error| error.to_string())?;
        let (expected, hash) = (self.scheme.hash(&receipt.claim), proof.vm().proof.hash_fn());
        if hash != expected {
            return Err(format!("the proof is under {hash:?}, and the profile's is {expected:?}"));
        }
        let empty = matches!(proof.precompile(), PrecompileStatus::Empty);
        let outcome = self.verifier.verify(&execution, &proof).map_err(|error| error.to_string())?;
        match empty && outcome.is_complete() {
            true => Ok(()),
            false => Err("the proof leaves a deferred obligation".into()),
        }
    }
}

impl Verifier for MidenBackend {
    fn verify(&self, receipt: &Receipt) -> Result<(), VerifyError> {
        check_scheme(self, receipt)?;
        let bad = |reason| VerifyError::BadSeal { statement: receipt.id(), reason };
        catch_panic(|| self.check(receipt)).map_err(bad)
    }
}

/// The journal digest that an execution left on its stack.
fn committed(claim: &ExecutionClaim) -> Digest {
    claim.stack_outputs().get_word(0).map(|word| hash::digest(&word)).unwrap_or_default()
}
