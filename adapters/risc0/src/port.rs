//! RISC Zero as a [`Backend`]: what its errors mean to the pipeline.

use std::sync::atomic::Ordering;

use reprise_model::digest::{ClaimDigest, ProgramId};
use reprise_model::limits::Limits;
use reprise_model::profile::ProofProfile;
use reprise_model::statement::{Claim, ClaimScheme, Kind, StatementId};
use reprise_prover::backend::{Backend, Proof, ProveError, Task};

use crate::backend::{Risc0Backend, Risc0Error};

/// What one proof may hold, by `tests/risc0/cost.rs`: no batch within it passes 2^20 cycles, nor an aggregate that computes as much; and
/// no other aggregate 2^18. Twice as much in a proof would save some 80,000 cycles, what a batch costs beside its transactions.
///
/// A transfer takes 98,000 cycles in a batch and 12,000 of paging, most of it for two slots of the state; five and their batch are
/// 661,000. In an aggregate that computes them in batches of their own, of a block each, they are 816,000.
/// The bytes of a payload are hashed twice, as a payload and as an opening: 60 cycles each; those of outputs take 250.
/// So 3 KB, a kilobyte more than five transfers have, are within a million whatever they are. What is longer is a batch alone, of
/// up to five million cycles at the most bytes that are read.
///
/// An aggregate takes 15,000 a part: seven in a segment, the commitment that it opens included. As many transactions proved apart cost a batch what they cost executed
/// there. What a proof that is verified costs beside is a `resolve`, as long to prove as 120,000 cycles (see [`crate::segments`]); with 12,000 to name
/// its claim that is sixteen executions of a transfer, the openings of its slots left out, for they are made either way.
const LIMITS: Limits = Limits { transactions: 5, proofs: 7, bytes: 3 * 1024, recursion: 16 };

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
