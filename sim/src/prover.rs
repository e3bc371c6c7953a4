//! A mock prover whose next proof fails on request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use reprise_model::digest::{ClaimDigest, ProfileId, ProgramId};
use reprise_model::lane::WorkloadHasher;
use reprise_model::limits::Limits;
use reprise_model::processor::Processor;
use reprise_model::profile::ProofProfile;
use reprise_model::receipt::{Receipt, Verifier, VerifyError};
use reprise_model::statement::{Claim, ClaimScheme};
use reprise_prover::backend::{Backend, Proof, ProveError, Task};
use reprise_prover::mock::{MockBackend, MockConfig};

/// How a proof fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProverFault {
    /// The device fails.
    Transient,
    /// The seal does not verify.
    Invalid,
    /// The backend panics.
    Panic,
}

/// The mock backend with injected faults.
pub struct Prover {
    mock: MockBackend,
    next: Mutex<Option<ProverFault>>,
    calls: AtomicU64,
}

impl std::fmt::Debug for Prover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prover").field("calls", &self.calls).finish_non_exhaustive()
    }
}

impl Prover {
    /// A prover of a workload over its hash, whose proofs hold so much.
    pub fn new(hasher: Arc<dyn WorkloadHasher>, processor: Arc<dyn Processor>, limits: Limits) -> Self {
        let config = MockConfig { limits, ..MockConfig::default() };
        let mock = MockBackend::new(config, hasher, processor);
        Self { mock, next: Mutex::new(None), calls: AtomicU64::new(0) }
    }

    /// Sets the fault of the next proof.
    pub fn arrange(&self, fault: Option<ProverFault>) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }
}

impl ClaimScheme for Prover {
    fn profile(&self) -> &ProofProfile {
        self.mock.profile()
    }

    fn profile_id(&self) -> ProfileId {
        self.mock.profile_id()
    }

    fn claim_digest(&self, claim: &Claim) -> ClaimDigest {
        self.mock.claim_digest(claim)
    }
}

impl Verifier for Prover {
    fn verify(&self, receipt: &Receipt) -> Result<(), VerifyError> {
        self.mock.verify(receipt)
    }
}

impl Backend for Prover {
    fn name(&self) -> String {
        self.mock.name()
    }

    fn programs(&self) -> [ProgramId; 3] {
        self.mock.programs()
    }

    fn limits(&self) -> Limits {
        self.mock.limits()
    }

    fn prove(&self, task: &Task) -> Result<Proof, ProveError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let fault = self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut proof = self.mock.prove(task)?;
        match fault {
            None => {}
            Some(ProverFault::Transient) => {
                let (statement, reason) = (proof.receipt.id(), "a simulated device fails".into());
                return Err(ProveError::Transient { statement, reason });
            }
            Some(ProverFault::Invalid) => proof.receipt.seal[0] ^= 1,
            // Not `panic!`: its hook would print a panic that is intended.
            Some(ProverFault::Panic) => std::panic::resume_unwind(Box::new("a simulated panic")),
        }
        Ok(proof)
    }

    fn prove_calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}
