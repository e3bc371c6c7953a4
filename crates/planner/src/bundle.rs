//! Bundle boundaries: a pure function of the canonical chain since the last observed settlement.
//!
//! A bundle begins at the first non-empty batch that no bundle holds yet and takes the following ones until
//! it is full ([`BundleRule::batches_max`], [`BundleRule::transactions_max`]) or the L1's blue score has
//! passed that of its first batch by [`BundleRule::deadline_score`]. It ends at its last non-empty batch.
//! Wall time, the state of the prover and the content of the store have no influence. So a replay forms the same
//! bundles, and a settlement at a boundary does not move the later boundaries.

use reprise_model::block::BatchMetadata;

/// When a bundle closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BundleRule {
    /// How many non-empty batches a bundle holds at most.
    pub batches_max: usize,
    /// A bundle is closed once it holds this many transactions.
    pub transactions_max: usize,
    /// A bundle is closed once the L1's blue score exceeds that of its first batch by more than this.
    pub deadline_score: u64,
}

impl Default for BundleRule {
    fn default() -> Self {
        Self { batches_max: 2, transactions_max: 64, deadline_score: 20 }
    }
}

/// A non-empty batch, as far as bundling depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its block.
    pub metadata: BatchMetadata,
    /// How many lane transactions it holds.
    pub transactions: usize,
}

impl BundleRule {
    /// Splits `candidates`, oldest first, into closed bundles and the open rest, on a chain whose tip has
    /// blue score `tip_score`. Returns the length of each closed bundle.
    pub fn close(&self, candidates: &[Candidate], tip_score: u64) -> Vec<usize> {
        let mut lengths = vec![];
        let mut rest = candidates;
        while let Some(length) = self.first(rest, tip_score) {
            lengths.push(length);
            rest = &rest[length..];
        }
        lengths
    }

    fn first(&self, candidates: &[Candidate], tip_score: u64) -> Option<usize> {
        let deadline = candidates.first()?.metadata.block.blue_score.saturating_add(self.deadline_score);
        let mut transactions = 0;
        for (index, candidate) in candidates.iter().enumerate() {
            if candidate.metadata.block.blue_score > deadline {
                return Some(index);
            }
            transactions += candidate.transactions;
            if index + 1 >= self.batches_max || transactions >= self.transactions_max {
                return Some(index + 1);
            }
        }
        (tip_score > deadline).then_some(candidates.len())
    }
}
