//! A mock prover whose next proof fails on request.

use std::sync::{Arc, Mutex, PoisonError};

use reprise_model::lane::WorkloadHasher;
use reprise_model::limits::Limits;
use reprise_model::processor::Processor;
use reprise_prover::backend::{Backend, Control, Proof, ProveError, Task};
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_prover::wrapped::{Wrapped, Wrapper};

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
}

impl std::fmt::Debug for Prover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prover").field("calls", &self.mock.prove_calls()).finish_non_exhaustive()
    }
}

impl Prover {
    /// A prover of a workload over its hash, whose proofs hold so much.
    pub fn new(
        hasher: Arc<dyn WorkloadHasher>,
        processor: Arc<dyn Processor>,
        limits: Limits,
    ) -> Wrapped<Self> {
        let config = MockConfig { limits, ..MockConfig::default() };
        let mock = MockBackend::new(config, hasher, processor);
        Wrapped(Self { mock, next: Mutex::new(None) })
    }

    /// Sets the fault of the next proof.
    pub fn arrange(&self, fault: Option<ProverFault>) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }
}

impl Wrapper for Prover {
    fn inner(&self) -> &dyn Backend {
        &self.mock
    }

    fn prove_under(&self, task: &Task, _: &Control) -> Result<Proof, ProveError> {
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
}
