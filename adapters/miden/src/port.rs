//! Miden as a [`Backend`]: what its errors mean to the pipeline.

use std::sync::atomic::Ordering;

use reprise_model::digest::{ClaimDigest, ProgramId};
use reprise_model::limits::Limits;
use reprise_model::profile::ProofProfile;
use reprise_model::statement::{Claim, ClaimScheme, StatementId};
use reprise_prover::backend::{Backend, Proof, ProveError, Task};

use crate::backend::{MidenBackend, MidenError};

impl ClaimScheme for MidenBackend {
    fn profile(&self) -> &ProofProfile {
        self.scheme().profile()
    }

    fn claim_digest(&self, claim: &Claim) -> ClaimDigest {
        self.scheme().claim_digest(claim)
    }
}

impl Backend for MidenBackend {
    fn name(&self) -> String {
        format!("miden {}", self.profile().version)
    }

    fn programs(&self) -> [ProgramId; 3] {
        let programs = Self::programs(self);
        [programs.transaction(), programs.batch(), programs.aggregate()]
    }

    fn limits(&self) -> Limits {
        LIMITS
    }

    fn prove(&self, task: &Task) -> Result<Proof, ProveError> {
        self.calls().fetch_add(1, Ordering::Relaxed);
        let statement = self.statement(&task.claim).id();
        let receipt = Self::prove(self, &task.claim, &task.witness, &task.assumptions)
            .map_err(|error| meaning(statement, &error))?;
        Ok(Proof { receipt, cycles: 0 })
    }

    fn prove_calls(&self) -> u64 {
        self.calls().load(Ordering::Relaxed)
    }
}

/// What one proof may hold, as measured (`tests/miden/cost.rs`, CPU seconds on two cores). 32 transfers take 41 seconds and
/// 1.1 GB. A proof verified in a batch takes 16 seconds, as much as 13 transfers. A join of four takes 64 seconds and 1.7 GB.
/// 48 KB of messages stay below the next power of two.
const LIMITS: Limits = Limits { transactions: 32, proofs: 4, bytes: 48 * 1024, recursion: 13 };

/// A program that refuses what native execution accepted is a divergence, as is one that commits another journal.
fn meaning(statement: StatementId, error: &MidenError) -> ProveError {
    let reason = error.to_string();
    match error {
        MidenError::Divergence { expected, committed, .. } => {
            ProveError::Divergence { statement, expected: expected.to_hex(), found: committed.to_hex() }
        }
        MidenError::Refused { .. } => {
            ProveError::Divergence { statement, expected: "its journal".into(), found: reason }
        }
        MidenError::Prover { .. } => ProveError::Transient { statement, reason },
        MidenError::Limit { .. }
        | MidenError::Assembly(_)
        | MidenError::Witness { .. }
        | MidenError::ForeignProgram { .. }
        | MidenError::ForeignJournal { .. }
        | MidenError::Assumption { .. } => ProveError::Unprovable { statement, reason },
    }
}
