//! The backend: runs a program, compares its claim with the expected one, and only then proves it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use borsh::BorshDeserialize;
use reprise_model::digest::ProgramId;
use reprise_model::profile::SealKind;
use reprise_model::receipt::{Receipt, Verified, Verifier, VerifyError};
use reprise_model::statement::{Claim, ClaimScheme, Kind};
use reprise_model::witness::Witness;
use reprise_prover::backend::{catch_panic, check_scheme};
use reprise_risc0_guests::{hash, wire};
use risc0_zkvm::sha::Digestible;
use risc0_zkvm::{
    AssumptionReceipt, ExecutorEnv, ExecutorImpl, FakeReceipt, InnerReceipt, NullSegmentRef, ProverOpts,
    Receipt as Proof, Segment, SegmentRef, Session, SimpleSegmentRef, VerifierContext, get_prover_server,
};

use crate::claim::{self, Risc0Scheme};
use crate::programs::{ImageError, Images, Programs};
use crate::recursion::{self, Missing};
use crate::segments::Segments;

/// What a proof may take in memory, where nobody says.
const MEMORY_BYTES: u64 = 8_000_000_000;

/// A program that ran so long is refused: no block of a lane comes near it.
const CYCLES_MAX: u64 = 1 << 32;

/// Why there is no proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Risc0Error {
    /// The programs cannot be loaded.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// This build cannot make such receipts.
    #[error("{seal} receipts cannot be made: {missing}")]
    Seal {
        /// The kind of seal.
        seal: SealKind,
        /// What they need that is not here.
        missing: Missing,
    },
    /// The expected claim is of another program than the one that proves such a witness.
    #[error("the {kind}'s claim names {claimed}, and {ours} is the program here that proves one")]
    ForeignProgram {
        /// What was to be proved.
        kind: Kind,
        /// The claim's program.
        claimed: ProgramId,
        /// The program for this witness.
        ours: ProgramId,
    },
    /// An assumption's seal cannot be read.
    #[error("the {kind}'s assumption {assumption} is no receipt of this profile: {reason}")]
    Assumption {
        /// What was to be proved.
        kind: Kind,
        /// The assumption's place.
        assumption: usize,
        /// Why not.
        reason: String,
    },
    /// The program refused its witness or its assumptions, or ran past the limit of cycles.
    #[error("the {kind} program refused: {reason}")]
    Refused {
        /// What was to be proved.
        kind: Kind,
        /// The program's or the executor's words.
        reason: String,
    },
    /// The program committed another journal than the expected one. Nothing was proved.
    #[error("the {kind} program committed another journal than native execution expected")]
    Divergence {
        /// What was to be proved.
        kind: Kind,
        /// The journal that native execution expected.
        expected: Vec<u8>,
        /// The journal that the program committed.
        committed: Vec<u8>,
    },
    /// The prover failed.
    #[error("the {kind}'s proof failed: {reason}")]
    Prover {
        /// What was to be proved.
        kind: Kind,
        /// The prover's words.
        reason: String,
    },
}

/// What a program did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// The journal it committed.
    pub journal: Vec<u8>,
    /// How many cycles it ran for itself.
    pub user_cycles: u64,
    /// How many cycles it took to bring memory in and out.
    pub paging_cycles: u64,
    /// How many cycles are proved: with paging, rounded up to whole segments.
    pub total_cycles: u64,
    /// In how many segments.
    pub segments: usize,
}

/// Proves a workload's statements in RISC Zero, and verifies their proofs.
#[derive(Clone)]
pub struct Risc0Backend {
    programs: Arc<Programs>,
    scheme: Risc0Scheme,
    segments: Segments,
    calls: Arc<AtomicU64>,
}

impl Risc0Backend {
    /// The backend of these programs whose receipts end in `seal`. It verifies such receipts even where this build cannot
    /// make any: see [`recursion::can_make`].
    pub fn new(seal: SealKind, images: &Images) -> Result<Self, Risc0Error> {
        let (programs, scheme) = (Arc::new(Programs::load(images)?), Risc0Scheme::new(seal));
        let segments = Segments::new(seal, MEMORY_BYTES);
        Ok(Self { programs, scheme, segments, calls: Arc::default() })
    }

    /// The same, of which a proof may take so many bytes of memory; 8 GB otherwise. More memory means fewer, longer segments, which
    /// take less time. The least that a prover works with is 1.5 GB, whatever is said here.
    #[must_use]
    pub fn with_memory(self, bytes: u64) -> Self {
        Self { segments: Segments::new(self.scheme.profile().seal, bytes), ..self }
    }

    /// The programs it proves.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// What its claims are, and the profile of its proofs.
    pub fn scheme(&self) -> &Risc0Scheme {
        &self.scheme
    }

    /// How many proofs were begun.
    pub(crate) fn calls(&self) -> &AtomicU64 {
        &self.calls
    }

    /// Runs the program on the witness without proving.
    ///
    /// The program names the proofs it builds on; `assumptions` must hold the receipt of each. What a receipt's
    /// seal is worth shows only when the program's own proof is verified: see [`Self::prove`].
    pub fn execute(
        &self,
        witness: &Witness,
        assumptions: &[Verified<Receipt>],
    ) -> Result<Execution, Risc0Error> {
        let session = self.cut(witness, assumptions, |_| Ok(Box::new(NullSegmentRef)))?;
        Ok(Execution {
            journal: session.journal.map(|journal| journal.bytes).unwrap_or_default(),
            user_cycles: session.user_cycles,
            paging_cycles: session.paging_cycles,
            total_cycles: session.total_cycles,
            segments: session.segments.len(),
        })
    }

    /// Proves `expected` from the witness and the receipts it assumes; the receipt, and the cycles proved.
    ///
    /// The program runs first; where what it commits is not what was expected, nothing is proved.
    pub fn prove(
        &self,
        expected: &Claim,
        witness: &Witness,
        assumptions: &[Verified<Receipt>],
    ) -> Result<(Receipt, u64), Risc0Error> {
        let (kind, seal) = (witness.kind(), self.scheme.profile().seal);
        recursion::can_make(seal).map_err(|missing| Risc0Error::Seal { seal, missing })?;
        let ours = self.programs.id(kind);
        if expected.program != ours {
            return Err(Risc0Error::ForeignProgram { kind, claimed: expected.program, ours });
        }
        let session =
            self.cut(witness, assumptions, |segment| Ok(Box::new(SimpleSegmentRef::new(segment))))?;
        let failed = |reason: String| Risc0Error::Prover { kind, reason };
        let stated = session.claim().map_err(|error| failed(format!("{error:#}")))?;
        if stated.digest() != claim::stated(expected).digest() {
            let committed = session.journal.map(|journal| journal.bytes).unwrap_or_default();
            return Err(Risc0Error::Divergence { kind, expected: expected.journal.clone(), committed });
        }
        let inner = match seal {
            SealKind::Fake => InnerReceipt::Fake(FakeReceipt::new(stated)),
            SealKind::Composite => {
                catch_panic(|| prove(ProverOpts::composite(), &session)).map_err(failed)?
            }
            SealKind::Succinct => catch_panic(|| prove(ProverOpts::succinct(), &session)).map_err(failed)?,
            SealKind::Groth16 => catch_panic(|| prove(ProverOpts::groth16(), &session)).map_err(failed)?,
        };
        let receipt = Receipt {
            statement: self.scheme.statement(expected),
            claim: expected.clone(),
            seal_kind: seal,
            seal: borsh::to_vec(&inner).map_err(|error| failed(error.to_string()))?,
        };
        Ok((receipt, session.total_cycles))
    }

    /// Runs the program, cut as it is cheapest to prove. How long a run is shows only when it has ended, so most run twice: that takes
    /// milliseconds, and a lift minutes.
    fn cut(
        &self,
        witness: &Witness,
        assumptions: &[Verified<Receipt>],
        keep: impl Fn(Segment) -> risc0_zkvm::Result<Box<dyn SegmentRef>> + Send + Copy,
    ) -> Result<Session, Risc0Error> {
        let longest = self.segments.po2_max();
        let session = self.run(witness, assumptions, longest, keep)?;
        match self.segments.cheapest(session.user_cycles + session.paging_cycles) {
            po2 if po2 == longest => Ok(session),
            po2 => self.run(witness, assumptions, po2, keep),
        }
    }

    /// Runs the program in segments of at most 2^`po2` cycles.
    fn run(
        &self,
        witness: &Witness,
        assumptions: &[Verified<Receipt>],
        po2: u32,
        keep: impl FnMut(Segment) -> risc0_zkvm::Result<Box<dyn SegmentRef>> + Send,
    ) -> Result<Session, Risc0Error> {
        let kind = witness.kind();
        let refused = |reason: String| Risc0Error::Refused { kind, reason };
        let input = match witness {
            Witness::Transaction(witness) => wire::write(witness),
            Witness::Batch(witness) => wire::write(witness),
            Witness::Aggregate(witness) => wire::write(witness),
        };
        let mut environment = ExecutorEnv::builder();
        environment.write_slice(&input);
        environment.segment_limit_po2(po2).session_limit(Some(CYCLES_MAX));
        // What a program prints is of no use to anyone: the executor's error carries why it ended.
        environment.stdout(std::io::sink()).stderr(std::io::sink());
        for (at, assumption) in assumptions.iter().enumerate() {
            let foreign = |reason: String| Risc0Error::Assumption { kind, assumption: at, reason };
            let inner = read(&assumption.seal, self.scheme.profile().seal).map_err(foreign)?;
            environment.add_assumption(AssumptionReceipt::from(inner));
        }
        let environment = environment.build().map_err(|error| refused(format!("{error:#}")))?;
        let memory = self.programs.of(kind).memory.clone();
        catch_panic(|| {
            let mut executor =
                ExecutorImpl::new(environment, memory).map_err(|error| format!("{error:#}"))?;
            executor.run_with_callback(keep).map_err(|error| format!("{error:#}"))
        })
        .map_err(refused)
    }

    /// Whether the seal proves the claim, as the profile wants it proved.
    fn check(&self, receipt: &Receipt) -> Result<(), String> {
        let inner = read(&receipt.seal, receipt.seal_kind)?;
        let proof = Proof::new(inner, receipt.claim.journal.clone());
        let program = *hash::words(&receipt.claim.program.digest());
        proof.verify_with_context(&context(receipt.seal_kind), program).map_err(|error| error.to_string())
    }
}

/// What verifies seals of this kind. The environment has no say: only a fake seal is a matter of development mode.
fn context(seal: SealKind) -> VerifierContext {
    VerifierContext::default().with_dev_mode(seal == SealKind::Fake)
}

fn prove(options: ProverOpts, session: &Session) -> Result<InnerReceipt, String> {
    let prover = get_prover_server(&options.with_dev_mode(false)).map_err(|error| format!("{error:#}"))?;
    let context = VerifierContext::default().with_dev_mode(false);
    let made = prover.prove_session(&context, session).map_err(|error| format!("{error:#}"))?;
    Ok(made.receipt.inner)
}

/// Reads a seal of this kind, and of no other.
pub(crate) fn read(seal: &[u8], kind: SealKind) -> Result<InnerReceipt, String> {
    let inner = catch_panic(|| InnerReceipt::try_from_slice(seal).map_err(|error| error.to_string()))?;
    let found = match inner {
        InnerReceipt::Fake(_) => Some(SealKind::Fake),
        InnerReceipt::Composite(_) => Some(SealKind::Composite),
        InnerReceipt::Succinct(_) => Some(SealKind::Succinct),
        InnerReceipt::Groth16(_) => Some(SealKind::Groth16),
        _ => None,
    };
    match found {
        Some(found) if found == kind => Ok(inner),
        Some(found) => Err(format!("the seal is {found}, and the profile's is {kind}")),
        None => Err(format!("the seal is of an unknown kind, and the profile's is {kind}")),
    }
}

impl Verifier for Risc0Backend {
    fn verify(&self, receipt: &Receipt) -> Result<(), VerifyError> {
        check_scheme(self, receipt)?;
        let bad = |reason| VerifyError::BadSeal { statement: receipt.id(), reason };
        catch_panic(|| self.check(receipt)).map_err(bad)
    }
}
