//! The counts of jobs, some of them by kind of statement.

use reprise_model::statement::Kind;

/// One count for each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PerKind(pub [u64; Kind::COUNT]);

impl PerKind {
    /// Counts one.
    pub fn add(&mut self, kind: Kind) {
        self.0[kind as usize] += 1;
    }

    /// The count of one kind.
    pub fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    /// Over all kinds.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// The counts of an engine since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Distinct statements needed.
    pub wanted: u64,
    /// Of these, already stored when first wanted.
    pub stored_before: u64,
    /// First stored in this run.
    pub proved: PerKind,
    /// Requests that the store answered.
    pub hits: PerKind,
    /// Requests that were served by a proof under way for another.
    pub merged: u64,
    /// Attempts that failed: proofs and writes.
    pub attempts_failed: u64,
    /// Of these, proofs that did not verify.
    pub invalid: u64,
    /// Of these, proofs that were written off as hung.
    pub timed_out: u64,
    /// Proofs that were asked to end, and did.
    pub cancelled: u64,
}
