//! RISC Zero as a [`Backend`]: what its errors mean to the pipeline.

use std::sync::atomic::Ordering;

use reprise_model::digest::{ClaimDigest, ProgramId};
use reprise_model::limits::Limits;
use reprise_model::profile::ProofProfile;
use reprise_model::statement::{Claim, ClaimScheme, Kind, StatementId};
use reprise_prover::backend::{Backend, Proof, ProveError, Task};

use crate::backend::{Risc0Backend, Risc0Error};

/// What one proof may hold: within 2^20 cycles, of which a transfer takes some 2^16 in a batch and a kilobyte of payload 2^15.
const LIMITS: Limits = Limits { transactions: 12, proofs: 4, bytes: 24 * 1024, recursion: 4 };

impl ClaimScheme for Risc0Backend {
    fn profile(&self) -> &ProofProfile {
        self.scheme().profile()
    }

    fn claim_digest(&self, claim: &Claim) -> ClaimDigest {
        self.scheme().claim_digest(claim)
    }
}

impl Backend for Risc0Backend {
    fn name(&self) -> String {
        format!("risc0 {}", self.profile().version)
    }

    fn programs(&self) -> [ProgramId; 3] {
        Kind::ALL.map(|kind| Self::programs(self).id(kind))
    }

    fn limits(&self) -> Limits {
        LIMITS
    }

    fn prove(&self, task: &Task) -> Result<Proof, ProveError> {
        self.calls().fetch_add(1, Ordering::Relaxed);
        let statement = self.statement(&task.claim).id();
        let (receipt, cycles) = Self::prove(self, &task.claim, &task.witness, &task.assumptions)
            .map_err(|error| meaning(statement, &error))?;
        Ok(Proof { receipt, cycles })
    }

    fn prove_calls(&self) -> u64 {
        self.calls().load(Ordering::Relaxed)
    }
}

/// A program that refuses what native execution produced disagrees with it as much as one that commits
/// another journal.
fn meaning(statement: StatementId, error: &Risc0Error) -> ProveError {
    let reason = error.to_string();
    match error {
        Risc0Error::Divergence { expected, committed, .. } => {
            ProveError::Divergence { statement, expected: hex(expected), found: hex(committed) }
        }
        Risc0Error::Refused { .. } => {
            ProveError::Divergence { statement, expected: "its journal".into(), found: reason }
        }
        Risc0Error::Prover { .. } => ProveError::Transient { statement, reason },
        Risc0Error::Image(_)
        | Risc0Error::Seal { .. }
        | Risc0Error::ForeignProgram { .. }
        | Risc0Error::Assumption { .. } => ProveError::Unprovable { statement, reason },
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
