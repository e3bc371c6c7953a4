//! The report: what a run did, as the closing table shows it and as `--json` prints it.
//!
//! `wanted = stored_before + Σ proved + dropped` holds whenever the node is idle; `dropped` is counted from
//! the statements themselves, so a violated sum would show.

use reprise_model::statement::Kind;
use reprise_prover::counts::PerKind;
use serde::Serialize;

use crate::connection::L1Connection;
use crate::health::Health;

/// A count for each kind of proof, named as in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ByKind {
    /// Transactions.
    pub transaction: u64,
    /// Batches.
    pub batch: u64,
    /// Aggregates.
    pub aggregate: u64,
}

impl ByKind {
    /// Over all kinds.
    pub fn total(&self) -> u64 {
        self.transaction + self.batch + self.aggregate
    }
}

impl From<PerKind> for ByKind {
    fn from(counts: PerKind) -> Self {
        Self {
            transaction: counts.of(Kind::Transaction),
            batch: counts.of(Kind::Batch),
            aggregate: counts.of(Kind::Aggregate),
        }
    }
}

/// Seconds for each kind of proof, named as in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct SecondsByKind {
    /// Transactions.
    pub transaction: f64,
    /// Batches.
    pub batch: f64,
    /// Aggregates.
    pub aggregate: f64,
}

/// How much time proving took, lost and saved, in seconds. `spent` is what the backend reports. The lost time is a part of
/// it; the saved time is not.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Seconds {
    /// All proving, with any outcome.
    pub spent: SecondsByKind,
    /// The cost of the proofs for requests that the store answered.
    pub saved_by_hits: SecondsByKind,
    /// The cost of the proofs for requests that shared a proof with another request.
    pub saved_by_merging: SecondsByKind,
    /// Spent on proofs that were no longer wanted when they were stored, and were not requested since.
    pub lost_to_reorgs: SecondsByKind,
    /// Spent on attempts that failed or were cancelled.
    pub lost_to_failures: SecondsByKind,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Report {
    /// The L1 followed.
    pub l1: String,
    /// The backend that proved.
    pub backend: String,
    /// Distinct blocks seen.
    pub blocks: u64,
    /// Distinct blocks with lane transactions that were executed in this run; the others were known from an earlier one.
    pub executed: u64,
    /// Events that removed blocks.
    pub reorgs: u64,
    /// Reorgs that returned to blocks seen before.
    pub flips: u64,
    /// The most blocks one event removed.
    pub max_reorg_depth: u64,
    /// Distinct non-empty blocks.
    pub batches: u64,
    /// Distinct empty blocks, which cost no proof.
    pub empty_batches: u64,
    /// Distinct statements needed.
    pub wanted: u64,
    /// Of these, already stored when first wanted.
    pub stored_before: u64,
    /// Of these, first stored in this run.
    pub proved: ByKind,
    /// Of these, left unproved: orphaned, superseded or subsumed.
    pub dropped: u64,
    /// Proofs begun, as the backend counts them.
    pub prove_calls: u64,
    /// Requests that the store answered.
    pub hits: ByKind,
    /// Requests that were served by a proof under way for another.
    pub merged: u64,
    /// Distinct statements of returning blocks that were stored when their block was orphaned.
    pub statements_returned: ByKind,
    /// Proofs begun for those after they returned.
    pub proofs_after_flip: u64,
    /// Attempts that failed.
    pub attempts_failed: u64,
    /// Of these, proofs that did not verify.
    pub invalid_proofs: u64,
    /// Of these, proofs that were written off as hung.
    pub timed_out: u64,
    /// Proofs that were asked to end, and did.
    pub cancelled: u64,
    /// Stored entries that failed their check.
    pub quarantined: u64,
    /// Cryptographic verifications in this process.
    pub receipts_verified: u64,
    /// Seconds spent proving.
    pub seconds_proving: f64,
    /// Seconds of proving that hits saved.
    pub seconds_saved: f64,
    /// How much time proving took, lost and saved, for each kind.
    pub seconds: Seconds,
    /// Settlements on the canonical chain.
    pub settlements: u64,
    /// The last settled checkpoint.
    pub settled_checkpoint: u64,
    /// The state root after the canonical tip.
    pub state_root: String,
    /// Invariants broken, as the watcher found them.
    pub violations: u64,
    /// The connection to a live L1 at the end.
    pub l1_connection: Option<L1Connection>,
    /// The health at the end.
    pub health: Health,
}
